//! Plain values of what control decided: self, peers, DERP map, filter rules, DNS, users.
//!
//! Owns: [`Map`] and [`Set`] for the whole program, and the vocabulary that the control client fills in and that engine, backend and LocalAPI read, and the
//! pure rules by which deltas change it (`NetMap::apply_*`).
//! Leaves out: wire JSON (in `control` and `localapi`), anything with a socket or a clock.
//!
//! Values are kept small: a router may have to hold 10 000 peers in a few megabytes, so strings are `Box<str>`,
//! lists are boxed slices, what many nodes have in common is shared, and only what some part of the node reads is
//! kept. A node is to take at most 320 bytes and what its own texts and lists need.

mod apply;
mod derp;
mod dns;
mod endpoints;
mod filter;
mod host;
mod ids;
mod map;
mod node;
mod patch;
mod timestamp;
mod user;

pub use apply::{Changes, Delta, NetMap};
pub use derp::{DerpMap, DerpMapDelta, DerpNode, DerpRegion, FamilyAddr, RegionId};
pub use dns::{DnsConfig, DnsRecord, DnsResolver, SERVICE_V4, SERVICE_V6};
pub use endpoints::Endpoints;
pub use filter::{CapGrant, FilterRule, PortRange, RuleDst, RuleSrc};
pub use host::{HostRest, Hostinfo, Location, Service, System};
pub use ids::{NodeId, StableId, UserId};
pub use ipnet::IpNet;
pub use map::{Map, Set};
pub use node::{CapMap, Node, Rare};
pub use patch::PeerPatch;
pub use timestamp::Timestamp;
pub use user::{ClientVersion, DisplayMessage, UserProfile};
