//! What happens to sessions in time: renewal, keepalives, silence, clocks, the end.

use super::super::peer::Peer;
use super::world::{PEER, World, private};
use std::time::Duration;

fn up() -> World {
    let mut w = World::new();
    w.send(0, b"hello");
    w.run(100);
    w.send(1, b"hello yourself");
    w.run(100);
    w
}

#[test]
fn the_initiator_renews_while_it_sends_and_nothing_is_lost() {
    let mut w = up();
    let start = w.ms();
    for i in 0..4000u32 {
        w.send((i % 2) as usize, &i.to_be_bytes());
        w.run(100);
    }
    let renewals = w.times(0, 1, start);
    assert!((120_000..126_000).contains(&(renewals[0] - 1040)), "{renewals:?}");
    assert_eq!(renewals.len(), 3, "{renewals:?}");
    assert!(w.times(1, 1, 0).is_empty(), "the responder does not");
    assert_eq!(w.nodes[1].got.len(), 1 + 2000);
    assert_eq!(w.nodes[0].got.len(), 1 + 2000);
}

#[test]
fn an_initiator_that_only_receives_renews_late() {
    let mut w = up();
    let start = w.ms();
    // Its keepalives are sending too; so it must be kept from them to see the other rule.
    w.lose = Box::new(|_| false);
    for _ in 0..1720 {
        w.send(1, b"stream");
        w.nodes[0].activity.sent = None;
        w.nodes[0].activity.sent_data = None;
        w.run(100);
    }
    let renewals = w.times(0, 1, start);
    assert!((165_000..171_500).contains(&(renewals[0] - 1040)), "{renewals:?}");
}

#[test]
fn a_keepalive_follows_unanswered_data() {
    for offset in (0..10_000).step_by(700) {
        let mut w = up();
        w.run(offset);
        let start = w.ms();
        w.send(0, b"fire and forget");
        w.run(16_500);
        let keepalives = w.times(1, 4, start);
        assert_eq!(keepalives.len(), 1, "{keepalives:?} {offset}");
        let after = keepalives[0] - start - 20;
        assert!((7_900..=10_001).contains(&after), "{after} ms after, offset {offset}");
        assert!(w.times(0, 1, start).is_empty(), "no handshake: the keepalive is an answer");
    }
}

#[test]
fn a_stream_one_way_is_acknowledged_in_time() {
    let mut w = up();
    let start = w.ms();
    for _ in 0..1000 {
        w.send(0, b"stream");
        w.run(100);
    }
    let keepalives = w.times(1, 4, start);
    assert!((7..=14).contains(&keepalives.len()), "{keepalives:?}");
    assert!(keepalives.windows(2).all(|w| w[1] - w[0] < 14_500), "{keepalives:?}");
    assert!(w.times(0, 1, start).is_empty() && w.times(1, 1, start).is_empty());
}

#[test]
fn silence_after_data_starts_a_handshake() {
    for every in [200, 100_000] {
        let mut w = up();
        w.run(3000);
        let start = w.ms();
        w.lose = Box::new(move |m| m.from == 1 && m.at < start + 30_000);
        for _ in 0..(26_000 / every).max(1) {
            w.send(0, b"anybody?");
            w.run(every.min(26_000));
        }
        let tries = w.times(0, 1, start);
        assert!((15_000..21_000).contains(&(tries[0] - start)), "{tries:?} every {every}");
        w.run(30_000);
        w.both_ways();
    }
}

#[test]
fn giving_up_on_a_living_session_waits_for_new_data() {
    let mut w = up();
    w.lose = Box::new(|_| true);
    w.send(0, b"into the void");
    w.run(112_000);
    assert_eq!(w.nodes[0].gave_up, 1);
    let count = w.times(0, 1, 0).len();
    w.run(30_000);
    assert_eq!(w.times(0, 1, 0).len(), count);
}

#[test]
fn answering_ends_the_previous_session() {
    let mut w = up();
    for _ in 0..2 {
        w.run(6000);
        w.nodes[0].tunnel.want_session(PEER, w.now, w.wall_of(0));
        w.settle(0);
        w.run(100);
    }
    assert_eq!((w.nodes[0].line.len(), w.nodes[1].line.len()), (2, 2), "previous and current");
    w.lose = Box::new(|m| m.from == 1);
    w.run(6000);
    w.nodes[0].tunnel.want_session(PEER, w.now, w.wall_of(0));
    w.settle(0);
    w.run(100);
    assert_eq!(w.nodes[1].line.len(), 2, "current and next");
}

#[test]
fn idle_sessions_end_and_leave_nothing() {
    let mut w = up();
    let start = w.ms();
    w.run(500_000);
    assert!(w.times(0, 4, start + 11_000).is_empty() && w.times(1, 4, start + 11_000).is_empty());
    assert_eq!(w.nodes[0].line.len(), 1);
    w.run(50_000);
    for n in &w.nodes {
        assert_eq!(n.line.len(), 0);
        assert_eq!(n.tunnel.poll_timeout(), None);
        assert_eq!(n.tunnel.core.indices.used(), 0);
    }
    // The line would have asked for a session long before; it does so with the next packet.
    w.both_ways();
}

#[test]
fn a_wall_clock_that_steps_back_silences_nobody() {
    let mut w = up();
    for step in 0..5u64 {
        w.wall[0] -= 86_400_000_000_000 * (step + 1);
        w.run(6000);
        w.nodes[0].tunnel.want_session(PEER, w.now, w.wall_of(0));
        w.settle(0);
        w.run(100);
        assert_eq!(w.nodes[0].established.len() as u64, step + 2, "{:?}", w.nodes[1].refused);
    }
    w.both_ways();
}

#[test]
fn a_suspended_machine_comes_back() {
    let mut w = up();
    w.now = w.now + Duration::from_secs(3600);
    w.run(10);
    assert_eq!(w.nodes[0].line.len(), 0, "retired at once");
    w.both_ways();
    // In the middle of a row of attempts.
    w.lose = Box::new(|_| true);
    w.nodes[0].line.tx = None;
    w.run(6000);
    w.send(0, b"lost");
    w.now = w.now + Duration::from_secs(3600);
    w.run(10);
    assert_eq!(w.nodes[0].gave_up, 1);
    w.lose = Box::new(|_| false);
    w.both_ways();
}

#[test]
fn a_restarted_peer_is_reached_at_once() {
    let mut w = up();
    w.run(11_000);
    // Node 1 restarts with its clock in 1970.
    let mut fresh = World::new();
    fresh.wall[1] = 0;
    std::mem::swap(&mut w.nodes[1], &mut fresh.nodes[1]);
    w.wall[1] = 0;
    let old = w.nodes[0].tunnel.session_state(PEER).expect("known").last_handshake;
    w.nodes[0].tunnel.reset_peer(PEER, w.now, w.wall_of(0));
    w.settle(0);
    assert_eq!(w.nodes[0].line.len(), 0);
    assert_eq!(w.nodes[0].tunnel.session_state(PEER).expect("known").last_handshake, old);
    w.send(1, b"born again");
    w.run(100);
    assert!(w.nodes[0].got.last().expect("some").starts_with(b"born again"));
    w.both_ways();
}

#[test]
fn news_of_a_restart_may_be_slower_than_the_restarted_peer() {
    let mut w = up();
    w.nodes[0].tunnel.reset_peer(PEER, w.now, w.wall_of(0));
    w.settle(0);
    // Not a packet is lost, and the handshake beside it leaves both with a session.
    w.send(0, b"at once");
    w.send(1, b"at once, too");
    w.run(100);
    assert!(w.nodes[1].got.last().expect("some").starts_with(b"at once"));
    assert!(w.nodes[0].got.last().expect("some").starts_with(b"at once, too"));
    w.both_ways();
    // And if the young session was with the process that is gone, the handshake makes another.
    let mut fresh = World::new();
    fresh.wall[1] = 0;
    std::mem::swap(&mut w.nodes[1], &mut fresh.nodes[1]);
    w.wall[1] = 0;
    w.nodes[0].tunnel.reset_peer(PEER, w.now, w.wall_of(0));
    w.settle(0);
    w.run(100);
    w.both_ways();
}

#[test]
fn reset_goes_on_with_an_attempt_under_way() {
    let mut w = World::new();
    w.lose = Box::new(|_| true);
    w.send(0, b"staged");
    w.run(10_000);
    w.lose = Box::new(|_| false);
    w.nodes[0].tunnel.reset_peer(PEER, w.now, w.wall_of(0));
    w.settle(0);
    w.run(100);
    assert!(w.nodes[1].got[0].starts_with(b"staged"));
}

#[test]
fn removal_and_a_new_private_key_end_everything() {
    let mut w = up();
    w.nodes[0].tunnel.remove_peer(PEER);
    w.settle(0);
    assert_eq!(w.nodes[0].line.len(), 0);
    assert_eq!(w.nodes[0].tunnel.poll_timeout(), None);
    assert_eq!(w.nodes[0].tunnel.core.indices.used(), 0);

    w.nodes[1].tunnel.set_private_key(&private(0x50));
    w.settle(1);
    assert_eq!(w.nodes[1].line.len(), 1, "the same key changes nothing");
    w.nodes[1].tunnel.set_private_key(&private(0x58));
    w.settle(1);
    assert_eq!(w.nodes[1].line.len(), 0);
    w.nodes[0].tunnel.add_peer(PEER, private(0x58).public());
    w.both_ways();
}

#[test]
fn peers_may_change_places() {
    let mut w = up();
    w.nodes[0].tunnel.add_peer(PEER, private(0x50).public());
    w.settle(0);
    assert_eq!(w.nodes[0].line.len(), 1, "the same peer again");
    let elsewhere = crate::slot::PeerSlot::new(9, 0);
    w.nodes[0].tunnel.add_peer(elsewhere, private(0x50).public());
    w.settle(0);
    assert_eq!(w.nodes[0].line.len(), 0);
    assert_eq!(w.nodes[0].tunnel.session_state(PEER), None);
    w.nodes[0].tunnel.add_peer(PEER, private(0x50).public());
    assert_eq!(w.nodes[0].tunnel.session_state(elsewhere), None);
    w.both_ways();
}

#[test]
fn an_idle_peer_is_small() {
    let entry = size_of::<Option<Peer>>();
    // Tables have up to an eighth more places than peers; the one of keys is at least three eighths full.
    let in_tables = entry * 9 / 8 + size_of::<[u32; 8]>() / 3;
    assert!(in_tables <= 104, "{in_tables}");
}
