//! The two packet lines and the handle by which the control thread steers them.
//!
//! Owns: everything a packet meets between machine and wire: rings, arenas, sessions with their counters and replay
//! windows, staging, route, filter and masquerade as applied to batches. [`new`] makes the three parts; each may live
//! on a thread of its own, or one thread drives all. Nothing here locks, allocates, reads a clock or waits while
//! packets pass: the control side allocates and frees, the lines only move.
//! Leaves out: sockets, TUN, threads and wake-ups (the driver turns the lines and hands in sinks), handshakes,
//! answers to packets for us.
//!
//! ```text
//! Control ── commands ──► TxLine: inject ring, TunSource ► filter ► route ► masq ► seal ► DERP ring | UdpSink
//!                                                  └► services ring
//!         ── commands ──► RxLine: inject ring, UdpSource ► demux ► open ► source ► masq ► filter ► host ring | TunSink
//!         ◄── retired boxes, events, host packets, handshakes ──    tx ── announced flows ──► rx
//! ```

mod activity;
pub mod batch;
mod command;
mod control;
pub mod demux;
mod event;
mod limits;
mod masq;
pub mod open;
mod peer;
mod record;
pub mod replay;
pub mod ring;
mod rx;
pub mod seal;
mod snapshot;
mod staging;
#[cfg(test)]
mod tests;
mod tx;
mod udp;

pub use activity::{Moments, PeerActivity, Traffic};
pub use control::{Control, HostKind, HostPacket};
pub use event::{LineEvent, TurnReport};
pub use limits::Limits;
pub use peer::{Path, PeerFacts};
pub use rx::{NoTun, RxLine, TunSink};
pub use snapshot::Snapshot;
pub use tx::{TunSource, TxLine};
pub use udp::{Arrival, NoUdp, UdpSink, UdpSource};

use crate::drop::DropCounters;
use rtrb::RingBuffer;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

/// The control handle and the two lines. `seeds` are random: they key the hashes of flows. Everything passes nothing
/// until the first [`Snapshot`] is published.
pub fn new(limits: &Limits, seeds: [[u8; 16]; 2]) -> (Control, TxLine, RxLine) {
    let drops = Arc::new(DropCounters::default());
    let (tx_outbox, tx_inbox) = command::mailbox(limits.commands);
    let (rx_outbox, rx_inbox) = command::mailbox(limits.commands);
    let (tx_inject, tx_injected) = ring::records(limits.inject);
    let (rx_inject, rx_injected) = ring::records(limits.derp_in);
    let (derp_in, derp) = ring::records(limits.derp_out);
    let (host_in, host) = ring::records(limits.host);
    let (services_in, services) = ring::records(limits.services);
    let (handshakes_in, handshakes) = ring::records(limits.handshakes);
    let (disco_in, disco) = ring::records(limits.disco);
    let (stun_in, stun) = ring::records(limits.stun);
    let (flows_in, flows) = RingBuffer::new(limits.announcements);
    let (tx_events_in, tx_events) = RingBuffer::new(limits.events);
    let (rx_events_in, rx_events) = RingBuffer::new(limits.events);
    let echo = Arc::new(AtomicBool::new(false));
    let [tx_seed, rx_seed] = seeds;
    let tx = TxLine::new(
        limits,
        tx_seed,
        tx::TxEnds {
            inbox: tx_inbox,
            inject: tx_injected,
            derp: derp_in,
            services: services_in,
            flows: flows_in,
            events: tx_events_in,
            drops: Arc::clone(&drops),
        },
    );
    let rx = RxLine::new(
        limits,
        rx_seed,
        rx::RxEnds {
            inbox: rx_inbox,
            inject: rx_injected,
            flows,
            host: host_in,
            upward: rx::Upward { handshakes: handshakes_in, disco: disco_in, stun: stun_in },
            events: rx_events_in,
            echo: Arc::clone(&echo),
            drops: Arc::clone(&drops),
        },
    );
    let control = Control::new(control::Ends {
        tx: tx_outbox,
        rx: rx_outbox,
        tx_inject,
        rx_inject,
        derp,
        host,
        services,
        handshakes,
        disco,
        stun,
        events: [tx_events, rx_events],
        echo,
        drops,
    });
    (control, tx, rx)
}
