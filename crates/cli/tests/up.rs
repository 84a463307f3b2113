//! `up` and `login`: which calls they make, in which order, with which bodies, and what the user sees. (long: a transcript for each variant)

mod support;

use expect_test::expect;
use serde_json::{Value, json};
use support::{Script, check, run, run_as};

fn key(digit: &str) -> String {
    format!("nodekey:{}", digit.repeat(64))
}

fn status(state: &str) -> Value {
    json!({
        "Version": "1.102.5", "TUN": false, "BackendState": state, "HaveNodeKey": state != "NeedsLogin",
        "AuthURL": "", "TailscaleIPs": null, "Self": { "PublicKey": key("1"), "HostName": "router" },
        "Health": [], "Peer": { key("6"): {
            "ID": "n6", "PublicKey": key("6"), "DNSName": "exit.tail12.ts.net.",
            "TailscaleIPs": ["100.64.0.6", "fd7a:115c:a1e0::6"], "ExitNodeOption": true } },
        "MagicDNSSuffix": "tail12.ts.net",
    })
}

/// Preferences of a node that has never seen control.
fn fresh() -> Value {
    json!({ "CorpDNS": true, "LoggedOut": true, "NoStatefulFiltering": true, "NetfilterMode": 2,
            "AutoUpdate": { "Check": true, "Apply": null } })
}

/// Preferences of a node with many settings, as the Go tool was shown for the recorded texts.
fn settled() -> Value {
    json!({
        "ControlURL": "https://c.example", "RouteAll": true, "ExitNodeID": "n6", "ExitNodeIP": "", "CorpDNS": true,
        "WantRunning": true, "Hostname": "it's me", "AdvertiseRoutes": ["0.0.0.0/0", "10.0.0.0/8", "::/0"],
        "AdvertiseTags": ["tag:a", "tag:b"], "NoStatefulFiltering": true, "NetfilterMode": 1,
        "OperatorUser": "joe", "ProfileName": "nick", "AutoUpdate": { "Check": true, "Apply": null },
        "Config": { "UserProfile": { "ID": 123, "LoginName": "ann@example.com", "DisplayName": "Ann" }, "NodeID": "n1" },
    })
}

/// Logged in, all settings at their defaults but the name of the control server.
fn plain() -> Value {
    json!({
        "ControlURL": "https://c.example", "CorpDNS": true, "WantRunning": true, "NoStatefulFiltering": true,
        "NetfilterMode": 2, "AutoUpdate": { "Check": true, "Apply": null },
        "Config": { "UserProfile": { "ID": 123, "LoginName": "ann@example.com" }, "NodeID": "n1" },
    })
}

const RUNS: &[&str] = &[
    r#"{"Version":"","State":2,"Prefs":null,"NewInSomeVersion":{"x":[1]}}"#,
    r#"{"LoginFinished":{}}"#,
    r#"{"State":5}"#,
    r#"{"State":6}"#,
];

#[test]
fn fresh_node_with_auth_key() {
    let script = Script::new(&status("NeedsLogin"), &fresh()).bus("POST login-interactive", RUNS);
    check(
        &script,
        "up --login-server=https://c.example --authkey tskey-auth-k",
        expect![[r#"
        > GET status
        > GET prefs
        > GET watch-ipn-bus?mask=0
        > POST check-prefs ControlURL="https://c.example" WantRunning=true
        > POST start AuthKey="tskey-auth-k" ControlURL="https://c.example" WantRunning=true
        > POST login-interactive
        > GET status?peers=false
        -- status 0
    "#]],
    );
}

#[test]
fn auth_key_from_a_file_and_with_stale_url_on_the_bus() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("key");
    std::fs::write(&path, "  tskey-auth-file\n").unwrap();
    let script = Script::new(&status("NeedsLogin"), &fresh())
        .bus("POST login-interactive", &[r#"{"BrowseToURL":"https://stale"}"#, r#"{"State":6}"#]);
    check(
        &script,
        &format!("up --auth-key=file:{}", path.display()),
        expect![[r#"
        > GET status
        > GET prefs
        > GET watch-ipn-bus?mask=0
        > POST check-prefs ControlURL="https://controlplane.tailscale.com" WantRunning=true
        > POST start AuthKey="tskey-auth-file" ControlURL="https://controlplane.tailscale.com" WantRunning=true
        > POST login-interactive
        > GET status?peers=false
        -- status 0
    "#]],
    );
    let line = "up --auth-key=file:/nonexistent/key";
    check(
        &script,
        line,
        expect![[r#"
        > GET status
        > GET prefs
        > GET watch-ipn-bus?mask=0
        > POST check-prefs ControlURL="https://controlplane.tailscale.com" WantRunning=true
        -- err
        --auth-key: cannot read /nonexistent/key: No such file or directory (os error 2)
        -- status 1
    "#]],
    );
}

#[test]
fn interactive_login_shows_each_url_once() {
    let script = Script::new(&status("NeedsLogin"), &fresh()).bus(
        "POST login-interactive",
        &[
            r#"{"State":2}"#,
            r#"{"BrowseToURL":""}"#,
            r#"{"BrowseToURL":"https://c.example/a/1"}"#,
            r#"{"BrowseToURL":"https://c.example/a/1"}"#,
            r#"{"State":5}"#,
            r#"{"State":6}"#,
        ],
    );
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

        To authenticate, visit:

        	https://c.example/a/1

        Success.
        -- status 0
    "#]],
    );
    check(
        &script,
        "up --json",
        expect![[r#"
        > GET status
        > GET prefs
        > GET watch-ipn-bus?mask=0
        > POST check-prefs ControlURL="https://controlplane.tailscale.com" WantRunning=true
        > POST start AuthKey="" ControlURL="https://controlplane.tailscale.com" WantRunning=true
        > POST login-interactive
        -- out
        {
        	"AuthURL": "https://c.example/a/1",
        	"BackendState": "NeedsLogin"
        }
        {
          "BackendState": "Running"
        }
        -- status 0
    "#]],
    );
}

#[test]
fn machine_that_must_be_approved() {
    let lines = [r#"{"State":3}"#, r#"{"State":3}"#, r#"{"State":5}"#, r#"{"State":6}"#];
    let script = Script::new(&status("NeedsLogin"), &fresh()).bus("POST login-interactive", &lines);
    check(
        &script,
        "up --login-server=https://c.example --auth-key=k",
        expect![[r#"
        > GET status
        > GET prefs
        > GET watch-ipn-bus?mask=0
        > POST check-prefs ControlURL="https://c.example" WantRunning=true
        > POST start AuthKey="k" ControlURL="https://c.example" WantRunning=true
        > POST login-interactive
        > GET status?peers=false
        -- err

        To approve your machine, visit (as admin):

        	https://c.example/admin

        Success.
        -- status 0
    "#]],
    );
    check(
        &script,
        "up --json --auth-key=k",
        expect![[r#"
        > GET status
        > GET prefs
        > GET watch-ipn-bus?mask=0
        > POST check-prefs ControlURL="https://controlplane.tailscale.com" WantRunning=true
        > POST start AuthKey="k" ControlURL="https://controlplane.tailscale.com" WantRunning=true
        > POST login-interactive
        -- out
        {
          "BackendState": "NeedsMachineAuth"
        }
        {
          "BackendState": "NeedsMachineAuth"
        }
        {
          "BackendState": "Running"
        }
        -- status 0
    "#]],
    );
    // A bare `up` while it waits: the state does not change, so the URL is shown at once.
    let script = Script::new(&status("NeedsMachineAuth"), &plain()).bus("PATCH prefs", &[r#"{"State":6}"#]);
    check(
        &script,
        "up",
        expect![[r#"
        > GET status
        > GET prefs
        > GET watch-ipn-bus?mask=0
        > PATCH prefs WantRunning=true
        > GET status?peers=false
        -- err

        To approve your machine, visit (as admin):

        	https://c.example/admin

        Success.
        -- status 0
    "#]],
    );
}

#[test]
fn bare_up_only_switches_on() {
    let script = Script::new(&status("Stopped"), &settled()).bus("PATCH prefs", RUNS);
    check(
        &script,
        "up",
        expect![[r#"
        > GET status
        > GET prefs
        > GET watch-ipn-bus?mask=0
        > PATCH prefs WantRunning=true
        > GET status?peers=false
        -- status 0
    "#]],
    );
}

#[test]
fn running_node_is_only_edited() {
    let script = Script::new(&status("Running"), &plain());
    check(
        &script,
        "up --login-server=https://c.example --hostname=new --exit-node=exit --accept-dns=false",
        expect![[r#"
        > GET status
        > GET prefs
        > PATCH prefs ControlURL="https://c.example" CorpDNS=false ExitNodeID="" ExitNodeIP="100.64.0.6" Hostname="new" WantRunning=true
        > GET status?peers=false
        -- status 0
    "#]],
    );
    check(
        &script,
        "up --login-server=https://c.example --exit-node=auto:any",
        expect![[r#"
        > GET status
        > GET prefs
        > PATCH prefs AutoExitNode="any" ControlURL="https://c.example" ExitNodeID="" ExitNodeIP="" WantRunning=true
        > GET status?peers=false
        -- status 0
    "#]],
    );
    check(
        &script,
        "up --reset --login-server=https://c.example --advertise-routes=10.0.0.0/8",
        expect![[r#"
        > GET status
        > GET check-ip-forwarding
        > GET check-udp-gro-forwarding
        > GET prefs
        > PATCH prefs AdvertiseRoutes=["10.0.0.0/8"] AdvertiseTags=null AppConnector={"Advertise":false} ControlURL="https://c.example" CorpDNS=true ExitNodeAllowLANAccess=false ExitNodeID="" ExitNodeIP="" Hostname="" NetfilterMode=2 NoSNAT=false NoStatefulFiltering=true OperatorUser=null PostureChecking=false RouteAll=false RunSSH=false ShieldsUp=false WantRunning=true
        > GET status?peers=false
        -- status 0
    "#]],
    );
}

#[test]
fn changed_tags_start_over() {
    let script = Script::new(&status("Running"), &plain()).bus("POST start", RUNS);
    check(
        &script,
        "up --login-server=https://c.example --advertise-tags=web",
        expect![[r#"
        > GET status
        > GET prefs
        > GET watch-ipn-bus?mask=0
        > POST check-prefs AdvertiseTags=["tag:web"] ControlURL="https://c.example" WantRunning=true
        > POST start AuthKey="" AdvertiseTags=["tag:web"] ControlURL="https://c.example" WantRunning=true
        > GET status?peers=false
        -- status 0
    "#]],
    );
}

#[test]
fn settings_that_would_be_lost() {
    let script = Script::new(&status("Running"), &settled());
    // Texts recorded from the Go tool.
    check(
        &script,
        "up --hostname=new --timeout=90s --accept-dns=false",
        expect![[r#"
            > GET status
            > GET prefs
            -- err
            Error: changing settings via 'tailscale up' requires mentioning all
            non-default flags. To proceed, either re-run your command with --reset or
            use the command below to explicitly mention the current value of
            all non-default settings:

            	tailscale up --accept-dns=false --hostname=new --timeout=1m30s --accept-routes --advertise-exit-node --advertise-routes=10.0.0.0/8 --advertise-tags=tag:a,tag:b --exit-node=100.64.0.6 --login-server=https://c.example --netfilter-mode=nodivert

            -- status 1
        "#]],
    );
    check(
        &script,
        "up --hostname=x --json",
        expect![[r#"
        > GET status
        > GET prefs
        -- out
        {
          "Error": "Error: changing settings via 'tailscale up' requires mentioning all\nnon-default flags. To proceed, either re-run your command with --reset or\nuse the command below to explicitly mention the current value of\nall non-default settings:\n\n\ttailscale up --hostname=x --json --accept-routes --advertise-exit-node --advertise-routes=10.0.0.0/8 --advertise-tags=tag:a,tag:b --exit-node=100.64.0.6 --login-server=https://c.example --netfilter-mode=nodivert"
        }
        -- status 1
    "#]],
    );
    let done = run_as(&script, "up --hostname=x%20y --accept-routes=false", |env| {
        env.vars.clear();
    });
    expect![[r#"
        > GET status
        -- err
        "x y" is not a valid DNS label: contains invalid character ' '
        -- status 1
    "#]]
    .assert_eq(&done.transcript());
}

#[test]
fn force_reauth_waits_for_a_new_key() {
    let mut before = status("Running");
    before["AuthURL"] = "https://c.example/a/old".into();
    let (old, new) = (
        format!(r#"{{"SelfChange":{{"Key":"{}"}}}}"#, key("1")),
        format!(r#"{{"SelfChange":{{"Key":"{}"}}}}"#, key("2")),
    );
    let lines = [
        r#"{"State":6}"#,
        r#"{"BrowseToURL":"https://c.example/a/old"}"#,
        r#"{"BrowseToURL":"https://c.example/a/new"}"#,
        old.as_str(),
        r#"{"State":5}"#,
        new.as_str(),
        r#"{"State":6}"#,
    ];
    let script = Script::new(&before, &plain()).bus("POST login-interactive", &lines);
    check(
        &script,
        "up --login-server=https://c.example --force-reauth",
        expect![[r#"
        > GET status
        > GET prefs
        > GET watch-ipn-bus?mask=0
        > POST check-prefs ControlURL="https://c.example" WantRunning=true
        > POST start AuthKey="" ControlURL="https://c.example" WantRunning=true
        > POST login-interactive
        > GET status?peers=false
        -- err

        To authenticate, visit:

        	https://c.example/a/new

        Success.
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
fn refusals_before_anything_is_done() {
    let script = Script::new(&status("Running"), &plain());
    for (line, want) in [
        ("up x y", "too many non-flag arguments: [\"x\" \"y\"]"),
        ("up --hostname=-bad", "\"-bad\" is not a valid DNS label: must start with a letter or number"),
        ("up --advertise-routes=10.0.0.1/24", "10.0.0.1/24 has non-address bits set; expected 10.0.0.0/24"),
        ("up --advertise-tags=9", "tag: \"tag:9\": tag names must start with a letter, after 'tag:'"),
        ("up --netfilter-mode=foo", "invalid value --netfilter-mode=\"foo\""),
        ("up --exit-node-allow-lan-access", "--exit-node-allow-lan-access can only be used with --exit-node"),
        ("up --exit-node=100.64.0.9", "no node found in netmap with IP 100.64.0.9"),
        ("up --exit-node=nosuch", "invalid value \"nosuch\" for --exit-node; must be IP or peer hostname"),
        ("up --ssh", "--ssh: this build has no SSH server; use the one of your system"),
        ("up --qr", "--qr: this build draws no QR codes; open the printed URL instead"),
        (
            "up --auth-key=tskey-client-x",
            "--auth-key: this build has no OAuth login; create an auth key instead",
        ),
        ("up --login-server=https://other", "can't change --login-server without --force-reauth"),
    ] {
        let done = run(&script, line);
        assert_eq!((done.status, done.err.as_str()), (1, format!("{want}\n").as_str()), "{line}");
        assert!(done.calls.iter().all(|call| call.starts_with("GET ")), "{line}: {:?}", done.calls);
    }
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
        env.vars.insert("SSH_CLIENT".to_owned(), "100.64.0.9 50000 22".to_owned());
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
fn login_makes_a_profile_first() {
    let script = Script::new(&status("NeedsLogin"), &fresh()).bus("POST login-interactive", RUNS);
    check(
        &script,
        "login --nickname=work --auth-key=k",
        expect![[r#"
        > PUT profiles/
        > GET status
        > GET prefs
        > GET watch-ipn-bus?mask=0
        > POST check-prefs ControlURL="https://controlplane.tailscale.com" ProfileName="work" WantRunning=true
        > POST start AuthKey="k" ControlURL="https://controlplane.tailscale.com" ProfileName="work" WantRunning=true
        > POST login-interactive
        > GET status?peers=false
        -- status 0
    "#]],
    );
    let refused = run(&script, "login --advertise-routes=x");
    assert_eq!((refused.status, refused.calls.len()), (1, 0));
}
