//! A node of the tailnet as control describes it, ourselves included.

use crate::Map;
use crate::{DnsResolver, Endpoints, Hostinfo, NodeId, RegionId, StableId, Timestamp, UserId};
use ipnet::IpNet;
use keys::{DiscoPublic, MachinePublic, NodePublic};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::{Arc, LazyLock};

/// Capability name to its raw JSON values; most have none.
pub type CapMap = Map<Box<str>, Box<[Box<str>]>>;

/// A node: ourselves or a peer. Normalised by the decoder: `home_derp` is filled from the legacy address form,
/// a null `AllowedIPs` has become `addresses`, legacy `Capabilities` are keys of `cap_map`.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Node {
    /// Number within the control server.
    pub id: NodeId,
    /// Name that survives key changes.
    pub stable_id: StableId,
    /// MagicDNS name with trailing dot; may be empty.
    pub name: Box<str>,
    /// Owner.
    pub user: UserId,
    /// Its node key, also its WireGuard key.
    pub key: NodePublic,
    /// When the key stops being valid; zero = never.
    pub key_expiry: Timestamp,
    /// Its machine key.
    pub machine: MachinePublic,
    /// Its disco key; zero until it has run once.
    pub disco_key: DiscoPublic,
    /// Its own tailnet addresses (/32 and /128).
    pub addresses: Arc<[IpNet]>,
    /// What it may be the source of: its addresses and approved routes; the very same list if there are no routes.
    pub allowed_ips: Arc<[IpNet]>,
    /// Where its UDP socket may be reached.
    pub endpoints: Endpoints,
    /// DERP region it listens on; 0 = none known.
    pub home_derp: RegionId,
    /// What it said about itself.
    pub hostinfo: Hostinfo,
    /// When it joined.
    pub created: Timestamp,
    /// Capability version it declared.
    pub cap: i32,
    /// When control last saw it; zero = online or unknown.
    pub last_seen: Timestamp,
    /// Whether control sees it now; `None` = unknown.
    pub online: Option<bool>,
    /// Whether an admin has approved the machine.
    pub machine_authorized: bool,
    /// The key has expired, says control.
    pub expired: bool,
    /// A plain WireGuard peer: no disco, no DERP.
    pub wireguard_only: bool,
    /// Its inbound traffic gets the shields-up filter.
    pub jailed: bool,
    /// What few nodes have, from [`Rare::boxed`]; [`Self::rare`] reads it.
    pub rare: Option<Box<Rare>>,
}

/// What few nodes of a large tailnet have.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Rare {
    /// The user who shared it with us, 0 if it is of our tailnet.
    pub sharer: UserId,
    /// ACL tags (`tag:…`).
    pub tags: Box<[Box<str>]>,
    /// Subnet routes for which it is the active router.
    pub primary_routes: Box<[IpNet]>,
    /// Node attributes and capabilities.
    pub cap_map: CapMap,
    /// Under which IPv4 address this peer knows us, if not our own.
    pub masq_v4: Option<Ipv4Addr>,
    /// Under which IPv6 address this peer knows us, if not our own.
    pub masq_v6: Option<Ipv6Addr>,
    /// Resolvers of a WireGuard-only exit node, which answers no DNS itself.
    pub exit_node_dns: Box<[DnsResolver]>,
}

/// Of a node that has nothing of it.
static NOTHING_RARE: LazyLock<Rare> = LazyLock::new(Rare::default);

impl Rare {
    /// For a node; nothing takes no room.
    pub fn boxed(self) -> Option<Box<Self>> {
        (self != Self::default()).then(|| Box::new(self))
    }
}

impl Node {
    /// What few nodes have.
    pub fn rare(&self) -> &Rare {
        self.rare.as_deref().unwrap_or(&NOTHING_RARE)
    }

    /// Its tailnet addresses without prefix lengths.
    pub fn ips(&self) -> impl Iterator<Item = IpAddr> + '_ {
        self.addresses.iter().map(IpNet::addr)
    }

    /// True if control gave this node the attribute or capability `name`.
    pub fn has_cap(&self, name: &str) -> bool {
        self.rare().cap_map.contains_key(name)
    }

    /// True when both default routes are among its allowed IPs: it offers to be an exit node.
    pub fn offers_exit(&self) -> bool {
        let default_route =
            |v4| self.allowed_ips.iter().any(|p| p.prefix_len() == 0 && p.addr().is_ipv4() == v4);
        default_route(true) && default_route(false)
    }

    /// True once `now` is past a set key expiry, or control said so.
    pub fn is_expired(&self, now: Timestamp) -> bool {
        self.expired || self.key_expiry.has_come(now)
    }
}
