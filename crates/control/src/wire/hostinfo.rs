//! What a node says about itself: written for ourselves, read (in part) for peers (protocol reference §1.9.3).

use super::lenient::{list, near};
use gojson::{Map, Zero};

gojson::object! {
    write
    /// What this node tells control about itself. Everything empty is left out on the wire.
    #[derive(Debug, Clone, PartialEq, Default)]
    #[allow(missing_docs, reason = "the fields are Go's tailcfg.Hostinfo by name")]
    pub struct Hostinfo {
        pub ipn_version: String => "IPNVersion" omit,
        /// Any stable text of 64 hex digits; upstream refuses to register without one.
        pub backend_log_id: String => "BackendLogID" omit,
        /// `linux`.
        pub os: String => "OS" omit,
        pub os_version: String => "OSVersion" omit,
        pub container: Option<bool> => "Container" omit,
        pub distro: String => "Distro" omit,
        pub distro_version: String => "DistroVersion" omit,
        /// First label only.
        pub hostname: String => "Hostname" omit,
        pub shields_up: bool => "ShieldsUp" omit,
        /// True here: this node sends no logs.
        pub no_logs_no_support: bool => "NoLogsNoSupport" omit,
        /// `uname -m`.
        pub machine: String => "Machine" omit,
        pub go_arch: String => "GoArch" omit,
        /// Prefixes.
        pub routable_ips: Vec<netmap::IpNet> => "RoutableIPs" omit,
        /// `tag:…`.
        pub request_tags: Vec<String> => "RequestTags" omit,
        pub services: Vec<Service> => "Services" omit,
        pub net_info: Option<NetInfo> => "NetInfo" omit,
        pub userspace: Option<bool> => "Userspace" omit,
        pub userspace_router: Option<bool> => "UserspaceRouter" omit,
        /// Stable id of the exit node in use.
        pub exit_node_id: String => "ExitNodeID" omit,
        pub state_encrypted: Option<bool> => "StateEncrypted" omit,
    }
}

gojson::object! {
    write
    /// A port that this node announces.
    #[derive(Debug, Clone, PartialEq, Eq, Default)]
    pub struct Service {
        /// `tcp`, `udp`, `peerapi4`, `peerapi6`, `peerapi-dns-proxy`.
        pub proto: String => "Proto",
        /// Port, or a version for `peerapi-dns-proxy`.
        pub port: u16 => "Port",
        /// Free text.
        pub description: String => "Description" omit,
    }
}

gojson::object! {
    write
    /// What this node knows of its network. `None` = unknown.
    #[derive(Debug, Clone, PartialEq, Default)]
    #[allow(missing_docs, reason = "the fields are Go's tailcfg.NetInfo by name")]
    pub struct NetInfo {
        pub mapping_varies_by_dest_ip: Option<bool> => "MappingVariesByDestIP" omit,
        pub working_ipv6: Option<bool> => "WorkingIPv6" omit,
        pub os_has_ipv6: Option<bool> => "OSHasIPv6" omit,
        pub working_udp: Option<bool> => "WorkingUDP" omit,
        pub working_icmpv4: Option<bool> => "WorkingICMPv4" omit,
        pub have_port_map: bool => "HavePortMap" omit,
        pub upnp: Option<bool> => "UPnP" omit,
        pub pmp: Option<bool> => "PMP" omit,
        pub pcp: Option<bool> => "PCP" omit,
        /// Home region; without it peers have no way to reach this node through a relay.
        pub preferred_derp: u16 => "PreferredDERP" omit,
        /// `<region>-v4` or `<region>-v6` to seconds.
        pub derp_latency: Map<String, f64> => "DERPLatency" omit,
        pub firewall_mode: String => "FirewallMode" omit,
    }
}

impl Zero for Service {
    fn zero() -> Self {
        Self::default()
    }
}

impl Zero for NetInfo {
    fn zero() -> Self {
        Self::default()
    }
}

gojson::object! {
    read
    /// The part of another node's Hostinfo that is kept.
    pub(crate) struct Received {
        os: Box<str> => "OS",
        os_version: Box<str> => "OSVersion",
        ipn_version: Box<str> => "IPNVersion",
        hostname: Box<str> => "Hostname",
        routable_ips: Vec<Box<str>> => "RoutableIPs",
        request_tags: Vec<Box<str>> => "RequestTags",
        services: Vec<ReceivedService> => "Services",
        location: Option<Location> => "Location",
        sharee_node: bool => "ShareeNode",
    }
}

gojson::object! {
    read
    struct ReceivedService {
        proto: Box<str> => "Proto",
        port: u16 => "Port",
        description: Box<str> => "Description",
    }
}

gojson::object! {
    read
    struct Location {
        country: Box<str> => "Country",
        country_code: Box<str> => "CountryCode",
        city: Box<str> => "City",
        city_code: Box<str> => "CityCode",
        latitude: f64 => "Latitude",
        longitude: f64 => "Longitude",
        priority: i64 => "Priority",
    }
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
            priority: near(l.priority),
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
        assert_eq!(gojson::to_go_json(&Hostinfo::default(), gojson::Indent::None), "{}");
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
            gojson::to_go_json(&info, gojson::Indent::None),
            r#"{"OS":"linux","Hostname":"r1","NoLogsNoSupport":true,"RoutableIPs":["10.0.0.0/8"],"NetInfo":{"WorkingUDP":true,"PreferredDERP":999,"DERPLatency":{"999-v4":0.25}},"Userspace":false}"#
        );
    }
}
