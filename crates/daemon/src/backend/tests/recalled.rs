//! The map of the last run: what it is good for, and when it ends. A build without the feature puts none in force.

use super::*;
use crate::parts::cachenetmap;

/// A node that was restarted and has the map of its last run, with peers 2 and 3.
fn recalled() -> Option<Fixture> {
    cachenetmap::FEATURE?;
    let mut node = Fixture::running().restarted();
    let mut map = NetMap::default();
    map.self_node = super::node(1);
    let regions = first_map().delta.derp_map.and_then(|delta| delta.regions);
    map.derp_map.regions = regions.unwrap_or_default();
    map.users = [(UserId(99), UserProfile { id: UserId(99), ..UserProfile::default() })].into();
    for id in [2, 3] {
        map.upsert_peer(super::node(id), &mut ::netmap::Changes::default());
    }
    let now = node.now;
    node.backend.recall(map, RegionId(1), now);
    Some(node)
}

#[test]
fn it_is_in_force_before_control_answers() {
    let Some(mut node) = recalled() else { return };
    let told = node.input(Input::Start);
    assert!(
        told.contains(&"sync all".to_owned()) && told.contains(&"login key=- new=false".to_owned()),
        "{told:?}"
    );
    assert_eq!(node.backend.state(), State::Starting);
    assert_eq!(node.backend.home(), RegionId(1));
    node.relay_up();
    assert_eq!(node.backend.state(), State::Running);
    assert!(node.backend.peer_config(NodeId(2), node.now).is_some());
    // That control is silent is said all the same.
    node.pass(6);
    assert!(node.health().iter().any(|text| text.contains("no answer yet")), "{:?}", node.health());
}

#[test]
fn the_first_map_of_control_replaces_it_whole() {
    let Some(mut node) = recalled() else { return };
    node.input(Input::Start);
    node.relay_up();
    node.control(registered(1));
    node.control(Event::MapUp);
    let told = node.map(first_map(), &[3, 4]);
    assert!(told.contains(&"sync all".to_owned()) && told.contains(&"configure".to_owned()), "{told:?}");
    let map = node.backend.netmap().expect("a map");
    assert_eq!(map.peers().map(|peer| peer.id.0).collect::<Vec<_>>(), [3, 4]);
    assert_eq!(map.users.keys().map(|id| id.0).collect::<Vec<_>>(), [7]);
    assert!(!node.backend.cache_mark().holds());
    assert_eq!(node.backend.state(), State::Running);
    node.pass(6);
    assert!(node.health().is_empty(), "{:?}", node.health());
}

#[test]
fn a_control_server_that_does_not_know_us_ends_it() {
    for event in [
        Event::AuthUrl("https://control.example/a".to_owned()),
        Event::LoginFailed { error: ::control::Error::Connection("no".to_owned()), retrying: false },
        Event::KeyExpired,
    ] {
        let Some(mut node) = recalled() else { return };
        node.input(Input::Start);
        node.relay_up();
        let told = node.control(event);
        assert_eq!(node.backend.state(), State::NeedsLogin, "{told:?}");
        assert!(node.backend.peer_config(NodeId(2), node.now).is_none());
    }
}

#[test]
fn peers_whose_keys_have_run_out_meanwhile_are_not_spoken_to() {
    let Some(mut node) = recalled() else { return };
    node.now.wall = Timestamp::from_unix(WALL + 3600);
    let mut map = NetMap::default();
    map.self_node = super::node(1);
    for (id, expiry) in [(2, WALL + 1800), (3, WALL + 5400)] {
        let peer = Node { key_expiry: Timestamp::from_unix(expiry), ..super::node(id) };
        map.upsert_peer(peer, &mut ::netmap::Changes::default());
    }
    let now = node.now;
    node.backend.recall(map, RegionId::NONE, now);
    node.input(Input::Start);
    assert!(node.backend.peer_config(NodeId(2), node.now).is_none());
    assert!(node.backend.peer_config(NodeId(3), node.now).is_some());
    assert!(node.backend.poll_timeout(node.now).is_some(), "the other one runs out later");
}
