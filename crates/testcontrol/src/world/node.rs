//! A node, as the server keeps it and as tests see it.

use super::World;
use serde_json::Value;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};

/// A registered node.
pub(crate) struct Node {
    pub(crate) id: i64,
    pub(crate) name: String,
    pub(crate) key: String,
    pub(crate) machine: String,
    pub(crate) disco: Value,
    pub(crate) endpoints: Value,
    pub(crate) hostinfo: Value,
    pub(crate) home_derp: i64,
    pub(crate) version: i64,
    pub(crate) ip4: Ipv4Addr,
    pub(crate) ip6: Ipv6Addr,
    pub(crate) key_expiry: String,
    pub(crate) authorized: bool,
    pub(crate) expired: bool,
    /// Attributes that it has itself.
    pub(crate) attributes: Vec<String>,
    /// Routes of others that lead through it.
    pub(crate) routes: Vec<String>,
    pub(crate) online: bool,
    /// Where it is reached if its peers are told that it speaks nothing but WireGuard.
    pub(crate) wireguard_only: Option<Vec<SocketAddr>>,
}

/// A node as tests see it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeView {
    /// Number.
    pub id: i64,
    /// `nodekey:…`.
    pub key: String,
    /// `mkey:…`.
    pub machine: String,
    /// Host name.
    pub name: String,
    /// IPv4 address.
    pub ip4: Ipv4Addr,
    /// IPv6 address.
    pub ip6: Ipv6Addr,
    /// It has a map stream open.
    pub online: bool,
    /// Home region; 0 = none reported.
    pub home_derp: i64,
    /// `FirewallMode` of its `NetInfo`.
    pub firewall: String,
}

impl World {
    pub(crate) fn views(&self) -> Vec<NodeView> {
        let nodes = self.nodes.borrow();
        let view = |n: &Node| NodeView {
            id: n.id,
            key: n.key.clone(),
            machine: n.machine.clone(),
            name: n.name.clone(),
            ip4: n.ip4,
            ip6: n.ip6,
            online: n.online,
            home_derp: n.home_derp,
            firewall: n.hostinfo["NetInfo"]["FirewallMode"].as_str().unwrap_or_default().to_owned(),
        };
        nodes.values().map(view).collect()
    }
}
