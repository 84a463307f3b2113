//! What of the network decides where our packets go: two states that are equal need no second look, and not every difference
//! is a change of the network.

use super::addresses::{Address, addresses};
use super::table::{WORDS, each_line};
use ipnet::IpNet;
use nix::net::if_::if_nametoindex;
use std::net::IpAddr;

/// So many default routes are told apart, of each family.
const MOST: usize = 64;

/// Addresses and default routes.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct State {
    addresses: Vec<Address>,
    /// Of IPv4 and of IPv6.
    ways: [Vec<Way>; 2],
}

/// A default route.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
struct Way {
    /// By which interface.
    interface: String,
    /// Its number, which another one of the same name has not; 0 = not known.
    index: u32,
    /// What else there is to it.
    rest: String,
}

/// How much of the network is another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Change {
    /// Nothing that other machines are reached by.
    None,
    /// There are addresses that were not there, or some are gone that we hardly speak from: every way that was there is.
    Beside,
    /// The way out is another one, or addresses are gone from which connections may have been made.
    Moved,
}

impl State {
    /// The present one; `own` is our interface, whose addresses and routes do not count.
    pub fn read(own: Option<&str>) -> Self {
        let mut addresses = addresses(own);
        addresses
            .sort_unstable_by(|a, b| (a.ip, a.prefix, &a.interface).cmp(&(b.ip, b.prefix, &b.interface)));
        let own = own.unwrap_or_default();
        let (mut v4, mut v6) = (Vec::new(), Vec::new());
        each_line("/proc/net/route", &mut |words| add(&mut v4, v4_way(words, own)));
        each_line("/proc/net/ipv6_route", &mut |words| add(&mut v6, v6_way(words, own)));
        Self { addresses, ways: [v4, v6] }
    }

    /// Addresses of the interfaces with the lengths of their prefixes.
    pub fn networks(&self) -> Vec<IpNet> {
        self.addresses.iter().filter_map(|address| IpNet::new(address.ip, address.prefix).ok()).collect()
    }
}

impl State {
    /// What has become of `before`.
    pub fn since(&self, before: &Self) -> Change {
        if self.ways != before.ways || self.has_lost_of(before) {
            Change::Moved
        } else if self.known_by() == before.known_by() {
            Change::None
        } else {
            Change::Beside
        }
    }

    /// The addresses that [`Self::telling`] gives, each once.
    fn known_by(&self) -> Vec<(IpAddr, u8)> {
        let mut all: Vec<_> =
            self.telling().into_iter().map(|address| (address.ip, address.prefix)).collect();
        all.dedup();
        all
    }

    /// Whether connections from an address of `before` are dead for certain now: one that we leave by, where it is known by
    /// which interface we do. One of IPv6 that is gone while another of its subnet is there was a temporary one, of which
    /// hardly anything is left when it goes.
    pub fn has_lost_of(&self, before: &Self) -> bool {
        let near = |a: IpAddr, b: IpAddr| match (a, b) {
            (IpAddr::V6(a), IpAddr::V6(b)) => u128::from(a) >> 64 == u128::from(b) >> 64,
            (a, b) => a == b,
        };
        let leaves = |old: &Address| {
            let [v4, v6] = &before.ways;
            let ways = if old.ip.is_ipv4() { v4 } else { v6 };
            ways.is_empty() || ways.iter().any(|way| way.interface == old.interface)
        };
        let mut old = before.telling().into_iter().filter(|old| leaves(old));
        old.any(|old| !self.addresses.iter().any(|new| near(old.ip, new.ip)))
    }

    /// The addresses that other machines may know us by: those of one wire come and go with interfaces that lead nowhere, and
    /// count only for IPv4 and where there are no others.
    fn telling(&self) -> Vec<&Address> {
        let wire = |address: &&Address| match address.ip {
            IpAddr::V4(ip) => ip.is_link_local(),
            IpAddr::V6(ip) => ip.is_unicast_link_local(),
        };
        let mut all: Vec<_> = self.addresses.iter().filter(|address| !wire(address)).collect();
        if all.is_empty() {
            all.extend(self.addresses.iter().filter(|address| address.ip.is_ipv4()));
        }
        all
    }
}

/// What a line says if its destination is everything: interface and gateway. Counters and lifetimes that change by
/// themselves are left out. The words are interface, destination, gateway, flags; further on the mask.
fn v4_way(words: &[&str; WORDS], own: &str) -> Option<Way> {
    let [name, destination, gateway, flags, _, _, _, mask, ..] = *words;
    let leads = is_zero(destination) && mask == "00000000" && name != own;
    leads.then(|| way(name, &[gateway, flags]))
}

/// The same of IPv6: destination and source with their lengths, next hop, and at the end the interface. `lo` holds the
/// place of the routes that are not there.
fn v6_way(words: &[&str; WORDS], own: &str) -> Option<Way> {
    let [destination, len, _, _, hop, _, _, _, _, name] = *words;
    let leads = is_zero(destination) && len == "00" && name != "lo" && name != own && !name.is_empty();
    leads.then(|| way(name, &[hop]))
}

fn way(interface: &str, rest: &[&str]) -> Way {
    let index = if_nametoindex(interface).unwrap_or_default();
    Way { interface: interface.to_owned(), index, rest: rest.join(" ") }
}

fn is_zero(word: &str) -> bool {
    !word.is_empty() && word.bytes().all(|byte| byte == b'0')
}

/// Adds what a line says to what others have said.
fn add(ways: &mut Vec<Way>, way: Option<Way>) {
    if ways.len() < MOST {
        ways.extend(way);
    }
}

#[cfg(test)]
mod tests {
    use super::super::table::each_line_in;
    use super::*;

    fn defaults(table: &str, way: fn(&[&str; WORDS], &str) -> Option<Way>, own: Option<&str>) -> Vec<String> {
        let mut all = Vec::new();
        each_line_in(table, &mut |words| add(&mut all, way(words, own.unwrap_or_default())));
        all.into_iter().map(|way| [way.interface, way.rest].join(" ")).collect()
    }

    #[test]
    fn only_default_routes() {
        let v4 = "Iface Destination Gateway Flags RefCnt Use Metric Mask\n\
                  eth0 00000000 0101A8C0 0003 0 0 0 00000000\n\
                  tun0 00000000 00000000 0001 0 0 0 00000000\n\
                  eth1 00000000 00000000 0001 0 0 0 00000080\n\
                  eth0 0001A8C0 0 1 0 0 0 00FFFFFF\n";
        assert_eq!(defaults(v4, v4_way, Some("tun0")), ["eth0 0101A8C0 0003"]);
        let none = "0".repeat(32);
        let lo = format!("{none} 00 {none} 00 {none} ffffffff 00000001 00000000 00200200       lo\n");
        let hop = format!("fe80{}1", "0".repeat(27));
        let eth = format!("{none} 00 {none} 00 {hop} 00000400 00000009 00000007 00000003     eth0\n");
        let net = format!(
            "2001{} 40 {none} 00 {none} 00000100 00000001 00000000 00000001     eth0\n",
            "0".repeat(28)
        );
        assert_eq!(defaults(&(lo + &eth + &net), v6_way, None), [format!("eth0 {hop}")]);
        assert_eq!(defaults(&eth, v6_way, Some("eth0")), [""; 0]);
        // In the table of IPv6 the default routes come last.
        assert_eq!(defaults(&(net.repeat(5000) + &eth), v6_way, None), [format!("eth0 {hop}")]);
        assert_eq!(defaults(&eth.repeat(5000), v6_way, None).len(), MOST);
        assert_eq!(defaults("\n00000000\nx 00000000", v4_way, None), [""; 0]);
    }

    /// Addresses, each as `eth0 192.0.2.1`, and by which interface the default route of IPv4 leads, if there is one.
    fn at(all: &[&str], out: Option<&str>) -> State {
        let address = |text: &&str| {
            let (interface, ip) = text.split_once(' ').unwrap_or(("eth0", text));
            Address { ip: ip.parse().expect("ip"), prefix: 24, interface: interface.to_owned() }
        };
        let mut addresses: Vec<_> = all.iter().map(address).collect();
        addresses.sort_unstable_by_key(|address| address.ip);
        State { addresses, ways: [out.map(|name| way(name, &["gateway"])).into_iter().collect(), Vec::new()] }
    }

    #[test]
    fn what_is_no_change_of_the_network() {
        let now = |more: &[&str]| at(&[&["eth0 192.0.2.1", "eth0 fe80::1"], more].concat(), Some("eth0"));
        let before = now(&[]);
        for (more, change) in [
            (&[][..], Change::None),
            (&["veth0 fe80::7"], Change::None),
            (&["veth0 169.254.7.7"], Change::None),
            (&["ppp0 192.0.2.1"], Change::None),
            (&["aaa0 192.0.2.1"], Change::None),
            (&["veth0 10.0.0.1"], Change::Beside),
            (&["veth0 2001:db8::1"], Change::Beside),
        ] {
            assert_eq!(now(more).since(&before), change, "{more:?} comes");
            // Without a default route of IPv6 it is not known which of its addresses we leave by.
            let gone = if more.contains(&"veth0 2001:db8::1") { Change::Moved } else { change };
            assert_eq!(before.since(&now(more)), gone, "{more:?} goes");
        }
        for other in [
            at(&["eth0 192.0.2.1", "eth0 fe80::1"], Some("eth1")),
            at(&["eth0 192.0.2.1", "eth0 fe80::1"], None),
            at(&["eth0 192.0.2.2", "eth0 fe80::1"], Some("eth0")),
            at(&["eth0 fe80::1"], Some("eth0")),
        ] {
            assert_eq!(other.since(&before), Change::Moved, "{other:?}");
        }
        let mut recreated = before.clone();
        recreated.ways[0][0].index += 1;
        assert_eq!(recreated.since(&before), Change::Moved);
        let lonely = at(&["eth0 169.254.1.1"], None);
        assert_eq!(at(&["eth0 169.254.1.2"], None).since(&lonely), Change::Moved);
    }

    #[test]
    fn the_same_machine_twice() {
        assert_eq!(State::read(None), State::read(None));
        let at = |all: &[&str]| at(all, None);
        let before = at(&["192.0.2.1", "2001:db8::1"]);
        assert!(!at(&["192.0.2.1", "2001:db8::2", "192.0.2.9"]).has_lost_of(&before));
        assert!(at(&["192.0.2.2", "2001:db8::1"]).has_lost_of(&before));
        assert!(at(&["192.0.2.1", "2001:db8:1::1"]).has_lost_of(&before));
    }
}
