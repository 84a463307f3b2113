//! The control thread's handle on both lines: what it commands, injects and takes back.
//!
//! Owns: allocation and freeing of everything the lines hold, the send halves of sessions that are not confirmed
//! yet (tx never sees those), who has which session.
//! Leaves out: deciding anything. The slow path's actions about sessions map one to one to calls here.

use super::activity::PeerActivity;
use super::command::{Outbox, RxCommand, TxCommand};
use super::event::LineEvent;
use super::open::{RecvSession, SessionTable};
use super::peer::{Path, PeerFacts, RxPeer, TxPeer};
use super::record;
use super::ring::{Head, RecordConsumer, RecordProducer};
use super::seal::SendSession;
use super::snapshot::{InForce, Snapshot};
use super::staging::Queue;
use crate::drop::{DropCounters, DropReason};
use crate::routes::Routes;
use crate::session::SessionKeys;
use crate::slot::PeerSlot;
use crate::source::Source;
use keys::NodePublic;
use netmap::Map;
use rtrb::Consumer;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Why a packet is in the host ring.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HostKind {
    /// It is for one of our addresses and the filter let it pass.
    Packet,
    /// A TSMP message, to one of our addresses or to what we route.
    Tsmp,
    /// The filter refused it; it begins an IPv4 TCP connection, so its sender is owed a TSMP reject.
    Rejected,
}

/// A packet for the control thread.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HostPacket<'a> {
    /// Why.
    pub kind: HostKind,
    /// From whom.
    pub slot: PeerSlot,
    /// A whole IP packet without padding; its source is one of the peer's.
    pub bytes: &'a [u8],
}

/// Rings between control and the lines.
#[derive(Debug)]
pub(super) struct Ends {
    pub(super) tx: Outbox<TxCommand>,
    pub(super) rx: Outbox<RxCommand>,
    pub(super) tx_inject: RecordProducer,
    pub(super) rx_inject: RecordProducer,
    pub(super) derp: RecordConsumer,
    pub(super) host: RecordConsumer,
    pub(super) services: RecordConsumer,
    pub(super) handshakes: RecordConsumer,
    pub(super) disco: RecordConsumer,
    pub(super) stun: RecordConsumer,
    pub(super) events: [Consumer<LineEvent>; 2],
    pub(super) echo: Arc<AtomicBool>,
    pub(super) drops: Arc<DropCounters>,
}

/// A known peer.
#[derive(Debug)]
struct Known {
    slot: PeerSlot,
    activity: Arc<PeerActivity>,
}

/// A session that rx has.
#[derive(Debug)]
struct Held {
    local: u32,
    slot: PeerSlot,
    /// The send half, until it is confirmed.
    unconfirmed: Option<Box<SendSession>>,
}

/// The handle.
#[derive(Debug)]
pub struct Control {
    ends: Ends,
    peers: Vec<Option<Known>>,
    peer_places: usize,
    /// By place.
    sessions: Map<u16, Held>,
    session_places: usize,
    /// As published last.
    routes: Arc<Routes>,
    scratch: Vec<u8>,
    wake_tx: bool,
    wake_rx: bool,
}

impl Control {
    pub(super) fn new(ends: Ends) -> Self {
        Self {
            ends,
            peers: Vec::new(),
            peer_places: 0,
            sessions: Map::new(),
            session_places: 0,
            routes: Arc::default(),
            scratch: Vec::new(),
            wake_tx: false,
            wake_rx: false,
        }
    }

    /// Makes a peer known, or changes the facts of a known one (its session and waiting packets stay). A different
    /// generation at the same place takes the place of its predecessor. Give all peers before the snapshot that
    /// routes to them.
    pub fn set_peer(&mut self, slot: PeerSlot, facts: PeerFacts) {
        let at = slot.index();
        if at >= self.peer_places {
            let places = (at + 1).next_power_of_two().max(16);
            self.tell_tx(TxCommand::GrowPeers(Vec::with_capacity(places)));
            self.tell_rx(RxCommand::GrowPeers(Vec::with_capacity(places)));
            self.peer_places = places;
        }
        if at >= self.peers.len() {
            self.peers.resize_with(at + 1, || None);
        }
        let Some(place) = self.peers.get_mut(at) else { return };
        let activity = match place {
            Some(known) if known.slot == slot => Arc::clone(&known.activity),
            _ => {
                let activity = Arc::new(PeerActivity::default());
                *place = Some(Known { slot, activity: Arc::clone(&activity) });
                activity
            }
        };
        self.tell_tx(TxCommand::Peer(Box::new(TxPeer {
            slot,
            facts,
            activity: Arc::clone(&activity),
            session: None,
            staged: Queue::default(),
            asked: None,
            failed: false,
        })));
        self.tell_rx(RxCommand::Peer(Box::new(RxPeer {
            slot,
            jailed: facts.jailed,
            masq: facts.masq(),
            activity,
            roams: facts.roams.then(Box::default),
        })));
    }

    /// Changes only how a peer is reached, and whether that is looked after (see [`PeerFacts::asleep`]).
    pub fn set_path(&mut self, slot: PeerSlot, path: Path, asleep: bool) {
        self.tell_tx(TxCommand::Path(slot, path, asleep));
    }

    /// Forgets a peer with its sessions and waiting packets.
    pub fn clear_peer(&mut self, slot: PeerSlot) {
        match self.peers.get_mut(slot.index()) {
            Some(place) if place.as_ref().is_some_and(|known| known.slot == slot) => *place = None,
            _ => return,
        }
        let theirs: Vec<u32> =
            self.sessions.values().filter(|held| held.slot == slot).map(|held| held.local).collect();
        theirs.into_iter().for_each(|local| self.retire(local));
        self.tell_tx(TxCommand::ClearPeer(slot));
        self.tell_rx(RxCommand::ClearPeer(slot));
    }

    /// A session is born: rx may receive on it at once, tx may send on it at once if we began it, else after
    /// [`confirm`](Self::confirm). To be called once for each `keys`; false, and nothing done, when the peer is not
    /// known or a session of this very name is installed (a second one would repeat nonces).
    pub fn install(&mut self, keys: &SessionKeys) -> bool {
        let place = SessionTable::place(keys.local);
        let key = place as u16;
        if self.sessions.get(&key).is_some_and(|held| held.local == keys.local) {
            return false;
        }
        if self.activity(keys.peer).is_none() {
            return false;
        }
        if let Some(held) = self.sessions.get(&key) {
            self.retire(held.local);
        }
        if place >= self.session_places {
            let places = (place + 1).next_power_of_two().max(16);
            self.tell_rx(RxCommand::GrowSessions(Vec::with_capacity(places)));
            self.session_places = places;
        }
        self.tell_rx(RxCommand::Session(Box::new(RecvSession::new(keys))));
        let send = Box::new(SendSession::new(keys));
        let unconfirmed = if keys.initiator {
            self.tell_tx(TxCommand::Session(send));
            None
        } else {
            Some(send)
        };
        self.sessions.insert(key, Held { local: keys.local, slot: keys.peer, unconfirmed });
        true
    }

    /// The peer has proved to have this session's keys: tx sends with it from now on. Does nothing the second time.
    pub fn confirm(&mut self, local: u32) {
        let held = self.sessions.get_mut(&(SessionTable::place(local) as u16));
        if let Some(send) = held.filter(|held| held.local == local).and_then(|held| held.unconfirmed.take()) {
            self.tell_tx(TxCommand::Session(send));
        }
    }

    /// tx forgets a session, so that packets wait for the next one; rx keeps it.
    pub fn hold(&mut self, local: u32) {
        let held = self.sessions.get(&(SessionTable::place(local) as u16));
        if let Some(slot) = held.filter(|held| held.local == local).map(|held| held.slot) {
            self.tell_tx(TxCommand::Retire(slot, local));
        }
    }

    /// A session is over for both lines.
    pub fn retire(&mut self, local: u32) {
        let key = SessionTable::place(local) as u16;
        if self.sessions.get(&key).is_some_and(|held| held.local == local)
            && let Some(held) = self.sessions.remove(&key)
        {
            self.tell_rx(RxCommand::Retire(local));
            self.tell_tx(TxCommand::Retire(held.slot, local));
        }
    }

    /// No session will come: gives up what waits for this peer. The next packet asks anew.
    pub fn drop_staged(&mut self, slot: PeerSlot) {
        self.tell_tx(TxCommand::DropStaged(slot));
    }

    /// Replaces routes, filter, own addresses and state in both lines.
    pub fn publish(&mut self, snapshot: Snapshot) {
        self.routes = Arc::clone(&snapshot.routes);
        let tx = TxCommand::Snapshot(Box::new(InForce::new(snapshot.clone())));
        let rx = RxCommand::Snapshot(Box::new(InForce::new(snapshot)));
        self.ends.tx.replace(|last| matches!(last, TxCommand::Snapshot(_)), tx);
        self.ends.rx.replace(|last| matches!(last, RxCommand::Snapshot(_)), rx);
        (self.wake_tx, self.wake_rx) = (true, true);
    }

    /// The peer whose packets may come from `addr`, by the routes published last.
    pub fn peer_at(&self, addr: IpAddr) -> Option<PeerSlot> {
        self.routes.lookup(addr)
    }

    /// Gives tx a whole IP packet: to the peer named, or routed by its destination. `RingFull` is counted, too.
    pub fn inject_tx(&mut self, packet: &[u8], to: Option<PeerSlot>) -> Result<(), DropReason> {
        let head = match to {
            Some(slot) => Head { kind: record::TO_PEER, a: slot.to_bits(), b: 0 },
            None => Head { kind: record::ROUTED, a: 0, b: 0 },
        };
        self.wake_tx = true;
        let pushed = self.ends.tx_inject.push(head, &[packet]);
        self.counted(pushed)
    }

    /// With a TUN, whether echo replies of peers are wanted here as well: some ping of ours waits for one.
    pub fn watch_echo(&mut self, wanted: bool) {
        self.ends.echo.store(wanted, Ordering::Relaxed);
    }

    /// Asks tx for an empty packet on a session that it sends with.
    pub fn keepalive(&mut self, local: u32) -> Result<(), DropReason> {
        let held = self.sessions.get(&(SessionTable::place(local) as u16));
        let Some(slot) = held.filter(|held| held.local == local).map(|held| held.slot) else {
            return Err(DropReason::UnknownSession);
        };
        self.wake_tx = true;
        let head = Head { kind: record::KEEPALIVE, a: slot.to_bits(), b: local };
        let pushed = self.ends.tx_inject.push(head, &[]);
        self.counted(pushed)
    }

    /// Gives rx a datagram. `RingFull` is counted, too.
    pub fn inject_rx(&mut self, from: &Source, datagram: &[u8]) -> Result<(), DropReason> {
        let (head, start, len) = record::encode_source(from);
        self.wake_rx = true;
        let pushed = self.ends.rx_inject.push(head, &[start.get(..len).unwrap_or_default(), datagram]);
        self.counted(pushed)
    }

    /// Gives rx a whole IP packet to be delivered to the TUN as it is. `RingFull` is counted, too.
    pub fn inject_tun(&mut self, packet: &[u8]) -> Result<(), DropReason> {
        self.wake_rx = true;
        let pushed = self.ends.rx_inject.push(Head { kind: record::TO_TUN, a: 0, b: 0 }, &[packet]);
        self.counted(pushed)
    }

    fn counted(&self, pushed: bool) -> Result<(), DropReason> {
        if pushed {
            return Ok(());
        }
        self.ends.drops.count(DropReason::RingFull);
        Err(DropReason::RingFull)
    }

    /// The next thing a line told.
    pub fn next_event(&mut self) -> Option<LineEvent> {
        self.ends.events.iter_mut().find_map(|events| events.pop().ok())
    }

    /// The next packet for us.
    pub fn next_host(&mut self) -> Option<HostPacket<'_>> {
        let head = self.ends.host.pop(&mut self.scratch)?;
        let kind = match head.kind {
            record::HOST_TSMP => HostKind::Tsmp,
            record::HOST_REJECTED => HostKind::Rejected,
            _ => HostKind::Packet,
        };
        Some(HostPacket { kind, slot: PeerSlot::from_bits(head.a), bytes: &self.scratch })
    }

    /// The next packet that this machine has sent to [`PeerSlot::SERVICE`]: whole, without padding.
    pub fn next_service(&mut self) -> Option<&[u8]> {
        self.ends.services.pop(&mut self.scratch)?;
        Some(&self.scratch)
    }

    /// The next datagram for a relay: region, the peer it is for, the datagram.
    pub fn next_derp(&mut self) -> Option<(u16, NodePublic, &[u8])> {
        let head = self.ends.derp.pop(&mut self.scratch)?;
        let (key, datagram) = self.scratch.split_first_chunk()?;
        Some((head.a as u16, NodePublic::from_bytes(*key), datagram))
    }

    /// The next handshake message that rx let pass.
    pub fn next_handshake(&mut self) -> Option<(Source, &[u8])> {
        let head = self.ends.handshakes.pop(&mut self.scratch)?;
        record::decode_source(head, &self.scratch)
    }

    /// The next disco datagram that has come by UDP.
    pub fn next_disco(&mut self) -> Option<(Source, &[u8])> {
        let head = self.ends.disco.pop(&mut self.scratch)?;
        record::decode_source(head, &self.scratch)
    }

    /// The next STUN datagram that has come by UDP.
    pub fn next_stun(&mut self) -> Option<(Source, &[u8])> {
        let head = self.ends.stun.pop(&mut self.scratch)?;
        record::decode_source(head, &self.scratch)
    }

    /// What a known peer's traffic has been.
    pub fn activity(&self, slot: PeerSlot) -> Option<&PeerActivity> {
        self.peers
            .get(slot.index())?
            .as_ref()
            .filter(|known| known.slot == slot)
            .map(|known| &*known.activity)
    }

    /// Dropped packets by reason, of both lines and this handle.
    pub fn drops(&self) -> &DropCounters {
        &self.ends.drops
    }

    /// Frees what the lines have put away and sends on commands that found their ring full; whom it has given some
    /// [wants to be woken](Self::wants_wake_tx). To be called whenever a line wakes control.
    pub fn collect(&mut self) {
        self.wake_tx |= self.ends.tx.collect();
        self.wake_rx |= self.ends.rx.collect();
    }

    /// Whether tx has been given something since this was last asked.
    pub fn wants_wake_tx(&mut self) -> bool {
        std::mem::take(&mut self.wake_tx)
    }

    /// Whether rx has been given something since this was last asked.
    pub fn wants_wake_rx(&mut self) -> bool {
        std::mem::take(&mut self.wake_rx)
    }

    /// Commands that found their ring full.
    #[cfg(test)]
    pub(super) fn waiting(&self) -> usize {
        self.ends.tx.waiting() + self.ends.rx.waiting()
    }

    fn tell_tx(&mut self, command: TxCommand) {
        self.wake_tx = true;
        self.ends.tx.send(command);
    }

    fn tell_rx(&mut self, command: RxCommand) {
        self.wake_rx = true;
        self.ends.rx.send(command);
    }
}
