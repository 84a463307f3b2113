//! Where in the kernel routes are put: a table of their own behind policy rules, or the main table. Pure.
//!
//! Owns: both layouts, and the numbers upstream uses (protocol reference §8.1). Leaves out: finding out which of them the
//! kernel follows ([`crate::Router`] asks it).
//!
//! With policy rules, what this process marks goes by the main table and everything else by ours first. Some kernels
//! take the rules and do not follow them (RouterOS 7.22 and later); there only the main table works.

use crate::kernel::{PROTOCOL, is_v6};
use crate::plan::{Marked, Route, Rule, State};
use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use std::net::IpAddr;

/// Our table.
pub const TABLE: u8 = 52;
/// The machine's table.
pub(crate) const MAIN: u8 = 254;
/// The machine's table of last resort.
const DEFAULT: u8 = 253;

/// The mark of packets that go past the tunnel.
pub const BYPASS_MARK: u32 = 0x0008_0000;
/// The bits of a mark that are ours.
pub const MARK_MASK: u32 = 0x00ff_0000;

/// Where routes are put.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Layout {
    /// Policy rules if the kernel follows them, else the main table.
    Auto,
    /// The main table.
    #[default]
    Main,
    /// A table of its own, and policy rules.
    Policy,
}

/// Whose policy rules ours stand among; upstream makes other ones then (protocol reference §8.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Neighbour {
    /// Nobody's.
    #[default]
    Nobody,
    /// mwan3's (OpenWrt), which decide from priority 2001 on: ours stand before them.
    Mwan3,
    /// Those of Ubiquiti's routers, whose tables for several uplinks our marked packets have to reach: one rule, for all
    /// packets that are not marked.
    Ubnt,
}

/// What a kernel and one of its interfaces have of IPv6.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ipv6 {
    /// The kernel has none, so none can get past the interface either.
    Absent,
    /// It is switched off for the interface (`disable_ipv6`). Others may have it.
    Off,
    /// The interface can have addresses and routes.
    On,
}

/// What the caller wants of one interface, whole.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Config {
    /// Bytes of the largest packet; 0 = leave it as it is.
    pub mtu: u32,
    /// The link is up.
    pub up: bool,
    /// Addresses with their prefix lengths.
    pub addresses: Vec<IpNet>,
    /// Prefixes reached through the interface; those of length zero catch everything that has no other way.
    pub routes: Vec<IpNet>,
    /// Prefixes that other interfaces have and that are to go to this one nevertheless.
    pub shut: Vec<IpNet>,
    /// Prefixes that go past the interface although a wider route leads to it.
    pub around: Vec<IpNet>,
    /// Prefixes behind the router of their family in `routers`, although a wider route leads to the interface.
    pub beyond: Vec<IpNet>,
    /// The routers for `beyond`: number of the interface that they are behind, and address.
    pub routers: Vec<(u32, IpAddr)>,
    /// Whose policy rules there are besides ours.
    pub neighbour: Neighbour,
    /// Where the routes are put.
    pub layout: Layout,
}

/// Every rule that we ever make.
pub(crate) const RULES: [(Neighbour, u32, Marked, u8); 9] = [
    (Neighbour::Nobody, 5210, Marked::Ours, MAIN),
    (Neighbour::Nobody, 5230, Marked::Ours, DEFAULT),
    (Neighbour::Nobody, 5250, Marked::Ours, 0),
    (Neighbour::Nobody, 5270, Marked::Any, TABLE),
    (Neighbour::Mwan3, 1310, Marked::Ours, MAIN),
    (Neighbour::Mwan3, 1330, Marked::Ours, DEFAULT),
    (Neighbour::Mwan3, 1350, Marked::Ours, 0),
    (Neighbour::Mwan3, 1370, Marked::Any, TABLE),
    (Neighbour::Ubnt, 5270, Marked::Others, TABLE),
];

/// The rules of one family, in the order they are asked: what we marked goes by the machine's own tables or nowhere,
/// the rest by ours first.
fn rules(among: Neighbour, v6: bool) -> impl Iterator<Item = Rule> {
    RULES
        .into_iter()
        .filter(move |(whose, ..)| *whose == among)
        .map(move |(_, priority, marked, table)| Rule { v6, priority, marked, table, protocol: PROTOCOL })
}

/// What the kernel is to have for `config`. `Layout::Auto` counts as policy rules. Where the interface has no IPv6, that
/// half of the configuration is left out; but where all of IPv6 is to go to it and others have it, it goes nowhere.
pub fn lay_out(config: &Config, ipv6: Ipv6) -> State {
    let all_of_it = config.routes.iter().any(|net| is_v6(net) && net.prefix_len() == 0);
    let nowhere = ipv6 == Ipv6::Off && all_of_it;
    let known = |net: &&IpNet| ipv6 == Ipv6::On || nowhere || !is_v6(net);
    let mut state = State { mtu: config.mtu, up: config.up, ..State::default() };
    let settable = config.addresses.iter().filter(|net| ipv6 == Ipv6::On || !is_v6(net));
    state.addresses = settable.copied().collect();
    let routes = &mut state.routes;
    let own = if config.layout == Layout::Main { MAIN } else { TABLE };
    for net in config.beyond.iter().filter(known) {
        let via = config.routers.iter().copied().find(|(_, router)| router.is_ipv4() == net.addr().is_ipv4());
        // Without a router it goes where everything goes.
        routes.extend(via.map(|via| Route {
            table: own,
            net: net.trunc(),
            throw: false,
            nowhere: false,
            via: Some(via),
        }));
    }
    let mut put = |net: IpNet, table, throw: bool| {
        let nowhere = nowhere && is_v6(&net) && !throw;
        routes.push(Route { table, net: net.trunc(), throw, nowhere, via: None });
    };
    if config.layout == Layout::Main {
        // The other interfaces' prefixes are in this table too, so `around` needs nothing. What must win against a
        // route of the same length comes in halves, which are longer.
        let all = config.routes.iter().filter(known).filter(|net| net.prefix_len() != 0);
        all.for_each(|net| put(*net, MAIN, false));
        let wide = config.routes.iter().filter(|net| net.prefix_len() == 0);
        for net in config.shut.iter().chain(wide).filter(known) {
            halves(net).into_iter().flatten().for_each(|half| put(half, MAIN, false));
        }
    } else {
        config.around.iter().filter(known).for_each(|net| put(*net, TABLE, true));
        let all = config.routes.iter().chain(&config.shut).filter(known);
        all.for_each(|net| put(*net, TABLE, false));
        if !state.routes.is_empty() {
            state.rules.extend(rules(config.neighbour, false));
            if ipv6 == Ipv6::On || nowhere {
                state.rules.extend(rules(config.neighbour, true));
            }
        }
    }
    state.sort();
    state
}

/// The two halves of a prefix; of a single address there are none.
fn halves(net: &IpNet) -> [Option<IpNet>; 2] {
    let len = net.prefix_len() + 1;
    let (low, high) = match net.trunc() {
        IpNet::V4(net) => {
            let upper = u32::from(net.network()) | (1 << 31_u32.saturating_sub(net.prefix_len().into()));
            let half = |addr| Ipv4Net::new(addr, len).ok().map(IpNet::V4);
            (half(net.network()), half(upper.into()))
        }
        IpNet::V6(net) => {
            let upper = u128::from(net.network()) | (1 << 127_u32.saturating_sub(net.prefix_len().into()));
            let half = |addr| Ipv6Net::new(addr, len).ok().map(IpNet::V6);
            (half(net.network()), half(upper.into()))
        }
    };
    [low, high]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn nets(texts: &[&str]) -> Vec<IpNet> {
        texts.iter().map(|text| text.parse().expect("prefix")).collect()
    }

    fn exit(layout: Layout) -> Config {
        Config {
            routes: nets(&["100.64.0.0/10", "0.0.0.0/0", "::/0", "192.168.7.0/24"]),
            shut: nets(&["203.0.113.0/24", "198.51.100.1/32"]),
            around: nets(&["192.168.7.0/24"]),
            layout,
            ..Config::default()
        }
    }

    #[test]
    fn halves_of_prefixes() {
        for (net, low, high) in [
            ("0.0.0.0/0", "0.0.0.0/1", "128.0.0.0/1"),
            ("10.1.2.0/24", "10.1.2.0/25", "10.1.2.128/25"),
            ("10.1.2.2/31", "10.1.2.2/32", "10.1.2.3/32"),
            ("::/0", "::/1", "8000::/1"),
        ] {
            let want = [low, high].map(|text| Some(text.parse().expect("prefix")));
            assert_eq!(halves(&net.parse().expect("prefix")), want, "{net}");
        }
        assert_eq!(halves(&"10.0.0.1/32".parse().expect("prefix")), [None, None]);
        assert_eq!(halves(&"fd00::1/128".parse().expect("prefix")), [None, None]);
    }

    #[test]
    fn an_exit_node_in_the_main_table() {
        let state = lay_out(&exit(Layout::Main), Ipv6::On);
        assert_eq!(state.rules, []);
        let texts: Vec<String> = state.routes.iter().map(ToString::to_string).collect();
        let want = [
            "0.0.0.0/1",
            "100.64.0.0/10",
            "128.0.0.0/1",
            "192.168.7.0/24",
            "203.0.113.0/25",
            "203.0.113.128/25",
            "::/1",
            "8000::/1",
        ];
        assert_eq!(texts, want);
    }

    #[test]
    fn what_lies_behind_a_router_goes_past_the_interface() {
        let router = (7, "192.0.2.1".parse().expect("address"));
        for layout in [Layout::Main, Layout::Policy] {
            let config = Config {
                beyond: nets(&["100.64.0.7/32", "fd7a:115c:a1e0::7/128", "192.168.7.0/24"]),
                routers: vec![router],
                around: Vec::new(),
                ..exit(layout)
            };
            let state = lay_out(&config, Ipv6::On);
            let past: Vec<String> =
                state.routes.iter().filter(|route| route.via.is_some()).map(ToString::to_string).collect();
            let table = if layout == Layout::Main { "" } else { " in table 52" };
            // The one that leads into the tunnel has given way; IPv6 has no router.
            let want = ["100.64.0.7/32 via 192.0.2.1", "192.168.7.0/24 via 192.0.2.1"]
                .map(|text| text.to_owned() + table);
            assert_eq!(past, want);
            assert!(state.routes.iter().all(|route| route.net != config.beyond[1]));
        }
    }

    #[test]
    fn rules_among_others() {
        let texts = |neighbour| {
            let state = lay_out(&Config { neighbour, ..exit(Layout::Policy) }, Ipv6::Absent);
            state.rules.iter().map(|rule| (rule.priority, rule.marked, rule.table)).collect::<Vec<_>>()
        };
        let (ours, all) = (Marked::Ours, Marked::Any);
        assert_eq!(
            texts(Neighbour::Mwan3),
            [(1310, ours, MAIN), (1330, ours, DEFAULT), (1350, ours, 0), (1370, all, TABLE)]
        );
        assert_eq!(texts(Neighbour::Ubnt), [(5270, Marked::Others, TABLE)]);
    }

    #[test]
    fn an_exit_node_behind_rules() {
        let state = lay_out(&exit(Layout::Policy), Ipv6::On);
        assert_eq!(state.rules.len(), 8);
        let texts: Vec<String> = state.routes.iter().map(ToString::to_string).collect();
        let want = [
            "0.0.0.0/0 in table 52",
            "100.64.0.0/10 in table 52",
            "around 192.168.7.0/24 in table 52",
            "198.51.100.1/32 in table 52",
            "203.0.113.0/24 in table 52",
            "::/0 in table 52",
        ];
        assert_eq!(texts, want);
        let without = lay_out(&exit(Layout::Policy), Ipv6::Absent);
        assert!(without.rules.len() == 4 && without.routes.len() == 5);
        assert_eq!(
            lay_out(&Config { layout: Layout::Policy, ..Config::default() }, Ipv6::On),
            State::default()
        );
    }

    #[test]
    fn all_of_ipv6_goes_nowhere_where_the_interface_has_none() {
        let own = nets(&["100.64.0.7/32", "fd7a:115c:a1e0::7/128"]);
        let v6 = |layout| {
            let around = nets(&["192.168.7.0/24", "2001:db8::/64"]);
            let mut state = lay_out(&Config { addresses: own.clone(), around, ..exit(layout) }, Ipv6::Off);
            assert_eq!(state.addresses, own[..1]);
            assert!(state.routes.iter().all(|route| is_v6(&route.net) || !route.nowhere), "{state:?}");
            state.routes.retain(|route| is_v6(&route.net));
            (state.routes.iter().map(ToString::to_string).collect::<Vec<_>>(), state.rules.len())
        };
        let want = ["nowhere ::/0 in table 52", "around 2001:db8::/64 in table 52"];
        assert_eq!(v6(Layout::Policy), (want.map(str::to_owned).to_vec(), 8));
        let want = ["nowhere ::/1", "nowhere 8000::/1"];
        assert_eq!(v6(Layout::Main), (want.map(str::to_owned).to_vec(), 0));
        // Single networks are left out, as they are where there is no exit node.
        let some = Config { routes: nets(&["fd7a:115c:a1e0::/48"]), ..exit(Layout::Policy) };
        assert!(lay_out(&some, Ipv6::Off).routes.iter().all(|route| !is_v6(&route.net)));
    }
}
