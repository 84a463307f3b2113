//! Datagrams in, what the lines hand up, and what the tunnel wants done.

use super::{Engine, Output};
use crate::drop::DropReason;
use crate::host::{Reaction, Refused};
use crate::lines::demux::{self, Kind};
use crate::lines::{HostKind, LineEvent, Path};
use crate::packet::Parsed;
use crate::slot::PeerSlot;
use crate::time::{Mono, Wall};
use crate::wireguard::{Action, Source};
use netmap::RegionId;

/// Packets from the lines handled in one call, so that a flood does not hold up the control thread.
const HOST_BUDGET: u32 = 128;

impl Engine {
    /// A datagram arrived. Data goes to the receiving line, handshakes are handled here, anything else is dropped.
    pub fn handle_datagram(&mut self, from: Source, datagram: &[u8], now: Mono) {
        match demux::kind(datagram) {
            Kind::Data => {
                if let Source::Derp { region, peer } = from
                    && let Some(slot) = self.tunnel.slot_of(&peer)
                {
                    self.note_heard(slot, RegionId(region));
                }
                // A full ring is counted there.
                let _ = self.lines.inject_rx(&from, datagram);
            }
            Kind::Handshake => {
                self.handshake(from, datagram, now);
                self.act();
            }
            Kind::Disco => self.drops().count(DropReason::Disco),
            Kind::Stun => self.drops().count(DropReason::Stun),
            Kind::Unknown => self.drops().count(DropReason::Malformed),
        }
    }

    /// This machine sends an IP packet into the tailnet and no TUN carries it (a userspace stack, the simulator). It is
    /// routed, filtered and sealed by the sending line like any other. False: the ring to it is full, counted there.
    pub fn handle_outbound(&mut self, packet: &[u8]) -> bool {
        self.lines.inject_tx(packet, None).is_ok()
    }

    /// Takes what the lines have told since the last call: wishes for sessions, proofs of sessions, handshake
    /// messages, packets for us. True if there is more than one call handles.
    pub fn handle_lines(&mut self, now: Mono, wall: Wall) -> bool {
        self.lines.collect();
        while let Some(event) = self.lines.next_event() {
            match event {
                LineEvent::NeedHandshake(slot) => self.tunnel.want_session(slot, now, wall),
                LineEvent::FirstData(local) => self.tunnel.first_data(local, now),
                LineEvent::Moved(slot, addr) => self.note_moved(slot, addr),
            }
        }
        let mut scratch = std::mem::take(&mut self.scratch);
        while let Some((from, message)) = self.lines.next_handshake() {
            scratch.clear();
            scratch.extend_from_slice(message);
            self.handshake(from, &scratch, now);
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
        left == 0
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
                    // An answer to a peer by name: its initiation was authentic.
                    if let (Some(slot), Some(Source::Udp(addr))) = (slot, to) {
                        self.note_moved(slot, addr);
                    }
                    let to = to.or_else(|| slot.and_then(|slot| self.way_to(slot)));
                    match to {
                        Some(to) => self.outputs.push_back(Output::Transmit { to, bytes }),
                        None => self.drops().count(DropReason::NoPath),
                    }
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
        }
    }

    fn way_to(&self, slot: PeerSlot) -> Option<Source> {
        let peer = self.peers.by_slot(slot)?;
        match peer.path() {
            Path::None => None,
            Path::Derp { region } => Some(Source::Derp { region, peer: peer.config.key }),
            Path::Udp(addr) => Some(Source::Udp(addr)),
        }
    }
}
