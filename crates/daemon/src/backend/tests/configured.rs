//! A node that a configuration file sets up; its key that is to expire sooner; control left on demand.

use super::*;
use crate::config::{self, Config, LOCKED};

fn file(members: &str) -> Config {
    config::parse(format!("{{\"version\":\"alpha0\"{members}}}").as_bytes()).expect("a configuration")
}

/// The daemon has read a file with these members.
fn configure(node: &mut Fixture, members: &str) -> Vec<String> {
    let config = Box::new(file(members));
    let (answer, told) = node.ask(|reply| Command::SetConfig(config, reply));
    assert_eq!(answer, Some(Ok(())));
    told
}

const KEY: &str = r#","ServerURL":"http://c.example","AuthKey":"tskey-auth-f","Hostname":"r9""#;

fn login(told: &[String]) -> Option<&str> {
    told.iter().rev().find(|word| word.starts_with("login ")).map(String::as_str)
}

#[test]
fn a_file_with_a_key_is_all_that_a_new_node_needs() {
    let mut node = Fixture::new();
    assert_eq!(configure(&mut node, KEY), [""; 0], "nothing happens before the start");
    let told = node.input(Input::Start);
    assert!(told.contains(&"start control at http://c.example".to_owned()), "{told:?}");
    assert_eq!(login(&told), Some("login key=tskey-auth-f new=false"));
    node.control(registered(1));
    node.control(Event::MapUp);
    node.map(first_map(), &[2]);
    node.relay_up();
    assert_eq!(node.backend.state(), State::Running);
    assert_eq!(node.backend.hostname(), "r9");

    let mut node = node.restarted();
    assert_eq!(configure(&mut node, KEY), [""; 0], "nothing is written that is there already");
    let told = node.input(Input::Start);
    assert!(login(&told).is_some());
    assert!(node.backend.have_node_key(), "the login is still there");
}

#[test]
fn without_a_key_it_waits_for_a_login() {
    let mut node = Fixture::new();
    configure(&mut node, "");
    let told = node.input(Input::Start);
    assert_eq!(login(&told), None);
    assert_eq!(node.backend.state(), State::NeedsLogin);
    // The file gets its key later.
    let told = configure(&mut node, KEY);
    assert_eq!(login(&told), Some("login key=tskey-auth-f new=false"));
    let mut node = Fixture::new();
    configure(&mut node, r#","AuthKey":"k","Enabled":false"#);
    assert_eq!(login(&node.input(Input::Start)), None, "not wanted up");
}

#[test]
fn a_locked_file_stands_in_the_way_of_every_change() {
    let mut node = Fixture::new();
    configure(&mut node, KEY);
    node.input(Input::Start);
    node.control(registered(1));
    let down = MaskedPrefs {
        mask: PrefsMask { want_running: true, ..PrefsMask::default() },
        ..MaskedPrefs::default()
    };
    let locked = || Err(LOCKED.to_owned());
    assert_eq!(
        node.ask(|reply| Command::EditPrefs(Box::new(down), reply)).0.map(|r| r.map(drop)),
        Some(locked())
    );
    let prefs = Box::new(node.backend.prefs().clone());
    assert_eq!(node.ask(|reply| Command::CheckPrefs(prefs, reply)).0, Some(locked()));
    let options = || Options { update_prefs: Some(Box::default()), ..Options::default() };
    assert_eq!(node.ask(|reply| Command::Start(Box::new(options()), reply)).0, Some(locked()));
    assert_eq!(node.ask(Command::Logout).0, Some(locked()));
    assert!(node.backend.prefs().want_running && !node.backend.prefs().logged_out);
    // A start that changes nothing is none of these.
    assert_eq!(node.ask(|reply| Command::Start(Box::default(), reply)).0, Some(Ok(())));

    let mut node = Fixture::new();
    configure(&mut node, r#","Locked":false"#);
    node.input(Input::Start);
    node.want_running(false);
    assert!(!node.backend.prefs().want_running);
}

#[test]
fn a_file_that_has_changed_is_put_in_force() {
    let mut node = Fixture::running();
    // As if the daemon had been started with it.
    configure(&mut node, "");
    let told = configure(&mut node, r#","Hostname":"other","acceptRoutes":true"#);
    for effect in ["save", "report", "configure", "> prefs up=true"] {
        assert!(told.contains(&effect.to_owned()), "{effect}: {told:?}");
    }
    assert_eq!(node.backend.hostname(), "other");
    assert_eq!(node.backend.state(), State::Running, "traffic goes on");
    let told = configure(&mut node, r#","Hostname":"other""#);
    assert_eq!(told, [""; 0], "what is the same changes nothing");
    let bad = Box::new(file(r#","Hostname":"a b""#));
    let answer = node.ask(|reply| Command::SetConfig(bad, reply)).0.expect("an answer");
    assert!(answer.expect_err("a bad name").contains("hostname"));
    assert_eq!(node.backend.hostname(), "other");
    configure(&mut node, r#","Enabled":false"#);
    assert_eq!(node.backend.state(), State::Stopped);
}

#[test]
fn endpoints_of_a_file_that_is_refused_are_not_in_force() {
    let mut node = Fixture::running();
    configure(&mut node, "");
    let at = |port| format!(r#","StaticEndpoints":["192.0.2.1:{port}"]"#);
    assert_eq!(configure(&mut node, &at(1)), ["static endpoints [192.0.2.1:1]"]);
    assert_eq!(configure(&mut node, &at(1)), [""; 0]);
    let bad = Box::new(file(&format!(r#"{},"Hostname":"a b""#, at(2))));
    let (answer, told) = node.ask(|reply| Command::SetConfig(bad, reply));
    assert!(answer.expect("an answer").is_err());
    assert_eq!(told, [""; 0]);
    assert_eq!(configure(&mut node, ""), ["static endpoints []"]);
}

#[test]
fn only_control_lets_a_key_expire_sooner() {
    let mut node = Fixture::new();
    let at = Timestamp::from_unix(WALL + 60);
    assert_eq!(node.ask(|reply| Command::ExpireSooner(at, reply)).0, Some(Err("not running".to_owned())));
    let mut node = Fixture::running();
    let (answer, told) = node.ask(|reply| Command::ExpireSooner(at, reply));
    assert_eq!((answer, told), (None, vec![format!("expire at {}", WALL + 60)]), "control answers it");
}

#[test]
fn control_is_left_on_demand() {
    let mut node = Fixture::running();
    let (answer, told) = node.ask(Command::DisconnectControl);
    assert_eq!((answer, told.first().map(String::as_str)), (Some(Ok(())), Some("stop control")));
    assert_eq!(node.backend.state(), State::Running, "peers stay");
    assert!(!node.backend.in_map_poll());
    assert_eq!(node.ask(Command::DisconnectControl), (Some(Ok(())), Vec::new()));
    assert!(node.start("", |_| {}).iter().any(|word| word.starts_with("start control")));
}

#[test]
fn a_logout_after_control_was_left_is_told_to_control() {
    let mut node = Fixture::running();
    node.ask(Command::DisconnectControl);
    let (answer, told) = node.ask(Command::Logout);
    assert_eq!(answer, None, "control answers it");
    let start = told.iter().position(|word| word.starts_with("start control")).expect("a client");
    let end = told.iter().position(|word| word == "logout").expect("a logout");
    assert!(start < end, "{told:?}");
}
