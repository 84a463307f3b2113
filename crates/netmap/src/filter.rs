//! Packet filter rules as control sends them, parsed once: an entry that did not parse is already left out, so
//! a broken rule narrows what is allowed and never widens it.

use ipnet::IpNet;
use std::net::IpAddr;
use std::sync::Arc;

/// One rule: these sources may reach these destinations with these protocols.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct FilterRule {
    /// Who; rules of the same sources share one list.
    pub srcs: Arc<[RuleSrc]>,
    /// Where to; empty in a rule that only grants capabilities.
    pub dsts: Box<[RuleDst]>,
    /// IP protocol numbers; empty = TCP, UDP, ICMP and ICMPv6.
    pub protos: Box<[u8]>,
    /// Capabilities granted to these sources.
    pub cap_grants: Box<[CapGrant]>,
}

impl FilterRule {
    /// Whether it depends on what peers can do whom it lets in.
    pub fn is_by_capability(&self) -> bool {
        self.srcs.iter().any(|src| matches!(src, RuleSrc::Cap(_)))
    }
}

/// A set of sources.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RuleSrc {
    /// `*`: every address of both families.
    Any,
    /// An address or prefix.
    Net(IpNet),
    /// First and last address of a range, same family, in order.
    Range(IpAddr, IpAddr),
    /// `cap:<name>`: peers that have this node capability.
    Cap(Box<str>),
}

/// A set of destinations.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RuleDst {
    /// Addresses; never `RuleSrc::Cap`.
    pub net: RuleSrc,
    /// Ports, inclusive.
    pub ports: PortRange,
}

/// An inclusive range of ports.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PortRange {
    /// Lowest port.
    pub first: u16,
    /// Highest port, not below `first`.
    pub last: u16,
}

impl PortRange {
    /// Every port.
    pub const ALL: Self = Self { first: 0, last: u16::MAX };

    /// Whether `port` lies within.
    pub const fn contains(self, port: u16) -> bool {
        self.first <= port && port <= self.last
    }
}

/// Capabilities that a rule's sources have towards some of our addresses.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct CapGrant {
    /// Our addresses it applies to.
    pub dsts: Box<[IpNet]>,
    /// Capability name to its raw JSON values.
    pub caps: crate::CapMap,
}
