//! The line from peers to this machine: demux, open in place, source check, filter, deliver.
//!
//! Owns: the receiving sessions with their replay windows, and the flow table of the filter.
//! Leaves out: handshakes and disco beyond telling them apart, where datagrams come from other than the inject ring,
//! the TUN (a [`TunSink`] stands for it).
//!
//! Order matters once: a turn first looks how much has been injected, then takes commands and announced flows. So
//! a session installed before a datagram was injected is known when it is opened, and a flow announced before a
//! packet went out is known when its answer comes.

use super::batch::{Batch, Packet, Run};
use super::command::{Inbox, RxCommand};
use super::demux::{self, Kind};
use super::event::{LineEvent, TurnReport};
use super::open::SessionTable;
use super::peer::{PeerTable, RxPeer};
use super::record;
use super::ring::{Head, RecordConsumer, RecordProducer};
use super::snapshot::InForce;
use super::{Limits, masq};
use crate::drop::{DropCounters, DropReason};
use crate::filter::{FlowTable, FlowTuple};
use crate::packet::build::Echo;
use crate::packet::{Parsed, proto};
use crate::slot::PeerSlot;
use crate::time::Tick;
use rtrb::{Consumer, Producer};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

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
    pub(super) handshakes: RecordProducer,
    pub(super) events: Producer<LineEvent>,
    pub(super) echo: Arc<AtomicBool>,
    pub(super) drops: Arc<DropCounters>,
}

/// The line.
#[derive(Debug)]
pub struct RxLine {
    inbox: Inbox<RxCommand>,
    inject: RecordConsumer,
    announced: Consumer<FlowTuple>,
    batch: Batch,
    sessions: SessionTable,
    snapshot: Option<Box<InForce>>,
    handshakes: RecordProducer,
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
}

impl RxLine {
    pub(super) fn new(limits: &Limits, seed: [u8; 16], ends: RxEnds) -> Self {
        Self {
            inbox: ends.inbox,
            inject: ends.inject,
            announced: ends.flows,
            batch: Batch::to_open(limits.rx_arena, limits.batch),
            sessions: SessionTable::default(),
            snapshot: None,
            handshakes: ends.handshakes,
            events: ends.events,
            hall: Hall {
                peers: PeerTable::default(),
                flows: FlowTable::new(limits.flows, seed),
                host: ends.host,
                echo: ends.echo,
                drops: ends.drops,
                wake: false,
            },
        }
    }

    /// Commands, then up to `budget` injected datagrams. `now` is read once by the caller.
    pub fn turn(&mut self, now: Tick, budget: u32) -> TurnReport {
        self.turn_with(now, budget, &mut NoTun)
    }

    /// The same with a TUN.
    pub fn turn_with(&mut self, now: Tick, budget: u32, tun: &mut dyn TunSink) -> TurnReport {
        let mut pending = self.inject.pending();
        let mut packets = self.obey();
        while let Ok(flow) = self.announced.pop() {
            self.hall.flows.insert(flow);
        }
        let mut left = budget;
        while left > 0 && pending > 0 {
            let taken = self.fill(&mut pending, left);
            if taken == 0 {
                break;
            }
            left = left.saturating_sub(taken);
            packets = packets.saturating_add(taken);
            self.process(now, tun);
        }
        TurnReport { packets, more: pending > 0, wake_control: std::mem::take(&mut self.hall.wake) }
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
                    if let Some(old) = self.snapshot.replace(snapshot) {
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
        count
    }

    fn put_back(&mut self, change: impl FnOnce(&mut Hall) -> Option<Box<RxPeer>>) {
        if let Some(old) = change(&mut self.hall) {
            self.inbox.retire(old);
        }
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
            let refused = match kind {
                Kind::Data => {
                    self.batch.commit(len, 0, 0);
                    continue;
                }
                Kind::Handshake => {
                    let source = source.get(..source_len).unwrap_or_default();
                    match self.snapshot.as_deref().filter(|force| force.snapshot.running) {
                        None => DropReason::Acl,
                        Some(force) if !force.mac1.ok(room) => DropReason::BadMac,
                        Some(_) if !self.handshakes.push(head, &[source, room]) => DropReason::RingFull,
                        Some(_) => {
                            self.hall.wake = true;
                            continue;
                        }
                    }
                }
                Kind::Disco => DropReason::Disco,
                Kind::Unknown if len < super::open::SHORTEST => DropReason::TooShort,
                Kind::Unknown => DropReason::Malformed,
            };
            self.hall.drops.count(refused);
        }
        taken
    }

    /// Opens, judges and delivers what is in the batch.
    fn process(&mut self, now: Tick, tun: &mut dyn TunSink) {
        let Self { batch, sessions, hall, snapshot, events, .. } = self;
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
        packets.retain_mut(|packet| match hall.admit(arena, packet, force, now) {
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

impl Hall {
    /// What becomes of one opened packet. `Ok(true)`: it is for the TUN, and `packet` names it without padding.
    fn admit(
        &mut self,
        arena: &mut [u8],
        packet: &mut Packet,
        force: Option<&InForce>,
        now: Tick,
    ) -> Result<bool, DropReason> {
        let slot = PeerSlot::from_bits(packet.peer);
        let peer = self.peers.entry(slot).ok_or(DropReason::UnknownPeer)?;
        peer.activity.note_received(now, 1, packet.note, packet.len > 0);
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
