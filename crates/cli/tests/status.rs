//! `status` and what every command says without a daemon.

mod support;

use expect_test::{expect, expect_file};
use serde_json::{Value, json};
use support::{Script, check, recorded, run, run_as, state};

#[test]
fn status_as_the_go_tool_prints_it() {
    let script = recorded();
    expect_file!["data/status.txt"].assert_eq(&run(&script, "status").out);
    expect_file!["data/status-active.txt"]
        .assert_eq(&run(&script, "status --header --active --self=false").out);
    let json = run(&script, "status --json").out;
    expect_file!["data/status.json.out"].assert_eq(&json);
    let active: Value = serde_json::from_str(&run(&script, "status --json --active").out).unwrap();
    assert_eq!(active["Peer"].as_object().unwrap().len(), 4);
    assert_eq!(run(&script, "status --peers=false").calls, ["GET status?peers=false"]);
}

#[test]
fn a_terminal_obeys_nobody_in_the_tailnet() {
    let mut now = support::nodes::status("Running");
    now["Health"] = json!(["all is well\u{1b}]0;owned\u{7}"]);
    let peer = now["Peer"].as_object_mut().unwrap().values_mut().next().unwrap();
    peer["OS"] = json!("li\u{9b}2Jnux\n100.64.0.9\tfalse\u{1b}[1m");
    let script = Script::new(&now, &json!({}));
    let done = run(&script, "status --self=false");
    assert_eq!(done.status, 0);
    assert!(done.out.chars().all(|c| c == '\n' || !c.is_control()), "{:?}", done.out);
    assert!(done.out.contains("li\u{fffd}2Jnux\u{fffd}100.64.0.9\u{fffd}false\u{fffd}[1m"), "{:?}", done.out);
    assert!(run(&script, "status --json").out.contains('\u{9b}'), "JSON is passed on as it is");
    let who = r#"{"Node":{"Name":"a\u001b[2J.","Addresses":[]},"UserProfile":{"LoginName":"b\nUser:"}}"#;
    let done = run(&script.answer("GET whois", 200, who), "whois 100.64.0.6");
    assert!(done.out.contains("a\u{fffd}[2J\n") && done.out.contains("b\u{fffd}User:\n"), "{:?}", done.out);
}

#[test]
fn status_keeps_what_it_does_not_know() {
    let script = Script::new(&json!({}), &json!({})).answer(
        "GET status",
        200,
        r#"{"New":[1.50,{"x":null}],"Peer":{"k":{"Active":true,"Y":"é<"}}}"#,
    );
    check(
        &script,
        "status --json",
        expect![[r#"
        > GET status
        -- out
        {
          "New": [
            1.50,
            {
              "x": null
            }
          ],
          "Peer": {
            "k": {
              "Active": true,
              "Y": "é<"
            }
          }
        }⏎
        -- status 0
    "#]],
    );
    check(
        &script,
        "status --json --active",
        expect![[r#"
        > GET status
        -- out
        {
          "New": [
            1.50,
            {
              "x": null
            }
          ],
          "Peer": {
            "k": {
              "Active": true,
              "Y": "é<"
            }
          }
        }⏎
        -- status 0
    "#]],
    );
}

#[test]
fn status_of_a_node_that_does_not_run() {
    check(
        &Script::new(&state("Stopped"), &json!({})),
        "status",
        expect![[r#"
        > GET status
        -- out
        Tailscale is stopped.
        -- status 1
    "#]],
    );
    check(
        &Script::new(&state("NoState"), &json!({})),
        "status",
        expect![[r#"
        > GET status
        -- out
        # Health check:
        #     - a
        #     - b

        unexpected state: NoState
        -- status 1
    "#]],
    );
    let mut asks = state("NeedsLogin");
    asks["AuthURL"] = "https://c.example/a/1".into();
    check(
        &Script::new(&asks, &json!({})),
        "status",
        expect![[r#"
        > GET status
        -- out
        Logged out.
        Log in at: https://c.example/a/1
        -- status 1
    "#]],
    );
    asks["Health"] = json!(["Cannot reach the coordination server: no answer yet from https://c.example"]);
    check(
        &Script::new(&asks, &json!({})),
        "status",
        expect![[r#"
        > GET status
        -- out
        # Health check:
        #     - Cannot reach the coordination server: no answer yet from https://c.example

        Logged out.
        Log in at: https://c.example/a/1
        -- status 1
    "#]],
    );
    check(
        &recorded(),
        "status x",
        expect![[r#"
        -- err
        unexpected non-flag arguments to 'tailscale status'
        -- status 1
    "#]],
    );
    check(
        &recorded(),
        "status --web",
        expect![[r#"
        -- err
        --web: this build has no web interface; use --json
        -- status 1
    "#]],
    );
}

#[test]
fn no_daemon() {
    let gone =
        |line: &str| run_as(&recorded(), line, |env| env.socket = "/nonexistent/s".into()).transcript();
    expect![[r#"
        -- err
        failed to connect to local tailscaled; it doesn't appear to be running (socket /nonexistent/s: no such file or directory)
        -- status 1
    "#]].assert_eq(&gone("status"));
    expect![[r#"
        -- err
        failed to connect to local tailscaled; it doesn't appear to be running (socket /nonexistent: no such file or directory)
        -- status 1
    "#]].assert_eq(&gone("--socket=/nonexistent up"));
    expect![[r#"
        -- out
        {
          "Error": "failed to connect to local tailscaled; it doesn't appear to be running (socket /nonexistent/s: no such file or directory)"
        }
        -- status 1
    "#]].assert_eq(&gone("up --json"));
    expect![[r#"
        -- err
        error fetching current status: Failed to connect to local Tailscale daemon for /localapi/v0/status; not running? Error: dial unix /nonexistent/s: connect: no such file or directory
        -- status 1
    "#]].assert_eq(&gone("down"));
    expect![[r#"
        -- err
        Failed to connect to local Tailscale daemon for /localapi/v0/prefs; not running? Error: dial unix /nonexistent/s: connect: no such file or directory
        -- status 1
    "#]].assert_eq(&gone("get"));
    expect![[r#"
        -- err
        Failed to connect to local Tailscale daemon for /localapi/v0/status; not running? Error: dial unix /nonexistent/s: connect: no such file or directory
        -- status 1
    "#]].assert_eq(&gone("version --daemon"));
}
