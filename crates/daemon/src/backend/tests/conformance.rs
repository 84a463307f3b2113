//! What upstream's integration tests of real binaries found here.

use super::*;

fn login(told: &[String]) -> Option<&str> {
    told.iter().rev().find(|word| word.starts_with("login ")).map(String::as_str)
}

#[test]
fn a_node_that_starts_stopped_learns_its_map_once() {
    let mut node = Fixture::running();
    node.want_running(false);
    let mut node = node.restarted();
    assert!(login(&node.input(Input::Start)).is_some(), "it is registered anew");
    assert_eq!(node.backend.state(), State::Stopped);
    let told = node.control(registered(1));
    assert!(!node.backend.prefs().want_running, "registering is no wish to be up");
    assert!(!told.contains(&"pause true".to_owned()), "it does not know its addresses yet: {told:?}");
    node.control(Event::MapUp);
    let told = node.map(first_map(), &[2]);
    assert!(told.contains(&"pause true".to_owned()), "now it does: {told:?}");
    assert!(!node.backend.status_head(None).tailscale_ips.is_empty());
    assert_eq!(node.backend.state(), State::Stopped);
}

#[test]
fn a_login_by_url_brings_a_stopped_node_up() {
    let mut node = Fixture::running();
    node.want_running(false);
    node.ask(Command::LoginInteractive);
    node.control(Event::AuthUrl("https://c.example/a/1".to_owned()));
    node.control(registered(1));
    assert!(node.backend.prefs().want_running);
}

#[test]
fn the_auth_key_serves_the_login_that_replaces_the_first() {
    let mut node = Fixture::running();
    assert_eq!(login(&node.start("k1", |_| {})), Some("login key=k1 new=false"));
    // Control may or may not have answered the first one.
    let Event::LoggedIn(news) = registered(1) else { panic!("a login") };
    node.control(Event::LoggedIn(Box::new(LoggedIn { rotated: false, ..*news })));
    assert_eq!(login(&node.ask(Command::LoginInteractive).1), Some("login key=k1 new=true"));
    node.pass(60);
    assert_eq!(login(&node.ask(Command::LoginInteractive).1), Some("login key=- new=true"), "not for ever");
    node.start("k2", |_| {});
    let error = ::control::Error::Refused("invalid key".to_owned());
    node.control(Event::LoginFailed { error, retrying: false });
    assert_eq!(
        login(&node.ask(Command::LoginInteractive).1),
        Some("login key=- new=true"),
        "not once refused"
    );
}

#[test]
fn an_address_that_a_peer_hosts_needs_no_accepted_routes() {
    let own = "100.64.0.2/32";
    let hosted = ["100.99.99.99/32", "fd7a:115c:a1e0::99/128", own];
    let routes = ["10.0.0.0/8", "192.0.2.1/32", "100.115.92.7/32", "100.96.0.0/12"];
    let nets =
        |list: &[&str]| list.iter().map(|net| net.parse().expect("net")).collect::<Vec<ipnet::IpNet>>();
    let mut peer = node(2);
    peer.allowed_ips = nets(&[&hosted[..], &routes].concat()).into();
    let mut node = Fixture::running();
    node.control(Event::MapItem(MapItem::Peer(Box::new(peer))));
    node.map(MapMessage::default(), &[]);
    let edit = MaskedPrefs {
        prefs: Prefs { route_all: false, ..Prefs::default() },
        mask: PrefsMask { route_all: true, ..PrefsMask::default() },
    };
    node.ask(|reply| Command::EditPrefs(Box::new(edit), reply));
    let used = node.backend.peer_config(NodeId(2), node.now).expect("a peer").allowed_ips;
    assert_eq!(used.to_vec(), nets(&hosted));
}

#[test]
fn peers_show_what_they_are_capable_of() {
    let mut peer = node(2);
    let mut cap_map = netmap::CapMap::from([("example:plain".into(), Box::default())]);
    cap_map.insert("example:custom".into(), ["\"value\"".into()].into());
    peer.rare = netmap::Rare { cap_map, ..netmap::Rare::default() }.boxed();
    let mut node = Fixture::running();
    node.control(Event::MapItem(MapItem::Peer(Box::new(peer))));
    node.map(MapMessage::default(), &[]);
    let peer = node.backend.netmap().and_then(|map| map.peer(NodeId(2))).expect("the peer");
    let shown = node.backend.peer_status(peer, &PeerView::default(), node.now);
    assert_eq!(shown.cap_map.keys().collect::<Vec<_>>(), ["example:custom", "example:plain"]);
    assert!(shown.cap_map["example:custom"].is_some());
}

#[test]
fn an_unusable_store_is_told_in_the_words_of_go() {
    let mut node = Fixture::over(Store::memory(), Some("the file is damaged"));
    node.input(Input::Start);
    let health = "State store failed to initialize, Tailscale will not work until this is resolved. See ";
    assert!(node.health().iter().any(|text| text.starts_with(health)), "{:?}", node.health());
    for (command, words) in [
        (Command::LoginInteractive as fn(_) -> _, "cannot log in when state store is unhealthy"),
        (Command::NewProfile, "cannot log in when state store is unhealthy"),
        (|reply| Command::Start(Box::default(), reply), "cannot start backend when state store is unhealthy"),
    ] {
        let (answer, _): (Option<Result<(), String>>, _) = node.ask(command);
        let text = answer.expect("answered").expect_err("refused");
        assert!(text.starts_with(words) && text.ends_with("the file is damaged"), "{text}");
    }
}
