//! What `tailscale status` shows: the node itself, its tailnet, its peers.
//!
//! A daemon writes it peer by peer (see [`StatusWriter`](super::StatusWriter)); a client reads it whole.

use super::dns::DnsRecord;
use super::hostinfo::Location;
use super::node::CapMap;
use super::time::Time;
use super::user::{ClientVersion, UserProfile};
use gojson::Map;
use ipnet::IpNet;
use keys::NodePublic;
use std::net::IpAddr;

go_object! {
    /// The state of a node (Go's `ipnstate.Status`).
    pub struct Status {
        /// Long version of the daemon.
        pub version: String => "Version",
        /// A kernel interface is in use, not userspace networking.
        pub tun: bool => "TUN",
        /// Name of a [`State`](super::State).
        pub backend_state: String => "BackendState",
        pub have_node_key: bool => "HaveNodeKey" omit,
        pub auth_url: String => "AuthURL",
        pub tailscale_ips: Vec<IpAddr> => "TailscaleIPs",
        /// Always there in what a daemon writes: Go's command line relies on it.
        pub self_: Option<Box<PeerStatus>> => "Self",
        pub exit_node_status: Option<ExitNodeStatus> => "ExitNodeStatus" omit,
        /// Problems, worded for people; an empty list when all is well, `None` when nobody watches.
        pub health: Option<Vec<String>> => "Health",
        pub magic_dns_suffix: String => "MagicDNSSuffix",
        pub current_tailnet: Option<TailnetStatus> => "CurrentTailnet",
        pub cert_domains: Vec<String> => "CertDomains",
        pub extra_records: Vec<DnsRecord> => "ExtraRecords",
        pub peer: Map<NodePublic, PeerStatus> => "Peer",
        pub user: Map<i64, UserProfile> => "User",
        pub client_version: Option<ClientVersion> => "ClientVersion",
    }
}

go_object! {
    /// The tailnet the node is in.
    pub struct TailnetStatus {
        pub name: String => "Name",
        /// Without dots around it.
        pub magic_dns_suffix: String => "MagicDNSSuffix",
        pub magic_dns_enabled: bool => "MagicDNSEnabled",
    }
}

go_object! {
    /// The exit node in use.
    pub struct ExitNodeStatus {
        /// Stable id.
        pub id: String => "ID",
        pub online: bool => "Online",
        pub tailscale_ips: Vec<IpNet> => "TailscaleIPs",
    }
}

go_object! {
    /// One node, ourselves or a peer (Go's `ipnstate.PeerStatus`).
    pub struct PeerStatus {
        /// Stable id.
        pub id: String => "ID",
        pub node_id: i64 => "NodeID",
        pub public_key: NodePublic => "PublicKey",
        pub host_name: String => "HostName",
        /// With trailing dot.
        pub dns_name: String => "DNSName",
        pub os: String => "OS",
        pub user_id: i64 => "UserID",
        pub alt_sharer_user_id: i64 => "AltSharerUserID" omit,
        pub tailscale_ips: Vec<IpAddr> => "TailscaleIPs",
        pub allowed_ips: Option<Vec<IpNet>> => "AllowedIPs" omit,
        pub tags: Option<Vec<String>> => "Tags" omit,
        pub primary_routes: Option<Vec<IpNet>> => "PrimaryRoutes" omit,
        /// Own endpoints; `None` for peers.
        pub addrs: Option<Vec<String>> => "Addrs",
        /// Direct address in use, empty if none.
        pub cur_addr: String => "CurAddr",
        /// Code of its home DERP region.
        pub relay: String => "Relay",
        /// `ip:port:vni` of a peer relay in use.
        pub peer_relay: String => "PeerRelay",
        pub rx_bytes: i64 => "RxBytes",
        pub tx_bytes: i64 => "TxBytes",
        pub created: Time => "Created",
        pub last_write: Time => "LastWrite",
        pub last_seen: Time => "LastSeen",
        pub last_handshake: Time => "LastHandshake",
        pub online: bool => "Online",
        /// It is our exit node.
        pub exit_node: bool => "ExitNode",
        /// It may be chosen as exit node.
        pub exit_node_option: bool => "ExitNodeOption",
        /// Something was sent to it lately (45 s in Go).
        pub active: bool => "Active",
        pub peer_api_url: Vec<String> => "PeerAPIURL",
        pub taildrop_target: i64 => "TaildropTarget",
        pub no_file_sharing_reason: String => "NoFileSharingReason",
        pub capabilities: Vec<String> => "Capabilities" omit,
        pub cap_map: CapMap => "CapMap" omit,
        pub ssh_host_keys: Vec<String> => "sshHostKeys" omit,
        pub sharee_node: bool => "ShareeNode" omit,
        pub in_network_map: bool => "InNetworkMap",
        pub in_magic_sock: bool => "InMagicSock",
        pub in_engine: bool => "InEngine",
        pub expired: bool => "Expired" omit,
        pub key_expiry: Option<Time> => "KeyExpiry" omit,
        pub location: Option<Location> => "Location" omit,
    }
}
