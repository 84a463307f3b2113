//! What lies between the nodes: sites behind NATs and firewalls, nested as they come, and the internet above them.
//!
//! [`Plan`] says what there is, [`Network`] carries datagrams through it and keeps what NATs and firewalls remember,
//! and [`oracle`] works out from a plan alone which nodes can reach each other. Leaves out: time underway and loss
//! ([`crate::Link`]), TCP (relays and control are always reached unless a scenario says otherwise).

pub mod behaviour;
mod nat;
mod network;
pub mod oracle;
pub mod plan;
pub mod stun;
#[cfg(test)]
mod tests;
mod wall;

pub use behaviour::{Behaviour, Dependence, Ports};
pub use network::{Flight, Network, Place, STUN_PORT};
pub use plan::{Firewall, INTERNET, Machine, Plan, Site, SiteIx, Uplink, V4};
