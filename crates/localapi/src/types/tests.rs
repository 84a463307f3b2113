//! Golden JSON, printed by Go's own types at 1.102.5, must survive decoding and encoding byte for byte; and no
//! text makes a decoder panic.

use super::*;
use gojson::{Value, Zero};
use proptest::prelude::*;

macro_rules! golden {
    ($name:literal) => {
        include_str!(concat!("../../golden/", $name, ".json")).trim_end()
    };
}

fn check<T: Value + Zero>(golden: &str, indent: Indent) -> T {
    let value: T = gojson::from_slice(golden.as_bytes()).expect("golden JSON decodes");
    assert_eq!(to_go_json(&value, indent), golden);
    value
}

#[test]
fn prefs() {
    let default: Prefs = check(golden!("prefs_default"), Indent::Tab);
    assert_eq!(default, Prefs::new_default());
    assert_eq!(to_go_json(&Prefs::default(), Indent::Tab), golden!("prefs_zero"));
    let full: Prefs = check(golden!("prefs_full"), Indent::Tab);
    assert_eq!(full.advertise_tags.as_deref().map(<[_]>::len), Some(2));
    assert_eq!(full.advertise_services, Some(Vec::new()));
    assert!(matches!(full.no_stateful_filtering, OptBool::Unset));
    assert_eq!(full.relay_server_port, Some(0));
    assert_eq!(full.persist.as_ref().map(|persist| persist.node_id.as_str()), Some("nABC123CNTRL"));
}

#[test]
fn redacted_prefs_hold_no_secret() {
    let full: Prefs = gojson::from_str(golden!("prefs_full")).expect("full");
    let text = to_go_json(&full.redacted(), Indent::None);
    assert!(!text.contains("0102030405060708"), "{text}");
    assert!(text.contains("\"LoginName\":\"ann@example.com\""), "{text}");
    assert!(text.contains(&format!("\"PrivateNodeKey\":\"privkey:{}\"", "0".repeat(64))), "{text}");
}

#[test]
fn prefs_from_another_version() {
    let text = r#"{"corpdns":false,"Hostname":null,"FutureThing":{"a":[1,2.50]},"Config":{"NodeID":"n","NewKey":"x"}}"#;
    let prefs = Prefs::load(text.as_bytes()).expect("loads");
    assert!(!prefs.corp_dns);
    assert_eq!(prefs.netfilter_mode, NetfilterMode::On);
    let back = to_go_json(&prefs, Indent::None);
    assert!(back.ends_with(r#""FutureThing":{"a":[1,2.50]}}"#), "{back}");
    assert!(back.contains(r#""NodeID":"n","NewKey":"x"}"#), "{back}");
    assert!(!to_go_json(&prefs.redacted(), Indent::None).contains("NewKey"));
    assert!(Prefs::load(b"[]").is_err());
    assert!(Prefs::load(b"{} x").is_err());
    assert!(Prefs::load(br#"{"CorpDNS":1}"#).is_err());
    assert!(Prefs::load(br#"{"Config":{"PrivateNodeKey":""}}"#).is_err());
}

#[test]
fn masked_prefs() {
    let edit: MaskedPrefs = check(golden!("masked"), Indent::None);
    let mut prefs = Prefs { hostname: "kept".to_owned(), ..Prefs::new_default() };
    prefs.apply(&edit);
    assert!(!prefs.corp_dns);
    assert_eq!(prefs.advertise_routes.as_deref().map(<[_]>::len), Some(1));
    assert_eq!(prefs.hostname, "kept");
    assert_eq!(prefs.auto_update, AutoUpdatePrefs { check: true, apply: OptBool::Unset });

    // Every field that Go can set has its flag here, and with all flags everything but the keys is taken over.
    let mut all: MaskedPrefs = gojson::from_str(golden!("masked_all")).expect("all");
    assert_eq!(to_go_json(&all.mask, Indent::None).matches("true").count(), 35);
    let full: Prefs = gojson::from_str(golden!("prefs_full")).expect("full");
    all.prefs = full.clone();
    let mut prefs = Prefs::default();
    prefs.apply(&all);
    assert_eq!(prefs, Prefs { persist: None, ..full });
    assert_eq!(
        to_go_json(&MaskedPrefs::default(), Indent::None),
        to_go_json(&Prefs::default(), Indent::None)
    );
}

#[test]
fn status() {
    assert_eq!(to_go_json(&Status::default(), Indent::Tab), golden!("status_zero"));
    check::<Status>(golden!("status_zero"), Indent::Tab);
    let full: Status = check(golden!("status_full"), Indent::Tab);
    assert_eq!(full.peer.len(), 2);
    assert_eq!(full.self_.as_ref().map(|me| me.host_name.as_str()), Some("router"));
}

#[test]
fn status_peer_by_peer() {
    for indent in [Indent::Tab, Indent::TwoSpaces, Indent::None] {
        let full: Status = gojson::from_str(golden!("status_full")).expect("full");
        let mut head = full.clone();
        let mut out = Vec::new();
        let mut writer = StatusWriter::begin(&mut head, indent, &mut out);
        for peer in full.peer.values() {
            writer.peer(peer, &mut out);
        }
        writer.finish(&mut out);
        assert_eq!(String::from_utf8_lossy(&out), to_go_json(&full, indent));

        let mut out = Vec::new();
        StatusWriter::begin(&mut head, indent, &mut out).finish(&mut out);
        assert_eq!(String::from_utf8_lossy(&out), to_go_json(&head, indent));
    }
}

#[test]
fn notify_with_status_peer_by_peer() {
    let full: Status = gojson::from_str(golden!("status_full")).expect("full");
    let mut notify = Notify { version: "v".to_owned(), ..Notify::default() };
    let mut out = Vec::new();
    let mut writer = NotifyStatusWriter::begin(&mut notify, &mut full.clone(), &mut out);
    for peer in full.peer.values() {
        writer.peer(peer, &mut out);
    }
    writer.finish(&mut out);
    assert_eq!(out.iter().filter(|byte| **byte == b'\n').count(), 1);
    let back: Notify = gojson::from_slice(&out).expect("one line of JSON");
    assert_eq!(to_go_json(&back.initial_status, Indent::Tab), golden!("status_full"));
    assert_eq!(back.version, "v");
}

#[test]
fn notify() {
    assert_eq!(to_go_json(&Notify::default(), Indent::None), golden!("notify_zero"));
    check::<Notify>(golden!("notify_zero"), Indent::None);
    let full: Notify = check(golden!("notify_full"), Indent::None);
    assert_eq!(full.state, Some(State::Running));
    assert_eq!(full.login_finished, Some(Empty {}));
    assert_eq!(State::from_name("Running"), Some(State::Running));
    assert!(gojson::from_slice::<State>(b"7").is_err());
}

#[test]
fn nodes() {
    check::<Node>(golden!("node_zero"), Indent::None);
    let node: Node = check(golden!("node_full"), Indent::Tab);
    assert_eq!(node.allowed_ips, Some(Vec::new()));
    assert_eq!(node.online, Some(true));
}

#[test]
fn the_rest() {
    check::<LoginProfile>(golden!("profile"), Indent::None);
    assert_eq!(to_go_json(&LoginProfile::default(), Indent::None), golden!("profile_zero"));
    check::<PingResult>(golden!("ping"), Indent::None);
    assert_eq!(to_go_json(&PingResult::default(), Indent::None), golden!("ping_zero"));
    check::<WhoIs>(golden!("whois"), Indent::Tab);
    check::<ExitNodeSuggestion>(golden!("suggestion"), Indent::None);
    check::<DnsConfig>(golden!("dnsconfig"), Indent::None);
    check::<DnsOsConfig>(golden!("dnsos"), Indent::None);
    check::<DnsQueryResponse>(golden!("dnsquery"), Indent::None);
    check::<DerpMap>(golden!("derpmap"), Indent::None);
    check::<Options>(golden!("options"), Indent::None);
    assert_eq!(to_go_json(&Options::default(), Indent::None), golden!("options_zero"));
    check::<ReloadConfigResponse>(golden!("reload"), Indent::None);
}

#[test]
fn raw_values_are_laid_out_like_the_rest() {
    let raw =
        Raw::new(" { \"a\" : [ ] , \"b\":[1 , {\"c\":\"x}<\\\"\"}] , \"d\":{ } } ".to_owned()).expect("JSON");
    assert_eq!(to_go_json(&raw, Indent::None), r#"{"a":[],"b":[1,{"c":"x}\u003c\""}],"d":{}}"#);
    assert_eq!(
        to_go_json(&[raw], Indent::TwoSpaces),
        "[\n  {\n    \"a\": [],\n    \"b\": [\n      1,\n      {\n        \"c\": \"x}\\u003c\\\"\"\n      }\n    ],\n    \"d\": {}\n  }\n]"
    );
}

#[test]
fn floats_as_go() {
    for (value, text) in [
        (0.0, "0"),
        (1.0, "1"),
        (0.1, "0.1"),
        (1e-7, "1e-7"),
        (1e21, "1e+21"),
        (1e20, "100000000000000000000"),
        (-2.5e-9, "-2.5e-9"),
    ] {
        assert_eq!(to_go_json(&value, Indent::None), text);
    }
}

#[test]
fn times() {
    assert_eq!(Time::ZERO.to_string(), "0001-01-01T00:00:00Z");
    assert_eq!(
        Time::parse("2026-08-22T12:00:00.5+02:00").map(|at| at.to_string()).as_deref(),
        Some("2026-08-22T10:00:00.5Z")
    );
    assert_eq!(Time::from_unix(123).unix_nanos(), 123_000_000_000);
}

fn json() -> impl Strategy<Value = String> {
    let leaf = prop_oneof![
        Just("null".to_owned()),
        any::<bool>().prop_map(|b| b.to_string()),
        any::<i64>().prop_map(|n| n.to_string()),
        any::<f64>().prop_filter("finite", |f| f.is_finite()).prop_map(|f| format!("{f:e}")),
        any::<String>().prop_map(|s| serde_json::to_string(&s).expect("string")),
    ];
    leaf.prop_recursive(4, 32, 5, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..5).prop_map(|items| format!("[{}]", items.join(" ,"))),
            prop::collection::vec(("[A-Za-z]{1,6}", inner), 0..5).prop_map(|members| {
                let members: Vec<_> =
                    members.into_iter().map(|(key, value)| format!("\"{key}\" : {value}")).collect();
                format!("{{ {} }}", members.join(","))
            }),
        ]
    })
}

proptest! {
    #[test]
    fn any_text_decodes_or_errs(text: String, json in json()) {
        for text in [text, json] {
            let _ = gojson::from_str::<MaskedPrefs>(&text);
            let _ = gojson::from_str::<Notify>(&text);
            let _ = gojson::from_str::<Status>(&text);
            let _ = gojson::from_str::<WhoIs>(&text);
            let _ = Prefs::load(text.as_bytes());
        }
    }

    #[test]
    fn layout_changes_no_value(text in json()) {
        let want: serde_json::Value = serde_json::from_str(&text).expect("JSON");
        let raw = Raw::new(text).expect("JSON");
        for indent in [Indent::None, Indent::Tab, Indent::TwoSpaces] {
            let out = to_go_json(&raw, indent);
            let got: serde_json::Value = serde_json::from_str(&out).expect("still JSON");
            prop_assert_eq!(&got, &want);
            prop_assert!(!out.contains(['<', '>', '&']));
        }
    }

    #[test]
    fn prefs_round_trip(name: String, want: bool, tags: Option<Vec<String>>, port: Option<u16>, key in "[x-z]{4}", value in json()) {
        let mut prefs = Prefs { hostname: name, want_running: want, advertise_tags: tags, relay_server_port: port, ..Prefs::new_default() };
        prefs.extra.push((key, Raw::new(to_go_json(&Raw::new(value).expect("JSON"), Indent::None)).expect("JSON")));
        let text = to_go_json(&prefs, Indent::None);
        prop_assert_eq!(gojson::from_str::<Prefs>(&text).expect("back"), prefs.clone());
        prop_assert_eq!(Prefs::load(to_go_json(&prefs, Indent::None).as_bytes()).expect("load"), prefs);
    }

    #[test]
    fn time_round_trip(nanos in -62_135_596_800_000_000_000i128..253_402_300_799_000_000_000) {
        let at = Time::from_unix_nanos(nanos);
        prop_assert_eq!(Time::parse(&at.to_string()), Some(at));
    }
}
