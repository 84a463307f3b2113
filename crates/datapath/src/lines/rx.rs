//! The line from peers to this machine: demux, open in place, source check, filter, deliver.
//!
//! Owns: the receiving sessions with their replay windows, and the flow table of the filter.
//! Leaves out: handshakes, disco and STUN beyond telling them apart, sockets (a [`UdpSource`] stands for them) and the TUN
//! (a [`TunSink`] does).
//!
//! Order matters twice: a turn first looks how much has been injected, then takes commands and announced flows; and
//! it takes them again whenever datagrams have come by UDP, before it looks at them. So a session installed before a
//! datagram was injected, or before the peer could know of it, is known when the datagram is opened, and a flow
//! announced before a packet went out is known when its answer comes; unless control has commanded so much that some
//! still waits on its side.

use super::batch::{self, Batch, HEADROOM, Packet, Run};
use super::command::{Inbox, RxCommand};
use super::demux::{self, Kind};
use super::event::{LineEvent, TurnReport};
use super::open::SessionTable;
use super::peer::{PeerTable, RxPeer};
use super::record;
use super::ring::{Head, RecordConsumer, RecordProducer};
use super::snapshot::InForce;
use super::udp::{Arrival, NoUdp, UdpSource};
use super::{Limits, masq};
use crate::drop::{DropCounters, DropReason};
use crate::filter::{FlowTable, FlowTuple};
use crate::kind::is_cookie_reply;
use crate::packet::build::Echo;
use crate::packet::{Parsed, merge, mss, proto};
use crate::slot::PeerSlot;
use crate::source::Source;
use crate::time::Tick;
use rtrb::{Consumer, Producer};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Room for handshakes that cookie replies leave free, in bytes: whoever knows no key can send them.
const COOKIE_SPARE: usize = 2 << 10;

/// Where packets go that are not for the control thread.
pub trait TunSink {
    /// Delivers packets in order; returns how many it took. Before each lie 16 bytes of the arena that nobody
    /// needs any more.
    fn deliver(&mut self, run: Run<'_>) -> usize;
}

/// No TUN: only the control thread takes packets.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoTun;

impl TunSink for NoTun {
    fn deliver(&mut self, _run: Run<'_>) -> usize {
        0
    }
}

/// Rings between rx and the rest.
#[derive(Debug)]
pub(super) struct RxEnds {
    pub(super) inbox: Inbox<RxCommand>,
    pub(super) inject: RecordConsumer,
    pub(super) flows: Consumer<FlowTuple>,
    pub(super) host: RecordProducer,
    pub(super) upward: Upward,
    pub(super) events: Producer<LineEvent>,
    pub(super) echo: Arc<AtomicBool>,
    pub(super) drops: Arc<DropCounters>,
}

/// What control handles, a queue for each kind: a flood of one leaves the others alone.
#[derive(Debug)]
pub(super) struct Upward {
    pub(super) handshakes: RecordProducer,
    pub(super) disco: RecordProducer,
    pub(super) stun: RecordProducer,
}

/// The line.
#[derive(Debug)]
pub struct RxLine {
    inbox: Inbox<RxCommand>,
    inject: RecordConsumer,
    announced: Consumer<FlowTuple>,
    batch: Batch,
    /// What lies in the batch's arena when it has come by UDP.
    arrivals: Vec<Arrival>,
    most: usize,
    sessions: SessionTable,
    snapshot: Option<Box<InForce>>,
    upward: Upward,
    events: Producer<LineEvent>,
    hall: Hall,
}

/// What a packet passes after it has been opened.
#[derive(Debug)]
struct Hall {
    peers: PeerTable<RxPeer>,
    flows: FlowTable,
    host: RecordProducer,
    /// Control waits for an echo reply.
    echo: Arc<AtomicBool>,
    drops: Arc<DropCounters>,
    /// Control has something to read.
    wake: bool,
    mtu: u16,
}

impl RxLine {
    pub(super) fn new(limits: &Limits, seed: [u8; 16], ends: RxEnds) -> Self {
        Self {
            inbox: ends.inbox,
            inject: ends.inject,
            announced: ends.flows,
            batch: Batch::to_open(limits.rx_arena, limits.batch),
            arrivals: Vec::with_capacity(limits.batch.max(1)),
            most: limits.batch.max(1),
            sessions: SessionTable::default(),
            snapshot: None,
            upward: ends.upward,
            events: ends.events,
            hall: Hall {
                peers: PeerTable::default(),
                flows: FlowTable::new(limits.flows, seed),
                host: ends.host,
                echo: ends.echo,
                drops: ends.drops,
                wake: false,
                mtu: limits.mtu,
            },
        }
    }

    /// Commands, then up to `budget` injected datagrams. `now` is read once by the caller.
    pub fn turn(&mut self, now: Tick, budget: u32) -> TurnReport {
        self.turn_with(now, budget, &mut NoTun, &mut NoUdp)
    }

    /// The same with a TUN, and sockets whose datagrams come after the injected ones and share their budget.
    pub fn turn_with(
        &mut self,
        now: Tick,
        budget: u32,
        tun: &mut dyn TunSink,
        udp: &mut dyn UdpSource,
    ) -> TurnReport {
        let mut pending = self.inject.pending();
        let mut packets = self.catch_up();
        let mut left = budget;
        self.arrivals.clear();
        while left > 0 && pending > 0 {
            let mut taken = self.pass_through(&mut pending, left, tun);
            if taken == 0 {
                taken = self.fill(&mut pending, left);
                if taken == 0 {
                    break;
                }
                self.process(now, tun);
            }
            left = left.saturating_sub(taken);
            packets = packets.saturating_add(taken);
        }
        let mut more = false;
        while left > 0 {
            self.batch.clear();
            self.arrivals.clear();
            more = udp.receive(&mut self.batch.arena, self.most, &mut self.arrivals, &self.hall.drops);
            let taken = self.arrivals.len() as u32;
            // Datagrams that are too large have come as well, and a flood of them has to leave room for what else there is.
            left = left.saturating_sub(taken.max(1));
            if taken > 0 {
                packets = packets.saturating_add(taken);
                packets = packets.saturating_add(self.catch_up());
                self.sort();
                self.process(now, tun);
            }
            if !more {
                break;
            }
        }
        let more = more || pending > 0;
        TurnReport {
            packets,
            more,
            wake_control: std::mem::take(&mut self.hall.wake),
            ..TurnReport::default()
        }
    }

    /// Takes all commands and announced flows; returns how many commands.
    fn catch_up(&mut self) -> u32 {
        let count = self.obey();
        while let Ok(flow) = self.announced.pop() {
            self.hall.flows.insert(flow);
        }
        count
    }

    /// Takes all commands; returns how many.
    fn obey(&mut self) -> u32 {
        let mut count = 0u32;
        while let Some(command) = self.inbox.next() {
            count = count.saturating_add(1);
            match command {
                RxCommand::Peer(peer) => self.put_back(|hall| hall.peers.insert(peer)),
                RxCommand::ClearPeer(slot) => self.put_back(|hall| hall.peers.remove(slot)),
                RxCommand::Session(session) => {
                    if let Some(old) = self.sessions.insert(session) {
                        self.inbox.retire(old);
                    }
                }
                RxCommand::Retire(local) => {
                    if let Some(old) = self.sessions.remove(local) {
                        self.inbox.retire(old);
                    }
                }
                RxCommand::Snapshot(snapshot) => {
                    let key = snapshot.snapshot.key;
                    if let Some(old) = self.snapshot.replace(snapshot) {
                        // In another tailnet somebody else may have the address that a flow went to.
                        if old.snapshot.key != key {
                            self.hall.flows.clear();
                        }
                        self.inbox.retire(old);
                    }
                }
                RxCommand::GrowPeers(places) => {
                    let old = self.hall.peers.grow(places);
                    self.inbox.retire(old);
                }
                RxCommand::GrowSessions(places) => {
                    let old = self.sessions.grow(places);
                    self.inbox.retire(old);
                }
            }
        }
        self.hall.wake |= count > 0 && self.inbox.is_awaited();
        count
    }

    fn put_back(&mut self, change: impl FnOnce(&mut Hall) -> Option<Box<RxPeer>>) {
        if let Some(old) = change(&mut self.hall) {
            self.inbox.retire(old);
        }
    }

    /// Delivers injected packets of our own services, up to the first record of another kind; returns how many. Datagrams
    /// that the sink may merge come next to each other: they have no order.
    fn pass_through(&mut self, pending: &mut usize, most: u32, tun: &mut dyn TunSink) -> u32 {
        self.batch.clear();
        let mut taken = 0;
        while taken < most
            && *pending > 0
            && let Some(record) = self.inject.front()
            && record.head.kind == record::TO_TUN
        {
            let (len, first) = (record.len(), self.batch.is_empty());
            match self.batch.room(HEADROOM + len) {
                None if !first => break,
                None => self.hall.drops.count(DropReason::TooLarge),
                Some(room) => {
                    record.copy_to(0, room.get_mut(HEADROOM..).unwrap_or_default());
                    self.batch.commit(HEADROOM + len, 0, 0);
                }
            }
            *pending = pending.saturating_sub(record.footprint());
            record.consume();
            taken += 1;
        }
        let (arena, packets) = self.batch.parts();
        for packet in packets.iter_mut() {
            (packet.start, packet.len) = (packet.start + HEADROOM as u32, packet.len - HEADROOM as u32);
            packet.peer = arena.get(packet.range()).map_or(0, merge::flock);
        }
        batch::group(packets);
        if !packets.is_empty() {
            let count = packets.len();
            let delivered = tun.deliver(Run::new(arena, packets));
            self.hall.drops.add(DropReason::NoHost, count.saturating_sub(delivered) as u32);
        }
        taken
    }

    /// Moves injected data messages into the batch and sorts out everything else; returns how many records it
    /// took.
    fn fill(&mut self, pending: &mut usize, most: u32) -> u32 {
        self.batch.clear();
        let mut taken = 0;
        while taken < most && *pending > 0 {
            let Some(record) = self.inject.front() else {
                *pending = 0;
                break;
            };
            let head = record.head;
            if head.kind == record::TO_TUN {
                break;
            }
            let (source, source_len) = record::source_bytes(&record);
            let len = record.len().saturating_sub(source_len);
            let Some(room) = self.batch.room(len) else {
                if !self.batch.is_empty() {
                    break;
                }
                *pending = pending.saturating_sub(record.footprint());
                record.consume();
                self.hall.drops.count(DropReason::TooLarge);
                taken += 1;
                continue;
            };
            let whole = record.copy_to(source_len, room);
            let kind = if whole { demux::kind(room) } else { Kind::Unknown };
            *pending = pending.saturating_sub(record.footprint());
            record.consume();
            taken += 1;
            if kind == Kind::Data {
                self.batch.commit(len, 0, 0);
                continue;
            }
            let source = source.get(..source_len).unwrap_or_default();
            let force = self.snapshot.as_deref();
            match self.upward.hand_up(kind, head, source, room, force) {
                Ok(()) => self.hall.wake = true,
                Err(reason) => self.hall.drops.count(reason),
            }
        }
        taken
    }

    /// Makes packets of the data messages among what has come by UDP, where they lie, and sorts out everything else.
    fn sort(&mut self) {
        let Batch { arena, packets, .. } = &mut self.batch;
        for arrival in &self.arrivals {
            let packet = Packet { start: arrival.start, len: arrival.len, peer: 0, note: 0 };
            let Some(datagram) = arena.get(packet.range()) else { continue };
            let kind = demux::kind(datagram);
            if kind == Kind::Data {
                packets.push(packet);
                continue;
            }
            let (head, start, len) = record::encode_source(&Source::Udp(arrival.from));
            let source = start.get(..len).unwrap_or_default();
            match self.upward.hand_up(kind, head, source, datagram, self.snapshot.as_deref()) {
                Ok(()) => self.hall.wake = true,
                Err(reason) => self.hall.drops.count(reason),
            }
        }
    }

    /// Opens, judges and delivers what is in the batch.
    fn process(&mut self, now: Tick, tun: &mut dyn TunSink) {
        let Self { batch, arrivals, sessions, hall, snapshot, events, .. } = self;
        let (arena, packets) = batch.parts();
        let mut told = false;
        let mut first = |local| {
            let done = events.push(LineEvent::FirstData(local)).is_ok();
            told |= done;
            done
        };
        sessions.open_batch(arena, packets, now, &hall.drops, &mut first);
        hall.wake |= told;
        let force = snapshot.as_deref();
        let mut arrivals = arrivals.iter();
        packets.retain_mut(|packet| match hall.admit(arena, packet, force, &mut arrivals, events, now) {
            Ok(for_tun) => for_tun,
            Err(reason) => {
                hall.drops.count(reason);
                false
            }
        });
        if !packets.is_empty() {
            let taken = tun.deliver(Run::new(arena, packets));
            hall.drops.add(DropReason::NoHost, packets.len().saturating_sub(taken) as u32);
        }
    }
}

impl Upward {
    /// A handshake message goes to control if its mac1 is right, and so do disco and STUN; whatever else is not data is
    /// refused.
    fn hand_up(
        &mut self,
        kind: Kind,
        head: Head,
        source: &[u8],
        datagram: &[u8],
        force: Option<&InForce>,
    ) -> Result<(), DropReason> {
        let mut spare = 0;
        let queue = match kind {
            Kind::Handshake => match force.filter(|force| force.snapshot.running) {
                None => return Err(DropReason::Acl),
                Some(force) if !force.mac1.ok(datagram) => return Err(DropReason::BadMac),
                Some(_) => {
                    spare = if is_cookie_reply(datagram) { COOKIE_SPARE } else { 0 };
                    &mut self.handshakes
                }
            },
            Kind::Disco => &mut self.disco,
            Kind::Stun => &mut self.stun,
            Kind::Data | Kind::Unknown if datagram.len() < super::open::SHORTEST => {
                return Err(DropReason::TooShort);
            }
            Kind::Data | Kind::Unknown => return Err(DropReason::Malformed),
        };
        if queue.push_sparing(spare, head, &[source, datagram]) { Ok(()) } else { Err(DropReason::RingFull) }
    }
}

/// Where an opened packet has come from: the arrivals are in the order of the packets, less those that failed.
fn sender(arrivals: &mut std::slice::Iter<'_, Arrival>, packet: &Packet) -> Option<SocketAddr> {
    let start = packet.start.checked_sub(HEADROOM as u32)?;
    arrivals.find(|arrival| arrival.start == start).map(|arrival| arrival.from)
}

impl Hall {
    /// What becomes of one opened packet. `Ok(true)`: it is for the TUN, and `packet` names it without padding.
    fn admit(
        &mut self,
        arena: &mut [u8],
        packet: &mut Packet,
        force: Option<&InForce>,
        arrivals: &mut std::slice::Iter<'_, Arrival>,
        events: &mut Producer<LineEvent>,
        now: Tick,
    ) -> Result<bool, DropReason> {
        let slot = PeerSlot::from_bits(packet.peer);
        let peer = self.peers.entry(slot).ok_or(DropReason::UnknownPeer)?;
        peer.activity.note_received(now, 1, packet.note, packet.len > 0);
        if let Some(heard) = &mut peer.roams
            && let Some(from) = sender(arrivals, packet)
            && heard.0 != Some(from)
            && events.push(LineEvent::Moved(slot, from)).is_ok()
        {
            heard.0 = Some(from);
            self.wake = true;
        }
        if packet.len == 0 {
            return Ok(false);
        }
        let force = force.filter(|force| force.snapshot.running).ok_or(DropReason::Acl)?;
        let text = arena.get_mut(packet.range()).ok_or(DropReason::TooShort)?;
        let mut parsed = Parsed::parse(text)?;
        let text = text.get_mut(..parsed.total_len as usize).ok_or(DropReason::TooShort)?;
        packet.len = parsed.total_len;
        if !force.snapshot.routes.owns(slot, parsed.src) {
            return Err(DropReason::BadSource);
        }
        if peer.masq.known(parsed.dst) == Some(parsed.dst)
            && let Some(own) = force.own(parsed.dst)
        {
            masq::rewrite(text, &mut parsed, masq::Side::Dst, own);
        }
        let jailed = peer.jailed;
        let own = force.is_own(parsed.dst);
        // Messages about the tunnel are answered whatever the filter says, and for what we route as well.
        if parsed.proto == proto::TSMP {
            return self.hand_over(record::HOST_TSMP, slot, text);
        }
        if let Err(reason) = force.snapshot.filter.check_in(&parsed, &mut self.flows, jailed) {
            // So that the peer's connect fails at once instead of waiting: control answers, within its own limits.
            if parsed.is_v4()
                && parsed.is_tcp_syn()
                && let Err(full) = self.hand_over(record::HOST_REJECTED, slot, text)
            {
                self.drops.count(full);
            }
            return Err(reason);
        }
        if own && !force.snapshot.tun {
            return self.hand_over(record::HOST_PACKET, slot, text);
        }
        // A reply that this machine's own ping waits for is not told from one that control waits for: both get it.
        if own
            && parsed.is_icmp()
            && self.echo.load(Ordering::Relaxed)
            && Echo::parse(&parsed, text).is_some_and(|echo| echo.reply)
            && let Err(full) = self.hand_over(record::HOST_PACKET, slot, text)
        {
            self.drops.count(full);
        }
        mss::clamp(text, &parsed, self.mtu);
        Ok(true)
    }

    /// To the control thread.
    fn hand_over(&mut self, kind: u32, slot: PeerSlot, text: &[u8]) -> Result<bool, DropReason> {
        self.wake = true;
        if self.host.push(Head { kind, a: slot.to_bits(), b: 0 }, &[text]) {
            Ok(false)
        } else {
            Err(DropReason::RingFull)
        }
    }
}
