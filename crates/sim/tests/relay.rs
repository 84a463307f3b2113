//! Two engines and a relay that loses, delays, repeats and reorders.

use engine::host::PingKind;
use expect_test::expect;
use sim::tailnet::WAYS;
use sim::{Link, NodeIx, Tailnet};
use std::time::Duration;

const A: NodeIx = NodeIx(0);
const B: NodeIx = NodeIx(1);
const ICMP: (PingKind, bool) = (PingKind::Icmp, true);

fn secs(n: u64) -> Duration {
    Duration::from_secs(n)
}

/// 20 % lost, 10 % twice, 20 % overtaken, up to 60 ms late.
fn rough() -> Link {
    Link {
        latency: Duration::from_millis(20),
        jitter: Duration::from_millis(60),
        loss: 200_000,
        duplicate: 100_000,
        reorder: 200_000,
        reorder_by: Duration::from_millis(120),
        mtu: 1 << 16,
        up: true,
    }
}

#[test]
fn a_good_relay_step_by_step() {
    let mut net = Tailnet::new(1, 2);
    net.world.timeline.clear();
    net.ping(A, B, ICMP).expect("begins");
    net.until(30_000);
    net.ping(B, A, (PingKind::Tsmp, false)).expect("begins");
    net.until(60_000);
    expect![[r#"
        0.115 b < region 1: initiation
        0.115 b has 1 live peers
        0.130 a < region 1: response
        0.130 a has 1 live peers
        0.145 b < region 1: data #0, 48 B
        0.145 b < region 1: keepalive
        0.160 a < region 1: data #0, 48 B
        0.160 a icmp v4 answered after 60 ms
        10.160 a < region 1: keepalive
        10.175 b < region 1: keepalive
        30.015 a < region 1: data #2, 64 B
        30.030 b < region 1: data #3, 64 B
        30.030 b tsmp v6 answered after 30 ms
        40.030 b < region 1: keepalive
        40.045 a < region 1: keepalive
    "#]]
    .assert_eq(&net.world.timeline.render());
}

#[test]
fn every_ping_is_answered_when_retried() {
    for seed in 1..=4 {
        let mut net = Tailnet::new(seed, 2);
        net.world.log_datagrams = false;
        net.relay().link = rough();
        for round in 0..10 {
            for (from, to) in [(A, B), (B, A)] {
                for way in WAYS {
                    let took = net.ping_until_answered(from, to, way, secs(30));
                    assert!(took.is_ok(), "seed {seed}, round {round}, {way:?}");
                }
            }
            net.world.run_for(secs(7));
        }
        let stats = net.relay().stats(A, B);
        assert!(stats.lost > 0 && stats.duplicated > 0 && stats.reordered > 0, "{stats:?}");
    }
}

#[test]
fn handshake_under_heavy_loss() {
    let mut times = Vec::new();
    for seed in 1..=30 {
        let mut net = Tailnet::new(seed, 2);
        net.world.log_datagrams = false;
        net.relay().link = Link { loss: 500_000, ..rough() };
        times.push(net.ping_until_answered(A, B, ICMP, secs(120)).expect("half of all gets through"));
    }
    times.sort();
    // Four messages in a row must pass; each early try has one chance in four to make a session.
    assert!(times[15] < secs(5), "median {:?}", times[15]);
    assert!(times[29] < secs(60), "worst {:?}", times[29]);
}

#[test]
fn renewal_while_packets_overtake_each_other() {
    let mut net = Tailnet::new(3, 2);
    net.world.log_datagrams = false;
    net.relay().link = Link { loss: 0, ..rough() };
    let first = net.ping_until_answered(A, B, ICMP, secs(5)).expect("no loss");
    assert!(first < secs(1), "{first:?}");
    // Three pings a second for more than eight minutes: not one may be lost to a change of keys.
    let mut asked = Vec::new();
    for n in 0..1500 {
        let (from, to) = if n % 2 == 0 { (A, B) } else { (B, A) };
        asked.push((from, net.ping(from, to, WAYS[n % 4]).expect("begins")));
        net.world.run_for(Duration::from_millis(333));
    }
    net.world.run_for(secs(5));
    for (n, (from, id)) in asked.iter().enumerate() {
        assert!(net.world.node(*from).is_answered(*id), "ping {n}");
    }
    let sessions = [A, B].map(|ix| net.world.node(ix).witness.sessions());
    assert!(sessions.iter().all(|n| (4..=5).contains(n)), "renewed every 120 to 125 s: {sessions:?}");
}

#[test]
fn renewal_step_by_step() {
    let mut net = Tailnet::new(1, 2);
    net.ping_until_answered(A, B, ICMP, secs(5)).expect("answered");
    net.until(119_000);
    net.world.timeline.clear();
    for _ in 0..3 {
        net.ping(A, B, ICMP).expect("begins");
        net.world.run_for(secs(4));
    }
    expect![[r#"
        119.015 b < region 1: data #3, 48 B
        119.030 a < region 1: data #2, 48 B
        119.030 a icmp v4 answered after 30 ms
        123.015 b < region 1: data #4, 48 B
        123.030 a < region 1: data #3, 48 B
        123.030 a icmp v4 answered after 30 ms
        125.175 b < region 1: initiation
        125.190 a < region 1: response
        125.205 b < region 1: keepalive
        127.015 b < region 1: data #1, 48 B
        127.030 a < region 1: data #0, 48 B
        127.030 a icmp v4 answered after 30 ms
    "#]]
    .assert_eq(&net.world.timeline.render());
}

#[test]
fn relay_outage_and_return() {
    let mut net = Tailnet::new(5, 2);
    net.world.log_datagrams = false;
    net.ping_until_answered(A, B, ICMP, secs(5)).expect("answered");
    net.relay().set_up(false);
    // Somebody tries all the time, from one side only.
    assert!(net.ping_until_answered(A, B, ICMP, secs(300)).is_err());
    let during = net.world.node(A).witness.sent;
    assert!(during.initiations <= 60, "{during:?}: one every five seconds at most");
    net.relay().set_up(true);
    let took = net.ping_until_answered(A, B, ICMP, secs(30)).expect("it is back");
    assert!(took <= secs(7), "{took:?}: the next retry, five seconds and a little apart");
    let back = net.ping_until_answered(B, A, ICMP, secs(5)).expect("and the other way");
    assert!(back < secs(1), "{back:?}");
}

#[test]
fn a_short_outage_costs_nothing_but_itself() {
    let mut net = Tailnet::new(6, 2);
    net.ping_until_answered(A, B, ICMP, secs(5)).expect("answered");
    net.until(5000);
    net.world.timeline.clear();
    net.relay().set_up(false);
    net.ping(A, B, ICMP).expect("begins");
    net.world.run_for(secs(3));
    net.relay().set_up(true);
    net.ping(A, B, ICMP).expect("begins");
    net.world.run_for(secs(40));
    expect![[r#"
        8.015 b < region 1: data #3, 48 B
        8.030 a < region 1: data #1, 48 B
        8.030 a icmp v4 answered after 30 ms
        10.000 a ping timed out
        18.030 a < region 1: keepalive
        18.045 b < region 1: keepalive
    "#]]
    .assert_eq(&net.world.timeline.render());
}
