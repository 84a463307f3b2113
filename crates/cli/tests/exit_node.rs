//! `exit-node`: the table of nodes that offer to be one, and the best of them.

mod support;

use expect_test::expect;
use serde_json::json;
use support::{Script, check, run};

const STATUS: &str = include_str!("data/exit-nodes.json");

fn script() -> Script {
    Script::new(&json!({}), &json!({})).answer("GET status", 200, STATUS)
}

/// What was said above the hints, whose wording is our own.
fn table(line: &str) -> String {
    let said = run(&script(), line).out;
    said.split("\n#").next().unwrap_or_default().to_owned()
}

/// The tables are what Go's command line 1.102.5 says of the same status.
#[test]
fn countries_of_several_cities_begin_with_their_best() {
    assert_eq!(table("exit-node list"), include_str!("data/exit-nodes.txt"));
    assert_eq!(table("exit-node list --filter=sweden"), include_str!("data/exit-nodes-sweden.txt"));
}

#[test]
fn hints_name_what_can_be_done() {
    let said = run(&script(), "exit-node list").out;
    assert!(said.contains("exit-node list --filter=") && said.contains("exit-node suggest"), "{said}");
    let unmarked = script().answer("GET status", 200, &STATUS.replace("suggest-exit-node", "other"));
    let said = run(&unmarked, "exit-node list").out;
    assert!(said.contains("set --exit-node=") && !said.contains("exit-node suggest"), "{said}");
    check(
        &script(),
        "exit-node list --filter=Italy",
        expect![[r#"
            > GET status
            -- err
            no exit nodes found for "Italy"
            -- status 1
        "#]],
    );
}

#[test]
fn a_suggestion_has_the_name_that_the_daemon_gives() {
    let best = r#"{"ID":"n1","Name":"home.tail.example."}"#;
    check(
        &script().answer("GET suggest-exit-node", 200, best),
        "exit-node suggest",
        expect![[r#"
            > GET suggest-exit-node
            -- out
            Suggested exit node: home.tail.example.
            To use it: tailscale set --exit-node=home.tail.example.
            -- status 0
        "#]],
    );
    check(
        &script().answer("GET suggest-exit-node", 200, r#"{"ID":"","Name":""}"#),
        "exit-node suggest",
        expect![[r#"
            > GET suggest-exit-node
            -- out
            No exit node suggestion is available.
            -- status 0
        "#]],
    );
}
