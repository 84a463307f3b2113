//! Deterministic simulated network that drives the real engine: no sockets, no runtime, one thread, one seed.
//!
//! Owns: virtual time, the order of events, links, DERP regions, a stand-in for control, and the frame in which
//! scenarios run ([`World`]). What is simulated on the nodes is theirs: anything that implements [`SimNode`].
//! Leaves out: NATs (nodes have one public UDP address each), bandwidth, TLS and the wire formats of control and
//! DERP. Tests only; nothing of it is shipped.
//!
//! A scenario is plain code: build a world, add nodes, call [`World::run_for`] and change the world between the
//! calls, then compare [`Timeline::render`]. The same seed gives the same timeline on every machine: ties in time
//! are broken by sequence, and nothing iterates over a hash map.

pub mod clock;
pub mod control;
pub mod derp;
pub mod link;
pub mod node;
pub mod queue;
pub mod timeline;
pub mod world;

pub use clock::Clock;
pub use control::{Control, News};
pub use derp::Region;
pub use link::{Link, LinkStats};
pub use node::{Moment, SimNode, Source, Transmit};
pub use timeline::Timeline;
pub use world::{NodeIx, World};

#[cfg(test)]
mod tests;
