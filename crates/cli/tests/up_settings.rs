//! `up` with settings on a node that is logged in: what is edited, what would be lost.

mod support;

use expect_test::expect;
use support::nodes::{RUNS, plain, settled, status};
use support::{Script, check, run, run_as};

#[test]
fn bare_up_only_switches_on() {
    let script = Script::new(&status("Stopped"), &settled()).bus("PATCH prefs", RUNS);
    check(
        &script,
        "up",
        expect![[r#"
        > GET status
        > GET prefs
        > GET watch-ipn-bus?mask=2
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
