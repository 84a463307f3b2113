//! The kernel's side of a tunnel: the TUN device, and link, addresses and routes by netlink.
//!
//! Owns: opening the device ([`Tun`]), working out what to change ([`plan`], pure), changing it and reading it back
//! ([`Router`]), removing what a killed run left ([`cleanup`]).
//! Leaves out: what the addresses and routes are (the caller gives them whole), policy rules, netfilter, DNS, who
//! reads packets from the device. Nothing here knows what the tunnel is for.
//!
//! What is ours and what is not: routes carry a protocol number of their own ([`PROTOCOL`]) and lead to our device;
//! addresses are ours if they are on our device and this run has set them or they lie in the ranges the caller
//! names. Everything else is left alone.

mod error;
mod kernel;
mod netlink;
mod plan;
mod router;
mod tun;

pub use error::Error;
pub use kernel::PROTOCOL;
pub use plan::{Config, Op, plan};
pub use router::{Router, cleanup};
pub use tun::Tun;
