//! Policy rules and a table of our own against a real kernel, in namespaces. Needs root; skipped with the reason
//! elsewhere.

mod common;

use common::{in_host, nets, ranges};
use lab::Host;
use router::{Config, Error, Layout, Router, Tun, cleanup};
use std::fmt::Write as _;

fn exit_node(layout: Layout) -> Config {
    Config {
        mtu: 1280,
        up: true,
        addresses: nets(&["100.64.0.7/32", "fd7a:115c:a1e0::7/128"]),
        routes: nets(&["100.64.0.0/10", "fd7a:115c:a1e0::/48", "0.0.0.0/0", "::/0"]),
        shut: nets(&["198.51.100.0/24"]),
        around: nets(&["203.0.113.0/24", "2001:db8::/64"]),
        layout,
        ..Config::default()
    }
}

/// Rules, and routes that do not go with the device, of both families.
fn left(host: &Host) -> String {
    let mut text = String::new();
    for words in [
        &["ip", "rule"][..],
        &["ip", "-6", "rule"],
        &["ip", "route", "show", "table", "all"],
        &["ip", "-6", "route", "show", "table", "all"],
    ] {
        // What the kernel does by itself when a link goes up or down, and a while after.
        let lines = host.run(words).expect("ip");
        let lines = lines.lines().filter(|line| !line.contains("tailscale0") && !line.contains("fe80"));
        lines.for_each(|line| writeln!(text, "{line}").expect("text"));
    }
    text
}

/// By which device `words` go.
fn way(host: &Host, words: &[&str]) -> String {
    let text = host.run(&[&["ip", "route", "get"], words].concat()).unwrap_or_default();
    let device = text.split("dev ").nth(1).and_then(|rest| rest.split(' ').next());
    device.unwrap_or("nowhere").to_owned()
}

#[test]
fn an_exit_node_in_either_layout() {
    in_host(|host| {
        host.run(&["ip", "route", "add", "198.51.100.0/24", "dev", "eth0"]).expect("ip");
        host.run(&["ip", "rule", "add", "pref", "5270", "from", "192.0.2.1", "lookup", "52"]).expect("ip");
        let before = left(host);
        for layout in [Layout::Policy, Layout::Auto, Layout::Main] {
            let tun = Tun::open("tailscale0").expect("tun");
            let mut router = Router::open(tun.name(), &ranges()).expect("router");
            assert_eq!(router.apply(&exit_node(layout)), [], "{layout:?}");
            for (to, device) in [
                ("100.99.1.1", "tailscale0"),
                ("fd7a:115c:a1e0::99", "tailscale0"),
                ("192.0.2.200", "tailscale0"),
                ("2001:db8:1::1", "tailscale0"),
                ("198.51.100.9", "tailscale0"),
                ("203.0.113.200", "eth0"),
                ("2001:db8::77", "eth0"),
            ] {
                assert_eq!(way(host, &[to]), device, "{to} in {layout:?}");
            }
            if layout != Layout::Main {
                for to in ["192.0.2.200", "100.99.1.1"] {
                    assert_eq!(way(host, &[to, "mark", "0x80000"]), "eth0", "{to}");
                }
                assert_eq!(way(host, &["2001:db8:1::1", "mark", "0x80000"]), "eth0");
                let rules = host.run(&["ip", "rule"]).expect("ip");
                for rule in [
                    "5210:\tfrom all fwmark 0x80000/0xff0000 lookup main",
                    "5230:\tfrom all fwmark 0x80000/0xff0000 lookup default",
                    "5250:\tfrom all fwmark 0x80000/0xff0000 unreachable",
                    "5270:\tfrom all lookup 52",
                ] {
                    assert!(rules.contains(rule), "no {rule} in {rules}");
                }
            }
            let settled = left(host);
            assert_eq!(router.apply(&exit_node(layout)), []);
            assert_eq!(left(host), settled);
            if layout == Layout::Policy {
                // Killed: rules and what goes around stay, and go with the next start or a cleanup.
                drop((router, tun));
                assert_ne!(left(host), before);
                host.run(&["ip", "route", "add", "throw", "192.0.2.0/24", "table", "52"]).expect("ip");
                cleanup("tailscale0", &ranges()).expect("cleanup");
                assert!(left(host).contains("throw 192.0.2.0/24 table 52"), "somebody else's");
                host.run(&["ip", "route", "del", "throw", "192.0.2.0/24", "table", "52"]).expect("ip");
            } else {
                assert_eq!(router.close(), []);
            }
            assert_eq!(left(host), before, "{layout:?}");
        }
        // Without a device as well.
        let tun = Tun::open("tailscale0").expect("tun");
        let mut killed = Router::open(tun.name(), &ranges()).expect("router");
        assert_eq!(killed.apply(&exit_node(Layout::Policy)), []);
        drop((killed, tun));
        assert!(!host.run(&["ip", "link"]).expect("ip").contains("tailscale0"));
        cleanup("tailscale0", &ranges()).expect("cleanup");
        assert_eq!(left(host), before);
        // And when somebody removes it while we run.
        let tun = Tun::open("tailscale0").expect("tun");
        let mut robbed = Router::open(tun.name(), &ranges()).expect("router");
        assert_eq!(robbed.apply(&exit_node(Layout::Policy)), []);
        host.run(&["ip", "link", "del", "tailscale0"]).expect("ip");
        assert_ne!(left(host), before);
        assert_eq!(robbed.close(), []);
        assert_eq!(left(host), before);
    });
}

#[test]
fn where_rules_are_not_followed_the_main_table_serves() {
    in_host(|host| {
        let before = left(host);
        // What RouterOS does from 7.22 on: it takes the rules, and something else decides first. One family is enough.
        for family in ["-4", "-6"] {
            host.run(&["ip", family, "rule", "add", "pref", "100", "lookup", "main"]).expect("ip");
            let tun = Tun::open("tailscale0").expect("tun");
            let mut router = Router::open(tun.name(), &ranges()).expect("router");
            assert_eq!(router.layout(), None);
            // More of IPv4 than is read back of it.
            let many = |layout| {
                let mut config = exit_node(layout);
                let others: Vec<String> = (0..20).map(|n| format!("10.{n}.0.0/16")).collect();
                config.routes.extend(nets(&others.iter().map(String::as_str).collect::<Vec<_>>()));
                config.routes.sort_unstable();
                config
            };
            assert_eq!(router.apply(&many(Layout::Auto)), []);
            assert_eq!(router.layout(), Some(Layout::Main), "{family}");
            assert_eq!(way(host, &["100.99.1.1"]), "tailscale0");
            assert!(!left(host).contains("lookup 52"));
            // Who insists is told.
            let told = router.apply(&many(Layout::Policy));
            assert!(told.iter().any(|error| matches!(error, Error::Diverted { .. })), "{told:?}");
            assert_eq!(router.close(), []);
            host.run(&["ip", family, "rule", "del", "pref", "100"]).expect("ip");
            assert_eq!(left(host), before);
        }
    });
}

#[test]
fn ipv6_that_the_interface_has_not_goes_nowhere_past_it() {
    in_host(|host| {
        let switch = |on: bool| {
            let to = u8::from(!on);
            host.run(&["sysctl", "-qw", &format!("net.ipv6.conf.tailscale0.disable_ipv6={to}")])
                .expect("sysctl");
        };
        host.run(&["ip", "-6", "route", "replace", "default", "dev", "eth0"]).expect("ip");
        host.run(&["sysctl", "-qw", "net.ipv6.conf.default.disable_ipv6=1"]).expect("sysctl");
        let before = left(host);
        for layout in [Layout::Policy, Layout::Auto, Layout::Main] {
            let tun = Tun::open("tailscale0").expect("tun");
            let mut router = Router::open(tun.name(), &ranges()).expect("router");
            let wanted = exit_node(layout);
            let bare = Config { routes: nets(&["100.64.0.0/10", "fd7a:115c:a1e0::/48"]), ..wanted.clone() };
            // It may be switched at any time, while there is an exit node and before.
            for (config, on, out) in [
                (&bare, false, "eth0"),
                (&wanted, false, "nowhere"),
                (&wanted, true, "tailscale0"),
                (&wanted, false, "nowhere"),
                (&bare, false, "eth0"),
            ] {
                switch(on);
                assert_eq!(router.apply(config), [], "{layout:?}");
                assert_eq!(router.has_ipv6(), on);
                for to in ["2001:db8:1::1", "8000::1"] {
                    assert_eq!(way(host, &[to]), out, "{to} in {layout:?}");
                }
                assert_eq!(way(host, &["2001:db8::77"]), "eth0", "the network around");
                let own: &[&str] =
                    if layout == Layout::Main { &["oif", "eth0"] } else { &["mark", "0x80000"] };
                assert_eq!(way(host, &[&["2001:db8:1::1"], own].concat()), "eth0", "the daemon's own");
                let settled = left(host);
                assert_eq!(router.apply(config), [], "{layout:?}");
                assert_eq!(left(host), settled);
            }
            assert_eq!(router.apply(&wanted), []);
            // Killed, or not.
            if layout == Layout::Auto {
                assert_eq!(router.close(), []);
            } else {
                drop((router, tun));
                cleanup("tailscale0", &ranges()).expect("cleanup");
            }
            assert_eq!(left(host), before, "{layout:?}");
        }
        // Where nobody has it there is nothing to complain of.
        host.run(&["sysctl", "-qw", "net.ipv6.conf.all.disable_ipv6=1"]).expect("sysctl");
        let tun = Tun::open("tailscale0").expect("tun");
        let mut router = Router::open(tun.name(), &ranges()).expect("router");
        assert_eq!(router.apply(&exit_node(Layout::Auto)), []);
        assert_eq!(router.layout(), Some(Layout::Policy));
        assert_eq!(way(host, &["192.0.2.200"]), "tailscale0");
    });
}

#[test]
fn the_way_out_is_that_of_the_main_table() {
    in_host(|host| {
        let index = |name: &str| -> u32 {
            let file = format!("/sys/class/net/{name}/ifindex");
            host.run(&["cat", &file]).expect("an index").trim().parse().expect("a number")
        };
        let change = |words: &str| {
            host.run(&words.split(' ').collect::<Vec<_>>()).expect("ip");
        };
        change("ip link add name other0 type bridge");
        change("ip link set other0 up");
        change("ip -6 addr add fd02::2/64 dev other0 nodad");
        change("ip -6 route flush default");
        let tun = Tun::open("tailscale0").expect("tun");
        let mut router = Router::open(tun.name(), &ranges()).expect("router");
        assert_eq!(router.apply(&exit_node(Layout::Main)), []);
        let (eth0, other) = (index("eth0"), index("other0"));
        let gateway = |text: &str| text.parse().ok();
        // Cheaper ones of another table and into the tunnel are none.
        change("ip -6 route add default via fd02::1 dev other0 metric 50 table 77");
        change("ip -6 route add default dev tailscale0 metric 60");
        change("ip -6 route add unreachable default metric 70");
        assert_eq!(router.way_out_v6(), Ok(None));
        change("ip -6 route add default via 2001:db8::1 dev eth0 metric 1024");
        assert_eq!(router.way_out_v6(), Ok(Some((eth0, gateway("2001:db8::1")))));
        change("ip -6 route add default dev other0 metric 512");
        assert_eq!(router.way_out_v6(), Ok(Some((other, None))));
        change(
            "ip -6 route add default metric 80 nexthop via fd02::7 dev other0 nexthop via 2001:db8::9 dev eth0",
        );
        assert_eq!(router.way_out_v6(), Ok(Some((other, gateway("fd02::7")))));
        assert_eq!(router.close(), []);
    });
}

#[test]
fn two_thousand_routes_and_then_one_more() {
    in_host(|host| {
        let tun = Tun::open("tailscale0").expect("tun");
        let mut router = Router::open(tun.name(), &ranges()).expect("router");
        let route = |n: u32| format!("10.{}.{}.0/24", n / 256, n % 256).parse().expect("prefix");
        for layout in [Layout::Policy, Layout::Main] {
            let mut config = exit_node(layout);
            config.routes.extend((0..2000).map(route));
            assert_eq!(router.apply(&config), []);
            let table = if layout == Layout::Main { "main" } else { "52" };
            let there = || {
                let text =
                    host.run(&["ip", "route", "show", "table", table, "dev", "tailscale0"]).expect("ip");
                text.lines().filter(|line| line.starts_with("10.")).count()
            };
            assert_eq!(there(), 2000);
            for n in [2000, 2001] {
                let sent = router.messages();
                config.routes.push(route(n));
                assert_eq!(router.apply(&config), []);
                assert!(router.messages() - sent <= 2, "{} messages", router.messages() - sent);
            }
            let sent = router.messages();
            config.routes.retain(|net| *net != route(7));
            assert_eq!(router.apply(&config), []);
            assert_eq!(router.messages() - sent, 1);
            assert_eq!(there(), 2001);
        }
        assert_eq!(router.close(), []);
    });
}

#[test]
fn exceptions_that_somebody_left_in_our_table_give_way() {
    in_host(|host| {
        for (family, net) in [("-4", "198.51.100.0/24"), ("-6", "2001:db8:1::/64")] {
            host.run(&["ip", family, "route", "add", "throw", net, "table", "52"]).expect("ip");
        }
        let tun = Tun::open("tailscale0").expect("tun");
        let mut router = Router::open(tun.name(), &ranges()).expect("router");
        let mut config = exit_node(Layout::Policy);
        config.shut = nets(&["198.51.100.0/24", "2001:db8:1::/64"]);
        assert_eq!(router.apply(&config), []);
        assert_eq!(way(host, &["198.51.100.9"]), "tailscale0");
        assert_eq!(way(host, &["2001:db8:1::9"]), "tailscale0");
        assert_eq!(router.close(), []);
        for family in ["-4", "-6"] {
            let left = host.run(&["ip", family, "route", "show", "table", "52"]).unwrap_or_default();
            assert_eq!(left, "");
        }
    });
}
