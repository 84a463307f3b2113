//! The choice of the home relay, and its health.

use super::*;
use std::collections::BTreeMap;

fn measured(times: &[(u16, u64)]) -> Input {
    let times = times.iter().map(|(id, ms)| (RegionId(*id), Duration::from_millis(*ms)));
    Input::Relay(derp::Event::HomeMeasured(times.collect::<BTreeMap<_, _>>()))
}

/// A node whose map has three regions.
fn three() -> Fixture {
    let mut node = Fixture::running();
    let told = node.map(map_with_regions(&[1, 2, 3]), &[2, 3]);
    assert!(told.contains(&"measure".to_owned()), "{told:?}");
    node
}

#[test]
fn one_region_needs_no_measuring() {
    let node = Fixture::running();
    assert_eq!(node.backend.home(), RegionId(1));
}

#[test]
fn home_is_the_nearest_and_stays_unless_another_is_clearly_nearer() {
    let mut node = three();
    node.input(measured(&[(1, 200), (2, 50), (3, 90)]));
    assert_eq!(node.backend.home(), RegionId(2));
    // Not nearer by a third, or by less than 10 ms: no change, nothing to do.
    assert_eq!(node.input(measured(&[(2, 50), (3, 40)])), [""; 0]);
    assert_eq!(node.input(measured(&[(2, 12), (3, 4)])), [""; 0]);
    let told = node.input(measured(&[(2, 50), (3, 20)]));
    assert!(told.contains(&"relays".to_owned()) && told.contains(&"report".to_owned()), "{told:?}");
    assert_eq!(node.backend.home(), RegionId(3));
    // A home that no longer answers is left for one that does; without any answer it stays.
    node.input(measured(&[(1, 300)]));
    assert_eq!(node.backend.home(), RegionId(1));
    node.input(measured(&[]));
    assert_eq!(node.backend.home(), RegionId(1));
}

#[test]
fn a_node_without_any_answer_has_a_home_all_the_same() {
    let mut node = Fixture::new();
    node.input(Input::Start);
    node.start("k", |_| {});
    node.control(registered(1));
    node.control(Event::MapUp);
    node.map(map_with_regions(&[4, 5]), &[]);
    assert_eq!(node.backend.home(), RegionId::NONE);
    node.input(measured(&[]));
    assert_eq!(node.backend.home(), RegionId(4));
}

#[test]
fn a_connection_that_could_not_be_made_takes_nothing_away() {
    let mut node = Fixture::running();
    let error = "connection refused".to_owned();
    node.input(Input::Relay(derp::Event::Disconnected { region: RegionId(9), error, home: false }));
    node.pass(60);
    assert!(node.health().is_empty(), "{:?}", node.health());
    node.want_running(false);
    node.want_running(true);
    assert_eq!(node.backend.state(), State::Running, "the relay is still there");
}

#[test]
fn a_lost_home_is_told_after_ten_seconds() {
    let mut node = Fixture::running();
    let error = "relay closed the connection".to_owned();
    node.input(Input::Relay(derp::Event::Disconnected { region: RegionId(1), error, home: true }));
    node.pass(9);
    assert!(node.health().is_empty());
    assert_eq!(seen(&node.pass(2)), ["> health [\"no-derp-connection\"]"]);
    assert!(node.health().iter().any(|text| text.contains("relay server 'r1'")), "{:?}", node.health());
    assert_eq!(seen(&node.relay_up()), ["> health []"]);
    assert_eq!(node.backend.state(), State::Running);
}

#[test]
fn what_the_home_relay_says_of_itself() {
    let mut node = Fixture::running();
    let says = |region, text: &str| {
        Input::Relay(derp::Event::Health { region: RegionId(region), text: text.to_owned() })
    };
    assert_eq!(node.input(says(8, "full")), [""; 0], "not ours");
    node.input(says(1, "full"));
    assert_eq!(node.health(), ["The relay server 'r1' reports a problem: full"]);
    node.input(says(1, ""));
    assert!(node.health().is_empty());
}
