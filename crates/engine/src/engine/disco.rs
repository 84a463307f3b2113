//! Where the paths to peers meet the rest: whose disco message it is, what becomes of it, who is told.
//!
//! Owns: our disco key and our own endpoints, which peer has which disco key, when whose paths want attention.
//! Leaves out: deciding about paths ([`crate::magicsock`]), finding our endpoints.

use super::peers::{Peers, canonical};
use super::{Engine, Output};
use crate::by_key::ByKey;
use crate::drop::DropReason;
use crate::magicsock::boxes::{self, Keyring};
use crate::magicsock::disco::{MAX_ENDPOINTS, Message, relay_address};
use crate::magicsock::paths::{Act, Lately, Paths, Turn};
use crate::magicsock::{FRESH, Families, LOOK_AGAIN, LOOK_MOVED, To};
use crate::slot::PeerSlot;
use crate::time::Mono;
use crate::wireguard::Source;
use keys::{DiscoPrivate, DiscoPublic, NodePublic};
use netmap::{NodeId, RegionId, Set};
use rand_chacha::ChaCha20Rng;
use rand_core::{RngCore as _, SeedableRng as _};
use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::time::Duration;

/// Peers whose paths are looked after in one call.
const TURN_PEERS: usize = 32;

/// Messages that were heard in one of two ways and are expected in the other; a flood pushes them out, which costs a pong.
const TWICE: usize = 16;

/// The largest ping that makes sense: what the largest packet of an ordinary network carries (features reference §3).
const MAX_PING: usize = 65_535 - 28;

/// A ping to a peer's paths that came back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DiscoPong {
    /// Which.
    pub token: u32,
    /// There and back.
    pub rtt: Duration,
    /// The way it took.
    pub way: Source,
}

/// Why a ping to a peer's paths cannot be sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PathPingError {
    /// No such peer.
    #[error("no matching peer")]
    UnknownPeer,
    /// We or the peer have no disco key.
    #[error("the peer does not speak disco")]
    NoDisco,
    /// No datagram has so many bytes.
    #[error("ping size too big")]
    TooLarge,
    /// Neither an address nor a relay of the peer is known.
    #[error("no UDP or DERP addr")]
    NoWay,
}

/// What is not in the peers themselves.
#[derive(Debug)]
pub(super) struct Disco {
    keys: Keyring,
    by_key: ByKey,
    due: BTreeSet<(Mono, PeerSlot)>,
    /// Our endpoints, best first.
    endpoints: Vec<SocketAddr>,
    /// When they were last looked at.
    looked: Option<Mono>,
    /// Direct paths are not wanted.
    relay_only: bool,
    /// They are being looked at for these peers, who have been told the old ones.
    waiting: Set<PeerSlot>,
    rng: ChaCha20Rng,
    acts: Vec<Act>,
    tokens: u32,
    /// Where disco is heard in two ways: what was heard in one so far.
    once: Option<Vec<Box<[u8]>>>,
}

impl Disco {
    pub(super) fn new(rng: &mut ChaCha20Rng) -> Self {
        let (mut seed, mut table_seed) = ([0; 32], [0; 16]);
        rng.fill_bytes(&mut seed);
        rng.fill_bytes(&mut table_seed);
        Self {
            keys: Keyring::default(),
            by_key: ByKey::new(table_seed),
            due: BTreeSet::new(),
            endpoints: Vec::new(),
            looked: None,
            relay_only: false,
            waiting: Set::new(),
            rng: ChaCha20Rng::from_seed(seed),
            acts: Vec::new(),
            tokens: 0,
            once: None,
        }
    }

    pub(super) fn poll_timeout(&self) -> Option<Mono> {
        self.due.first().map(|(at, _)| *at)
    }

    /// A peer has come, or has another disco key.
    pub(super) fn learn(&mut self, slot: PeerSlot, peers: &Peers) {
        if let Some(key) = peers.disco_key(slot.index()).filter(|key| **key != [0; 32]) {
            self.by_key.insert(key, slot.index(), |at| peers.disco_key(at));
        }
    }

    /// A peer goes, or had this key before.
    pub(super) fn forget(&mut self, slot: PeerSlot, key: &DiscoPublic, paths: Option<&Paths>, peers: &Peers) {
        if !key.is_zero() {
            let at =
                |place| if place == slot.index() { Some(key.as_bytes()) } else { peers.disco_key(place) };
            self.by_key.remove(key.as_bytes(), slot.index(), at);
            self.keys.forget(key);
        }
        self.waiting.remove(&slot);
        if let Some(at) = paths.and_then(|paths| paths.scheduled) {
            self.due.remove(&(at, slot));
        }
    }
}

impl Engine {
    /// Our disco key; zero (as at first) = no disco, only relays. To be told before the peers.
    pub fn set_disco_key(&mut self, key: &DiscoPrivate) {
        self.disco.keys = Keyring::new(key);
    }

    /// Direct paths are not wanted: whoever speaks disco is reached through relays. To be told before the peers.
    pub const fn set_relay_only(&mut self) {
        self.disco.relay_only = true;
    }

    fn direct_families(&self) -> Families {
        if self.disco.relay_only { Families::default() } else { self.families }
    }

    /// Where we can be reached, best first, as of now. Peers that were told others a moment ago are told again.
    pub fn set_local_endpoints(&mut self, endpoints: &[SocketAddr], now: Mono) {
        self.now = now;
        self.disco.looked = Some(now);
        let waiting = std::mem::take(&mut self.disco.waiting);
        let endpoints = endpoints.get(..MAX_ENDPOINTS).unwrap_or(endpoints);
        if self.disco.endpoints == endpoints {
            return;
        }
        self.disco.endpoints = endpoints.to_vec();
        for slot in waiting {
            self.call(slot);
        }
    }

    /// Our own endpoints, as told last.
    pub fn local_endpoints(&self) -> &[SocketAddr] {
        &self.disco.endpoints
    }

    /// The network has changed (an address, a route, a link, a long sleep): every path is doubted, those in use are tried
    /// at once.
    pub fn handle_network_change(&mut self, now: Mono) {
        self.now = now;
        self.disco.looked = None;
        for slot in self.peers.with_paths() {
            self.at_paths(slot, now, false, Paths::doubt);
        }
    }

    /// Pings a peer by every way that may be used: by the direct path that is trusted, or all there might be, and by
    /// its relay. `size`: bytes of the datagram, 0 = as few as can be. What comes back is told as
    /// [`Output::PathPing`] with the number returned.
    ///
    /// # Errors
    /// See [`PathPingError`].
    pub fn start_path_ping(&mut self, id: NodeId, size: usize, now: Mono) -> Result<u32, PathPingError> {
        self.now = now;
        if size > MAX_PING {
            return Err(PathPingError::TooLarge);
        }
        let padding = size.saturating_sub(boxes::OVERHEAD + 2 + 12 + 32) as u16;
        let slot = self.peers.slot(id).ok_or(PathPingError::UnknownPeer)?;
        let relay = self.peers.by_slot(slot).is_some_and(|peer| !peer.relay().is_none());
        self.disco.tokens = self.disco.tokens.wrapping_add(1);
        let token = self.disco.tokens;
        let ways = self.at_paths(slot, now, true, |paths, turn| {
            paths.ping(relay, token, padding, turn);
            relay || paths.candidates().next().is_some()
        });
        match ways {
            None => Err(PathPingError::NoDisco),
            Some(false) => Err(PathPingError::NoWay),
            Some(true) => Ok(token),
        }
    }

    /// Nobody waits any more for a ping to this peer.
    pub fn cancel_path_ping(&mut self, id: NodeId, token: u32) {
        let slot = self.peers.slot(id);
        if let Some(paths) = slot.and_then(|slot| self.peers.by_slot_mut(slot)?.paths.as_mut()) {
            paths.cancel(token);
        }
    }

    /// There is nobody to be or to speak to any more.
    pub(super) fn drop_paths(&mut self) {
        for slot in self.peers.with_paths() {
            if let Some(peer) = self.peers.by_slot_mut(slot) {
                peer.paths = None;
                self.lines.set_path(slot, peer.path(), peer.asleep());
            }
        }
        self.disco.due.clear();
        self.disco.waiting.clear();
    }

    /// Something is sent to a peer: from now on somebody looks after the path.
    pub(super) fn wake_path(&mut self, slot: PeerSlot, now: Mono) {
        self.at_paths(slot, now, true, Paths::wake);
    }

    /// Control tells other endpoints of a peer.
    pub(super) fn endpoints_moved(&mut self, slot: PeerSlot, now: Mono) {
        let Some(peer) = self.peers.by_slot(slot).filter(|peer| peer.paths.is_some()) else { return };
        let (endpoints, families) = (peer.config.endpoints.clone(), self.direct_families());
        self.at_paths(slot, now, false, |paths, turn| {
            paths.set_mapped(canonical(&endpoints).filter(|at| families.reach(at)), turn);
        });
    }

    /// The system has no way to where packets for a peer go.
    pub(super) fn path_unreachable(&mut self, slot: PeerSlot, now: Mono) {
        self.at_paths(slot, now, false, Paths::unreachable);
    }

    /// Does what is due for the paths of a few peers.
    pub(super) fn look_after_paths(&mut self, now: Mono) {
        for _ in 0..TURN_PEERS {
            let Some((at, slot)) = self.disco.due.first().copied().filter(|(at, _)| *at <= now) else {
                return;
            };
            let moments = self.lines.activity(slot).map(|activity| activity.moments()).unwrap_or_default();
            let lately = Lately {
                sent: moments.sent,
                received: moments.received,
                from: self.peers.by_slot(slot).and_then(|peer| peer.direct.as_deref().copied()),
                silent: self.config.silent_disco,
            };
            let over = self.at_paths(slot, now, false, |paths, turn| {
                paths.handle_timeout(&lately, turn);
                paths.is_over(turn.now)
            });
            if over == Some(true)
                && let Some(peer) = self.peers.by_slot_mut(slot)
            {
                let at = peer.paths.take().and_then(|paths| paths.scheduled);
                at.map(|at| self.disco.due.remove(&(at, slot)));
                self.lines.set_path(slot, peer.path(), peer.asleep());
            }
            // Cannot be: whoever has a deadline has paths, and time moves on.
            if over.is_none() {
                self.disco.due.remove(&(at, slot));
            }
        }
    }

    /// A STUN datagram for whoever looks for our endpoints. Through relays there is none.
    pub(super) fn handle_stun(&mut self, from: Source, datagram: &[u8]) {
        match from {
            Source::Udp(from) => self.outputs.push_back(Output::Stun { from, bytes: datagram.into() }),
            Source::Derp { .. } => self.drops().count(DropReason::Stun),
        }
    }

    /// A disco datagram that was heard before the host's packet filter. What that lets through comes by UDP as well; the
    /// first counts.
    pub fn handle_raw_disco(&mut self, from: SocketAddr, datagram: &[u8], now: Mono) {
        self.now = now;
        self.disco.once.get_or_insert_default();
        self.handle_disco(Source::Udp(from), datagram, now);
    }

    /// A disco datagram. What is not from a peer costs a look into a table.
    pub(super) fn handle_disco(&mut self, from: Source, datagram: &[u8], now: Mono) {
        if let (Some(once), Source::Udp(_)) = (&mut self.disco.once, from) {
            // Key and nonce of the sender: the same twice is the same message.
            let head = datagram.get(..boxes::HEAD).unwrap_or(datagram);
            if let Some(at) = once.iter().position(|known| **known == *head) {
                once.swap_remove(at);
                return;
            }
            if once.len() >= TWICE {
                once.remove(0);
            }
            once.push(head.into());
        }
        if let Err(reason) = self.take_disco(from, datagram, now) {
            self.drops().count(reason);
        }
    }

    fn take_disco(&mut self, from: Source, datagram: &[u8], now: Mono) -> Result<(), DropReason> {
        let disco = &mut self.disco;
        if !self.config.running || disco.keys.public().is_zero() {
            return Err(DropReason::Disco);
        }
        let key = boxes::sender(datagram).ok_or(DropReason::Disco)?;
        let peers = &self.peers;
        let holder = disco.by_key.find(key.as_bytes(), |at| peers.disco_key(at)).ok_or(DropReason::Disco)?;
        // A relay vouches for the node; its disco key must be that of the map.
        let relayed = match from {
            Source::Udp(addr) if !self.direct_families().reach(&addr) => return Err(DropReason::Disco),
            Source::Udp(_) => None,
            Source::Derp { peer, .. } => Some(self.node_with(&peer, &key).ok_or(DropReason::Disco)?),
        };
        let known = self.peers.at(holder).and_then(|peer| peer.paths.as_ref());
        let opened = match known {
            Some(paths) => paths.sealed.open(datagram),
            None => self.disco.keys.of_sender(&key, now).ok_or(DropReason::DiscoLimit)?.open(datagram),
        };
        let message = opened.map_err(|_| DropReason::Disco)?.ok_or(DropReason::Disco)?;
        if let (Source::Derp { region, .. }, Some(slot)) = (from, relayed) {
            self.note_heard(slot, RegionId(region));
        }
        let way = if let Source::Udp(addr) = from { To::Udp(addr) } else { To::Relay };
        match message {
            Message::Ping { tx, node, .. } => {
                // Several nodes may share a disco key: the ping says which, the relay knows, or it is the only one.
                let named = if node.is_zero() { None } else { self.node_with(&node, &key) };
                let slot = relayed.or(named).or_else(|| self.peers.at(holder).map(|peer| peer.slot));
                let slot = slot.ok_or(DropReason::Disco)?;
                let answer = self.at_paths(slot, now, true, |paths, turn| paths.handle_ping(tx, way, turn));
                if answer != Some(true) {
                    return Err(DropReason::DiscoLimit);
                }
                let src = match from {
                    Source::Udp(addr) => addr,
                    Source::Derp { region, .. } => relay_address(region),
                };
                self.send_disco(slot, from, &Message::Pong { tx, src });
                Ok(())
            }
            Message::Pong { tx, src } => {
                // One of those who share the key; hardly ever there are several.
                let peers = &self.peers;
                let waits = |place: usize| {
                    let peer = peers.at(place).filter(|peer| peer.config.disco_key == key);
                    peer.and_then(|peer| peer.paths.as_ref()).is_some_and(|paths| paths.awaits(tx))
                };
                let place = self.disco.by_key.find_where(key.as_bytes(), waits);
                let slot = place.and_then(|place| peers.at(place)).map(|peer| peer.slot);
                let slot = slot.ok_or(DropReason::Pong)?;
                self.at_paths(slot, now, false, |paths, turn| paths.handle_pong(tx, way, src, turn))
                    .unwrap_or(Err(DropReason::Pong))
            }
            Message::CallMeMaybe(endpoints) => {
                let slot = relayed.ok_or(DropReason::Disco)?;
                let families = self.direct_families();
                let told = endpoints.into_iter().filter(|at| families.reach(at));
                self.at_paths(slot, now, true, |paths, turn| paths.handle_call(told, turn))
                    .unwrap_or(Err(DropReason::Disco))
            }
        }
    }

    /// The peer with this node key, if it has this disco key.
    fn node_with(&self, node: &NodePublic, key: &DiscoPublic) -> Option<PeerSlot> {
        let slot = self.tunnel.slot_of(node)?;
        self.peers.by_slot(slot).filter(|peer| peer.config.disco_key == *key).map(|peer| peer.slot)
    }

    /// Does something to a peer's paths, made if need be and `make` says so, and what follows from it.
    fn at_paths<T>(
        &mut self,
        slot: PeerSlot,
        now: Mono,
        make: bool,
        act: impl FnOnce(&mut Paths, &mut Turn<'_>) -> T,
    ) -> Option<T> {
        let (mut act, mut result) = (Some(act), None);
        self.turn_paths(slot, now, make, &mut |paths, turn| {
            result = act.take().map(|act| act(paths, turn));
        });
        result
    }

    /// The part of [`Self::at_paths`] that is not made anew for each thing done.
    fn turn_paths(
        &mut self,
        slot: PeerSlot,
        now: Mono,
        make: bool,
        act: &mut dyn FnMut(&mut Paths, &mut Turn<'_>),
    ) -> Option<()> {
        let families = self.direct_families();
        let peer = self.peers.by_slot_mut(slot)?;
        let before = (peer.path(), peer.asleep());
        if peer.paths.is_none() {
            let speaks = !peer.config.wireguard_only && !peer.config.disco_key.is_zero();
            if !make || !speaks || self.disco.keys.public().is_zero() || !self.config.running {
                return None;
            }
            let mapped = canonical(&peer.config.endpoints).filter(|at| families.reach(at));
            peer.paths =
                Some(Box::new(Paths::new(self.disco.keys.with(&peer.config.disco_key), mapped, now)));
        }
        let paths = peer.paths.as_mut()?;
        let disco = &mut self.disco;
        let mut acts = std::mem::take(&mut disco.acts);
        act(paths, &mut Turn { now, rng: &mut disco.rng, acts: &mut acts });
        let due = paths.poll_timeout();
        if due != paths.scheduled {
            paths.scheduled.map(|was| disco.due.remove(&(was, slot)));
            due.map(|at| disco.due.insert((at, slot)));
            paths.scheduled = due;
        }
        let after = (peer.path(), peer.asleep());
        if before != after {
            self.lines.set_path(slot, after.0, after.1);
        }
        let relay = Source::Derp { region: self.relays.to(peer).0, peer: peer.config.key };
        for act in acts.drain(..) {
            match act {
                Act::Ping { to, tx, padding } => {
                    let to = if let To::Udp(addr) = to { Source::Udp(addr) } else { relay };
                    let ping = Message::Ping { tx, node: self.public, padding: padding.into() };
                    self.send_disco(slot, to, &ping);
                }
                Act::Call => self.call(slot),
                Act::Lost => self.look_if_older(slot, LOOK_AGAIN),
                Act::Moved => self.look_if_older(slot, LOOK_MOVED),
                Act::Answered { token, rtt, to } => {
                    let way = if let To::Udp(addr) = to { Source::Udp(addr) } else { relay };
                    self.outputs.push_back(Output::PathPing(DiscoPong { token, rtt, way }));
                }
            }
        }
        self.disco.acts = acts;
        Some(())
    }

    /// Tells a peer through its relay where we are. If that is known from long ago only, it is found out anew, and the
    /// peer told again if it is something else.
    fn call(&mut self, slot: PeerSlot) {
        // Whoever cannot be reached does not ask for it.
        if self.direct_families() == Families::default() {
            return;
        }
        let Some(peer) = self.peers.by_slot(slot).filter(|peer| !peer.relay().is_none()) else { return };
        let to = Source::Derp { region: self.relays.to(peer).0, peer: peer.config.key };
        self.look_if_older(slot, FRESH);
        let message = Message::CallMeMaybe(self.disco.endpoints.clone());
        self.send_disco(slot, to, &message);
    }

    /// Has our endpoints looked at if they are known from so long ago only; the peer is called if they are others now.
    fn look_if_older(&mut self, slot: PeerSlot, age: Duration) {
        let known = self.disco.looked.is_some_and(|at| self.now.since(at) < age);
        if known || self.direct_families() == Families::default() {
            return;
        }
        if self.disco.waiting.is_empty() {
            self.outputs.push_back(Output::RefreshEndpoints);
        }
        self.disco.waiting.insert(slot);
    }

    fn send_disco(&mut self, slot: PeerSlot, to: Source, message: &Message) {
        let Some(paths) = self.peers.by_slot(slot).and_then(|peer| peer.paths.as_ref()) else { return };
        let bytes = paths.sealed.seal(self.disco.keys.public(), message, &mut self.disco.rng);
        self.outputs.push_back(Output::Transmit { to, bytes });
    }
}
