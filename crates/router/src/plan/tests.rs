//! Plans carried out on a kernel without opinions.

use super::*;
use crate::layout::{Config, Ipv6, Layout, Neighbour, lay_out};
use proptest::prelude::*;

fn nets(texts: &[&str]) -> Vec<IpNet> {
    texts.iter().map(|text| text.parse().expect("prefix")).collect()
}

fn texts(ops: &[Op]) -> Vec<String> {
    ops.iter().map(ToString::to_string).collect()
}

#[test]
fn order_of_the_kernel() {
    let old = Config {
        mtu: 1500,
        up: false,
        addresses: nets(&["100.64.0.1/32"]),
        routes: nets(&["10.0.0.0/8"]),
        ..Config::default()
    };
    let new = Config {
        mtu: 1280,
        up: true,
        addresses: nets(&["100.64.0.2/32", "fd7a::2/128"]),
        routes: nets(&["100.64.0.0/10"]),
        ..Config::default()
    };
    let (old, main) = (lay_out(&old, Ipv6::On), lay_out(&new, Ipv6::On));
    let up = [
        "set the link up with MTU 1280",
        "add address 100.64.0.2/32",
        "add address fd7a::2/128",
        "add route 100.64.0.0/10",
        "remove route 10.0.0.0/8",
        "remove address 100.64.0.1/32",
    ];
    assert_eq!(texts(&plan(&old, &main)), up);
    assert!(matches!(plan(&main, &old).last(), Some(Op::Link { mtu: 1500, up: false })));
    assert_eq!(plan(&main, &main), []);
    assert_eq!(plan(&main, &State { mtu: 0, ..main.clone() }), [], "MTU 0 leaves it");

    // From one layout to the other there is a way at any moment.
    let policy = lay_out(&Config { layout: Layout::Policy, ..new }, Ipv6::Absent);
    let policy = State { addresses: main.addresses.clone(), ..policy };
    let there = [
        "add route 100.64.0.0/10 in table 52",
        "add the IPv4 policy rule 5210",
        "add the IPv4 policy rule 5230",
        "add the IPv4 policy rule 5250",
        "add the IPv4 policy rule 5270",
        "remove route 100.64.0.0/10",
    ];
    assert_eq!(texts(&plan(&main, &policy)), there);
    let back = texts(&plan(&policy, &main));
    assert_eq!(back[0], "add route 100.64.0.0/10");
    assert_eq!(back[1], "remove the IPv4 policy rule 5270");
    assert_eq!(back.last().expect("ops"), "remove route 100.64.0.0/10 in table 52");
}

#[test]
fn a_prefix_that_turns_around() {
    let one = |throw| {
        let net = "10.0.0.0/8".parse().expect("prefix");
        let route = Route { table: 52, net, throw, nowhere: false, via: None };
        State { routes: vec![route], ..State::default() }
    };
    let want = ["remove route 10.0.0.0/8 in table 52", "add route around 10.0.0.0/8 in table 52"];
    assert_eq!(texts(&plan(&one(false), &one(true))), want);
}

/// What a kernel without opinions has after `op`; false if a kernel would have refused.
fn carry_out(state: &mut State, op: Op) -> bool {
    let before = (state.addresses.len(), state.routes.len(), state.rules.len());
    match op {
        Op::Link { mtu, up } => {
            state.up = up;
            state.mtu = if mtu == 0 { state.mtu } else { mtu };
            return true;
        }
        Op::AddAddress(net) if !state.addresses.contains(&net) => state.addresses.push(net),
        Op::AddRoute(route) if state.route(&route).is_none() => {
            state.routes.push(route);
            state.routes.sort_unstable();
        }
        Op::AddRule(rule) if !state.rules.contains(&rule) => state.rules.push(rule),
        Op::DeleteRule(rule) => state.rules.retain(|had| *had != rule),
        Op::DeleteRoute(route) => state.routes.retain(|had| *had != route),
        Op::DeleteAddress(net) => state.addresses.retain(|had| *had != net),
        _ => {}
    }
    before != (state.addresses.len(), state.routes.len(), state.rules.len())
}

fn state() -> impl Strategy<Value = State> {
    let net = (any::<bool>(), 0_u8..6, 20_u8..=32).prop_map(|(v6, n, len)| {
        // Now and then all of a family, which may go nowhere.
        let len = if n == 0 { 0 } else { len };
        let text = if v6 { format!("fd00::{n}/{len}") } else { format!("100.64.{n}.0/{len}") };
        text.parse::<IpNet>().expect("prefix")
    });
    let some = || proptest::collection::vec(net.clone(), 0..6);
    let layout = prop_oneof![Just(Layout::Auto), Just(Layout::Main), Just(Layout::Policy)];
    let mtu = prop_oneof![Just(1280_u32), Just(1500)];
    let neighbour = prop_oneof![Just(Neighbour::Nobody), Just(Neighbour::Mwan3), Just(Neighbour::Ubnt)];
    let ipv6 = prop_oneof![Just(Ipv6::Absent), Just(Ipv6::Off), Just(Ipv6::On)];
    let routers = proptest::collection::vec((1_u32..3, Just([192, 0, 2, 1].into())), 0..2);
    let past = (some(), some(), routers);
    (mtu, any::<bool>(), some(), some(), some(), past, layout, neighbour, ipv6).prop_map(
        |(mtu, up, mut addresses, routes, shut, (around, beyond, routers), layout, neighbour, ipv6)| {
            addresses.sort();
            addresses.dedup();
            let config =
                Config { mtu, up, addresses, routes, shut, around, beyond, routers, neighbour, layout };
            lay_out(&config, ipv6)
        },
    )
}

proptest! {
    /// Whatever is in force, every step of the plan changes something, it leads to what is wanted, and then there is
    /// nothing left to do.
    #[test]
    fn leads_there(old in state(), new in state()) {
        let mut now = old.clone();
        for op in plan(&old, &new) {
            prop_assert!(carry_out(&mut now, op), "{op} is refused");
        }
        prop_assert_eq!(plan(&now, &new), vec![]);
        now.addresses.sort();
        now.rules.sort_by_key(|rule| (rule.v6, rule.priority));
        prop_assert_eq!(now, new);
    }
}
