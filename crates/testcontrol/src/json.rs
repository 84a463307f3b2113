//! The JSON of nodes, users and relays as control servers write it, built by hand.

use crate::world::Node;
use serde_json::{Value, json};
use std::net::SocketAddr;

pub(crate) const DOMAIN: &str = "example.test";
pub(crate) const SUFFIX: &str = "tail-test.ts.net";

pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

/// What peers are told of a node's attributes: that control lets it be suggested as an exit node.
const SEEN_BY_PEERS: &str = "suggest-exit-node";

/// A node as its peers (and itself) see it.
pub(crate) fn node(node: &Node, for_self: bool) -> Value {
    let addresses = [format!("{}/32", node.ip4), format!("{}/128", node.ip6)];
    let allowed: Vec<_> = addresses.iter().chain(&node.routes).collect();
    let mut out = json!({
        "ID": node.id,
        "StableID": format!("n{:04}TEST", node.id),
        "Name": format!("{}.{SUFFIX}.", node.name),
        "User": 1,
        "Key": node.key,
        "KeyExpiry": node.key_expiry,
        "Machine": node.machine,
        "DiscoKey": node.disco,
        "Addresses": addresses,
        "AllowedIPs": allowed,
        "Endpoints": node.endpoints,
        "HomeDERP": node.home_derp,
        "DERP": format!("127.3.3.40:{}", node.home_derp),
        "Hostinfo": node.hostinfo,
        "Created": "2026-01-02T03:04:05Z",
        "Cap": node.version,
        "MachineAuthorized": node.authorized,
        "Online": node.online,
    });
    if node.expired {
        out["Expired"] = json!(true);
    }
    if let Some(endpoints) = node.wireguard_only.as_ref().filter(|_| !for_self) {
        crate::wireguard::strip(&mut out, endpoints);
    }
    if for_self {
        out["CapMap"] =
            json!({"https://tailscale.com/cap/is-admin": null, "https://tailscale.com/cap/ssh": null});
        for attribute in &node.attributes {
            out["CapMap"][attribute] = Value::Null;
        }
    } else if node.attributes.iter().any(|attribute| attribute == SEEN_BY_PEERS) {
        out["CapMap"] = json!({SEEN_BY_PEERS: null});
    }
    out
}

/// The one user who owns everything.
pub(crate) fn user() -> Value {
    json!({"ID": 1, "LoginName": "test@example.test", "DisplayName": "Test User"})
}

pub(crate) fn login() -> Value {
    json!({"ID": 1, "Provider": "test", "LoginName": "test@example.test", "DisplayName": "Test User"})
}

pub(crate) fn derp_map(derp: SocketAddr, stun: SocketAddr) -> Value {
    let ip = derp.ip().to_string();
    json!({"Regions": {"1": {
        "RegionID": 1,
        "RegionCode": "test",
        "RegionName": "Test Relay",
        "Nodes": [{
            "Name": "1a",
            "RegionID": 1,
            "HostName": "localhost",
            "IPv4": ip,
            "IPv6": "none",
            "STUNPort": stun.port(),
            "DERPPort": derp.port(),
            "InsecureForTests": true,
            "STUNTestIP": ip,
        }],
    }}})
}

/// Everybody may reach everybody.
pub(crate) fn packet_filter() -> Value {
    json!([{"SrcIPs": ["*"], "DstPorts": [{"IP": "*", "Ports": {"First": 0, "Last": 65535}}]}])
}
