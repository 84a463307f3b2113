//! A store that cannot be used, and writes that fail.

use super::*;

#[test]
fn a_store_that_cannot_be_used_keeps_the_node_down_and_says_why() {
    let mut node = Fixture::over(Store::memory(), Some("state file /s is damaged"));
    node.input(Input::Start);
    assert_eq!(node.backend.state(), State::NoState);
    assert!(
        node.health().iter().any(|text| text.contains("state file /s is damaged")),
        "{:?}",
        node.health()
    );
    let (answer, told) = node.ask(|reply| Command::Start(Box::default(), reply));
    assert!(matches!(answer, Some(Err(text)) if text.contains("state file /s is damaged")));
    assert_eq!(told, [""; 0]);
    let (answer, told) = node.ask(Command::LoginInteractive);
    assert!(matches!(answer, Some(Err(text)) if text.contains("damaged")));
    assert_eq!(told, [""; 0]);
    let edit = MaskedPrefs {
        prefs: Prefs { want_running: true, ..Prefs::default() },
        mask: PrefsMask { want_running: true, ..PrefsMask::default() },
    };
    let (answer, _) = node.ask(|reply| Command::EditPrefs(Box::new(edit), reply));
    assert!(matches!(answer, Some(Err(_))));
    assert_eq!(node.backend.state(), State::NoState);
    assert!(node.store.read("_machinekey").is_none(), "no new identity");
}

#[test]
fn damaged_values_are_a_store_that_cannot_be_used() {
    for (name, value) in [("_machinekey", "privkey:zz"), ("_profiles", "nope"), ("_machinekey", "")] {
        let mut store = Fixture::running().store;
        store.write(vec![(name.to_owned(), Some(value.as_bytes().to_vec()))]).expect("write");
        let mut node = Fixture::over(store, None);
        let told = node.input(Input::Start);
        assert!(!told.contains(&"save".to_owned()), "{name}: {told:?}");
        assert_eq!(node.backend.state(), State::NoState, "{name}");
        assert!(node.health().iter().any(|text| text.contains("in the state file is damaged")), "{name}");
    }
}

#[test]
fn a_failed_write_is_told_and_made_up_for() {
    let mut node = Fixture::running();
    node.disk = Err("state file /s: no space".to_owned());
    let edit = MaskedPrefs {
        prefs: Prefs { hostname: "x".to_owned(), ..Prefs::default() },
        mask: PrefsMask { hostname: true, ..PrefsMask::default() },
    };
    let (answer, _) = node.ask(|reply| Command::EditPrefs(Box::new(edit), reply));
    assert!(matches!(answer, Some(Ok(_))), "it holds until the node ends");
    assert_eq!(node.backend.state(), State::Running);
    // Told with the next turn of the backend, which the answer of the store is.
    node.input(Input::Timeout);
    assert_eq!(node.health(), ["state file /s: no space"]);
    assert_eq!(node.pass(299).iter().filter(|word| *word == "save again").count(), 0);
    assert_eq!(node.pass(2).iter().filter(|word| *word == "save again").count(), 1);
    node.disk = Ok(());
    assert_eq!(node.pass(600).iter().filter(|word| *word == "save again").count(), 1);
    assert!(node.health().is_empty());
}

#[test]
fn an_edit_that_changes_nothing_writes_nothing() {
    let mut node = Fixture::running();
    assert_eq!(node.want_running(true), [""; 0]);
}
