//! Who is behind an address.

use super::{Backend, Moment, convert};
use engine::filter::{FilterInput, Grants};
use keys::NodePublic;
use localapi::types::{Node, UserProfile, WhoIs};
use netmap::{NodeId, UserId};
use std::net::{IpAddr, SocketAddr};

impl Backend {
    /// Answers `whois` for `IP`, `IP:port` or `nodekey:…`. `None`: nobody has it.
    ///
    /// # Errors
    /// When `addr` is none of these.
    pub fn whois(&self, addr: &str, now: Moment) -> Result<Option<WhoIs>, String> {
        let node = if addr.starts_with(NodePublic::PREFIX) {
            let key: NodePublic =
                addr.parse().map_err(|error| format!("invalid nodekey in 'addr' parameter: {error}"))?;
            self.netmap().and_then(|map| {
                let ours = Some(&map.self_node).filter(|node| node.key == key);
                ours.or_else(|| map.peers().find(|node| node.key == key))
            })
        } else {
            let ip = parse_ip(addr).ok_or_else(|| "invalid 'addr' parameter".to_owned())?;
            self.node_by_ip(ip).filter(|(_, own)| *own).map(|(node, _)| node)
        };
        let (Some(node), Some(map)) = (node, self.netmap()) else { return Ok(None) };
        let profile = map.user(node.user).map(convert::user).unwrap_or_default();
        Ok(Some(WhoIs {
            node: Some(Box::new(convert::peer(node, now.wall))),
            user_profile: Some(profile),
            cap_map: self.grants(node),
        }))
    }

    /// What `node` may do to us, by the grants of the packet filter.
    fn grants(&self, node: &netmap::Node) -> localapi::types::CapMap {
        let Some(map) = self.netmap() else { return Default::default() };
        let holders = |cap: &str, add: &mut dyn FnMut(netmap::IpNet)| {
            for peer in map.peers().filter(|peer| peer.has_cap(cap)) {
                peer.addresses.iter().copied().for_each(&mut *add);
            }
        };
        let rules: Vec<_> = map.filter_rules().collect();
        let shields_up = self.prefs().shields_up;
        let input = FilterInput { rules: &rules, local: &[], shields_up, cap_holders: &holders };
        let grants = Grants::compile(&input);
        let mut all = netmap::CapMap::new();
        for (src, dst) in node.ips().flat_map(|src| map.self_node.ips().map(move |dst| (src, dst))) {
            if src.is_ipv4() == dst.is_ipv4() {
                all.extend(grants.caps_for(src, dst));
            }
        }
        convert::cap_map(&all)
    }

    /// The node with this number, ourselves included.
    pub fn node_by_id(&self, id: NodeId, now: Moment) -> Option<Node> {
        let map = self.netmap()?;
        let ours = Some(&map.self_node).filter(|node| node.id == id);
        ours.or_else(|| map.peer(id)).map(|node| convert::peer(node, now.wall))
    }

    /// The user with this number.
    pub fn user_by_id(&self, id: UserId) -> Option<UserProfile> {
        self.netmap()?.user(id).map(convert::user)
    }
}

/// An address with or without a port; an IPv4 address in IPv6 clothes is the IPv4 address.
fn parse_ip(text: &str) -> Option<IpAddr> {
    let ip = text.parse::<IpAddr>().ok().or_else(|| text.parse::<SocketAddr>().ok().map(|addr| addr.ip()))?;
    Some(ip.to_canonical())
}
