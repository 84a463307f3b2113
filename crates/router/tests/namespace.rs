//! The executor against a real kernel, in a namespace of its own. Needs root; skipped with the reason elsewhere.

mod common;

use common::{in_host, nets, ranges};
use lab::Host;
use router::{Config, Error, Router, Tun, cleanup};

fn config() -> Config {
    Config {
        mtu: 1280,
        up: true,
        addresses: nets(&["100.64.0.7/32", "fd7a:115c:a1e0::7/128"]),
        routes: nets(&["100.64.0.0/10", "fd7a:115c:a1e0::/48"]),
        ..Config::default()
    }
}

/// Everything `ip` shows of links, addresses and routes of the namespace, but for what moves by itself: the carrier of
/// a device nobody reads, its queue discipline once it was up, duplicate address detection of the uplink.
fn dump(host: &Host) -> String {
    let kinds: [&[&str]; 4] =
        [&["ip", "-j", "link"], &["ip", "-j", "addr"], &["ip", "-j", "route"], &["ip", "-j", "-6", "route"]];
    let mut text: String = kinds.iter().map(|words| host.run(words).expect("ip")).collect();
    for word in ["\"NO-CARRIER\",", "\"LOWER_UP\",", "\"DORMANT\",", "\"tentative\":true,"] {
        text = text.replace(word, "");
    }
    text.replace("\"pfifo_fast\"", "\"noop\"")
}

#[test]
fn there_and_back() {
    in_host(|host| {
        let before = dump(host);
        let tun = Tun::open("tailscale0").expect("tun");
        let mut router = Router::open(tun.name(), &ranges()).expect("router");
        assert!(router.has_ipv6());
        assert_eq!(router.apply(&config()), []);
        let addresses = host.run(&["ip", "addr", "show", "dev", "tailscale0"]).expect("ip");
        for part in ["mtu 1280", "inet 100.64.0.7/32", "inet6 fd7a:115c:a1e0::7/128", ",UP"] {
            assert!(addresses.contains(part), "no {part} in {addresses}");
        }
        // The kernel's own link-local address may be, for a moment.
        let tentative = addresses.lines().any(|line| line.contains("tentative") && line.contains("fd7a:"));
        assert!(!tentative, "{addresses}");
        let routes = host.run(&["ip", "route", "show", "table", "main"]).expect("ip");
        assert!(routes.contains("100.64.0.0/10 dev tailscale0 proto 52 scope link"), "{routes}");
        let settled = dump(host);
        assert_eq!(router.apply(&config()), [], "twice");
        assert_eq!(dump(host), settled);

        // Somebody else's route stays, one of ours that somebody removed comes back.
        host.run(&["ip", "route", "add", "10.9.0.0/16", "dev", "tailscale0"]).expect("ip");
        host.run(&["ip", "route", "del", "100.64.0.0/10"]).expect("ip");
        assert_eq!(router.apply(&config()), []);
        let other =
            Config { addresses: nets(&["100.64.0.8/32"]), routes: nets(&["10.8.7.0/24"]), ..config() };
        assert_eq!(router.apply(&other), []);
        let routes = host.run(&["ip", "route", "show", "dev", "tailscale0"]).expect("ip");
        assert!(routes.contains("10.9.0.0/16") && routes.contains("10.8.7.0/24"), "{routes}");
        assert!(!routes.contains("100.64.0.0/10"), "{routes}");
        assert_eq!(router.apply(&Config { mtu: 0, up: true, ..Config::default() }), []);
        let addresses = host.run(&["ip", "addr", "show", "dev", "tailscale0"]).expect("ip");
        assert!(!addresses.contains("inet 100"), "{addresses}");
        assert_eq!(router.close(), []);
        drop(tun);
        assert_eq!(dump(host), before);
    });
}

/// What is set of the limit on large packets.
fn limit(host: &Host) -> String {
    let text = host.run(&["ip", "-d", "-j", "link", "show", "tun7"]).expect("ip");
    let (_, rest) = text.split_once("\"gso_max_size\":").unwrap_or_default();
    rest.split(',').next().unwrap_or_default().to_owned()
}

#[test]
fn large_packets_are_limited_and_the_limit_is_taken_back() {
    in_host(|host| {
        host.run(&["ip", "tuntap", "add", "dev", "tun7", "mode", "tun", "vnet_hdr"]).expect("ip");
        let before = limit(host);
        let tun = Tun::open("tun7").expect("tun");
        let mut router = Router::open(tun.name(), &ranges()).expect("router");
        assert!(router.limit_large(60_000));
        assert_eq!((limit(host).as_str(), before.as_str()), ("60000", "65536"));
        assert_eq!(router.close(), []);
        assert_eq!(limit(host), before);
    });
}

#[test]
fn a_device_that_stays_is_left_as_it_was() {
    in_host(|host| {
        host.run(&["ip", "tuntap", "add", "dev", "tun7", "mode", "tun"]).expect("ip");
        host.run(&["ip", "addr", "add", "192.0.2.9/24", "dev", "tun7"]).expect("ip");
        let before = dump(host);
        let tun = Tun::open("tun7").expect("tun");
        assert!(matches!(Tun::open("tun7"), Err(Error::Busy { .. })));
        let mut router = Router::open("tun7", &ranges()).expect("router");
        assert_eq!(router.apply(&config()), []);
        assert_eq!(router.close(), []);
        drop(tun);
        assert_eq!(dump(host), before);

        // And a killed run's leavings go with the next start or a cleanup.
        for by_cleanup in [true, false] {
            let tun = Tun::open("tun7").expect("tun");
            let mut killed = Router::open("tun7", &ranges()).expect("router");
            assert_eq!(killed.apply(&config()), []);
            drop((killed, tun));
            if by_cleanup {
                cleanup("tun7", &ranges()).expect("cleanup");
                let left = host.run(&["ip", "addr", "show", "dev", "tun7"]).expect("ip");
                assert!(!left.contains("100.64.0.7") && left.contains("192.0.2.9"), "{left}");
                assert!(!host.run(&["ip", "route"]).expect("ip").contains("100.64"));
            } else {
                let _tun = Tun::open("tun7").expect("tun");
                let mut next = Router::open("tun7", &ranges()).expect("router");
                let other = Config { addresses: nets(&["100.64.0.9/32"]), ..config() };
                assert_eq!(next.apply(&other), []);
                let left = host.run(&["ip", "addr", "show", "dev", "tun7"]).expect("ip");
                assert!(!left.contains("100.64.0.7") && left.contains("100.64.0.9"), "{left}");
            }
        }
    });
    assert_eq!(cleanup("nosuch0", &ranges()), Ok(()));
}

#[test]
fn other_peoples_routes_and_rules_are_told() {
    in_host(|host| {
        let tun = Tun::open("tailscale0").expect("tun");
        let mut router = Router::open(tun.name(), &ranges()).expect("router");
        // Whatever it costs there, what another interface has stays there.
        for metric in ["0", "100", "1024"] {
            let theirs = ["100.64.0.0/10", "dev", "eth0", "metric", metric];
            host.run(&[&["ip", "route", "add"], &theirs[..]].concat()).expect("ip");
            let told = router.apply(&config());
            assert!(matches!(&*told, [Error::Diverted { .. }]), "{metric}: {told:?}");
            let way = host.run(&["ip", "route", "get", "100.99.1.1"]).expect("ip");
            assert!(way.contains("dev eth0"), "{metric}: {way}");
            assert_eq!(router.apply(&Config::default()), []);
            let left = host.run(&["ip", "route", "show", "100.64.0.0/10"]).expect("ip");
            assert!(left.contains("eth0") && !left.contains("tailscale0"), "{left}");
            host.run(&[&["ip", "route", "del"], &theirs[..]].concat()).expect("ip");
        }
        let taken = ["100.64.0.0/10", "dev", "eth0", "metric", "4096"];
        host.run(&[&["ip", "route", "add"], &taken[..]].concat()).expect("ip");
        assert_eq!(router.apply(&config()), [Error::Taken("100.64.0.0/10".parse().expect("prefix"))]);
        host.run(&[&["ip", "route", "del"], &taken[..]].concat()).expect("ip");
        host.run(&["ip", "rule", "add", "to", "100.96.0.0/16", "unreachable"]).expect("ip");
        let told = router.apply(&config());
        assert!(matches!(&*told, [Error::Diverted { .. }]), "{told:?}");
    });
}

#[test]
#[expect(clippy::disallowed_methods, reason = "the kernel's answers take real time")]
fn thousands_of_refusals_are_soon_told() {
    in_host(|_| {
        let tun = Tun::open("tailscale0").expect("tun");
        let mut router = Router::open(tun.name(), &ranges()).expect("router");
        let routes = (0..2000u32).map(|n| {
            let [_, a, b, c] = (n << 8).to_be_bytes();
            let net = std::net::Ipv4Addr::new(10, a, b, c);
            ipnet::IpNet::new(net.into(), 24).expect("prefix")
        });
        // No way leads by an interface that is down.
        let config = Config { up: false, addresses: Vec::new(), routes: routes.collect(), ..config() };
        let began = std::time::Instant::now();
        let told = router.apply(&config);
        assert!(began.elapsed() < std::time::Duration::from_secs(2), "{:?}", began.elapsed());
        assert_eq!(told.len(), 2000);
        let refused = |error: &Error| matches!(error, Error::Refused { .. });
        assert!(told.iter().all(refused), "{:?}", told.first());
    });
}

#[test]
fn without_ipv6_half_of_it_is_left_out() {
    in_host(|host| {
        host.run(&["sysctl", "-qw", "net.ipv6.conf.default.disable_ipv6=1"]).expect("sysctl");
        let tun = Tun::open("tailscale0").expect("tun");
        let mut router = Router::open(tun.name(), &ranges()).expect("router");
        assert!(!router.has_ipv6());
        assert_eq!(router.apply(&config()), []);
        let addresses = host.run(&["ip", "addr", "show", "dev", "tailscale0"]).expect("ip");
        assert!(addresses.contains("inet 100.64.0.7/32") && !addresses.contains("inet6"), "{addresses}");
        assert!(!host.run(&["ip", "-6", "rule"]).expect("ip").contains("lookup 52"));
    });
}
