//! What goes where: which networks of which peers are used, and what the system must have for that.
//!
//! Owns: the choice of an exit node as far as it follows from the facts. Leaves out: how a suggestion is made
//! (`parts::useexitnode`), how the kernel is told (`router`), which of two peers with the same network is asked (`engine`).

use super::{Backend, Effect, Firewall, Moment, RouterConfig, TAILNET, default_routes, is_tailnets};
use crate::parts::{advertiseexitnode, advertiseroutes, netstack, useexitnode, useroutes};
use localapi::types::{Addr, Notify, OptBool, Prefs};
use netmap::{Changes, IpNet, Node, RegionId};
use std::net::IpAddr;
use std::sync::Arc;

/// Control lets addresses of the tailnet's range in by other interfaces with this attribute.
const NO_CGNAT_DROP: &str = "disable-linux-cgnat-drop-rule";

/// What stands before an automatic choice that was switched off.
pub(super) const AUTO: &str = "auto:";

/// How the system's packet filter is spoken to, unless the settings say.
const FILTER_KINDS: [(&str, &str); 2] =
    [("linux-netfilter?v=iptables", "iptables"), ("linux-netfilter?v=nftables", "nftables")];

impl Backend {
    /// Whether traffic for `net` goes to `node` under our settings: its own addresses always, networks behind it if
    /// they are accepted, everything else if it is our exit node.
    pub fn uses_route(&self, node: &Node, net: &IpNet) -> bool {
        let prefs = self.profiles.prefs();
        match net.prefix_len() {
            0 => useexitnode::carries(prefs, node),
            _ => useroutes::accepts(prefs) || is_own(node, net),
        }
    }

    /// Networks behind this node, as control is told and the packet filter lets in.
    pub fn advertised(&self) -> Vec<IpNet> {
        let prefs = self.prefs();
        let mut nets = advertiseroutes::networks(prefs);
        nets.extend(advertiseexitnode::networks(prefs));
        nets
    }

    /// Our addresses, if packets may pass.
    pub fn own_addresses(&self) -> Vec<IpNet> {
        let known = self.engine_active && self.have_netmap;
        if known { self.netmap.self_node.ips().map(IpNet::from).collect() } else { Vec::new() }
    }

    /// What the system must know of us: nothing unless packets may pass.
    pub fn router_config(&self) -> RouterConfig {
        if !self.engine_active || !self.have_netmap {
            return RouterConfig::default();
        }
        let prefs = self.prefs();
        let node = &self.netmap.self_node;
        let addresses = self.own_addresses();
        // The whole of the tailnet, whoever is in it: a route less to change with every peer that comes.
        let tailnet = TAILNET.iter().filter_map(|range| range.parse::<IpNet>().ok());
        let ours = |range: &IpNet| addresses.iter().any(|own| own.addr().is_ipv4() == range.addr().is_ipv4());
        let mut routes: Vec<_> = tailnet.filter(ours).collect();
        // By name, so that no other route of this machine leads elsewhere.
        routes.extend(netstack::addresses(node.ips()).into_iter().map(IpNet::from));
        let advertised = advertiseroutes::networks(prefs);
        for peer in self.netmap.peers().filter(|peer| !Arc::ptr_eq(&peer.allowed_ips, &peer.addresses)) {
            let nets =
                peer.allowed_ips.iter().filter(|net| net.prefix_len() != 0 && self.uses_route(peer, net));
            // Of two routers for one network each reaches it itself.
            routes.extend(nets.filter(|net| !is_own(peer, net) && !advertised.contains(net)));
        }
        routes.sort_unstable();
        routes.dedup();
        let networks = self.interfaces.iter().map(IpNet::trunc).filter(is_network);
        let (mut around, mut shut, mut behind) = (Vec::new(), Vec::new(), Vec::new());
        if useexitnode::in_use(prefs) {
            // Both families, whatever the exit node offers: what it does not carry must not leave past it.
            routes.extend(default_routes());
            let lan = if prefs.exit_node_allow_lan_access { &mut around } else { &mut shut };
            lan.extend(networks);
            if prefs.exit_node_allow_lan_access {
                // Others come here to get there.
                behind = advertised;
            }
        } else {
            // What is near us stays where it is, although somebody else has a network that it lies in.
            let covered = |net: &IpNet| routes.iter().any(|route| route.contains(net));
            around = networks.filter(covered).collect();
            behind = advertised;
            behind.retain(covered);
        }
        let firewall = self.firewall();
        RouterConfig { addresses, routes, around, behind, shut, firewall }
    }

    fn firewall(&self) -> Firewall {
        let (prefs, node) = (self.prefs(), &self.netmap.self_node);
        let by_control = FILTER_KINDS.iter().find(|(attribute, _)| node.has_cap(attribute));
        Firewall {
            mode: prefs.netfilter_mode,
            kind: match (prefs.netfilter_kind.as_str(), by_control) {
                ("", Some((_, kind))) => (*kind).to_owned(),
                (kind, _) => kind.to_owned(),
            },
            snat: !prefs.no_snat,
            stateful: prefs.no_stateful_filtering == OptBool::False,
            drop_cgnat: !node.has_cap(NO_CGNAT_DROP),
            port: 0,
        }
    }

    /// Tells the bus which exit node suits best, if that is another one now.
    pub(super) fn suggest_anew(&mut self) {
        let Ok(found) = self.suggest(&self.suggested, 0) else { return };
        let id = found.map(|node| node.stable_id.to_string()).unwrap_or_default();
        if id != self.suggested {
            self.suggested.clone_from(&id);
            self.notify(Notify { suggested_exit_node: Some(id), ..Notify::default() });
        }
    }

    /// A map message has come: routes and exit node may follow from it. Patches change neither, but whom to suggest if
    /// they are of exit nodes: to ask all peers for each patch of ten thousand would cost more than the patch.
    /// The `first` of a stream may find what could not be settled when its peers came.
    pub(super) fn follow_peers(&mut self, changes: &Changes, first: bool, now: Moment) {
        let whole = first || changes.has_whole_peers();
        let mut patched = changes.patches.iter().filter_map(|patch| self.netmap.peer(patch.id));
        let suggests_anew = whole || patched.any(Node::offers_exit);
        if suggests_anew {
            self.suggest_anew();
        }
        if whole {
            let prefs = self.prefs();
            self.router_stale |= self.tun && useroutes::accepts(prefs);
            self.follow_exit_node(now);
        } else if suggests_anew && !self.prefs().auto_exit_node.is_empty() {
            self.follow_exit_node(now);
        }
    }

    /// Settles on an exit node under the present facts.
    pub(super) fn follow_exit_node(&mut self, now: Moment) {
        if !useexitnode::in_use(self.prefs()) {
            return;
        }
        let mut next = self.prefs().clone();
        self.settle_exit_node(&mut next);
        let old = self.prefs();
        if (&next.exit_node_id, next.exit_node_ip) != (&old.exit_node_id, old.exit_node_ip) {
            let old = old.clone();
            log::info!(
                target: crate::logging::UNLIMITED,
                "exit node: {:?} instead of {:?}",
                next.exit_node_id,
                old.exit_node_id
            );
            self.change_prefs(next, &old, now);
        }
    }

    /// Settles on an exit node for `prefs`.
    pub(super) fn settle_exit_node(&mut self, prefs: &mut Prefs) {
        if !useexitnode::in_use(prefs) {
            return;
        }
        let dice = if prefs.auto_exit_node.is_empty() { 0 } else { self.rng.next_u32() };
        let suggested = self.suggest(&prefs.exit_node_id, dice).ok().flatten();
        useexitnode::settle(prefs, self.netmap(), suggested);
    }

    /// Switches the exit node off, or the last one on again.
    pub(super) fn use_exit_node(&mut self, on: bool, now: Moment) -> Result<Prefs, String> {
        let old = self.prefs().clone();
        if useexitnode::in_use(&old) != on {
            let mut next = Prefs {
                exit_node_id: String::new(),
                exit_node_ip: Addr(None),
                auto_exit_node: String::new(),
                internal_exit_node_prior: String::new(),
                ..old.clone()
            };
            if !on {
                next.internal_exit_node_prior = match old.auto_exit_node.as_str() {
                    "" => old.exit_node_id.clone(),
                    auto => format!("{AUTO}{auto}"),
                };
            } else if old.internal_exit_node_prior.is_empty() {
                return Err("no prior exit node to enable".to_owned());
            } else if let Some(auto) = old.internal_exit_node_prior.strip_prefix(AUTO) {
                next.auto_exit_node = auto.to_owned();
            } else {
                next.exit_node_id.clone_from(&old.internal_exit_node_prior);
            }
            self.settle_exit_node(&mut next);
            self.change_prefs(next, &old, now);
        }
        Ok(self.prefs().redacted())
    }

    /// The exit node that suits best now; `previous` among equals, else by `dice`.
    ///
    /// # Errors
    /// When it cannot be said yet.
    pub fn suggest(&self, previous: &str, dice: u32) -> Result<Option<&Node>, &'static str> {
        let far = |region: RegionId| self.seconds_to(region);
        match self.netmap() {
            Some(map) => useexitnode::suggest(map, self.home, &far, previous, dice),
            None => Ok(None),
        }
    }

    /// The interfaces of this machine have other addresses now: with their prefix lengths, without the tunnel's.
    pub(super) fn interfaces_changed(&mut self, interfaces: Vec<IpNet>) {
        self.network_down = interfaces.is_empty();
        self.interfaces = interfaces;
        if !advertiseexitnode::networks(self.prefs()).is_empty() {
            self.effects.push_back(Effect::Configure);
        }
        // What is near us and which way leads out may decide where routes go.
        self.router_stale |= self.tun;
    }
}

/// Whether others may be in it, it is not of one wire only, and its addresses are not the tailnet's, whoever else has them.
fn is_network(net: &IpNet) -> bool {
    let link_local = match net.addr() {
        IpAddr::V4(ip) => ip.is_link_local(),
        IpAddr::V6(ip) => ip.is_unicast_link_local(),
    };
    net.prefix_len() != net.max_prefix_len() && !link_local && !is_tailnets(net)
}

/// Whether `net` is an address that `node` answers at itself: one of its own, or a single Tailscale address that control
/// gave it besides, as a service that it hosts. Everything else is a route behind it.
fn is_own(node: &Node, net: &IpNet) -> bool {
    let single = net.prefix_len() == net.max_prefix_len();
    let tailscale = match net.addr() {
        // 100.115.92.0/23 is used inside Chrome OS and not given to nodes.
        IpAddr::V4(ip) => {
            matches!(ip.octets(), [100, 64..=127, ..]) && !matches!(ip.octets(), [_, 115, 92..=93, _])
        }
        IpAddr::V6(ip) => matches!(ip.segments(), [0xfd7a, 0x115c, 0xa1e0, ..]),
    };
    (single && tailscale) || node.addresses.contains(net)
}
