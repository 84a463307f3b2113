//! Networks behind peers, exit nodes, and what the system must have for them.

use super::*;
use crate::parts::{advertiseexitnode, useexitnode};
use ::control::Command as Told;
use ::netmap::{IpNet, Rare};
use localapi::types::Addr;

fn nets(texts: &[&str]) -> Vec<IpNet> {
    texts.iter().map(|net| net.parse().expect("net")).collect()
}

/// Changes settings by `change` under the mask that it makes.
fn edit(node: &mut Fixture, change: impl FnOnce(&mut MaskedPrefs)) -> Vec<String> {
    let mut edit = MaskedPrefs::default();
    change(&mut edit);
    let (answer, told) = node.ask(|reply| Command::EditPrefs(Box::new(edit), reply));
    assert!(matches!(answer, Some(Ok(_))), "refused");
    told
}

/// A peer with these networks behind it, that may be suggested as an exit node.
pub(super) fn router(id: i64, behind: &[&str]) -> Node {
    let mut node = node(id);
    node.allowed_ips = node.allowed_ips.iter().copied().chain(nets(behind)).collect();
    node.online = Some(true);
    node.rare =
        Rare { cap_map: [("suggest-exit-node".into(), Box::default())].into(), ..Rare::default() }.boxed();
    node
}

fn put(node: &mut Fixture, peer: Node) -> Vec<String> {
    node.control(Event::MapItem(MapItem::Peer(Box::new(peer))));
    node.map(delta(Delta::default()), &[])
}

/// The routes of the system besides the tailnet's own.
fn routes(node: &Fixture) -> Vec<String> {
    let routes = node.backend.router_config().routes;
    let ours = ["100.64.0.0/10", "100.100.100.100/32"];
    routes.iter().map(ToString::to_string).filter(|net| !ours.contains(&net.as_str())).collect()
}

fn carries(node: &Fixture, id: i64, net: &str) -> bool {
    let config = node.backend.peer_config(NodeId(id), node.now).expect("peer");
    config.allowed_ips.contains(&nets(&[net])[0])
}

#[test]
fn networks_behind_peers_are_routes_if_they_are_accepted() {
    let mut node = Fixture::running();
    node.backend.tun = true;
    put(&mut node, router(2, &["10.9.0.0/16", "0.0.0.0/0", "::/0", "100.64.0.77/32"]));
    assert_eq!(routes(&node), [""; 0]);
    let told = edit(&mut node, |edit| (edit.prefs.route_all, edit.mask.route_all) = (true, true));
    assert!(told.contains(&"router".to_owned()), "{told:?}");
    assert_eq!(routes(&node), ["10.9.0.0/16"]);
    let told = put(&mut node, router(3, &["10.9.0.0/16", "fd00:9::/64"]));
    assert!(told.contains(&"router".to_owned()), "{told:?}");
    assert_eq!(routes(&node), ["10.9.0.0/16", "fd00:9::/64"], "each once");
    let gone = Delta { peers_removed: vec![NodeId(3)], ..Delta::default() };
    assert!(node.map(delta(gone), &[]).contains(&"router".to_owned()));
    assert_eq!(routes(&node), ["10.9.0.0/16"]);
    let patch = ::netmap::PeerPatch { id: NodeId(2), online: Some(false), ..Default::default() };
    let told = node.map(delta(Delta { patches: vec![patch], ..Delta::default() }), &[]);
    assert!(!told.contains(&"router".to_owned()), "nothing follows from a patch: {told:?}");
}

#[test]
fn what_is_near_stays_near_although_a_peer_has_it_too() {
    let mut node = Fixture::running();
    node.backend.tun = true;
    node.input(Input::Interfaces(nets(&["172.18.0.2/30", "192.168.7.2/24", "203.0.113.9/32", "fe80::1/64"])));
    let own = nets(&["192.168.88.0/24", "10.1.0.0/16"]);
    edit(&mut node, |edit| (edit.prefs.advertise_routes, edit.mask.advertise_routes) = (Some(own), true));
    let near = |node: &Fixture| {
        let config = node.backend.router_config();
        (config.leads_beyond(), config.around, config.behind)
    };
    assert_eq!(near(&node), (false, vec![], vec![]));
    edit(&mut node, |edit| (edit.prefs.route_all, edit.mask.route_all) = (true, true));
    put(&mut node, router(2, &["10.9.0.0/16"]));
    assert_eq!(near(&node), (true, vec![], vec![]));
    put(&mut node, router(3, &["192.168.0.0/16"]));
    let wide = (true, nets(&["192.168.7.0/24"]), nets(&["192.168.88.0/24"]));
    assert_eq!(near(&node), wide);
    // Another router for the same network.
    put(&mut node, router(4, &["192.168.88.0/24", "10.1.0.0/16"]));
    assert_eq!(near(&node), wide);
    assert_eq!(routes(&node), ["10.9.0.0/16", "192.168.0.0/16"]);
    assert!(carries(&node, 4, "192.168.88.0/24"), "what comes from there is taken");
}

#[test]
fn an_exit_node_takes_everything_or_nothing_gets_out() {
    if useexitnode::FEATURE.is_none() {
        return;
    }
    let mut node = Fixture::running();
    node.backend.tun = true;
    node.input(Input::Interfaces(nets(&["192.168.7.2/24", "203.0.113.9/32", "fe80::1/64", "100.70.1.2/22"])));
    let exit = "100.64.0.2".parse().ok();
    // Before it is there: no way out, and none past it.
    edit(&mut node, |edit| {
        (edit.prefs.exit_node_ip, edit.mask.exit_node_ip) = (Addr("100.64.0.9".parse().ok()), true)
    });
    assert_eq!(routes(&node), ["0.0.0.0/0", "::/0"]);
    put(&mut node, router(2, &["0.0.0.0/0", "::/0"]));
    put(&mut node, router(3, &["0.0.0.0/0", "::/0"]));
    assert!(!carries(&node, 2, "0.0.0.0/0") && !carries(&node, 3, "::/0"));
    edit(&mut node, |edit| (edit.prefs.exit_node_ip, edit.mask.exit_node_ip) = (Addr(exit), true));
    assert_eq!(node.backend.prefs().exit_node_id, "n2TEST");
    assert!(carries(&node, 2, "0.0.0.0/0") && carries(&node, 2, "::/0") && !carries(&node, 3, "::/0"));
    let config = node.backend.router_config();
    assert_eq!((config.shut, config.around), (nets(&["192.168.7.0/24"]), nets(&[])));
    assert!(!node.health().iter().any(|text| text.contains("exit node")), "{:?}", node.health());
    edit(&mut node, |edit| {
        (edit.prefs.exit_node_allow_lan_access, edit.mask.exit_node_allow_lan_access) = (true, true);
    });
    let config = node.backend.router_config();
    assert_eq!((config.shut, config.around), (nets(&[]), nets(&["192.168.7.0/24"])));
    assert!(node.input(Input::Interfaces(nets(&["192.168.8.2/24"]))).contains(&"router".to_owned()));
    assert_eq!(node.backend.router_config().around, nets(&["192.168.8.0/24"]));
    let gone = Delta { peers_removed: vec![NodeId(2)], ..Delta::default() };
    node.map(delta(gone), &[]);
    assert_eq!(routes(&node), ["0.0.0.0/0", "::/0"], "it is gone and nothing gets past it");
    let switch =
        |node: &mut Fixture, on| node.ask(|reply| Command::UseExitNode(on, reply)).0.expect("an answer");
    assert_eq!(switch(&mut node, false).expect("off").internal_exit_node_prior, "n2TEST");
    assert_eq!(routes(&node), [""; 0]);
    assert_eq!(switch(&mut node, true).expect("on").exit_node_id, "n2TEST");
    edit(&mut node, |edit| edit.mask.exit_node_id = true);
    assert_eq!(routes(&node), [""; 0]);
    assert!(switch(&mut node, true).is_err_and(|why| why.contains("no prior exit node")));
}

#[test]
fn an_automatic_exit_node_follows_the_peers() {
    if useexitnode::FEATURE.is_none() {
        return;
    }
    let mut node = Fixture::running();
    edit(&mut node, |edit| {
        (edit.prefs.auto_exit_node, edit.mask.auto_exit_node) = ("any".to_owned(), true);
    });
    assert_eq!(node.backend.prefs().exit_node_id, "auto:any");
    let told = put(&mut node, router(3, &["0.0.0.0/0", "::/0"]));
    assert_eq!(node.backend.prefs().exit_node_id, "n3TEST");
    assert!(told.contains(&"save".to_owned()), "{told:?}");
    let told = put(&mut node, router(2, &["0.0.0.0/0", "::/0"]));
    assert_eq!(node.backend.prefs().exit_node_id, "n3TEST");
    assert!(!told.contains(&"save".to_owned()), "the same one costs no write: {told:?}");
    let patch = ::netmap::PeerPatch { id: NodeId(3), online: Some(false), ..Default::default() };
    node.map(delta(Delta { patches: vec![patch], ..Delta::default() }), &[]);
    assert_eq!(node.backend.prefs().exit_node_id, "n2TEST");
}

#[test]
fn an_exit_node_by_its_address_is_settled_by_a_start_too() {
    if useexitnode::FEATURE.is_none() {
        return;
    }
    let mut node = Fixture::running();
    let exit = || router(2, &["0.0.0.0/0", "::/0"]);
    put(&mut node, exit());
    node.want_running(false);
    node.start("", |prefs| prefs.exit_node_ip = Addr("100.64.0.2".parse().ok()));
    assert_eq!(node.backend.prefs().exit_node_id, "n2TEST");
    node.control(registered(1));
    node.control(Event::MapUp);
    node.control(Event::MapItem(MapItem::Peer(Box::new(exit()))));
    node.map(first_map(), &[3]);
    assert!(carries(&node, 2, "0.0.0.0/0"));
    // Another server has other nodes.
    node.start("", |prefs| {
        prefs.exit_node_ip = Addr("100.64.0.2".parse().ok());
        prefs.control_url = "http://c.example".to_owned();
    });
    assert_eq!(node.backend.prefs().exit_node_id, "");
}

#[test]
fn an_exit_node_that_could_not_be_chosen_is_chosen_by_the_first_map_of_a_stream() {
    if useexitnode::FEATURE.is_none() {
        return;
    }
    let mut node = Fixture::running();
    let exit = || router(2, &["0.0.0.0/0", "::/0"]);
    put(&mut node, exit());
    node.backend.home = RegionId::NONE;
    edit(&mut node, |edit| {
        (edit.prefs.auto_exit_node, edit.mask.auto_exit_node) = ("any".to_owned(), true);
    });
    assert_eq!(node.backend.prefs().exit_node_id, "auto:any");
    node.backend.home = RegionId(1);
    node.control(Event::MapDown { error: ::control::Error::StreamEnded });
    node.control(Event::MapUp);
    node.control(Event::MapItem(MapItem::Peer(Box::new(exit()))));
    node.map(first_map(), &[3]);
    assert_eq!(node.backend.prefs().exit_node_id, "n2TEST");
}

#[test]
fn settings_of_a_start_reach_the_peers_of_a_node_that_runs() {
    let mut node = Fixture::running();
    node.backend.tun = true;
    put(&mut node, router(2, &["10.9.0.0/16"]));
    let told = node.start("k", |prefs| (prefs.route_all, prefs.shields_up) = (true, true));
    for word in ["configure", "router", "sync all"] {
        assert!(told.contains(&word.to_owned()), "{word}: {told:?}");
    }
    assert!(carries(&node, 2, "10.9.0.0/16") && node.backend.self_config().shields_up);
}

#[test]
fn who_advertises_must_forward() {
    let mut node = Fixture::running();
    let advertised = nets(&["10.1.0.0/16", "0.0.0.0/0", "::/0"]);
    edit(&mut node, |edit| {
        (edit.prefs.advertise_routes, edit.mask.advertise_routes) = (Some(advertised.clone()), true);
    });
    let exit = advertiseexitnode::FEATURE.is_some();
    assert_eq!(node.backend.advertised().len(), if exit { 3 } else { 1 });
    let flags_after = |node: &mut Fixture, input| {
        node.backend.handle(input, &node.store, node.now);
        let mut flags = None;
        while let Some(effect) = node.backend.poll_effect() {
            if let Effect::Control(Told::Report(report)) = effect {
                flags = Some(report.debug_flags.clone());
            }
        }
        flags
    };
    let flags = |node: &mut Fixture, problem: Option<&str>| {
        flags_after(node, Input::Forwarding(problem.map(str::to_owned))).expect("a report")
    };
    assert_eq!(flags(&mut node, Some("IP forwarding is disabled.")), ["warn-ip-forwarding-off"]);
    assert_eq!(node.health(), ["IP forwarding is disabled."]);
    assert_eq!(flags(&mut node, None), [""; 0]);
    assert_eq!(node.health(), [""; 0]);
    if exit {
        edit(&mut node, |edit| (edit.prefs.no_snat, edit.mask.no_snat) = (true, true));
        assert!(node.health()[0].contains("--snat-subnet-routes"), "{:?}", node.health());
    }
    let router = |problems: &[&str]| Input::Router {
        problems: problems.iter().map(|text| (*text).to_owned()).collect(),
        firewall: "ipt",
    };
    let unhealthy = Some(vec!["warn-router-unhealthy".to_owned()]);
    node.input(router(&[]));
    assert_eq!(flags_after(&mut node, router(&["a", "b"])), unhealthy);
    assert!(node.health().contains(&"a; b".to_owned()), "{:?}", node.health());
    assert_eq!(flags_after(&mut node, router(&["a"])), None, "control knows that");
    assert_eq!(flags_after(&mut node, router(&[])), Some(Vec::new()));
    assert!(!node.health().contains(&"a; b".to_owned()));
}

#[test]
fn the_bus_hears_whom_to_use_and_control_how_packets_are_filtered() {
    let mut node = Fixture::running();
    if useexitnode::FEATURE.is_some() {
        let told = put(&mut node, router(2, &["0.0.0.0/0", "::/0"]));
        assert!(told.contains(&"> suggests \"n2TEST\"".to_owned()), "{told:?}");
        let told = put(&mut node, router(3, &["0.0.0.0/0", "::/0"]));
        assert!(!told.iter().any(|word| word.contains("suggests")), "the first is as good: {told:?}");
        let patch = ::netmap::PeerPatch { id: NodeId(2), online: Some(false), ..Default::default() };
        let told = node.map(delta(Delta { patches: vec![patch], ..Delta::default() }), &[]);
        assert!(told.contains(&"> suggests \"n3TEST\"".to_owned()), "{told:?}");
    }
    let mut told = |firewall| {
        let input = Input::Router { problems: Vec::new(), firewall };
        node.backend.handle(input, &node.store, node.now);
        let mut mode = None;
        while let Some(effect) = node.backend.poll_effect() {
            if let Effect::Control(Told::Report(report)) = effect {
                mode = report.hostinfo.net_info.as_ref().map(|info| info.firewall_mode.clone());
            }
        }
        mode
    };
    assert_eq!(told("ipt-inuse").as_deref(), Some("ipt-inuse"));
    assert_eq!(told("ipt-inuse"), None, "once");
    assert_eq!(told("").as_deref(), Some(""));
}

#[test]
fn a_machine_without_network_or_udp_says_so() {
    let mut node = Fixture::running();
    node.input(Input::Udp4(false));
    assert!(node.health().iter().any(|text| text.contains("no UDP socket")), "{:?}", node.health());
    node.input(Input::Interfaces(Vec::new()));
    node.pass(6);
    assert!(node.health().iter().any(|text| text.contains("no network")), "{:?}", node.health());
    assert!(!node.health().iter().any(|text| text.contains("no UDP socket")), "the cause hides its effect");
    node.input(Input::Interfaces(nets(&["192.168.7.2/24"])));
    node.input(Input::Udp4(true));
    assert_eq!(node.health(), [""; 0]);
}

#[test]
fn control_hears_which_exit_node_is_used() {
    if useexitnode::FEATURE.is_none() {
        return;
    }
    let mut node = Fixture::running();
    put(&mut node, router(2, &["0.0.0.0/0", "::/0"]));
    let told = |node: &mut Fixture, id: &str| {
        let mask = PrefsMask { exit_node_id: true, ..PrefsMask::default() };
        let prefs = Prefs { exit_node_id: id.to_owned(), ..Prefs::default() };
        let change = Box::new(MaskedPrefs { prefs, mask });
        let command = Input::Command(Command::EditPrefs(change, Reply::new(|_| {})));
        node.backend.handle(command, &node.store, node.now);
        let mut told = None;
        while let Some(effect) = node.backend.poll_effect() {
            if let Effect::Control(Told::Report(report)) = effect {
                told = Some(report.hostinfo.exit_node_id.clone());
            }
        }
        told
    };
    assert_eq!(told(&mut node, "n2TEST").as_deref(), Some("n2TEST"));
    assert_eq!(told(&mut node, "auto:any").as_deref(), Some(""), "it waits for one");
}
