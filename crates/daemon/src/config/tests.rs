//! What a configuration file may say, and what hostile ones come to.

use super::*;
use localapi::types::{NetfilterMode, OptBool, Prefs};
use proptest::prelude::*;
use serde_json::Value;
use std::fs;

fn with(members: &str) -> Result<Config, String> {
    parse(format!("{{\"version\":\"alpha0\"{members}}}").as_bytes())
}

fn applied(members: &str) -> Prefs {
    let mut prefs = Prefs { logged_out: true, ..Prefs::new_default() };
    prefs.apply(&with(members).expect("a configuration").edit);
    prefs
}

#[test]
fn the_least_file_brings_the_node_up_and_locks_it() {
    let config = with("").expect("the least");
    assert!(config.locked && config.auth_key.is_none());
    let wanted = Prefs { want_running: true, logged_out: true, ..Prefs::new_default() };
    assert_eq!(applied(""), wanted, "and nothing else");
    assert!(!with(r#","Locked":false"#).expect("unlocked").locked);
    assert!(!applied(r#","Enabled":false"#).want_running);
}

#[test]
fn every_setting_has_its_field() {
    let prefs = applied(
        r#","ServerURL":"https://c.example","AuthKey":"tskey-auth-x","OperatorUser":"op","Hostname":"r1",
           "acceptDNS":false,"acceptRoutes":true,"exitNode":"100.64.0.9","allowLANWhileUsingExitNode":true,
           "AdvertiseRoutes":["192.168.88.0/24"],"DisableSNAT":true,"NetfilterMode":"nodivert",
           "NoStatefulFiltering":false,"ShieldsUp":true"#,
    );
    let expected = Prefs {
        control_url: "https://c.example".to_owned(),
        operator_user: "op".to_owned(),
        hostname: "r1".to_owned(),
        want_running: true,
        corp_dns: false,
        route_all: true,
        exit_node_ip: localapi::types::Addr("100.64.0.9".parse().ok()),
        exit_node_allow_lan_access: true,
        advertise_routes: Some(vec!["192.168.88.0/24".parse().expect("net")]),
        no_snat: true,
        netfilter_mode: NetfilterMode::NoDivert,
        no_stateful_filtering: OptBool::False,
        shields_up: true,
        ..Prefs::new_default()
    };
    assert_eq!(prefs, expected);
    assert_eq!(applied(r#","exitNode":"nABC""#).exit_node_id, "nABC");
}

#[test]
fn offering_an_exit_node_adds_both_default_routes() {
    let nets = |prefs: Prefs| prefs.advertise_routes.unwrap_or_default().len();
    assert_eq!(nets(applied(r#","AdvertiseExitNode":true"#)), 2);
    assert_eq!(nets(applied(r#","AdvertiseExitNode":true,"AdvertiseRoutes":["10.0.0.0/8"]"#)), 3);
    assert_eq!(applied(r#","AdvertiseExitNode":false"#).advertise_routes, None);
}

#[test]
fn names_match_in_any_case_and_null_says_nothing() {
    assert_eq!(applied(r#","HOSTNAME":"x","acceptdns":null"#).hostname, "x");
    assert!(applied(r#","acceptDNS":null"#).corp_dns);
    assert!(with(r#","Nonsense":null"#).is_err());
}

#[test]
fn what_this_build_lacks_may_only_be_off() {
    let neutral = r#","RunSSHServer":false,"AdvertiseServices":[],"AppConnector":{"Advertise":false},
        "AutoUpdate":{"Check":true,"Apply":null},"PostureChecking":false,"ServeConfigTemp":null,
        "RelayServerPort":null,"RemoteConfig":false,"RunWebClient":false"#;
    assert_eq!(applied(neutral), applied(""));
    for wanted in [
        r#","RunSSHServer":true"#,
        r#","AdvertiseServices":["svc:a"]"#,
        r#","AppConnector":{"Advertise":true}"#,
        r#","AutoUpdate":{"Apply":true}"#,
        r#","PostureChecking":true"#,
        r#","ServeConfigTemp":{}"#,
        r#","RelayServerPort":0"#,
        r#","RemoteConfig":true"#,
        r#","RunWebClient":true"#,
    ] {
        let why = with(wanted).expect_err(wanted);
        assert!(why.contains("is not in this build"), "{why}");
    }
}

#[test]
fn endpoints_that_are_known() {
    let config = with(r#","StaticEndpoints":["192.0.2.1:1","[2001:db8::1]:2"]"#).expect("a configuration");
    let told: Vec<_> = config.static_endpoints.iter().map(ToString::to_string).collect();
    assert_eq!(told, ["192.0.2.1:1", "[2001:db8::1]:2"]);
    for wrong in ["[1]", r#"["192.0.2.1"]"#, "{}"] {
        let why = with(&format!(r#","StaticEndpoints":{wrong}"#)).expect_err(wrong);
        assert!(why.starts_with("\"StaticEndpoints\": "), "{why}");
    }
}

#[test]
fn what_is_wrong_is_named() {
    let why = |members: &str| with(members).expect_err(members);
    assert_eq!(why(r#","Hostnme":"x""#), r#"unknown field "Hostnme" (did you mean "Hostname"?)"#);
    assert_eq!(why(r#","quite something else":1"#), r#"unknown field "quite something else""#);
    assert_eq!(why(r#","Locked":"no""#), r#""Locked" must be true or false"#);
    assert_eq!(why(r#","AuthKey":7"#), r#""AuthKey" must be a string"#);
    assert!(why(r#","AdvertiseRoutes":["10.1.1.1/8"]"#).contains("expected 10.0.0.0/8"));
    assert!(why(r#","AdvertiseRoutes":["x"]"#).contains("is not a prefix"));
    assert!(why(r#","NetfilterMode":"On""#).contains("is none of"));
    let raw = |text: &str| parse(text.as_bytes()).expect_err(text);
    assert!(raw("{}").contains("no \"version\""));
    assert!(raw(r#"{"version":"beta1"}"#).contains("alpha0"));
    assert!(raw("// comment\n{}").contains("plain JSON"));
    assert!(raw(r#"{"version":"alpha0"} x"#).contains("trailing"));
    assert!(raw("[]").contains("one JSON object"));
    assert!(raw("").contains("plain JSON"));
}

#[test]
fn places() {
    let place = |flag: &str| Place::new(flag).expect(flag);
    assert_eq!(place(""), None);
    assert_eq!(place("optional:"), None);
    assert_eq!(place("/x"), Some(Place { path: "/x".into(), optional: false }));
    assert_eq!(place("optional:/x"), Some(Place { path: "/x".into(), optional: true }));
    assert!(Place::new("vm:user-data").is_err() && Place::new("optional:vm:user-data").is_err());
}

#[test]
fn files() {
    let dir = tempfile::tempdir().expect("folder");
    let (path, key) = (dir.path().join("c.json"), dir.path().join("key"));
    let place = Place { path: path.clone(), optional: false };
    assert!(place.read().expect_err("no file").contains("c.json"));
    let optional = Place { optional: true, ..place.clone() };
    assert_eq!(optional.read(), Ok(None));
    let text = serde_json::json!({"Version": "alpha0", "AuthKey": format!("file:{}", key.display())});
    fs::write(&path, text.to_string()).expect("write");
    let config = place.read().expect("read").expect("there");
    assert_eq!(
        config.auth_key(),
        None,
        "the key cannot be read, which a node that is logged in does not mind"
    );
    assert!(config.edit.mask.logged_out);
    fs::write(&key, "tskey-auth-x\n").expect("write");
    let config = place.read().expect("read").expect("there");
    assert_eq!(config.auth_key(), Some("tskey-auth-x"));
    assert!(!format!("{config:?}").contains("tskey"), "a key is not for the log");
    fs::write(&key, " \n").expect("write");
    assert_eq!(place.read().expect("read").expect("there").auth_key(), None);
    fs::write(&path, "nonsense").expect("write");
    assert!(optional.read().expect_err("a broken file is an error all the same").contains("c.json"));
    fs::write(&path, vec![b' '; LIMIT as usize + 1]).expect("write");
    assert!(place.read().expect_err("too long").contains("longer than"));
}

/// JSON values of every kind, some of them what fields want.
fn value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        "[ -~]{0,24}".prop_map(Value::from),
        Just(Value::from("10.0.0.0/8")),
        Just(Value::from("off")),
    ];
    leaf.prop_recursive(3, 24, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::hash_map("[a-zA-Z]{1,8}", inner, 0..4)
                .prop_map(|members| Value::Object(members.into_iter().collect())),
        ]
    })
}

/// Names of fields, nearly names of fields, and other words.
fn name() -> impl Strategy<Value = String> {
    const KNOWN: &[&str] = &[
        "Locked",
        "ServerURL",
        "AuthKey",
        "Enabled",
        "Hostname",
        "acceptDNS",
        "exitNode",
        "AdvertiseRoutes",
        "AdvertiseExitNode",
        "AppConnector",
        "AutoUpdate",
        "NetfilterMode",
        "NoStatefulFiltering",
        "RelayServerPort",
    ];
    prop_oneof![6 => prop::sample::select(KNOWN).prop_map(str::to_owned), 1 => "\\PC{0,80}"]
}

proptest! {
    #[test]
    fn any_bytes_do_no_harm(text: Vec<u8>) {
        let _ = parse(&text);
    }

    #[test]
    fn any_members_do_no_harm(members in prop::collection::vec((name(), value()), 0..8)) {
        let mut object: serde_json::Map<String, Value> = members.into_iter().collect();
        object.insert("version".to_owned(), "alpha0".into());
        let known = object.keys().all(|name| field::find(name).is_ok());
        let parsed = parse(Value::Object(object).to_string().as_bytes());
        prop_assert!(known || parsed.is_err(), "an unknown field is never taken");
        if let Ok(config) = parsed {
            for route in config.edit.prefs.advertise_routes.iter().flatten() {
                prop_assert_eq!(*route, route.trunc());
            }
            prop_assert!(!config.edit.prefs.run_ssh && !config.edit.prefs.app_connector.advertise);
            prop_assert!(config.edit.mask.want_running && !config.edit.mask.internal_exit_node_prior);
        }
    }

    #[test]
    fn a_damaged_file_does_no_harm(at in 0usize..200, byte: u8) {
        let mut text = br#"{"version":"alpha0","AuthKey":"file:/k","Hostname":"r","AdvertiseRoutes":["10.0.0.0/8","::/0"]}"#.to_vec();
        if let Some(damaged) = text.get_mut(at) {
            *damaged = byte;
        }
        let _ = parse(&text);
        text.truncate(at);
        let _ = parse(&text);
    }
}
