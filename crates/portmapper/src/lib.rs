//! Asks the router in front of this machine for a UDP port of its own: NAT-PMP (RFC 6886), PCP (RFC 6887) and UPnP-IGD.
//!
//! Owns: finding the gateway, the three protocols, which of them is tried first, renewing and giving back ([`run`]).
//! Leaves out: what the port is for, when the network has changed (the caller says so), TCP (`dial` opens it).
//! Protocol reference §5.
//!
//! Everything a router says is taken as hostile: answers are bounded, and nothing is asked of any other host than the
//! gateway. Nothing is sent while a mapping is good for more than half its time.

mod gateway;
mod http;
mod igd;
mod mapping;
pub mod pcp;
pub mod pmp;
mod probe;
mod run;
pub mod ssdp;
pub mod upnp;
pub mod xml;

pub use gateway::{Gateway, default_gateway};
pub use probe::Found;
pub use run::{Disabled, State, Want, run};

use std::time::Duration;

/// What is asked for, and half of which is waited before it is asked for again.
const LEASE: Duration = Duration::from_secs(7200);
/// The shortest that is believed: a router that says less is asked again after a minute all the same.
const SHORTEST: Duration = Duration::from_secs(120);
/// The longest that is believed.
const LONGEST: Duration = Duration::from_secs(24 * 3600);

/// A protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protocol {
    /// NAT-PMP.
    Pmp,
    /// PCP.
    Pcp,
    /// UPnP-IGD.
    Upnp,
}

impl Protocol {
    /// As people know it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Pmp => "NAT-PMP",
            Self::Pcp => "PCP",
            Self::Upnp => "UPnP",
        }
    }
}

/// Why there is no mapping.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Error {
    /// Nothing came in time.
    Silent,
    /// The router refuses.
    Refused(String),
    /// The router's answer makes no sense.
    Nonsense(&'static str),
    /// The system failed.
    Io(String),
}

impl std::fmt::Display for Error {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Silent => f.write_str("no answer"),
            Self::Refused(why) => write!(f, "refused: {why}"),
            Self::Nonsense(what) => write!(f, "nonsense: {what}"),
            Self::Io(error) => f.write_str(error),
        }
    }
}

impl From<std::io::Error> for Error {
    fn from(error: std::io::Error) -> Self {
        Self::Io(error.to_string())
    }
}

/// How long a mapping lasts whose router says `seconds`.
fn lease(seconds: u32) -> Duration {
    Duration::from_secs(seconds.into()).clamp(SHORTEST, LONGEST)
}
