//! `up` when something is wrong: errors, limits, warnings, risks, rights.

mod support;

use expect_test::expect;
use serde_json::json;
use support::nodes::{fresh, plain, status};
use support::{Script, check, recorded, run, run_as};

#[test]
fn a_daemon_without_a_bus_does_what_is_asked() {
    let script = Script::new(&status("NeedsLogin"), &fresh()).answer("GET watch-ipn-bus", 404, "not here\n");
    check(
        &script,
        "up --auth-key=k",
        expect![[r#"
        > GET status
        > GET prefs
        > GET watch-ipn-bus?mask=0
        > POST check-prefs ControlURL="https://controlplane.tailscale.com" WantRunning=true
        > POST start AuthKey="k" ControlURL="https://controlplane.tailscale.com" WantRunning=true
        > POST login-interactive
        > GET status?peers=false
        -- err
        not waiting: the daemon was built without feature ipnbus; `tailscale status` tells how far it is
        -- status 0
    "#]],
    );
}

#[test]
fn backend_errors_and_limits() {
    let script = Script::new(&status("NeedsLogin"), &fresh())
        .bus("POST login-interactive", &[r#"{"ErrMessage":"invalid key: API key k not valid"}"#]);
    check(
        &script,
        "up --auth-key=k",
        expect![[r#"
        > GET status
        > GET prefs
        > GET watch-ipn-bus?mask=0
        > POST check-prefs ControlURL="https://controlplane.tailscale.com" WantRunning=true
        > POST start AuthKey="k" ControlURL="https://controlplane.tailscale.com" WantRunning=true
        > POST login-interactive
        -- err
        backend error: invalid key: API key k not valid
        -- status 1
    "#]],
    );
    check(
        &script,
        "up --auth-key=k --json",
        expect![[r#"
        > GET status
        > GET prefs
        > GET watch-ipn-bus?mask=0
        > POST check-prefs ControlURL="https://controlplane.tailscale.com" WantRunning=true
        > POST start AuthKey="k" ControlURL="https://controlplane.tailscale.com" WantRunning=true
        > POST login-interactive
        -- out
        {
          "Error": "backend error: invalid key: API key k not valid"
        }
        -- status 1
    "#]],
    );
    let script =
        Script::new(&status("NeedsLogin"), &fresh()).bus("POST login-interactive", &[r#"{"State":2}"#]);
    check(
        &script,
        "up --timeout=50ms",
        expect![[r#"
        > GET status
        > GET prefs
        > GET watch-ipn-bus?mask=0
        > POST check-prefs ControlURL="https://controlplane.tailscale.com" WantRunning=true
        > POST start AuthKey="" ControlURL="https://controlplane.tailscale.com" WantRunning=true
        > POST login-interactive
        -- err
        timeout waiting for Tailscale service to enter a Running state; check health with "tailscale status"
        -- status 1
    "#]],
    );
    check(
        &script.bus_ends(),
        "up",
        expect![[r#"
        > GET status
        > GET prefs
        > GET watch-ipn-bus?mask=0
        > POST check-prefs ControlURL="https://controlplane.tailscale.com" WantRunning=true
        > POST start AuthKey="" ControlURL="https://controlplane.tailscale.com" WantRunning=true
        > POST login-interactive
        -- err
        tailscaled closed the connection before the node was running; see its log
        -- status 1
    "#]],
    );
}

#[test]
fn what_keeps_a_node_from_running_is_told_once() {
    let trouble = |code: &str, text: &str| {
        let state = json!({"WarnableCode": code, "Severity": "medium", "Title": "t", "Text": text});
        json!({"Health": {"Warnings": {code: state}}}).to_string()
    };
    let (far, plain) = (trouble("no-derp-connection", "no relay 'r1' (refused)"), trouble("router", "other"));
    let control = trouble("control-unreachable", "no control");
    let script = Script::new(&status("NeedsLogin"), &fresh())
        .bus("POST login-interactive", &[&control, &far, &far, &plain, r#"{"State":6}"#]);
    check(
        &script,
        "up",
        expect![[r#"
            > GET status
            > GET prefs
            > GET watch-ipn-bus?mask=0
            > POST check-prefs ControlURL="https://controlplane.tailscale.com" WantRunning=true
            > POST start AuthKey="" ControlURL="https://controlplane.tailscale.com" WantRunning=true
            > POST login-interactive
            > GET status?peers=false
            -- err
            # Still trying; Ctrl-C ends the waiting, not the node.
            # no control
            # no relay 'r1' (refused)
            -- status 0
        "#]],
    );
}

#[test]
fn warnings_and_health_go_to_standard_output_but_not_among_json() {
    let mut now = status("Running");
    now["Health"] = json!([
        "Some peers are advertising routes but --accept-routes is false",
        "Update available: 9",
        "other"
    ]);
    let warning = r#"{"Warning":"IP forwarding is disabled.\nSee https://example.com"}"#;
    let script = Script::new(&now, &plain()).answer("GET check-ip-forwarding", 200, warning);
    let line = "up --login-server=https://c.example --advertise-exit-node --snat-subnet-routes=false --netfilter-mode=off";
    check(
        &script,
        line,
        expect![[r#"
        > GET status
        > GET check-ip-forwarding
        > GET check-udp-gro-forwarding
        > GET prefs
        > PATCH prefs AdvertiseRoutes=["0.0.0.0/0","::/0"] ControlURL="https://c.example" NetfilterMode=0 NoSNAT=true WantRunning=true
        > GET status?peers=false
        -- out
        Warning: --snat-subnet-routes=false is set with --advertise-exit-node; internet traffic through this exit node may not work as expected
        Warning: netfilter=off; configure iptables yourself.
        Warning: IP forwarding is disabled.
        See https://example.com
        # Health check warnings:
        #     - Some peers are advertising routes but --accept-routes is false
        #     - Update available: 9
        -- status 0
    "#]],
    );
    check(
        &script,
        &format!("{line} --json"),
        expect![[r#"
        > GET status
        > GET check-ip-forwarding
        > GET check-udp-gro-forwarding
        > GET prefs
        > PATCH prefs AdvertiseRoutes=["0.0.0.0/0","::/0"] ControlURL="https://c.example" NetfilterMode=0 NoSNAT=true WantRunning=true
        -- status 0
    "#]],
    );
}

#[test]
fn over_ssh_from_the_tailnet_a_risk_must_be_accepted() {
    let script =
        Script::new(&status("Running"), &plain()).bus("POST login-interactive", &[r#"{"ErrMessage":"x"}"#]);
    let line = "up --login-server=https://c.example --force-reauth";
    let over_ssh = |env: &mut cli::Env| {
        env.vars.push(("SSH_CLIENT".to_owned(), "100.64.0.9 50000 22".to_owned()));
    };
    expect![[r#"
        > GET status
        > GET prefs
        -- out
        You are connected over Tailscale; this action may result in your SSH session disconnecting.
        To skip this warning, use --accept-risk=lose-ssh
        -- err
        aborted, no changes made
        -- status 1
    "#]]
    .assert_eq(&run_as(&script, line, over_ssh).transcript());
    let accepted = run_as(&script, &format!("{line} --accept-risk=lose-ssh"), over_ssh);
    assert!(accepted.calls.iter().any(|call| call.starts_with("POST start")));
}

#[test]
fn a_user_without_rights_gets_the_hint() {
    let script =
        Script::new(&status("Running"), &plain()).answer("PATCH prefs", 403, "prefs write access denied\n");
    check(
        &script,
        "up --login-server=https://c.example --auth-key= --hostname=x",
        expect![[r#"
        > GET status
        > GET prefs
        > PATCH prefs ControlURL="https://c.example" Hostname="x" WantRunning=true
        -- err
        Access denied: prefs write access denied

        Use 'sudo tailscale up --login-server=https://c.example --auth-key= --hostname=x'.
        To not require root, use 'sudo tailscale set --operator=$USER' once.
        -- status 1
    "#]],
    );
}

#[test]
fn a_node_that_runs_is_told_of_a_refused_key() {
    let line = "up --login-server=https://c.example --auth-key=wrong";
    let script = Script::new(&status("Running"), &plain());
    let again = [r#"{"State":5}"#, r#"{"State":6}"#];
    for (word, want) in [(r#"{"ErrMessage":"invalid key"}"#, 1), (r#"{"LoginFinished":{}}"#, 0)] {
        let done = run(&script.clone().bus("POST start", &[again[0], again[1], word]), line);
        assert_eq!((done.status, done.err.contains("invalid key")), (want, want == 1), "{}", done.err);
    }
    // A daemon that says nothing of it.
    assert_eq!(run(&script.bus("POST start", &again), line).status, 0);
}

#[test]
fn what_is_refused_is_shown_without_the_key() {
    let script = Script::new(&status("Running"), &plain()).answer(
        "POST check-prefs",
        403,
        "prefs write access denied\n",
    );
    for line in [
        "up --auth-key=0123456789abcdef --auth-key=0123456789abcdef",
        "up --authkey 0123456789abcdef --auth-key=k",
        "up --auth-key 0123456789abcdef --auth-key=k --json",
        "up --login-server=https://c.example --auth-key 0123456789abcdef",
    ] {
        let done = run(&script, line);
        assert!(done.status != 0 && !done.transcript().contains("0123456789"), "{}", done.transcript());
    }
}

#[test]
fn wrong_flags_are_json_where_json_is_asked_for() {
    check(
        &recorded(),
        "up --zzz --json",
        expect![[r#"
            -- out
            {
              "Error": "flag provided but not defined: -zzz"
            }
            -- status 2
        "#]],
    );
    for line in ["--socket=/x up -json=true --zzz", "--socket /x up --json --zzz"] {
        let done = run(&recorded(), line);
        assert!(
            done.status == 2 && done.err.is_empty() && done.out.starts_with('{'),
            "{line}: {}",
            done.transcript()
        );
    }
    for line in ["up --zzz", "up --zzz -- --json", "status --json --zzz", "--socket up status --json --zzz"] {
        let done = run(&recorded(), line);
        assert!(
            done.status == 2 && done.out.is_empty() && done.err.contains("zzz"),
            "{line}: {}",
            done.transcript()
        );
    }
}
