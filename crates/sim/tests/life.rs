//! Restarts, late news from control, and clocks that jump.

use engine::host::PingKind;
use engine::time::Wall;
use expect_test::expect;
use sim::tailnet::WAYS;
use sim::{NodeIx, Tailnet};
use std::time::Duration;

const A: NodeIx = NodeIx(0);
const B: NodeIx = NodeIx(1);
const ICMP: (PingKind, bool) = (PingKind::Icmp, true);
const YEAR: u64 = 365 * 86_400 * 1_000_000_000;

fn secs(n: u64) -> Duration {
    Duration::from_secs(n)
}

fn connected(seed: u64) -> Tailnet {
    let mut net = Tailnet::new(seed, 2);
    net.world.log_datagrams = false;
    net.ping_until_answered(A, B, ICMP, secs(5)).expect("answered");
    net.world.run_for(secs(20));
    net
}

#[test]
fn a_restart_that_control_tells_of_at_once() {
    let mut net = connected(1);
    net.world.log_datagrams = true;
    net.world.timeline.clear();
    net.restart(B);
    net.world.run_for(Duration::from_millis(50));
    let took = net.ping_until_answered(A, B, ICMP, secs(10)).expect("answered");
    assert!(took < secs(1), "{took:?}");
    expect![[r#"
        20.160 b restarted
        20.180 b hears of 1 peers
        20.180 a hears of b
        20.180 a has 0 live peers
        20.225 b < region 1: initiation
        20.225 b has 1 live peers
        20.240 a < region 1: response
        20.240 a has 1 live peers
        20.255 b < region 1: data #0, 48 B
        20.255 b < region 1: keepalive
        20.270 a < region 1: data #0, 48 B
        20.270 a icmp v4 answered after 60 ms
    "#]]
    .assert_eq(&net.world.timeline.render());
    net.restart(B);
    let took = net.ping_until_answered(B, A, ICMP, secs(10)).expect("answered");
    assert!(took <= secs(2), "{took:?}: by the one that restarted");
}

#[test]
fn a_restart_that_the_other_hears_of_late() {
    for (asks, asked) in [(A, B), (B, A)] {
        let mut net = connected(2);
        net.world.set_control_lag_of(A, Some(secs(600)));
        net.restart(B);
        let took = net.ping_until_answered(asks, asked, ICMP, secs(60)).expect("answered");
        // The one with the dead session notices after 15 s of silence and a jitter; the other begins at once.
        let limit = if asks == A { secs(22) } else { secs(2) };
        assert!(took < limit, "{took:?}");
        // When the news comes, there is a short pause at most.
        net.world.run_for(secs(580));
        for _ in 0..20 {
            let took = net.ping_until_answered(asks, asked, ICMP, secs(30)).expect("answered");
            assert!(took < secs(23), "{took:?}");
            net.world.run_for(secs(3));
        }
    }
}

#[test]
fn one_side_learns_of_the_other_late() {
    let mut net = Tailnet::new(3, 0);
    net.add("a", sim::Policy::open());
    net.world.run_for(secs(1));
    net.world.set_control_lag_of(A, Some(secs(12)));
    net.add("b", sim::Policy::open());
    net.world.run_for(secs(1));
    net.world.timeline.clear();
    let took = net.ping_until_answered(B, A, ICMP, secs(60)).expect("answered");
    assert!(took < secs(18), "{took:?}: a retry after a knows b");
    assert!(
        net.world.node(A).dropped(engine::drop::DropReason::UnknownPeer) > 0,
        "a did not know b at first"
    );
    // The first that pings from the side that hears late, with packets that already wait, has it at once.
    let took = net.ping_until_answered(A, B, ICMP, secs(60)).expect("answered");
    assert!(took < secs(1), "{took:?}");
}

#[test]
fn wall_clocks_jump_by_fifty_years() {
    for jump in [-50i64, 50] {
        for who in [A, B] {
            let mut net = connected(4);
            // Again and again, so that initiations of both sides meet both of its clocks.
            for round in 0..4 {
                let at = net.world.moment(who).wall;
                let there = if round % 2 == 0 { jump } else { -jump };
                let wall = at.0.saturating_add_signed(there * YEAR as i64);
                net.world.set_wall_of(who, Wall(wall));
                for (from, to) in [(A, B), (B, A)] {
                    // Long enough that the session has ended and this side begins the next.
                    net.world.run_for(secs(600));
                    for way in WAYS {
                        let took = net.ping_until_answered(from, to, way, secs(10)).expect("answered");
                        assert!(took < secs(1), "{jump} years, {who:?}, round {round}: {took:?}");
                    }
                }
            }
        }
    }
}

#[test]
fn born_in_1970() {
    let mut net = connected(5);
    net.world.set_wall_of(B, Wall(0));
    net.restart(B);
    net.world.run_for(secs(1));
    let took = net.ping_until_answered(B, A, ICMP, secs(10)).expect("answered");
    assert!(took < secs(1), "{took:?}: a new disco key makes the old timestamps void");
    // Then control corrects the clock.
    net.world.set_wall_of(B, net.world.moment(A).wall);
    net.world.run_for(secs(600));
    let took = net.ping_until_answered(B, A, ICMP, secs(10)).expect("answered");
    assert!(took < secs(1), "{took:?}");
}

#[test]
fn control_is_away() {
    let mut net = connected(6);
    net.world.set_control_silent(true);
    net.world.run_for(secs(1000));
    for way in WAYS {
        let took = net.ping_until_answered(B, A, way, secs(10)).expect("the last map is in force");
        assert!(took < secs(1), "{took:?}");
    }
    net.world.set_control_silent(false);
    net.world.run_for(secs(1));
    let took = net.ping_until_answered(A, B, ICMP, secs(10)).expect("answered");
    assert!(took < secs(1), "{took:?}: nothing is torn down by being told the same again");
    let sessions = net.world.node(A).witness.sessions();
    assert_eq!(sessions, 2, "one at first and one after the pause");
}

#[test]
fn a_removed_peer_is_a_stranger() {
    let mut net = connected(7);
    net.world.leave(B);
    net.world.run_for(secs(1));
    let before = net.world.node(A).witness.sent;
    assert!(net.ping_until_answered(B, A, ICMP, secs(200)).is_err());
    assert_eq!(net.world.node(A).witness.sent, before, "not a single answer");
    net.world.join(B, net.describe(B));
    net.ping_until_answered(B, A, ICMP, secs(10)).expect("answered");
}
