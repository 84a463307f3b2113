//! What has passed between us and the peers: the numbers of the lines, which wrap, made into ones that do not.
//!
//! Only peers with a session are looked at again and again. What a line writes after the last session of a peer was
//! taken away, but before it has heard of that, stays where it is: counts are added when somebody looks at the peer
//! next, and once in a while all are looked at, before the moments among them come round.

use super::Engine;
use super::peers::Peers;
use crate::lines::{Control, Path, PeerActivity};
use crate::slot::PeerSlot;
use crate::time::Mono;
use keys::NodePublic;
use netmap::NodeId;
use std::time::Duration;

/// What the lines last did with a peer is kept for so many milliseconds, 20 days; their clock wraps after 49.
const FORGET: u32 = 20 * 86_400_000;

/// All peers are looked at so often, those without a session too.
const SWEEP: Duration = Duration::from_secs(86_400);

/// What the engine knows of a peer, for `status`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct PeerView {
    /// Bytes of data messages that authenticated.
    pub rx_bytes: u64,
    /// Bytes of data messages sent.
    pub tx_bytes: u64,
    /// When something was last sent.
    pub sent: Option<Mono>,
    /// When a handshake last completed.
    pub last_handshake: Option<Mono>,
    /// It has a session to send with.
    pub established: bool,
    /// An initiation of ours waits for its answer.
    pub handshaking: bool,
    /// How it is reached.
    pub path: Path,
}

/// What has passed between us and one peer, as of the last look.
#[derive(Debug, Default)]
pub(super) struct Passed {
    rx: Total,
    tx: Total,
    /// When the lines last sent something, by a clock that does not wrap.
    sent: Option<Mono>,
}

/// A 64-bit count behind a wrapping 32-bit one, which is its lower half.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Total {
    high: u32,
    low: u32,
}

impl Total {
    pub(super) fn advance(&mut self, now: u32) -> u64 {
        self.high = self.high.saturating_add(u32::from(now < self.low));
        self.low = now;
        self.get()
    }

    fn get(self) -> u64 {
        u64::from(self.high) << 32 | u64::from(self.low)
    }
}

impl Passed {
    /// Takes over what the lines tell in numbers that wrap, and has their moments of at least `age` milliseconds ago
    /// forgotten. What is new is added to `all`, bytes received and sent.
    fn gather(&mut self, activity: &PeerActivity, age: u32, now: Mono, all: &mut (u64, u64)) {
        if let Some(at) = activity.moments().sent {
            let ago = Duration::from_millis(now.tick().since(at).into());
            self.sent = Some(Mono::from_nanos(now.since(Mono::ZERO + ago).as_nanos() as u64));
        }
        activity.forget(now.tick(), age);
        let traffic = activity.traffic();
        let before = (self.rx.get(), self.tx.get());
        let after = (self.rx.advance(traffic.rx_bytes), self.tx.advance(traffic.tx_bytes));
        all.0 = all.0.saturating_add(after.0.saturating_sub(before.0));
        all.1 = all.1.saturating_add(after.1.saturating_sub(before.1));
    }
}

impl Engine {
    /// What is known of a peer; `None` if it is not.
    pub fn peer_view(&mut self, id: NodeId, now: Mono) -> Option<PeerView> {
        self.view(self.peers.slot(id)?, now)
    }

    /// The keys of the peers that have a session, and what is known of them.
    pub fn live_views(&mut self, now: Mono) -> Vec<(NodePublic, PeerView)> {
        let live: Vec<PeerSlot> = self.sessions.keys().copied().collect();
        let view = |slot| Some((self.peers.by_slot(slot)?.config.key, self.view(slot, now)?));
        live.into_iter().filter_map(view).collect()
    }

    /// Bytes of data messages of all peers since the start, received and sent; also of those who have gone. As of the
    /// last [`Self::gather_counters`] or look at a peer.
    pub const fn passed(&self) -> (u64, u64) {
        self.passed
    }

    fn view(&mut self, slot: PeerSlot, now: Mono) -> Option<PeerView> {
        self.gather(slot, FORGET, now);
        let session = self.tunnel.session_state(slot).unwrap_or_default();
        let peer = self.peers.by_slot(slot)?;
        Some(PeerView {
            rx_bytes: peer.passed.rx.get(),
            tx_bytes: peer.passed.tx.get(),
            sent: peer.passed.sent,
            last_handshake: session.last_handshake,
            established: session.current.is_some(),
            handshaking: session.handshaking,
            path: peer.path(),
        })
    }

    /// Takes over the lines' counters, which wrap after 4 GiB, and their moments, which wrap after 49 days; call it at least
    /// every few seconds of heavy traffic. How many peers it has looked at: those with a session, once a day all.
    pub fn gather_counters(&mut self, now: Mono) -> usize {
        if now.since(self.swept) >= SWEEP {
            self.swept = now;
            let all: Vec<PeerSlot> = self.peers.by_id.values().copied().collect();
            all.iter().for_each(|slot| self.gather(*slot, FORGET, now));
            return all.len();
        }
        for slot in self.sessions.keys() {
            gather(&mut self.peers, &self.lines, *slot, FORGET, now, &mut self.passed);
        }
        self.sessions.len()
    }

    /// The last session of a peer has ended: nothing is sent or received before there is another one, and nobody may look
    /// before the lines' clock has come round.
    pub(super) fn gather_last(&mut self, slot: PeerSlot) {
        self.gather(slot, 0, self.now);
    }

    fn gather(&mut self, slot: PeerSlot, age: u32, now: Mono) {
        gather(&mut self.peers, &self.lines, slot, age, now, &mut self.passed);
    }
}

fn gather(peers: &mut Peers, lines: &Control, slot: PeerSlot, age: u32, now: Mono, all: &mut (u64, u64)) {
    if let Some(peer) = peers.by_slot_mut(slot)
        && let Some(activity) = lines.activity(slot)
    {
        peer.passed.gather(activity, age, now, all);
    }
}
