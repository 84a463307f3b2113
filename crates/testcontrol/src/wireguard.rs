//! Peers that speak nothing but WireGuard: neither disco nor relays, reached at fixed endpoints.

use crate::json;
use serde_json::{Value, json};
use std::net::SocketAddr;

/// Such a peer that is no node of this server: a WireGuard server somewhere.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WireguardPeer {
    /// Its name.
    pub name: String,
    /// Its public key, as `nodekey:` and 64 hexadecimal digits.
    pub key: String,
    /// Where it listens.
    pub endpoints: Vec<SocketAddr>,
    /// Its addresses, as prefixes.
    pub addresses: Vec<String>,
    /// What is routed to it, its addresses included.
    pub allowed_ips: Vec<String>,
    /// Resolvers that it names to those who use it as their exit node.
    pub resolvers: Vec<String>,
}

impl WireguardPeer {
    /// As nodes see it; `number` is its place among its like.
    pub(crate) fn json(&self, number: usize) -> Value {
        let id = 2_000_000 + number;
        json!({
            "ID": id,
            "StableID": format!("n{id}TEST"),
            "Name": format!("{}.{}.", self.name, json::SUFFIX),
            "User": 1,
            "Key": self.key,
            "Addresses": self.addresses,
            "AllowedIPs": self.allowed_ips,
            "Endpoints": self.endpoints,
            "Hostinfo": {"Hostname": self.name},
            "Created": "2026-01-02T03:04:05Z",
            "MachineAuthorized": true,
            "Online": true,
            "IsWireGuardOnly": true,
            "ExitNodeDNSResolvers": self.resolvers.iter().map(|addr| json!({"Addr": addr})).collect::<Vec<_>>(),
        })
    }
}

/// Makes a node, as its peers see it, one that speaks nothing but WireGuard.
pub(crate) fn strip(node: &mut Value, endpoints: &[SocketAddr]) {
    if let Some(fields) = node.as_object_mut() {
        for gone in ["DiscoKey", "HomeDERP", "DERP"] {
            fields.remove(gone);
        }
        fields.insert("Endpoints".to_owned(), json!(endpoints));
        fields.insert("IsWireGuardOnly".to_owned(), json!(true));
    }
}
