//! Nodes and patches of nodes.

use super::lenient::{MaybeTime, cap_map, list, near};
use super::{Caps, dns, hostinfo};
use gojson::{Blank, Element};
use ipnet::IpNet;
use keys::{DiscoPublic, MachinePublic, NodePublic};
use netmap::{NodeId, RegionId, StableId, Timestamp, UserId};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

/// What stands before the region in the legacy form of a home DERP.
const LEGACY_DERP: &str = "127.3.3.40:";

gojson::object! {
    read
    pub(crate) struct Node {
        id: i64 => "ID" need,
        stable_id: Box<str> => "StableID",
        name: Box<str> => "Name",
        user: i64 => "User",
        sharer: i64 => "Sharer",
        key: Blank<NodePublic> => "Key",
        key_expiry: Blank<Timestamp> => "KeyExpiry",
        machine: Blank<MachinePublic> => "Machine",
        disco_key: Blank<DiscoPublic> => "DiscoKey",
        addresses: Vec<Box<str>> => "Addresses",
        allowed_ips: Option<Vec<Box<str>>> => "AllowedIPs",
        endpoints: Vec<Box<str>> => "Endpoints",
        legacy_derp: Box<str> => "DERP",
        home_derp: i64 => "HomeDERP",
        hostinfo: hostinfo::Received => "Hostinfo",
        created: Blank<Timestamp> => "Created",
        cap: i64 => "Cap",
        tags: Vec<Box<str>> => "Tags",
        primary_routes: Vec<Box<str>> => "PrimaryRoutes",
        last_seen: Blank<Timestamp> => "LastSeen",
        online: Option<bool> => "Online",
        machine_authorized: bool => "MachineAuthorized",
        capabilities: Vec<Box<str>> => "Capabilities",
        cap_map: Caps => "CapMap",
        unsigned_peerapi_only: bool => "UnsignedPeerAPIOnly",
        expired: bool => "Expired",
        masq_v4: Box<str> => "SelfNodeV4MasqAddrForThisPeer",
        masq_v6: Box<str> => "SelfNodeV6MasqAddrForThisPeer",
        wireguard_only: bool => "IsWireGuardOnly",
        jailed: bool => "IsJailed",
        exit_node_dns: Vec<Option<dns::Resolver>> => "ExitNodeDNSResolvers",
    }
}

/// A region number; what does not fit is none.
pub(super) fn region(number: i64) -> RegionId {
    u16::try_from(number).map_or(RegionId::NONE, RegionId)
}

impl From<Node> for netmap::Node {
    fn from(node: Node) -> Self {
        let addresses: Arc<[IpNet]> = list(&node.addresses);
        let allowed_ips = match node.allowed_ips.filter(|_| !node.unsigned_peerapi_only) {
            Some(prefixes) if prefixes != node.addresses => list(&prefixes),
            _ => addresses.clone(),
        };
        let home_derp = match node.home_derp {
            0 => node
                .legacy_derp
                .strip_prefix(LEGACY_DERP)
                .and_then(|number| number.parse().ok())
                .map_or(RegionId::NONE, RegionId),
            number => region(number),
        };
        let rare = netmap::Rare {
            sharer: UserId(node.sharer),
            tags: node.tags.into(),
            primary_routes: list::<IpNet, _>(&node.primary_routes),
            cap_map: cap_map(node.cap_map, node.capabilities),
            masq_v4: match node.masq_v4.parse() {
                Ok(IpAddr::V4(ip)) => Some(ip),
                _ => None,
            },
            masq_v6: match node.masq_v6.parse() {
                Ok(IpAddr::V6(ip)) => Some(ip),
                _ => None,
            },
            exit_node_dns: dns::resolvers(node.exit_node_dns),
        };
        Self {
            id: NodeId(node.id),
            stable_id: StableId(node.stable_id),
            name: node.name,
            user: UserId(node.user),
            key: node.key.0,
            key_expiry: node.key_expiry.0,
            machine: node.machine.0,
            disco_key: node.disco_key.0,
            addresses,
            allowed_ips,
            endpoints: list::<SocketAddr, _>(&node.endpoints),
            home_derp,
            hostinfo: node.hostinfo.into(),
            created: node.created.0,
            cap: near(node.cap),
            last_seen: node.last_seen.0,
            online: node.online,
            machine_authorized: node.machine_authorized,
            expired: node.expired,
            wireguard_only: node.wireguard_only,
            jailed: node.jailed,
            rare: rare.boxed(),
        }
    }
}

gojson::object! {
    read
    /// A patch of one peer. Present and non-null fields are changes.
    pub(crate) struct PeerChange {
        id: i64 => "NodeID" need,
        derp_region: i64 => "DERPRegion",
        cap: i64 => "Cap",
        cap_map: Option<Caps> => "CapMap",
        endpoints: Option<Vec<Box<str>>> => "Endpoints",
        key: Option<NodePublic> => "Key",
        disco_key: Option<DiscoPublic> => "DiscoKey",
        online: Option<bool> => "Online",
        last_seen: Option<MaybeTime> => "LastSeen",
        key_expiry: Option<MaybeTime> => "KeyExpiry",
    }
}

impl From<PeerChange> for netmap::PeerPatch {
    fn from(change: PeerChange) -> Self {
        Self {
            id: NodeId(change.id),
            home_derp: Some(region(change.derp_region)).filter(|region| !region.is_none()),
            cap: Some(near(change.cap)).filter(|cap| *cap != 0),
            cap_map: change.cap_map.map(|caps| cap_map(caps, Vec::new())),
            endpoints: change.endpoints.map(|endpoints| list::<SocketAddr, _>(&endpoints)),
            key: change.key,
            disco_key: change.disco_key,
            online: change.online,
            last_seen: change.last_seen.and_then(|time| time.0),
            key_expiry: change.key_expiry.and_then(|time| time.0),
        }
    }
}

impl Element for PeerChange {
    type Made = netmap::PeerPatch;
    fn made(self, _earlier: &[Self::Made]) -> (Option<netmap::PeerPatch>, bool) {
        (Some(self.into()), false)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(json: &str) -> netmap::Node {
        gojson::from_str::<Node>(json).expect("node").into()
    }

    #[test]
    fn normalisations() {
        let plain = node(
            r#"{"ID":7,"StableID":"n7","Name":"a.b.","Addresses":["100.64.0.7/32","fd7a::7/128"],"AllowedIPs":null,
                "DERP":"127.3.3.40:12","Capabilities":["is-admin"],"CapMap":{"x":null,"y":[{"a":1},"b"]},
                "Endpoints":["1.2.3.4:5","[fd00::1]:6","nonsense"],"LastSeen":null,"Online":null,"Unknown":{"a":[]}}"#,
        );
        assert_eq!(plain.allowed_ips, plain.addresses);
        assert_eq!(plain.home_derp, RegionId(12));
        assert!(plain.has_cap("is-admin") && plain.has_cap("x"));
        assert_eq!(*plain.rare().cap_map["y"], [r#"{"a":1}"#.into(), r#""b""#.into()]);
        assert_eq!(plain.endpoints.iter().count(), 2);
        assert_eq!((plain.online, plain.last_seen.is_zero()), (None, true));

        let limited = node(
            r#"{"ID":7,"Addresses":["100.64.0.7/32"],"AllowedIPs":["100.64.0.7/32","10.0.0.0/8"],"UnsignedPeerAPIOnly":true}"#,
        );
        assert_eq!(limited.allowed_ips, limited.addresses);
        let none = node(
            r#"{"ID":7,"Addresses":["100.64.0.7/32"],"AllowedIPs":[],"HomeDERP":3,"DERP":"127.3.3.40:9"}"#,
        );
        assert_eq!((none.allowed_ips.len(), none.home_derp), (0, RegionId(3)));
        let masked = node(
            r#"{"ID":7,"SelfNodeV4MasqAddrForThisPeer":"100.64.9.9","SelfNodeV6MasqAddrForThisPeer":"1.2.3.4"}"#,
        );
        let exit =
            node(r#"{"ID":7,"IsWireGuardOnly":true,"ExitNodeDNSResolvers":[{"Addr":"10.64.0.1"},null]}"#);
        assert_eq!(exit.rare().exit_node_dns.iter().map(|one| &*one.addr).collect::<Vec<_>>(), ["10.64.0.1"]);
        assert_eq!((masked.rare().masq_v4, masked.rare().masq_v6), (Some([100, 64, 9, 9].into()), None));
    }

    #[test]
    fn broken_keys_and_times_spoil_a_node() {
        for json in [
            r#"{"Name":"no id"}"#,
            r#"{"ID":1,"Key":"nodekey:12"}"#,
            r#"{"ID":1,"KeyExpiry":"soon"}"#,
            r#"{"ID":"1"}"#,
            "null",
        ] {
            assert!(gojson::from_str::<Node>(json).is_err(), "{json}");
        }
    }

    #[test]
    fn patches() {
        let patch: PeerChange = gojson::from_str(
            r#"{"NodeID":5,"DERPRegion":2,"Endpoints":[],"Online":false,"Cap":0,"LastSeen":"2026-01-01T00:00:00Z"}"#,
        )
        .expect("patch");
        let patch = netmap::PeerPatch::from(patch);
        assert_eq!((patch.id, patch.home_derp, patch.cap), (NodeId(5), Some(RegionId(2)), None));
        assert_eq!(
            (patch.endpoints, patch.online, patch.key),
            (Some(netmap::Endpoints::default()), Some(false), None)
        );
        assert_eq!(patch.last_seen, Timestamp::parse("2026-01-01T00:00:00Z"));
    }
}
