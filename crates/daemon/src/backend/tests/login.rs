//! Starting, logging in and out, up and down, profiles.

use super::*;
use ::control::Error;

const URL: &str = "https://controlplane.tailscale.com";

#[test]
fn a_fresh_start_needs_a_login() {
    let mut node = Fixture::new();
    let told = node.input(Input::Start);
    assert_eq!(
        told,
        [
            "> prefs up=false",
            "save",
            &format!("start control at {URL}"),
            "report",
            "> NeedsLogin",
            "> health [\"wantrunning-false\"]"
        ]
    );
    assert!(node.store.read("_machinekey").is_some(), "made once, kept");
    assert!(node.store.read("_profiles").is_none(), "nobody has logged in yet");
}

#[test]
fn up_with_an_auth_key_tells_its_steps_in_order() {
    let mut node = Fixture::new();
    node.input(Input::Start);
    let told = node.start("tskey-auth-x", |prefs| prefs.control_url = "http://c.example".to_owned());
    assert!(told.contains(&"start control at http://c.example".to_owned()), "{told:?}");
    // Without a node key it is `login-interactive` that begins the login, with the key given before.
    let (answer, told) = node.ask(Command::LoginInteractive);
    assert_eq!(answer, Some(Ok(())));
    assert!(told.contains(&"login key=tskey-auth-x new=true".to_owned()), "{told:?}");

    let told = node.control(registered(1));
    assert_eq!(seen(&told), ["> login finished", "> prefs up=true"]);
    assert!(node.store.read("_profiles").is_none(), "control has not told who we are");
    node.control(Event::MapUp);
    let told = node.map(first_map(), &[2, 3]);
    assert_eq!(seen(&told), ["> prefs up=true", "> self 1", "> peers [2, 3]", "> users [7]", "> Starting"]);
    assert_eq!(told.last().map(String::as_str), Some("sync all"));
    assert!(node.store.read("_profiles").is_some());
    let told = node.relay_up();
    assert_eq!(seen(&told), ["> Running", "> health []"]);
    assert_eq!(node.persist().private_node_key.public(), key(1).public());
    assert_eq!(node.persist().node_id, "n1TEST");
}

#[test]
fn an_interactive_login_shows_its_url_to_everybody_who_asks() {
    let mut node = Fixture::new();
    node.input(Input::Start);
    node.start("", |_| {});
    let (_, told) = node.ask(Command::LoginInteractive);
    assert!(told.contains(&"login key=- new=true".to_owned()), "{told:?}");
    let told = node.control(Event::AuthUrl("https://c.example/a/1".to_owned()));
    assert_eq!(seen(&told), ["> url https://c.example/a/1"]);
    assert_eq!(
        (node.backend.auth_url(), node.backend.state()),
        (Some("https://c.example/a/1"), State::NeedsLogin)
    );
    // Asked again, the same URL is shown and no other login begun.
    let (_, told) = node.ask(Command::LoginInteractive);
    assert_eq!(told, ["> url https://c.example/a/1"]);
    node.control(registered(1));
    node.control(Event::MapUp);
    node.map(first_map(), &[]);
    node.relay_up();
    assert_eq!((node.backend.auth_url(), node.backend.state()), (None, State::Running));
}

#[test]
fn a_refused_key_is_told_on_the_bus_and_in_status() {
    let mut node = Fixture::new();
    node.input(Input::Start);
    node.start("tskey-wrong", |_| {});
    node.ask(Command::LoginInteractive);
    let error = Error::Refused("invalid key".to_owned());
    let told = node.control(Event::LoginFailed { error, retrying: false });
    assert_eq!(seen(&told), ["> error invalid key", "> health [\"login-state\"]"]);
    assert_eq!(node.backend.state(), State::NeedsLogin);
    assert_eq!(node.health(), ["You are logged out. The last login error was: invalid key"]);
    // The key is not used a second time.
    let (_, told) = node.ask(Command::LoginInteractive);
    assert!(told.contains(&"login key=- new=true".to_owned()), "{told:?}");
    node.control(registered(1));
    node.control(Event::MapUp);
    node.map(first_map(), &[]);
    node.relay_up();
    assert!(node.health().is_empty(), "{:?}", node.health());
}

#[test]
fn a_wrong_key_leaves_a_node_that_runs_as_it_was() {
    let mut node = Fixture::running();
    let told = node.start("tskey-wrong", |_| {});
    assert!(told.contains(&"login key=tskey-wrong new=false".to_owned()), "{told:?}");
    let error = Error::Refused("invalid key".to_owned());
    let told = node.control(Event::LoginFailed { error, retrying: true });
    assert!(seen(&told).contains(&"> error invalid key"), "{told:?}");
    assert_eq!((node.backend.state(), node.backend.auth_url()), (State::Running, None));
    let Event::LoggedIn(news) = registered(1) else { unreachable!() };
    node.control(Event::LoggedIn(Box::new(LoggedIn { rotated: false, ..*news })));
    assert!(node.health().iter().all(|text| !text.contains("invalid key")), "{:?}", node.health());
    node.control(Event::MapUp);
    node.map(first_map(), &[2, 3]);
    assert!(node.backend.in_map_poll() && node.backend.state() == State::Running);
}

#[test]
fn a_url_that_is_none_is_an_error_and_the_next_start_goes_on() {
    let mut node = Fixture::new();
    node.input(Input::Start);
    node.start("k", |prefs| prefs.control_url = "nope".to_owned());
    let error = Error::ServerUrl { url: "nope".to_owned(), why: "not a URL" };
    let told = node.control(Event::LoginFailed { error, retrying: false });
    assert!(seen(&told).first().is_some_and(|word| word.starts_with("> error control server URL \"nope\"")));
    // The control client has ended: a login starts another.
    let (_, told) = node.ask(Command::LoginInteractive);
    assert!(told.contains(&"start control at nope".to_owned()), "{told:?}");
    let told = node.start("k", |_| {});
    assert!(told.contains(&format!("start control at {URL}")), "{told:?}");
}

#[test]
fn a_node_that_control_has_forgotten_says_where_to_log_in() {
    let mut node = Fixture::running();
    let told = node.control(Event::AuthUrl("https://c.example/a/1".to_owned()));
    assert_eq!(seen(&told), ["> url https://c.example/a/1", "> health [\"login-state\"]"]);
    assert_eq!(node.backend.state(), State::Running, "the last map stays in force");
    assert!(node.health().iter().any(|text| text.ends_with("Log in at: https://c.example/a/1")));
    node.control(registered(2));
    assert!(node.health().is_empty(), "{:?}", node.health());
}

#[test]
fn trouble_that_may_pass_does_not_end_up() {
    let mut node = Fixture::new();
    node.input(Input::Start);
    node.start("k", |_| {});
    node.ask(Command::LoginInteractive);
    let trouble = |error| Event::Trouble { activity: ::control::Activity::Login, error };
    let refused = Error::Dial { host: "c".into(), port: 443, why: "connection refused by c:443".into() };
    let told = node.control(trouble(Some(refused)));
    assert_eq!(seen(&told), ["> health [\"control-unreachable\", \"warming-up\"]"]);
    let told = node.control(trouble(Some(Error::NotTls { host: "c".into(), port: 443 })));
    assert!(seen(&told).first().is_some_and(|word| word.starts_with("> error c:443 does not speak TLS")));
    let told = node.control(trouble(None));
    assert_eq!(seen(&told), ["> health [\"warming-up\"]"]);
}

#[test]
fn silence_of_control_is_told_within_three_seconds() {
    let node = Fixture::running();
    let mut node = node.restarted();
    node.input(Input::Start);
    node.pass(3);
    let text = format!("Cannot reach the coordination server: no answer yet from {URL}");
    assert!(node.health().contains(&text), "{:?}", node.health());
    node.control(registered(1));
    assert!(!node.health().contains(&text));
    node.control(Event::MapUp);
    node.map(first_map(), &[]);
    node.pass(60);
    assert!(!node.health().contains(&text), "a node with a map has had its answer");
}

#[test]
fn a_restart_stays_in_no_state_until_the_map() {
    let mut node = Fixture::running().restarted();
    let told = node.input(Input::Start);
    assert!(told.contains(&"login key=- new=false".to_owned()), "{told:?}");
    assert!(!told.contains(&"save".to_owned()), "nothing has changed: {told:?}");
    assert_eq!(node.backend.state(), State::NoState);
    let told = node.control(Event::LoggedIn(Box::new(LoggedIn {
        rotated: false,
        ..match registered(1) {
            Event::LoggedIn(news) => *news,
            _ => unreachable!(),
        }
    })));
    assert_eq!(seen(&told), ["> login finished", "> prefs up=true"]);
    assert_eq!(node.backend.state(), State::NoState);
    node.control(Event::MapUp);
    node.map(first_map(), &[2]);
    assert_eq!(node.backend.state(), State::Starting);
    node.relay_up();
    assert_eq!(node.backend.state(), State::Running);
}

#[test]
fn down_and_up() {
    let mut node = Fixture::running();
    let told = node.want_running(false);
    assert!(told.contains(&"pause true".to_owned()), "{told:?}");
    assert_eq!(seen(&told), ["> Stopped", "> prefs up=false", "> health [\"wantrunning-false\"]"]);
    assert!(node.backend.relay_config().paused && !node.backend.self_config().running);
    assert!(node.backend.peer_config(NodeId(2), node.now).is_none());
    assert_eq!(node.want_running(false), [""; 0], "twice does nothing");
    node.input(Input::Relay(derp::Event::Disconnected {
        region: RegionId(1),
        error: String::new(),
        home: true,
    }));

    let told = node.want_running(true);
    assert!(told.contains(&"pause false".to_owned()), "{told:?}");
    assert_eq!(seen(&told), ["> Starting", "> prefs up=true", "> health [\"warming-up\"]"]);
    assert_eq!(seen(&node.relay_up()), ["> Running", "> health []"]);
    assert!(node.backend.peer_config(NodeId(2), node.now).is_some());
}

#[test]
fn logout_forgets_the_profile_once_control_agrees() {
    let mut node = Fixture::running();
    let (answer, told) = node.ask(Command::Logout);
    assert!(answer.is_none(), "not before control has answered");
    assert_eq!(told.last().map(String::as_str), Some("> health [\"wantrunning-false\"]"));
    assert!(told.contains(&"logout".to_owned()));
    node.input(Input::LoggedOut(Ok(())));
    assert_eq!(node.backend.state(), State::NeedsLogin);
    assert!(!node.backend.have_node_key() && node.backend.netmap().is_none());
    assert!(node.backend.profiles().list().is_empty());
    let machine_key = node.store.read("_machinekey").map(<[u8]>::to_vec);
    let mut again = node.restarted();
    again.input(Input::Start);
    assert_eq!(again.backend.state(), State::NeedsLogin);
    assert_eq!(again.store.read("_machinekey").map(<[u8]>::to_vec), machine_key, "the machine stays itself");
}

#[test]
fn a_logout_that_fails_can_be_taken_back() {
    let mut node = Fixture::running();
    node.ask(Command::Logout);
    node.input(Input::LoggedOut(Err("no answer".to_owned())));
    assert!(node.backend.have_node_key() && node.backend.prefs().logged_out);
    let told = node.want_running(true);
    assert!(told.contains(&"login key=- new=false".to_owned()), "{told:?}");
    node.control(registered(1));
    assert!(!node.backend.prefs().logged_out);
}

#[test]
fn everybody_who_logs_out_hears_what_came_of_it() {
    let mut node = Fixture::running();
    let heard = Rc::new(RefCell::new(Vec::new()));
    let mut told = Vec::new();
    for who in 0..2 {
        let heard = heard.clone();
        let reply = Reply::new(move |result| heard.borrow_mut().push((who, result)));
        told.extend(node.input(Input::Command(Command::Logout(reply))));
    }
    assert_eq!(told.iter().filter(|word| *word == "logout").count(), 1, "{told:?}");
    node.input(Input::LoggedOut(Ok(())));
    assert_eq!(*heard.borrow(), [(0, Ok(())), (1, Ok(()))]);
}

#[test]
fn a_logout_ends_the_profile_that_it_was_for() {
    let mut node = Fixture::running();
    node.ask(Command::Logout);
    node.ask(Command::NewProfile);
    node.start("", |prefs| prefs.hostname = "kept".to_owned());
    node.input(Input::LoggedOut(Ok(())));
    assert!(node.backend.profiles().list().is_empty());
    assert_eq!(node.backend.prefs().hostname, "kept");
    // The map that gives it its id comes after the logout has begun.
    let mut node = Fixture::new();
    node.input(Input::Start);
    node.start("k", |_| {});
    node.control(registered(1));
    node.ask(Command::Logout);
    node.map(first_map(), &[]);
    assert_eq!(node.backend.profiles().list().len(), 1);
    node.input(Input::LoggedOut(Ok(())));
    assert!(node.backend.profiles().list().is_empty() && !node.backend.have_node_key());
}

#[test]
fn what_was_found_of_one_profile_is_not_told_of_another() {
    let mut node = Fixture::running();
    node.control(Event::LoginFailed { error: Error::Refused("no".to_owned()), retrying: true });
    let activity = ::control::Activity::Map;
    node.control(Event::Trouble { activity, error: Some(Error::StreamEnded) });
    let (region, home) = (RegionId(1), true);
    node.input(Input::Relay(derp::Event::Health { region, text: "full".to_owned() }));
    node.input(Input::Relay(derp::Event::Disconnected { region, home, error: "gone".to_owned() }));
    let exit = routing::router(2, &["0.0.0.0/0", "::/0"]);
    node.control(Event::MapItem(MapItem::Peer(Box::new(exit))));
    node.map(delta(Delta::default()), &[]);
    node.control(Event::Trouble { activity, error: Some(Error::StreamEnded) });
    let (_, told) = node.ask(Command::NewProfile);
    assert_eq!((node.backend.home_error.as_str(), node.backend.suggested()), ("", ""));
    let suggests = told.contains(&"> suggests \"\"".to_owned());
    assert_eq!(suggests, crate::parts::useexitnode::FEATURE.is_some(), "{told:?}");
    for what in [Warnable::LoginState, Warnable::ControlUnreachable, Warnable::DerpRegionError] {
        assert!(!node.backend.health.is_set(what), "{what:?}");
    }
}

#[test]
fn profiles_are_kept_apart() {
    let mut node = Fixture::running();
    let first = node.backend.profiles().current().id.clone();
    let (answer, told) = node.ask(Command::NewProfile);
    assert_eq!(answer, Some(Ok(())));
    assert!(seen(&told).contains(&"> NeedsLogin"), "{told:?}");
    assert!(!node.backend.have_node_key() && node.backend.netmap().is_none());
    let (answer, _) = node.ask(|reply| Command::SwitchProfile("nope".to_owned(), reply));
    assert!(matches!(answer, Some(Err(_))));
    let (answer, told) = node.ask(|reply| Command::SwitchProfile(first.clone(), reply));
    assert_eq!(answer, Some(Ok(())));
    assert!(told.contains(&"login key=- new=false".to_owned()), "{told:?}");
    assert_eq!(node.persist().private_node_key.public(), key(1).public());
    let (_, told) = node.ask(|reply| Command::SwitchProfile(first, reply));
    assert_eq!(told, [""; 0], "already in use");
}

#[test]
fn a_node_that_is_not_to_synchronize_leaves_control_alone_and_says_so() {
    let mut node = Fixture::running();
    let sync = |node: &mut Fixture, on: bool| {
        let edit = MaskedPrefs {
            prefs: Prefs { sync: OptBool::from(on), ..Prefs::default() },
            mask: PrefsMask { sync: true, ..PrefsMask::default() },
        };
        node.ask(|reply| Command::EditPrefs(Box::new(edit), reply)).1
    };
    let told = sync(&mut node, false);
    assert!(told.contains(&"pause true".to_owned()), "{told:?}");
    assert!(seen(&told).contains(&"> health [\"sync-disabled\"]"), "{told:?}");
    assert_eq!(node.backend.state(), State::Running, "what is known goes on working");
    assert!(node.backend.peer_config(NodeId(2), node.now).is_some() && !node.backend.in_map_poll());
    assert!(!node.backend.follows_control(), "another network is no reason to ask control again");
    // Up and down do not change that, nor does a start.
    assert!(
        ![false, true].iter().any(|up| node.want_running(*up).iter().any(|word| word.starts_with("pause")))
    );
    let told = sync(&mut node, true);
    assert!(told.contains(&"pause false".to_owned()) && node.backend.follows_control(), "{told:?}");
    sync(&mut node, false);
    let mut node = node.restarted();
    let told = node.input(Input::Start);
    assert_eq!(told.iter().filter(|word| *word == "pause true").count(), 1, "{told:?}");
}
