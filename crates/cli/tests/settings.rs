//! Commands that show and change settings: `get`, `set`, `down`, `logout`.

mod support;

use expect_test::expect;
use serde_json::json;
use support::{Script, check, recorded, run, state};

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
