//! The pure packet engine of a node: WireGuard, paths, filter and routes.
//!
//! Owns: everything that decides what happens to a packet, and every key that protects one. It is split as the
//! machine is: the slow path ([`Engine`], on the control thread) handshakes, runs timers and answers for our own
//! addresses; the two packet lines ([`lines`], on packet threads; crate `datapath`, which is seen from here as if it
//! were part of this one) seal and open batches in place.
//! Leaves out: sockets, clocks, threads, the global random number generator, DERP connections, TUN devices.
//! Time ([`time::Mono`], [`time::Wall`]) and randomness (a seed) are arguments, so the simulator drives this very
//! code.
//!
//! ```text
//!  control thread                                 packet thread(s)
//!  Engine ── commands, inject rings ────────────► lines::Tx ─► route ─► filter ─► seal ─► DERP ring ─┐
//!    ▲  ◄─ events, host packets, activity ticks ── lines::Rx ◄─ filter ◄─ source check ◄─ open ◄─ inject ring
//!    └── handshakes, pings, refusals                                              DERP client ◄──────┘
//! ```

mod by_key;
mod engine;
pub mod host;
pub mod magicsock;
pub mod netcheck;
pub mod wireguard;

pub use datapath::{drop, filter, lines, packet, routes, session, slot, time};
use datapath::{kind, mac1, source};
pub use engine::{
    DiscoPong, Engine, Output, PathPingError, PeerConfig, PeerView, PingOutcome, PingRequest, SelfConfig,
    StartError,
};
