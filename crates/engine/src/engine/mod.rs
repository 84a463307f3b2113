//! The slow path as one thing: WireGuard handshakes, the packet lines' control side, and answers for our own
//! addresses, wired together.
//!
//! Owns: which peer has which slot, when routes and filter are published, what becomes of everything the lines hand
//! up. Every input is a `handle_*` or a setter, every output comes from [`Engine::poll_output`]; the owner drains
//! outputs, wakes the packet threads if [`Engine::take_wakes`] says so, and sleeps until [`Engine::poll_timeout`].
//! Leaves out: sockets, relays' connections, STUN, and the decisions of control.

mod counters;
mod disco;
#[cfg(test)]
mod path_tests;
mod peers;
mod ping;
#[cfg(test)]
mod relay_tests;
mod relays;
#[cfg(test)]
mod tests;
mod traffic;

pub use counters::PeerView;
pub use disco::{DiscoPong, PathPingError};
pub use peers::{PeerConfig, SelfConfig};
pub use ping::{PingOutcome, PingRequest, StartError};

use crate::drop::DropCounters;
use crate::host::Responder;
use crate::lines::{self, Control, Limits, RxLine, TxLine};
use crate::magicsock::Families;
use crate::routes::Routes;
use crate::slot::PeerSlot;
use crate::time::{Mono, Wall};
use crate::wireguard::{Source, Tunnel};
use disco::Disco;
use keys::NodePublic;
use netmap::Map;
use peers::Peers;
use rand_chacha::ChaCha20Rng;
use rand_core::{RngCore as _, SeedableRng as _};
use relays::Relays;
use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::Arc;

/// Something the owner must do or may want to know.
#[derive(Debug, Clone, PartialEq)]
pub enum Output {
    /// Send this datagram. Sealed data packets do not come this way: see [`Engine::next_derp`].
    Transmit {
        /// By this relay and to this node, or to this address.
        to: Source,
        /// A handshake message or disco.
        bytes: Box<[u8]>,
    },
    /// A ping of ours came back or did not.
    Ping(PingOutcome),
    /// A ping to a peer's paths has come back; the first one counts.
    PathPing(DiscoPong),
    /// Somebody is asked to find out what our endpoints are: those known are old and a peer is about to be told, or a path
    /// that worked has died.
    RefreshEndpoints,
    /// A STUN datagram has come by UDP.
    Stun {
        /// From here.
        from: SocketAddr,
        /// As it came.
        bytes: Box<[u8]>,
    },
    /// The first handshake with some peer has completed, or the last session of one ended.
    LivePeers(usize),
}

/// The slow path of a node.
#[derive(Debug)]
pub struct Engine {
    tunnel: Tunnel,
    lines: Control,
    host: Responder,
    peers: Peers,
    config: SelfConfig,
    /// Of `config.key`: to work it out takes as long as half a handshake.
    public: NodePublic,
    /// Whether there is UDP over IPv4 and over IPv6.
    families: Families,
    disco: Disco,
    /// By which relays packets go back.
    relays: Relays,
    outputs: VecDeque<Output>,
    /// Routes or filter differ from what the lines have.
    unpublished: bool,
    /// The routes that the lines have, unless an address has come or gone since.
    routes: Option<Arc<Routes>>,
    /// How many sessions each peer has that has any.
    sessions: Map<PeerSlot, u32>,
    /// Bytes of all peers, received and sent, as far as the lines' counters have been taken over.
    passed: (u64, u64),
    /// When those of peers without a session were last taken over.
    swept: Mono,
    /// How many peers had a session when that was last told.
    told_live: usize,
    /// Packets from the lines are copied here while they are handled.
    scratch: Vec<u8>,
    /// The moment told last.
    now: Mono,
}

impl Engine {
    /// An engine without key and peers, and its two packet lines. `seed` must be fresh and secret.
    pub fn new(seed: [u8; 32], limits: &Limits) -> (Self, TxLine, RxLine) {
        let mut rng = ChaCha20Rng::from_seed(seed);
        let mut tunnel_seed = [0; 32];
        let mut small = [[0; 16]; 3];
        rng.fill_bytes(&mut tunnel_seed);
        small.iter_mut().for_each(|seed| rng.fill_bytes(seed));
        let [tx_seed, rx_seed, host_seed] = small;
        let (lines, tx, rx) = lines::new(limits, [tx_seed, rx_seed]);
        let engine = Self {
            tunnel: Tunnel::new(tunnel_seed),
            lines,
            host: Responder::new(host_seed),
            peers: Peers::default(),
            config: SelfConfig::default(),
            public: NodePublic::ZERO,
            families: Families::default(),
            disco: Disco::new(&mut rng),
            relays: Relays::default(),
            outputs: VecDeque::new(),
            unpublished: false,
            routes: None,
            sessions: Map::new(),
            passed: (0, 0),
            swept: Mono::ZERO,
            told_live: 0,
            scratch: Vec::new(),
            now: Mono::ZERO,
        };
        (engine, tx, rx)
    }

    /// The next thing to do; `None` when there is nothing left.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// When [`Self::handle_timeout`] is to be called, and why.
    pub fn poll_timeout(&self) -> Option<(Mono, &'static str)> {
        let ping = self.host.poll_timeout().map(|at| (at, "ping"));
        let path = self.disco.poll_timeout().map(|at| (at, "path"));
        [self.tunnel.poll_timeout(), ping, path].into_iter().flatten().min_by_key(|(at, _)| *at)
    }

    /// Does what is due. Bounded work a call: if [`Self::poll_timeout`] is not later than `now` afterwards, let others
    /// run and call again.
    pub fn handle_timeout(&mut self, now: Mono, wall: Wall) {
        self.now = now;
        let lines = &self.lines;
        self.tunnel.handle_timeout(now, wall, &mut |slot| {
            lines.activity(slot).map(|a| a.moments()).unwrap_or_default()
        });
        while let Some(id) = self.host.poll_expired(now) {
            self.outputs.push_back(Output::Ping(PingOutcome::TimedOut(id)));
            self.watch_echo();
        }
        self.act();
        self.look_after_paths(now);
    }

    /// Which packet lines have been given something since this was last asked: (tx, rx).
    pub fn take_wakes(&mut self) -> (bool, bool) {
        (self.lines.wants_wake_tx(), self.lines.wants_wake_rx())
    }

    /// Dropped packets by reason.
    pub fn drops(&self) -> &DropCounters {
        self.lines.drops()
    }
}
