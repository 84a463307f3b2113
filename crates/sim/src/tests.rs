//! The frame itself, with a toy node that greets every peer each second and answers greetings.

use crate::node::Moment;
use crate::*;
use engine::time::{Mono, Wall};
use expect_test::expect;
use keys::NodePublic;
use netmap::{Endpoints, Node, NodeId, RegionId};
use std::collections::{BTreeMap, VecDeque};
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

const HOME: RegionId = RegionId(1);

/// Greets by UDP where a peer has an endpoint, else through its home region.
#[derive(Default)]
struct Greeter {
    peers: BTreeMap<NodeId, Node>,
    out: VecDeque<Transmit>,
    host: VecDeque<Vec<u8>>,
    notes: VecDeque<String>,
    next: Option<Mono>,
    answered: u32,
    stuck: bool,
}

impl Greeter {
    fn greet(&mut self, text: &[u8]) {
        for peer in self.peers.values() {
            let bytes = text.to_vec();
            self.out.push_back(match peer.endpoints.first() {
                Some(to) => Transmit::Udp { to, bytes },
                None => Transmit::Derp { region: peer.home_derp, to: peer.key, bytes },
            });
        }
    }
}

impl SimNode for Greeter {
    fn handle_datagram(&mut self, from: Source, bytes: &[u8], _: Moment) {
        match bytes {
            b"hello" => self.out.push_back(match from {
                Source::Udp(to) => Transmit::Udp { to, bytes: b"hi".into() },
                Source::Derp { region, peer } => Transmit::Derp { region, to: peer, bytes: b"hi".into() },
            }),
            b"hi" => self.answered += 1,
            other => self.host.push_back(other.to_vec()),
        }
    }

    fn handle_news(&mut self, news: &News, at: Moment) {
        match news {
            News::Full { peers, .. } => {
                self.notes.push_back(format!("hears of {} peers", peers.len()));
                self.peers = peers.iter().map(|p| (p.id, p.clone())).collect();
                self.next = Some(at.mono + Duration::from_secs(1));
            }
            News::Peer(peer) => {
                self.notes.push_back(format!("hears of {}", peer.name));
                self.peers.insert(peer.id, (**peer).clone());
            }
            News::Gone(id) => {
                self.notes.push_back(format!("misses {id}"));
                self.peers.remove(id);
            }
        }
    }

    fn handle_host(&mut self, packet: &[u8], _: Moment) {
        self.greet(packet);
    }

    fn handle_timeout(&mut self, at: Moment) {
        self.greet(b"hello");
        if !self.stuck {
            self.next = Some(at.mono + Duration::from_secs(1));
        }
    }

    fn poll_transmit(&mut self, _: Moment) -> Option<Transmit> {
        self.out.pop_front()
    }

    fn poll_host(&mut self) -> Option<Vec<u8>> {
        self.host.pop_front()
    }

    fn poll_note(&mut self) -> Option<String> {
        self.notes.pop_front()
    }

    fn poll_timeout(&self) -> Option<Mono> {
        self.next
    }

    fn describe(bytes: &[u8]) -> String {
        String::from_utf8_lossy(bytes).into_owned()
    }
}

fn address(n: u8) -> SocketAddr {
    SocketAddr::new(IpAddr::from([192, 0, 2, n]), 41641)
}

fn description(n: u8, name: &str, udp: bool) -> Node {
    Node {
        id: NodeId(n.into()),
        name: name.into(),
        key: NodePublic::from_bytes([n; 32]),
        endpoints: if udp { [address(n)].into() } else { Endpoints::default() },
        home_derp: HOME,
        ..Node::default()
    }
}

fn pair(seed: u64, udp: bool) -> (World<Greeter>, NodeIx, NodeIx) {
    let mut world = World::new(seed);
    world.region(HOME);
    let add = |world: &mut World<Greeter>, n: u8, name: &str| {
        let ix = world.add(name, Greeter::default(), NodePublic::from_bytes([n; 32]), address(n));
        world.join(ix, description(n, name, udp));
        ix
    };
    let a = add(&mut world, 1, "a");
    world.run_for(Duration::from_millis(100));
    let b = add(&mut world, 2, "b");
    (world, a, b)
}

#[test]
fn a_direct_pair() {
    let (mut world, a, b) = pair(1, true);
    world.run_until(Mono::from_millis(1150));
    expect![[r#"
        0.020 a hears of 0 peers
        0.120 b hears of 1 peers
        0.120 a hears of b
        1.030 b < 192.0.2.1:41641: hello
        1.040 a < 192.0.2.2:41641: hi
        1.130 a < 192.0.2.2:41641: hello
        1.140 b < 192.0.2.1:41641: hi
    "#]]
    .assert_eq(&world.timeline.render());
    world.send_host(a, b"a packet");
    world.run_for(Duration::from_millis(10));
    assert_eq!(world.take_host(b), [b"a packet"]);
    assert_eq!((world.node(a).answered, world.link_stats(a, b).sent), (1, 3));
}

#[test]
fn through_a_region_with_an_outage() {
    let (mut world, a, _) = pair(1, false);
    world.run_until(Mono::from_millis(1030));
    world.region(HOME).set_up(false);
    world.run_until(Mono::from_millis(2000));
    world.region(HOME).set_up(true);
    world.run_until(Mono::from_millis(2100));
    assert_eq!(world.node(a).answered, 1);
    assert_eq!(world.region(HOME).dropped, 2, "an answer that was underway, and a greeting");
    expect![[r#"
        0.020 a hears of 0 peers
        0.120 b hears of 1 peers
        0.120 a hears of b
        2.035 b < region 1: hello
        2.050 a < region 1: hi
    "#]]
    .assert_eq(&world.timeline.render());
}

#[test]
fn control_falls_silent() {
    let (mut world, a, b) = pair(1, true);
    world.log_datagrams = false;
    world.run_until(Mono::from_millis(500));
    world.timeline.clear();
    world.set_control_silent(true);
    world.leave(b);
    world.run_until(Mono::from_millis(700));
    assert_eq!(world.node(a).peers.len(), 1, "the last map stays in force");
    world.set_control_silent(false);
    world.set_control_lag(Duration::from_millis(300));
    world.join(b, description(2, "b", true));
    world.run_until(Mono::from_millis(1500));
    world.leave(b);
    world.run_until(Mono::from_millis(1900));
    expect![[r#"
        0.720 a hears of 0 peers
        1.000 b hears of 1 peers
        1.000 a hears of b
        1.800 a misses 2
    "#]]
    .assert_eq(&world.timeline.render());
}

fn rough(seed: u64) -> String {
    let (mut world, a, b) = pair(seed, true);
    let link = Link {
        jitter: Duration::from_millis(30),
        loss: 200_000,
        duplicate: 100_000,
        reorder: 100_000,
        ..Link::default()
    };
    world.set_link(a, b, link);
    world.run_for(Duration::from_secs(60));
    let stats = world.link_stats(a, b);
    assert!(stats.lost > 0 && stats.duplicated > 0 && stats.reordered > 0, "{stats:?}");
    world.timeline.render()
}

#[test]
fn chance_follows_from_the_seed() {
    assert_eq!(rough(7), rough(7));
    assert_ne!(rough(7), rough(8));
}

#[test]
fn machines_sleep_move_and_restart() {
    let (mut world, a, b) = pair(1, true);
    world.run_until(Mono::from_millis(500));
    world.timeline.clear();
    world.set_awake(b, false);
    world.run_until(Mono::from_millis(1500));
    world.set_awake(b, true);
    world.roam(b, address(9));
    world.run_until(Mono::from_millis(1900));
    world.restart(
        b,
        Greeter::default(),
        Node { endpoints: [address(9)].into(), ..description(2, "b", true) },
    );
    world.run_until(Mono::from_millis(2100));
    assert_eq!(world.node(a).answered, 1);
    expect![[r#"
        0.500 b fell asleep
        1.500 b woke up
        1.500 b moved to 192.0.2.9:41641
        1.510 a < 192.0.2.9:41641: hello
        1.520 b < 192.0.2.1:41641: hi
        1.900 b restarted
        1.920 b hears of 1 peers
        1.920 a hears of b
        2.030 b < 192.0.2.1:41641: hello
        2.040 a < 192.0.2.9:41641: hi
    "#]]
    .assert_eq(&world.timeline.render());
}

#[test]
#[should_panic(expected = "again and again")]
fn a_node_that_spins_is_caught() {
    let (mut world, a, _) = pair(1, true);
    world.with_node(a, |node| node.stuck = true);
    world.run_for(Duration::from_secs(5));
}

#[test]
fn runs_until_something_happens() {
    let (mut world, a, _) = pair(1, true);
    assert!(world.run_while(Mono::from_millis(9000), |world| world.node(a).answered == 0));
    assert_eq!(world.now(), Mono::from_millis(1040));
    assert!(!world.run_while(Mono::from_millis(3000), |world| world.node(a).answered < 99));
}

#[test]
fn wall_time_is_its_own() {
    let mut clock = Clock::default();
    clock.set_wall(Wall(0));
    clock.advance(Mono::from_millis(1500));
    assert_eq!(clock.moment(), Moment { mono: Mono::from_millis(1500), wall: Wall(1_500_000_000) });
    clock.advance(Mono::ZERO);
    clock.set_wall(Wall(77));
    assert_eq!(clock.moment(), Moment { mono: Mono::from_millis(1500), wall: Wall(77) });
}
