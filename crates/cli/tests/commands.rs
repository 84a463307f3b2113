//! The other commands against a scripted daemon, and their output against the Go tool's for the same answers.

mod support;

use expect_test::{Expect, expect, expect_file};
use serde_json::{Value, json};
use support::{Script, run, run_as};

const STATUS: &str = include_str!("data/status.json");

fn recorded() -> Script {
    Script::new(&json!({}), &prefs()).answer("GET status", 200, STATUS)
}

fn prefs() -> Value {
    json!({
        "ControlURL": "https://c.example", "RouteAll": true, "ExitNodeID": "n6", "ExitNodeIP": "", "CorpDNS": true,
        "WantRunning": true, "Hostname": "it's me", "AdvertiseRoutes": ["0.0.0.0/0", "10.0.0.0/8", "::/0"],
        "AdvertiseTags": ["tag:a", "tag:b"], "NoStatefulFiltering": true, "NetfilterMode": 1,
        "OperatorUser": "joe", "ProfileName": "nick", "AutoUpdate": { "Check": true, "Apply": null },
    })
}

fn state(name: &str) -> Value {
    json!({ "Version": "9.9", "BackendState": name, "Self": { "TailscaleIPs": null }, "Health": ["a", "b"] })
}

#[track_caller]
fn check(script: &Script, line: &str, want: Expect) {
    want.assert_eq(&run(script, line).transcript());
}

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

#[test]
fn get() {
    check(
        &recorded(),
        "get",
        expect![[r#"
        > GET prefs
        > GET status
        -- out
        NAME                           VALUE
        accept-dns                     true
        accept-routes                  true
        advertise-connector            false
        advertise-exit-node            true
        advertise-routes               10.0.0.0/8
        auto-update                    false
        exit-node                      100.64.0.6
        exit-node-allow-lan-access     false
        hostname                       it's me
        netfilter-mode                 nodivert
        nickname                       nick
        operator                       joe
        relay-server-port              
        relay-server-static-endpoints  
        report-posture                 false
        shields-up                     false
        snat-subnet-routes             true
        ssh                            false
        stateful-filtering             false
        update-check                   true
        webclient                      false
        -- status 0
    "#]],
    );
    check(
        &recorded(),
        "get --set-flags",
        expect![[r#"
        > GET prefs
        > GET status
        -- out
        --accept-dns --accept-routes --advertise-connector=false --advertise-exit-node --advertise-routes=10.0.0.0/8 --auto-update=false --exit-node=100.64.0.6 --exit-node-allow-lan-access=false --hostname='it'\''s me' --netfilter-mode=nodivert --nickname=nick --operator=joe --relay-server-port= --relay-server-static-endpoints= --report-posture=false --shields-up=false --snat-subnet-routes --ssh=false --stateful-filtering=false --update-check --webclient=false
        -- status 0
    "#]],
    );
    check(
        &recorded(),
        "get --json hostname",
        expect![[r#"
        > GET prefs
        > GET status
        -- out
        {
          "hostname": "it's me"
        }
        -- status 0
    "#]],
    );
    check(
        &recorded(),
        "get exit-node",
        expect![[r#"
        > GET prefs
        > GET status
        -- out
        100.64.0.6
        -- status 0
    "#]],
    );
    check(
        &recorded(),
        "get remote-config",
        expect![[r#"
        > GET prefs
        > GET status
        -- out
        false
        -- status 0
    "#]],
    );
    check(
        &recorded(),
        "get frob",
        expect![[r#"
        > GET prefs
        > GET status
        -- err
        unknown setting "frob"; see "tailscale set --help" for valid settings
        -- status 1
    "#]],
    );
    check(
        &recorded(),
        "get a b",
        expect![[r#"
        > GET prefs
        > GET status
        -- err
        too many arguments: ["a" "b"]
        -- status 1
    "#]],
    );
}

#[test]
fn set() {
    check(
        &recorded(),
        "set --hostname=q --exit-node=exit --advertise-exit-node=false",
        expect![[r#"
        > GET status
        > GET prefs
        > POST check-prefs AdvertiseRoutes=["10.0.0.0/8"] AdvertiseTags=["tag:a","tag:b"] ControlURL="https://c.example" ExitNodeIP="100.64.0.6" Hostname="q" NetfilterMode=1 OperatorUser="joe" ProfileName="nick" RouteAll=true WantRunning=true
        > PATCH prefs AdvertiseRoutes=["10.0.0.0/8"] ExitNodeID="" ExitNodeIP="100.64.0.6" Hostname="q"
        -- status 0
    "#]],
    );
    check(
        &recorded(),
        "set --advertise-routes=192.168.0.0/24",
        expect![[r#"
        > GET status
        > GET prefs
        > POST check-prefs AdvertiseRoutes=["0.0.0.0/0","::/0","192.168.0.0/24"] AdvertiseTags=["tag:a","tag:b"] ControlURL="https://c.example" ExitNodeID="n6" Hostname="it's me" NetfilterMode=1 OperatorUser="joe" ProfileName="nick" RouteAll=true WantRunning=true
        > PATCH prefs AdvertiseRoutes=["0.0.0.0/0","::/0","192.168.0.0/24"]
        -- status 0
    "#]],
    );
    check(
        &recorded(),
        "set --exit-node=auto:any --nickname=n --update-check=false",
        expect![[r#"
        > GET status
        > GET prefs
        > POST check-prefs AdvertiseRoutes=["0.0.0.0/0","10.0.0.0/8","::/0"] AdvertiseTags=["tag:a","tag:b"] AutoExitNode="any" AutoUpdate={"Apply":null,"Check":false} ControlURL="https://c.example" Hostname="it's me" NetfilterMode=1 OperatorUser="joe" ProfileName="n" RouteAll=true WantRunning=true
        > PATCH prefs AutoExitNode="any" AutoUpdate({"CheckSet":true})={"Apply":false,"Check":false} ExitNodeID="" ExitNodeIP="" ProfileName="n"
        -- status 0
    "#]],
    );
    check(
        &recorded(),
        "set --exit-node= --netfilter-mode=off --snat-subnet-routes=false",
        expect![[r#"
        > GET status
        > GET prefs
        > POST check-prefs AdvertiseRoutes=["0.0.0.0/0","10.0.0.0/8","::/0"] AdvertiseTags=["tag:a","tag:b"] ControlURL="https://c.example" Hostname="it's me" NetfilterMode=0 NoSNAT=true OperatorUser="joe" ProfileName="nick" RouteAll=true WantRunning=true
        > PATCH prefs ExitNodeID="" ExitNodeIP="" NetfilterMode=0 NoSNAT=true
        -- out
        Warning: netfilter=off; configure iptables yourself.
        Warning: --snat-subnet-routes=false is set with --advertise-exit-node; internet traffic through this exit node may not work as expected
        -- status 0
    "#]],
    );
    check(
        &recorded(),
        "set --ssh",
        expect![[r#"
        > GET status
        > GET prefs
        -- err
        --ssh: this build has no SSH server; use the one of your system
        -- status 1
    "#]],
    );
    check(
        &recorded(),
        "set --ssh=false",
        expect![[r#"
        > GET status
        > GET prefs
        > POST check-prefs AdvertiseRoutes=["0.0.0.0/0","10.0.0.0/8","::/0"] AdvertiseTags=["tag:a","tag:b"] ControlURL="https://c.example" ExitNodeID="n6" Hostname="it's me" NetfilterMode=1 OperatorUser="joe" ProfileName="nick" RouteAll=true WantRunning=true
        > PATCH prefs RunSSH=false
        -- status 0
    "#]],
    );
    let bad = recorded().answer("POST check-prefs", 200, r#"{"Error":"cannot do both"}"#);
    check(
        &bad,
        "set --shields-up",
        expect![[r#"
        > GET status
        > GET prefs
        > POST check-prefs AdvertiseRoutes=["0.0.0.0/0","10.0.0.0/8","::/0"] AdvertiseTags=["tag:a","tag:b"] ControlURL="https://c.example" ExitNodeID="n6" Hostname="it's me" NetfilterMode=1 OperatorUser="joe" ProfileName="nick" RouteAll=true ShieldsUp=true WantRunning=true
        -- err
        cannot do both
        -- status 1
    "#]],
    );
    let none = run(&recorded(), "set");
    assert_eq!((none.status, none.calls.len()), (0, 0));
    assert!(none.err.contains("Change single settings"), "{}", none.err);
}

#[test]
fn down_and_logout() {
    check(
        &recorded(),
        "down --reason=maintenance",
        expect![[r#"
        > GET status
        > PATCH prefs WantRunning=false reason=bWFpbnRlbmFuY2U=
        -- status 0
    "#]],
    );
    check(
        &Script::new(&state("Stopped"), &json!({})),
        "down",
        expect![[r#"
        > GET status
        -- err
        Tailscale was already stopped.
        -- status 0
    "#]],
    );
    check(
        &recorded().answer("PATCH prefs", 403, "denied\n"),
        "down",
        expect![[r#"
        > GET status
        > PATCH prefs WantRunning=false
        -- err
        Access denied: denied

        Use 'sudo tailscale down'.
        To not require root, use 'sudo tailscale set --operator=$USER' once.
        -- status 1
    "#]],
    );
    check(
        &recorded(),
        "logout",
        expect![[r#"
        > POST logout
        -- status 0
    "#]],
    );
    check(
        &recorded().answer("POST logout", 500, "control is away\n"),
        "logout",
        expect![[r#"
        > POST logout
        -- err
        500 Internal Server Error: control is away
        -- status 1
    "#]],
    );
    check(
        &recorded(),
        "logout now",
        expect![[r#"
        -- err
        too many non-flag arguments: ["now"]
        -- status 1
    "#]],
    );
}

#[test]
fn ip() {
    check(
        &recorded(),
        "ip",
        expect![[r#"
        > GET status
        -- out
        100.64.0.1
        fd7a:115c:a1e0::1
        -- status 0
    "#]],
    );
    check(
        &recorded(),
        "ip -6",
        expect![[r#"
        > GET status
        -- out
        fd7a:115c:a1e0::1
        -- status 0
    "#]],
    );
    check(
        &recorded(),
        "ip -1 alpha",
        expect![[r#"
        > GET status
        -- out
        100.64.0.3
        -- status 0
    "#]],
    );
    check(
        &recorded(),
        "ip -4 100.64.0.7",
        expect![[r#"
        > GET status
        -- out
        100.64.0.7
        -- status 0
    "#]],
    );
    check(
        &recorded(),
        "ip gone",
        expect![[r#"
        > GET status
        -- err
        node found but lacks an IP
        -- status 1
    "#]],
    );
    check(
        &recorded(),
        "ip 100.99.9.9",
        expect![[r#"
        > GET status
        > GET services
        -- err
        no peer or service found with IP 100.99.9.9
        -- status 1
    "#]],
    );
    check(
        &recorded().answer(
            "GET services",
            200,
            r#"{"svc:a":{"Name":"svc:a","Addrs":["100.99.9.9","fd7a::9"]}}"#,
        ),
        "ip 100.99.9.9",
        expect![[r#"
        > GET status
        > GET services
        -- out
        100.99.9.9
        fd7a::9
        -- status 0
    "#]],
    );
    check(
        &recorded(),
        "ip --assert=100.64.0.1",
        expect![[r#"
        > GET status
        -- status 0
    "#]],
    );
    check(
        &recorded(),
        "ip --assert=1.2.3.4",
        expect![[r#"
        > GET status
        -- err
        assertion failed: IP "1.2.3.4" not found among [100.64.0.1 fd7a:115c:a1e0::1]
        -- status 1
    "#]],
    );
    check(
        &recorded(),
        "ip -4 -6",
        expect![[r#"
        -- err
        tailscale ip -1, -4, and -6 are mutually exclusive
        -- status 1
    "#]],
    );
    check(
        &Script::new(&state("NeedsLogin"), &json!({})),
        "ip",
        expect![[r#"
        > GET status
        -- err
        no current Tailscale IPs; state: NeedsLogin
        -- status 1
    "#]],
    );
}

#[test]
fn ping() {
    let pong = |extra: &str| {
        let body = format!(
            r#"{{"IP":"100.64.0.3","NodeIP":"100.64.0.3","NodeName":"alpha","Err":"","LatencySeconds":0.0312{extra}}}"#
        );
        recorded().answer("POST ping", 200, &body)
    };
    check(
        &pong(r#","Endpoint":"192.0.2.1:41641""#),
        "ping alpha",
        expect![[r#"
        > GET status
        > POST ping?ip=100.64.0.3&size=0&type=disco
        -- out
        pong from alpha (100.64.0.3) via 192.0.2.1:41641 in 31ms
        -- status 0
    "#]],
    );
    check(
        &pong(r#","Endpoint":"","DERPRegionID":1,"DERPRegionCode":"nyc""#),
        "ping -c 1 alpha",
        expect![[r#"
        > GET status
        > POST ping?ip=100.64.0.3&size=0&type=disco
        -- out
        pong from alpha (100.64.0.3) via DERP(nyc) in 31ms
        -- err
        direct connection not established
        -- status 1
    "#]],
    );
    check(
        &pong(r#","Endpoint":"","DERPRegionID":1,"DERPRegionCode":"nyc""#),
        "ping -c=1 --until-direct=false 100.64.0.3",
        expect![[r#"
        > GET status
        > POST ping?ip=100.64.0.3&size=0&type=disco
        -- out
        pong from alpha (100.64.0.3) via DERP(nyc) in 31ms
        -- status 0
    "#]],
    );
    check(
        &pong(""),
        "ping --tsmp alpha",
        expect![[r#"
        > GET status
        > POST ping?ip=100.64.0.3&size=0&type=TSMP
        -- out
        pong from alpha (100.64.0.3) via TSMP in 31ms
        -- status 0
    "#]],
    );
    check(
        &recorded().answer("POST ping", 200, r#"{"Err":"no matching peer"}"#),
        "ping alpha",
        expect![[r#"
        > GET status
        > POST ping?ip=100.64.0.3&size=0&type=disco
        -- err
        no matching peer
        -- status 1
    "#]],
    );
    check(
        &recorded().answer(
            "POST ping",
            200,
            r#"{"Err":"100.64.0.1 is local Tailscale IP","IsLocalIP":true}"#,
        ),
        "ping 100.64.0.1",
        expect![[r#"
        > GET status
        > POST ping?ip=100.64.0.1&size=0&type=disco
        -- out
        100.64.0.1 is local Tailscale IP
        -- status 0
    "#]],
    );
    check(
        &recorded().answer("POST ping", 0, ""),
        "ping --timeout=20ms -c 2 alpha",
        expect![[r#"
        > GET status
        > POST ping?ip=100.64.0.3&size=0&type=disco
        > POST ping?ip=100.64.0.3&size=0&type=disco
        -- out
        ping "100.64.0.3" timed out
        ping "100.64.0.3" timed out
        -- err
        no reply
        -- status 1
    "#]],
    );
    check(
        &recorded(),
        "ping me",
        expect![[r#"
        > GET status
        -- out
        100.64.0.1 is local Tailscale IP
        -- status 0
    "#]],
    );
    check(
        &recorded(),
        "ping",
        expect![[r#"
        > GET status
        -- err
        usage: tailscale ping <hostname-or-IP>
        -- status 1
    "#]],
    );
    check(
        &Script::new(&state("Stopped"), &json!({})),
        "ping x",
        expect![[r#"
        > GET status
        -- out
        Tailscale is stopped.
        -- status 1
    "#]],
    );
}

#[test]
fn whois() {
    let answer = r#"{"Node":{"ID":7,"StableID":"nX","Name":"laptop.tail12.ts.net.","User":123,"Key":"nodekey:0000000000000000000000000000000000000000000000000000000000000000","Addresses":["100.64.0.7/32","fd7a:115c:a1e0::7/128"],"AllowedIPs":["100.64.0.7/32","fd7a:115c:a1e0::7/128","10.1.0.0/24"],"Hostinfo":{"OS":"linux"}},"UserProfile":{"ID":123,"LoginName":"ann@example.com","DisplayName":"Ann"},"CapMap":{"example.com/cap":[{"a":1,"b":["<x>"]}],"plain":null}}"#;
    let script = recorded().answer("GET whois", 200, answer);
    check(
        &script,
        "whois 100.64.0.7:80",
        expect![[r#"
        > GET whois?proto=&addr=100.64.0.7%3A80
        -- out
        Machine:
          Name:           laptop.tail12.ts.net
          ID:             nX
          Addresses:      [100.64.0.7/32 fd7a:115c:a1e0::7/128]
          AllowedIPs:     [10.1.0.0/24]
        User:
          Name:     ann@example.com
          ID:       123
        Capabilities:
          - example.com/cap:
              [
                {
                  "a": 1,
                  "b": [
                    "\u003cx\u003e"
                  ]
                }
              ]
          - plain
        -- status 0
    "#]],
    );
    check(
        &script,
        "whois --json --proto=tcp [fd7a:115c:a1e0::7]:80",
        expect![[r#"
        > GET whois?proto=tcp&addr=%5Bfd7a%3A115c%3Aa1e0%3A%3A7%5D%3A80
        -- out
        {
          "Node": {
            "ID": 7,
            "StableID": "nX",
            "Name": "laptop.tail12.ts.net.",
            "User": 123,
            "Key": "nodekey:0000000000000000000000000000000000000000000000000000000000000000",
            "Addresses": [
              "100.64.0.7/32",
              "fd7a:115c:a1e0::7/128"
            ],
            "AllowedIPs": [
              "100.64.0.7/32",
              "fd7a:115c:a1e0::7/128",
              "10.1.0.0/24"
            ],
            "Hostinfo": {
              "OS": "linux"
            }
          },
          "UserProfile": {
            "ID": 123,
            "LoginName": "ann@example.com",
            "DisplayName": "Ann"
          },
          "CapMap": {
            "example.com/cap": [
              {
                "a": 1,
                "b": [
                  "<x>"
                ]
              }
            ],
            "plain": null
          }
        }
        -- status 0
    "#]],
    );
    check(
        &script,
        "whoami",
        expect![[r#"
        > GET status?peers=false
        > GET whois?proto=&addr=100.64.0.1
        -- out
        Machine:
          Name:           laptop.tail12.ts.net
          ID:             nX
          Addresses:      [100.64.0.7/32 fd7a:115c:a1e0::7/128]
          AllowedIPs:     [10.1.0.0/24]
        User:
          Name:     ann@example.com
          ID:       123
        Capabilities:
          - example.com/cap:
              [
                {
                  "a": 1,
                  "b": [
                    "\u003cx\u003e"
                  ]
                }
              ]
          - plain
        -- status 0
    "#]],
    );
    check(
        &recorded().answer("GET whois", 404, "no match for IP:port\n"),
        "whois 1.2.3.4",
        expect![[r#"
        > GET whois?proto=&addr=1.2.3.4
        -- err
        peer not found
        -- status 1
    "#]],
    );
    check(
        &recorded().answer("GET whois", 400, "invalid 'addr' parameter\n"),
        "whois abc",
        expect![[r#"
        > GET whois?proto=&addr=abc
        -- err
        400 Bad Request: invalid 'addr' parameter
        -- status 1
    "#]],
    );
    check(
        &script,
        "whois",
        expect![[r#"
        -- err
        missing argument, expected one peer
        -- status 1
    "#]],
    );
}

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
        "wait --timeout=50ms",
        expect![[r#"
        > GET status?peers=false
        > GET watch-ipn-bus?mask=2
        -- err
        gave up after 50ms: the node is not ready; see "tailscale status"
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
        &recorded().answer("GET derpmap", 200, "{\"Regions\":null}\n"),
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
        # Response status 404
        -- status 1
    "#]],
    );
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
              up       Connect to the tailnet, logging in if needed
              down     Disconnect from the tailnet
              set      Change single settings
              get      Show settings
              login    Log in to a further account
              logout   Disconnect and expire the node key, so that a login is needed again
              switch   Switch to a different account
              ip       Show Tailscale addresses
              status   Show the state of the node and its connections
              ping     Ping a node inside the tailnet and see the way it takes
              version  Print the version
              whois    Show the machine and user behind a Tailscale address
              whoami   Show the identity of this machine
              wait     Wait until the node runs and its address can be bound

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
                  --c <value>              number of pings, 0 for no end [default: 10]
                  --icmp[=<bool>]          ICMP inside WireGuard, answered by the peer's system [default: false]
                  --peerapi[=<bool>]       ask the peer's PeerAPI server [default: false]
                  --size <value>           size of the message in bytes, 0 for the least (only without --tsmp, --icmp, --peerapi) [default: 0]
                  --timeout <value>        how long to wait for each answer [default: 5s]
                  --tsmp[=<bool>]          TSMP inside WireGuard, answered by the peer's tailscaled [default: false]
                  --until-direct[=<bool>]  stop when there is a direct path [default: true]
                  --verbose[=<bool>]       tell which address a name stands for [default: false]
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
              --1[=<bool>]      only one address [default: false]
              --4[=<bool>]      only the IPv4 address [default: false]
              --6[=<bool>]      only the IPv6 address [default: false]
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
              --1[=<bool>]      only one address [default: false]
              --4[=<bool>]      only the IPv4 address [default: false]
              --6[=<bool>]      only the IPv6 address [default: false]
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
            Your private network, made of WireGuard.

            USAGE
              tailscale [flags] <subcommand> [command flags]

            For help on a command, add --help after it: "tailscale status --help".

            SUBCOMMANDS
              up       Connect to the tailnet, logging in if needed
              down     Disconnect from the tailnet
              set      Change single settings
              get      Show settings
              login    Log in to a further account
              logout   Disconnect and expire the node key, so that a login is needed again
              switch   Switch to a different account
              ip       Show Tailscale addresses
              status   Show the state of the node and its connections
              ping     Ping a node inside the tailnet and see the way it takes
              version  Print the version
              whois    Show the machine and user behind a Tailscale address
              whoami   Show the identity of this machine
              wait     Wait until the node runs and its address can be bound

            FLAGS
                  --socket <value>  path of tailscaled's socket [default: DIR/s]
            -- status 2
        "#]],
    );
}
