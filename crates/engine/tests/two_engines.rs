//! Two engines with their lines, joined by a perfect relay on a virtual clock: handshake, pings of both kinds over
//! both families, restart, refusal, deny-all.

use engine::filter::{Filter, FilterInput, local_set};
use engine::host::PingKind;
use engine::lines::{Limits, RxLine, TxLine};
use engine::time::{Mono, Wall};
use engine::wireguard::Source;
use engine::{Engine, Output, PeerConfig, PingOutcome, PingRequest, SelfConfig};
use keys::{DiscoPublic, NodePrivate, NodePublic};
use netmap::{FilterRule, IpNet, NodeId, PortRange, RegionId, RuleDst, RuleSrc};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

const REGION: u16 = 7;

struct Node {
    engine: Engine,
    tx: TxLine,
    rx: RxLine,
    key: NodePrivate,
    number: u8,
    outcomes: Vec<PingOutcome>,
}

fn addresses(number: u8) -> [IpAddr; 2] {
    [
        IpAddr::from([100, 64, 0, number]),
        IpAddr::from([0xfd7a, 0x115c, 0xa1e0, 0, 0, 0, 0, u16::from(number)]),
    ]
}

fn prefixes(number: u8) -> Box<[IpNet]> {
    addresses(number).into_iter().map(IpNet::from).collect()
}

fn allow_all(number: u8) -> Filter {
    let rule = FilterRule {
        srcs: [RuleSrc::Any].into(),
        dsts: Box::new([RuleDst { net: RuleSrc::Any, ports: PortRange::ALL }]),
        ..FilterRule::default()
    };
    let local = local_set(&prefixes(number), &[], &[]);
    Filter::compile(&FilterInput {
        rules: &[&rule],
        local: &local,
        shields_up: false,
        cap_holders: &|_, _| {},
    })
}

impl Node {
    fn new(number: u8) -> Self {
        let (engine, tx, rx) = Engine::new([number; 32], &Limits::default());
        let key = NodePrivate::from_bytes([number + 64; 32]);
        let mut node = Self { engine, tx, rx, key, number, outcomes: Vec::new() };
        node.configure(allow_all(number), true);
        node
    }

    fn configure(&mut self, filter: Filter, running: bool) {
        self.engine.configure(SelfConfig {
            key: self.key.clone(),
            addresses: addresses(self.number).map(|ip| (ip, 0)).to_vec(),
            services: Vec::new(),
            filter: Arc::new(filter),
            shields_up: false,
            tun: false,
            running,
            silent_disco: false,
        });
        self.engine.commit();
    }

    fn knows(&mut self, other: &Self, disco: u8, now: Mono) {
        let config = PeerConfig {
            id: NodeId(i64::from(other.number)),
            key: other.key.public(),
            disco_key: DiscoPublic::from_bytes([disco; 32]),
            home_derp: RegionId(REGION),
            allowed_ips: prefixes(other.number).into(),
            ..PeerConfig::default()
        };
        self.engine.set_peer(config, now, Wall(now.as_nanos()));
        self.engine.commit();
    }

    fn ping(&mut self, kind: PingKind, dst: IpAddr, now: Mono) {
        let payload = if kind == PingKind::Icmp { &b"sixteen bytes ok"[..] } else { &[] };
        let request = PingRequest { kind, dst, payload, timeout: Duration::from_secs(5) };
        self.engine.start_ping(&request, now).expect("ping begins");
    }
}

/// Two nodes and the moment.
struct World {
    nodes: [Node; 2],
    now: Mono,
}

impl World {
    fn new() -> Self {
        let mut world = Self { nodes: [Node::new(1), Node::new(2)], now: Mono::from_millis(1000) };
        let now = world.now;
        let [a, b] = &mut world.nodes;
        a.knows(b, 1, now);
        b.knows(a, 1, now);
        world
    }

    /// Lets everything that can happen now happen, then goes to the next timeout, for `time` in all.
    fn run(&mut self, time: Duration) {
        let end = self.now + time;
        loop {
            while self.step() {}
            let next = self.nodes.iter().filter_map(|n| n.engine.poll_timeout()).map(|(at, _)| at).min();
            match next {
                Some(at) if at <= end => self.now = self.now.max(at),
                _ => break,
            }
            for node in &mut self.nodes {
                node.engine.handle_timeout(self.now, Wall(self.now.as_nanos()));
            }
        }
        self.now = end;
    }

    fn step(&mut self) -> bool {
        let (now, wall) = (self.now, Wall(self.now.as_nanos()));
        let mut worked = false;
        for i in 0..2 {
            let mut wire: Vec<(NodePublic, Vec<u8>)> = Vec::new();
            let node = &mut self.nodes[i];
            worked |= node.tx.turn(now.tick(), 64).did_work();
            worked |= node.rx.turn(now.tick(), 64).did_work();
            node.engine.handle_lines(now, wall);
            while let Some((region, key, bytes)) = node.engine.next_derp() {
                assert_eq!(region, REGION);
                wire.push((key, bytes.to_vec()));
            }
            while let Some(output) = node.engine.poll_output() {
                match output {
                    Output::Transmit { to: Source::Derp { region, peer }, bytes } => {
                        assert_eq!(region, REGION);
                        wire.push((peer, bytes.into_vec()));
                    }
                    Output::Transmit { to, .. } => panic!("no other way than the relay: {to:?}"),
                    Output::Ping(outcome) => node.outcomes.push(outcome),
                    Output::LivePeers(_)
                    | Output::PathPing(_)
                    | Output::RefreshEndpoints
                    | Output::Stun { .. } => {}
                }
            }
            let from = Source::Derp { region: REGION, peer: node.key.public() };
            let other = &mut self.nodes[1 - i];
            for (key, bytes) in wire {
                worked = true;
                if key == other.key.public() {
                    other.engine.handle_datagram(from, &bytes, now);
                }
            }
        }
        worked
    }

    fn answered(&mut self, node: usize) -> usize {
        let outcomes = std::mem::take(&mut self.nodes[node].outcomes);
        outcomes.iter().filter(|o| matches!(o, PingOutcome::Answered(_))).count()
    }
}

#[test]
fn pings_of_both_kinds_over_both_families_both_ways() {
    let mut world = World::new();
    for from in 0..2 {
        for dst in addresses(2 - from as u8) {
            for kind in [PingKind::Tsmp, PingKind::Icmp] {
                let now = world.now;
                world.nodes[from].ping(kind, dst, now);
                world.run(Duration::from_millis(100));
            }
        }
        assert_eq!(world.answered(from), 4, "node {from}");
    }
    let view = world.nodes[0].engine.peer_view(NodeId(2), world.now).expect("known");
    assert!(view.established && view.rx_bytes > 0 && view.tx_bytes > 0 && view.last_handshake.is_some());
}

#[test]
fn a_restarted_peer_is_reached_at_once_when_its_disco_key_changes() {
    let mut world = World::new();
    let now = world.now;
    world.nodes[0].ping(PingKind::Icmp, addresses(2)[0], now);
    world.run(Duration::from_secs(1));
    assert_eq!(world.answered(0), 1);
    // Node 2 restarts: its sessions are gone, its key is the same.
    let mut fresh = Node::new(2);
    fresh.knows(&world.nodes[0], 1, world.now);
    world.nodes[1] = fresh;
    let now = world.now;
    let [a, b] = &mut world.nodes;
    a.knows(b, 2, now);
    a.ping(PingKind::Icmp, addresses(2)[0], now);
    world.run(Duration::from_millis(300));
    assert_eq!(world.answered(0), 1);
}

#[test]
fn deny_all_lets_only_tsmp_through_and_not_running_nothing() {
    let mut world = World::new();
    world.nodes[1].configure(Filter::deny_all(), true);
    let now = world.now;
    world.nodes[0].ping(PingKind::Icmp, addresses(2)[0], now);
    world.nodes[0].ping(PingKind::Tsmp, addresses(2)[0], now);
    world.run(Duration::from_secs(6));
    assert_eq!(world.answered(0), 1, "TSMP is answered before the filter");
    world.nodes[1].configure(allow_all(2), false);
    let now = world.now;
    world.nodes[0].ping(PingKind::Tsmp, addresses(2)[0], now);
    world.run(Duration::from_secs(6));
    assert_eq!(world.answered(0), 0);
}

#[test]
fn removed_and_unknown_peers_get_nothing() {
    let mut world = World::new();
    world.nodes[1].engine.remove_peer(NodeId(1));
    world.nodes[1].engine.commit();
    let now = world.now;
    world.nodes[0].ping(PingKind::Tsmp, addresses(2)[1], now);
    world.run(Duration::from_secs(120));
    assert_eq!(world.answered(0), 0);
    assert!(world.nodes[1].engine.peer_view(NodeId(1), world.now).is_none());
    assert_eq!(world.nodes[0].engine.live_views(world.now), []);
}

#[test]
fn idle_for_an_hour_then_alive() {
    let mut world = World::new();
    let now = world.now;
    world.nodes[0].ping(PingKind::Icmp, addresses(2)[0], now);
    world.run(Duration::from_secs(3600));
    assert_eq!(world.answered(0), 1);
    let now = world.now;
    world.nodes[1].ping(PingKind::Icmp, addresses(1)[1], now);
    world.run(Duration::from_secs(1));
    assert_eq!(world.answered(1), 1);
}

#[test]
fn months_do_not_bring_back_what_was_sent() {
    let mut world = World::new();
    let now = world.now;
    world.nodes[0].ping(PingKind::Icmp, addresses(2)[0], now);
    world.run(Duration::from_secs(1));
    let sent = |world: &mut World| {
        let now = world.now;
        world.nodes[0].engine.peer_view(NodeId(2), now).expect("known").sent
    };
    let first = sent(&mut world).expect("it was asked");
    assert!(world.now.since(first) <= Duration::from_secs(1));
    // The packet lines' clock wraps after 49.7 days; nobody looks in between.
    world.run(Duration::from_secs(30 * 86400));
    let last = sent(&mut world).expect("it was asked");
    assert!(last.since(first) < Duration::from_secs(60), "{last:?}: a last keepalive at most");
    for days in [18, 2, 10] {
        world.run(Duration::from_secs(days * 86400));
        assert_eq!(sent(&mut world), Some(last));
    }
    // And nobody before it has come round.
    let now = world.now;
    world.nodes[0].ping(PingKind::Icmp, addresses(2)[0], now);
    world.run(Duration::from_millis((1 << 32) + 30_000));
    let last = sent(&mut world).expect("it was asked");
    assert!(last.since(now) < Duration::from_secs(60), "{last:?}");
}
