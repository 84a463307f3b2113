//! `up` and `login` of a node that is not logged in, or is to be again: calls, their order, what the user sees.

mod support;

use expect_test::expect;
use support::nodes::{RUNS, fresh, key, plain, status};
use support::{Script, check, run};

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
        > GET watch-ipn-bus?mask=2
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
    for wrong in [
        "--advertise-routes=x",
        "--exit-node-allow-lan-access",
        "--exit-node=exit",
        "--auth-key=file:/nonexistent/key",
        "--hostname=-",
    ] {
        let refused = run(&script, &format!("login {wrong}"));
        assert_eq!((refused.status, refused.calls.len()), (1, 0), "{wrong}: {:?}", refused.calls);
    }
    let done = run(&script, "login --exit-node=100.64.0.6 --exit-node-allow-lan-access --hostname=r1.");
    assert!(
        done.status == 0 && done.calls.iter().any(|call| call.contains("Hostname=\"r1\"")),
        "{:?}",
        done.calls
    );
}
