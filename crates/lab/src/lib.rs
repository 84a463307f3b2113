//! A small laboratory of network namespaces: a switch that stands for the internet, hosts with their own `/etc`,
//! easy and hard NAT routers, a real headscale with its own CA, Go nodes and ours.
//!
//! Owns: everything a test needs around the node. Each value cleans up after itself when it is dropped, also in a
//! panic: processes by the pid that was started, namespaces by the name that was made (the name carries this
//! process's pid and a counter, and namespaces of dead processes are swept when a new lab starts).
//! Leaves out: what a test asserts (package `blackbox`), installing the peers (`cargo xtask peers`), delay and loss.
//!
//! ```no_run
//! # fn main() -> anyhow::Result<()> {
//! use lab::{Flavour, Lab, Ping};
//! use std::time::Duration;
//! let lab = Lab::new()?;
//! let headscale = lab.headscale()?;
//! let mut one = lab.node("one", Flavour::Ours)?;
//! let mut two = lab.node("two", Flavour::Go)?;
//! for node in [&mut one, &mut two] {
//!     node.host.block_udp()?;
//!     node.start()?;
//!     node.join(&headscale)?;
//! }
//! let pings = one.ping(Ping::Tsmp, &two.ipv4()?, 10)?;
//! assert_eq!(pings.replies, 10);
//! # Ok(())
//! # }
//! ```

mod ca;
mod capture;
mod command;
mod headscale;
mod host;
pub mod load;
mod network;
mod node;
mod note;
mod port_mapper;
mod priority;
mod process;
mod programs;
mod refuse;
mod relay;
mod router;
mod wait;

pub use ca::{Authority, Certificate};
pub use capture::{Capture, Sent};
pub use command::{Outcome, run};
pub use headscale::{AS_IT_COMES, Headscale, PROMPT};
pub use host::Host;
pub use network::Lab;
pub use node::{Node, Ping, Pings};
pub use note::{report, skip, test_name};
pub use port_mapper::{PortMapper, Speaks};
pub use priority::Preferred;
pub use process::{Process, cpu};
pub use programs::{
    Flavour, Need, debug_build, missing, ours_dir, peers_dir, target_dir, wireguard_go, workspace_root,
};
pub use refuse::{Refused, everywhere, refuse};
pub use relay::Relay;
pub use router::{Nat, Router};
pub use wait::{now, until};
