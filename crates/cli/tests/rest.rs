//! The other commands: `switch`, `version`, `wait`; help and mistakes.

mod support;

use expect_test::expect;
use serde_json::json;
use support::{Script, check, recorded, run, run_as, state};

#[test]
fn switch() {
    let one = r#"{"ID":"3f2a","Name":"ann@example.com","NetworkProfile":{"DomainName":"example.com"},"Key":"profile-3f2a","UserProfile":{"ID":123,"LoginName":"ann@example.com"}}"#;
    let two = r#"{"ID":"0b1c","Name":"work","NetworkProfile":{"DomainName":"corp.example","DisplayName":"Corp & Co"},"Key":"profile-0b1c","UserProfile":{"ID":5,"LoginName":"bob@corp.example"}}"#;
    let script = recorded()
        .answer("GET profiles/current", 200, one)
        .answer("GET profiles/", 200, &format!("[{one},{two}]"))
        .answer("POST profiles/0b1c", 204, "")
        .answer("DELETE profiles/0b1c", 204, "");
    check(
        &script,
        "switch --list",
        expect![[r#"
        > GET profiles/current
        > GET profiles/
        -- out
        ID    Tailnet      Account
        3f2a  example.com  ann@example.com*
        0b1c  Corp & Co    work
        -- status 0
    "#]],
    );
    check(
        &script,
        "switch --list --json",
        expect![[r#"
        > GET profiles/current
        > GET profiles/
        -- out
        [
          {
            "id": "3f2a",
            "nickname": "ann@example.com",
            "tailnet": "example.com",
            "account": "ann@example.com",
            "selected": true
          },
          {
            "id": "0b1c",
            "nickname": "work",
            "tailnet": "Corp \u0026 Co",
            "account": "bob@corp.example",
            "selected": false
          }
        ]
        -- status 0
    "#]],
    );
    check(
        &script,
        "switch work",
        expect![[r#"
        > GET profiles/current
        > GET profiles/
        > POST profiles/0b1c
        > GET status?peers=false
        -- out
        Switching to account "work"
        Success.
        -- status 0
    "#]],
    );
    check(
        &script,
        "switch corp.example",
        expect![[r#"
        > GET profiles/current
        > GET profiles/
        > POST profiles/0b1c
        > GET status?peers=false
        -- out
        Switching to account "corp.example"
        Success.
        -- status 0
    "#]],
    );
    check(
        &script,
        "switch 3f2a",
        expect![[r#"
        > GET profiles/current
        > GET profiles/
        -- out
        Already on account "3f2a"
        -- status 0
    "#]],
    );
    check(
        &script,
        "switch nobody",
        expect![[r#"
        > GET profiles/current
        > GET profiles/
        -- err
        No profile named "nobody"
        -- status 1
    "#]],
    );
    check(
        &script,
        "switch",
        expect![[r#"
        -- out
        usage: tailscale switch NAME
        -- status 1
    "#]],
    );
    check(
        &script,
        "switch --json work",
        expect![[r#"
        -- out
        --json argument cannot be used with tailscale switch NAME
        -- status 1
    "#]],
    );
    check(
        &script,
        "switch remove work",
        expect![[r#"
        > GET profiles/current
        > GET profiles/
        > DELETE profiles/0b1c
        -- status 0
    "#]],
    );
    check(
        &script,
        "switch remove 3f2a",
        expect![[r#"
        > GET profiles/current
        > GET profiles/
        -- out
        Already on account "3f2a"
        -- status 0
    "#]],
    );
    let out = Script::new(&state("NeedsLogin"), &json!({}))
        .answer("GET profiles/current", 200, one)
        .answer("GET profiles/", 200, &format!("[{one},{two}]"))
        .answer("POST profiles/0b1c", 204, "");
    check(
        &out,
        "switch 0b1c",
        expect![[r#"
        > GET profiles/current
        > GET profiles/
        > POST profiles/0b1c
        > GET status?peers=false
        -- out
        Switching to account "0b1c"
        Logged out.
        To log in, run:
          tailscale up
        -- status 0
    "#]],
    );
}

#[test]
fn version() {
    check(
        &recorded(),
        "version",
        expect![[r#"
        -- out
        1.102.5
          tailscale commit: 0123abcd
          long version: 1.102.5-test
        -- status 0
    "#]],
    );
    check(
        &recorded(),
        "-V",
        expect![[r#"
        -- out
        1.102.5
          tailscale commit: 0123abcd
          long version: 1.102.5-test
        -- status 0
    "#]],
    );
    check(
        &recorded(),
        "version --json --daemon",
        expect![[r#"
        > GET status?peers=false
        -- out
        {
        	"majorMinorPatch": "1.102.5",
        	"short": "1.102.5",
        	"long": "1.102.5-test",
        	"gitCommit": "0123abcd",
        	"daemonLong": "1.102.5-go",
        	"cap": 119
        }
        -- status 0
    "#]],
    );
    check(
        &recorded(),
        "version --daemon",
        expect![[r#"
        > GET status?peers=false
        -- out
        Client: 1.102.5
          tailscale commit: 0123abcd
          long version: 1.102.5-test
        Daemon: 1.102.5-go
        -- status 0
    "#]],
    );
    check(
        &recorded(),
        "version --features",
        expect![[r#"
        -- out
        health
        osrouter
        dns (not written yet)
        -- status 0
    "#]],
    );
    let told = "{\"Features\":{\"c2n\":true,\"dns\":false},\"Missing\":[\"gro\"]}";
    check(
        &recorded().answer("GET debug-optional-features", 200, told),
        "version --features --daemon --json",
        expect![[r#"
        > GET debug-optional-features
        -- out
        {
        	"Features": {
        		"c2n": true,
        		"dns": false
        	},
        	"Missing": [
        		"gro"
        	]
        }
        -- status 0
    "#]],
    );
    check(
        &recorded(),
        "version --upstream",
        expect![[r#"
        -- err
        fetching latest version not supported in this build
        -- status 1
    "#]],
    );
}

#[test]
fn wait() {
    let mut now = state("Running");
    now["TailscaleIPs"] = json!(["127.0.0.1"]);
    now["TUN"] = json!(true);
    let script = Script::new(&now, &json!({})).bus("", &[r#"{"State":5}"#, r#"{"State":6}"#]);
    check(
        &script,
        "wait",
        expect![[r#"
        > GET status?peers=false
        > GET watch-ipn-bus?mask=2
        > GET status?peers=false
        -- status 0
    "#]],
    );
    let never = Script::new(&state("Stopped"), &json!({})).bus("", &[r#"{"State":4}"#]);
    check(
        &never,
        "wait --timeout=1s",
        expect![[r#"
        > GET status?peers=false
        > GET watch-ipn-bus?mask=2
        -- err
        gave up after 1s: the node is not ready; see "tailscale status"
        -- status 1
    "#]],
    );
    check(
        &script,
        "wait x",
        expect![[r#"
        -- err
        unexpected arguments: ["x"]
        -- status 1
    "#]],
    );
}

#[test]
fn help_and_mistakes() {
    check(
        &recorded(),
        "",
        expect![[r#"
            -- err
            Your private network, made of WireGuard.

            USAGE
              tailscale [flags] <subcommand> [command flags]

            For help on a command, add --help after it: "tailscale status --help".

            SUBCOMMANDS
              up         Connect to the tailnet, logging in if needed
              down       Disconnect from the tailnet
              set        Change single settings
              get        Show settings
              login      Log in to a further account
              logout     Disconnect and expire the node key, so that a login is needed again
              switch     Switch to a different account
              netcheck   Print what the network lets through and how far the relays are
              ip         Show Tailscale addresses
              dns        Show how names are resolved, and ask for one
              status     Show the state of the node and its connections
              metrics    Print what the daemon counts, for Prometheus
              ping       Ping a node inside the tailnet and see the way it takes
              exit-node  Show the nodes that carry traffic to the internet for others
              version    Print the version
              whois      Show the machine and user behind a Tailscale address
              whoami     Show the identity of this machine
              wait       Wait until the node runs and its address can be bound
              bugreport  Mark this moment in the daemon's log and print the mark

            FLAGS
              --socket <value>  path of tailscaled's socket [default: DIR/s]
            -- status 0
        "#]],
    );
    check(
        &recorded(),
        "ping --help",
        expect![[r#"
            -- err
            Ping a node inside the tailnet and see the way it takes

            USAGE
              tailscale ping <hostname-or-IP>

            The first answers usually come through a DERP relay, until a direct path is
            found. Stops after 10 pings or at the first answer over a direct path.

            FLAGS
              -c <number>             number of pings, 0 for no end [default: 10]
              --icmp                  ICMP inside WireGuard, answered by the peer's system
              --peerapi               ask the peer's PeerAPI server
              --size <number>         size of the message in bytes, 0 for the least (only
                                      without --tsmp, --icmp, --peerapi) [default: 0]
              --timeout <duration>    how long to wait for each answer [default: 5s]
              --tsmp                  TSMP inside WireGuard, answered by the peer's
                                      tailscaled
              --until-direct[=false]  stop when there is a direct path [default: true]
              --verbose               tell which address a name stands for
            -- status 0
        "#]],
    );
    check(
        &recorded(),
        "stauts",
        expect![[r#"
        -- err
        tailscale: unknown subcommand: stauts
        Did you mean 'tailscale status'?
        -- status 1
    "#]],
    );
    check(
        &recorded(),
        "ip --frob",
        expect![[r#"
            -- err
            flag provided but not defined: -frob
            Show Tailscale addresses

            USAGE
              tailscale ip [-1] [-4] [-6] [peer, service or address]

            FLAGS
              -1                only one address
              -4                only the IPv4 address
              -6                only the IPv6 address
              --assert <value>  fail unless this is an address of the node
            -- status 2
        "#]],
    );
    check(
        &recorded(),
        "ip --asert=1",
        expect![[r#"
            -- err
            flag provided but not defined: -asert
            Did you mean --assert?
            Show Tailscale addresses

            USAGE
              tailscale ip [-1] [-4] [-6] [peer, service or address]

            FLAGS
              -1                only one address
              -4                only the IPv4 address
              -6                only the IPv6 address
              --assert <value>  fail unless this is an address of the node
            -- status 2
        "#]],
    );
    check(
        &recorded(),
        "--json status",
        expect![[r#"
            -- err
            flag provided but not defined: -json
            Did you mean 'tailscale status --json'? Flags of a command follow its name.
            Your private network, made of WireGuard.

            USAGE
              tailscale [flags] <subcommand> [command flags]

            For help on a command, add --help after it: "tailscale status --help".

            SUBCOMMANDS
              up         Connect to the tailnet, logging in if needed
              down       Disconnect from the tailnet
              set        Change single settings
              get        Show settings
              login      Log in to a further account
              logout     Disconnect and expire the node key, so that a login is needed again
              switch     Switch to a different account
              netcheck   Print what the network lets through and how far the relays are
              ip         Show Tailscale addresses
              dns        Show how names are resolved, and ask for one
              status     Show the state of the node and its connections
              metrics    Print what the daemon counts, for Prometheus
              ping       Ping a node inside the tailnet and see the way it takes
              exit-node  Show the nodes that carry traffic to the internet for others
              version    Print the version
              whois      Show the machine and user behind a Tailscale address
              whoami     Show the identity of this machine
              wait       Wait until the node runs and its address can be bound
              bugreport  Mark this moment in the daemon's log and print the mark

            FLAGS
              --socket <value>  path of tailscaled's socket [default: DIR/s]
            -- status 2
        "#]],
    );
}

#[test]
fn a_build_without_parts_says_so() {
    static FEW: cli::Command =
        cli::Command::root(&const { cli::Parts { debug: false, dns: false, exit_node: false }.commands() });
    let few = |env: &mut cli::Env| env.commands = &FEW;
    let help = run_as(&recorded(), "debug --help", few).err;
    assert!(help.contains("\n  watch-ipn  ") && !help.contains("restun"), "{help}");
    let done = run_as(&recorded(), "debug rotate-disco-key", few);
    assert_eq!(
        (done.status, done.err.as_str()),
        (
            1,
            "tailscale debug: unknown subcommand: rotate-disco-key\n\
             The other commands come with feature debug, which is not in this build.\n"
        )
    );
    let all = run(&recorded(), "debug --help").err;
    assert!(all.contains("restun") && !all.contains("feature debug"), "{all}");
    for (line, word) in [("dns status", "dns"), ("exit-node list", "exit-node")] {
        let done = run_as(&recorded(), line, few);
        let want = format!(
            "tailscale: unknown subcommand: {word}\n'tailscale {word}' is for a part that is not in this build.\n"
        );
        assert_eq!((done.status, done.err), (1, want));
    }
    let help = run_as(&recorded(), "--help", few).err;
    assert!(
        help.contains("\n  ping ") && !help.contains("\n  dns ") && !help.contains("exit-node"),
        "{help}"
    );
}
