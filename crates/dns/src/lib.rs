//! MagicDNS: what a node answers itself, whom it asks for the rest, and what it tells the machine's own resolver.
//!
//! Owns: reading and writing DNS messages as far as a stub resolver needs it ([`message`]), the whole configuration
//! ([`Config`]) and how it follows from the netmap ([`wanted`]), answers that need no network ([`local`]), one
//! forwarded query as a pure state machine ([`race`]) and what drives many of them ([`forward`]), the sockets they go by
//! ([`shared`]), the table of providers that speak DNS over HTTPS ([`providers`]), what people ask by hand ([`shown`]), and
//! the machine's resolv.conf ([`resolvconf`]) and the name servers in it ([`server`]).
//! Leaves out: the sockets that queries come in by, TLS and HTTP, the netmap's changes, clocks. It knows nothing of
//! the daemon. Protocol reference §9.
//!
//! Queries are hostile, and so are answers: nothing here panics, and nothing grows with what somebody sends.

pub mod config;
mod cut;
pub mod forward;
pub mod frames;
pub mod hosts;
pub mod local;
pub mod message;
pub mod name;
pub mod providers;
pub mod race;
pub mod resolvconf;
mod reverse;
pub mod server;
pub mod shared;
pub mod shown;
pub mod upstream;
mod via;
pub mod wanted;

pub use config::Config;
pub use hosts::Hosts;
pub use local::Answer;
pub use server::Server;
pub use upstream::Upstream;

use netmap::{SERVICE_V4, SERVICE_V6};
use std::borrow::Cow;
use std::net::IpAddr;

/// Whether this is our own resolver, to which nothing is ever forwarded.
pub fn is_service(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => v4 == SERVICE_V4,
        IpAddr::V6(v6) => v6 == SERVICE_V6 || v6.to_ipv4_mapped() == Some(SERVICE_V4),
    }
}

/// How a query came, and so how large its answer may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Transport {
    /// A datagram: 512 bytes, or what the asker names by EDNS.
    Udp,
    /// A stream: 65535 bytes.
    Tcp,
}

/// What the machine does not let us do.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The file, or one beside it, cannot be written.
    #[error(
        "cannot write {path}: {reason}; tailnet names are found only by asking 100.100.100.100 (make it writable, or set --accept-dns=false)"
    )]
    Unwritable {
        /// Which.
        path: Cow<'static, str>,
        /// In the system's words.
        reason: Cow<'static, str>,
    },
    /// The file is there and cannot be read.
    #[error("cannot read {path}: {reason}")]
    Unreadable {
        /// Which.
        path: Cow<'static, str>,
        /// In the system's words.
        reason: Cow<'static, str>,
    },
}
