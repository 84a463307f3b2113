//! What the world asks of a node: the sans-IO shape of the engine.

use crate::control::News;
use engine::time::{Mono, Wall};
use keys::NodePublic;
use netmap::RegionId;
use std::net::{IpAddr, SocketAddr};

/// Now, on both clocks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Moment {
    /// Monotonic time.
    pub mono: Mono,
    /// Wall time, as wrong as the scenario makes it.
    pub wall: Wall,
}

/// Where a datagram came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    /// From a UDP address.
    Udp(SocketAddr),
    /// Through a relay.
    Derp {
        /// Which region.
        region: RegionId,
        /// Whose node key the relay names as the sender.
        peer: NodePublic,
    },
}

/// A datagram that a node sends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Transmit {
    /// To a UDP address.
    Udp {
        /// Where to.
        to: SocketAddr,
        /// The datagram.
        bytes: Vec<u8>,
    },
    /// Through a relay.
    Derp {
        /// Which region.
        region: RegionId,
        /// To whom.
        to: NodePublic,
        /// The datagram.
        bytes: Vec<u8>,
    },
}

/// What a machine knows of its own place in the network.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Interfaces {
    /// Its addresses, the one with the default route first.
    pub addresses: Vec<IpAddr>,
    /// Its UDP port.
    pub port: u16,
    /// The outer address that a router has promised to forward to it.
    pub forwarded: Option<SocketAddr>,
}

/// A node under simulation. After every `handle_*` the world takes all of `poll_transmit`, `poll_host` and
/// `poll_note`, then asks `poll_timeout`.
pub trait SimNode {
    /// A datagram arrived.
    fn handle_datagram(&mut self, from: Source, bytes: &[u8], at: Moment);

    /// Control said something.
    fn handle_news(&mut self, news: &News, at: Moment);

    /// The machine's interfaces, at the start and when they change.
    fn handle_interfaces(&mut self, _: &Interfaces, _: Moment) {}

    /// The node's own host sends an IP packet to the tailnet.
    fn handle_host(&mut self, packet: &[u8], at: Moment);

    /// The moment of [`Self::poll_timeout`] has come.
    fn handle_timeout(&mut self, at: Moment);

    /// The next datagram to send, until `None`.
    fn poll_transmit(&mut self, at: Moment) -> Option<Transmit>;

    /// The next IP packet for the node's own host, until `None`.
    fn poll_host(&mut self) -> Option<Vec<u8>>;

    /// The next remark for the timeline, until `None`.
    fn poll_note(&mut self) -> Option<String> {
        None
    }

    /// The addresses that the node tells control it can be reached at, when they have changed.
    fn poll_endpoints(&mut self) -> Option<Vec<SocketAddr>> {
        None
    }

    /// When [`Self::handle_timeout`] is due. It must move beyond now once that has been called.
    fn poll_timeout(&self) -> Option<Mono>;

    /// What to call a datagram in the timeline.
    fn describe(bytes: &[u8]) -> String {
        format!("{} B", bytes.len())
    }
}
