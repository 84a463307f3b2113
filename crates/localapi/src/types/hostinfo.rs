//! What a node says about its host (Go's `tailcfg.Hostinfo`).

use gojson::Map;
use gojson::OptBool;
use ipnet::IpNet;

go_object! {
    /// The host of a node.
    pub struct Hostinfo {
        pub ipn_version: String => "IPNVersion" omit,
        pub frontend_log_id: String => "FrontendLogID" omit,
        pub backend_log_id: String => "BackendLogID" omit,
        pub os: String => "OS" omit,
        pub os_version: String => "OSVersion" omit,
        pub container: OptBool => "Container" omit,
        pub env: String => "Env" omit,
        pub distro: String => "Distro" omit,
        pub distro_version: String => "DistroVersion" omit,
        pub distro_code_name: String => "DistroCodeName" omit,
        pub app: String => "App" omit,
        pub desktop: OptBool => "Desktop" omit,
        pub package: String => "Package" omit,
        pub device_model: String => "DeviceModel" omit,
        pub push_device_token: String => "PushDeviceToken" omit,
        pub hostname: String => "Hostname" omit,
        pub shields_up: bool => "ShieldsUp" omit,
        pub sharee_node: bool => "ShareeNode" omit,
        pub no_logs_no_support: bool => "NoLogsNoSupport" omit,
        pub remote_config: bool => "RemoteConfig" omit,
        pub wire_ingress: bool => "WireIngress" omit,
        pub ingress_enabled: bool => "IngressEnabled" omit,
        pub allows_update: bool => "AllowsUpdate" omit,
        /// `uname -m`.
        pub machine: String => "Machine" omit,
        pub go_arch: String => "GoArch" omit,
        pub go_arch_var: String => "GoArchVar" omit,
        pub go_version: String => "GoVersion" omit,
        pub routable_ips: Vec<IpNet> => "RoutableIPs" omit,
        pub request_tags: Vec<String> => "RequestTags" omit,
        pub wol_macs: Vec<String> => "WoLMACs" omit,
        pub services: Vec<Service> => "Services" omit,
        pub net_info: Option<NetInfo> => "NetInfo" omit,
        pub ssh_host_keys: Vec<String> => "sshHostKeys" omit,
        pub cloud: String => "Cloud" omit,
        pub userspace: OptBool => "Userspace" omit,
        pub userspace_router: OptBool => "UserspaceRouter" omit,
        pub app_connector: OptBool => "AppConnector" omit,
        pub services_hash: String => "ServicesHash" omit,
        pub peer_relay: bool => "PeerRelay" omit,
        /// Stable id.
        pub exit_node_id: String => "ExitNodeID" omit,
        pub location: Option<Location> => "Location" omit,
        pub tpm: Option<TpmInfo> => "TPM" omit,
        pub state_encrypted: OptBool => "StateEncrypted" omit,
    }
}

go_object! {
    /// A port that a node announces.
    pub struct Service {
        /// `tcp`, `udp`, `peerapi4`, `peerapi6`, `peerapi-dns-proxy`.
        pub proto: String => "Proto",
        pub port: u16 => "Port",
        pub description: String => "Description" omit,
    }
}

go_object! {
    /// What a node found out about its network.
    pub struct NetInfo {
        pub mapping_varies_by_dest_ip: OptBool => "MappingVariesByDestIP" omit,
        pub working_ipv6: OptBool => "WorkingIPv6" omit,
        pub os_has_ipv6: OptBool => "OSHasIPv6" omit,
        pub working_udp: OptBool => "WorkingUDP" omit,
        pub working_icmpv4: OptBool => "WorkingICMPv4" omit,
        pub have_port_map: bool => "HavePortMap" omit,
        pub upnp: OptBool => "UPnP" omit,
        pub pmp: OptBool => "PMP" omit,
        pub pcp: OptBool => "PCP" omit,
        pub preferred_derp: i64 => "PreferredDERP" omit,
        pub link_type: String => "LinkType" omit,
        /// `region-v4` or `region-v6` to seconds.
        pub derp_latency: Map<String, f64> => "DERPLatency" omit,
        pub firewall_mode: String => "FirewallMode" omit,
    }
}

go_object! {
    /// Where a node stands.
    pub struct Location {
        pub country: String => "Country" omit,
        /// Two letters.
        pub country_code: String => "CountryCode" omit,
        pub city: String => "City" omit,
        pub city_code: String => "CityCode" omit,
        /// Degrees north.
        pub latitude: f64 => "Latitude" omit,
        /// Degrees east.
        pub longitude: f64 => "Longitude" omit,
        /// Higher is preferred.
        pub priority: i64 => "Priority" omit,
    }
}

go_object! {
    /// The TPM of a host.
    pub struct TpmInfo {
        pub manufacturer: String => "Manufacturer" omit,
        pub vendor: String => "Vendor" omit,
        pub model: i64 => "Model" omit,
        pub firmware_version: u64 => "FirmwareVersion" omit,
        pub spec_revision: i64 => "SpecRevision" omit,
        pub family_indicator: String => "FamilyIndicator" omit,
    }
}
