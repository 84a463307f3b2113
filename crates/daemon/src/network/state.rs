//! What of the network decides where our packets go: two states that are equal need no second look.

use super::addresses::{Address, addresses};
use super::table::{WORDS, each_line};
use ipnet::IpNet;
use std::net::IpAddr;

/// So many default routes are told apart, of each family.
const MOST: usize = 64;

/// Addresses and default routes.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct State {
    addresses: Vec<Address>,
    /// Of IPv4 and of IPv6.
    ways: [Vec<String>; 2],
}

impl State {
    /// The present one; `own` is our interface, whose addresses and routes do not count.
    pub fn read(own: Option<&str>) -> Self {
        let mut addresses = addresses(own);
        addresses.sort_unstable_by_key(|address| (address.ip, address.prefix));
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
    /// Whether connections from an address of `before` are dead for certain now. One of IPv6 that is gone while another of
    /// its subnet is there was a temporary one, of which hardly anything is left when it goes.
    pub fn has_lost_of(&self, before: &Self) -> bool {
        let near = |a: IpAddr, b: IpAddr| match (a, b) {
            (IpAddr::V6(a), IpAddr::V6(b)) => u128::from(a) >> 64 == u128::from(b) >> 64,
            (a, b) => a == b,
        };
        before.addresses.iter().any(|old| !self.addresses.iter().any(|new| near(old.ip, new.ip)))
    }
}

/// What a line says if its destination is everything: interface and gateway. Counters and lifetimes that change by
/// themselves are left out. The words are interface, destination, gateway, flags; further on the mask.
fn v4_way(words: &[&str; WORDS], own: &str) -> Option<String> {
    let [name, destination, gateway, flags, _, _, _, mask, ..] = *words;
    let leads = is_zero(destination) && mask == "00000000" && name != own;
    leads.then(|| [name, destination, gateway, flags].join(" "))
}

/// The same of IPv6: destination and source with their lengths, next hop, and at the end the interface. `lo` holds the
/// place of the routes that are not there.
fn v6_way(words: &[&str; WORDS], own: &str) -> Option<String> {
    let [destination, len, _, _, hop, _, _, _, _, name] = *words;
    let leads = is_zero(destination) && len == "00" && name != "lo" && name != own && !name.is_empty();
    leads.then(|| [hop, name].join(" "))
}

fn is_zero(word: &str) -> bool {
    !word.is_empty() && word.bytes().all(|byte| byte == b'0')
}

/// Adds what a line says to what others have said.
fn add(ways: &mut Vec<String>, way: Option<String>) {
    if ways.len() < MOST {
        ways.extend(way);
    }
}

#[cfg(test)]
mod tests {
    use super::super::table::each_line_in;
    use super::*;

    fn defaults(
        table: &str,
        way: fn(&[&str; WORDS], &str) -> Option<String>,
        own: Option<&str>,
    ) -> Vec<String> {
        let mut all = Vec::new();
        each_line_in(table, &mut |words| add(&mut all, way(words, own.unwrap_or_default())));
        all
    }

    #[test]
    fn only_default_routes() {
        let v4 = "Iface Destination Gateway Flags RefCnt Use Metric Mask\n\
                  eth0 00000000 0101A8C0 0003 0 0 0 00000000\n\
                  tun0 00000000 00000000 0001 0 0 0 00000000\n\
                  eth1 00000000 00000000 0001 0 0 0 00000080\n\
                  eth0 0001A8C0 0 1 0 0 0 00FFFFFF\n";
        assert_eq!(defaults(v4, v4_way, Some("tun0")), ["eth0 00000000 0101A8C0 0003"]);
        let none = "0".repeat(32);
        let lo = format!("{none} 00 {none} 00 {none} ffffffff 00000001 00000000 00200200       lo\n");
        let hop = format!("fe80{}1", "0".repeat(27));
        let eth = format!("{none} 00 {none} 00 {hop} 00000400 00000009 00000007 00000003     eth0\n");
        let net = format!(
            "2001{} 40 {none} 00 {none} 00000100 00000001 00000000 00000001     eth0\n",
            "0".repeat(28)
        );
        assert_eq!(defaults(&(lo + &eth + &net), v6_way, None), [format!("{hop} eth0")]);
        assert_eq!(defaults(&eth, v6_way, Some("eth0")), [""; 0]);
        // In the table of IPv6 the default routes come last.
        assert_eq!(defaults(&(net.repeat(5000) + &eth), v6_way, None), [format!("{hop} eth0")]);
        assert_eq!(defaults(&eth.repeat(5000), v6_way, None).len(), MOST);
        assert_eq!(defaults("\n00000000\nx 00000000", v4_way, None), [""; 0]);
    }

    #[test]
    fn the_same_machine_twice() {
        assert_eq!(State::read(None), State::read(None));
        let at = |all: &[&str]| State {
            addresses: all.iter().map(|ip| Address { ip: ip.parse().expect("ip"), prefix: 24 }).collect(),
            ways: Default::default(),
        };
        let before = at(&["192.0.2.1", "2001:db8::1"]);
        assert!(!at(&["192.0.2.1", "2001:db8::2", "192.0.2.9"]).has_lost_of(&before));
        assert!(at(&["192.0.2.2", "2001:db8::1"]).has_lost_of(&before));
        assert!(at(&["192.0.2.1", "2001:db8:1::1"]).has_lost_of(&before));
    }
}
