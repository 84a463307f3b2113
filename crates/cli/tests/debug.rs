//! `debug`, `bugreport`, `metrics`: what is asked of the daemon, and how its answers are printed.

// Also in functions that are no tests themselves.
#![allow(clippy::unwrap_used)]

mod support;

use expect_test::expect;
use serde_json::json;
use support::{Script, check, recorded, run};

#[test]
fn debug() {
    check(
        &Script::new(&json!({}), &json!({"A": {}, "B": [1]})),
        "debug prefs",
        expect![[r#"
        > GET prefs
        -- out
        {
        	"A": {},
        	"B": [
        		1
        	]
        }
        -- status 0
    "#]],
    );
    check(
        &recorded().answer("GET derpmap", 200, "null\n"),
        "debug derp-map",
        expect![[r#"
        > GET derpmap
        -- out
        {
        	"Regions": null
        }
        -- status 0
    "#]],
    );
    check(
        &recorded().answer("POST debug?action=current-netmap", 200, "{\"Peers\":[]}\n"),
        "debug netmap",
        expect![[r#"
        > POST debug?action=current-netmap
        -- out
        {
        	"Peers": []
        }
        -- status 0
    "#]],
    );
    let bus = recorded().bus("", &[r#"{"State":4,"Odd":{"x":1}}"#, r#"{"State":5}"#]);
    check(
        &bus,
        "debug watch-ipn --count=1 --initial --peer-patches=false",
        expect![[r#"
        > GET watch-ipn-bus?mask=12294
        -- out
        {
        	"State": 4,
        	"Odd": {
        		"x": 1
        	}
        }
        -- err
        Connected.
        -- status 0
    "#]],
    );
    check(
        &recorded().answer("POST x/y?z=1", 200, "raw"),
        "debug localapi POST v0/x/y?z=1 body",
        expect![[r#"
        > POST x/y?z=1 body
        -- out
        raw⏎
        -- err
        # doing request POST /localapi/v0/x/y?z=1
        -- status 0
    "#]],
    );
    check(
        &recorded(),
        "debug localapi nosuch",
        expect![[r#"
            > GET nosuch
            -- out
            404 page not found
            -- err
            # doing request GET /localapi/v0/nosuch
            # Response status 404 Not Found
            404 Not Found
            -- status 1
        "#]],
    );
    let done = run(&recorded().answer("GET x", 200, "body"), "debug localapi -v x");
    assert_eq!((done.status, done.out.as_str()), (0, "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nbody"));
    assert_eq!(done.err, "# doing request GET /localapi/v0/x\n");
    check(
        &recorded(),
        "debug localapi",
        expect![[r#"
        -- err
        expected at least one argument
        -- status 1
    "#]],
    );
    check(
        &recorded().answer("POST reload-config", 200, r#"{"Reloaded":true,"Err":""}"#),
        "debug reload-config",
        expect![[r#"
        > POST reload-config
        -- out
        config reloaded
        -- status 0
    "#]],
    );
    check(
        &recorded().answer("POST reload-config", 200, r#"{"Reloaded":false,"Err":""}"#),
        "debug reload-config",
        expect![[r#"
        > POST reload-config
        -- out
        config mode not in use
        -- status 1
    "#]],
    );
    check(
        &recorded().answer("POST reload-config", 200, ""),
        "debug reload-config",
        expect![[r#"
        > POST reload-config
        -- err
        the configuration file was not taken; see the daemon's log
        -- status 1
    "#]],
    );
}

#[test]
fn pushes_are_silent() {
    for (line, call) in [
        ("restun", "POST debug?action=restun"),
        ("rebind", "POST debug?action=rebind"),
        ("break-derp-conns", "POST debug?action=break-derp-conns"),
        ("derp-set-on-demand", "POST debug?action=derp-set-homeless"),
        ("clear-netmap-cache", "POST debug?action=clear-netmap-cache"),
    ] {
        let done = run(&recorded().answer(call, 200, "done\n"), &format!("debug {line}"));
        assert_eq!(
            (done.status, done.out + &done.err, done.calls),
            (0, String::new(), vec![call.to_owned()])
        );
    }
    check(
        &recorded().answer("POST debug?action=force-prefer-derp", 200, "done\n"),
        "debug force-prefer-derp 12",
        expect![[r#"
            > POST debug?action=force-prefer-derp 12
            -- status 0
        "#]],
    );
    let script = recorded().answer("POST debug?action=rebind", 400, "unknown action \"rebind\"\n");
    check(
        &script,
        "debug rebind",
        expect![[r#"
        > POST debug?action=rebind
        -- err
        400 Bad Request: unknown action "rebind"
        -- status 1
    "#]],
    );
    check(
        &script,
        "debug rebind now",
        expect![[r#"
        -- err
        too many non-flag arguments: ["now"]
        -- status 1
    "#]],
    );
    // Built without `debug`.
    check(
        &recorded(),
        "debug restun",
        expect![[r#"
        > POST debug?action=restun
        -- err
        this tailscaled cannot do that: the part is not in its build
        -- status 1
    "#]],
    );
}

#[test]
fn answers_of_single_calls() {
    let script = recorded()
        .answer("POST debug?action=statedir", 200, "\"/var/lib/tailscale\"\n")
        .answer("POST debug?action=control-knobs", 200, "{\"A\":true,\"B\":[]}\n")
        .answer("POST debug-derp-region?region=a%20b", 200, "{\"Info\":null,\"Errors\":[\"x\"]}")
        .answer("POST component-debug-logging?component=magicsock&secs=90", 200, "{\"Error\":\"\"}\n")
        .answer("POST component-debug-logging?component=x&secs=0", 200, "{\"Error\":\"no such component\"}\n")
        .answer("POST set-expiry-sooner?expiry=1795303600", 200, "done\n")
        .answer("GET debug-peer-endpoint-changes?ip=100.64.0.6", 200, "[{\"What\":\"x\"}]\n")
        .answer("GET metrics", 200, "# TYPE a counter\na 1\n");
    for (line, want) in [
        ("debug statedir", "/var/lib/tailscale\n"),
        ("debug control-knobs", "{\n  \"A\": true,\n  \"B\": []\n}\n"),
        ("debug derp a%20b", "{\n \"Info\": null,\n \"Errors\": [\n  \"x\"\n ]\n}\n"),
        (
            "debug component-logs --for=1m30s magicsock",
            "Enabled debug logs for component \"magicsock\" for 1m30s\n",
        ),
        ("debug set-expire --in=1h", ""),
        ("debug peer-endpoint-changes 100.64.0.6", "[\n  {\n    \"What\": \"x\"\n  }\n]\n"),
        ("debug metrics", "# TYPE a counter\na 1\n"),
    ] {
        let done = run(&script, line);
        assert_eq!((done.status, done.out.as_str(), done.err.as_str()), (0, want, ""), "{line}");
    }
    for (line, text) in [
        ("debug component-logs --for=0 x", "no such component\n"),
        ("debug component-logs", "usage: tailscale debug component-logs [magicsock|sockstats|syspolicy]\n"),
        ("debug set-expire", "usage: tailscale debug set-expire --in=<duration>\n"),
        ("debug force-prefer-derp x", "usage: tailscale debug force-prefer-derp <region-id>\n"),
        ("debug derp", "usage: tailscale debug derp <region>\n"),
        ("debug prefs --pretty", "--pretty is not in this build\n"),
        ("debug prefs x", "too many non-flag arguments: [\"x\"]\n"),
    ] {
        let done = run(&script, line);
        assert_eq!((done.status, done.out.as_str(), done.err.as_str()), (1, "", text), "{line}");
    }
}

#[test]
fn bugreport() {
    let script = recorded().answer("POST bugreport?note=it%20hangs&diagnose=true", 200, "BUG-1\n");
    check(
        &script,
        "bugreport --diagnose it%20hangs",
        expect![[r#"
        > POST bugreport?note=it%20hangs&diagnose=true
        -- out
        BUG-1
        -- status 0
    "#]],
    );
    check(
        &script,
        "bugreport it hangs",
        expect![[r#"
        -- err
        unknown arguments; put the note in quotes
        -- status 1
    "#]],
    );
    check(
        &recorded(),
        "bugreport",
        expect![[r#"
        > POST bugreport?note=&diagnose=false
        -- err
        this tailscaled cannot do that: the part is not in its build
        -- status 1
    "#]],
    );
}

#[test]
fn metrics() {
    let script = recorded().answer("GET usermetrics", 200, "a 1\n");
    for line in ["metrics", "metrics print"] {
        let done = run(&script, line);
        assert_eq!((done.status, done.out.as_str()), (0, "a 1\n"));
    }
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("tailscaled.prom");
    std::fs::write(&file, "old").unwrap();
    let done = run(&script, &format!("metrics write {}", file.display()));
    assert_eq!((done.status, done.out + &done.err), (0, String::new()));
    assert_eq!(std::fs::read_to_string(&file).unwrap(), "a 1\n");
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
    let done = run(&script, "metrics write /nosuch/dir/file");
    assert_eq!(done.status, 1);
    assert!(done.err.starts_with("cannot write /nosuch/dir/file: "), "{}", done.err);
    check(
        &script,
        "metrics wriet x",
        expect![[r#"
        -- err
        tailscale metrics: unknown subcommand: wriet
        -- status 1
    "#]],
    );
    check(
        &recorded(),
        "metrics",
        expect![[r#"
        > GET usermetrics
        -- err
        this tailscaled cannot do that: the part is not in its build
        -- status 1
    "#]],
    );
}
