//! One story: what may happen, what must never be, and what must be once the world has calmed down.

use engine::packet::{Parsed, build, proto, tcp};
use engine::time::Wall;
use rand_chacha::ChaCha8Rng;
use rand_core::{RngCore, SeedableRng};
use sim::policy::Allow;
use sim::tailnet::{HOME, WAYS};
use sim::{Link, NodeIx, Policy, Source, Tailnet};
use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

/// Things that happen in one story.
const STEPS: u32 = 60;
const YEAR: u64 = 365 * 86_400 * 1_000_000_000;
/// After the world has calmed down a ping must come back within this: silence is noticed after 15 s and a jitter, and
/// a retry is five seconds apart.
const PATIENCE: Duration = Duration::from_secs(45);

/// A conversation by UDP: our address and port, and the other's.
type Flow = (IpAddr, u16, IpAddr, u16);

/// A tailnet, what its machines have said, and the dice.
pub(crate) struct Story {
    pub(crate) net: Tailnet,
    rng: ChaCha8Rng,
    nodes: Vec<NodeIx>,
    /// Packets that machines have sent, by their number, and who sent them.
    sent: BTreeMap<u64, (NodeIx, Vec<u8>)>,
    pub(crate) arrived: BTreeSet<u64>,
    /// Conversations that each node's machines have begun since its process began.
    begun: BTreeSet<(NodeIx, Flow)>,
    gone: BTreeSet<NodeIx>,
}

impl Story {
    /// The story of a seed.
    pub(crate) fn new(seed: u64) -> Self {
        let mut rng = ChaCha8Rng::seed_from_u64(seed ^ 0x5eed);
        let count = 2 + (rng.next_u32() % 2) as usize;
        let net = Tailnet::new(seed, count);
        let nodes = (0..count).map(NodeIx).collect();
        let (sent, arrived, begun) = (BTreeMap::new(), BTreeSet::new(), BTreeSet::new());
        Self { net, rng, nodes, sent, arrived, begun, gone: BTreeSet::new() }
    }

    /// Below `n`.
    fn dice(&mut self, n: u32) -> u32 {
        self.rng.next_u32() % n
    }

    fn someone(&mut self) -> NodeIx {
        let n = self.dice(self.nodes.len() as u32) as usize;
        self.nodes[n]
    }

    fn two(&mut self) -> (NodeIx, NodeIx) {
        let from = self.someone();
        loop {
            let to = self.someone();
            if to != from {
                return (from, to);
            }
        }
    }

    fn millis(&mut self, most: u32) -> Duration {
        Duration::from_millis(u64::from(self.dice(most)))
    }

    fn step(&mut self) {
        let who = self.someone();
        match self.dice(22) {
            0 => {
                let link = Link {
                    latency: self.millis(200),
                    jitter: self.millis(200),
                    loss: self.dice(500_000),
                    duplicate: self.dice(300_000),
                    reorder: self.dice(300_000),
                    reorder_by: self.millis(2000),
                    mtu: 1 << 16,
                    up: true,
                };
                self.net.relay().link = link;
            }
            1 => self.net.relay().set_up(false),
            2 | 3 => self.net.relay().set_up(true),
            4 => {
                let lag = self.millis(60_000);
                self.net.world.set_control_lag_of(who, Some(lag));
            }
            5 => self.net.world.set_control_lag_of(who, None),
            6 => {
                let silent = self.dice(2) == 0;
                self.net.world.set_control_silent(silent);
            }
            7 => self.restart(who),
            8 => self.jump(who),
            9 => {
                let policy = self.policy(who);
                self.net.set_policy(who, policy);
            }
            10 => self.come_or_go(who),
            11 => {
                let awake = self.dice(2) == 0;
                self.net.world.set_awake(who, awake);
            }
            12 | 13 => self.attack(),
            14 | 15 => {
                let (from, to) = self.two();
                let way = WAYS[self.dice(4) as usize];
                self.net.ping(from, to, way);
            }
            _ => {
                for _ in 0..=self.dice(8) {
                    self.talk();
                }
            }
        }
        let time = match self.dice(10) {
            0 => self.millis(200_000),
            1..3 => self.millis(20_000),
            _ => self.millis(1500),
        };
        self.net.world.run_for(time);
    }

    fn restart(&mut self, who: NodeIx) {
        if self.gone.contains(&who) || !self.net.world.is_awake(who) {
            return;
        }
        self.begun.retain(|(node, _)| *node != who);
        self.net.restart(who);
    }

    /// A clock goes wrong by up to fifty years, begins in 1970, or is set right.
    fn jump(&mut self, who: NodeIx) {
        let now = self.net.world.moment(who).wall.0;
        let years = i64::from(self.dice(101)) - 50;
        let wall = match self.dice(4) {
            0 => 0,
            1 => 56 * YEAR + self.net.world.now().as_nanos(),
            _ => now.saturating_add_signed(years * YEAR as i64),
        };
        self.net.world.set_wall_of(who, Wall(wall));
    }

    fn come_or_go(&mut self, who: NodeIx) {
        if self.gone.remove(&who) {
            self.net.world.join(who, self.net.describe(who));
        } else {
            self.gone.insert(who);
            self.net.world.leave(who);
        }
    }

    fn policy(&mut self, who: NodeIx) -> Policy {
        let mut allow = Vec::new();
        for other in self.nodes.clone() {
            let first = self.dice(10) as u16;
            let ports = netmap::PortRange { first, last: first + self.dice(10) as u16 };
            let from = match self.dice(3) {
                0 => continue,
                1 => self.net.address(other, true),
                _ => self.net.behind(other, false),
            };
            if other != who {
                allow.push(Allow { from: from.into(), ports });
            }
        }
        Policy { allow, shields_up: self.dice(6) == 0, running: self.dice(8) != 0 }
    }

    /// What somebody on the way may do: send again, change, cut short, make up.
    fn attack(&mut self) {
        let (from, to) = self.two();
        let overheard = self.net.world.node(from).overheard();
        let Some(mut bytes) = overheard.get(self.rng.next_u32() as usize % overheard.len().max(1)).cloned()
        else {
            return;
        };
        let at = self.dice(bytes.len() as u32) as usize;
        match self.dice(4) {
            0 => bytes[at] ^= 1 << self.dice(8),
            1 => bytes.truncate(at),
            2 => self.rng.fill_bytes(&mut bytes[1..]),
            _ => {}
        }
        let peer = self.net.describe(from).key;
        for _ in 0..=self.dice(3) {
            self.net.world.inject(to, Source::Derp { region: HOME, peer }, &bytes);
        }
    }

    /// A machine behind a node sends something to one behind another.
    fn talk(&mut self) {
        let (from, to) = self.two();
        let v4 = self.dice(2) == 0;
        let src = match self.dice(8) {
            0 => self.net.address(to, v4),
            1..4 => self.net.address(from, v4),
            _ => self.net.behind(from, v4),
        };
        let dst = self.net.behind(to, v4);
        let number = self.sent.len() as u64;
        let ports = (self.dice(20) as u16, self.dice(20) as u16);
        let (a, b) = (SocketAddr::new(src, ports.0), SocketAddr::new(dst, ports.1));
        let mut packet = Vec::new();
        let mut payload = number.to_be_bytes().to_vec();
        payload.resize(8 + self.dice(1100) as usize, 0xaa);
        if self.dice(3) == 0 {
            build::tcp_segment(&mut packet, a, b, (1, 0), tcp::SYN, &payload).expect("one family");
        } else {
            build::udp(&mut packet, a, b, &payload).expect("one family");
            self.begun.insert((from, (src, ports.0, dst, ports.1)));
        }
        self.sent.insert(number, (from, packet.clone()));
        self.net.world.send_host(from, &packet);
    }

    /// What machines got must have been sent, once, unchanged, by one who may be at that address, and be allowed.
    fn check_arrivals(&mut self) {
        for to in self.nodes.clone() {
            for packet in self.net.world.take_host(to) {
                let parsed = Parsed::parse(&packet).expect("an IP packet");
                let transport = parsed.transport(&packet);
                let header = if parsed.proto == proto::TCP { 20 } else { 8 };
                let number =
                    u64::from_be_bytes(transport[header..header + 8].try_into().expect("eight bytes"));
                let (from, original) = self.sent.get(&number).expect("somebody sent it");
                assert_eq!(*original, packet, "packet {number} was changed");
                assert!(self.arrived.insert(number), "packet {number} arrived twice");
                let own = [self.net.address(*from, parsed.is_v4()), self.net.behind(*from, parsed.is_v4())];
                assert!(own.contains(&parsed.src), "packet {number} came from {}", parsed.src);
                let flow = (parsed.dst, parsed.dst_port, parsed.src, parsed.src_port);
                let answer = parsed.proto == proto::UDP && self.begun.contains(&(to, flow));
                let allowed = answer || self.net.world.node(to).policy().allows(&parsed);
                assert!(allowed, "packet {number} passed the filter of node {}: {parsed:?}", to.0);
            }
        }
    }

    /// Everything works again, and everybody may do everything.
    fn calm(&mut self) {
        self.net.world.set_control_silent(false);
        self.net.relay().set_up(true);
        self.net.relay().link = Link { latency: Duration::from_millis(20), mtu: 1 << 16, ..Link::default() };
        for who in self.nodes.clone() {
            self.net.world.set_control_lag_of(who, None);
            if !self.net.world.is_awake(who) {
                self.net.world.set_awake(who, true);
            }
            if self.gone.contains(&who) {
                self.come_or_go(who);
            }
            self.net.set_policy(who, Policy::open());
        }
        // News on its way keeps its order behind what was slow.
        self.net.world.run_for(Duration::from_secs(61));
        self.check_arrivals();
    }

    fn everybody_reaches_everybody(&mut self) {
        for from in self.nodes.clone() {
            for to in self.nodes.clone().into_iter().filter(|to| *to != from) {
                let mut patience = PATIENCE;
                for way in WAYS {
                    let took = self.net.ping_until_answered(from, to, way, patience);
                    assert!(
                        took.is_ok(),
                        "node {} does not reach node {} by {way:?} in {patience:?}",
                        from.0,
                        to.0
                    );
                    // Once it works it goes on to. But a session ends for the two sides at different moments: as far
                    // apart as a message of its handshake may have been on its way.
                    patience = Duration::from_secs(4);
                }
            }
        }
    }

    fn idle_is_quiet(&mut self) {
        let before = self.net.sent();
        self.net.world.run_for(Duration::from_secs(600));
        let sent = self.net.sent() - before;
        // 0.15 a second for each of a node's peers.
        let pairs = (self.nodes.len() * (self.nodes.len() - 1)) as u32;
        assert!(sent <= pairs * 90, "{sent} datagrams in ten idle minutes");
        assert!(
            sent <= pairs * 10,
            "{sent} datagrams in ten idle minutes: more than keepalives and one renewal"
        );
    }

    /// Tells it to the end.
    pub(crate) fn tell(&mut self) {
        for _ in 0..STEPS {
            self.step();
            self.check_arrivals();
        }
        self.calm();
        self.everybody_reaches_everybody();
        self.idle_is_quiet();
    }
}
