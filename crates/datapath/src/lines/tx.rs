//! The line from this machine to its peers: filter, route, seal in place, send by path.
//!
//! Owns: everything that is sealed, with the only send counters there are, and the packets that wait for a session.
//! Leaves out: the TUN (a [`TunSource`] stands for it) and sockets (a [`UdpSink`] does).
//!
//! Order matters once: a turn first looks how much has been injected, then takes commands. So whatever control
//! commanded before it injected a packet is in force for that packet, unless there was so much of it that it still
//! waits on control's side.

use super::batch::{self, Batch, Packet, Run};
use super::command::{Inbox, TxCommand};
use super::event::{LineEvent, TurnReport};
use super::peer::{Path, PeerTable, TxPeer};
use super::record;
use super::ring::{Head, RecordConsumer, RecordProducer};
use super::rx::NoTun;
use super::seal::REKEY_AFTER_MESSAGES;
use super::snapshot::InForce;
use super::staging::{Queue, Staging};
use super::udp::{NoUdp, UdpSink};
use super::{Limits, masq};
use crate::drop::{DropCounters, DropReason};
use crate::filter::{Announcer, FlowTuple};
use crate::packet::{Parsed, mss, proto};
use crate::slot::PeerSlot;
use crate::time::Tick;
use rtrb::Producer;
use std::net::IpAddr;
use std::sync::Arc;

/// Milliseconds after which control is asked again for a session that has not come: the retry interval of
/// handshakes.
const ASK_AGAIN: u32 = 5_000;

/// So many packets are a batch when the last of them ends a large one.
const ENOUGH: u32 = 16;

/// Where packets of this machine come from.
pub trait TunSource {
    /// Bytes of the largest packet it may have.
    fn largest(&self) -> usize;

    /// Reads one packet into `room`, which takes [`Self::largest`] bytes unless no arena is that large; `None` when
    /// there is none now.
    fn read(&mut self, room: &mut [u8]) -> Option<usize>;

    /// Whether the next packet was cut out of the same large one as the last.
    fn in_large(&self) -> bool {
        false
    }
}

impl TunSource for NoTun {
    fn largest(&self) -> usize {
        0
    }

    fn read(&mut self, _room: &mut [u8]) -> Option<usize> {
        None
    }
}

/// Rings between tx and the rest.
#[derive(Debug)]
pub(super) struct TxEnds {
    pub(super) inbox: Inbox<TxCommand>,
    pub(super) inject: RecordConsumer,
    pub(super) derp: RecordProducer,
    pub(super) services: RecordProducer,
    pub(super) flows: Producer<FlowTuple>,
    pub(super) events: Producer<LineEvent>,
    pub(super) drops: Arc<DropCounters>,
}

/// The line.
#[derive(Debug)]
pub struct TxLine {
    inbox: Inbox<TxCommand>,
    inject: RecordConsumer,
    batch: Batch,
    desk: Desk,
    snapshot: Option<Box<InForce>>,
    announcer: Announcer,
    flows: Producer<FlowTuple>,
    /// The destination looked up last: packets come in runs.
    last: Option<(IpAddr, PeerSlot)>,
    /// Flows have been announced and rx, which may sleep, should take them.
    wake_rx: bool,
}

/// What sealing and sending need, apart from the batch itself.
#[derive(Debug)]
struct Desk {
    peers: PeerTable<TxPeer>,
    staging: Staging,
    staged_per_peer: usize,
    derp: RecordProducer,
    /// To the services of this node.
    services: RecordProducer,
    events: Producer<LineEvent>,
    drops: Arc<DropCounters>,
    /// Control has something to read.
    wake: bool,
    ways: Ways,
    mtu: u16,
}

/// Where packets of a turn went.
#[derive(Debug, Default)]
struct Ways {
    /// To relays.
    relayed: bool,
    /// By UDP.
    direct: bool,
    /// To services of this node.
    served: bool,
}

impl TxLine {
    pub(super) fn new(limits: &Limits, seed: [u8; 16], ends: TxEnds) -> Self {
        Self {
            inbox: ends.inbox,
            inject: ends.inject,
            batch: Batch::to_seal(limits.tx_arena, limits.batch),
            desk: Desk {
                peers: PeerTable::default(),
                staging: Staging::new(limits.staging),
                staged_per_peer: limits.staged_per_peer,
                derp: ends.derp,
                services: ends.services,
                events: ends.events,
                drops: ends.drops,
                wake: false,
                ways: Ways::default(),
                mtu: limits.mtu,
            },
            snapshot: None,
            announcer: Announcer::new(limits.flows, seed),
            flows: ends.flows,
            last: None,
            wake_rx: false,
        }
    }

    /// Commands, then up to `budget` injected packets. `now` is read once by the caller.
    pub fn turn(&mut self, now: Tick, budget: u32) -> TurnReport {
        self.turn_with(now, budget, &mut NoTun, &mut NoUdp)
    }

    /// The same with a TUN, whose packets come after the injected ones and share their budget, and sockets.
    pub fn turn_with(
        &mut self,
        now: Tick,
        budget: u32,
        tun: &mut dyn TunSource,
        udp: &mut dyn UdpSink,
    ) -> TurnReport {
        let mut pending = self.inject.pending();
        let mut packets = self.obey(now, udp);
        let mut left = budget;
        while left > 0 && pending > 0 {
            let taken = self.fill(&mut pending, left);
            if taken == 0 {
                break;
            }
            left = left.saturating_sub(taken);
            packets = packets.saturating_add(taken);
            self.process(now, udp);
        }
        let mut dry = true;
        while left > 0 {
            let taken;
            (taken, dry) = self.read(tun, left);
            left = left.saturating_sub(taken);
            packets = packets.saturating_add(taken);
            self.process(now, udp);
            if dry {
                break;
            }
        }
        let more = pending > 0 || !dry;
        let wake_rx = std::mem::take(&mut self.wake_rx);
        let wake_control = std::mem::take(&mut self.desk.wake);
        let Ways { relayed, direct, served } = std::mem::take(&mut self.desk.ways);
        TurnReport { packets, more, wake_control, wake_rx, relayed, direct, served }
    }

    /// Reads packets straight into the arena; returns how many, and whether there are no more. A large packet is read to
    /// its end, and ends the batch when that is worth a call of its own: so its packets leave as one datagram.
    fn read(&mut self, tun: &mut dyn TunSource, most: u32) -> (u32, bool) {
        self.batch.clear();
        let largest = tun.largest().min(self.batch.largest());
        let mut taken = 0;
        let mut cut = false;
        while (taken < most || cut)
            && let Some(room) = self.batch.room(largest)
        {
            let Some(len) = tun.read(room).map(|len| len.min(largest)) else { return (taken, true) };
            taken += 1;
            if len == 0 {
                self.desk.drops.count(DropReason::TooShort);
            } else {
                self.batch.commit(len, 0, record::FROM_TUN);
            }
            let was_cut = std::mem::replace(&mut cut, tun.in_large());
            if was_cut && !cut && taken >= ENOUGH {
                break;
            }
        }
        (taken, false)
    }

    /// Takes all commands; returns how many.
    fn obey(&mut self, now: Tick, udp: &mut dyn UdpSink) -> u32 {
        let mut count = 0u32;
        while let Some(command) = self.inbox.next() {
            count = count.saturating_add(1);
            match command {
                TxCommand::Peer(peer) => self.set_peer(peer),
                TxCommand::ClearPeer(slot) => {
                    if let Some(mut peer) = self.desk.peers.remove(slot) {
                        self.desk.drop_queue(&mut peer.staged);
                        self.inbox.retire(peer);
                    }
                }
                TxCommand::Path(slot, path, asleep) => {
                    if let Some(peer) = self.desk.peers.entry(slot) {
                        (peer.facts.path, peer.facts.asleep, peer.failed) = (path, asleep, false);
                    }
                }
                TxCommand::Session(session) => {
                    let slot = session.peer();
                    let Some(peer) = self.desk.peers.entry(slot) else {
                        self.inbox.retire(session);
                        continue;
                    };
                    peer.asked = None;
                    if let Some(old) = peer.session.replace(session) {
                        self.inbox.retire(old);
                    }
                    self.flush(slot, now, udp);
                }
                TxCommand::Retire(slot, local) => {
                    if let Some(peer) = self.desk.peers.entry(slot)
                        && let Some(old) = peer.session.take_if(|session| session.local() == local)
                    {
                        self.inbox.retire(old);
                    }
                }
                TxCommand::DropStaged(slot) => {
                    if let Some(peer) = self.desk.peers.entry(slot) {
                        peer.asked = None;
                        let mut queue = std::mem::take(&mut peer.staged);
                        self.desk.drop_queue(&mut queue);
                    }
                }
                TxCommand::Snapshot(snapshot) => {
                    self.last = None;
                    if let Some(old) = self.snapshot.replace(snapshot) {
                        self.inbox.retire(old);
                    }
                }
                TxCommand::GrowPeers(places) => {
                    let old = self.desk.peers.grow(places);
                    self.inbox.retire(old);
                }
            }
        }
        self.desk.wake |= count > 0 && self.inbox.is_awaited();
        count
    }

    fn set_peer(&mut self, mut peer: Box<TxPeer>) {
        if let Some(mut old) = self.desk.peers.vacate(peer.slot) {
            if old.slot == peer.slot {
                peer.session = old.session.take();
                peer.staged = std::mem::take(&mut old.staged);
                peer.asked = old.asked;
            } else {
                self.desk.drop_queue(&mut old.staged);
            }
            self.inbox.retire(old);
        }
        if let Some(homeless) = self.desk.peers.insert(peer) {
            self.inbox.retire(homeless);
        }
    }

    /// Moves injected records into the batch; returns how many records it took.
    fn fill(&mut self, pending: &mut usize, most: u32) -> u32 {
        self.batch.clear();
        let mut taken = 0;
        while taken < most && *pending > 0 {
            let Some(record) = self.inject.front() else {
                // Half a record: the rest of it is being written, and a wake follows.
                *pending = 0;
                break;
            };
            let Head { kind, a, b } = record.head;
            let Some(room) = self.batch.room(record.len()) else {
                if !self.batch.is_empty() {
                    break;
                }
                *pending = pending.saturating_sub(record.footprint());
                record.consume();
                self.desk.drops.count(DropReason::TooLarge);
                taken += 1;
                continue;
            };
            let whole = record.copy_to(0, room);
            *pending = pending.saturating_sub(record.footprint());
            let len = record.len();
            record.consume();
            taken += 1;
            match kind {
                record::KEEPALIVE => self.batch.commit(0, a, b),
                _ if !whole || len == 0 => self.desk.drops.count(DropReason::TooShort),
                record::TO_PEER => self.batch.commit(len, a, record::TO_PEER),
                _ => self.batch.commit(len, 0, record::ROUTED),
            }
        }
        taken
    }

    /// Judges, groups, seals and sends what is in the batch.
    fn process(&mut self, now: Tick, udp: &mut dyn UdpSink) {
        let Self { batch, desk, snapshot, announcer, flows, last, wake_rx, .. } = self;
        let (arena, packets) = batch.parts();
        let mut judge = Judge { force: snapshot.as_deref(), announcer, flows, last, wake_rx, now };
        packets.retain_mut(|packet| match desk.admit(arena, packet, &mut judge) {
            Ok(kept) => kept,
            Err(reason) => {
                desk.drops.count(reason);
                false
            }
        });
        desk.send(arena, packets, now, udp);
    }

    /// Sends what waited for a peer's session; gives it up if nothing may pass any more.
    fn flush(&mut self, slot: PeerSlot, now: Tick, udp: &mut dyn UdpSink) {
        if !self.snapshot.as_ref().is_some_and(|force| force.snapshot.running) {
            if let Some(peer) = self.desk.peers.entry(slot) {
                let mut queue = std::mem::take(&mut peer.staged);
                self.desk.drop_queue(&mut queue);
            }
            return;
        }
        loop {
            self.batch.clear();
            let Some(peer) = self.desk.peers.entry(slot) else { return };
            while let Some(len) = self.desk.staging.front_len(&peer.staged)
                && let Some(room) = self.batch.room(len)
            {
                self.desk.staging.pop(&mut peer.staged, room);
                self.batch.commit(len, slot.to_bits(), 0);
            }
            if self.batch.is_empty() {
                return;
            }
            let (arena, packets) = self.batch.parts();
            self.desk.send(arena, packets, now, udp);
        }
    }
}

/// What decides about a packet.
struct Judge<'a> {
    force: Option<&'a InForce>,
    announcer: &'a mut Announcer,
    flows: &'a mut Producer<FlowTuple>,
    last: &'a mut Option<(IpAddr, PeerSlot)>,
    wake_rx: &'a mut bool,
    now: Tick,
}

impl Judge<'_> {
    fn route(&mut self, force: &InForce, dst: IpAddr) -> Result<PeerSlot, DropReason> {
        if let Some((addr, slot)) = *self.last
            && addr == dst
        {
            return Ok(slot);
        }
        // The system keeps what it sends to itself; with a default route through a peer, what slips through must not
        // travel.
        if force.is_own(dst) {
            return Err(DropReason::NoRoute);
        }
        let slot = force.snapshot.routes.lookup(dst).ok_or(DropReason::NoRoute)?;
        *self.last = Some((dst, slot));
        Ok(slot)
    }

    /// Before the packet is sent, so that its answer cannot overtake the news. With the ring full the packet goes
    /// all the same: at worst its answer is refused.
    fn announce(&mut self, flow: Option<FlowTuple>) {
        let Some(flow) = flow.filter(|flow| self.announcer.due(flow, self.now)) else { return };
        if self.flows.push(flow).is_err() {
            self.announcer.forget(&flow);
        }
        // Most flows are taken when their answers come; many that open at once must not wait for one.
        *self.wake_rx |= self.flows.slots() < self.flows.buffer().capacity() / 2;
    }
}

impl Desk {
    /// Whether a packet is to be sealed now, in which case `peer` names its peer. `Ok(false)`: it was staged, or is for a
    /// service of this node.
    fn admit(
        &mut self,
        arena: &mut [u8],
        packet: &mut Packet,
        judge: &mut Judge<'_>,
    ) -> Result<bool, DropReason> {
        if packet.len == 0 {
            let peer = self.peers.entry(PeerSlot::from_bits(packet.peer)).ok_or(DropReason::UnknownPeer)?;
            return match &mut peer.session {
                Some(session) if session.local() == packet.note => {
                    session.usable(judge.now).then_some(true).ok_or(DropReason::Expired)
                }
                _ => Err(DropReason::UnknownSession),
            };
        }
        let force = judge.force.filter(|force| force.snapshot.running).ok_or(DropReason::Acl)?;
        let text = arena.get_mut(packet.range()).ok_or(DropReason::TooShort)?;
        let mut parsed = Parsed::parse(text)?;
        let text = text.get_mut(..parsed.total_len as usize).ok_or(DropReason::TooShort)?;
        packet.len = parsed.total_len;
        if packet.note == record::FROM_TUN && parsed.proto == proto::TSMP {
            return Err(DropReason::HostTsmp);
        }
        let flow = force.snapshot.filter.check_out(&parsed)?;
        let slot = if packet.note == record::TO_PEER {
            PeerSlot::from_bits(packet.peer)
        } else {
            judge.route(force, parsed.dst)?
        };
        let Some(peer) = self.peers.entry(slot) else { return self.serve(slot, text) };
        judge.announce(flow);
        if let Some(known) = peer.facts.masq().known(parsed.src)
            && force.own(parsed.src) == Some(parsed.src)
        {
            masq::rewrite(text, &mut parsed, masq::Side::Src, known);
        }
        mss::clamp(text, &parsed, self.mtu);
        packet.peer = slot.to_bits();
        if peer.session.as_mut().is_some_and(|session| session.usable(judge.now)) {
            return Ok(true);
        }
        self.stage(slot, text, judge.now)?;
        Ok(false)
    }

    /// What is routed to no peer may be for a service of ours.
    #[cold]
    fn serve(&mut self, slot: PeerSlot, text: &[u8]) -> Result<bool, DropReason> {
        if slot != PeerSlot::SERVICE {
            return Err(DropReason::UnknownPeer);
        }
        self.wake = true;
        self.ways.served = true;
        match self.services.push(Head::default(), &[text]) {
            true => Ok(false),
            false => Err(DropReason::RingFull),
        }
    }

    fn stage(&mut self, slot: PeerSlot, text: &[u8], now: Tick) -> Result<(), DropReason> {
        if !self.staging.holds(text.len()) {
            return Err(DropReason::Staging);
        }
        // First one's own: whoever fills the store is not to take the place of others.
        let peer = self.peers.entry(slot).ok_or(DropReason::UnknownPeer)?;
        while peer.staged.len() >= self.staged_per_peer.max(1) && self.staging.pop(&mut peer.staged, &mut [])
        {
            self.drops.count(DropReason::Staging);
        }
        while !self.staging.fits(text.len()) {
            let owner = self.staging.oldest_owner().ok_or(DropReason::Staging)?;
            let peer = self.peers.entry(PeerSlot::from_bits(owner)).ok_or(DropReason::Staging)?;
            if !self.staging.pop(&mut peer.staged, &mut []) {
                return Err(DropReason::Staging);
            }
            self.drops.count(DropReason::Staging);
        }
        let peer = self.peers.entry(slot).ok_or(DropReason::UnknownPeer)?;
        if !self.staging.push(&mut peer.staged, slot.to_bits(), text) {
            return Err(DropReason::Staging);
        }
        self.wake |= ask(&mut self.events, peer, now);
        Ok(())
    }

    fn drop_queue(&mut self, queue: &mut Queue) {
        while self.staging.pop(queue, &mut []) {
            self.drops.count(DropReason::Staging);
        }
    }

    /// Seals and sends, run by run of the same peer.
    fn send(&mut self, arena: &mut [u8], packets: &mut [Packet], now: Tick, udp: &mut dyn UdpSink) {
        // By age within a peer, so that nothing is reordered.
        batch::group(packets);
        for run in packets.chunk_by_mut(|a, b| a.peer == b.peer) {
            let Some(first) = run.first() else { continue };
            let count = run.len() as u32;
            let slot = PeerSlot::from_bits(first.peer);
            if let Err(reason) = self.send_run(slot, arena, run, now, udp) {
                self.drops.add(reason, count);
            }
        }
    }

    fn send_run(
        &mut self,
        slot: PeerSlot,
        arena: &mut [u8],
        run: &mut [Packet],
        now: Tick,
        udp: &mut dyn UdpSink,
    ) -> Result<(), DropReason> {
        let peer = self.peers.entry(slot).ok_or(DropReason::UnknownPeer)?;
        if peer.facts.asleep && self.events.push(LineEvent::Woken(slot)).is_ok() {
            peer.facts.asleep = false;
            self.wake = true;
        }
        // No counter is spent on what cannot be sent.
        if peer.facts.path == Path::None {
            return Err(DropReason::NoPath);
        }
        let session = peer.session.as_mut().ok_or(DropReason::UnknownSession)?;
        if !session.usable(now) {
            return Err(DropReason::Expired);
        }
        let data = run.iter().any(|packet| packet.len > 0);
        let sealed = session.seal_batch(arena, run, self.mtu);
        let worn = session.sealed() >= REKEY_AFTER_MESSAGES;
        let unsealed = run.len().saturating_sub(sealed);
        self.drops.add(DropReason::Expired, unsealed as u32);
        let bytes = run.iter().fold(0u32, |sum, packet| sum.wrapping_add(packet.len));
        let sealed_run = Run::new(arena, run);
        let (direct, region) = match peer.facts.path {
            Path::None => (None, None),
            Path::Derp { region } => (None, Some(region)),
            Path::Udp(to) => (Some(to), None),
            Path::Both { addr, region } => (Some(addr), Some(region)),
        };
        self.ways.relayed |= region.is_some();
        self.ways.direct |= direct.is_some();
        let mut sent = 0;
        if let Some(to) = direct {
            let before = self.drops.get(DropReason::Unreachable);
            sent = udp.send(to, sealed_run, &self.drops);
            let failed = sent == 0 && self.drops.get(DropReason::Unreachable) != before;
            if failed && !peer.failed && self.events.push(LineEvent::Unreachable(slot)).is_ok() {
                peer.failed = true;
                self.wake = true;
            }
        }
        if let Some(region) = region {
            let head = Head { kind: record::DERP, a: u32::from(region), b: 0 };
            let mut refused = 0u32;
            for datagram in sealed_run.iter() {
                refused += u32::from(!self.derp.push(head, &[peer.facts.key.as_bytes(), datagram]));
            }
            self.drops.add(DropReason::RingFull, refused);
            self.wake = true;
            sent = sent.max(sealed.saturating_sub(refused as usize));
        }
        let sent = sent as u32;
        if sent > 0 {
            peer.activity.note_sent(now, sent, bytes, data);
        }
        if worn {
            self.wake |= ask(&mut self.events, peer, now);
        }
        Ok(())
    }
}

/// Asks control for a session, once while none comes, and again every five seconds of traffic. True if it did.
fn ask(events: &mut Producer<LineEvent>, peer: &mut TxPeer, now: Tick) -> bool {
    if peer.asked.is_some_and(|asked| now.since(asked) < ASK_AGAIN) {
        return false;
    }
    if events.push(LineEvent::NeedHandshake(peer.slot)).is_err() {
        return false;
    }
    peer.asked = Some(now);
    true
}
