//! NATs and the oracle: the oracle against tables worked out by hand, single NATs against RFC 4787.

use super::oracle::{Verdict, direct_possible};
use super::*;
use engine::time::Mono;
use std::net::SocketAddr;
use std::time::Duration;

/// Mapping and filtering, from the friendliest to the strictest.
fn kinds() -> Vec<Behaviour> {
    let pairs = Dependence::ALL.iter().flat_map(|m| Dependence::ALL.iter().map(move |f| (*m, *f)));
    pairs.map(|(mapping, filtering)| Behaviour::new(mapping, filtering)).collect()
}

fn apart(a: Behaviour, b: Behaviour) -> Plan {
    let mut plan = Plan::default();
    for (name, nat) in [("one", a), ("two", b)] {
        let site = plan.add_site(name, INTERNET, Some(nat), None);
        machine(&mut plan, site);
    }
    plan
}

fn machine(plan: &mut Plan, site: SiteIx) -> usize {
    let number = plan.machines.len();
    let uplinks = vec![plan.uplink(site, number)];
    plan.machines.push(Machine { port: 41641 + number as u16, uplinks });
    number
}

fn possible(plan: &Plan) -> bool {
    let Verdict { forth, back } = direct_possible(plan, 0, 1, 2);
    assert_eq!(forth, back, "only one way: {plan:?}");
    forth
}

/// By hand, for two NATs with one outer address each. Two mappings that depend on nothing always work: both knock at the
/// address that is known, and each thereby admits the other. One mapping that depends on the other side is known to
/// nobody until something arrives from it, so the friendlier side must admit a port it has not written to. With two
/// such, one must admit everybody, and the other at least all ports of an address.
const TABLE: [(&str, &str); 9] = [
    ("any any", "yyy yyy yyy"),
    ("any address", "yyy yyy yyy"),
    ("any port", "yyy ... ..."),
    ("address any", "yy. yy. yy."),
    ("address address", "yy. y.. y.."),
    ("address port", "yy. ... ..."),
    ("port any", "yy. yy. yy."),
    ("port address", "yy. y.. y.."),
    ("port port", "yy. ... ..."),
];

#[test]
fn the_oracle_knows_the_table() {
    for (a, (name, row)) in kinds().into_iter().zip(TABLE) {
        assert_eq!(name, format!("{} {}", a.mapping, a.filtering));
        let row: Vec<bool> = row.chars().filter(|c| *c != ' ').map(|c| c == 'y').collect();
        for (b, expected) in kinds().into_iter().zip(row) {
            assert_eq!(possible(&apart(a, b)), expected, "{a} and {b}");
            // Kept ports make all mappings one.
            let [a, b] = [a, b].map(|nat| Behaviour { ports: Ports::Kept, ..nat });
            assert!(possible(&apart(a, b)), "{a} and {b}");
        }
    }
}

#[test]
fn the_oracle_knows_neighbours() {
    for nat in kinds() {
        let mut plan = Plan::default();
        let site = plan.add_site("home", INTERNET, Some(nat), None);
        machine(&mut plan, site);
        machine(&mut plan, site);
        assert!(possible(&plan), "one LAN needs no NAT");
    }
}

/// Two flats behind one NAT of the house, or of the provider: only its hairpin brings them together.
#[test]
fn the_oracle_knows_double_nat() {
    for hairpin in [false, true] {
        let mut plan = Plan::default();
        let house =
            plan.add_site("house", INTERNET, Some(Behaviour { hairpin, ..Behaviour::FULL_CONE }), None);
        for flat in ["left", "right"] {
            let site = plan.add_site(flat, house, Some(Behaviour::EASY), None);
            machine(&mut plan, site);
        }
        assert_eq!(possible(&plan), hairpin);
        // A flat whose router forwards a port, and says so, is found inside the house.
        plan.machines[1].uplinks[0].mapped = Some(7000);
        assert!(possible(&plan));
    }
    let mut plan = Plan::default();
    let provider = plan.add_site("provider", INTERNET, Some(Behaviour::HARD), None);
    let home = plan.add_site("home", provider, Some(Behaviour::EASY), None);
    machine(&mut plan, home);
    let far = plan.add_site("far", INTERNET, Some(Behaviour::ADDRESS_FILTERING), None);
    machine(&mut plan, far);
    assert!(possible(&plan));
    plan.machines[0].uplinks[0].mapped = Some(7000);
    assert!(possible(&plan), "an outer address that nobody reaches does no harm");
}

#[test]
fn the_oracle_knows_forwarded_ports() {
    for nat in kinds() {
        let mut plan = apart(Behaviour::HARD, nat);
        plan.machines[0].uplinks[0].mapped = Some(7000);
        assert!(possible(&plan), "a forwarded port is enough, beside {nat}");
    }
}

#[test]
fn the_oracle_knows_ipv6_and_blocked_udp() {
    let mut plan = Plan::default();
    for name in ["one", "two"] {
        let site = plan.add_site(name, INTERNET, Some(Behaviour::HARD), Some(Firewall::CLOSED));
        machine(&mut plan, site);
    }
    assert!(possible(&plan), "firewalls that translate nothing are no hindrance");
    let mut blocked = plan.clone();
    blocked.sites[1].udp = false;
    assert!(!possible(&blocked));
    let mut half = plan;
    half.machines[0].uplinks[0].v6 = None;
    assert!(!possible(&half), "no family in common but IPv4 between hard NATs");
}

fn address(text: &str) -> SocketAddr {
    text.parse().expect("an address")
}

fn at(secs: u64) -> Mono {
    Mono::from_millis(secs * 1000)
}

/// One machine behind a NAT and four on the internet, the last two at one address.
fn one(nat: Behaviour) -> (Network, [SocketAddr; 4]) {
    let mut plan = Plan::default();
    let site = plan.add_site("home", INTERNET, Some(nat), None);
    machine(&mut plan, site);
    let mut net = Network::new(plan, 1);
    let others = ["198.51.100.1:1", "198.51.100.2:2", "198.51.100.3:3", "198.51.100.3:4"].map(address);
    for other in others {
        let uplink = Uplink { site: INTERNET, v4: Some(ipv4(other)), v6: None, mapped: None };
        net.add(other.port(), vec![uplink]);
    }
    (net, others)
}

fn ipv4(at: SocketAddr) -> std::net::Ipv4Addr {
    match at.ip() {
        std::net::IpAddr::V4(ip) => ip,
        std::net::IpAddr::V6(_) => panic!("{at}"),
    }
}

#[test]
fn mappings_depend_on_what_they_should() {
    for nat in kinds() {
        let (mut net, to) = one(nat);
        let outer = to.map(|to| net.send(0, to, at(0)).expect("it goes out").from);
        assert!(outer.iter().all(|outer| outer.ip() == address("203.0.113.1:0").ip()));
        assert_eq!(outer[0] == outer[1], nat.mapping == Dependence::Endpoint);
        assert_eq!(outer[2] == outer[3], nat.mapping != Dependence::AddressPort);
        let again = to.map(|to| net.send(0, to, at(1)).expect("it goes out").from);
        assert_eq!(outer, again, "a mapping stays");
    }
}

#[test]
fn filters_depend_on_what_they_should() {
    for nat in kinds() {
        let (mut net, to) = one(nat);
        let outer = net.send(0, to[2], at(0)).expect("it goes out").from;
        let mut enters = |from: usize| {
            let flight = net.send(from, outer, at(1)).expect("on its way");
            net.arrive(flight, at(1)).is_some()
        };
        assert!(enters(3), "who was written to may answer");
        assert_eq!(enters(4), nat.filtering != Dependence::AddressPort, "another port");
        assert_eq!(enters(1), nat.filtering == Dependence::Endpoint, "a stranger");
    }
}

/// Who answers through another mapping of its own than the one that it is written to by keeps that one alive by what
/// comes in.
#[test]
fn what_comes_in_keeps_the_mapping_by_which_it_came() {
    let (mut net, to) = one(Behaviour::new(Dependence::AddressPort, Dependence::Address));
    let outer = net.send(0, to[2], at(0)).expect("it goes out").from;
    for when in (0..90).step_by(10) {
        // To the neighbour's port, by a mapping of its own; its answers go where the first mapping is.
        let other = net.send(0, to[3], at(when)).expect("it goes out").from;
        assert_ne!(outer, other);
        let flight = net.send(4, outer, at(when)).expect("on its way");
        assert!(net.arrive(flight, at(when)).is_some(), "after {when} s");
    }
}

/// A machine that moves from behind an inner router to the outer one keeps its port there, though its peers still knock at
/// the old mapping.
#[test]
fn a_kept_port_follows_its_machine() {
    let (mut net, to) = one(Behaviour::EASY);
    let outer = net.send(0, to[0], at(0)).expect("it goes out").from;
    assert_eq!(outer.port(), 41641);
    let mut uplink = net.plan().machines[0].uplinks[0].clone();
    uplink.v4 = Some(ipv4(address("192.168.1.77:0")));
    net.plug(0, vec![uplink]);
    let flight = net.send(1, outer, at(10)).expect("on its way");
    assert_eq!(net.arrive(flight, at(10)), None, "nobody is there any more");
    for to in to {
        assert_eq!(net.send(0, to, at(20)).expect("it goes out").from, outer);
    }
    let flight = net.send(1, outer, at(20)).expect("on its way");
    assert_eq!(net.arrive(flight, at(20)), Some(Place::Machine(0)));
}

#[test]
fn mappings_end() {
    for inbound_refreshes in [true, false] {
        let (mut net, to) = one(Behaviour { inbound_refreshes, ..Behaviour::FULL_CONE });
        let outer = net.send(0, to[0], at(0)).expect("it goes out").from;
        let mut enters = |when: u64| {
            let flight = net.send(1, outer, at(when)).expect("on its way");
            net.arrive(flight, at(when)).is_some()
        };
        assert!(enters(29));
        assert_eq!(enters(58), inbound_refreshes);
        assert!(!enters(88));
        assert_eq!(net.mappings(), 0);
        assert_ne!(net.send(0, to[0], at(90)).expect("it goes out").from, outer);
    }
}

#[test]
fn a_kept_port_is_kept_unless_it_is_taken() {
    let mut plan = Plan::default();
    let site = plan.add_site("home", INTERNET, Some(Behaviour::EASY), None);
    machine(&mut plan, site);
    machine(&mut plan, site);
    plan.machines[1].port = plan.machines[0].port;
    let mut net = Network::new(plan, 1);
    let [server, _] = net.server(netmap::RegionId(1));
    let ports = [0, 1].map(|n| net.send(n, server, at(0)).expect("it goes out").from.port());
    assert_eq!(ports[0], 41641);
    assert_ne!(ports[1], 41641);
}

#[test]
fn hairpins_and_restarts() {
    for hairpin in [false, true] {
        let mut plan = Plan::default();
        let nat = Behaviour { hairpin, ..Behaviour::FULL_CONE };
        let site = plan.add_site("home", INTERNET, Some(nat), None);
        machine(&mut plan, site);
        machine(&mut plan, site);
        let mut net = Network::new(plan, 1);
        let [server, _] = net.server(netmap::RegionId(1));
        let outer = net.send(0, server, at(0)).expect("it goes out").from;
        let flight = net.send(1, outer, at(0)).expect("on its way");
        assert_eq!(flight.from.ip(), outer.ip(), "seen from outside");
        assert_eq!(net.arrive(flight, at(0)), hairpin.then_some(Place::Machine(0)));
        net.restart(site);
        assert!(net.send(1, outer, at(0)).is_none(), "nobody has that address any more");
        assert_ne!(net.send(0, server, at(0)).expect("it goes out").from.ip(), outer.ip());
    }
}

#[test]
fn behaviours_have_a_text_form() {
    for nat in kinds() {
        for ports in [Ports::Kept, Ports::Random] {
            let lifetime = Duration::from_secs(120);
            let nat = Behaviour { ports, lifetime, hairpin: true, inbound_refreshes: false, ..nat };
            let text = nat.to_string();
            assert_eq!(Behaviour::parse(&text.split(' ').collect::<Vec<_>>()), Ok(nat), "{text}");
        }
    }
    assert!(Behaviour::parse(&["soft"]).is_err());
}
