//! All peers: the public door of the slow path, its timers, and the sending of initiations.
//!
//! What arrives from the network is in [`super::receive`].

use super::Activity;
use super::action::{Action, SessionState};
use super::identity::Identity;
use super::index::IndexTable;
use super::limit::Limit;
use super::mac::{Bakery, sign};
use super::noise;
use super::peer::{Attempts, Peer, Retries, Run, Sent, Session, jitter};
use super::stamp::Stamps;
use super::timers::{
    CONFIRM_GRACE, Deadlines, GIVE_UP_AFTER, NEWS_DELAY, OWN_GAP, REKEY_TIMEOUT, TURN_DEADLINES, TURN_GAP,
    TURN_INITIATIONS,
};
use crate::by_key::ByKey;
use crate::mac1::Mac1Check;
use crate::session::SessionKeys;
use crate::slot::{PeerSlot, make_room};
use crate::time::{Mono, Wall};
use keys::{NodePrivate, NodePublic};
use rand_chacha::ChaCha20Rng;
use rand_core::{RngCore, SeedableRng};
use std::collections::VecDeque;
use std::fmt;

/// Everything but the peers, so that one peer can be changed beside it.
pub(super) struct Core {
    pub(super) rng: ChaCha20Rng,
    pub(super) indices: IndexTable,
    pub(super) actions: VecDeque<Action>,
    pub(super) limit: Limit,
    pub(super) bakery: Bakery,
    deadlines: Deadlines,
    stamps: Stamps,
    /// How many initiations were made at which moment.
    turn: (Mono, u8),
}

/// WireGuard's slow path for all peers of a node. Bytes, moments and the lines' activity go in by `handle_*` and
/// the named events, [`Action`]s come out by [`Self::poll_action`]; drain it after every call.
pub struct Tunnel {
    pub(super) own: Option<Identity>,
    peers: Vec<Option<Peer>>,
    by_key: ByKey,
    pub(super) core: Core,
}

impl fmt::Debug for Tunnel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tunnel").field("peers", &self.by_key.len()).finish_non_exhaustive()
    }
}

impl Tunnel {
    /// A tunnel without key and peers. `seed` must be fresh and secret: all ephemeral keys come from it.
    pub fn new(seed: [u8; 32]) -> Self {
        let mut rng = ChaCha20Rng::from_seed(seed);
        let mut table_seed = [0; 16];
        rng.fill_bytes(&mut table_seed);
        Self {
            own: None,
            peers: Vec::new(),
            by_key: ByKey::new(table_seed),
            core: Core {
                rng,
                indices: IndexTable::default(),
                actions: VecDeque::new(),
                limit: Limit::default(),
                bakery: Bakery::new(),
                deadlines: Deadlines::default(),
                stamps: Stamps::default(),
                turn: (Mono::ZERO, 0),
            },
        }
    }

    /// Sets our private key; the zero key means that there is none. A change ends all sessions and attempts.
    pub fn set_private_key(&mut self, key: &NodePrivate) {
        if self.own.as_ref().is_some_and(|own| own.private == *key) {
            return;
        }
        for peer in self.peers.iter_mut().flatten() {
            self.core.end_run(peer);
        }
        self.own = (!key.is_zero()).then(|| Identity::new(key));
    }

    /// The check of mac1 for the receiving packet line; `None` without a private key.
    pub fn mac1_check(&self) -> Option<Mac1Check> {
        self.own.as_ref().map(|own| own.mac1)
    }

    /// Sets how many initiations a second (100 at first) are handled without asking for cookies.
    pub fn set_load_limit(&mut self, per_second: u32) {
        self.core.limit.set_rate(per_second);
    }

    /// Adds a peer; whoever had the place or the key before is removed. The place should be near the others: they
    /// are a plain table.
    pub fn add_peer(&mut self, slot: PeerSlot, key: NodePublic) {
        if self.peer(slot).is_some_and(|peer| peer.key == key) {
            return;
        }
        if let Some(other) = self.slot_of(&key) {
            self.remove_peer(other);
        }
        if self.peers.len() <= slot.index() {
            make_room(&mut self.peers, slot.index());
            self.peers.resize_with(slot.index() + 1, || None);
        }
        let holder = self.peers.get(slot.index()).and_then(Option::as_ref).map(|peer| peer.slot);
        if let Some(holder) = holder {
            self.remove_peer(holder);
        }
        if let Some(place) = self.peers.get_mut(slot.index()) {
            *place = Some(Peer::new(slot, key));
            self.by_key.insert(key.as_bytes(), slot.index(), |at| key_in(&self.peers, at));
        }
    }

    /// Which peer has this key.
    pub fn slot_of(&self, key: &NodePublic) -> Option<PeerSlot> {
        let place = self.by_key.find(key.as_bytes(), |at| key_in(&self.peers, at))?;
        self.peers.get(place)?.as_ref().map(|peer| peer.slot)
    }

    /// Removes a peer and ends its sessions. Nothing happens if the slot's generation is not the living one.
    pub fn remove_peer(&mut self, slot: PeerSlot) {
        let Some(key) = self.peer(slot).map(|peer| peer.key) else { return };
        self.by_key.remove(key.as_bytes(), slot.index(), |at| key_in(&self.peers, at));
        if let Some(mut peer) = self.peers.get_mut(slot.index()).and_then(Option::take) {
            self.core.end_run(&mut peer);
        }
    }

    /// The peer's process has restarted (its disco key changed) and lost its sessions: ours end, and its clock may
    /// begin anew. If an attempt was under way it goes on with an initiation at once, else the next packet starts one.
    ///
    /// The peer itself may have been faster than the news. So a session that has only just come about is
    /// still received on, packets to the peer wait, and a handshake settles the matter.
    pub fn reset_peer(&mut self, slot: PeerSlot, now: Mono, wall: Wall) {
        let Some(peer) = peer_in(&mut self.peers, slot) else { return };
        let wanted = peer.run.as_ref().is_some_and(|run| run.attempts.is_some());
        let sessions = peer.run.as_ref().map_or([None; 2], |run| [run.current, run.next]);
        let young = |session: Session| now.since(session.born) < NEWS_DELAY;
        if sessions.into_iter().flatten().any(young) {
            if let [Some(Session { local, .. }), _] = sessions {
                self.core.actions.push_back(Action::Hold { slot, local });
            }
            peer.last_stamp = [0; 12];
            if let Some(run) = &mut peer.run {
                run.initiated = None;
            }
            peer.retries = Retries::First;
            if wanted {
                self.path_known(slot, now, wall);
            } else {
                self.begin(slot, now, wall);
            }
            return;
        }
        self.core.end_run(peer);
        *peer = Peer { last_handshake: peer.last_handshake, ..Peer::new(slot, peer.key) };
        if wanted {
            self.want_session(slot, now, wall);
        }
    }

    /// tx has a packet for the peer and no session to send it with. Repeated calls do no harm.
    pub fn want_session(&mut self, slot: PeerSlot, now: Mono, wall: Wall) {
        let (Some(own), Some(peer)) = (&self.own, peer_in(&mut self.peers, slot)) else { return };
        // A session just made known to tx may not have reached it when it asked.
        let fresh = |session: &Session| now.since(session.born) < REKEY_TIMEOUT;
        if let Some(run) = &peer.run
            && (run.attempts.is_some() || run.current.as_ref().is_some_and(fresh))
        {
            return;
        }
        if !ensure_run(own, peer) {
            self.core.actions.push_back(Action::GaveUp { slot });
            return;
        }
        self.begin(slot, now, wall);
    }

    /// A key, an endpoint or the region of a peer became known. An attempt under way tries again at once.
    pub fn path_known(&mut self, slot: PeerSlot, now: Mono, wall: Wall) {
        let Some(peer) = peer_in(&mut self.peers, slot) else { return };
        let Some(attempts) = peer.run.as_mut().and_then(|run| run.attempts.as_mut()) else { return };
        let last = attempts.sent.as_ref().map_or(Mono::ZERO, |sent| sent.at + OWN_GAP);
        attempts.refresh(now, now.max(last));
        self.attempt(slot, now, wall);
    }

    /// rx saw the first genuine packet on the session `local`: the peer has its key, so we may send with it.
    pub fn first_data(&mut self, local: u32, now: Mono) {
        let Some(slot) = self.core.indices.owner(local) else { return };
        let Some(peer) = peer_in(&mut self.peers, slot) else { return };
        let Some(run) = &mut peer.run else { return };
        let Some((session, ended)) = run.confirm(local) else { return };
        if let Some((_, stamp)) = run.initiated {
            peer.last_stamp = stamp;
        }
        self.core.retire(slot, [ended]);
        if let Some(Sent { index, .. }) = run.attempts.take().and_then(|attempts| attempts.sent) {
            self.core.indices.free(index);
        }
        run.look = Some(run.watch.restart(now));
        peer.retries = Retries::Slow;
        peer.last_handshake = Some(now);
        self.core.actions.push_back(Action::Confirm { slot, local: session.local });
        self.core.actions.push_back(Action::Established { slot, at: now });
        self.core.schedule(peer);
    }

    /// Does what is due. `activity` is asked for the peers whose sessions need a look, and only those. Handles a
    /// bounded number of deadlines; when [`Self::poll_timeout`] is not later than `now` afterwards, call again
    /// after letting others run.
    pub fn handle_timeout(&mut self, now: Mono, wall: Wall, activity: &mut dyn FnMut(PeerSlot) -> Activity) {
        for _ in 0..TURN_DEADLINES {
            let Some((at, slot)) = self.core.deadlines.first() else { return };
            if at > now {
                return;
            }
            self.due(slot, now, wall, activity);
        }
    }

    /// The next thing to be done by the owner.
    pub fn poll_action(&mut self) -> Option<Action> {
        let action = self.core.actions.pop_front();
        if action.is_none() && self.core.actions.capacity() > 1024 {
            self.core.actions = VecDeque::new();
        }
        action
    }

    /// When [`Self::handle_timeout`] is to be called, and why.
    pub fn poll_timeout(&self) -> Option<(Mono, &'static str)> {
        let (at, slot) = self.core.deadlines.first()?;
        let why = self.peer(slot).and_then(|peer| peer.run.as_ref()?.due).map_or("peer", |(_, why)| why);
        Some((at, why))
    }

    /// A peer's sessions, for `status`; `None` for an unknown peer.
    pub fn session_state(&self, slot: PeerSlot) -> Option<SessionState> {
        let peer = self.peer(slot)?;
        let run = peer.run.as_ref();
        Some(SessionState {
            last_handshake: peer.last_handshake,
            current: run.and_then(|run| run.current).map(|session| session.local),
            handshaking: run.is_some_and(|run| run.attempts.is_some()),
        })
    }

    fn peer(&self, slot: PeerSlot) -> Option<&Peer> {
        self.peers.get(slot.index())?.as_ref().filter(|peer| peer.slot == slot)
    }

    /// Our key, a peer and the rest, to be used side by side.
    pub(super) fn parts(&mut self, slot: PeerSlot) -> Option<(&Identity, &mut Peer, &mut Core)> {
        Some((self.own.as_ref()?, peer_in(&mut self.peers, slot)?, &mut self.core))
    }

    /// One peer's deadline has come.
    fn due(&mut self, slot: PeerSlot, now: Mono, wall: Wall, activity: &mut dyn FnMut(PeerSlot) -> Activity) {
        let run = peer_in(&mut self.peers, slot).and_then(|peer| peer.run.as_mut());
        let Some(run) = run else {
            // Cannot be: a peer without a run has no deadline. Were it wrong, the loop above would never end.
            if let Some((at, slot)) = self.core.deadlines.first() {
                self.core.deadlines.change(slot, Some(at), None);
            }
            return;
        };
        if run.retire_at().is_some_and(|at| at <= now) {
            self.core.retire(slot, run.drain());
            run.look = None;
        }
        let mut rekey = false;
        if run.look.is_some_and(|at| at <= now) {
            run.look = None;
            if let Some(current) = &run.current {
                let spread = jitter(self.core.rng.next_u32(), REKEY_TIMEOUT);
                let handshaking = run.attempts.is_some();
                let verdict = run.watch.look(current, &activity(slot), handshaking, spread, now);
                run.look = verdict.next;
                rekey = verdict.rekey;
                if verdict.keepalive {
                    self.core.actions.push_back(Action::Keepalive { slot, local: current.local });
                }
            }
        }
        if rekey {
            self.begin(slot, now, wall);
        } else {
            self.attempt(slot, now, wall);
        }
    }

    /// Begins a row of attempts. The peer has a run without one.
    fn begin(&mut self, slot: PeerSlot, now: Mono, wall: Wall) {
        let Some(run) = peer_in(&mut self.peers, slot).and_then(|peer| peer.run.as_mut()) else { return };
        let grace = run.next.map_or(Mono::ZERO, |next| next.born + CONFIRM_GRACE);
        run.attempts = Some(Attempts::new(now, now.max(grace)));
        self.attempt(slot, now, wall);
    }

    /// Sends an initiation if one is due, or gives up; sets the peer's deadline.
    fn attempt(&mut self, slot: PeerSlot, now: Mono, wall: Wall) {
        let (Some(own), Some(peer)) = (&self.own, peer_in(&mut self.peers, slot)) else { return };
        let core = &mut self.core;
        if let Some(run) = &mut peer.run
            && let Some(attempts) = &mut run.attempts
            && attempts.next <= now
        {
            if attempts.lasted(now) >= GIVE_UP_AFTER {
                let sent = run.attempts.take().and_then(|attempts| attempts.sent);
                if let Some(Sent { index, .. }) = sent {
                    core.indices.free(index);
                }
                run.watch.gave_up = Some(now);
                if peer.retries == Retries::First {
                    peer.retries = Retries::Early;
                }
                core.actions.push_back(Action::GaveUp { slot });
            } else if core.turn_is_full(now) {
                attempts.next = now + TURN_GAP;
            } else {
                core.initiate(own, slot, peer.retries, &peer.key, run, now, wall);
            }
        }
        core.schedule(peer);
    }
}

/// A peer by its slot, if the slot is of its generation.
fn peer_in(peers: &mut [Option<Peer>], slot: PeerSlot) -> Option<&mut Peer> {
    peers.get_mut(slot.index())?.as_mut().filter(|peer| peer.slot == slot)
}

/// The key of the peer in a place.
fn key_in(peers: &[Option<Peer>], place: usize) -> Option<&[u8; 32]> {
    peers.get(place)?.as_ref().map(|peer| peer.key.as_bytes())
}

/// Makes a run for a peer that has none; false if there can be no session with it.
fn ensure_run(own: &Identity, peer: &mut Peer) -> bool {
    if peer.run.is_none() && !peer.unusable && peer.key != own.public {
        match own.shared(&peer.key) {
            Some(shared) => peer.run = Some(Box::new(Run::new(shared))),
            None => peer.unusable = true,
        }
    }
    peer.run.is_some()
}

impl Core {
    /// Ends sessions: the lines forget them and their indices are free.
    pub(super) fn retire<const N: usize>(&mut self, slot: PeerSlot, sessions: [Option<Session>; N]) {
        for session in sessions.into_iter().flatten() {
            self.actions.push_back(Action::Retire { slot, local: session.local });
            self.indices.free(session.local);
        }
    }

    /// Hands a session to the lines.
    pub(super) fn install(
        &mut self,
        slot: PeerSlot,
        session: &Session,
        remote: u32,
        send: &[u8; 32],
        recv: &[u8; 32],
    ) {
        self.actions.push_back(Action::Install(Box::new(SessionKeys {
            peer: slot,
            local: session.local,
            remote,
            send: *send,
            recv: *recv,
            born: session.born.tick(),
            initiator: session.initiator,
        })));
    }

    /// Ends all that goes on with a peer.
    fn end_run(&mut self, peer: &mut Peer) {
        let Some(mut run) = peer.run.take() else { return };
        self.retire(peer.slot, run.drain());
        if let Some(Sent { index, .. }) = run.attempts.take().and_then(|attempts| attempts.sent) {
            self.indices.free(index);
        }
        self.deadlines.change(peer.slot, run.due.map(|(at, _)| at), None);
    }

    /// Brings the peer's entry in the table of deadlines up to date and drops a run that is over.
    pub(super) fn schedule(&mut self, peer: &mut Peer) {
        let Some(run) = &mut peer.run else { return };
        let due = run.earliest();
        self.deadlines.change(peer.slot, run.due.map(|(at, _)| at), due.map(|(at, _)| at));
        run.due = due;
        if run.is_over() {
            peer.run = None;
        }
    }

    /// Counts an initiation made now; true if there have been enough at this moment.
    fn turn_is_full(&mut self, now: Mono) -> bool {
        if self.turn.0 != now {
            self.turn = (now, 0);
        }
        let full = self.turn.1 >= TURN_INITIATIONS;
        self.turn.1 = self.turn.1.saturating_add(1);
        full
    }

    /// Makes and sends one initiation; the run has attempts.
    #[expect(clippy::too_many_arguments, reason = "parts of one peer, borrowed apart")]
    fn initiate(
        &mut self,
        own: &Identity,
        slot: PeerSlot,
        retries: Retries,
        key: &NodePublic,
        run: &mut Run,
        now: Mono,
        wall: Wall,
    ) {
        let Some(attempts) = &mut run.attempts else { return };
        attempts.count_one(retries, self.rng.next_u32(), now);
        if let Some(old) = attempts.sent.take() {
            self.indices.free(old.index);
        }
        // Without a free index (65536 sessions) the next attempt may find one.
        let Some(index) = self.indices.allocate(slot, &mut self.rng) else { return };
        let ephemeral = NodePrivate::generate(&mut self.rng);
        let stamp = self.stamps.next(wall);
        let Some((waiting, message)) = noise::initiate(own, key, &run.shared, ephemeral, index, &stamp)
        else {
            self.indices.free(index);
            return;
        };
        attempts.sent = Some(Sent::new(index, now, waiting));
        let mut bytes = message.encode();
        run.last_mac1 = sign(&mut bytes, key, run.cookie(now));
        run.watch.spoke = Some(now);
        self.actions.push_back(Action::Transmit { slot: Some(slot), to: None, bytes: Box::new(bytes) });
    }
}
