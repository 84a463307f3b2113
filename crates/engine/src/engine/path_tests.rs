//! Engines find direct paths to each other, in virtual time: by the map, by calls, by pings; and what strangers cannot do.

use super::{Engine, Output, PathPingError, PeerConfig, SelfConfig};
use crate::drop::DropReason;
use crate::lines::batch::Run;
use crate::lines::{Limits, NoTun, Path, RxLine, TxLine, UdpSink};
use crate::magicsock::boxes::{Keyring, SealedBox};
use crate::magicsock::disco::{Message, TxId};
use crate::magicsock::{CALLS_TAKEN, CANDIDATES, PINGS_TAKEN};
use crate::slot::PeerSlot;
use crate::time::{Mono, Wall};
use crate::wireguard::Source;
use keys::{DiscoPrivate, DiscoPublic, NodePrivate};
use netmap::{Endpoints, NodeId, RegionId, Set};
use rand_chacha::ChaCha8Rng;
use rand_core::SeedableRng as _;
use std::net::SocketAddr;
use std::time::Duration;

/// A node with its lines; what they send by UDP is collected.
pub(super) struct Node {
    pub(super) engine: Engine,
    tx: TxLine,
    rx: RxLine,
    pub(super) key: NodePrivate,
    disco: DiscoPrivate,
    addr: SocketAddr,
    sent: Sink,
    pongs: Vec<super::DiscoPong>,
    refresh: u32,
}

#[derive(Default)]
struct Sink {
    out: Vec<(Source, Vec<u8>)>,
    /// The system has no way.
    refuses: bool,
}

impl UdpSink for Sink {
    fn send(&mut self, to: SocketAddr, run: Run<'_>, drops: &crate::drop::DropCounters) -> usize {
        if self.refuses {
            drops.add(DropReason::Unreachable, run.len() as u32);
            return 0;
        }
        self.out.extend(run.iter().map(|bytes| (Source::Udp(to), bytes.to_vec())));
        run.len()
    }
}

/// Two nodes and the network between them.
pub(super) struct Pair {
    pub(super) nodes: [Node; 2],
    pub(super) now: Mono,
    /// Whether UDP passes, from the first to the second and back.
    pub(super) udp: [bool; 2],
    /// Messages on their way: when, to whom, from whom.
    flying: Vec<(Mono, usize, Source, Vec<u8>)>,
    /// Datagrams by UDP and by the relay so far.
    counts: (u32, u32),
    /// The relays that each has used.
    pub(super) used: [Set<u16>; 2],
}

const UNDERWAY: Duration = Duration::from_millis(5);

fn node(n: u8) -> Node {
    let (mut engine, tx, rx) = Engine::new([n; 32], &Limits::default());
    let key = NodePrivate::from_bytes([n + 64; 32]);
    let disco = DiscoPrivate::from_bytes([n + 128; 32]);
    let addr = SocketAddr::from(([198, 51, 100, n], 41641));
    engine.set_disco_key(&disco);
    engine.set_families(true, false);
    let own = format!("100.64.0.{n}").parse().expect("an address");
    let key_given = key.clone();
    let config =
        SelfConfig { key: key_given, addresses: vec![(own, 0)], running: true, ..SelfConfig::default() };
    engine.configure(config);
    let (sent, pongs) = (Sink::default(), Vec::new());
    Node { engine, tx, rx, key, disco, addr, sent, pongs, refresh: 0 }
}

impl Node {
    pub(super) fn config(&self, n: u8, endpoints: bool) -> PeerConfig {
        PeerConfig {
            id: NodeId(n.into()),
            key: self.key.public(),
            disco_key: self.disco.public(),
            home_derp: RegionId(1),
            allowed_ips: [format!("100.64.0.{n}/32").parse().expect("a prefix")].into(),
            endpoints: if endpoints { Endpoints::from([self.addr]) } else { Endpoints::default() },
            ..PeerConfig::default()
        }
    }

    /// Lets lines and engine rest; what they want sent is in `sent`.
    fn pump(&mut self, now: Mono) {
        loop {
            let mut worked = self.tx.turn_with(now.tick(), 64, &mut NoTun, &mut self.sent).did_work();
            worked |= self.rx.turn(now.tick(), 64).did_work();
            worked |= self.engine.handle_lines(now, Wall(now.as_nanos()));
            while let Some((region, peer, bytes)) = self.engine.next_derp() {
                self.sent.out.push((Source::Derp { region, peer }, bytes.to_vec()));
            }
            while let Some(output) = self.engine.poll_output() {
                match output {
                    Output::Transmit { to: Source::Udp(_), .. } if self.sent.refuses => {}
                    Output::Transmit { to, bytes } => self.sent.out.push((to, bytes.into_vec())),
                    Output::PathPing(pong) => self.pongs.push(pong),
                    Output::RefreshEndpoints => self.refresh += 1,
                    Output::Ping(_) | Output::LivePeers(_) | Output::Stun { .. } => {}
                }
            }
            if !worked {
                return;
            }
        }
    }
}

impl Pair {
    /// Both know each other, by the map also where, if `endpoints` says so.
    pub(super) fn new(endpoints: [bool; 2]) -> Self {
        let mut nodes = [node(1), node(2)];
        let now = Mono::from_millis(50_000);
        let configs = [nodes[1].config(2, endpoints[1]), nodes[0].config(1, endpoints[0])];
        for (node, config) in nodes.iter_mut().zip(configs) {
            node.engine.set_peer(config, now, Wall(now.as_nanos()));
            node.engine.commit();
            node.pump(now);
        }
        Self { nodes, now, udp: [true; 2], flying: Vec::new(), counts: (0, 0), used: Default::default() }
    }

    pub(super) fn say(&mut self, from: usize) {
        let (src, dst) = (from as u8 + 1, 2 - from as u8);
        let mut packet = vec![0x45, 0, 0, 28, 0, 0, 0, 0, 64, 17, 0, 0, 100, 64, 0, src, 100, 64, 0, dst];
        packet.extend([0, 9, 0, 9, 0, 8, 0, 0]);
        assert!(self.nodes[from].engine.handle_outbound(&packet));
        self.settle();
    }

    /// Takes what both want sent and puts it on its way.
    fn settle(&mut self) {
        for from in 0..2 {
            let addr = self.nodes[from].addr;
            let key = self.nodes[from].key.public();
            self.nodes[from].pump(self.now);
            for (to, bytes) in std::mem::take(&mut self.nodes[from].sent.out) {
                let other = 1 - from;
                match to {
                    Source::Udp(to) => {
                        self.counts.0 += 1;
                        if self.udp[from] && to == self.nodes[other].addr {
                            self.flying.push((self.now + UNDERWAY, other, Source::Udp(addr), bytes));
                        }
                    }
                    Source::Derp { region, .. } => {
                        self.counts.1 += 1;
                        self.used[from].insert(region);
                        let source = Source::Derp { region, peer: key };
                        self.flying.push((self.now + UNDERWAY * 4, other, source, bytes));
                    }
                }
            }
        }
        self.flying.sort();
    }

    pub(super) fn run(&mut self, millis: u64) {
        let end = self.now + Duration::from_millis(millis);
        for turns in 0.. {
            assert!(turns < 100_000, "no end");
            let due = self.nodes.iter().filter_map(|node| node.engine.poll_timeout()).map(|(at, _)| at);
            let next = due.chain(self.flying.first().map(|first| first.0)).min();
            let Some(next) = next.filter(|next| *next <= end) else { break };
            self.now = self.now.max(next);
            if self.flying.first().is_some_and(|first| first.0 <= self.now) {
                let (_, to, from, bytes) = self.flying.remove(0);
                self.nodes[to].engine.handle_datagram(from, &bytes, self.now);
            } else {
                for node in &mut self.nodes {
                    node.engine.handle_timeout(self.now, Wall(self.now.as_nanos()));
                }
            }
            self.settle();
        }
        self.now = end;
    }

    fn path(&mut self, n: usize) -> Path {
        let (id, now) = (NodeId(2 - n as i64), self.now);
        self.nodes[n].engine.peer_view(id, now).expect("known").path
    }

    fn direct(&mut self) -> [bool; 2] {
        let addrs = [self.nodes[1].addr, self.nodes[0].addr];
        [0, 1].map(|n| self.path(n) == Path::Udp(addrs[n]))
    }

    fn dropped(&self, n: usize, reason: DropReason) -> u32 {
        self.nodes[n].engine.drops().get(reason)
    }
}

#[test]
fn one_that_knows_the_other_is_enough() {
    for endpoints in [[true, true], [true, false], [false, true]] {
        for speaker in 0..2 {
            let mut pair = Pair::new(endpoints);
            assert_eq!(pair.direct(), [false; 2]);
            pair.say(speaker);
            pair.run(300);
            assert_eq!(pair.direct(), [true; 2], "{endpoints:?}, {speaker} speaks");
            let before = pair.counts;
            pair.say(speaker);
            assert_eq!((pair.counts.0 - before.0, pair.counts.1 - before.1), (1, 0));
        }
    }
}

#[test]
fn a_call_tells_where_somebody_is() {
    let mut pair = Pair::new([false; 2]);
    let (addr, now) = (pair.nodes[0].addr, pair.now);
    pair.nodes[0].engine.set_local_endpoints(&[addr], now);
    pair.say(0);
    pair.run(300);
    assert_eq!(pair.direct(), [true; 2]);
    assert_eq!(pair.nodes[0].refresh, 0, "its endpoints are fresh");
}

#[test]
fn old_endpoints_are_looked_at_again_and_told_again() {
    let mut pair = Pair::new([false; 2]);
    let (addr, now) = (pair.nodes[0].addr, pair.now);
    pair.nodes[0].engine.set_local_endpoints(&[SocketAddr::from(([198, 51, 100, 99], 1))], now);
    pair.run(30_000);
    pair.say(0);
    pair.run(300);
    assert_eq!((pair.direct(), pair.nodes[0].refresh), ([false; 2], 1));
    let now = pair.now;
    pair.nodes[0].engine.set_local_endpoints(&[addr], now);
    pair.settle();
    pair.run(300);
    assert_eq!(pair.direct(), [true; 2]);
}

/// Our router may have another address: that is looked for though our endpoints are fresh, and the peer told.
#[test]
fn a_path_that_dies_makes_both_look_where_they_are() {
    let mut pair = Pair::new([true; 2]);
    let look = |pair: &mut Pair| {
        for node in &mut pair.nodes {
            node.engine.set_local_endpoints(&[node.addr], pair.now);
            node.refresh = 0;
        }
        pair.settle();
    };
    let talk = |pair: &mut Pair, secs: u32| {
        for _ in 0..secs {
            pair.say(0);
            pair.say(1);
            pair.run(1000);
        }
    };
    look(&mut pair);
    talk(&mut pair, 15);
    look(&mut pair);
    talk(&mut pair, 8);
    assert_eq!((pair.direct(), pair.nodes.each_ref().map(|node| node.refresh)), ([true; 2], [0; 2]));
    pair.udp = [false; 2];
    talk(&mut pair, 9);
    assert_eq!((pair.direct(), pair.nodes.each_ref().map(|node| node.refresh)), ([false; 2], [1; 2]));
    pair.nodes[0].addr = SocketAddr::from(([198, 51, 100, 77], 41641));
    pair.udp = [true; 2];
    look(&mut pair);
    pair.run(300);
    assert_eq!(pair.direct(), [true; 2]);
}

#[test]
fn a_blocked_path_gives_way_to_the_relay_and_comes_back() {
    let mut pair = Pair::new([true; 2]);
    pair.say(0);
    pair.run(1000);
    assert_eq!(pair.direct(), [true; 2]);
    pair.udp = [false; 2];
    let mut relayed = None;
    for step in 0..200 {
        pair.say(0);
        pair.say(1);
        pair.run(100);
        if relayed.is_none() && !matches!(pair.path(0), Path::Udp(_)) {
            relayed = Some(step * 100);
        }
    }
    assert!(relayed.expect("it was left") <= 6_600, "{relayed:?}");
    assert_eq!([pair.path(0), pair.path(1)], [Path::Derp { region: 1 }; 2]);
    pair.udp = [true; 2];
    for _ in 0..60 {
        pair.say(0);
        pair.say(1);
        pair.run(100);
    }
    assert_eq!(pair.direct(), [true; 2]);
}

#[test]
fn a_path_that_leads_one_way_only_is_no_path() {
    let mut pair = Pair::new([true; 2]);
    pair.udp = [true, false];
    for _ in 0..20 {
        pair.say(0);
        pair.run(500);
    }
    assert_eq!(pair.direct(), [false; 2]);
}

#[test]
fn what_the_system_refuses_goes_through_the_relay() {
    let mut pair = Pair::new([true; 2]);
    pair.say(0);
    pair.run(1000);
    pair.nodes[0].sent.refuses = true;
    pair.say(0);
    pair.run(50);
    assert_eq!(pair.path(0), Path::Derp { region: 1 });
    let before = pair.counts.1;
    pair.say(0);
    assert!(pair.counts.1 > before);
}

#[test]
fn idle_peers_cost_no_packet() {
    let mut pair = Pair::new([true; 2]);
    pair.say(0);
    pair.run(120_000);
    let before = pair.counts;
    pair.run(3_600_000);
    assert_eq!(pair.counts, before);
    pair.say(0);
    pair.run(300);
    assert_eq!(pair.direct(), [true; 2]);
}

#[test]
fn a_peer_with_another_disco_key_is_another() {
    let mut pair = Pair::new([true; 2]);
    pair.say(0);
    pair.run(1000);
    let old = std::mem::replace(&mut pair.nodes[1].disco, DiscoPrivate::from_bytes([200; 32]));
    let config = pair.nodes[1].config(2, true);
    let (now, key) = (pair.now, pair.nodes[1].disco.clone());
    pair.nodes[0].engine.set_peer(config, now, Wall(now.as_nanos()));
    assert_eq!(pair.path(0), Path::Derp { region: 1 });
    pair.settle();
    // Until it has the key, it cannot read.
    assert!(pair.nodes[1].engine.drops().get(DropReason::Disco) == 0);
    pair.run(100);
    assert!(pair.dropped(1, DropReason::Disco) > 0);
    // A whole new process: both ends forget.
    pair.nodes[1].engine.set_disco_key(&key);
    let config = pair.nodes[0].config(1, true);
    pair.nodes[1].engine.remove_peer(NodeId(1));
    pair.nodes[1].engine.set_peer(config, now, Wall(now.as_nanos()));
    pair.nodes[1].engine.commit();
    pair.say(0);
    pair.run(3000);
    assert_eq!(pair.direct(), [true; 2]);
    // What the old one sends is a stranger's.
    let dropped = pair.dropped(0, DropReason::Disco);
    let ping = Message::Ping { tx: TxId([1; 12]), node: pair.nodes[1].key.public(), padding: 0 };
    inject(&mut pair, 0, &old, &ping, None);
    assert_eq!(pair.dropped(0, DropReason::Disco), dropped + 1);
}

/// Somebody with this disco key says something to a node, by UDP or as relayed for the other node.
fn inject(pair: &mut Pair, to: usize, key: &DiscoPrivate, message: &Message, relayed: Option<usize>) {
    let mut rng = ChaCha8Rng::seed_from_u64(3);
    let sealed = SealedBox::new(key, &pair.nodes[to].disco.public());
    let bytes = sealed.seal(&key.public(), message, &mut rng);
    let from = match relayed {
        Some(n) => Source::Derp { region: 1, peer: pair.nodes[n].key.public() },
        None => Source::Udp(SocketAddr::from(([198, 51, 100, 66], 7))),
    };
    let now = pair.now;
    pair.nodes[to].engine.handle_datagram(from, &bytes, now);
}

#[test]
fn strangers_and_forgeries_are_counted() {
    let mut pair = Pair::new([true; 2]);
    let theirs = pair.nodes[1].disco.clone();
    let stranger = DiscoPrivate::from_bytes([77; 32]);
    let ping = Message::Ping { tx: TxId([1; 12]), node: pair.nodes[1].key.public(), padding: 0 };
    for _ in 0..1000 {
        inject(&mut pair, 0, &stranger, &ping, None);
    }
    assert_eq!(pair.dropped(0, DropReason::Disco), 1000);
    // A key that we know in front, and noise behind.
    let mut forged = [&crate::lines::demux::DISCO_MAGIC[..], theirs.public().as_bytes(), &[9; 90]].concat();
    for n in 0..100 {
        forged[100] = n;
        let now = pair.now;
        pair.nodes[0].engine.handle_datagram(Source::Udp(pair.nodes[1].addr), &forged, now);
    }
    assert_eq!(pair.dropped(0, DropReason::Disco), 1100);
    let pong = Message::Pong { tx: TxId([5; 12]), src: pair.nodes[0].addr };
    inject(&mut pair, 0, &theirs, &pong, None);
    assert_eq!(pair.dropped(0, DropReason::Pong), 1);
    // A call counts only through a relay, and only for the node it is from.
    let call = Message::CallMeMaybe(vec![SocketAddr::from(([203, 0, 113, 1], 1))]);
    inject(&mut pair, 0, &theirs, &call, None);
    inject(&mut pair, 0, &theirs, &call, Some(0));
    inject(&mut pair, 0, &stranger, &call, Some(1));
    assert_eq!(pair.dropped(0, DropReason::Disco), 1103);
    assert!(pair.nodes[0].engine.poll_output().is_none(), "none of it was answered");
    inject(&mut pair, 0, &theirs, &call, Some(1));
    let mut sent = std::iter::from_fn(|| pair.nodes[0].engine.poll_output());
    assert!(
        sent.any(|output| matches!(output, Output::Transmit { to: Source::Udp(to), .. } if to.port() == 1))
    );
}

/// Kibibytes of this process, all of its threads together.
fn resident() -> u64 {
    let text = std::fs::read_to_string("/proc/self/statm").expect("Linux");
    4 * text.split_whitespace().nth(1).and_then(|pages| pages.parse::<u64>().ok()).expect("pages")
}

/// A peer that has the right keys: calls with all the endpoints that a datagram holds, pongs that nobody waits for, pings
/// from everywhere.
#[test]
fn a_peer_that_floods_us_is_bounded() {
    let mut pair = Pair::new([true; 2]);
    let theirs = pair.nodes[1].disco.clone();
    let node = pair.nodes[1].key.public();
    let flood = |pair: &mut Pair, rounds: std::ops::Range<u32>| {
        let mut answers = 0;
        for n in rounds {
            let [_, b, c, d] = n.to_be_bytes();
            let tx = TxId([b, c, d, 0, 0, 0, 0, 0, 0, 0, 0, 1]);
            let everywhere = (0..64).map(|port| SocketAddr::from(([203, b, c, d], 1 + port))).collect();
            inject(pair, 0, &theirs, &Message::CallMeMaybe(everywhere), Some(1));
            inject(pair, 0, &theirs, &Message::Pong { tx, src: ([203, b, c, d], 1).into() }, None);
            let sealed = SealedBox::new(&theirs, &pair.nodes[0].disco.public());
            let ping = Message::Ping { tx, node, padding: 0 };
            let bytes = sealed.seal(&theirs.public(), &ping, &mut ChaCha8Rng::seed_from_u64(n.into()));
            pair.now = pair.now + Duration::from_millis(1);
            let (from, now) = (Source::Udp(SocketAddr::from(([192, b, c, d], 9))), pair.now);
            pair.nodes[0].engine.handle_datagram(from, &bytes, now);
            pair.nodes[0].engine.handle_timeout(now, Wall(now.as_nanos()));
            answers += std::iter::from_fn(|| pair.nodes[0].engine.poll_output()).count();
        }
        answers
    };
    flood(&mut pair, 0..300);
    let mut answers = 0;
    // Other tests share this process; what a flood takes, each part of it takes.
    let parts = [300, 600, 900, 1200].map(|first| {
        let before = resident();
        answers += flood(&mut pair, first..first + 300);
        resident().saturating_sub(before)
    });
    let grown = parts.into_iter().min().unwrap_or_default();
    println!("1200 rounds: {answers} datagrams out, {parts:?} KiB more");
    // In two seconds: calls that are followed, to as many addresses as are tried, and pings that are answered and returned.
    let most = 3 * (CALLS_TAKEN as usize * CANDIDATES + 3 * PINGS_TAKEN as usize);
    assert!(answers <= most, "{answers} of {most}");
    assert!(pair.dropped(0, DropReason::Pong) == 1500 && pair.dropped(0, DropReason::DiscoLimit) > 2000);
    assert!(grown < 2048, "{parts:?} KiB");
}

#[test]
fn a_ping_is_answered_the_way_it_came() {
    let mut pair = Pair::new([false; 2]);
    let theirs = pair.nodes[1].disco.clone();
    let node = pair.nodes[1].key.public();
    let reads = SealedBox::new(&theirs, &pair.nodes[0].disco.public());
    let ping = |n| Message::Ping { tx: TxId([n; 12]), node, padding: 0 };
    for (n, relayed, src) in [(1, Some(1), "127.3.3.40:1"), (2, None, "198.51.100.66:7")] {
        inject(&mut pair, 0, &theirs, &ping(n), relayed);
        let Some(Output::Transmit { to, bytes }) = pair.nodes[0].engine.poll_output() else {
            panic!("no answer")
        };
        assert_eq!(matches!(to, Source::Derp { .. }), relayed.is_some());
        let pong = Message::Pong { tx: TxId([n; 12]), src: src.parse().expect("an address") };
        assert_eq!(reads.open(&bytes), Ok(Some(pong)));
        assert!(pair.nodes[0].engine.poll_output().is_none());
    }
}

#[test]
fn nodes_that_share_a_disco_key_are_told_apart() {
    let mut pair = Pair::new([true; 2]);
    let twin = PeerConfig {
        id: NodeId(3),
        key: NodePrivate::from_bytes([250; 32]).public(),
        allowed_ips: ["100.64.0.3/32".parse().expect("a prefix")].into(),
        ..pair.nodes[1].config(2, false)
    };
    let now = pair.now;
    pair.nodes[0].engine.set_peer(twin, now, Wall(now.as_nanos()));
    pair.say(0);
    pair.run(300);
    assert_eq!(pair.direct(), [true; 2]);
    pair.nodes[0].engine.remove_peer(NodeId(3));
    pair.run(10_000);
    pair.say(0);
    pair.run(300);
    assert_eq!(pair.direct(), [true; 2]);
}

#[test]
fn a_stopped_node_is_silent() {
    let mut pair = Pair::new([true; 2]);
    pair.say(0);
    pair.run(1000);
    let config = SelfConfig { key: pair.nodes[0].key.clone(), running: false, ..SelfConfig::default() };
    pair.nodes[0].engine.configure(config);
    pair.nodes[0].engine.commit();
    pair.nodes[0].pump(pair.now);
    pair.nodes[0].sent.out.clear();
    let (theirs, ping) = (pair.nodes[1].disco.clone(), TxId([1; 12]));
    let ping = Message::Ping { tx: ping, node: pair.nodes[1].key.public(), padding: 0 };
    inject(&mut pair, 0, &theirs, &ping, None);
    for _ in 0..100 {
        pair.now = pair.now + Duration::from_secs(1);
        let now = pair.now;
        pair.nodes[0].engine.handle_timeout(now, Wall(now.as_nanos()));
        pair.nodes[0].pump(now);
    }
    assert!(pair.nodes[0].sent.out.is_empty());
    assert_eq!(pair.nodes[0].engine.poll_timeout(), None);
}

#[test]
fn pings_on_request() {
    let mut pair = Pair::new([true; 2]);
    let now = pair.now;
    let ping = |pair: &mut Pair, size| {
        let now = pair.now;
        let token = pair.nodes[0].engine.start_path_ping(NodeId(2), size, now).expect("a ping");
        pair.settle();
        pair.run(100);
        let pongs = std::mem::take(&mut pair.nodes[0].pongs);
        assert!(pongs.iter().all(|pong| pong.token == token), "{pongs:?}");
        pongs.first().copied()
    };
    let first = ping(&mut pair, 0).expect("an answer");
    assert_eq!((first.way, first.rtt), (Source::Udp(pair.nodes[1].addr), UNDERWAY * 2));
    assert!(ping(&mut pair, 1300).is_some());
    pair.udp = [false; 2];
    pair.run(60_000);
    let relayed = ping(&mut pair, 0).expect("an answer");
    assert!(matches!(relayed.way, Source::Derp { region: 1, .. }), "{relayed:?}");
    let mut start = |id, size| pair.nodes[0].engine.start_path_ping(NodeId(id), size, now);
    assert_eq!(start(9, 0), Err(PathPingError::UnknownPeer));
    assert_eq!(start(2, 1 << 20), Err(PathPingError::TooLarge));
    let plain = PeerConfig {
        disco_key: DiscoPublic::ZERO,
        id: NodeId(5),
        key: NodePrivate::from_bytes([9; 32]).public(),
        ..PeerConfig::default()
    };
    pair.nodes[0].engine.set_peer(plain, now, Wall(now.as_nanos()));
    assert_eq!(pair.nodes[0].engine.start_path_ping(NodeId(5), 0, now), Err(PathPingError::NoDisco));
}

#[test]
fn a_thousand_peers_have_state_only_while_they_are_spoken_to() {
    let mut pair = Pair::new([true; 2]);
    let now = pair.now;
    for n in 0..1000_u16 {
        let mut bytes = [1; 32];
        bytes[..2].copy_from_slice(&n.to_le_bytes());
        let peer = PeerConfig {
            id: NodeId(100 + i64::from(n)),
            key: NodePrivate::from_bytes(bytes).public(),
            disco_key: DiscoPrivate::from_bytes(bytes).public(),
            endpoints: Endpoints::from([SocketAddr::from(([203, 0, 113, 1], 1 + n))]),
            ..PeerConfig::default()
        };
        pair.nodes[0].engine.set_peer(peer, now, Wall(now.as_nanos()));
    }
    assert_eq!(pair.nodes[0].engine.peers.with_paths(), []);
    assert_eq!(pair.nodes[0].engine.poll_timeout(), None);
    pair.say(0);
    assert_eq!(pair.nodes[0].engine.peers.with_paths().len(), 1);
    assert_eq!(pair.nodes[0].engine.peers.with_paths(), [PeerSlot::new(0, 0)]);
    pair.run(800_000);
    assert_eq!(pair.nodes[0].engine.peers.with_paths(), []);
    assert!(!Keyring::new(&pair.nodes[0].disco).public().is_zero());
}
