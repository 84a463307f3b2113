//! Who we are and who the peers are, as control and settings have it, and what follows for tunnel and lines.

use super::Engine;
use super::counters::Passed;
use crate::filter::Filter;
use crate::lines::{Path, PeerFacts, Snapshot};
use crate::magicsock::Families;
use crate::magicsock::paths::{Paths, Way};
use crate::routes::{Routes, RoutesBuilder};
use crate::slot::{PeerSlot, make_room};
use crate::time::{Mono, Wall};
use ipnet::IpNet;
use keys::{DiscoPublic, NodePrivate, NodePublic};
use netmap::{Endpoints, Map, NodeId, RegionId};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;

/// Everything about ourselves that the engine must know; given whole, applied as far as it differs.
#[derive(Debug, Clone, Default)]
pub struct SelfConfig {
    /// Our node key; zero = none.
    pub key: NodePrivate,
    /// Our tailnet addresses, each with the port of our PeerAPI there (0 = none).
    pub addresses: Vec<(IpAddr, u16)>,
    /// Addresses at which services of this process listen, for this machine only: see [`Engine::next_service`].
    pub services: Vec<IpAddr>,
    /// What peers may reach.
    pub filter: Arc<Filter>,
    /// The user refuses everything that peers begin.
    pub shields_up: bool,
    /// A TUN takes what peers send to our addresses; otherwise it is answered here.
    pub tun: bool,
    /// False in every state but Running: nothing passes then.
    pub running: bool,
    /// No heartbeats to peers (control's `silent-disco`).
    pub silent_disco: bool,
}

/// Everything about a peer that the engine must know.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct PeerConfig {
    /// Number by which control and map deltas name it.
    pub id: NodeId,
    /// Its node key, also its WireGuard key.
    pub key: NodePublic,
    /// Changes when its process restarts.
    pub disco_key: DiscoPublic,
    /// Where it listens for relayed packets; 0 = unknown.
    pub home_derp: RegionId,
    /// Addresses it may use and that are routed to it.
    pub allowed_ips: Arc<[IpNet]>,
    /// Its inbound traffic gets the shields-up filter.
    pub jailed: bool,
    /// By which IPv4 address it knows us, if not our own.
    pub masq_v4: Option<Ipv4Addr>,
    /// By which IPv6 address it knows us, if not our own.
    pub masq_v6: Option<Ipv6Addr>,
    /// Where it says that it listens; in order of preference if it is `wireguard_only`, else just addresses to try.
    pub endpoints: Endpoints,
    /// It speaks WireGuard and nothing else: neither disco nor relays (protocol reference §3.10).
    pub wireguard_only: bool,
}

/// All peers by slot and by number.
#[derive(Debug, Default)]
pub(super) struct Peers {
    pub(super) by_id: Map<NodeId, PeerSlot>,
    places: Vec<Place>,
    free: Vec<u32>,
}

#[derive(Debug, Default)]
struct Place {
    generation: u8,
    peer: Option<Box<Peer>>,
}

/// One peer.
#[derive(Debug)]
pub(super) struct Peer {
    pub(super) slot: PeerSlot,
    pub(super) config: PeerConfig,
    /// The relay through which it was last heard; none if it is not there any more.
    pub(super) heard: RegionId,
    /// Where a peer that speaks nothing but WireGuard is reached: a usable endpoint, then wherever it was last heard. Of
    /// another one, on a silent node, where it was last heard.
    pub(super) direct: Option<Box<SocketAddr>>,
    /// What there is to say of its direct paths, for one that speaks disco and has been active.
    pub(super) paths: Option<Box<Paths>>,
    /// What has passed.
    pub(super) passed: Passed,
}

impl Peers {
    pub(super) fn by_slot(&self, slot: PeerSlot) -> Option<&Peer> {
        self.places.get(slot.index())?.peer.as_deref().filter(|peer| peer.slot == slot)
    }

    pub(super) fn by_slot_mut(&mut self, slot: PeerSlot) -> Option<&mut Peer> {
        self.places.get_mut(slot.index())?.peer.as_deref_mut().filter(|peer| peer.slot == slot)
    }

    /// The peer in a place.
    pub(super) fn at(&self, place: usize) -> Option<&Peer> {
        self.places.get(place)?.peer.as_deref()
    }

    pub(super) fn slot(&self, id: NodeId) -> Option<PeerSlot> {
        self.by_id.get(&id).copied()
    }

    /// The disco key of the peer in a place.
    pub(super) fn disco_key(&self, place: usize) -> Option<&[u8; 32]> {
        self.at(place).map(|peer| peer.config.disco_key.as_bytes())
    }

    /// All of whose paths something is known.
    pub(super) fn with_paths(&self) -> Vec<PeerSlot> {
        let all = self.places.iter().filter_map(|place| place.peer.as_deref());
        all.filter(|peer| peer.paths.is_some()).map(|peer| peer.slot).collect()
    }

    /// Does something to every peer.
    pub(super) fn each(&mut self, act: impl FnMut(&mut Peer)) {
        self.places.iter_mut().filter_map(|place| place.peer.as_deref_mut()).for_each(act);
    }

    fn insert(&mut self, config: PeerConfig) -> Option<PeerSlot> {
        let index = match self.free.pop() {
            Some(index) => index,
            None if self.places.len() < PeerSlot::MAX => {
                let next = self.places.len();
                make_room(&mut self.places, next);
                self.places.push(Place::default());
                u32::try_from(self.places.len() - 1).ok()?
            }
            None => return None,
        };
        let place = self.places.get_mut(index as usize)?;
        let slot = PeerSlot::new(index, place.generation);
        self.by_id.insert(config.id, slot);
        let peer = Peer {
            slot,
            config,
            heard: RegionId::NONE,
            direct: None,
            paths: None,
            passed: Passed::default(),
        };
        place.peer = Some(Box::new(peer));
        Some(slot)
    }

    fn remove(&mut self, slot: PeerSlot) {
        let Some(place) = self.places.get_mut(slot.index()) else { return };
        let Some(peer) = place.peer.take() else { return };
        place.generation = place.generation.wrapping_add(1);
        self.by_id.remove(&peer.config.id);
        self.free.push(slot.index() as u32);
    }
}

impl Peer {
    /// Where packets to this peer go.
    pub(super) fn path(&self) -> Path {
        if self.config.wireguard_only {
            return self.direct.as_deref().copied().map_or(Path::None, Path::Udp);
        }
        let region = self.relay().0;
        match self.paths.as_ref().map_or(Way::Relay, |paths| paths.way()) {
            Way::Direct(addr) => Path::Udp(addr),
            Way::Doubtful(addr) if region == 0 => Path::Udp(addr),
            Way::Doubtful(addr) => Path::Both { addr, region },
            Way::Relay if region == 0 => Path::None,
            Way::Relay => Path::Derp { region },
        }
    }

    /// The relay that it listens on, or where it was last heard if that is not known; none if it was not.
    pub(super) const fn relay(&self) -> RegionId {
        if self.config.home_derp.is_none() { self.heard } else { self.config.home_derp }
    }

    /// Whether the next packet to it is to be told.
    pub(super) fn asleep(&self) -> bool {
        !self.config.wireguard_only
            && !self.config.disco_key.is_zero()
            && !self.paths.as_ref().is_some_and(|paths| paths.is_awake())
    }

    fn facts(&self, silent: bool) -> PeerFacts {
        PeerFacts {
            key: self.config.key,
            path: self.path(),
            jailed: self.config.jailed,
            masq_v4: self.config.masq_v4,
            masq_v6: self.config.masq_v6,
            roams: self.config.wireguard_only || silent,
            asleep: self.asleep(),
        }
    }
}

/// As the sockets name them.
pub(super) fn canonical(endpoints: &Endpoints) -> impl Iterator<Item = SocketAddr> + '_ {
    endpoints.iter().map(|at| SocketAddr::new(at.ip().to_canonical(), at.port()))
}

impl Engine {
    /// Which families of UDP there are, IPv4 and IPv6: endpoints of the others are passed over. To be told before the
    /// peers; without it there are none.
    pub const fn set_families(&mut self, v4: bool, v6: bool) {
        self.families = Families { v4, v6 };
    }

    /// The first endpoint that can be used, of a peer that is reached so.
    fn usable(&self, config: &PeerConfig) -> Option<Box<SocketAddr>> {
        config
            .wireguard_only
            .then(|| canonical(&config.endpoints).find(|at| self.families.reach(at)))?
            .map(Box::new)
    }

    /// Puts `config` in force. A new key ends every session, and so does not to be running: a stopped node must not
    /// even send a keepalive.
    pub fn configure(&mut self, config: SelfConfig) {
        // Without a key the tunnel neither begins nor answers anything.
        let key = if config.running { config.key.clone() } else { NodePrivate::default() };
        self.tunnel.set_private_key(&key);
        self.host.apply(config.addresses.clone());
        let same = self.config.key == config.key
            && self.config.addresses == config.addresses
            && self.config.services == config.services
            && Arc::ptr_eq(&self.config.filter, &config.filter)
            && self.config.tun == config.tun
            && self.config.running == config.running;
        if self.config.services != config.services {
            self.routes = None;
        }
        self.unpublished |= !same;
        if !config.running || self.config.key != config.key {
            self.drop_paths();
        }
        if self.config.key != config.key {
            self.public = config.key.public();
        }
        let silence = self.config.silent_disco != config.silent_disco;
        self.config = config;
        for slot in self.peers.by_id.values().filter(|_| silence) {
            if let Some(peer) = self.peers.by_slot(*slot) {
                self.lines.set_peer(*slot, peer.facts(self.config.silent_disco));
            }
        }
        self.act();
    }

    /// Adds a peer or brings a known one up to date; giving the same again does nothing. Call [`Self::commit`] after
    /// the last of several.
    pub fn set_peer(&mut self, config: PeerConfig, now: Mono, wall: Wall) {
        self.now = now;
        let known = self.peers.by_id.get(&config.id).copied();
        // Another node with this key, or this node with another key, is another WireGuard peer.
        let rekeyed =
            known.and_then(|slot| self.peers.by_slot(slot)).is_some_and(|p| p.config.key != config.key);
        let holder = self.tunnel.slot_of(&config.key).filter(|holder| Some(*holder) != known);
        for slot in holder.into_iter().chain(known.filter(|_| rekeyed)) {
            self.forget(slot);
        }
        let direct = self.usable(&config);
        let silent = self.config.silent_disco;
        match known.filter(|_| !rekeyed).and_then(|slot| self.peers.by_slot_mut(slot)) {
            Some(peer) => {
                if peer.config == config {
                    return;
                }
                let slot = peer.slot;
                let restarted = peer.config.disco_key != config.disco_key && !peer.config.disco_key.is_zero();
                let rerouted = peer.config.allowed_ips != config.allowed_ips;
                let before = peer.facts(silent);
                let moved = peer.config.endpoints != config.endpoints;
                let kind = |config: &PeerConfig| (config.wireguard_only, config.disco_key);
                let other = kind(&peer.config) != kind(&config);
                if (other || moved) && (peer.config.wireguard_only || config.wireguard_only) {
                    peer.direct = direct;
                }
                let paths = if other { peer.paths.take() } else { None };
                let awake = paths.as_ref().is_some_and(|paths| paths.is_awake());
                let old = std::mem::replace(&mut peer.config, config);
                let after = peer.facts(silent);
                if other {
                    self.disco.forget(slot, &old.disco_key, paths.as_deref(), &self.peers);
                    self.disco.learn(slot, &self.peers);
                }
                if rerouted {
                    self.reroute();
                }
                if before != after {
                    self.lines.set_peer(slot, after);
                }
                if restarted {
                    self.tunnel.reset_peer(slot, now, wall);
                }
                if restarted || before.path != after.path {
                    self.tunnel.path_known(slot, now, wall);
                }
                if awake {
                    self.wake_path(slot, now);
                } else if moved {
                    self.endpoints_moved(slot, now);
                }
            }
            None => {
                let key = config.key;
                let Some(slot) = self.peers.insert(config) else { return };
                let Some(peer) = self.peers.by_slot_mut(slot) else { return };
                peer.direct = direct;
                self.lines.set_peer(slot, peer.facts(silent));
                self.disco.learn(slot, &self.peers);
                self.tunnel.add_peer(slot, key);
                self.reroute();
            }
        }
        self.act();
    }

    /// Forgets a peer; an unknown one is no mistake.
    pub fn remove_peer(&mut self, id: NodeId) {
        if let Some(slot) = self.peers.by_id.get(&id).copied() {
            self.forget(slot);
        }
    }

    /// The numbers of all peers, lowest first.
    pub fn peer_ids(&self) -> impl Iterator<Item = NodeId> {
        self.peers.by_id.keys().copied()
    }

    fn forget(&mut self, slot: PeerSlot) {
        self.tunnel.remove_peer(slot);
        self.act();
        self.lines.clear_peer(slot);
        if let Some(peer) = self.peers.by_slot(slot) {
            self.disco.forget(slot, &peer.config.disco_key, peer.paths.as_deref(), &self.peers);
        }
        self.peers.remove(slot);
        self.reroute();
    }

    /// Somebody has gained or lost an address.
    fn reroute(&mut self) {
        self.routes = None;
        self.unpublished = true;
    }

    /// Publishes routes, filter and state to the lines if they have changed.
    pub fn commit(&mut self) {
        if !std::mem::take(&mut self.unpublished) {
            return;
        }
        let routes = self.routes.take().unwrap_or_else(|| Arc::new(self.build_routes()));
        self.routes = Some(Arc::clone(&routes));
        self.lines.publish(Snapshot {
            routes,
            filter: Arc::clone(&self.config.filter),
            own: self.config.addresses.iter().map(|(ip, _)| *ip).collect(),
            key: self.public,
            tun: self.config.tun,
            running: self.config.running,
        });
    }

    /// With ten thousand peers this takes 15 to 20 ms on an ARMv5.
    fn build_routes(&self) -> Routes {
        // In order of node number, so that the lowest gets a prefix that several have.
        let mut routes = RoutesBuilder::with_capacity(self.peers.by_id.len());
        // Before all peers: no peer can take them away, nor speak in their name.
        for ip in &self.config.services {
            routes.add(IpNet::from(*ip), PeerSlot::SERVICE);
        }
        for slot in self.peers.by_id.values() {
            if let Some(peer) = self.peers.by_slot(*slot) {
                peer.config.allowed_ips.iter().for_each(|net| routes.add(*net, *slot));
            }
        }
        routes.build()
    }

    /// A peer has proved to be at this address. Only where there is no disco does that say where it is reached:
    /// whoever sends on what a peer has sent can have any address (WireGuard paper §2.1). A silent node holds it against the path
    /// in use.
    pub(super) fn note_moved(&mut self, slot: PeerSlot, addr: SocketAddr) {
        let silent = self.config.silent_disco;
        let wanted = |peer: &&mut Peer| peer.config.wireguard_only || silent;
        let Some(peer) = self.peers.by_slot_mut(slot).filter(wanted) else { return };
        if peer.direct.as_deref() != Some(&addr) {
            peer.direct = Some(Box::new(addr));
            if peer.config.wireguard_only {
                self.lines.set_path(slot, Path::Udp(addr), false);
            }
        }
    }
}
