//! Keys that run out.

use super::*;

fn expiring(seconds: i64) -> MapMessage {
    let mut message = first_map();
    if let Some(own) = &mut message.delta.self_node {
        own.key_expiry = Timestamp::from_unix(WALL + seconds);
    }
    message
}

#[test]
fn a_key_expires_when_control_says_so() {
    let mut node = Fixture::running();
    let own = Node { expired: true, ..super::node(1) };
    let told = node.map(delta(Delta { self_node: Some(own), ..Delta::default() }), &[]);
    assert_eq!(seen(&told), ["> self 1", "> NeedsLogin"]);
    assert!(!node.backend.self_config().running);
    // Extended by an admin, it runs again by itself.
    let told = node.map(delta(Delta { self_node: Some(super::node(1)), ..Delta::default() }), &[]);
    assert!(seen(&told).contains(&"> Starting"), "{told:?}");
}

#[test]
fn a_key_expires_when_its_time_has_come() {
    let mut node = Fixture::running();
    node.map(expiring(3600), &[]);
    let told = node.pass(3500);
    assert_eq!(seen(&told), [""; 0]);
    let told = node.pass(200);
    assert_eq!(seen(&told), ["> NeedsLogin"]);
    // The user logs in again: with a new key, without asking control about the old one.
    let (_, told) = node.ask(Command::LoginInteractive);
    assert!(told.contains(&"login key=- new=true".to_owned()), "{told:?}");
}

#[test]
fn a_clock_that_is_fifty_years_ahead_expires_nothing() {
    let mut node = Fixture::running().restarted();
    node.now.wall = Timestamp::from_unix(WALL + 50 * 365 * 86_400);
    node.input(Input::Start);
    node.control(registered(1));
    node.control(Event::MapUp);
    let mut message = expiring(3600);
    message.control_time = Some(Timestamp::from_unix(WALL));
    let told = node.map(message, &[]);
    assert!(told.contains(&"control time".to_owned()));
    assert_eq!(node.backend.state(), State::Starting, "{told:?}");
}

#[test]
fn control_that_refuses_the_key_gets_a_new_one_registered() {
    let mut node = Fixture::running();
    let told = node.control(Event::KeyExpired);
    assert_eq!(seen(&told), ["> NeedsLogin"]);
    let told = node.control(registered(9));
    assert!(told.contains(&"configure".to_owned()) && told.contains(&"relays".to_owned()), "{told:?}");
    assert_eq!(node.persist().private_node_key.public(), key(9).public());
    assert!(seen(&told).contains(&"> Starting"), "{told:?}");
}

#[test]
fn a_machine_that_waits_for_an_admin() {
    let mut node = Fixture::running();
    let own = Node { machine_authorized: false, ..super::node(1) };
    let told = node.map(delta(Delta { self_node: Some(own), ..Delta::default() }), &[]);
    assert!(seen(&told).contains(&"> NeedsMachineAuth"), "{told:?}");
    let told = node.map(delta(Delta { self_node: Some(super::node(1)), ..Delta::default() }), &[]);
    assert!(seen(&told).contains(&"> Starting"), "{told:?}");
}

/// Control says when keys of peers run out.
fn peers_expiring(peers: &[(i64, i64)]) -> MapMessage {
    let patch = |(id, seconds): &(i64, i64)| netmap::PeerPatch {
        id: NodeId(*id),
        key_expiry: Some(Timestamp::from_unix(WALL + seconds)),
        ..netmap::PeerPatch::default()
    };
    delta(Delta { patches: peers.iter().map(patch).collect(), ..Delta::default() })
}

#[test]
fn a_peer_whose_key_runs_out_is_given_up_at_that_time() {
    let mut node = Fixture::running();
    node.map(peers_expiring(&[(2, 3600), (3, 7200)]), &[]);
    assert!(node.backend.peer_config(NodeId(2), node.now).is_some());
    let shown = |node: &Fixture, id| {
        let peer = node.backend.netmap().and_then(|map| map.peer(NodeId(id))).expect("a peer");
        let whois = node.backend.whois(&format!("100.64.0.{id}"), node.now);
        let whois = whois.ok().flatten().and_then(|whois| whois.node).expect("a node");
        let status = node.backend.peer_status(peer, &PeerView::default(), node.now);
        assert_eq!(status.expired, whois.expired);
        status.expired
    };
    assert!(!shown(&node, 2));
    assert_eq!(node.pass(3700), ["> peers [2]", "sync [2]"]);
    assert!(shown(&node, 2) && !shown(&node, 3), "control does not say so");
    assert!(node.backend.peer_config(NodeId(2), node.now).is_none());
    assert!(node.backend.peer_config(NodeId(3), node.now).is_some());
    let told = node.pass(3600);
    assert!(told.contains(&"> peers [3]".to_owned()), "the next one, and no other: {told:?}");
    // Extended: that it is not expired any more is told with the whole node.
    let told = node.map(peers_expiring(&[(2, 10_000)]), &[]);
    assert_eq!(told, ["> peers [2]", "sync [2]"]);
    assert!(!shown(&node, 2));
}

#[test]
fn a_peer_whose_key_has_run_out_when_the_clock_leaps_is_given_up_at_once() {
    let mut node = Fixture::running();
    node.map(peers_expiring(&[(2, 3600)]), &[]);
    node.now.wall = Timestamp::from_unix(WALL + 4000);
    assert_eq!(node.backend.poll_timeout(node.now), Some(node.now.mono));
    // Or when control says something of another one first.
    let told = node.map(peers_expiring(&[(3, 7200)]), &[]);
    assert!(told.contains(&"sync [2]".to_owned()), "{told:?}");
    node.input(Input::Timeout);
    assert!(node.backend.poll_timeout(node.now) > Some(node.now.mono), "done");
}

#[test]
fn a_message_of_control_is_told_once() {
    let mut node = Fixture::running();
    let health = Some(vec!["do something".into()]);
    let told = node.map(delta(Delta { health, ..Delta::default() }), &[]);
    assert!(told.iter().any(|word| word.contains("health")), "{told:?}");
    assert_eq!(seen(&node.pass(60)), [""; 0]);
}
