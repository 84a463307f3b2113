//! The kernel's side of a tunnel: the TUN device, and link, addresses and routes by netlink.
//!
//! Owns: opening the device ([`Tun`]), where routes are put ([`lay_out`], pure), working out what to change ([`plan`],
//! pure), changing it and reading it back ([`Router`]), the way out that is not the interface, the packet filter ([`Netfilter`]), removing what a killed run
//! left ([`cleanup`], [`cleanup_rules`]).
//! Leaves out: what the addresses and routes are (the caller gives them whole), DNS, who reads packets from the device.
//!
//! What is ours and what is not: routes carry a protocol number of their own ([`PROTOCOL`]) and lead to our device or
//! around it; policy rules are ours if they are exactly those that we make; addresses are ours if they are on our
//! device and this run has set them or they lie in the ranges the caller names. Everything else is left alone.

mod attributes;
mod error;
mod kernel;
mod layout;
mod netfilter;
mod netlink;
mod plan;
mod router;
mod tun;
mod way_out;

pub use error::Error;
pub use kernel::PROTOCOL;
pub use layout::{BYPASS_MARK, Config, Ipv6, Layout, MARK_MASK, Neighbour, TABLE, lay_out};
pub use netfilter::rules::{FORWARDED_MARK, Firewall, Mode};
pub use netfilter::{Kind, Netfilter, cleanup_rules};
pub use plan::{Marked, Op, Route, Rule, State, plan};
pub use router::{Router, cleanup};
pub use tun::Tun;
pub use way_out::WayOut;
