//! News of the control client and of the relays: what they change and whom it concerns.

use super::{Backend, Effect, Moment, PeerSet, RelayConfig, convert};
use crate::parts::health::Warnable;
use crate::parts::{netstack, useexitnode};
use control::{Activity, Event, MapItem, MapMessage};
use engine::filter::{Filter, FilterInput, local_set};
use engine::{PeerConfig, SelfConfig};
use localapi::types::{NetworkProfile, Notify, Prefs};
use netmap::{FilterRule, NetMap, Node, NodeId, PeerPatch, RegionId, Timestamp};
use std::sync::Arc;

/// Control forbids UDP with this attribute.
const ONLY_TCP_443: &str = "only-tcp-443";
/// And UPnP with this one.
const NO_UPNP: &str = "debug-disable-upnp";
/// It wants our endpoints to be looked at whether there is traffic or not.
const ALWAYS_STUN: &str = "debug-always-stun";
/// It wants no heartbeats with this one.
const SILENT_DISCO: &str = "silent-disco";

/// It wants a UDP port by chance with this one.
const RANDOM_PORT: &str = "randomize-client-port";

/// Whole peers in one message of the bus.
const PEERS_A_MESSAGE: usize = 64;

impl Backend {
    pub(super) fn handle_control(&mut self, event: Event, now: Moment) {
        match event {
            Event::AuthUrl(url) => self.auth_url_came(url, now),
            Event::LoggedIn(news) => self.registered(*news, now),
            Event::LoginFailed { error, retrying } => self.login_failed(&error, retrying, now),
            Event::KeyExpired => self.key_expired(now),
            Event::Trouble { activity, error } => self.trouble(activity, error.as_ref(), now),
            Event::MapUp => {
                // The changes of a message that was cut off stay: its peers are in the map.
                self.netmap.begin_stream();
                self.in_map_poll = true;
                if self.forget_withheld_home() {
                    self.effects.push_back(Effect::Look);
                }
                self.answered();
                self.settle(now);
            }
            Event::MapItem(MapItem::Peer(node)) => {
                self.netmap.upsert_peer(*node, &mut self.changes);
            }
            Event::MapItem(MapItem::End(message)) => self.message(*message, now),
            Event::MapDown { error } => {
                // One that a pause ended is not lost.
                if std::mem::take(&mut self.in_map_poll) {
                    log::info!("lost the map stream of control: {error}");
                }
                self.heard.ended(now.mono);
                self.settle(now);
            }
            // Answered by the node, which has the engine.
            Event::C2n { .. } | Event::PingPeer { .. } => {}
        }
    }

    /// An activity of the control client fails or works again.
    fn trouble(&mut self, activity: Activity, error: Option<&control::Error>, now: Moment) {
        match error {
            Some(error) if activity != Activity::Update => {
                self.answered();
                let text = format!("Cannot reach the coordination server: {error}");
                self.health.set(Warnable::ControlUnreachable, text, now.mono, now.wall);
                // Somebody may be waiting at the command line, in vain unless something is set up differently. What
                // may pass by itself is no reason to give up: health tells it.
                if !self.have_netmap && error.needs_configuration() {
                    self.notify(Notify { err_message: Some(error.to_string()), ..Notify::default() });
                }
            }
            Some(_) => {}
            None => self.health.clear(Warnable::ControlUnreachable),
        }
    }

    /// The end of a map message: everything but the peers, which have been taken while they arrived.
    fn message(&mut self, message: MapMessage, mut now: Moment) {
        let MapMessage { keep_alive, first, delta, pop_browser_url, control_time, .. } = message;
        if let Some(at) = control_time {
            self.effects.push_back(Effect::ControlTime(at));
            // A clock that is years off must not make keys expire that this very message says are good.
            if crate::clock::is_sane(at) {
                now.wall = at;
            }
        }
        if let Some(url) = pop_browser_url {
            self.notify(Notify { browse_to_url: Some(url), ..Notify::default() });
        }
        self.heard.message(now.mono);
        self.health.clear(Warnable::MapResponseTimeout);
        // Not before: a server that ends each stream in the middle of its first message is not reached.
        self.health.clear(Warnable::ControlUnreachable);
        if keep_alive {
            return;
        }
        let mut changes = std::mem::take(&mut self.changes);
        let wished = self.socket_wishes();
        let replaces = first && self.cached.replaced();
        if replaces {
            self.netmap.users.clear();
        }
        self.netmap.apply(delta, first, now.wall, &mut changes);
        let is_new = replaces || !self.have_netmap;
        self.have_netmap = true;
        self.cached.heard(&changes, first);
        if first || changes.self_node {
            self.learn_self(now);
        }
        if changes.messages {
            self.messages_since = now.wall;
        }
        self.watch_expiry(&changes, now);
        if changes.derp_map {
            self.relays_changed();
        } else if wished != self.socket_wishes() {
            self.effects.push_back(Effect::Relays);
        }
        if is_new || changes.self_node || changes.packet_filters {
            self.reconfigure();
        } else if changes.concerns_capabilities()
            && self.netmap.filter_rules().any(FilterRule::is_by_capability)
        {
            self.effects.push_back(Effect::Configure);
        }
        // Which version the others speak is nothing to DNS, and it is patched in whenever one of thousands starts anew.
        let carrier = |patch: &PeerPatch| {
            let peer = patch.cap.and_then(|_| self.netmap.peer(patch.id));
            peer.is_some_and(|peer| useexitnode::carries(self.profiles.prefs(), peer))
        };
        let named = changes.concerns_capabilities() || changes.patches.iter().any(carrier);
        self.dns_stale |= named || changes.dns || first;
        self.tell_peers(&changes, first, now);
        self.follow_peers(&changes, first, now);
        self.settle(now);
        let peers = if is_new { PeerSet::All } else { PeerSet::Some(changes.touched().collect()) };
        if peers != PeerSet::Some(Default::default()) {
            self.effects.push_back(Effect::SyncPeers(peers));
        }
    }

    /// Puts the map of an earlier run in force, until control's first map replaces it. To be followed by a start.
    pub fn recall(&mut self, map: NetMap, home: RegionId, now: Moment) {
        self.netmap = map;
        self.have_netmap = true;
        self.cached.recalled();
        self.peers_expire(now);
        if !home.is_none() {
            self.set_home(home);
        }
        self.relays_changed();
    }

    /// Remembers the soonest expiry among the peers of a message.
    fn watch_expiry(&mut self, changes: &netmap::Changes, now: Moment) {
        if self.next_expiry.has_come(now.wall) {
            self.peers_expire(now);
        }
        let expiries = changes.present().filter_map(|id| self.netmap.peer(id)).map(|peer| peer.key_expiry);
        let soonest = expiries.chain([self.next_expiry]).filter(|at| *at > now.wall).min();
        self.next_expiry = soonest.unwrap_or(Timestamp::ZERO);
    }

    /// The keys of some peers have run out: the engine forgets them, and the bus shows them as expired.
    pub(super) fn peers_expire(&mut self, now: Moment) {
        let since = self.next_expiry;
        let (past, ahead): (Vec<_>, Vec<_>) = self
            .netmap
            .peers()
            .filter(|peer| !peer.key_expiry.is_zero())
            .map(|peer| (peer.key_expiry, peer.id))
            .partition(|(at, _)| *at <= now.wall);
        self.next_expiry = ahead.into_iter().map(|(at, _)| at).min().unwrap_or(Timestamp::ZERO);
        if self.peers_watched && !since.is_zero() {
            let news: Vec<_> = past.iter().filter(|(at, _)| *at >= since).map(|(_, id)| *id).collect();
            self.tell_whole_peers(&news, Notify::default(), now);
        }
        self.effects
            .push_back(Effect::SyncPeers(PeerSet::Some(past.into_iter().map(|(_, id)| id).collect())));
    }

    /// Our own node has come or changed: remember who we are.
    fn learn_self(&mut self, now: Moment) {
        let node = &self.netmap.self_node;
        let Some(old) = self.profiles.persist() else { return };
        let mut persist = old.clone();
        persist.node_id = node.stable_id.to_string();
        if let Some(user) = self.netmap.user(node.user) {
            persist.user_profile = convert::user(user);
        }
        let known = self.profiles.current().network_profile == network_profile(&self.netmap);
        if *old != persist || !known || self.profiles.current().id.is_empty() {
            let told = old.node_id != persist.node_id || old.user_profile != persist.user_profile;
            self.put_prefs(Prefs { persist: Some(persist), ..self.prefs().clone() }, now);
            if told {
                self.notify_prefs();
            }
        }
    }

    fn tell_peers(&mut self, changes: &netmap::Changes, first: bool, now: Moment) {
        let own = first || changes.self_node;
        let self_change = own.then(|| Box::new(convert::node(&self.netmap.self_node)));
        let version = self.netmap.client_version.as_ref().filter(|_| changes.messages);
        let client_version = version.map(convert::client_version);
        if self_change.is_some() || client_version.is_some() {
            self.notify(Notify { self_change, client_version, ..Notify::default() });
        }
        if self.peers_watched {
            self.tell_changed_peers(changes, now);
        }
    }

    fn tell_changed_peers(&mut self, changes: &netmap::Changes, now: Moment) {
        // Another expiry may end or undo what no patch has a word for: that the peer is expired.
        let (dated, patches): (Vec<_>, Vec<_>) =
            changes.patches.iter().partition(|patch| patch.key_expiry.is_some());
        let mut notify = Notify {
            peer_changed_patch: patches.into_iter().map(convert::patch).collect(),
            peers_removed: changes.removed.iter().map(|id| id.0).collect(),
            ..Notify::default()
        };
        let users = changes.users.iter().filter_map(|id| self.netmap.user(*id));
        notify.user_profiles = users.map(|user| (user.id.0, convert::user(user))).collect();
        let whole: Vec<NodeId> =
            changes.changed.iter().copied().chain(dated.into_iter().map(|patch| patch.id)).collect();
        self.tell_whole_peers(&whole, notify, now);
    }

    /// Tells of peers besides what is in `notify`, a few in each message: a whole map of ten thousand must not be in memory
    /// twice.
    fn tell_whole_peers(&mut self, peers: &[NodeId], mut notify: Notify, now: Moment) {
        for ids in peers.chunks(PEERS_A_MESSAGE) {
            let nodes = ids.iter().filter_map(|id| self.netmap.peer(*id));
            let nodes = nodes.map(|node| convert::peer(node, now.wall));
            notify.peers_changed = nodes.collect();
            self.notify(std::mem::take(&mut notify));
        }
        if !gojson::is_empty(&notify) {
            self.notify(notify);
        }
    }

    /// Whether anybody at the bus wants to hear of peers.
    pub fn set_peers_watched(&mut self, watched: bool) {
        self.peers_watched = watched;
    }

    /// What peers see in the node of this number, in full: for watchers that do not take patches.
    pub fn whole_node(&self, id: NodeId, now: Moment) -> Option<localapi::types::Node> {
        self.netmap()?.peer(id).map(|node| convert::peer(node, now.wall))
    }

    fn relays_changed(&mut self) {
        let map = &self.netmap.derp_map;
        let usable = |id: &RegionId| map.regions.get(id).is_some_and(|r| !r.no_measure_no_home);
        if !usable(&self.home) {
            self.home = RegionId::NONE;
            // One region needs no measuring.
            let regions: Vec<RegionId> = map.regions.keys().copied().filter(usable).collect();
            if let [only] = *regions {
                self.set_home(only);
            }
        }
        self.effects.push_back(Effect::Relays);
        self.effects.push_back(Effect::Look);
    }

    pub(super) fn set_home(&mut self, home: RegionId) {
        if self.home != home {
            log::info!(target: crate::logging::UNLIMITED, "home DERP region is now {home}");
            self.home = home;
            // Both were said of the former one.
            self.home_error.clear();
            self.health.clear(Warnable::DerpRegionError);
            self.cached.moved();
            self.effects.push_back(Effect::Relays);
            self.report();
        }
    }

    pub(super) fn handle_relay(&mut self, event: derp::Event, now: Moment) {
        match event {
            derp::Event::Connected { region, home } => {
                self.connected_relays.insert(region);
                if home {
                    self.home_error.clear();
                    self.health.clear(Warnable::DerpRegionError);
                }
            }
            derp::Event::Disconnected { region, home, error } => {
                self.connected_relays.remove(&region);
                if home && !error.is_empty() {
                    // The nearest region may have become another one.
                    if self.netmap.derp_map.regions.len() > 1 {
                        self.effects.push_back(Effect::Look);
                    }
                    self.home_error = error;
                }
            }
            derp::Event::Health { region, text } if region == self.home => {
                if text.is_empty() {
                    self.health.clear(Warnable::DerpRegionError);
                } else {
                    let code = self.region_code(region);
                    let text = format!("The relay server '{code}' reports a problem: {text}");
                    self.health.set(Warnable::DerpRegionError, text, now.mono, now.wall);
                }
            }
            derp::Event::Health { .. } | derp::Event::PeerGone { .. } | derp::Event::FrameAt { .. } => {}
        }
        self.settle(now);
    }

    /// What control wants of our sockets.
    fn socket_wishes(&self) -> [bool; 4] {
        [ONLY_TCP_443, NO_UPNP, RANDOM_PORT, ALWAYS_STUN].map(|name| self.netmap.self_node.has_cap(name))
    }

    /// What the relays are to be connected as and to.
    pub fn relay_config(&self) -> RelayConfig<'_> {
        let [no_udp, no_upnp, random_port, always_look] = self.socket_wishes();
        RelayConfig {
            key: self.node_key(),
            map: &self.netmap.derp_map,
            home: self.home,
            udp: !no_udp,
            upnp: !no_upnp,
            random_port,
            always_look,
            paused: !self.engine_active,
        }
    }

    /// What the engine must know of ourselves.
    pub fn self_config(&self) -> SelfConfig {
        let prefs = self.prefs();
        let node = &self.netmap.self_node;
        let active = self.engine_active && self.have_netmap;
        let filter = if active && self.netmap.packet_filters.is_some() {
            let rules: Vec<_> = self.netmap.filter_rules().collect();
            let local = local_set(&node.addresses, &self.advertised(), &self.interfaces);
            let holders = |cap: &str, add: &mut dyn FnMut(netmap::IpNet)| {
                for peer in self.netmap.peers().filter(|peer| peer.has_cap(cap)) {
                    peer.addresses.iter().copied().for_each(&mut *add);
                }
            };
            Filter::compile(&FilterInput {
                rules: &rules,
                local: &local,
                shields_up: prefs.shields_up,
                cap_holders: &holders,
            })
            .with_open(&self.peerapi)
        } else {
            Filter::deny_all()
        };
        SelfConfig {
            key: self.node_key(),
            addresses: node.ips().map(|ip| (ip, self.peerapi_port(ip))).collect(),
            services: if self.tun { netstack::addresses(node.ips()) } else { Vec::new() },
            filter: Arc::new(filter),
            shields_up: prefs.shields_up,
            tun: self.tun,
            running: active,
            silent_disco: node.has_cap(SILENT_DISCO),
        }
    }

    /// What the engine must know of a peer; `None` if it is to have none such.
    pub fn peer_config(&self, id: NodeId, now: Moment) -> Option<PeerConfig> {
        let node = self.netmap().filter(|_| self.engine_active)?.peer(id)?;
        let usable =
            !node.key.is_zero() && !node.is_expired(now.wall) && node.key != self.netmap.self_node.key;
        let reachable = !node.disco_key.is_zero() || !node.home_derp.is_none() || node.wireguard_only;
        (usable && reachable).then(|| self.engine_peer(node))
    }

    fn engine_peer(&self, node: &Node) -> PeerConfig {
        let uses = |net: &netmap::IpNet| self.uses_route(node, net);
        PeerConfig {
            id: node.id,
            key: node.key,
            disco_key: node.disco_key,
            home_derp: node.home_derp,
            // Nearly always the very same list.
            allowed_ips: match node.allowed_ips.iter().all(uses) {
                true => Arc::clone(&node.allowed_ips),
                false => node.allowed_ips.iter().copied().filter(uses).collect(),
            },
            jailed: node.jailed,
            masq_v4: node.rare().masq_v4,
            masq_v6: node.rare().masq_v6,
            endpoints: node.endpoints.clone(),
            wireguard_only: node.wireguard_only,
        }
    }
}

/// The tailnet as a profile remembers it.
pub(super) fn network_profile(map: &NetMap) -> NetworkProfile {
    NetworkProfile {
        magic_dns_name: convert::magic_dns_suffix(&map.self_node.name).to_owned(),
        domain_name: map.domain.to_string(),
        display_name: String::new(),
    }
}
