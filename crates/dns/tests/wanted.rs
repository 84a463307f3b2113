//! What follows from a netmap and the preferences.

use dns::Config;
use dns::config::OsConfig;
use dns::wanted::{Exit, Facts, config, is_filtered};
use netmap::{DnsConfig, DnsRecord, DnsResolver};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

fn resolvers(list: &[&str]) -> Box<[DnsResolver]> {
    // A `*` in front: also with an exit node.
    let one = |text: &&str| DnsResolver {
        addr: text.trim_start_matches('*').into(),
        use_with_exit_node: text.starts_with('*'),
        ..DnsResolver::default()
    };
    list.iter().map(one).collect()
}

fn control() -> DnsConfig {
    let routes = [
        ("corp.", &["10.0.0.1"][..]),
        ("Exit.Corp", &["10.0.0.2", "*10.0.0.3"]),
        ("empty.corp.", &[]),
        ("self.corp", &["100.100.100.100"]),
        ("65.100.in-addr.arpa.", &[]),
        ("66.100.in-addr.arpa.", &["10.0.0.4"]),
        ("a..b", &["10.0.0.5"]),
    ];
    let record = |name: &str, kind: &str, value: &str| DnsRecord {
        name: name.into(),
        kind: kind.into(),
        value: value.into(),
    };
    DnsConfig {
        resolvers: resolvers(&["9.9.9.9", "100.100.100.100"]),
        routes: routes.iter().map(|(suffix, list)| ((*suffix).into(), resolvers(list))).collect(),
        fallback_resolvers: resolvers(&["1.1.1.1"]),
        domains: ["tail1.ts.net".into(), "Corp.".into(), "a..b".into(), "".into()].into(),
        proxied: true,
        extra_records: [
            record("svc.corp", "", "10.9.0.1"),
            record("svc.corp.", "AAAA", "2001:db8::1"),
            record("svc.corp.", "TXT", "10.9.0.2"),
            record("bad.corp.", "A", "x"),
        ]
        .into(),
        exit_node_filtered_set: ["secret.corp".into(), ".hidden.corp".into(), "".into()].into(),
        ..DnsConfig::default()
    }
}

const ADDRESSES: [IpAddr; 2] = [
    IpAddr::V4(Ipv4Addr::new(100, 64, 0, 1)),
    IpAddr::V6(Ipv6Addr::new(0xfd7a, 0x115c, 0xa1e0, 0, 0, 0, 0, 1)),
];

fn made<'a>(dns: &'a DnsConfig, change: impl FnOnce(&mut Facts<'a>)) -> Config {
    let mut facts = Facts {
        dns,
        nodes: dns::Hosts::default(),
        addresses: &ADDRESSES,
        suffix: "Tail1.ts.net.",
        accept: true,
        expired: false,
        nodes_aaaa: false,
        exit: Exit::None,
    };
    change(&mut facts);
    config(facts)
}

fn text(config: &Config) -> String {
    let list = |all: &[dns::Upstream]| all.iter().map(ToString::to_string).collect::<Vec<_>>().join(",");
    let routes = config.routes.iter().map(|(suffix, all)| format!("{suffix}={}", list(all)));
    let mut routes: Vec<_> = routes.collect();
    routes.sort();
    format!("{} default={}", routes.join(" "), list(&config.default))
}

#[test]
fn without_an_exit_node() {
    let config = made(&control(), |_| {});
    assert_eq!(
        text(&config),
        "66.100.in-addr.arpa=10.0.0.4 corp=10.0.0.1 empty.corp= exit.corp=10.0.0.2,10.0.0.3 self.corp= tail1.ts.net= \
         default=9.9.9.9"
    );
    assert_eq!(config.search.join(" "), "tail1.ts.net corp");
    assert_eq!(config.records.find(b"svc.corp").expect("there").addresses.len(), 2);
    assert!(config.records.find(b"bad.corp").is_none());
    assert_eq!((config.magic.as_deref(), config.reverse), (Some("tail1.ts.net"), true));
    assert!(!config.only_v6 && !config.nodes_unrouted);
}

#[test]
fn an_exit_node_answers_everything_but_what_is_kept() {
    let url = "http://100.64.0.9:1234/dns-query";
    let config = made(&control(), |facts| facts.exit = Exit::Proxy(url));
    assert_eq!(text(&config), format!("empty.corp= exit.corp=10.0.0.3 tail1.ts.net= default={url}"));
    let kept = DnsConfig { resolvers: resolvers(&["9.9.9.9", "*9.9.9.10"]), ..control() };
    let config = made(&kept, |facts| facts.exit = Exit::Proxy(url));
    assert!(text(&config).ends_with("default=9.9.9.10"));
}

#[test]
fn an_exit_node_that_does_not_answer() {
    let own = resolvers(&["10.64.0.1"]);
    let bare = DnsConfig { resolvers: [].into(), ..control() };
    for (dns, exit, default) in [
        (&control(), Exit::Silent(&own[..]), "9.9.9.9"),
        (&bare, Exit::Silent(&own), "10.64.0.1"),
        (&bare, Exit::Silent(&[]), "1.1.1.1"),
        (&bare, Exit::None, ""),
    ] {
        let config = made(dns, |facts| facts.exit = exit);
        assert!(text(&config).ends_with(&format!("default={default}")), "{exit:?}: {}", text(&config));
        assert!(text(&config).contains("corp=10.0.0.1"));
    }
}

#[test]
fn not_accepted_means_answering_only() {
    let config = made(&control(), |facts| facts.accept = false);
    assert_eq!(text(&config), " default=");
    assert!(config.search.is_empty() && !config.reverse && !config.nodes_unrouted);
    assert_eq!(config.magic.as_deref(), Some("tail1.ts.net"));
    assert!(!config.records.is_empty());
    assert_eq!(config.compile(&OsConfig::default()).1, OsConfig::default());
}

#[test]
fn expired_and_without_magic_dns() {
    assert_eq!(made(&control(), |facts| facts.expired = true), Config::default());
    let off = DnsConfig { proxied: false, ..control() };
    let config = made(&off, |_| {});
    assert!(config.magic.is_none() && !config.reverse && config.nodes_unrouted);
    assert!(text(&config).contains("65.100.in-addr.arpa= "), "{}", text(&config));
    assert!(!text(&config).contains("tail1"));
    let nameless = made(&control(), |facts| facts.suffix = "");
    assert!(nameless.magic.is_none() && !nameless.nodes_unrouted);
}

#[test]
fn six_only() {
    let config = made(&control(), |facts| {
        facts.addresses = &ADDRESSES[1..];
        facts.nodes_aaaa = true;
    });
    assert!(config.only_v6 && config.nodes_aaaa);
}

#[test]
fn what_an_exit_node_does_not_tell() {
    let dns = control();
    for (name, filtered) in [
        ("secret.corp", true),
        ("a.secret.corp", false),
        ("a.hidden.corp", true),
        ("hidden.corp", false),
        ("xhidden.corp", false),
        ("", false),
        ("example.com", false),
    ] {
        assert_eq!(is_filtered(&dns.exit_node_filtered_set, name.as_bytes()), filtered, "{name}");
    }
}
