//! `tailscale ping`: what is asked and what comes back.

go_object! {
    /// What became of a ping.
    pub struct PingResult {
        /// What was pinged.
        pub ip: String => "IP",
        /// The node that answers for it; another address behind a subnet router.
        pub node_ip: String => "NodeIP",
        pub node_name: String => "NodeName",
        /// Empty on success.
        pub err: String => "Err",
        pub latency_seconds: f64 => "LatencySeconds",
        /// `ip:port` of the direct path, else empty.
        pub endpoint: String => "Endpoint",
        /// `ip:port:vni` of a peer relay, else empty.
        pub peer_relay: String => "PeerRelay",
        /// Region of the relay, 0 if it was not relayed.
        pub derp_region_id: i64 => "DERPRegionID",
        pub derp_region_code: String => "DERPRegionCode",
        pub peer_api_port: u16 => "PeerAPIPort" omit,
        pub peer_api_url: String => "PeerAPIURL" omit,
        /// It is one of our own addresses; nothing was sent.
        pub is_local_ip: bool => "IsLocalIP" omit,
    }
}

/// How to ping.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PingKind {
    /// By path discovery: finds the path in use.
    Disco,
    /// Inside WireGuard, answered by the peer's client.
    Tsmp,
    /// Inside WireGuard, answered by the peer's system.
    Icmp,
    /// By a request to its PeerAPI.
    PeerApi,
}

impl PingKind {
    /// As the query parameter `type` wants it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Disco => "disco",
            Self::Tsmp => "TSMP",
            Self::Icmp => "ICMP",
            Self::PeerApi => "peerapi",
        }
    }

    /// The kind of that name.
    pub fn from_name(name: &str) -> Option<Self> {
        [Self::Disco, Self::Tsmp, Self::Icmp, Self::PeerApi].into_iter().find(|kind| kind.name() == name)
    }
}
