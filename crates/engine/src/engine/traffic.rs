//! Datagrams in, what the lines hand up, and what the tunnel wants done.

use super::{Engine, Output};
use crate::drop::DropReason;
use crate::host::{Reaction, Refused};
use crate::kind::is_cookie_reply;
use crate::lines::demux::{self, Kind};
use crate::lines::{HostKind, LineEvent, Path};
use crate::packet::Parsed;
use crate::slot::PeerSlot;
use crate::time::{Mono, Tick, Wall};
use crate::wireguard::{Action, Source};
use netmap::{NodeId, RegionId};
use std::net::IpAddr;

/// Packets from the lines handled in one call, so that a flood does not hold up the control thread.
const HOST_BUDGET: u32 = 128;

/// The same for handshake messages: each may cost three multiplications of a curve, 6 ms on the slowest processors. Counted
/// apart from disco, which a flood of them is to leave alone.
pub(super) const HANDSHAKE_BUDGET: u32 = 4;

/// Cookie replies, counted apart from both: whoever knows no key can send them, and almost all cost a look into a table.
const COOKIE_BUDGET: u32 = 64;

/// The same for disco and STUN: most of them cost a box to open.
const SIGNAL_BUDGET: u32 = 64;

/// Milliseconds after which a node without traffic counts as idle (protocol reference §4.4).
const LATELY: u32 = 45_000;

impl Engine {
    /// A datagram arrived. Data goes to the receiving line, handshakes and disco are handled here, STUN comes out as
    /// [`Output::Stun`], anything else is dropped.
    pub fn handle_datagram(&mut self, from: Source, datagram: &[u8], now: Mono) {
        self.now = now;
        let kind = demux::kind(datagram);
        if matches!(kind, Kind::Data | Kind::Handshake)
            && let Source::Derp { region, peer } = from
            && let Some(slot) = self.tunnel.slot_of(&peer)
        {
            self.note_heard(slot, RegionId(region));
        }
        match kind {
            Kind::Data => {
                // A full ring is counted there.
                let _ = self.lines.inject_rx(&from, datagram);
            }
            Kind::Handshake => {
                self.handshake(from, datagram, now);
                self.act();
            }
            Kind::Disco => self.handle_disco(from, datagram, now),
            Kind::Stun => self.handle_stun(from, datagram),
            Kind::Unknown => self.drops().count(DropReason::Malformed),
        }
    }

    /// Whether packets other than keepalives have passed lately, in either direction.
    pub fn has_traffic(&self, now: Mono) -> bool {
        let lately = |at: Option<Tick>| at.is_some_and(|at| now.tick().since(at) <= LATELY);
        self.sessions.keys().filter_map(|slot| self.lines.activity(*slot)).any(|activity| {
            let moments = activity.moments();
            lately(moments.sent_data) || lately(moments.received_data)
        })
    }

    /// This machine sends an IP packet into the tailnet and no TUN carries it (a userspace stack, the simulator). It is
    /// routed, filtered and sealed by the sending line like any other. False: the ring to it is full, counted there.
    pub fn handle_outbound(&mut self, packet: &[u8]) -> bool {
        self.lines.inject_tx(packet, None).is_ok()
    }

    /// The next packet that this machine has sent to an address of [`SelfConfig::services`](super::SelfConfig::services).
    /// To be asked until it is `None` after [`Self::handle_lines`].
    pub fn next_service(&mut self) -> Option<&[u8]> {
        self.lines.next_service()
    }

    /// Hands this machine a packet of such a service, through the TUN. False: the ring to it is full, counted there.
    pub fn deliver(&mut self, packet: &[u8]) -> bool {
        self.lines.inject_tun(packet).is_ok()
    }

    /// Whether a peer at `src` may begin to speak `proto` with `port` of `dst`, by the filter in force.
    pub fn allows(&self, proto: u8, src: IpAddr, dst: IpAddr, port: u16) -> bool {
        self.config.filter.allows(proto, src, dst, port)
    }

    /// The peer whose packets may come from `addr`, its own or one behind it, by the routes in force.
    pub fn peer_at(&self, addr: IpAddr) -> Option<NodeId> {
        self.peers.by_slot(self.lines.peer_at(addr)?).map(|peer| peer.config.id)
    }

    /// Takes what the lines have told since the last call: wishes for sessions, proofs of sessions, handshake
    /// messages, packets for us. True if there is more than one call handles.
    pub fn handle_lines(&mut self, now: Mono, wall: Wall) -> bool {
        self.now = now;
        self.lines.collect();
        while let Some(event) = self.lines.next_event() {
            match event {
                LineEvent::NeedHandshake(slot) => self.tunnel.want_session(slot, now, wall),
                LineEvent::FirstData(local) => self.tunnel.first_data(local, now),
                LineEvent::Woken(slot) => self.wake_path(slot, now),
                LineEvent::Unreachable(slot) => self.path_unreachable(slot, now),
                LineEvent::Moved(slot, addr) => self.note_moved(slot, addr),
            }
        }
        let mut scratch = std::mem::take(&mut self.scratch);
        let (mut handshakes, mut cookies) = (HANDSHAKE_BUDGET, COOKIE_BUDGET);
        while handshakes > 0
            && cookies > 0
            && let Some((from, message)) = self.lines.next_handshake()
        {
            *if is_cookie_reply(message) { &mut cookies } else { &mut handshakes } -= 1;
            scratch.clear();
            scratch.extend_from_slice(message);
            self.handshake(from, &scratch, now);
        }
        let mut signals = SIGNAL_BUDGET;
        while signals > 0
            && let Some((from, datagram)) = self.lines.next_disco()
        {
            signals -= 1;
            scratch.clear();
            scratch.extend_from_slice(datagram);
            self.handle_disco(from, &scratch, now);
        }
        while signals > 0
            && let Some((from, datagram)) = self.lines.next_stun()
        {
            signals -= 1;
            scratch.clear();
            scratch.extend_from_slice(datagram);
            self.handle_stun(from, &scratch);
        }
        let mut left = HOST_BUDGET;
        while left > 0
            && let Some(packet) = self.lines.next_host()
        {
            left -= 1;
            let (kind, slot) = (packet.kind, packet.slot);
            scratch.clear();
            scratch.extend_from_slice(packet.bytes);
            self.handle_host(kind, slot, &scratch, now);
        }
        self.scratch = scratch;
        self.act();
        left == 0 || signals == 0 || handshakes == 0 || cookies == 0
    }

    fn handshake(&mut self, from: Source, message: &[u8], now: Mono) {
        if let Err(reason) = self.tunnel.handle_message(from, message, now) {
            self.drops().count(reason);
        }
    }

    fn handle_host(&mut self, kind: HostKind, slot: PeerSlot, packet: &[u8], now: Mono) {
        let reply = match kind {
            HostKind::Rejected => {
                let refused =
                    Parsed::parse(packet).ok().and_then(|p| Refused::of(&p, self.config.shields_up));
                refused.and_then(|refused| self.host.refuse(&refused, now))
            }
            HostKind::Packet | HostKind::Tsmp => match self.host.handle(packet, now) {
                Reaction::Reply(reply) => Some(reply),
                Reaction::Answer(answer) => {
                    self.answered(answer);
                    None
                }
                Reaction::Nothing => None,
            },
        };
        if let Some(reply) = reply {
            // A full ring loses the answer like any packet, counted there.
            let _ = self.lines.inject_tx(&reply, Some(slot));
        }
    }

    /// Carries out what the tunnel wants.
    pub(super) fn act(&mut self) {
        while let Some(action) = self.tunnel.poll_action() {
            match action {
                Action::Transmit { slot, to, bytes } => {
                    // An answer to a peer by name: its initiation was authentic. Answered by both ways, a peer that speaks
                    // WireGuard only would go back to the way that it has just left.
                    if let (Some(slot), Some(Source::Udp(addr))) = (slot, to) {
                        self.note_moved(slot, addr);
                    }
                    self.transmit(slot, to, bytes);
                }
                Action::Install(keys) => {
                    self.lines.install(&keys);
                    self.count_session(keys.peer, true);
                }
                Action::Confirm { local, .. } => self.lines.confirm(local),
                Action::Hold { local, .. } => self.lines.hold(local),
                Action::Retire { slot, local } => {
                    self.lines.retire(local);
                    self.count_session(slot, false);
                }
                // A keepalive that finds the ring full comes after packets that serve as well.
                Action::Keepalive { local, .. } => drop(self.lines.keepalive(local)),
                // Told by `SessionState`.
                Action::Established { .. } => {}
                Action::GaveUp { slot } => self.lines.drop_staged(slot),
            }
        }
        let live = self.sessions.len();
        if live != self.told_live {
            self.told_live = live;
            self.outputs.push_back(Output::LivePeers(live));
        }
    }

    /// A peer has a session more, or one less.
    fn count_session(&mut self, slot: PeerSlot, more: bool) {
        let count = self.sessions.entry(slot).or_insert(0_u32);
        *count = if more { count.saturating_add(1) } else { count.saturating_sub(1) };
        if *count == 0 {
            self.sessions.remove(&slot);
            self.gather_last(slot);
        }
    }

    /// Sends a handshake message the way that packets go, and an answer also the way that the question came, which works.
    fn transmit(&mut self, slot: Option<PeerSlot>, back: Option<Source>, bytes: Box<[u8]>) {
        if let Some(slot) = slot {
            self.wake_path(slot, self.now);
        }
        let (direct, relay) = slot.map_or((None, None), |slot| self.ways_to(slot));
        let back = back.filter(|back| Some(*back) != direct && Some(*back) != relay);
        let mut ways = [direct, relay, back].into_iter().flatten();
        let Some(mut to) = ways.next() else { return self.drops().count(DropReason::NoPath) };
        for next in ways {
            self.outputs.push_back(Output::Transmit { to, bytes: bytes.clone() });
            to = next;
        }
        self.outputs.push_back(Output::Transmit { to, bytes });
    }

    /// Directly and through a relay, as packets to this peer go.
    fn ways_to(&self, slot: PeerSlot) -> (Option<Source>, Option<Source>) {
        let Some(peer) = self.peers.by_slot(slot) else { return (None, None) };
        let relay = Source::Derp { region: self.relays.to(peer).0, peer: peer.config.key };
        match peer.path() {
            Path::None => (None, None),
            Path::Derp { .. } => (None, Some(relay)),
            Path::Udp(addr) => (Some(Source::Udp(addr)), None),
            Path::Both { addr, .. } => (Some(Source::Udp(addr)), Some(relay)),
        }
    }
}
