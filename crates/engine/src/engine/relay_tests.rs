//! Which relays two nodes speak by that have different ones.

use super::path_tests::Pair;
use super::{Engine, PeerConfig};
use crate::time::{Mono, Wall};
use keys::NodePublic;
use netmap::RegionId;

/// The relay of the first node, and of the second.
const ITS: RegionId = RegionId(1);
const OURS: RegionId = RegionId(2);

/// Two nodes with a relay each that is open, and no UDP between them. The first has called the second by its relay.
fn called() -> Pair {
    let mut pair = Pair::new([false; 2]);
    pair.udp = [false; 2];
    let us = PeerConfig { home_derp: OURS, ..pair.nodes[1].config(2, false) };
    pair.nodes[0].engine.set_peer(us, pair.now, Wall(pair.now.as_nanos()));
    pair.nodes[0].engine.relay_up(ITS);
    pair.nodes[1].engine.relay_up(OURS);
    pair.say(0);
    // The first connects to our relay to do so.
    pair.nodes[0].engine.relay_up(OURS);
    pair.run(1000);
    pair
}

fn received(engine: &mut Engine, now: Mono) -> u64 {
    engine.peer_view(netmap::NodeId(2), now).expect("known").rx_bytes
}

/// What the second node says next: the relays that it uses. What the first says to that comes by ours.
fn answer(pair: &mut Pair) -> Vec<u16> {
    pair.used = Default::default();
    pair.say(1);
    let used = pair.used[1].iter().copied().collect();
    pair.run(1000);
    used
}

#[test]
fn who_calls_by_our_relay_is_answered_there() {
    let mut pair = called();
    assert_eq!(pair.used[1].iter().copied().collect::<Vec<_>>(), [OURS.0], "handshake and disco");
    let now = pair.now;
    let before = received(&mut pair.nodes[0].engine, now);
    assert_eq!(answer(&mut pair), [OURS.0]);
    assert!(received(&mut pair.nodes[0].engine, now) > before, "data comes back");
    // Its home is open for some other reason.
    pair.nodes[1].engine.relay_up(ITS);
    assert_eq!(answer(&mut pair), [ITS.0]);
    pair.nodes[1].engine.relay_down(ITS);
    pair.say(0);
    pair.run(1000);
    assert_eq!(answer(&mut pair), [OURS.0]);
}

#[test]
fn a_way_back_that_has_gone_is_not_taken() {
    for case in 0..4 {
        let mut pair = called();
        let (key, stranger) = (pair.nodes[0].key.public(), NodePublic::from_bytes([1; 32]));
        let engine = &mut pair.nodes[1].engine;
        match case {
            0 => engine.peer_gone(OURS, &key),
            1 => {
                engine.relay_down(OURS);
                engine.relay_up(OURS);
            }
            // It is another that has gone, or gone from elsewhere.
            2 => engine.peer_gone(OURS, &stranger),
            _ => engine.peer_gone(ITS, &key),
        }
        let expected = if case < 2 { ITS } else { OURS };
        assert_eq!(answer(&mut pair), [expected.0], "case {case}");
    }
}

#[test]
fn a_peer_without_a_home_keeps_the_only_way_there_is() {
    let mut pair = called();
    let homeless = PeerConfig { home_derp: RegionId::NONE, ..pair.nodes[0].config(1, false) };
    let (key, now) = (pair.nodes[0].key.public(), pair.now);
    let engine = &mut pair.nodes[1].engine;
    engine.set_peer(homeless, now, Wall(now.as_nanos()));
    engine.peer_gone(OURS, &key);
    engine.relay_down(OURS);
    assert_eq!(answer(&mut pair), [OURS.0]);
}
