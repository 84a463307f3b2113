//! The network map: what is told, to whom, and what is not.

use super::*;
use ::control::Error;
use ::netmap::PeerPatch;

#[test]
fn the_same_map_twice_changes_no_peer() {
    let mut node = Fixture::running();
    node.control(Event::MapDown { error: Error::StreamEnded });
    node.control(Event::MapUp);
    let told = node.map(first_map(), &[2, 3]);
    assert!(!told.iter().any(|word| word.starts_with("sync")), "{told:?}");
    assert!(!told.contains(&"save".to_owned()), "{told:?}");
    assert_eq!(seen(&told), ["> self 1"]);
}

#[test]
fn deltas_concern_whom_they_name() {
    let mut node = Fixture::running();
    let told = node.map(delta(Delta::default()), &[4]);
    assert_eq!(told, ["> peers [4]", "sync [4]"]);
    let patch = PeerPatch { id: NodeId(2), online: Some(false), ..PeerPatch::default() };
    let told = node.map(delta(Delta { patches: vec![patch], ..Delta::default() }), &[]);
    assert_eq!(told, ["> patches [2]", "sync [2]"]);
    let told = node.map(delta(Delta { peers_removed: vec![NodeId(3)], ..Delta::default() }), &[]);
    assert_eq!(told, ["> removed [3]", "sync [3]"]);
    assert!(node.backend.peer_config(NodeId(3), node.now).is_none());
    assert_eq!(node.map(keep_alive(), &[]), [""; 0]);
}

#[test]
fn a_known_peer_in_whom_little_differs_costs_no_more_than_a_patch() {
    let mut node = Fixture::running();
    node.backend.tun = true;
    let endpoint = "192.0.2.1:41641".parse().expect("an address");
    let again = Node {
        endpoints: [endpoint].into(),
        last_seen: Timestamp::from_unix(WALL),
        home_derp: RegionId(2),
        ..super::node(2)
    };
    node.control(Event::MapItem(MapItem::Peer(Box::new(again))));
    assert_eq!(node.map(delta(Delta::default()), &[]), ["> patches [2]", "sync [2]"]);
    let config = node.backend.peer_config(NodeId(2), node.now).expect("a peer");
    assert_eq!((config.endpoints.first(), config.home_derp), (Some(endpoint), RegionId(2)));
    let renamed = Node { name: "other.tail.example.".into(), ..super::node(2) };
    node.control(Event::MapItem(MapItem::Peer(Box::new(renamed))));
    assert_eq!(node.map(delta(Delta::default()), &[]), ["> peers [2]", "sync [2]"]);
}

#[test]
fn a_peer_that_is_patched_by_the_message_that_brings_it_is_new_all_the_same() {
    let mut node = Fixture::running();
    node.start("", |prefs| prefs.exit_node_ip = localapi::types::Addr("100.64.0.4".parse().ok()));
    let told = node.map(delta(Delta { online_change: vec![(NodeId(4), true)], ..Delta::default() }), &[4]);
    assert!(told.contains(&"> peers [4]".to_owned()), "{told:?}");
    assert!(!told.contains(&"> patches [4]".to_owned()), "{told:?}");
    let settled = node.backend.prefs().exit_node_id == "n4TEST";
    assert_eq!(settled, crate::parts::useexitnode::FEATURE.is_some());
}

#[test]
fn what_a_new_stream_leaves_out_is_gone() {
    let mut node = Fixture::running();
    node.control(Event::MapDown { error: Error::StreamEnded });
    assert_eq!(node.backend.state(), State::Running, "the last map stays in force");
    assert!(node.backend.peer_config(NodeId(3), node.now).is_some());
    node.control(Event::MapUp);
    let told = node.map(first_map(), &[2]);
    assert!(told.contains(&"> removed [3]".to_owned()) && told.contains(&"sync [3]".to_owned()), "{told:?}");
}

#[test]
fn a_peer_of_a_message_that_was_cut_off_is_not_overlooked() {
    let mut node = Fixture::running();
    let again = |node: &mut Fixture| {
        node.control(Event::MapDown { error: Error::StreamEnded });
        node.control(Event::MapUp);
    };
    again(&mut node);
    node.control(Event::MapItem(MapItem::Peer(Box::new(super::node(4)))));
    again(&mut node);
    let told = node.map(first_map(), &[2, 3, 4]);
    assert!(told.contains(&"> peers [4]".to_owned()) && told.contains(&"sync [4]".to_owned()), "{told:?}");
}

#[test]
fn nothing_passes_before_the_first_filter_and_when_stopped() {
    let mut node = Fixture::running();
    assert!(node.backend.netmap().is_some_and(|map| map.packet_filters.is_none()));
    let rules = vec![("base".into(), Some(Vec::new()))];
    let told = node.map(delta(Delta { packet_filters: rules, ..Delta::default() }), &[]);
    assert!(told.contains(&"configure".to_owned()), "{told:?}");
    assert!(node.backend.self_config().running);
    node.want_running(false);
    assert!(!node.backend.self_config().running);
}

#[test]
fn a_filter_by_capability_follows_who_has_it() {
    use ::netmap::{FilterRule, PeerPatch, Rare, RuleSrc};
    let cap_map = || [("example.com/cap/x".into(), Box::default())].into();
    let holder = || Node { rare: Rare { cap_map: cap_map(), ..Rare::default() }.boxed(), ..node(2) };
    let online = || PeerPatch { id: NodeId(2), online: Some(true), ..PeerPatch::default() };
    let put = |node: &mut Fixture, peer: Node| {
        node.control(Event::MapItem(MapItem::Peer(Box::new(peer))));
        node.map(delta(Delta::default()), &[]).contains(&"configure".to_owned())
    };
    let patched = |node: &mut Fixture, patch| {
        node.map(delta(Delta { patches: vec![patch], ..Delta::default() }), &[])
            .contains(&"configure".to_owned())
    };
    let mut node = Fixture::running();
    assert!(!put(&mut node, holder()), "no rule asks for it");
    let srcs = [RuleSrc::Cap("example.com/cap/x".into())].into();
    let rules = vec![("base".into(), Some(vec![FilterRule { srcs, ..FilterRule::default() }]))];
    node.map(delta(Delta { packet_filters: rules, ..Delta::default() }), &[]);
    assert!(put(&mut node, super::node(2)), "taken away");
    assert!(!patched(&mut node, online()));
    assert!(patched(&mut node, PeerPatch { cap_map: Some(cap_map()), ..online() }), "given back");
    let gone = Delta { peers_removed: vec![NodeId(2)], ..Delta::default() };
    assert!(node.map(delta(gone), &[]).contains(&"configure".to_owned()));
}

#[test]
fn messages_of_control_are_health() {
    let mut node = Fixture::running();
    let health = Some(vec!["the sky is falling".into()]);
    let told = node.map(delta(Delta { health, ..Delta::default() }), &[]);
    assert_eq!(seen(&told), ["> health [\"control-health.health-0\"]"]);
    assert_eq!(node.health(), ["the sky is falling"]);
    let told = node.map(delta(Delta { health: Some(Vec::new()), ..Delta::default() }), &[]);
    assert_eq!(seen(&told), ["> health []"]);
}

#[test]
fn a_lost_stream_is_told_after_minutes_only() {
    let mut node = Fixture::running();
    node.control(Event::MapDown { error: Error::StreamEnded });
    node.pass(470);
    assert!(node.health().is_empty(), "{:?}", node.health());
    let told = node.pass(20);
    assert_eq!(seen(&told), ["> health [\"not-in-map-poll\"]"]);
    node.control(Event::MapUp);
    assert!(node.health().is_empty());
}

#[test]
fn a_server_that_becomes_silent_is_told_after_two_minutes() {
    let mut node = Fixture::running();
    assert_eq!(node.pass(600), [""; 0]);
    node.map(keep_alive(), &[]);
    assert_eq!(node.silence(124), [""; 0]);
    assert_eq!(seen(&node.silence(1)), ["> health [\"mapresponse-timeout\"]"]);
    // A stream that begins is no message yet.
    node.control(Event::MapDown { error: Error::StreamEnded });
    assert_eq!(seen(&node.control(Event::MapUp)), [""; 0]);
    assert_eq!(seen(&node.map(keep_alive(), &[])), ["> health []"]);
    assert_eq!(node.pass(600), [""; 0]);
}

#[test]
fn a_stream_that_is_given_up_for_silence_was_silent_and_one_that_ended_before_was_not() {
    let mut node = Fixture::running();
    node.map(keep_alive(), &[]);
    node.silence(120);
    node.control(Event::MapDown { error: Error::Timeout("map") });
    assert_eq!(seen(&node.silence(4)), [""; 0]);
    assert_eq!(seen(&node.silence(1)), ["> health [\"mapresponse-timeout\"]"]);
    assert_eq!(seen(&node.silence(474)), [""; 0]);
    let both = "> health [\"mapresponse-timeout\", \"not-in-map-poll\"]";
    assert_eq!(seen(&node.silence(1)), [both]);
    // Who does not want to run misses nothing, then and when he wants to again.
    let told = node.want_running(false);
    assert!(told.contains(&"> health [\"wantrunning-false\"]".to_owned()), "{told:?}");
    node.want_running(true);
    let told = node.silence(130);
    assert!(!told.iter().any(|word| word.contains("mapresponse")), "{told:?}");

    let mut node = Fixture::running();
    node.map(keep_alive(), &[]);
    node.silence(114);
    node.control(Event::MapDown { error: Error::StreamEnded });
    assert_eq!(seen(&node.silence(300)), [""; 0]);
}

/// A message that says nothing.
fn keep_alive() -> MapMessage {
    let mut message = MapMessage::default();
    message.keep_alive = true;
    message
}

#[test]
fn routes_of_others_are_mentioned() {
    let mut node = Fixture::running();
    let net = "10.9.0.0/16".parse().expect("net");
    let mut router = super::node(2);
    router.allowed_ips = router.allowed_ips.iter().copied().chain([net]).collect();
    node.control(Event::MapItem(MapItem::Peer(Box::new(router))));
    node.map(delta(Delta::default()), &[]);
    assert_eq!(node.health(), ["Some peers are advertising routes but --accept-routes is false"]);
    let config = node.backend.peer_config(NodeId(2), node.now).expect("peer");
    assert!(!config.allowed_ips.contains(&net), "not accepted");
}

#[test]
fn an_interface_has_addresses_and_routes_while_packets_may_pass() {
    let mut node = Fixture::running();
    assert!(!node.want_running(false).contains(&"router".to_owned()), "there is none");
    node.backend.tun = true;
    let told = node.want_running(true);
    assert_eq!(told.last().map(String::as_str), Some("router"), "after everything else: {told:?}");
    assert_eq!(told.iter().filter(|word| *word == "router").count(), 1, "{told:?}");
    let config = node.backend.router_config();
    let own: Vec<_> = node.backend.netmap().expect("a map").self_node.ips().collect();
    assert_eq!(config.addresses.iter().map(|net| net.addr()).collect::<Vec<_>>(), own);
    assert!(config.addresses.iter().all(|net| net.prefix_len() == net.max_prefix_len()));
    assert!(config.routes.contains(&"100.64.0.0/10".parse().expect("prefix")), "{:?}", config.routes);
    let services = node.backend.self_config().services;
    assert_eq!(
        config.routes.len(),
        own.len() + services.len(),
        "one a family, and those of our own services"
    );
    assert!(services.iter().all(|ip| config.routes.contains(&(*ip).into())), "{:?}", config.routes);
    assert!(node.backend.self_config().tun && node.backend.status_head(None).tun);
    assert!(node.want_running(false).contains(&"router".to_owned()));
    assert_eq!(node.backend.router_config(), RouterConfig::default());
}

#[test]
fn accepted_networks_get_routes_and_settings_reach_the_packet_filter() {
    let net = |text: &str| text.parse::<ipnet::IpNet>().expect("prefix");
    let mut node = Fixture::running();
    node.backend.tun = true;
    for (id, own) in [(2, "10.9.0.0/16"), (3, "10.8.0.0/16")] {
        let mut router = super::node(id);
        let more = [net(own), net("10.9.0.0/16"), net("100.64.7.0/24"), net("0.0.0.0/0")];
        router.allowed_ips = router.allowed_ips.iter().copied().chain(more).collect();
        node.control(Event::MapItem(MapItem::Peer(Box::new(router))));
    }
    node.map(delta(Delta::default()), &[]);
    let mut routes = Vec::new();
    for accept in [true, false] {
        let edit = MaskedPrefs {
            prefs: Prefs {
                route_all: accept,
                no_snat: accept,
                no_stateful_filtering: OptBool::from(accept),
                netfilter_kind: "iptables".to_owned(),
                ..Prefs::default()
            },
            mask: PrefsMask {
                route_all: true,
                no_snat: true,
                no_stateful_filtering: true,
                netfilter_kind: true,
                ..PrefsMask::default()
            },
        };
        node.ask(|reply| Command::EditPrefs(Box::new(edit), reply));
        let config = node.backend.router_config();
        let behind = config.routes.iter().filter(|net| net.to_string().starts_with("10.")).copied();
        routes.push(behind.collect::<Vec<_>>());
        let services = node.backend.self_config().services.len();
        assert!(config.routes.len() <= 4 + services, "the tailnet is there already: {:?}", config.routes);
        let firewall = config.firewall;
        assert_eq!((firewall.mode, firewall.kind.as_str()), (NetfilterMode::On, "iptables"));
        assert_eq!((firewall.snat, firewall.stateful, firewall.drop_cgnat), (!accept, !accept, true));
    }
    assert_eq!(routes, [vec![net("10.8.0.0/16"), net("10.9.0.0/16")], vec![]]);
}

#[test]
fn where_the_peerapi_listens_is_told_to_control_and_open_in_the_filter() {
    let mut node = Fixture::running();
    node.backend.tun = true;
    let own: Vec<_> = node.backend.netmap().expect("a map").self_node.ips().collect();
    let at: Vec<_> = own.iter().map(|ip| SocketAddr::new(*ip, 40_000)).collect();
    assert!(node.backend.self_config().addresses.iter().all(|(_, port)| *port == 0));
    let told = node.input(Input::PeerApi(at.clone()));
    assert!(told.contains(&"configure".to_owned()), "{told:?}");
    assert!(node.backend.self_config().addresses.iter().all(|(_, port)| *port == 40_000));
    assert!(node.input(Input::PeerApi(at)).is_empty(), "the same again");
    assert!(!node.input(Input::PeerApi(Vec::new())).is_empty());
    assert!(node.backend.self_config().addresses.iter().all(|(_, port)| *port == 0));
}
