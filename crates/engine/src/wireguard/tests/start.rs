//! How sessions begin: handshake, retries, giving up, both at once, cookies.

use super::super::message::Initiation;
use super::super::timers::TURN_INITIATIONS;
use super::super::{Action, Activity, SessionState, Tunnel};
use super::world::{PEER, TODAY, World, private};
use crate::slot::PeerSlot;
use crate::time::{Mono, Wall};
use keys::NodePublic;

#[test]
fn first_packet_takes_one_round_trip() {
    let mut w = World::new();
    w.send(0, b"hello");
    w.run(25);
    // The responder has a key, but does not send with it before the initiator has proved to have it too.
    assert_eq!(w.nodes[1].line.len(), 1);
    assert_eq!(w.nodes[1].line.tx, None);
    w.run(60);
    assert!(w.nodes[1].got[0].starts_with(b"hello"));
    assert!(w.nodes[1].line.tx.is_some());
    assert_eq!(w.nodes[0].established, [1040]);
    assert_eq!(w.nodes[1].established, [1060]);
    // One initiation, the staged packet, and the keepalive that confirms the session when nothing is staged.
    assert_eq!(w.times(0, 1, 0), [1000]);
    assert_eq!(w.times(0, 4, 0), [1040, 1040]);
    let state = w.nodes[0].tunnel.session_state(PEER).expect("known");
    assert_eq!(state.last_handshake, Some(Mono::from_millis(1040)));
    assert!(state.current.is_some() && !state.handshaking);
    w.both_ways();
}

#[test]
fn quick_retries_until_the_first_answer_then_slow_ones() {
    let mut w = World::new();
    w.lose = Box::new(|m| m.from == 0);
    w.send(0, b"lost");
    w.run(20_000);
    let at = w.times(0, 1, 0);
    let gaps: Vec<u64> = at.windows(2).map(|w| w[1] - w[0]).collect();
    assert!(at.iter().filter(|moment| **moment <= 1000 + at[0]).count() >= 6, "{at:?}");
    for (gap, expected) in gaps.iter().zip([100, 100, 120, 120, 150, 200, 250, 500, 1000, 2000, 5000, 5000]) {
        assert!((expected..=expected + 334).contains(gap), "{gaps:?}");
    }
    w.lose = Box::new(|_| false);
    w.run(6000);
    assert_eq!(w.nodes[0].established.len(), 1);

    // It has answered once: only slow retries from here on.
    w.lose = Box::new(|m| m.from == 0);
    w.run(190_000);
    let start = w.ms();
    w.nodes[0].line.tx = None;
    w.send(0, b"lost too");
    w.run(16_000);
    let gaps: Vec<u64> = w.times(0, 1, start).windows(2).map(|w| w[1] - w[0]).collect();
    assert!(gaps.len() >= 2 && gaps.iter().all(|gap| (5000..=5334).contains(gap)), "{gaps:?}");
}

#[test]
fn gives_up_after_90_s_until_new_traffic() {
    let mut w = World::new();
    w.lose = Box::new(|_| true);
    w.send(0, b"lost");
    w.run(89_000);
    assert_eq!(w.nodes[0].gave_up, 0);
    w.run(10_000);
    assert_eq!(w.nodes[0].gave_up, 1);
    assert!(w.nodes[0].staged.is_empty());
    let count = w.times(0, 1, 0).len();
    assert_eq!(w.nodes[0].tunnel.poll_timeout(), None, "a silent peer costs nothing");
    assert_eq!(w.nodes[0].tunnel.core.indices.used(), 0);
    w.run(100_000);
    assert_eq!(w.times(0, 1, 0).len(), count);
    w.lose = Box::new(|_| false);
    w.send(0, b"again");
    w.run(100);
    assert!(w.nodes[1].got[0].starts_with(b"again"));
}

#[test]
fn a_known_path_is_tried_at_once() {
    let mut w = World::new();
    w.lose = Box::new(|_| true);
    w.send(0, b"staged");
    w.run(30_000);
    w.lose = Box::new(|_| false);
    let wall = w.wall_of(0);
    let start = w.ms();
    for _ in 0..100 {
        w.nodes[0].tunnel.path_known(PEER, w.now, wall);
        w.settle(0);
    }
    w.run(100);
    let tries = w.times(0, 1, start);
    assert!(tries[0] == start && tries.len() <= 2, "at once, and not a hundred times: {tries:?}");
    assert!(w.nodes[1].got[0].starts_with(b"staged"));
    // Without an attempt under way it means nothing.
    let count = w.sent.len();
    w.nodes[0].tunnel.path_known(PEER, w.now, wall);
    w.settle(0);
    assert_eq!(w.sent.len(), count);
}

#[test]
fn both_at_once_settle_in_one_round_trip() {
    for (a, b) in [(0x48, 0x50), (0x50, 0x48)] {
        for apart in [0, 1, 10, 19, 20, 25, 39] {
            let mut w = World::with_keys(&private(a), &private(b));
            w.send(0, b"from 0");
            w.run(apart);
            w.send(1, b"from 1");
            w.run(100);
            assert!(w.nodes[1].got[0].starts_with(b"from 0"), "{apart}");
            assert!(w.nodes[0].got[0].starts_with(b"from 1"), "{apart}");
            w.both_ways();
            let state = |i: usize| w.nodes[i].tunnel.session_state(PEER).expect("known");
            assert!(!state(0).handshaking && !state(1).handshaking);
            if apart >= 20 {
                // It had answered already, so it waited for the confirmation instead of starting its own.
                assert!(w.times(1, 1, 0).is_empty(), "{apart}");
            }
            let count = w.times(0, 1, 0).len() + w.times(1, 1, 0).len();
            w.run(200_000);
            assert_eq!(w.times(0, 1, 0).len() + w.times(1, 1, 0).len(), count, "idle");
        }
    }
}

#[test]
fn crossing_initiations_leave_one_initiator() {
    let mut w = World::new();
    w.send(0, b"from 0");
    w.send(1, b"from 1");
    w.run(1000);
    let start = w.ms();
    for _ in 0..130 {
        w.send(0, b"tick");
        w.send(1, b"tock");
        w.run(1000);
    }
    let renewals = (w.times(0, 1, start).len(), w.times(1, 1, start).len());
    assert!(matches!(renewals, (1, 0) | (0, 1)), "{renewals:?}");
}

#[test]
fn under_load_a_cookie_is_asked_for_and_shown() {
    let mut w = World::new();
    w.nodes[1].tunnel.set_load_limit(0);
    w.send(0, b"patient");
    w.run(30);
    assert_eq!(w.times(1, 3, 0), [1020]);
    assert_eq!(w.times(1, 2, 0), [] as [u64; 0]);
    w.run(1000);
    assert!(w.nodes[1].got[0].starts_with(b"patient"));
    let tries: Vec<_> = w.sent.iter().filter_map(|m| Initiation::decode(&m.bytes)).collect();
    assert_eq!(tries[0].mac2, [0; 16]);
    assert_ne!(tries[1].mac2, [0; 16]);
    assert_eq!(w.times(1, 3, 0).len(), 1);
    assert!(w.nodes[0].established[0] - 1000 < 700, "not after the slow retry");
}

#[test]
fn a_cookie_does_not_wait_for_the_slow_retry() {
    let mut w = World::new();
    w.send(0, b"x");
    w.run(200_000);
    w.nodes[1].tunnel.set_load_limit(0);
    let start = w.ms();
    w.send(0, b"answered before, so retries are slow");
    w.run(1000);
    assert_eq!(w.times(1, 3, start).len(), 1);
    assert_eq!(w.nodes[0].established.len(), 2);
}

#[test]
fn asking_again_for_a_session_just_made_does_nothing() {
    let mut w = World::new();
    w.send(0, b"x");
    w.run(100);
    for node in 0..2 {
        w.nodes[node].tunnel.want_session(PEER, w.now, w.wall_of(node));
        w.settle(node);
    }
    w.run(1000);
    assert_eq!(w.times(0, 1, 0).len() + w.times(1, 1, 0).len(), 1);
    // But a line that still has none some seconds later is right: the session is of no use.
    w.run(5000);
    w.nodes[1].tunnel.want_session(PEER, w.now, w.wall_of(1));
    w.settle(1);
    w.run(100);
    assert_eq!(w.nodes[1].established.len(), 2);
}

#[test]
fn no_load_no_cookies() {
    let mut w = World::new();
    w.send(0, b"x");
    w.run(500);
    assert!(w.times(1, 3, 0).is_empty());
}

#[test]
fn a_crowd_is_spread_over_turns() {
    let mut tunnel = Tunnel::new([1; 32]);
    tunnel.set_private_key(&private(0x48));
    let peers = 40u32;
    for i in 0..peers {
        tunnel.add_peer(PeerSlot::new(i, 0), private(i as u8 | 0x80).public());
    }
    let mut now = Mono::from_millis(5);
    for i in 0..peers {
        tunnel.want_session(PeerSlot::new(i, 0), now, Wall(TODAY));
    }
    let mut sent = 0;
    let mut turns = 0;
    while sent < peers {
        let mut this = 0;
        while let Some(action) = tunnel.poll_action() {
            assert!(matches!(action, Action::Transmit { .. }));
            this += 1;
        }
        assert!(this <= u32::from(TURN_INITIATIONS));
        sent += this;
        turns += 1;
        assert!(turns < 100 && now < Mono::from_millis(200));
        now = tunnel.poll_timeout().expect("more to do").0;
        tunnel.handle_timeout(now, Wall(TODAY), &mut |_| Activity::default());
    }
}

#[test]
fn no_key_no_peer_no_good_peer() {
    let mut tunnel = Tunnel::new([1; 32]);
    let (now, wall) = (Mono::ZERO, Wall(0));
    tunnel.add_peer(PEER, NodePublic::ZERO);
    tunnel.want_session(PEER, now, wall);
    assert!(tunnel.poll_action().is_none(), "without a private key");
    assert!(tunnel.mac1_check().is_none());
    tunnel.set_private_key(&private(7));
    for _ in 0..2 {
        tunnel.want_session(PEER, now, wall);
        assert!(matches!(tunnel.poll_action(), Some(Action::GaveUp { .. })), "small order");
    }
    tunnel.add_peer(PEER, private(7).public());
    tunnel.want_session(PEER, now, wall);
    assert!(matches!(tunnel.poll_action(), Some(Action::GaveUp { .. })), "ourselves");
    let other = PeerSlot::new(3, 2);
    tunnel.want_session(other, now, wall);
    tunnel.path_known(other, now, wall);
    tunnel.remove_peer(other);
    assert!(tunnel.poll_action().is_none());
    assert_eq!(tunnel.session_state(other), None);
    assert_eq!(tunnel.session_state(PEER), Some(SessionState::default()));
}
