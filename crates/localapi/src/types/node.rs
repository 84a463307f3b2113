//! A node as control describes it (Go's `tailcfg.Node`), as whois and the bus show it.

use super::dns::Resolver;
use super::hostinfo::Hostinfo;
use super::time::Time;
use gojson::Map;
use gojson::Raw;
use ipnet::IpNet;
use keys::{DiscoPublic, MachinePublic, NodePublic};
use std::net::{IpAddr, SocketAddr};

/// Capability name to its values, `None` where Go has a nil slice.
pub type CapMap = Map<String, Option<Vec<Raw>>>;

go_object! {
    /// A node of the tailnet.
    pub struct Node {
        pub id: i64 => "ID",
        pub stable_id: String => "StableID",
        /// With trailing dot.
        pub name: String => "Name",
        pub user: i64 => "User",
        pub sharer: i64 => "Sharer" omit,
        pub key: NodePublic => "Key",
        /// Zero = does not expire.
        pub key_expiry: Time => "KeyExpiry" omit,
        /// Base64.
        pub key_signature: String => "KeySignature" omit,
        pub machine: MachinePublic => "Machine" omit,
        pub disco_key: DiscoPublic => "DiscoKey" omit,
        pub addresses: Vec<IpNet> => "Addresses",
        pub allowed_ips: Option<Vec<IpNet>> => "AllowedIPs" omit,
        pub endpoints: Vec<SocketAddr> => "Endpoints" omit,
        /// `127.3.3.40:N`, N = region.
        pub legacy_derp: String => "DERP" omit,
        pub home_derp: i64 => "HomeDERP" omit,
        pub hostinfo: Option<Box<Hostinfo>> => "Hostinfo" omit,
        pub created: Time => "Created" omit,
        /// Capability version.
        pub cap: i64 => "Cap" omit,
        pub tags: Vec<String> => "Tags" omit,
        pub primary_routes: Vec<IpNet> => "PrimaryRoutes" omit,
        pub last_seen: Option<Time> => "LastSeen" omit,
        pub online: Option<bool> => "Online" omit,
        pub machine_authorized: bool => "MachineAuthorized" omit,
        pub capabilities: Vec<String> => "Capabilities" omit,
        pub cap_map: CapMap => "CapMap" omit,
        pub unsigned_peer_api_only: bool => "UnsignedPeerAPIOnly" omit,
        /// MagicDNS base name, or host name without MagicDNS.
        pub computed_name: String => "ComputedName" omit,
        pub computed_name_with_host: String => "ComputedNameWithHost" omit,
        pub data_plane_audit_log_id: String => "DataPlaneAuditLogID" omit,
        pub expired: bool => "Expired" omit,
        pub masq_v4: Option<IpAddr> => "SelfNodeV4MasqAddrForThisPeer" omit,
        pub masq_v6: Option<IpAddr> => "SelfNodeV6MasqAddrForThisPeer" omit,
        pub is_wireguard_only: bool => "IsWireGuardOnly" omit,
        pub is_jailed: bool => "IsJailed" omit,
        pub exit_node_dns_resolvers: Vec<Resolver> => "ExitNodeDNSResolvers" omit,
    }
}

go_object! {
    /// A change to a few fields of a node (Go's `tailcfg.PeerChange`).
    pub struct PeerChange {
        pub node_id: i64 => "NodeID",
        pub derp_region: i64 => "DERPRegion" omit,
        pub cap: i64 => "Cap" omit,
        pub cap_map: CapMap => "CapMap" omit,
        pub endpoints: Vec<SocketAddr> => "Endpoints" omit,
        pub key: Option<NodePublic> => "Key" omit,
        /// Base64.
        pub key_signature: String => "KeySignature" omit,
        pub disco_key: Option<DiscoPublic> => "DiscoKey" omit,
        pub online: Option<bool> => "Online" omit,
        pub last_seen: Option<Time> => "LastSeen" omit,
        pub key_expiry: Option<Time> => "KeyExpiry" omit,
    }
}
