//! Where a message came from.

use keys::NodePublic;
use std::net::SocketAddr;

/// Where a message came from, so that its answer returns the same way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Source {
    /// Through a relay.
    Derp {
        /// The relay's region.
        region: u16,
        /// Whom the relay names as the sender.
        peer: NodePublic,
    },
    /// Straight from an address.
    Udp(SocketAddr),
}
