//! Feature `portmapper`: an open port of the router in front of this machine.

use std::net::SocketAddrV4;

#[cfg(feature = "portmapper")]
#[path = "enabled.rs"]
mod imp;
#[cfg(not(feature = "portmapper"))]
#[path = "disabled.rs"]
mod imp;

pub use imp::*;

/// What the router forwards, and what it speaks; `None` = it was not asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Mapping {
    /// Where the internet reaches our UDP port.
    pub external: Option<SocketAddrV4>,
    /// NAT-PMP.
    pub pmp: Option<bool>,
    /// PCP.
    pub pcp: Option<bool>,
    /// UPnP-IGD.
    pub upnp: Option<bool>,
}
