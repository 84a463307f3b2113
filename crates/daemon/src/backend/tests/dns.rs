//! When DNS is to look at the backend, and what of its findings is health.

use super::*;
use crate::parts::dns::Finding;
use ::netmap::{DnsConfig, PeerPatch};

/// Whether DNS is told of an input.
fn told(node: &mut Fixture, input: Input) -> bool {
    node.backend.handle(input, &node.store, node.now);
    let mut told = false;
    while let Some(effect) = node.backend.poll_effect() {
        told |= matches!(effect, Effect::Dns);
    }
    told
}

fn message(node: &mut Fixture, message: MapMessage) -> bool {
    told(node, Input::Control(Event::MapItem(MapItem::End(Box::new(message)))))
}

#[test]
fn it_looks_when_names_settings_or_nodes_have_changed() {
    let mut node = Fixture::running();
    let dns = Some(DnsConfig { proxied: true, ..DnsConfig::default() });
    assert!(message(&mut node, delta(Delta { dns, ..Delta::default() })));
    node.control(Event::MapItem(MapItem::Peer(Box::new(super::node(4)))));
    assert!(message(&mut node, delta(Delta::default())), "a node has come");
    assert!(message(&mut node, delta(Delta { peers_removed: vec![NodeId(3)], ..Delta::default() })));
    let mut keep_alive = MapMessage::default();
    keep_alive.keep_alive = true;
    assert!(!message(&mut node, keep_alive));
    let patch = PeerPatch { id: NodeId(2), online: Some(false), ..PeerPatch::default() };
    assert!(!message(&mut node, delta(Delta { patches: vec![patch], ..Delta::default() })), "no name in it");
    let last_seen = Timestamp::from_unix(WALL);
    let again = Node { online: Some(false), last_seen, ..super::node(2) };
    node.control(Event::MapItem(MapItem::Peer(Box::new(again))));
    assert!(!message(&mut node, delta(Delta::default())), "nor in a node that was there");
    let cap_map = Some([("dns-subdomain-resolve".into(), Box::default())].into());
    let patch = PeerPatch { id: NodeId(2), cap_map, ..PeerPatch::default() };
    assert!(message(&mut node, delta(Delta { patches: vec![patch], ..Delta::default() })), "names below it");
    assert!(!message(&mut node, delta(Delta::default())));
    let newer = |cap| {
        let patch = PeerPatch { id: NodeId(2), cap: Some(cap), ..PeerPatch::default() };
        delta(Delta { patches: vec![patch], ..Delta::default() })
    };
    assert!(!message(&mut node, newer(120)), "nor in a version");
    let exit_node_id = "n2TEST".to_owned();
    let edit = MaskedPrefs {
        prefs: Prefs { exit_node_id, ..Prefs::default() },
        mask: PrefsMask { exit_node_id: true, ..PrefsMask::default() },
    };
    told(&mut node, Input::Command(Command::EditPrefs(Box::new(edit), Reply::new(|_| {}))));
    let carries = crate::parts::useexitnode::FEATURE.is_some();
    assert_eq!(
        message(&mut node, newer(121)),
        carries,
        "an exit node of another version may answer questions"
    );
    let edit = MaskedPrefs {
        prefs: Prefs { corp_dns: false, ..Prefs::default() },
        mask: PrefsMask { corp_dns: true, ..PrefsMask::default() },
    };
    let command = Command::EditPrefs(Box::new(edit), Reply::new(|_| {}));
    assert!(told(&mut node, Input::Command(command)));
}

#[test]
fn findings_are_health() {
    let mut node = Fixture::running();
    node.input(Input::Dns(Finding::Machine(Some("cannot write the file".to_owned()))));
    assert_eq!(node.health(), ["cannot write the file"]);
    node.input(Input::Dns(Finding::Machine(None)));
    node.input(Input::Dns(Finding::Forwarding(Some("nobody answers".to_owned()))));
    assert!(node.health().is_empty(), "too soon");
    node.pass(15);
    assert_eq!(node.health(), ["nobody answers"]);
    node.input(Input::Dns(Finding::Forwarding(None)));
    assert!(node.health().is_empty());
}
