//! What a node says about itself: written for ourselves, read (in part) for peers (protocol reference §1.9.3).

use super::lenient::{list, null};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

fn is_false(value: &bool) -> bool {
    !value
}

/// What this node tells control about itself. Everything empty is left out on the wire.
#[derive(Debug, Clone, PartialEq, Default, Serialize)]
#[serde(rename_all = "PascalCase")]
#[allow(missing_docs, reason = "the fields are Go's tailcfg.Hostinfo by name")]
pub struct Hostinfo {
    #[serde(rename = "IPNVersion", skip_serializing_if = "String::is_empty")]
    pub ipn_version: String,
    /// Any stable text of 64 hex digits; upstream refuses to register without one.
    #[serde(rename = "BackendLogID", skip_serializing_if = "String::is_empty")]
    pub backend_log_id: String,
    /// `linux`.
    #[serde(rename = "OS", skip_serializing_if = "String::is_empty")]
    pub os: String,
    #[serde(rename = "OSVersion", skip_serializing_if = "String::is_empty")]
    pub os_version: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub container: Option<bool>,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub distro: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub distro_version: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub app: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub package: String,
    /// First label only.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub hostname: String,
    #[serde(skip_serializing_if = "is_false")]
    pub shields_up: bool,
    /// True here: this node sends no logs.
    #[serde(skip_serializing_if = "is_false")]
    pub no_logs_no_support: bool,
    #[serde(skip_serializing_if = "is_false")]
    pub allows_update: bool,
    /// `uname -m`.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub machine: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub go_arch: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub go_arch_var: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub go_version: String,
    /// Prefixes.
    #[serde(rename = "RoutableIPs", skip_serializing_if = "Vec::is_empty")]
    pub routable_ips: Vec<netmap::IpNet>,
    /// `tag:…`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub request_tags: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub services: Vec<Service>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub net_info: Option<NetInfo>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub userspace: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub userspace_router: Option<bool>,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub services_hash: String,
    /// Stable id of the exit node in use.
    #[serde(rename = "ExitNodeID", skip_serializing_if = "String::is_empty")]
    pub exit_node_id: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub state_encrypted: Option<bool>,
}

/// A port that this node announces.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct Service {
    /// `tcp`, `udp`, `peerapi4`, `peerapi6`, `peerapi-dns-proxy`.
    pub proto: String,
    /// Port, or a version for `peerapi-dns-proxy`.
    pub port: u16,
    /// Free text.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub description: String,
}

/// What this node knows of its network. `None` = unknown.
#[derive(Debug, Clone, PartialEq, Default, Serialize)]
#[serde(rename_all = "PascalCase")]
#[allow(missing_docs, reason = "the fields are Go's tailcfg.NetInfo by name")]
pub struct NetInfo {
    #[serde(rename = "MappingVariesByDestIP", skip_serializing_if = "Option::is_none")]
    pub mapping_varies_by_dest_ip: Option<bool>,
    #[serde(rename = "WorkingIPv6", skip_serializing_if = "Option::is_none")]
    pub working_ipv6: Option<bool>,
    #[serde(rename = "OSHasIPv6", skip_serializing_if = "Option::is_none")]
    pub os_has_ipv6: Option<bool>,
    #[serde(rename = "WorkingUDP", skip_serializing_if = "Option::is_none")]
    pub working_udp: Option<bool>,
    #[serde(rename = "WorkingICMPv4", skip_serializing_if = "Option::is_none")]
    pub working_icmpv4: Option<bool>,
    #[serde(skip_serializing_if = "is_false")]
    pub have_port_map: bool,
    #[serde(rename = "UPnP", skip_serializing_if = "Option::is_none")]
    pub upnp: Option<bool>,
    #[serde(rename = "PMP", skip_serializing_if = "Option::is_none")]
    pub pmp: Option<bool>,
    #[serde(rename = "PCP", skip_serializing_if = "Option::is_none")]
    pub pcp: Option<bool>,
    /// Home region; without it peers have no way to reach this node through a relay.
    #[serde(rename = "PreferredDERP", skip_serializing_if = "no_region")]
    pub preferred_derp: u16,
    /// `wired`, `wifi` or `mobile`.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub link_type: String,
    /// `<region>-v4` or `<region>-v6` to seconds.
    #[serde(rename = "DERPLatency", skip_serializing_if = "BTreeMap::is_empty")]
    pub derp_latency: BTreeMap<String, f64>,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub firewall_mode: String,
}

fn no_region(region: &u16) -> bool {
    *region == 0
}

/// The part of another node's Hostinfo that is kept.
#[derive(Deserialize, Default)]
#[serde(rename_all = "PascalCase", default)]
pub(crate) struct Received {
    #[serde(rename = "OS", deserialize_with = "null")]
    os: Box<str>,
    #[serde(rename = "OSVersion", deserialize_with = "null")]
    os_version: Box<str>,
    #[serde(rename = "IPNVersion", deserialize_with = "null")]
    ipn_version: Box<str>,
    #[serde(deserialize_with = "null")]
    hostname: Box<str>,
    #[serde(rename = "RoutableIPs", deserialize_with = "null")]
    routable_ips: Vec<Box<str>>,
    #[serde(deserialize_with = "null")]
    request_tags: Vec<Box<str>>,
    #[serde(deserialize_with = "null")]
    services: Vec<ReceivedService>,
    location: Option<Location>,
    #[serde(deserialize_with = "null")]
    sharee_node: bool,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "PascalCase", default)]
struct ReceivedService {
    #[serde(deserialize_with = "null")]
    proto: Box<str>,
    #[serde(deserialize_with = "null")]
    port: u16,
    #[serde(deserialize_with = "null")]
    description: Box<str>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "PascalCase", default)]
struct Location {
    #[serde(deserialize_with = "null")]
    country: Box<str>,
    #[serde(deserialize_with = "null")]
    country_code: Box<str>,
    #[serde(deserialize_with = "null")]
    city: Box<str>,
    #[serde(deserialize_with = "null")]
    city_code: Box<str>,
    #[serde(deserialize_with = "null")]
    latitude: f64,
    #[serde(deserialize_with = "null")]
    longitude: f64,
    #[serde(deserialize_with = "null")]
    priority: i32,
}

impl From<Received> for netmap::Hostinfo {
    fn from(info: Received) -> Self {
        let services = info.services.into_iter();
        let location = info.location.map(|l| netmap::Location {
            country: l.country,
            country_code: l.country_code,
            city: l.city,
            city_code: l.city_code,
            latitude: l.latitude,
            longitude: l.longitude,
            priority: l.priority,
        });
        Self::new(
            info.hostname,
            services.map(|s| netmap::Service::new(s.proto, s.port, s.description)).collect(),
            netmap::System { os: info.os, os_version: info.os_version, ipn_version: info.ipn_version },
            netmap::HostRest {
                routable_ips: list(&info.routable_ips),
                request_tags: info.request_tags.into(),
                location,
                sharee_node: info.sharee_node,
            },
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn empty_fields_are_left_out() {
        assert_eq!(serde_json::to_string(&Hostinfo::default()).expect("json"), "{}");
        let info = Hostinfo {
            os: "linux".into(),
            hostname: "r1".into(),
            no_logs_no_support: true,
            userspace: Some(false),
            routable_ips: vec!["10.0.0.0/8".parse().expect("prefix")],
            net_info: Some(NetInfo {
                preferred_derp: 999,
                working_udp: Some(true),
                derp_latency: [("999-v4".to_owned(), 0.25)].into(),
                ..NetInfo::default()
            }),
            ..Hostinfo::default()
        };
        assert_eq!(
            serde_json::to_string(&info).expect("json"),
            r#"{"OS":"linux","Hostname":"r1","NoLogsNoSupport":true,"RoutableIPs":["10.0.0.0/8"],"NetInfo":{"WorkingUDP":true,"PreferredDERP":999,"DERPLatency":{"999-v4":0.25}},"Userspace":false}"#
        );
    }
}
