//! Commands about nodes: `ip`, `ping`, `whois`.

mod support;

use expect_test::expect;
use serde_json::json;
use support::{Script, check, recorded, state};

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
    for name in ["alpha.tail12.ts.net.", "Alpha.tail12.ts.net"] {
        let done = support::run(&recorded(), &format!("ip -1 {name}"));
        assert_eq!((done.out.as_str(), done.status), ("100.64.0.3\n", 0), "{name}: {}", done.err);
    }
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
        "ping --timeout=300ms -c 2 alpha",
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
