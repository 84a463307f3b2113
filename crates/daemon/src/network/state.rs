//! What of the network decides where our packets go: two states that are equal need no second look.

use super::addresses::{Address, addresses};
use ipnet::IpNet;
use std::io::Read as _;
use std::net::IpAddr;

/// Of a table of routes so much is read: one with more has its default routes in front, or is no home's.
const MOST: u64 = 64 << 10;

/// Addresses and default routes.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct State {
    addresses: Vec<Address>,
    ways: Vec<String>,
}

impl State {
    /// The present one; routes to our own interface do not count.
    pub fn read(own: Option<&str>) -> Self {
        let mut addresses = addresses();
        addresses.retain(|address| !is_tailnet(address.ip) && !address.ip.is_loopback());
        addresses.sort_unstable_by_key(|address| (address.ip, address.prefix));
        let mut ways = defaults(&table("/proc/net/route"), 1, own);
        ways.extend(defaults(&table("/proc/net/ipv6_route"), 0, own));
        Self { addresses, ways }
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

/// Of the interface that is our own.
fn is_tailnet(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(v4) => matches!(v4.octets(), [100, 64..=127, ..]),
        IpAddr::V6(v6) => v6.segments().starts_with(&[0xfd7a, 0x115c, 0xa1e0]),
    }
}

/// The text of a table of routes.
pub(super) fn table(path: &str) -> String {
    let mut text = String::new();
    if let Ok(file) = std::fs::File::open(path) {
        // What is cut off in the middle of a line is one line less.
        let _ = file.take(MOST).read_to_string(&mut text);
    }
    text
}

/// The lines of a table whose destination, in column `column`, is everything: interface and gateway. Counters and
/// lifetimes that change by themselves are left out.
fn defaults(table: &str, column: usize, own: Option<&str>) -> Vec<String> {
    let lines = table.lines().filter_map(|line| {
        let words: Vec<&str> = line.split_ascii_whitespace().collect();
        let destination = *words.get(column)?;
        if destination.is_empty() || destination.bytes().any(|byte| byte != b'0') {
            return None;
        }
        Some(match column {
            // Interface, destination, gateway, flags; further on the mask.
            1 if words.get(7) == Some(&"00000000") && words.first().copied() != own => {
                words.get(..4)?.join(" ")
            }
            // Destination and source with their lengths, next hop, and at the end the interface. Only what leads
            // somewhere: `lo` holds the place of the routes that are not there.
            0 if words.get(1) == Some(&"00")
                && words.get(9) != Some(&"lo")
                && words.get(9).copied() != own =>
            {
                format!("{} {}", words.get(4)?, words.get(9)?)
            }
            _ => return None,
        })
    });
    lines.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_default_routes() {
        let v4 = "Iface Destination Gateway Flags RefCnt Use Metric Mask\n\
                  eth0 00000000 0101A8C0 0003 0 0 0 00000000\n\
                  tun0 00000000 00000000 0001 0 0 0 00000000\n\
                  eth1 00000000 00000000 0001 0 0 0 00000080\n\
                  eth0 0001A8C0 0 1 0 0 0 00FFFFFF\n";
        assert_eq!(defaults(v4, 1, Some("tun0")), ["eth0 00000000 0101A8C0 0003"]);
        let none = "0".repeat(32);
        let lo = format!("{none} 00 {none} 00 {none} ffffffff 00000001 00000000 00200200       lo\n");
        let hop = format!("fe80{}1", "0".repeat(27));
        let eth = format!("{none} 00 {none} 00 {hop} 00000400 00000009 00000007 00000003     eth0\n");
        let net = format!(
            "2001{} 40 {none} 00 {none} 00000100 00000001 00000000 00000001     eth0\n",
            "0".repeat(28)
        );
        assert_eq!(defaults(&(lo + &eth + &net), 0, None), [format!("{hop} eth0")]);
        assert_eq!(defaults(&eth, 0, Some("eth0")), [""; 0]);
        assert_eq!(defaults("\n00000000\nx 00000000", 1, None), [""; 0]);
    }

    #[test]
    fn the_same_machine_twice() {
        assert_eq!(State::read(None), State::read(None));
        let at = |all: &[&str]| State {
            addresses: all.iter().map(|ip| Address { ip: ip.parse().expect("ip"), prefix: 24 }).collect(),
            ways: Vec::new(),
        };
        let before = at(&["192.0.2.1", "2001:db8::1"]);
        assert!(!at(&["192.0.2.1", "2001:db8::2", "192.0.2.9"]).has_lost_of(&before));
        assert!(at(&["192.0.2.2", "2001:db8::1"]).has_lost_of(&before));
        assert!(at(&["192.0.2.1", "2001:db8:1::1"]).has_lost_of(&before));
    }
}
