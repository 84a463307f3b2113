//! A tailnet of stations around one relay: what most scenarios of the engine begin with.
//!
//! Station `n` (from 1) has the tailnet addresses 100.64.0.n and fd7a:115c:a1e0::n, and routes 10.n.0.0/16 and
//! fd00:n::/32 to the machines behind it; packets for those come out of [`World::take_host`], while its own addresses
//! are answered by the engine itself.

use crate::policy::Policy;
use crate::station::Station;
use crate::{NodeIx, Region, World};
use engine::PingRequest;
use engine::host::{PingId, PingKind};
use engine::time::Mono;
use keys::{DiscoPublic, NodePrivate};
use netmap::{IpNet, Node, NodeId, RegionId};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

/// Everybody's home.
pub const HOME: RegionId = RegionId(1);
/// The four ways of asking.
pub const WAYS: [(PingKind, bool); 4] =
    [(PingKind::Tsmp, true), (PingKind::Tsmp, false), (PingKind::Icmp, true), (PingKind::Icmp, false)];

/// The stations' names in order.
const NAMES: [&str; 4] = ["a", "b", "c", "d"];

/// A tailnet.
pub struct Tailnet {
    /// The network it lives in.
    pub world: World<Station>,
    seed: u64,
    /// Processes started so far: no two have the same randomness or disco key.
    processes: u64,
    /// The disco key of each station's process, by its number.
    discos: Vec<u64>,
}

impl Tailnet {
    /// `count` stations (at most four), all joined and told of each other, everything allowed.
    pub fn new(seed: u64, count: usize) -> Self {
        let mut net = Self { world: World::new(seed), seed, processes: 0, discos: Vec::new() };
        net.world.region(HOME);
        for name in NAMES.into_iter().take(count) {
            net.add(name, Policy::open());
        }
        net.world.run_for(Duration::from_millis(100));
        net
    }

    /// Adds a station and joins it.
    pub fn add(&mut self, name: &str, policy: Policy) -> NodeIx {
        let number = self.discos.len() + 1;
        self.discos.push(0);
        let key = private_key(NodeIx(number - 1));
        let station = self.process(NodeIx(number - 1), policy);
        let address = (IpAddr::from([192, 0, 2, number as u8]), 41641).into();
        let ix = self.world.add(name, station, key.public(), address);
        self.world.join(ix, self.describe(ix));
        ix
    }

    fn process(&mut self, ix: NodeIx, policy: Policy) -> Station {
        self.processes += 1;
        self.discos[ix.0] = self.processes;
        let mut seed = [0; 32];
        seed[..8].copy_from_slice(&self.seed.to_le_bytes());
        seed[8..16].copy_from_slice(&self.processes.to_le_bytes());
        Station::new(seed, private_key(ix), policy)
    }

    /// A station as control describes it.
    pub fn describe(&self, ix: NodeIx) -> Node {
        let mut disco = [0; 32];
        disco[..8].copy_from_slice(&self.discos[ix.0].to_le_bytes());
        let addresses: Arc<[IpNet]> = [true, false].map(|v4| IpNet::from(self.address(ix, v4))).into();
        let routes =
            [(true, 16), (false, 32)].map(|(v4, len)| IpNet::new_assert(self.behind(ix, v4), len).trunc());
        Node {
            id: self.id(ix),
            name: NAMES[ix.0].into(),
            key: private_key(ix).public(),
            disco_key: DiscoPublic::from_bytes(disco),
            allowed_ips: addresses.iter().copied().chain(routes).collect(),
            addresses,
            home_derp: HOME,
            ..Node::default()
        }
    }

    /// A station's number at control.
    pub fn id(&self, ix: NodeIx) -> NodeId {
        NodeId(ix.0 as i64 + 1)
    }

    /// A station's tailnet address.
    pub fn address(&self, ix: NodeIx, v4: bool) -> IpAddr {
        let number = ix.0 as u8 + 1;
        if v4 {
            IpAddr::from([100, 64, 0, number])
        } else {
            IpAddr::from([0xfd7a, 0x115c, 0xa1e0, 0, 0, 0, 0, u16::from(number)])
        }
    }

    /// The address of a machine behind a station.
    pub fn behind(&self, ix: NodeIx, v4: bool) -> IpAddr {
        let number = ix.0 as u8 + 1;
        if v4 {
            IpAddr::from([10, number, 0, 9])
        } else {
            IpAddr::from([0xfd00, u16::from(number), 0, 0, 0, 0, 0, 9])
        }
    }

    /// Everybody's relay.
    pub fn relay(&mut self) -> &mut Region {
        self.world.region(HOME)
    }

    /// The station's process ends and another begins, with a new disco key and the same node key.
    pub fn restart(&mut self, ix: NodeIx) {
        let policy = self.world.node(ix).policy().clone();
        let station = self.process(ix, policy);
        let description = self.describe(ix);
        self.world.restart(ix, station, description);
    }

    /// Puts another policy in force at a station.
    pub fn set_policy(&mut self, ix: NodeIx, policy: Policy) {
        let at = self.world.moment(ix);
        self.world.with_node(ix, |station| station.set_policy(policy, at));
    }

    /// Begins a ping; its payload names the seed. `None`: the station cannot ping now (no map yet, too many waiting).
    pub fn ping(&mut self, from: NodeIx, to: NodeIx, (kind, v4): (PingKind, bool)) -> Option<PingId> {
        let at = self.world.moment(from);
        let tag = self.seed.to_be_bytes();
        let payload: &[u8] = if kind == PingKind::Icmp { &tag } else { &[] };
        let dst = self.address(to, v4);
        let request = PingRequest { kind, dst, payload, timeout: Duration::from_secs(5) };
        self.world.with_node(from, |station| station.ping(&request, at)).ok()
    }

    /// Pings every second until one is answered, at most for `patience`; how long it took.
    ///
    /// # Errors
    /// `patience`, when nothing came.
    pub fn ping_until_answered(
        &mut self,
        from: NodeIx,
        to: NodeIx,
        way: (PingKind, bool),
        patience: Duration,
    ) -> Result<Duration, Duration> {
        let begin = self.world.now();
        let mut asked = Vec::new();
        while self.world.now().since(begin) < patience {
            asked.extend(self.ping(from, to, way));
            let next = self.world.now() + Duration::from_secs(1);
            let waiting = |world: &World<Station>| !asked.iter().any(|id| world.node(from).is_answered(*id));
            if self.world.run_while(next, waiting) {
                let tag = self.seed.to_be_bytes();
                for answer in self.world.with_node(from, Station::take_answers) {
                    assert!(answer.kind == PingKind::Tsmp || answer.payload == tag, "{answer:?}");
                }
                return Ok(self.world.now().since(begin));
            }
            self.world.run_until(next);
        }
        Err(patience)
    }

    /// Datagrams that all stations' processes have sent, by [`crate::witness::Sent::total`].
    pub fn sent(&self) -> u32 {
        (0..self.discos.len()).map(|n| self.world.node(NodeIx(n)).witness.sent.total()).sum()
    }

    /// Runs until a moment of the world, for scenarios that think in moments.
    pub fn until(&mut self, ms: u64) {
        self.world.run_until(Mono::from_millis(ms));
    }
}

fn private_key(ix: NodeIx) -> NodePrivate {
    NodePrivate::from_bytes([ix.0 as u8 + 64; 32])
}
