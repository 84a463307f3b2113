//! Nodes and patches of nodes.

use super::lenient::{cap_map, list, null, some_timestamp, text, timestamp};
use super::{Caps, hostinfo};
use ipnet::IpNet;
use keys::{DiscoPublic, MachinePublic, NodePublic};
use netmap::{NodeId, RegionId, StableId, Timestamp, UserId};
use serde::Deserialize;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

/// What stands before the region in the legacy form of a home DERP.
const LEGACY_DERP: &str = "127.3.3.40:";

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct Node {
    #[serde(rename = "ID")]
    id: i64,
    #[serde(rename = "StableID", default, deserialize_with = "null")]
    stable_id: Box<str>,
    #[serde(default, deserialize_with = "null")]
    name: Box<str>,
    #[serde(default, deserialize_with = "null")]
    user: i64,
    #[serde(default, deserialize_with = "null")]
    sharer: i64,
    #[serde(default, deserialize_with = "text")]
    key: NodePublic,
    #[serde(default, deserialize_with = "timestamp")]
    key_expiry: Timestamp,
    #[serde(default, deserialize_with = "text")]
    machine: MachinePublic,
    #[serde(default, deserialize_with = "text")]
    disco_key: DiscoPublic,
    #[serde(default, deserialize_with = "null")]
    addresses: Vec<Box<str>>,
    #[serde(rename = "AllowedIPs", default)]
    allowed_ips: Option<Vec<Box<str>>>,
    #[serde(default, deserialize_with = "null")]
    endpoints: Vec<Box<str>>,
    #[serde(rename = "DERP", default, deserialize_with = "null")]
    legacy_derp: Box<str>,
    #[serde(rename = "HomeDERP", default, deserialize_with = "null")]
    home_derp: i64,
    #[serde(default, deserialize_with = "null")]
    hostinfo: hostinfo::Received,
    #[serde(default, deserialize_with = "timestamp")]
    created: Timestamp,
    #[serde(default, deserialize_with = "null")]
    cap: i32,
    #[serde(default, deserialize_with = "null")]
    tags: Vec<Box<str>>,
    #[serde(default, deserialize_with = "null")]
    primary_routes: Vec<Box<str>>,
    #[serde(default, deserialize_with = "timestamp")]
    last_seen: Timestamp,
    #[serde(default)]
    online: Option<bool>,
    #[serde(default, deserialize_with = "null")]
    machine_authorized: bool,
    #[serde(default, deserialize_with = "null")]
    capabilities: Vec<Box<str>>,
    #[serde(default, deserialize_with = "null")]
    cap_map: Caps,
    #[serde(rename = "UnsignedPeerAPIOnly", default, deserialize_with = "null")]
    unsigned_peerapi_only: bool,
    #[serde(default, deserialize_with = "null")]
    expired: bool,
    #[serde(rename = "SelfNodeV4MasqAddrForThisPeer", default, deserialize_with = "null")]
    masq_v4: Box<str>,
    #[serde(rename = "SelfNodeV6MasqAddrForThisPeer", default, deserialize_with = "null")]
    masq_v6: Box<str>,
    #[serde(rename = "IsWireGuardOnly", default, deserialize_with = "null")]
    wireguard_only: bool,
    #[serde(rename = "IsJailed", default, deserialize_with = "null")]
    jailed: bool,
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
        let mut caps = cap_map(node.cap_map);
        for name in node.capabilities {
            caps.entry(name).or_default();
        }
        let rare = netmap::Rare {
            sharer: UserId(node.sharer),
            tags: node.tags.into(),
            primary_routes: list::<IpNet, _>(&node.primary_routes),
            cap_map: caps,
            masq_v4: match node.masq_v4.parse() {
                Ok(IpAddr::V4(ip)) => Some(ip),
                _ => None,
            },
            masq_v6: match node.masq_v6.parse() {
                Ok(IpAddr::V6(ip)) => Some(ip),
                _ => None,
            },
        };
        Self {
            id: NodeId(node.id),
            stable_id: StableId(node.stable_id),
            name: node.name,
            user: UserId(node.user),
            key: node.key,
            key_expiry: node.key_expiry,
            machine: node.machine,
            disco_key: node.disco_key,
            addresses,
            allowed_ips,
            endpoints: list::<SocketAddr, _>(&node.endpoints),
            home_derp,
            hostinfo: node.hostinfo.into(),
            created: node.created,
            cap: node.cap,
            last_seen: node.last_seen,
            online: node.online,
            machine_authorized: node.machine_authorized,
            expired: node.expired,
            wireguard_only: node.wireguard_only,
            jailed: node.jailed,
            rare: rare.boxed(),
        }
    }
}

/// A patch of one peer. Present and non-null fields are changes.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct PeerChange {
    #[serde(rename = "NodeID")]
    id: i64,
    #[serde(rename = "DERPRegion", default, deserialize_with = "null")]
    derp_region: i64,
    #[serde(default, deserialize_with = "null")]
    cap: i32,
    #[serde(default)]
    cap_map: Option<Caps>,
    #[serde(default)]
    endpoints: Option<Vec<Box<str>>>,
    #[serde(default)]
    key: Option<NodePublic>,
    #[serde(default)]
    disco_key: Option<DiscoPublic>,
    #[serde(default)]
    online: Option<bool>,
    #[serde(default, deserialize_with = "some_timestamp")]
    last_seen: Option<Timestamp>,
    #[serde(default, deserialize_with = "some_timestamp")]
    key_expiry: Option<Timestamp>,
}

impl From<PeerChange> for netmap::PeerPatch {
    fn from(change: PeerChange) -> Self {
        Self {
            id: NodeId(change.id),
            home_derp: Some(region(change.derp_region)).filter(|region| !region.is_none()),
            cap: Some(change.cap).filter(|cap| *cap != 0),
            cap_map: change.cap_map.map(cap_map),
            endpoints: change.endpoints.map(|endpoints| list::<SocketAddr, _>(&endpoints)),
            key: change.key,
            disco_key: change.disco_key,
            online: change.online,
            last_seen: change.last_seen,
            key_expiry: change.key_expiry,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(json: &str) -> netmap::Node {
        serde_json::from_str::<Node>(json).expect("node").into()
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
            assert!(serde_json::from_str::<Node>(json).is_err(), "{json}");
        }
    }

    #[test]
    fn patches() {
        let patch: PeerChange = serde_json::from_str(
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
