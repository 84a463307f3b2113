//! The frame of a scenario: nodes and the network between them, and all that may be changed while it runs.
//!
//! The loop that lets time pass is in `run`.

mod run;

use crate::clock::Clock;
use crate::control::{Control, Mail, News};
use crate::derp::Region;
use crate::link::{Link, LinkStats, Path};
use crate::net::{Flight, INTERNET, Network, Plan, SiteIx, Uplink};
use crate::node::{Interfaces, Moment, SimNode, Source};
use crate::queue::Queue;
use crate::timeline::Timeline;
use engine::time::{Mono, Wall};
use keys::NodePublic;
use netmap::{Node, RegionId};
use rand_chacha::ChaCha8Rng;
use rand_core::SeedableRng;
use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

/// A node's place in the world, in order of joining.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct NodeIx(pub usize);

enum Event {
    Udp { flight: Flight, bytes: Vec<u8> },
    Derp { to: NodeIx, region: RegionId, peer: NodePublic, era: u32, bytes: Vec<u8> },
    News(NodeIx, News),
}

struct Place<N> {
    name: String,
    node: N,
    key: NodePublic,
    /// False: the machine is off or asleep. Nothing reaches it and its timers stand still.
    awake: bool,
    host: Vec<Vec<u8>>,
    /// How far its wall clock is ahead of the world's, in wrapping nanoseconds.
    wall_ahead: u64,
    /// When the last news on its way arrives: a map stream keeps its order.
    news_at: Mono,
    /// News came while it was asleep: its map stream broke.
    missed_news: bool,
    /// The moment of the last timeout, and how many there were in it.
    spins: (Mono, u32),
}

/// A simulated network with its nodes.
pub struct World<N> {
    clock: Clock,
    rng: ChaCha8Rng,
    queue: Queue<Event>,
    places: Vec<Place<N>>,
    default_link: Link,
    net: Network,
    paths: BTreeMap<(NodeIx, NodeIx), Path>,
    /// Between nodes and STUN servers, and back.
    stun: BTreeMap<(NodeIx, RegionId, bool), Path>,
    regions: BTreeMap<RegionId, Region>,
    control: Control,
    /// What happened so far.
    pub timeline: Timeline,
    /// Whether every arriving datagram is written into the timeline.
    pub log_datagrams: bool,
}

impl<N: SimNode> World<N> {
    /// An empty world; everything that chance decides in it follows from `seed`.
    pub fn new(seed: u64) -> Self {
        Self::with_plan(seed, Plan::default())
    }

    /// A world with these sites; its machines are added by [`Self::add_at`].
    pub fn with_plan(seed: u64, plan: Plan) -> Self {
        Self {
            clock: Clock::default(),
            rng: ChaCha8Rng::seed_from_u64(seed),
            queue: Queue::default(),
            places: Vec::new(),
            default_link: Link::default(),
            net: Network::new(plan, seed),
            stun: BTreeMap::new(),
            paths: BTreeMap::new(),
            regions: BTreeMap::new(),
            control: Control::default(),
            timeline: Timeline::default(),
            log_datagrams: true,
        }
    }

    /// Now.
    pub fn now(&self) -> Mono {
        self.clock.now()
    }

    /// Sets wall time of all nodes, see [`Clock::set_wall`].
    pub fn set_wall(&mut self, wall: Wall) {
        self.clock.set_wall(wall);
    }

    /// Sets wall time of one node as of now; its clock goes on from there.
    pub fn set_wall_of(&mut self, ix: NodeIx, wall: Wall) {
        let world = self.clock.moment().wall;
        self.place_mut(ix).wall_ahead = wall.0.wrapping_sub(world.0);
    }

    /// Now, as a node has it.
    pub fn moment(&self, ix: NodeIx) -> Moment {
        let at = self.clock.moment();
        Moment { wall: Wall(at.wall.0.wrapping_add(self.places[ix.0].wall_ahead)), ..at }
    }

    /// Adds a machine on the internet; it is not in the tailnet before [`Self::join`].
    pub fn add(&mut self, name: &str, node: N, key: NodePublic, address: SocketAddr) -> NodeIx {
        self.add_at(name, node, key, address.port(), vec![public(address.ip())])
    }

    /// Adds a machine with these interfaces; it is not in the tailnet before [`Self::join`].
    pub fn add_at(
        &mut self,
        name: &str,
        node: N,
        key: NodePublic,
        port: u16,
        uplinks: Vec<Uplink>,
    ) -> NodeIx {
        let place = Place {
            name: name.into(),
            node,
            key,
            awake: true,
            host: Vec::new(),
            wall_ahead: 0,
            news_at: Mono::ZERO,
            missed_news: false,
            spins: (Mono::ZERO, 0),
        };
        self.places.push(place);
        let ix = NodeIx(self.net.add(port, uplinks));
        assert_eq!(ix.0 + 1, self.places.len(), "the plan must have no machines of its own");
        self.tell_interfaces(ix);
        ix
    }

    fn tell_interfaces(&mut self, ix: NodeIx) {
        let plan = self.net.plan();
        let machine = &plan.machines[ix.0];
        let forwarded = plan.forwarded(ix.0);
        let facts = Interfaces { addresses: machine.addresses(), port: machine.port, forwarded };
        let at = self.moment(ix);
        self.place_mut(ix).node.handle_interfaces(&facts, at);
        self.drain(ix);
    }

    /// Puts the node into the tailnet, or changes how control describes it. It listens on its home region.
    pub fn join(&mut self, ix: NodeIx, node: Node) {
        if let Some(region) = self.regions.get_mut(&node.home_derp) {
            region.connect(ix);
        }
        let mail = self.control.put(ix, node, false, self.clock.now());
        self.post(mail);
    }

    /// Takes the node out of the tailnet.
    pub fn leave(&mut self, ix: NodeIx) {
        let mail = self.control.remove(ix, self.clock.now());
        self.post(mail);
        self.regions.values_mut().for_each(|region| region.disconnect(ix));
    }

    /// Restarts the node's process: `node` takes the place of the old one and hears everything from control anew.
    pub fn restart(&mut self, ix: NodeIx, node: N, description: Node) {
        let place = self.place_mut(ix);
        place.node = node;
        place.host.clear();
        self.remark(ix, "restarted");
        self.tell_interfaces(ix);
        let mail = self.control.put(ix, description, true, self.clock.now());
        self.post(mail);
    }

    /// Puts the machine to sleep or wakes it: asleep, nothing reaches it and its timers stand still. If it missed
    /// news, its map stream restarts.
    pub fn set_awake(&mut self, ix: NodeIx, awake: bool) {
        let place = self.place_mut(ix);
        place.awake = awake;
        let missed = awake && std::mem::take(&mut place.missed_news);
        self.remark(ix, if awake { "woke up" } else { "fell asleep" });
        if missed && let Some(node) = self.control.node(ix).cloned() {
            let mail = self.control.put(ix, node, true, self.clock.now());
            self.post(mail);
        }
    }

    /// Whether the machine is awake.
    pub fn is_awake(&self, ix: NodeIx) -> bool {
        self.places[ix.0].awake
    }

    /// A datagram from nowhere reaches the node now: a forgery or a replay.
    pub fn inject(&mut self, ix: NodeIx, from: Source, bytes: &[u8]) {
        if self.places[ix.0].awake {
            let at = self.moment(ix);
            self.place_mut(ix).node.handle_datagram(from, bytes, at);
            self.drain(ix);
        }
    }

    /// Moves the node to another public address; its port stays.
    pub fn roam(&mut self, ix: NodeIx, address: SocketAddr) {
        self.remark(ix, &format!("moved to {address}"));
        self.plug(ix, vec![public(address.ip())]);
    }

    /// Gives the node's machine other interfaces. It notices at once.
    pub fn plug(&mut self, ix: NodeIx, uplinks: Vec<Uplink>) {
        self.net.plug(ix.0, uplinks);
        self.tell_interfaces(ix);
    }

    /// What there is in the network.
    pub const fn plan(&self) -> &Plan {
        self.net.plan()
    }

    /// The network below: NATs, firewalls, servers.
    pub const fn net(&mut self) -> &mut Network {
        &mut self.net
    }

    /// A site's router restarts with another outer address; machines behind it notice nothing, but those that have asked it
    /// for a port hear what has become of that.
    pub fn restart_site(&mut self, site: SiteIx) {
        self.net.restart(site);
        let line = format!("{} gets a new outer address", self.net.plan().site(site).name);
        self.timeline.push(self.clock.now(), line);
        for ix in (0..self.places.len()).map(NodeIx) {
            let uplinks = &self.net.plan().machines[ix.0].uplinks;
            if uplinks.iter().any(|up| up.site == site && up.mapped.is_some()) {
                self.tell_interfaces(ix);
            }
        }
    }

    /// The link that pairs have for which none was set.
    pub fn set_default_link(&mut self, link: Link) {
        self.default_link = link;
    }

    /// Sets all links between nodes.
    pub fn set_all_links(&mut self, link: Link) {
        self.default_link = link;
        self.paths.values_mut().for_each(|path| path.link = link);
    }

    /// Sets the link between two nodes, in both directions.
    pub fn set_link(&mut self, a: NodeIx, b: NodeIx, link: Link) {
        for pair in [(a, b), (b, a)] {
            self.paths.entry(pair).or_default().link = link;
        }
    }

    /// What the path from one node to another did so far.
    pub fn link_stats(&self, from: NodeIx, to: NodeIx) -> LinkStats {
        self.paths.get(&(from, to)).map(|path| path.stats).unwrap_or_default()
    }

    /// A region; one that works with 15 ms latency is made if there is none of that number.
    pub fn region(&mut self, id: RegionId) -> &mut Region {
        self.regions.entry(id).or_insert_with(|| Region::new(Duration::from_millis(15)))
    }

    /// How long control's news takes from now on.
    pub fn set_control_lag(&mut self, lag: Duration) {
        self.control.lag = lag;
    }

    /// How long control's news takes to one node from now on, if not as long as to the others.
    pub fn set_control_lag_of(&mut self, ix: NodeIx, lag: Option<Duration>) {
        self.control.set_lag_of(ix, lag);
    }

    /// Silences control or brings it back.
    pub fn set_control_silent(&mut self, silent: bool) {
        let mail = self.control.set_silent(silent, self.clock.now());
        self.post(mail);
    }

    /// The node, to look at.
    ///
    /// # Panics
    /// If `ix` is not of this world.
    pub fn node(&self, ix: NodeIx) -> &N {
        &self.places[ix.0].node
    }

    /// Does something to a node between two moments, then takes what it sends.
    pub fn with_node<T>(&mut self, ix: NodeIx, act: impl FnOnce(&mut N) -> T) -> T {
        let result = act(&mut self.place_mut(ix).node);
        self.drain(ix);
        result
    }

    /// The node's host sends an IP packet.
    pub fn send_host(&mut self, ix: NodeIx, packet: &[u8]) {
        let at = self.moment(ix);
        self.place_mut(ix).node.handle_host(packet, at);
        self.drain(ix);
    }

    /// Takes the IP packets that reached the node's host.
    pub fn take_host(&mut self, ix: NodeIx) -> Vec<Vec<u8>> {
        std::mem::take(&mut self.place_mut(ix).host)
    }

    /// Writes a line into the timeline.
    pub fn remark(&mut self, ix: NodeIx, text: &str) {
        let line = format!("{} {text}", self.places[ix.0].name);
        self.timeline.push(self.clock.now(), line);
    }

    fn post(&mut self, mail: Vec<Mail>) {
        for (at, to, news) in mail {
            let place = self.place_mut(to);
            place.news_at = place.news_at.max(at);
            let at = place.news_at;
            self.queue.push(at, Event::News(to, news));
        }
    }

    /// The STUN servers of a region.
    pub fn stun_servers(&mut self, region: RegionId) -> [SocketAddr; 2] {
        self.region(region);
        self.net.server(region)
    }

    /// How long a node's datagrams to and from a region's STUN server take.
    pub fn set_distance(&mut self, ix: NodeIx, region: RegionId, latency: Duration) {
        for back in [false, true] {
            self.stun.entry((ix, region, back)).or_default().link.latency = latency;
        }
    }

    fn place_mut(&mut self, ix: NodeIx) -> &mut Place<N> {
        &mut self.places[ix.0]
    }
}

/// An interface on the internet.
fn public(address: IpAddr) -> Uplink {
    match address {
        IpAddr::V4(ip) => Uplink { site: INTERNET, v4: Some(ip), v6: None, mapped: None },
        IpAddr::V6(ip) => Uplink { site: INTERNET, v4: None, v6: Some(ip), mapped: None },
    }
}
