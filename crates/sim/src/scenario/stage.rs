//! Plays a scenario with real engines and watches what must always hold.
//!
//! Machines behind the nodes send numbered datagrams to each other. Whatever happens, each arrives at most once and
//! unchanged; what [`crate::witness`] watches holds at every datagram. What holds in the end is asked by [`Stage::calm`]
//! and [`Stage::settle`]: paths are direct exactly where the oracle says that they can be, and nothing is lost.

use super::{Scenario, Step};
use crate::net::SiteIx;
use crate::net::oracle::direct_possible;
use crate::policy::Policy;
use crate::station::Station;
use crate::{Link, NodeIx, World};
use engine::lines::Path;
use engine::packet::{Parsed, build};
use engine::time::{Mono, Wall};
use keys::{DiscoPrivate, NodePrivate};
use netmap::{IpNet, Node, NodeId, RegionId};
use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

/// Time between two datagrams of a talk.
const PAUSE: Duration = Duration::from_millis(500);

/// What a datagram may take on calm links.
const UNDERWAY: Duration = Duration::from_millis(100);

/// After so much silence nodes have left each other's paths alone (45 s) for longer than any NAT remembers (120 s).
const FORGOTTEN: Duration = Duration::from_secs(180);

/// A datagram of a machine.
struct Said {
    to: NodeIx,
    at: Mono,
    packet: Vec<u8>,
}

/// A scenario in play.
pub struct Stage {
    /// The network.
    pub world: World<Station>,
    scenario: Scenario,
    seed: u64,
    processes: u64,
    discos: Vec<DiscoPrivate>,
    talks: BTreeSet<(usize, usize)>,
    /// When talks go on.
    speaks: Mono,
    said: BTreeMap<u64, Said>,
    arrived: BTreeSet<u64>,
}

impl Stage {
    /// Builds what the scenario says there is; nobody has joined for longer than a moment.
    pub fn new(scenario: &Scenario, seed: u64) -> Self {
        let mut world = World::with_plan(seed, scenario.plan.clone());
        for region in std::iter::once(RegionId(1)).chain(scenario.regions.iter().copied()) {
            world.stun_servers(region);
        }
        let mut stage = Self {
            world,
            scenario: scenario.clone(),
            seed,
            processes: 0,
            discos: Vec::new(),
            talks: BTreeSet::new(),
            speaks: Mono::ZERO,
            said: BTreeMap::new(),
            arrived: BTreeSet::new(),
        };
        for (n, actor) in scenario.actors.iter().enumerate() {
            stage.discos.push(DiscoPrivate::from_bytes([0; 32]));
            let station = stage.process(n);
            let mut uplinks: Vec<_> =
                actor.sites.iter().map(|site| stage.world.plan().uplink(*site, n)).collect();
            if actor.mapped
                && let Some(first) = uplinks.first_mut()
            {
                first.mapped = Some(7000 + n as u16);
            }
            let ix = stage.world.add_at(&actor.name, station, key(n).public(), 41641 + n as u16, uplinks);
            stage.world.join(ix, stage.describe(n));
        }
        stage
    }

    fn process(&mut self, n: usize) -> Station {
        self.processes += 1;
        let mut seed = [0; 32];
        seed[..8].copy_from_slice(&self.seed.to_le_bytes());
        seed[8..16].copy_from_slice(&self.processes.to_le_bytes());
        seed[31] = 1;
        self.discos[n] = DiscoPrivate::from_bytes(seed);
        let regions = std::iter::once(RegionId(1)).chain(self.scenario.regions.iter().copied());
        let servers = regions.flat_map(|region| self.world.stun_servers(region)).collect();
        Station::new(seed, key(n), Policy::open()).with_paths(&self.discos[n], servers)
    }

    fn describe(&self, n: usize) -> Node {
        let own = IpAddr::from([100, 64, 0, n as u8 + 1]);
        let addresses: Arc<[IpNet]> = [IpNet::from(own)].into();
        let behind = IpNet::new_assert(machine(n), 16).trunc();
        Node {
            id: NodeId(n as i64 + 1),
            name: self.scenario.actors[n].name.as_str().into(),
            key: key(n).public(),
            disco_key: self.discos[n].public(),
            allowed_ips: addresses.iter().copied().chain([behind]).collect(),
            addresses,
            home_derp: self.scenario.actors[n].home,
            ..Node::default()
        }
    }

    /// Everything that happens in the scenario, then half a minute more.
    pub fn play(&mut self) {
        for (at, step) in self.scenario.steps.clone() {
            self.run_until(Mono::ZERO + at);
            let line = self.scenario.show(&step);
            self.world.timeline.push(self.world.now(), format!("* {line}"));
            self.take(step);
        }
        self.run_for(Duration::from_secs(30));
    }

    /// Lets one thing happen now.
    pub fn take(&mut self, step: Step) {
        let world = &mut self.world;
        match step {
            Step::Talk(a, b) => {
                self.speaks = self.world.now();
                self.talks.insert((a, b));
            }
            Step::Hush(a, b) => drop(self.talks.remove(&(a, b))),
            Step::Move(n, sites) => {
                let uplinks = sites.iter().map(|site| world.plan().uplink(*site, n)).collect();
                world.plug(NodeIx(n), uplinks);
            }
            Step::Udp(site, on) => world.net().set_udp(site, on),
            Step::Region(region, on) => world.region(region).set_up(on),
            Step::Restart(n) if !world.is_awake(NodeIx(n)) => {}
            Step::Restart(n) => {
                let station = self.process(n);
                self.world.restart(NodeIx(n), station, self.describe(n));
            }
            Step::Renew(site) => world.restart_site(site),
            Step::Awake(n, awake) if world.is_awake(NodeIx(n)) == awake => {}
            Step::Awake(n, awake) => world.set_awake(NodeIx(n), awake),
            Step::Control(on) => world.set_control_silent(!on),
            Step::Lag(lag) => world.set_control_lag(lag),
            Step::Clock(n, secs) => {
                let now = world.moment(NodeIx(n)).wall.0;
                world.set_wall_of(NodeIx(n), Wall(now.saturating_add_signed(secs * 1_000_000_000)));
            }
            Step::Link { loss, jitter, late, twice } => world.set_all_links(Link {
                loss: loss * 10_000,
                jitter: Duration::from_millis(jitter.into()),
                reorder: late * 10_000,
                reorder_by: Duration::from_millis(40),
                duplicate: twice * 10_000,
                ..Link::default()
            }),
        }
    }

    /// Lets time pass, with talks.
    pub fn run_for(&mut self, time: Duration) {
        self.run_until(self.world.now() + time);
    }

    fn run_until(&mut self, limit: Mono) {
        while self.world.now() < limit {
            if self.speaks <= self.world.now() {
                self.speaks = self.world.now() + PAUSE;
                self.talks.clone().into_iter().for_each(|(a, b)| self.say(a, b));
            }
            self.world.run_until(self.speaks.min(limit));
            self.check_arrivals();
        }
    }

    fn say(&mut self, a: usize, b: usize) {
        let number = self.said.len() as u64;
        let [src, dst] = [a, b].map(|n| SocketAddr::new(machine(n), 9));
        let mut packet = Vec::new();
        build::udp(&mut packet, src, dst, &number.to_be_bytes()).expect("one family");
        let said = Said { to: NodeIx(b), at: self.world.now(), packet: packet.clone() };
        self.said.insert(number, said);
        self.world.send_host(NodeIx(a), &packet);
    }

    fn check_arrivals(&mut self) {
        for n in 0..self.discos.len() {
            for packet in self.world.take_host(NodeIx(n)) {
                let parsed = Parsed::parse(&packet).expect("an IP packet");
                let payload = &parsed.transport(&packet)[8..16];
                let number = u64::from_be_bytes(payload.try_into().expect("eight bytes"));
                let said = self.said.get(&number).expect("somebody sent it");
                assert_eq!((said.to, &said.packet), (NodeIx(n), &packet), "datagram {number} went astray");
                assert!(self.arrived.insert(number), "datagram {number} arrived twice");
            }
        }
    }

    /// How many datagrams arrived.
    pub fn arrived(&self) -> usize {
        self.arrived.len()
    }

    /// Everything works again; sites stay as they are.
    pub fn calm(&mut self) {
        self.talks.clear();
        self.take(Step::Control(true));
        self.take(Step::Lag(Duration::from_millis(20)));
        self.take(Step::Link { loss: 0, jitter: 0, late: 0, twice: 0 });
        for region in std::iter::once(RegionId(1)).chain(self.scenario.regions.clone()) {
            self.take(Step::Region(region, true));
        }
        (0..self.discos.len()).for_each(|n| self.take(Step::Awake(n, true)));
        self.world.timeline.push(self.world.now(), "* all is calm".into());
    }

    /// Whether a node sends directly to another, and only so.
    pub fn is_direct(&mut self, from: usize, to: usize) -> bool {
        let at = self.world.moment(NodeIx(from));
        let id = NodeId(to as i64 + 1);
        let view = self.world.with_node(NodeIx(from), |station| station.view(id, at));
        view.is_some_and(|view| matches!(view.path, Path::Udp(_)))
    }

    /// Two nodes talk until both send as the oracle says they can, at most for `patience`; then for another 25 seconds,
    /// in which they stay so and nothing is lost. How long the first part took; `None` where nothing direct is possible.
    ///
    /// # Panics
    /// When it does not come to that.
    pub fn settle(&mut self, a: usize, b: usize, patience: Duration) -> Option<Duration> {
        let verdict = direct_possible(self.world.plan(), a, b, 1 + self.scenario.regions.len());
        let wanted = [verdict.forth, verdict.back];
        let names = [a, b].map(|n| self.scenario.actors[n].name.clone());
        let mut took = self.wait_for(a, b, wanted, patience);
        let mut found = [self.is_direct(a, b), self.is_direct(b, a)];
        if found != wanted && wanted == [false; 2] {
            // What NATs remember of before may be a way that nobody would find now, and lives for as long as it is used.
            self.take(Step::Hush(a, b));
            self.take(Step::Hush(b, a));
            self.run_for(FORGOTTEN);
            took = self.wait_for(a, b, wanted, patience);
            found = [self.is_direct(a, b), self.is_direct(b, a)];
        }
        assert!(
            took.is_some() && found == wanted,
            "{names:?}: direct {found:?}, can be {wanted:?}, after {patience:?}"
        );
        let settled = self.world.now();
        self.run_for(Duration::from_secs(25));
        let mut found = [self.is_direct(a, b), self.is_direct(b, a)];
        if found != wanted {
            // A call that has just come, to compare paths, makes its receiver send both ways for a round trip.
            self.run_for(2 * UNDERWAY);
            found = [self.is_direct(a, b), self.is_direct(b, a)];
        }
        assert_eq!(found, wanted, "{names:?} do not stay as they were");
        self.take(Step::Hush(a, b));
        self.take(Step::Hush(b, a));
        self.run_for(Duration::from_secs(2));
        let lost =
            self.said.iter().find(|(number, said)| said.at >= settled && !self.arrived.contains(number));
        assert!(
            lost.is_none(),
            "{names:?}: datagram {:?} is lost",
            lost.map(|(number, said)| (number, said.at))
        );
        took.filter(|_| wanted != [false; 2])
    }

    /// Two nodes talk until both send as `wanted`: how long that took. Where nothing direct is wanted, `patience` is waited
    /// for something.
    fn wait_for(&mut self, a: usize, b: usize, wanted: [bool; 2], patience: Duration) -> Option<Duration> {
        let begin = self.world.now();
        self.take(Step::Talk(a, b));
        self.take(Step::Talk(b, a));
        let mut took = None;
        while self.world.now().since(begin) < patience {
            let works = self.hears(a, b, begin) && self.hears(b, a, begin);
            if works && [self.is_direct(a, b), self.is_direct(b, a)] == wanted {
                took = Some(self.world.now().since(begin));
                if wanted != [false; 2] {
                    break;
                }
            }
            self.run_for(Duration::from_millis(50));
        }
        took
    }

    /// Whether the last datagram that should be there by now has arrived.
    fn hears(&self, from: usize, to: usize, since: Mono) -> bool {
        let now = self.world.now();
        let source = machine(from);
        let mut late = self.said.iter().rev().filter(|(_, said)| {
            let of_them = said.to == NodeIx(to) && Parsed::parse(&said.packet).is_ok_and(|p| p.src == source);
            of_them && now.since(said.at) >= UNDERWAY
        });
        late.next().is_some_and(|(number, said)| said.at >= since && self.arrived.contains(number))
    }

    /// How many nodes there are.
    pub fn nodes(&self) -> usize {
        self.discos.len()
    }

    /// Nobody talks for ten minutes: nothing is sent but keepalives and one renewal of each session, and nobody wakes up
    /// for anything else.
    ///
    /// # Panics
    /// When there is more.
    pub fn idle_is_quiet(&mut self) {
        self.talks.clear();
        // What there is to do after the last datagram: heartbeats go on for as long as a session is active.
        self.run_for(Duration::from_secs(60));
        let before = self.sent();
        self.world.run_for(Duration::from_secs(600));
        let sent = self.sent() - before;
        let pairs = self.nodes() * (self.nodes() - 1);
        assert!(sent as usize <= pairs * 10, "{sent} datagrams in ten idle minutes");
    }

    fn sent(&self) -> u32 {
        (0..self.nodes()).map(|n| self.world.node(NodeIx(n)).witness.sent.total()).sum()
    }

    /// A site of the scenario.
    pub fn site(&self, name: &str) -> Option<SiteIx> {
        self.scenario.plan.find(name)
    }
}

/// The address of the machine behind a node.
fn machine(n: usize) -> IpAddr {
    IpAddr::from([10, n as u8 + 1, 0, 9])
}

fn key(n: usize) -> NodePrivate {
    NodePrivate::from_bytes([n as u8 + 64; 32])
}
