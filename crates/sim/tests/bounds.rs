//! What must never grow: packets of an idle node, queues, and what the filter lets through.

use engine::drop::DropReason;
use engine::host::PingKind;
use engine::packet::build;
use sim::policy::Allow;
use sim::tailnet::{HOME, WAYS};
use sim::{Link, NodeIx, Policy, Source, Tailnet};
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

const A: NodeIx = NodeIx(0);
const B: NodeIx = NodeIx(1);
const ICMP: (PingKind, bool) = (PingKind::Icmp, true);

fn secs(n: u64) -> Duration {
    Duration::from_secs(n)
}

fn udp(src: IpAddr, dst: IpAddr, ports: (u16, u16), payload: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    build::udp(&mut out, SocketAddr::new(src, ports.0), SocketAddr::new(dst, ports.1), payload)
        .expect("one family");
    out
}

#[test]
fn an_idle_pair_is_silent() {
    let mut net = Tailnet::new(1, 2);
    net.world.run_for(secs(600));
    assert_eq!(net.sent(), 0, "nobody asked for anything");
    net.ping_until_answered(A, B, ICMP, secs(5)).expect("answered");
    net.world.run_for(secs(600));
    let sent = net.sent();
    // Two for the handshake, the ping and its answer, and keepalives: one that proves the session, one from each side
    // ten seconds later.
    assert!(sent <= 7, "{}", net.world.timeline.render());
}

#[test]
fn an_idle_pair_with_a_monitor_stays_below_the_goal() {
    // Somebody pings once a minute: 10 virtual minutes, at most 0.15 packets a second in each direction.
    let mut net = Tailnet::new(2, 2);
    net.relay().link = Link { loss: 10_000, jitter: Duration::from_millis(20), ..net.relay().link };
    for _ in 0..10 {
        net.ping(A, B, ICMP).expect("begins");
        net.world.run_for(secs(60));
    }
    let sent = [A, B].map(|ix| net.world.node(ix).witness.sent);
    assert!(sent.iter().all(|sent| sent.total() <= 90), "{sent:?}");
}

#[test]
fn a_dead_peer_costs_little() {
    // The peer is gone for good and something pings it every second for an hour.
    let mut net = Tailnet::new(3, 2);
    net.world.log_datagrams = false;
    net.world.set_awake(B, false);
    assert!(net.ping_until_answered(A, B, ICMP, secs(3600)).is_err());
    let sent = net.world.node(A).witness.sent;
    // Rows of 90 s, each with a few early retries and then one every five seconds.
    assert!(sent.total() <= 40 * 22, "{sent:?}");
    assert_eq!(sent.data, 0);
}

#[test]
fn what_waits_for_a_session_is_bounded() {
    let mut net = Tailnet::new(4, 2);
    net.world.log_datagrams = false;
    net.relay().set_up(false);
    let (src, dst) = (net.behind(A, true), net.behind(B, true));
    for n in 0..1000u16 {
        net.world.send_host(A, &udp(src, dst, (7, 9), &n.to_be_bytes()));
    }
    assert_eq!(net.world.node(A).dropped(DropReason::Staging), 1000 - 32);
    net.relay().set_up(true);
    net.world.run_for(secs(10));
    let got = net.world.take_host(B);
    let last: Vec<u16> = got.iter().map(|p| u16::from_be_bytes([p[28], p[29]])).collect();
    assert_eq!(last, (968..1000).collect::<Vec<_>>(), "the newest, in order");
    // And if no session comes, they do not wait for ever.
    net.world.set_awake(B, false);
    net.world.run_for(secs(600));
    let before = net.world.node(A).dropped(DropReason::Staging);
    (0..5).for_each(|_| net.world.send_host(A, &udp(src, dst, (7, 9), b"lost")));
    net.world.run_for(secs(120));
    assert_eq!(net.world.node(A).dropped(DropReason::Staging) - before, 5);
}

#[test]
fn floods_of_strangers_are_ignored() {
    let mut net = Tailnet::new(5, 2);
    net.world.log_datagrams = false;
    net.ping_until_answered(A, B, ICMP, secs(5)).expect("answered");
    let heard: Vec<Vec<u8>> = net.world.node(A).overheard().iter().cloned().collect();
    let before = net.world.node(B).witness.sent;
    let stranger = Source::Derp { region: HOME, peer: keys::NodePublic::from_bytes([9; 32]) };
    for n in 0..2000usize {
        for datagram in &heard {
            // As it was, cut short, or with one byte changed.
            let mut bytes = datagram.clone();
            match n % 3 {
                0 => {}
                1 => bytes.truncate(n % datagram.len()),
                _ => bytes[n % datagram.len()] ^= 1 << (n % 8),
            }
            net.world.inject(B, stranger, &bytes);
        }
        net.world.run_for(Duration::from_millis(1));
    }
    let after = net.world.node(B).witness.sent;
    assert_eq!((after.data, after.responses), (before.data, before.responses));
    assert!(net.world.take_host(B).is_empty());
    let took = net.ping_until_answered(A, B, ICMP, secs(10)).expect("the peer is not shut out");
    assert!(took < secs(1), "{took:?}");
}

#[test]
fn the_filter_holds() {
    let mut net = Tailnet::new(6, 3);
    net.world.log_datagrams = false;
    let c = NodeIx(2);
    let from_a = [net.address(A, true), net.address(A, false)];
    let ports = netmap::PortRange { first: 80, last: 89 };
    let allow = from_a.map(|ip| Allow { from: ip.into(), ports }).to_vec();
    net.set_policy(B, Policy { allow, ..Policy::closed() });
    let send = |net: &mut Tailnet, from: NodeIx, src: IpAddr, ports: (u16, u16)| {
        let dst = net.behind(B, src.is_ipv4());
        net.world.send_host(from, &udp(src, dst, ports, b"hello"));
        net.world.run_for(secs(2));
        net.world.take_host(B).len()
    };
    for v4 in [true, false] {
        let a = net.address(A, v4);
        assert_eq!(send(&mut net, A, a, (5, 80)), 1);
        assert_eq!(send(&mut net, A, a, (5, 90)), 0, "another port");
        let own = net.address(c, v4);
        assert_eq!(send(&mut net, c, own, (5, 80)), 0, "another node");
        assert_eq!(send(&mut net, c, a, (5, 80)), 0, "another node with a's address");
        let behind = net.behind(A, v4);
        assert_eq!(send(&mut net, A, behind, (5, 80)), 0, "a machine behind a");
        // B asks, so c may answer on that flow and no other.
        let (b, there) = (net.behind(B, v4), net.behind(c, v4));
        net.world.send_host(B, &udp(b, there, (1000, 53), b"question"));
        net.world.run_for(secs(2));
        assert_eq!(net.world.take_host(c).len(), 1);
        assert_eq!(send(&mut net, c, there, (53, 1000)), 1);
        assert_eq!(send(&mut net, c, there, (53, 1001)), 0);
    }
    assert!(net.world.node(B).dropped(DropReason::Acl) > 0);
    assert!(net.world.node(B).dropped(DropReason::BadSource) > 0);
    net.set_policy(B, Policy { shields_up: true, ..Policy::open() });
    let a = net.address(A, true);
    assert_eq!(send(&mut net, A, a, (5, 80)), 0, "shields up");
    assert!(net.ping_until_answered(A, B, ICMP, secs(3)).is_err());
    net.ping_until_answered(A, B, WAYS[0], secs(3)).expect("TSMP is answered before the filter");
}

#[test]
fn a_stopped_node_says_nothing() {
    let mut net = Tailnet::new(7, 2);
    net.world.log_datagrams = false;
    net.ping_until_answered(A, B, ICMP, secs(5)).expect("answered");
    net.set_policy(B, Policy { running: false, ..Policy::open() });
    let before = net.world.node(B).witness.sent;
    for way in WAYS {
        assert!(net.ping_until_answered(A, B, way, secs(60)).is_err());
    }
    net.ping(B, A, ICMP);
    let (src, dst) = (net.behind(B, true), net.behind(A, true));
    net.world.send_host(B, &udp(src, dst, (1, 2), b"leak"));
    net.world.run_for(secs(200));
    assert_eq!(net.world.node(B).witness.sent, before);
    assert!(net.world.take_host(A).is_empty() && net.world.take_host(B).is_empty());
    net.set_policy(B, Policy::open());
    net.ping_until_answered(A, B, ICMP, secs(10)).expect("answered");
    assert!(net.world.take_host(A).is_empty(), "nothing that was said while it was stopped");
}

#[test]
fn no_destination_is_ever_multicast_or_link_local() {
    let mut net = Tailnet::new(8, 2);
    // An exit node: every address is routed to b.
    let mut node = net.describe(B);
    node.allowed_ips = ["0.0.0.0/0", "::/0"].map(|net| net.parse().expect("a prefix")).into();
    net.world.join(B, node);
    net.world.run_for(secs(1));
    for (src, dst) in
        [("100.64.0.1", "224.0.0.251"), ("100.64.0.1", "169.254.1.1"), ("fd7a:115c:a1e0::1", "ff02::1")]
    {
        let [src, dst] = [src, dst].map(|ip| ip.parse().expect("an address"));
        net.world.send_host(A, &udp(src, dst, (5353, 5353), b"anybody?"));
    }
    net.world.run_for(secs(10));
    assert_eq!(net.sent(), 0);
    let node = net.world.node(A);
    assert_eq!((node.dropped(DropReason::Multicast), node.dropped(DropReason::LinkLocal)), (2, 1));
}
