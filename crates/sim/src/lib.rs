//! Deterministic simulated network that drives the real engine: no sockets, no runtime, one thread, one seed.
//!
//! Owns: virtual time, the order of events, links, NATs and firewalls ([`net`]), DERP regions, a stand-in for control,
//! and the frame in which scenarios run ([`World`]). Nodes are anything that implements [`SimNode`]; the one that matters is [`Station`], the
//! real engine, and a [`Tailnet`] of them around one relay. [`Scenario`]s are text that a [`Stage`] plays among NATs; others
//! are plain code in `tests/`.
//! Leaves out: bandwidth, TLS and the wire formats of control and
//! DERP. Tests only; nothing of it is shipped.
//!
//! A scenario is plain code: build a world, add nodes, call [`World::run_for`] and change the world between the
//! calls, then compare [`Timeline::render`]. The same seed gives the same timeline on every machine: ties in time
//! are broken by sequence, and nothing iterates over a hash map.

pub mod clock;
pub mod control;
pub mod derp;
mod finder;
pub mod link;
pub mod net;
pub mod node;
pub mod policy;
pub mod queue;
pub mod scenario;
pub mod station;
pub mod tailnet;
pub mod timeline;
pub mod witness;
pub mod world;

pub use clock::Clock;
pub use control::{Control, News};
pub use derp::Region;
pub use link::{Link, LinkStats};
pub use node::{Interfaces, Moment, SimNode, Source, Transmit};
pub use policy::Policy;
pub use scenario::{Scenario, Stage, Step};
pub use station::Station;
pub use tailnet::Tailnet;
pub use timeline::Timeline;
pub use world::{NodeIx, World};

#[cfg(test)]
mod tests;
