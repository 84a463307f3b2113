//! `up` as process 1 of a container types it: what is refused does not keep a node from logging in.

mod support;

use expect_test::expect;
use support::nodes::{RUNS, fresh, plain, settled, status};
use support::{Script, check, run};

const LINE: &str = "up --login-even-if-refused --auth-key=hskey-secret --accept-dns=false --login-server=";

#[test]
fn settings_made_by_hand_do_not_keep_a_node_out() {
    let script = Script::new(&status("NeedsLogin"), &settled()).bus("POST login-interactive", RUNS);
    check(
        &script,
        &format!("{LINE}https://c.example"),
        expect![[r#"
        > GET status
        > GET prefs
        > GET prefs
        > GET watch-ipn-bus?mask=0
        > POST check-prefs AdvertiseRoutes=["0.0.0.0/0","10.0.0.0/8","::/0"] AdvertiseTags=["tag:a","tag:b"] ControlURL="https://c.example" ExitNodeID="n6" Hostname="it's me" NetfilterMode=1 OperatorUser="joe" ProfileName="nick" RouteAll=true WantRunning=true
        > POST start AuthKey="hskey-secret" AdvertiseRoutes=["0.0.0.0/0","10.0.0.0/8","::/0"] AdvertiseTags=["tag:a","tag:b"] ControlURL="https://c.example" ExitNodeID="n6" Hostname="it's me" NetfilterMode=1 OperatorUser="joe" ProfileName="nick" RouteAll=true WantRunning=true
        > POST login-interactive
        > GET status?peers=false
        -- err
        Error: changing settings via 'tailscale up' requires mentioning all
        non-default flags. To proceed, either re-run your command with --reset or
        use the command below to explicitly mention the current value of
        all non-default settings:

        	tailscale up --accept-dns=false --auth-key=... --login-server=https://c.example --accept-routes --advertise-exit-node --advertise-routes=10.0.0.0/8 --advertise-tags=tag:a,tag:b --exit-node=100.64.0.6 --hostname='it'\''s me' --netfilter-mode=nodivert
        # The node logs in with the settings that it has.
        -- status 0
    "#]],
    );
}

#[test]
fn a_setting_that_is_none_does_not_either() {
    let script = Script::new(&status("NeedsLogin"), &plain()).bus("POST login-interactive", RUNS);
    check(
        &script,
        &format!("{LINE}https://c.example --exit-node=gone"),
        expect![[r#"
        > GET status
        > GET prefs
        > GET watch-ipn-bus?mask=0
        > POST check-prefs ControlURL="https://c.example" WantRunning=true
        > POST start AuthKey="hskey-secret" ControlURL="https://c.example" WantRunning=true
        > POST login-interactive
        > GET status?peers=false
        -- err
        invalid value "gone" for --exit-node; must be IP or peer hostname
        # The node logs in with the settings that it has.
        -- status 0
    "#]],
    );
    // What the daemon refuses; and the key goes to the server for which it is.
    let script = script.answer("POST check-prefs", 200, r#"{"Error":"not in this build"}"#);
    check(
        &script,
        &format!("{LINE}https://new.example"),
        expect![[r#"
        > GET status
        > GET prefs
        > GET watch-ipn-bus?mask=0
        > POST check-prefs ControlURL="https://new.example" CorpDNS=false WantRunning=true
        > POST start AuthKey="hskey-secret" ControlURL="https://new.example" WantRunning=true
        > POST login-interactive
        > GET status?peers=false
        -- err
        not in this build
        # The node logs in with the settings that it has.
        -- status 0
    "#]],
    );
}

#[test]
fn only_a_node_that_must_log_in_and_has_settings_of_its_own() {
    for (script, line) in [
        (Script::new(&status("Running"), &settled()), LINE.to_owned()),
        (Script::new(&status("NeedsLogin"), &settled()), LINE.replace("--login-even-if-refused", "")),
        (Script::new(&status("NeedsLogin"), &fresh()), format!("{LINE} --exit-node=gone")),
        // Its key is for Tailscale's own server, and the node has another.
        (Script::new(&status("NeedsLogin"), &settled()), LINE.replace("--login-server=", "")),
    ] {
        let done = run(&script, &line);
        assert_eq!(done.status, 1, "{line}");
        assert!(done.calls.iter().all(|call| call.starts_with("GET ")), "{line}: {:?}", done.calls);
        assert!(!done.err.contains("login-even-if-refused"), "{}", done.err);
        let to_log = line.contains("login-even-if-refused");
        assert!(!to_log || !done.err.contains("hskey-secret"), "{line}: {}", done.err);
    }
}
