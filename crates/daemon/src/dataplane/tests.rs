//! Sockets, batches and packet threads on the loopback.

use super::sockets::Sockets;
use super::udp::{Receiver, Sender};
use super::{Dataplane, Ways};
use crate::clock::Clock;
use engine::drop::{DropCounters, DropReason};
use engine::filter::{Filter, FilterInput, local_set};
use engine::host::PingKind;
use engine::lines::batch::{Batch, Run};
use engine::lines::{Arrival, UdpSink as _, UdpSource as _};
use engine::{PeerConfig, SelfConfig};
use keys::{DiscoPrivate, NodePrivate};
use netmap::{FilterRule, IpNet, NodeId, PortRange, RuleDst, RuleSrc};
use proptest::prelude::*;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

const MTU: usize = 1280;

/// A machine without IPv6 has only one socket; nothing here needs the other.
fn loopbacks(sockets: &Sockets) -> Vec<SocketAddr> {
    let (v4, v6) = sockets.families();
    let v4 = v4.then_some(IpAddr::V4(Ipv4Addr::LOCALHOST));
    let v6 = v6.then_some(IpAddr::V6(Ipv6Addr::LOCALHOST));
    v4.into_iter().chain(v6).map(|ip| SocketAddr::new(ip, sockets.port())).collect()
}

/// Packets in an arena as the tx line has them.
fn arena(packets: &[Vec<u8>]) -> Batch {
    let mut batch = Batch::to_seal(packets.iter().map(|packet| packet.len() + 96).sum(), packets.len());
    for packet in packets {
        batch.room(packet.len()).expect("room").copy_from_slice(packet);
        batch.commit(packet.len(), 0, 0);
    }
    batch
}

fn send(from: &Arc<Sockets>, to: SocketAddr, packets: &[Vec<u8>], drops: &DropCounters) -> usize {
    let mut batch = arena(packets);
    let (bytes, packets) = batch.parts();
    Sender::new(from.clone()).send(to, Run::new(bytes, packets), drops)
}

/// Receives until `count` datagrams have come or nothing comes for two seconds.
fn receive(
    sockets: &Arc<Sockets>,
    receiver: &mut Receiver,
    count: usize,
    bytes: usize,
    drops: &DropCounters,
) -> Vec<(SocketAddr, Vec<u8>)> {
    let mut arena = vec![0xee; bytes];
    let mut got = Vec::new();
    while got.len() < count {
        if !receiver.is_readable() {
            let fds: Vec<_> = [sockets.v4(), sockets.v6()].into_iter().collect();
            let mut polled: Vec<_> =
                fds.iter().flatten().map(|fd| PollFd::from_borrowed_fd(*fd, PollFlags::IN)).collect();
            poll(&mut polled, Some(&Timespec { tv_sec: 2, tv_nsec: 0 })).expect("poll");
            if polled.iter().all(|fd| fd.revents().is_empty()) {
                break;
            }
            receiver.note_readable([sockets.v4().is_some(), sockets.v6().is_some()]);
        }
        let mut arrivals: Vec<Arrival> = Vec::with_capacity(64);
        receiver.receive(&mut arena, 64, &mut arrivals, drops);
        assert!(arrivals.is_sorted_by_key(|arrival| arrival.start) && arrivals.len() <= 64);
        for Arrival { start, len, from } in arrivals {
            got.push((from, arena[start as usize..][..len as usize].to_vec()));
        }
    }
    got
}

#[test]
fn one_port_for_both_families_and_another_when_it_is_taken() {
    let first = Sockets::open(0);
    assert!(first.families().0 && first.port() != 0);
    for at in loopbacks(&first) {
        assert_eq!(at.port(), first.port());
    }
    let second = Sockets::open(first.port());
    assert_eq!(second.families(), first.families());
    assert_ne!(second.port(), first.port());
    let port = first.port();
    drop(first);
    assert_eq!(Sockets::open(port).port(), port);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    /// Whatever their sizes and however they are split into calls: datagrams come as they were sent, in order, with
    /// their sender's address.
    #[test]
    fn batches_come_as_they_were_sent(
        lengths in proptest::collection::vec(prop_oneof![1usize..80, 1200usize..1500, Just(1536)], 1..90),
        bytes in 1536usize..70_000,
    ) {
        let (from, to) = (Arc::new(Sockets::open(0)), Arc::new(Sockets::open(0)));
        let mut receiver = Receiver::new(to.clone(), MTU);
        let drops = DropCounters::default();
        let packets: Vec<Vec<u8>> =
            lengths.iter().enumerate().map(|(n, len)| (0..*len).map(|at| (n * 31 + at) as u8).collect()).collect();
        for (ours, theirs) in loopbacks(&from).into_iter().zip(loopbacks(&to)) {
            prop_assert_eq!(send(&from, theirs, &packets, &drops), packets.len());
            let got = receive(&to, &mut receiver, packets.len(), bytes, &drops);
            prop_assert!(got.iter().all(|(from, _)| *from == ours));
            let got: Vec<_> = got.into_iter().map(|(_, bytes)| bytes).collect();
            prop_assert_eq!(&got, &packets);
        }
        prop_assert!(DropReason::ALL.iter().all(|reason| drops.get(*reason) == 0));
    }
}

/// Long enough for merging to begin, and with single ones in between for it to end again.
#[test]
fn a_stream_comes_as_it_was_sent() {
    let (from, to) = (Arc::new(Sockets::open(0)), Arc::new(Sockets::open(0)));
    let mut receiver = Receiver::new(to.clone(), MTU);
    let drops = DropCounters::default();
    let there = loopbacks(&to)[0];
    for round in 0..60usize {
        let (count, len) = if round % 30 < 20 { (24, 1312) } else { (12, 100 + round) };
        let packets: Vec<Vec<u8>> = (0..count)
            .map(|n| {
                (0..if round < 20 { len } else { len + n }).map(|at| (round + n * 7 + at) as u8).collect()
            })
            .collect();
        assert_eq!(send(&from, there, &packets, &drops), count);
        let got = receive(&to, &mut receiver, count, 64 << 10, &drops);
        assert!(got.into_iter().map(|(_, bytes)| bytes).eq(packets), "round {round}");
    }
    assert!(DropReason::ALL.iter().all(|reason| drops.get(*reason) == 0));
}

#[test]
fn a_family_that_is_flooded_does_not_silence_the_other() {
    let (from, to) = (Arc::new(Sockets::open(0)), Arc::new(Sockets::open(0)));
    let ways = loopbacks(&to);
    let [v4, v6] = ways[..] else { return };
    let drops = DropCounters::default();
    send(&from, v4, &vec![vec![4; 100]; 200], &drops);
    send(&from, v6, &[vec![6; 100]], &drops);
    let mut receiver = Receiver::new(to.clone(), MTU);
    let got = receive(&to, &mut receiver, 201, 8 * 1536, &drops);
    let at = got.iter().position(|(from, _)| from.is_ipv6()).expect("it came");
    assert!(got.len() == 201 && at <= 16, "number {at} of {}", got.len());
}

#[test]
fn what_the_system_does_not_take_is_counted_and_the_rest_is_sent() {
    let (from, to) = (Arc::new(Sockets::open(0)), Arc::new(Sockets::open(0)));
    let drops = DropCounters::default();
    let here = loopbacks(&to)[0];
    let mut packets = vec![vec![1; 100]; 3];
    packets.insert(1, vec![2; 66_000]);
    assert_eq!(send(&from, here, &packets, &drops), 3);
    assert_eq!(drops.get(DropReason::TooLarge), 1);
    // Longer than there is room for: cut by the system, so of no use.
    assert_eq!(send(&from, here, &[vec![3; 1537]], &drops), 1);
    let mut receiver = Receiver::new(to.clone(), MTU);
    assert_eq!(receive(&to, &mut receiver, 4, 1 << 16, &drops).len(), 3);
    assert_eq!(drops.get(DropReason::TooLarge), 2);
    // Nobody listens there, no such address, no such socket: never an error that stays.
    let closed = SocketAddr::from((Ipv4Addr::LOCALHOST, Sockets::open(0).port()));
    let nowhere = SocketAddr::from((Ipv4Addr::BROADCAST, 9));
    for bad in [closed, nowhere] {
        for len in [1, 40] {
            send(&from, bad, &vec![vec![0; 30]; len], &drops);
        }
    }
    assert_eq!(drops.get(DropReason::Unreachable), 41, "the broadcast address is refused");
    let none = Arc::new(Sockets::default());
    assert_eq!(send(&none, here, &vec![vec![0; 30]; 2], &drops), 0);
    assert_eq!(drops.get(DropReason::NoPath), 2);
    assert_eq!(send(&from, here, &packets[..1], &drops), 1);
}

/// No relay is ever reached.
struct NoDial;

impl dial::Dial for NoDial {
    fn dial<'a>(
        &'a self,
        _target: &'a dial::Target,
    ) -> dial::LocalFuture<'a, std::io::Result<dial::BoxStream>> {
        Box::pin(async { Err(std::io::ErrorKind::ConnectionRefused.into()) })
    }
}

fn addresses(number: u8) -> [IpAddr; 2] {
    [
        IpAddr::from([100, 64, 0, number]),
        IpAddr::from([0xfd7a, 0x115c, 0xa1e0, 0, 0, 0, 0, u16::from(number)]),
    ]
}

fn peerapi_port(number: u8) -> u16 {
    4000 + u16::from(number)
}

fn prefixes(number: u8) -> Box<[IpNet]> {
    addresses(number).into_iter().map(IpNet::from).collect()
}

fn key(number: u8) -> NodePrivate {
    NodePrivate::from_bytes([number + 64; 32])
}

fn disco(number: u8) -> DiscoPrivate {
    DiscoPrivate::from_bytes([number + 128; 32])
}

fn node(number: u8, two_threads: bool) -> Rc<Dataplane> {
    let options = derp::Options { use_http: false };
    let clock = Arc::new(Clock::new(None));
    let ways = Ways { two_threads, disco: disco(number), ..Ways::default() };
    let plane = Dataplane::start(Rc::new(NoDial), options, clock, [number; 32], ways).expect("starts");
    let rule = FilterRule {
        srcs: [RuleSrc::Any].into(),
        dsts: Box::new([RuleDst { net: RuleSrc::Any, ports: PortRange::ALL }]),
        ..FilterRule::default()
    };
    let local = local_set(&prefixes(number), &[], &[]);
    let filter = Filter::compile(&FilterInput {
        rules: &[&rule],
        local: &local,
        shields_up: false,
        cap_holders: &|_, _| {},
    });
    plane.configure(SelfConfig {
        key: key(number),
        addresses: addresses(number).map(|ip| (ip, peerapi_port(number))).to_vec(),
        services: Vec::new(),
        filter: Arc::new(filter),
        running: true,
        ..SelfConfig::default()
    });
    tokio::task::spawn_local(plane.clone().listen());
    let timers = plane.clone();
    tokio::task::spawn_local(async move {
        loop {
            let due = timers.poll_timeout().map(|at| tokio::time::Instant::from(timers.clock.instant(at)));
            let sleep = async {
                match due {
                    Some(at) => tokio::time::sleep_until(at).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = sleep => timers.handle_timeout(),
                () = timers.changed.notified() => {}
            }
        }
    });
    plane
}

fn knows(plane: &Dataplane, number: u8, endpoints: &[SocketAddr]) {
    plane.set_peer(PeerConfig {
        id: NodeId(i64::from(number)),
        key: key(number).public(),
        allowed_ips: prefixes(number).into(),
        endpoints: endpoints.iter().copied().collect(),
        wireguard_only: true,
        ..PeerConfig::default()
    });
    plane.commit();
}

/// One of many that nobody talks to.
fn stranger(number: u16) -> PeerConfig {
    let [high, low] = number.to_be_bytes();
    let mut key = [7; 32];
    (key[0], key[1]) = (high, low);
    PeerConfig {
        id: NodeId(1000 + i64::from(number)),
        key: NodePrivate::from_bytes(key).public(),
        allowed_ips: [IpNet::from(IpAddr::from([100, 65, high, low]))].into(),
        wireguard_only: true,
        ..PeerConfig::default()
    }
}

fn on_control_thread(body: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("runtime");
    tokio::task::LocalSet::new().block_on(&runtime, body);
}

#[test]
fn two_nodes_answer_each_other_by_udp() {
    for threads in [[false, false], [true, true], [true, false]] {
        on_control_thread(answer_each_other(threads));
    }
}

async fn answer_each_other([one, two]: [bool; 2]) {
    let (one, two) = (node(1, one), node(2, two));
    let [to_one, to_two] = [&one, &two].map(|plane| loopbacks(&plane.sockets.borrow()));
    // Endpoints that cannot be meant come first.
    let unusable: [SocketAddr; 2] =
        ["0.0.0.0:7".parse().expect("addr"), "127.0.0.1:0".parse().expect("addr")];
    knows(&one, 2, &[unusable[0], unusable[1], to_two[0]]);
    // The other side has no endpoint: it learns it from what is authentic.
    knows(&two, 1, &[]);
    for (from, to) in [(&one, 2), (&two, 1)] {
        for address in addresses(to) {
            for kind in [PingKind::Tsmp, PingKind::Icmp] {
                let answer = from.ping(kind, address, Duration::from_secs(10)).await.expect("sent");
                let told = answer.map(|answer| (answer.from, answer.peerapi_port));
                let port = if kind == PingKind::Tsmp { peerapi_port(to) } else { 0 };
                assert_eq!(told, Some((address, port)), "{kind:?}");
            }
        }
    }
    assert_eq!(one.peer_view(NodeId(2)).direct, Some(to_two[0]));
    assert_eq!(two.peer_view(NodeId(1)).direct, Some(to_one[0]));
    // A new endpoint from control is in force at once; the session goes on.
    if let [_, v6] = to_two[..] {
        knows(&one, 2, &[v6]);
        let rtt = one.ping(PingKind::Icmp, addresses(2)[0], Duration::from_secs(10)).await.expect("sent");
        assert!(rtt.is_some());
        assert_eq!(one.peer_view(NodeId(2)).direct, Some(v6));
        assert_eq!(two.peer_view(NodeId(1)).direct, Some(to_one[1]), "it follows");
    }
    assert_eq!((one.drops(), two.drops()), (Vec::new(), Vec::new()), "nothing was lost");
    let [(live, view)] = &one.live_views()[..] else { panic!("one peer has a session") };
    assert_eq!((*live, one.passed()), (key(2).public(), (view.rx_bytes, view.tx_bytes)));
}

/// Another tailnet, a small one: what is told last arrives, however much was told before it at once.
#[test]
fn packets_pass_after_many_peers_have_gone() {
    for threads in [false, true] {
        on_control_thread(async {
            let (one, two) = (node(1, threads), node(2, threads));
            knows(&two, 1, &[]);
            (0..1000).for_each(|number| one.set_peer(stranger(number)));
            one.commit();
            // All is at rest then.
            tokio::time::sleep(Duration::from_millis(200)).await;
            one.retain_peers(&|_| false);
            assert_eq!(one.engine.borrow().peer_ids().count(), 0);
            knows(&one, 2, &loopbacks(&two.sockets.borrow())[..1]);
            // The first may be ahead of commands that still wait, and be lost.
            let mut answered = false;
            for _ in 0..5 {
                let ping = one.ping(PingKind::Icmp, addresses(2)[0], Duration::from_secs(2));
                answered = answered || ping.await.expect("sent").is_some();
            }
            assert!(answered, "two threads: {threads}");
        });
    }
}

#[test]
fn two_nodes_find_each_other_without_a_relay() {
    on_control_thread(async {
        let (one, two) = (node(1, true), node(2, false));
        for (plane, number, other, told) in [(&one, 2, &two, true), (&two, 1, &one, false)] {
            plane.set_peer(PeerConfig {
                id: NodeId(i64::from(number)),
                key: key(number).public(),
                disco_key: disco(number).public(),
                allowed_ips: prefixes(number).into(),
                endpoints: loopbacks(&other.sockets.borrow()).into_iter().filter(|_| told).collect(),
                ..PeerConfig::default()
            });
            plane.commit();
        }
        let pong =
            one.ping_paths(NodeId(2), 0, Duration::from_secs(10)).await.expect("sent").expect("a pong");
        assert!(
            matches!(pong.way, engine::wireguard::Source::Udp(at) if loopbacks(&two.sockets.borrow()).contains(&at))
        );
        for (from, to) in [(&one, 2), (&two, 1)] {
            let rtt =
                from.ping(PingKind::Icmp, addresses(to)[0], Duration::from_secs(10)).await.expect("sent");
            assert!(rtt.is_some());
        }
        let reached = [one.peer_view(NodeId(2)).direct, two.peer_view(NodeId(1)).direct];
        assert!(reached.iter().all(Option::is_some), "{reached:?}");
        assert_eq!(one.ping_paths(NodeId(9), 0, Duration::ZERO).await, Err("no matching peer".to_owned()));
    });
}

#[test]
fn control_may_wish_for_looks_without_traffic() {
    on_control_thread(async {
        let (plane, map) = (node(1, false), netmap::DerpMap::default());
        let now = plane.clock.mono();
        for always_look in [false, true, false] {
            plane.relays(&crate::backend::RelayConfig {
                key: key(1),
                map: &map,
                home: netmap::RegionId::NONE,
                udp: true,
                upnp: true,
                random_port: false,
                always_look,
                paused: false,
            });
            assert_eq!(plane.goes_on_looking(now), always_look);
        }
    });
}
