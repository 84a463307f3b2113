//! `status`: the node, its tailnet and its peers as LocalAPI shows them (features reference §2.7).
//!
//! Owns: which fact goes into which field. Leaves out: writing the JSON (`localapi`), counting packets (`engine`).

use super::{Backend, Moment, convert, machine};
use ipnet::IpNet;
use localapi::types::{ExitNodeStatus, Map, PeerStatus, Status, TailnetStatus, Time};
use netmap::{Node, RegionId};
use std::net::{IpAddr, SocketAddr};

/// What the packet engine knows of one peer.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct PeerView {
    /// Bytes of data messages received.
    pub rx_bytes: u64,
    /// Bytes of data messages sent.
    pub tx_bytes: u64,
    /// When something was last sent.
    pub last_write: Time,
    /// When a handshake last completed.
    pub last_handshake: Time,
    /// Something was sent in the last 45 s.
    pub active: bool,
    /// The engine has the peer.
    pub known: bool,
    /// The address it is reached at, if that is no relay and something was sent there.
    pub direct: Option<SocketAddr>,
}

/// The line that Go puts before the capabilities of Self.
const DEPRECATED: &str =
    "HTTPS://TAILSCALE.COM/s/DEPRECATED-NODE-CAPS#see-https://github.com/tailscale/tailscale/issues/11508";

impl Backend {
    /// Everything but the peers. `health` are the texts that are visible now.
    pub fn status_head(&self, health: Option<Vec<String>>) -> Status {
        let map = self.netmap();
        let node = map.map(|map| &map.self_node);
        let prefs = self.profiles.prefs();
        let suffix = node.map_or("", |n| convert::magic_dns_suffix(&n.name)).to_owned();
        let tailnet = map.map(|map| TailnetStatus {
            name: map.domain.to_string(),
            magic_dns_suffix: suffix.clone(),
            magic_dns_enabled: map.dns.proxied,
        });
        let mut user = Map::new();
        if let Some(profile) = map.and_then(|map| map.user(map.self_node.user)) {
            user.insert(profile.id.0, convert::user(profile));
        }
        Status {
            version: crate::version::LONG.to_owned(),
            tun: self.tun,
            backend_state: self.state().name().to_owned(),
            have_node_key: self.have_node_key(),
            auth_url: self.auth_url().unwrap_or("").to_owned(),
            tailscale_ips: node.map(|n| convert::ips(&n.addresses)).unwrap_or_default(),
            self_: Some(Box::new(self.self_status())),
            exit_node_status: self.exit_node_status(),
            health,
            magic_dns_suffix: suffix,
            current_tailnet: tailnet,
            cert_domains: map
                .map(|m| m.dns.cert_domains.iter().map(|d| d.to_string()).collect())
                .unwrap_or_default(),
            extra_records: map.map(|m| convert::extra_records(&m.dns)).unwrap_or_default(),
            peer: Map::new(),
            user,
            client_version: map
                .filter(|_| prefs.auto_update.check)
                .and_then(|m| m.client_version.as_ref())
                .map(convert::client_version),
        }
    }

    /// Adds the owners of the peers to `user`, as the full status has them.
    pub fn add_users(&self, status: &mut Status) {
        let Some(map) = self.netmap() else { return };
        status.user = map.users.values().map(|user| (user.id.0, convert::user(user))).collect();
    }

    fn self_status(&self) -> PeerStatus {
        let Some(map) = self.netmap() else {
            return PeerStatus {
                public_key: self.node_key().public(),
                host_name: self.hostname().to_owned(),
                os: "linux".to_owned(),
                addrs: Some(Vec::new()),
                ..PeerStatus::default()
            };
        };
        let node = &map.self_node;
        let mut status = self.node_status(node);
        let names = node.rare().cap_map.keys().map(|name| name.to_string());
        status.capabilities = std::iter::once(DEPRECATED.to_owned()).chain(names).collect();
        if node.rare().cap_map.is_empty() {
            status.capabilities.clear();
        }
        status.public_key = self.node_key().public();
        status.addrs = Some(self.endpoints.iter().map(|endpoint| endpoint.addr.to_string()).collect());
        status.host_name = self.hostname().to_owned();
        status.os = "linux".to_owned();
        status.relay = self.region_code(self.home());
        status.online = self.in_map_poll();
        status.in_network_map = true;
        status.last_seen = Time::ZERO;
        status
    }

    /// One peer.
    pub fn peer_status(&self, node: &Node, view: &PeerView, now: Moment) -> PeerStatus {
        let mut status = self.node_status(node);
        status.expired = node.is_expired(now.wall);
        status.relay = self.region_code(node.home_derp);
        status.rx_bytes = i64::try_from(view.rx_bytes).unwrap_or(i64::MAX);
        status.tx_bytes = i64::try_from(view.tx_bytes).unwrap_or(i64::MAX);
        status.last_write = view.last_write;
        status.last_handshake = view.last_handshake;
        status.active = view.active;
        status.cur_addr = view.direct.map(|addr| addr.to_string()).unwrap_or_default();
        status.online = node.online == Some(true);
        status.in_network_map = true;
        status.in_magic_sock = view.known;
        status.in_engine = view.known && !view.last_handshake.is_zero();
        let prefs = self.profiles.prefs();
        status.exit_node = !prefs.exit_node_id.is_empty() && *prefs.exit_node_id == *node.stable_id.0;
        status
    }

    fn node_status(&self, node: &Node) -> PeerStatus {
        let (rest, rare) = (node.hostinfo.rest(), node.rare());
        let some =
            |list: &[Box<str>]| (!list.is_empty()).then(|| list.iter().map(|s| s.to_string()).collect());
        PeerStatus {
            id: node.stable_id.to_string(),
            node_id: node.id.0,
            public_key: node.key,
            host_name: node.hostinfo.hostname.to_string(),
            dns_name: node.name.to_string(),
            os: node.hostinfo.os().to_owned(),
            user_id: node.user.0,
            alt_sharer_user_id: rare.sharer.0,
            tailscale_ips: convert::ips(&node.addresses),
            allowed_ips: Some(node.allowed_ips.to_vec()),
            tags: some(&rare.tags),
            primary_routes: (!rare.primary_routes.is_empty()).then(|| rare.primary_routes.to_vec()),
            created: convert::time(node.created),
            last_seen: convert::time(node.last_seen),
            exit_node_option: node.offers_exit(),
            peer_api_url: peer_api_urls(node),
            sharee_node: rest.is_some_and(|rest| rest.sharee_node),
            expired: node.expired,
            key_expiry: (!node.key_expiry.is_zero()).then(|| Time::from_unix(node.key_expiry.unix())),
            location: rest.and_then(|rest| rest.location.as_ref()).map(convert::location),
            cap_map: convert::cap_map(&rare.cap_map),
            ..PeerStatus::default()
        }
    }

    fn exit_node_status(&self) -> Option<ExitNodeStatus> {
        let id = &self.profiles.prefs().exit_node_id;
        let map = self.netmap().filter(|_| !id.is_empty())?;
        let node = map.peers().find(|n| *n.stable_id.0 == **id)?;
        Some(ExitNodeStatus {
            id: id.clone(),
            online: node.online == Some(true),
            tailscale_ips: node.addresses.to_vec(),
        })
    }

    /// The short name of a DERP region.
    pub fn region_code(&self, region: RegionId) -> String {
        let region = self.netmap().and_then(|map| map.derp_map.regions.get(&region));
        region.map(|r| r.code.to_string()).unwrap_or_default()
    }

    /// Who has this address: a peer, ourselves, or a peer through a route. `true`: it is its own address.
    pub fn node_by_ip(&self, ip: IpAddr) -> Option<(&Node, bool)> {
        let map = self.netmap()?;
        let own = |node: &Node| node.ips().any(|own| own == ip);
        if own(&map.self_node) {
            return Some((&map.self_node, true));
        }
        if let Some(node) = map.peers().find(|node| own(node)) {
            return Some((node, true));
        }
        let longest = |node: &Node| {
            let covering =
                node.allowed_ips.iter().filter(|net| net.contains(&ip) && self.uses_route(node, net));
            covering.map(IpNet::prefix_len).max()
        };
        let routed = map.peers().filter_map(|node| longest(node).map(|len| (len, node)));
        routed.max_by_key(|(len, node)| (*len, std::cmp::Reverse(node.id))).map(|(_, node)| (node, false))
    }

    /// What `nextState` looks at.
    pub fn state(&self) -> machine::State {
        self.state
    }
}

/// Where the node's PeerAPI listens, by what it announces.
fn peer_api_urls(node: &Node) -> Vec<String> {
    let port = |proto: &str| node.hostinfo.services.iter().find(|s| s.proto() == proto).map(|s| s.port);
    let url = |ip: IpAddr| match ip {
        IpAddr::V4(ip) => port("peerapi4").map(|port| format!("http://{ip}:{port}")),
        IpAddr::V6(ip) => port("peerapi6").map(|port| format!("http://[{ip}]:{port}")),
    };
    node.ips().filter_map(url).collect()
}
