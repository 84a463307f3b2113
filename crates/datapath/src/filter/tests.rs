//! The order of decisions case by case, and the compiled filter against a plain reading of the same rules.

use super::*;
use crate::packet::{build, icmp, tcp};
use netmap::RuleSrc;
use proptest::prelude::*;
use std::net::SocketAddr;

fn net(text: &str) -> IpNet {
    text.parse().expect("a prefix")
}

fn ip(text: &str) -> IpAddr {
    text.parse().expect("an address")
}

fn src(text: &str) -> RuleSrc {
    match text.split_once('-') {
        _ if text == "*" => RuleSrc::Any,
        _ if text.starts_with("cap:") => RuleSrc::Cap(text[4..].into()),
        Some((first, last)) => RuleSrc::Range(ip(first), ip(last)),
        None => RuleSrc::Net(net(text)),
    }
}

fn rule(srcs: &[&str], dsts: &[(&str, u16, u16)], protos: &[u8]) -> FilterRule {
    let dst = |&(text, first, last): &(&str, u16, u16)| RuleDst {
        net: src(text),
        ports: PortRange { first, last },
    };
    FilterRule {
        srcs: srcs.iter().map(|s| src(s)).collect(),
        dsts: dsts.iter().map(dst).collect(),
        protos: protos.into(),
        ..FilterRule::default()
    }
}

fn filter_with(rules: &[FilterRule], local: &[&str], shields_up: bool) -> Filter {
    let rules: Vec<&FilterRule> = rules.iter().collect();
    let local: Vec<IpNet> = local.iter().map(|l| net(l)).collect();
    let cap_holders = |name: &str, add: &mut dyn FnMut(IpNet)| {
        if name == "printer" {
            ["100.64.0.40/32", "fd7a::40/128"].iter().for_each(|n| add(net(n)));
        }
    };
    Filter::compile(&FilterInput { rules: &rules, local: &local, shields_up, cap_holders: &cap_holders })
}

#[test]
fn who_has_a_capability_is_asked_once() {
    let rules =
        ["cap:printer", "cap:scanner", "cap:printer"].map(|from| rule(&[from, from], &[("*", 1, 2)], &[]));
    let rules: Vec<&FilterRule> = rules.iter().collect();
    let asked = std::cell::RefCell::new(Vec::new());
    let cap_holders = |name: &str, add: &mut dyn FnMut(IpNet)| {
        asked.borrow_mut().push(name.to_owned());
        add(net(if name == "printer" { "100.64.0.40/32" } else { "100.64.0.41/32" }));
    };
    let local = [net("100.64.0.1/32")];
    let input = FilterInput { rules: &rules, local: &local, shields_up: false, cap_holders: &cap_holders };
    let filter = Filter::compile(&input);
    assert_eq!(asked.take(), ["printer", "scanner"]);
    for (from, passes) in [("100.64.0.40", true), ("100.64.0.41", true), ("100.64.0.42", false)] {
        assert_eq!(filter.allows(proto::TCP, ip(from), ip("100.64.0.1"), 1), passes, "{from}");
    }
}

fn flows() -> FlowTable {
    FlowTable::new(DEFAULT_FLOWS, [9; 16])
}

/// A packet by its head alone.
fn packet(proto: u8, src: &str, dst: &str, dst_port: u16) -> Parsed {
    Parsed {
        src: ip(src),
        dst: ip(dst),
        total_len: 120,
        l4: 20,
        src_port: 4000,
        dst_port,
        proto,
        tcp_flags: if proto == proto::TCP { tcp::SYN } else { 0 },
        icmp_type: match proto {
            proto::ICMP => icmp::V4_ECHO_REQUEST,
            proto::ICMPV6 => icmp::V6_ECHO_REQUEST,
            _ => 0,
        },
        icmp_code: 0,
        fragment: Fragment::None,
    }
}

const LOCAL: &[&str] = &["100.64.0.1/32", "fd7a::1/128", "192.168.7.0/24"];

fn policy() -> Vec<FilterRule> {
    vec![
        rule(&["100.64.0.2/32", "fd7a::2/128"], &[("100.64.0.1/32", 22, 22), ("fd7a::1/128", 22, 22)], &[]),
        rule(&["100.64.0.3/32"], &[("*", 0, 65535)], &[]),
        rule(&["100.64.0.10-100.64.0.19"], &[("192.168.7.0/24", 80, 90), ("192.168.7.0/24", 443, 443)], &[6]),
        rule(&["cap:printer"], &[("100.64.0.1/32", 631, 631)], &[17]),
        rule(&["100.64.0.5/32"], &[("100.64.0.1/32", 0, 65535)], &[47, 132]),
        rule(&["100.64.0.6/32"], &[("100.64.0.1/32", 1, 65535)], &[47]),
    ]
}

#[test]
fn decisions() {
    use DropReason::{Acl, LinkLocal, Multicast, NotLocal};
    let filter = filter_with(&policy(), LOCAL, false);
    let (me, me6) = ("100.64.0.1", "fd7a::1");
    let ok = Ok(());
    for (what, packet, expected) in [
        ("rule", packet(6, "100.64.0.2", me, 22), ok),
        ("other port", packet(6, "100.64.0.2", me, 23), Err(Acl)),
        ("other source", packet(6, "100.64.0.4", me, 22), Err(Acl)),
        ("IPv6", packet(6, "fd7a::2", me6, 22), ok),
        ("IPv6, other source", packet(6, "fd7a::4", me6, 22), Err(Acl)),
        ("UDP by the usual protocols", packet(17, "100.64.0.2", me, 22), ok),
        ("ports are of their destination", packet(6, "100.64.0.2", "192.168.7.1", 22), Err(Acl)),
        ("star", packet(6, "100.64.0.3", "192.168.7.9", 9999), ok),
        ("star is still only local", packet(6, "100.64.0.3", "192.168.8.9", 9999), Err(NotLocal)),
        ("range", packet(6, "100.64.0.19", "192.168.7.3", 85), ok),
        ("range, second ports", packet(6, "100.64.0.10", "192.168.7.3", 443), ok),
        ("beyond the range", packet(6, "100.64.0.20", "192.168.7.3", 85), Err(Acl)),
        ("TCP only", packet(17, "100.64.0.19", "192.168.7.3", 85), Err(Acl)),
        ("capability", packet(17, "100.64.0.40", me, 631), ok),
        ("no capability", packet(17, "100.64.0.41", me, 631), Err(Acl)),
        ("ping by any rule of these two", packet(1, "100.64.0.2", me, 0), ok),
        ("ping, rule of another destination", packet(1, "100.64.0.2", "192.168.7.1", 0), Err(Acl)),
        ("ping, rule of another protocol", packet(1, "100.64.0.19", "192.168.7.1", 0), ok),
        ("ping, IPv6", packet(58, "fd7a::2", me6, 0), ok),
        ("ping, IPv6, stranger", packet(58, "fd7a::3", me6, 0), Err(Acl)),
        ("echo reply", Parsed { icmp_type: 0, ..packet(1, "100.64.0.9", me, 0) }, ok),
        ("unreachable", Parsed { icmp_type: 3, ..packet(1, "100.64.0.9", me, 0) }, ok),
        ("time exceeded", Parsed { icmp_type: 11, ..packet(1, "100.64.0.9", me, 0) }, ok),
        ("redirect", Parsed { icmp_type: 5, ..packet(1, "100.64.0.9", me, 0) }, Err(Acl)),
        ("echo reply, IPv6", Parsed { icmp_type: 129, ..packet(58, "fd7a::9", me6, 0) }, ok),
        ("packet too big", Parsed { icmp_type: 2, ..packet(58, "fd7a::9", me6, 0) }, ok),
        ("neighbour", Parsed { icmp_type: 135, ..packet(58, "fd7a::9", me6, 0) }, Err(Acl)),
        (
            "reply to elsewhere",
            Parsed { icmp_type: 0, ..packet(1, "100.64.0.9", "9.9.9.9", 0) },
            Err(NotLocal),
        ),
        ("TCP, SYN and ACK", Parsed { tcp_flags: 0x12, ..packet(6, "100.64.0.9", me, 1) }, ok),
        ("TCP, ACK", Parsed { tcp_flags: 0x10, ..packet(6, "100.64.0.9", me, 1) }, ok),
        ("TCP, SYN and FIN", Parsed { tcp_flags: 0x03, ..packet(6, "100.64.0.9", me, 1) }, Err(Acl)),
        ("TCP, nothing set", Parsed { tcp_flags: 0, ..packet(6, "100.64.0.9", me, 1) }, ok),
        ("UDP without flow", packet(17, "100.64.0.9", me, 53), Err(Acl)),
        ("SCTP by its rule", packet(132, "100.64.0.5", me, 53), ok),
        ("SCTP is not usual", packet(132, "100.64.0.3", me, 53), Err(Acl)),
        ("TSMP", packet(99, "100.64.0.9", me, 0), ok),
        ("TSMP to elsewhere", packet(99, "100.64.0.9", "9.9.9.9", 0), Err(NotLocal)),
        ("GRE by its rule", packet(47, "100.64.0.5", me, 0), ok),
        ("GRE, not all ports", packet(47, "100.64.0.6", me, 0), Err(Acl)),
        ("GRE is not usual", packet(47, "100.64.0.3", me, 0), Err(Acl)),
        ("IGMP", packet(2, "100.64.0.3", me, 0), Err(Acl)),
        ("multicast", packet(17, "100.64.0.3", "224.0.0.251", 5353), Err(Multicast)),
        ("multicast, IPv6", packet(17, "fd7a::2", "ff02::fb", 5353), Err(Multicast)),
        ("link-local", packet(6, "100.64.0.3", "169.254.1.1", 22), Err(LinkLocal)),
        ("link-local, IPv6", packet(6, "fd7a::2", "fe80::1", 22), Err(LinkLocal)),
        ("cloud metadata is not ours", packet(6, "100.64.0.3", "169.254.169.254", 80), Err(NotLocal)),
        ("later fragment", Parsed { fragment: Fragment::Later, ..packet(17, "100.64.0.9", me, 0) }, ok),
        (
            "later fragment to elsewhere",
            Parsed { fragment: Fragment::Later, ..packet(17, "100.64.0.9", "9.9.9.9", 0) },
            Err(NotLocal),
        ),
        ("first fragment", Parsed { fragment: Fragment::First, ..packet(17, "100.64.0.9", me, 7) }, Err(Acl)),
    ] {
        assert_eq!(filter.check_in(&packet, &mut flows(), false), expected, "{what}");
    }
}

#[test]
fn shields_up_and_jailed_peers() {
    let open = filter_with(&policy(), LOCAL, false);
    let shut = filter_with(&policy(), LOCAL, true);
    assert!(shut.shields_up() && !open.shields_up());
    for (filter, jailed) in [(&open, true), (&shut, false)] {
        let flows = &mut flows();
        let check = |packet: Parsed, flows: &mut FlowTable| filter.check_in(&packet, flows, jailed);
        assert_eq!(check(packet(6, "100.64.0.2", "100.64.0.1", 22), flows), Err(DropReason::Acl));
        assert_eq!(check(packet(6, "100.64.0.2", "9.9.9.9", 22), flows), Err(DropReason::NotLocal));
        let established = Parsed { tcp_flags: tcp::ACK, ..packet(6, "100.64.0.2", "100.64.0.1", 22) };
        assert_eq!(check(established, flows), Ok(()));
        let udp = packet(17, "100.64.0.9", "100.64.0.1", 22);
        assert_eq!(check(udp, flows), Err(DropReason::Acl));
        flows.insert(tuple(&udp));
        assert_eq!(check(udp, flows), Ok(()), "replies pass");
    }
}

#[test]
fn deny_all_denies_all() {
    let filter = Filter::deny_all();
    for proto in 0..=255 {
        for fragment in [Fragment::None, Fragment::First, Fragment::Later] {
            let packet =
                Parsed { fragment, tcp_flags: tcp::ACK, ..packet(proto, "100.64.0.2", "100.64.0.1", 22) };
            assert_eq!(filter.check_in(&packet, &mut flows(), false), Err(DropReason::NotLocal));
        }
    }
}

#[test]
fn replies_to_what_we_sent() {
    let filter = filter_with(&[], LOCAL, false);
    let mut bytes = Vec::new();
    let (me, peer) = (SocketAddr::new(ip("100.64.0.1"), 40000), SocketAddr::new(ip("100.64.0.9"), 53));
    build::udp(&mut bytes, me, peer, b"question").expect("fits");
    let sent = Parsed::parse(&bytes).expect("parses");
    let announced = filter.check_out(&sent).expect("passes").expect("a flow");
    build::udp(&mut bytes, peer, me, b"answer").expect("fits");
    let reply = Parsed::parse(&bytes).expect("parses");
    let mut flows = flows();
    assert_eq!(filter.check_in(&reply, &mut flows, false), Err(DropReason::Acl));
    flows.insert(announced);
    assert_eq!(filter.check_in(&reply, &mut flows, false), Ok(()));
    assert_eq!(filter.check_in(&Parsed { src_port: 54, ..reply }, &mut flows, false), Err(DropReason::Acl));
    assert_eq!(
        filter.check_in(&Parsed { src: ip("100.64.0.8"), ..reply }, &mut flows, false),
        Err(DropReason::Acl)
    );
    assert_eq!(filter.check_in(&Parsed { proto: 132, ..reply }, &mut flows, false), Err(DropReason::Acl));

    assert_eq!(filter.check_out(&packet(6, "100.64.0.1", "100.64.0.9", 80)), Ok(None));
    assert_eq!(filter.check_out(&packet(17, "100.64.0.1", "224.0.0.1", 80)), Err(DropReason::Multicast));
    assert_eq!(filter.check_out(&packet(17, "fd7a::1", "fe80::2", 80)), Err(DropReason::LinkLocal));
    assert!(matches!(filter.check_out(&packet(17, "100.64.0.1", "169.254.169.254", 80)), Ok(Some(_))));
}

#[test]
fn broken_entries_narrow() {
    let rules = [
        rule(&["100.64.0.9-100.64.0.1"], &[("*", 0, 65535)], &[]),
        rule(&["cap:nobody"], &[("*", 0, 65535)], &[]),
        rule(&[], &[("*", 0, 65535)], &[]),
        rule(&["*"], &[], &[]),
        rule(&["*"], &[("cap:printer", 0, 65535)], &[]),
        rule(&["*"], &[("100.64.0.1/32", 9, 1)], &[]),
        rule(&["*"], &[("100.64.0.1-fd7a::1", 0, 65535)], &[]),
    ];
    let filter = filter_with(&rules, &["0.0.0.0/0", "::/0"], false);
    assert!(filter.rules.is_empty());
    assert_eq!(
        filter.check_in(&packet(6, "100.64.0.2", "100.64.0.1", 5), &mut flows(), false),
        Err(DropReason::Acl)
    );
}

#[test]
fn equal_groups_are_kept_once() {
    let group: Vec<String> = (0..10_000u32).map(|n| format!("10.{}.{}.7/32", n >> 8, n & 255)).collect();
    let group: Vec<&str> = group.iter().map(String::as_str).collect();
    let rules: Vec<FilterRule> = (0..50).map(|n| rule(&group, &[("100.64.0.1/32", n, n)], &[])).collect();
    let filter = filter_with(&rules, LOCAL, false);
    assert_eq!((filter.rules.len(), filter.sets.len()), (50, 2));
    assert!(filter.allows(proto::TCP, ip("10.0.0.7"), ip("100.64.0.1"), 49));
    assert!(!filter.allows(proto::TCP, ip("10.0.0.7"), ip("100.64.0.1"), 50));
}

#[test]
#[expect(clippy::disallowed_methods, reason = "it is about real time")]
fn port_ranges_cost_the_same_in_any_order() {
    let took = |ports: &mut dyn Iterator<Item = u16>| {
        let dsts: Vec<_> = ports.map(|port| ("100.64.0.1/32", port, port)).collect();
        let rules = [rule(&["*"], &dsts, &[])];
        let times = (0..3).map(|_| {
            let start = std::time::Instant::now();
            let filter = filter_with(&rules, LOCAL, false);
            let took = start.elapsed();
            assert_eq!(filter.rules[0].dsts.len(), 60_000);
            assert!(filter.rules[0].dsts.is_sorted_by_key(|(range, _)| range.first));
            took
        });
        times.min().expect("some")
    };
    let (up, down) = (took(&mut (0..60_000)), took(&mut (0..60_000).rev()));
    assert!(down < up * 10, "{up:?} in order, {down:?} against it");
}

#[test]
fn destinations_of_one_port_range_are_one_set() {
    let far_apart = [
        ("100.64.0.1/32", 22, 22),
        ("192.168.7.0/24", 5, 9),
        ("cap:printer", 7, 7),
        ("fd7a::1/128", 22, 22),
        ("192.168.7.0/24", 5, 5),
        ("100.64.0.1/32", 9, 5),
    ];
    let filter = filter_with(&[rule(&["*"], &far_apart, &[])], LOCAL, false);
    let ranges = filter.rules[0].dsts.iter().map(|(range, _)| (range.first, range.last));
    assert_eq!(ranges.collect::<Vec<_>>(), [(5, 5), (5, 9), (22, 22)]);
    for (dst, port, passes) in
        [("100.64.0.1", 22, true), ("fd7a::1", 22, true), ("192.168.7.9", 9, true), ("100.64.0.1", 5, false)]
    {
        assert_eq!(filter.allows(proto::TCP, ip("100.64.0.2"), ip(dst), port), passes, "{dst} {port}");
    }
}

/// A plain reading of the protocol reference §7.2 for a packet whose destination is local and ordinary.
fn plainly(rules: &[FilterRule], packet: &Parsed) -> bool {
    let holds = |s: &RuleSrc, ip: IpAddr| match s {
        RuleSrc::Any => true,
        RuleSrc::Net(net) => net.contains(&ip),
        RuleSrc::Range(a, b) => {
            a.is_ipv4() == ip.is_ipv4() && b.is_ipv4() == ip.is_ipv4() && *a <= ip && ip <= *b
        }
        RuleSrc::Cap(_) => false,
    };
    rules.iter().any(|rule| {
        let usual = rule.protos.is_empty() && [1, 6, 17, 58].contains(&packet.proto);
        // As upstream, and other than the reference: whatever the rule's protocols are, ICMP passes.
        (usual || packet.is_icmp() || rule.protos.contains(&packet.proto))
            && rule.srcs.iter().any(|s| holds(s, packet.src))
            && rule.dsts.iter().any(|dst| {
                let ports = match packet.proto {
                    _ if packet.is_icmp() => dst.ports.first <= dst.ports.last,
                    6 | 17 | 132 => (dst.ports.first..=dst.ports.last).contains(&packet.dst_port),
                    _ => dst.ports.first == 0 && dst.ports.last == 65535,
                };
                ports && holds(&dst.net, packet.dst)
            })
    })
}

/// Addresses close enough together that rules hit them.
fn small_ip() -> impl Strategy<Value = IpAddr> {
    (any::<bool>(), 0u8..12).prop_map(|(v4, n)| match v4 {
        true => IpAddr::from([100, 64, 0, n]),
        false => IpAddr::from([0xfd, 0x7a, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, n]),
    })
}

fn any_src() -> impl Strategy<Value = RuleSrc> {
    let prefix = (small_ip(), 0u8..=4).prop_map(|(ip, less)| {
        let full = if ip.is_ipv4() { 32 } else { 128 };
        IpNet::new(ip, full - less).map(|net| RuleSrc::Net(net.trunc())).expect("a length in range")
    });
    prop_oneof![
        1 => Just(RuleSrc::Any),
        8 => prefix,
        4 => (small_ip(), small_ip()).prop_map(|(a, b)| RuleSrc::Range(a, b)),
    ]
}

fn any_rule() -> impl Strategy<Value = FilterRule> {
    let port = || prop_oneof![Just(0u16), 0u16..6, Just(65535)];
    let dst = (any_src(), port(), port())
        .prop_map(|(net, first, last)| RuleDst { net, ports: PortRange { first, last } });
    let proto = prop::sample::select(vec![1u8, 6, 17, 47, 58, 132]);
    (
        prop::collection::vec(any_src(), 0..4),
        prop::collection::vec(dst, 0..4),
        prop::collection::vec(proto, 0..3),
    )
        .prop_map(|(srcs, dsts, protos)| FilterRule {
            srcs: srcs.into(),
            dsts: dsts.into(),
            protos: protos.into(),
            ..FilterRule::default()
        })
}

proptest! {
    #[test]
    fn as_a_plain_reading(
        rules in prop::collection::vec(any_rule(), 0..5),
        packets in prop::collection::vec((small_ip(), small_ip(), 0usize..6, 0u16..7), 40),
    ) {
        let filter = filter_with(&rules, &["0.0.0.0/0", "::/0"], false);
        for (src, dst, proto, port) in packets {
            if src.is_ipv4() != dst.is_ipv4() {
                continue;
            }
            let proto = [1, 6, 17, 47, 58, 132][proto];
            let packet = packet(proto, &src.to_string(), &dst.to_string(), port);
            let passed = filter.check_in(&packet, &mut flows(), false).is_ok();
            // ICMP of the other family is no echo request but an unknown protocol, all the same.
            prop_assert_eq!(passed, plainly(&rules, &packet), "{:?} {:?}", packet, &rules);
        }
    }
}
