//! How large the fixed parts are: chosen once, by machine.

use super::batch::Packet;
use super::command::{self, RxCommand, TxCommand};
use super::event::LineEvent;
use super::staging::Staging;
use crate::filter::{DEFAULT_FLOWS, FlowTuple};

/// Sizes in bytes unless said otherwise. The defaults suit a small router: a batch fits its caches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Ring of packets that control gives to tx.
    pub inject: usize,
    /// Ring of datagrams that control gives to rx (what relays deliver).
    pub derp_in: usize,
    /// Ring of datagrams for relays.
    pub derp_out: usize,
    /// Ring of packets for us.
    pub host: usize,
    /// Ring of packets of this machine for the services of this node.
    pub services: usize,
    /// Ring of handshake messages that passed the first check.
    pub handshakes: usize,
    /// Ring of disco datagrams.
    pub disco: usize,
    /// Ring of STUN datagrams.
    pub stun: usize,
    /// Arena of tx.
    pub tx_arena: usize,
    /// Arena of rx.
    pub rx_arena: usize,
    /// Packets in an arena at most.
    pub batch: usize,
    /// All packets that wait for sessions.
    pub staging: usize,
    /// Packets of one peer that wait for its session.
    pub staged_per_peer: usize,
    /// Flows whose answers pass the filter.
    pub flows: usize,
    /// Flows on their way from tx to rx.
    pub announcements: usize,
    /// Commands under way to a line.
    pub commands: usize,
    /// Events under way from a line.
    pub events: usize,
    /// The largest packet of the tunnel: TCP connections through it are kept from using larger ones.
    pub mtu: u16,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            inject: 64 << 10,
            derp_in: 128 << 10,
            derp_out: 128 << 10,
            host: 32 << 10,
            services: 12 << 10,
            handshakes: 4 << 10,
            disco: 6 << 10,
            stun: 1 << 10,
            // All packets of one large one of the TUN, which leave as one datagram.
            tx_arena: 68 << 10,
            rx_arena: 64 << 10,
            batch: 64,
            staging: 96 << 10,
            staged_per_peer: 32,
            flows: DEFAULT_FLOWS,
            announcements: 128,
            commands: 128,
            events: 128,
            mtu: 1280,
        }
    }
}

impl Limits {
    /// Memory that the lines take at start, in bytes; tables of peers and sessions come on top.
    pub const fn heap_bytes(&self) -> usize {
        let small = self.handshakes + self.disco + self.stun;
        let rings = self.inject + self.derp_in + self.derp_out + self.host + self.services + small;
        let arenas = self.tx_arena + self.rx_arena + 2 * self.batch * size_of::<Packet>();
        // An entry of the flow table is its tuple, a few links and a bucket.
        let flows = self.flows * (size_of::<FlowTuple>() + 16) + self.announcements * size_of::<FlowTuple>();
        let commands =
            command::heap_bytes::<TxCommand>(self.commands) + command::heap_bytes::<RxCommand>(self.commands);
        let events = 2 * self.events * size_of::<LineEvent>();
        rings + arenas + flows + commands + events + Staging::heap_bytes(self.staging)
    }
}
