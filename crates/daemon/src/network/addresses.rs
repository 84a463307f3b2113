//! Addresses of the interfaces that are up, but for our own.

use crate::backend::is_tailnets;
use nix::ifaddrs::getifaddrs;
use nix::net::if_::InterfaceFlags;
use nix::sys::socket::SockaddrStorage;
use std::net::IpAddr;

/// An address of an interface.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Address {
    /// The address.
    pub(super) ip: IpAddr,
    /// Length of its prefix.
    pub(super) prefix: u8,
    /// The interface that has it.
    pub(super) interface: String,
}

/// More are not looked at: a router with a thousand interfaces tells its peers of a few.
const MOST: usize = 256;

/// All by which other machines may be reached; `own` is our interface. None if the system does not tell.
pub(super) fn addresses(own: Option<&str>) -> Vec<Address> {
    let Ok(all) = getifaddrs() else { return Vec::new() };
    let up = all.filter(|interface| interface.flags.contains(InterfaceFlags::IFF_UP));
    let found = up.filter_map(|interface| {
        let ip = ip_of(interface.address.as_ref()?)?;
        let prefix = interface.netmask.as_ref().and_then(ip_of).map_or(128, prefix);
        let interface = interface.interface_name;
        counts(ip, &interface, own).then_some(Address { ip, prefix, interface })
    });
    found.take(MOST).collect()
}

/// Whether an address tells of the network. Providers give addresses out of the tailnet's range too, so the interface
/// decides; only who has none of his own goes by the range, lest another node's on this machine be taken for a network.
fn counts(ip: IpAddr, interface: &str, own: Option<&str>) -> bool {
    !ip.is_loopback() && own.map_or_else(|| !is_tailnets(&ip.into()), |own| own != interface)
}

fn ip_of(address: &SockaddrStorage) -> Option<IpAddr> {
    let v4 = address.as_sockaddr_in().map(|v4| IpAddr::V4(v4.ip()));
    v4.or_else(|| address.as_sockaddr_in6().map(|v6| IpAddr::V6(v6.ip())))
}

fn prefix(mask: IpAddr) -> u8 {
    let ones = match mask {
        IpAddr::V4(mask) => u32::from(mask).leading_ones(),
        IpAddr::V6(mask) => u128::from(mask).leading_ones(),
    };
    ones as u8
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_interface_decides_and_not_the_range() {
        let counts = |ip: &str, own| counts(ip.parse().expect("ip"), "wan", own);
        for ip in ["100.64.0.7", "fd7a:115c:a1e0::7", "192.0.2.1", "fe80::1"] {
            assert!(counts(ip, Some("tailscale0")), "{ip} of a provider");
            assert!(!counts(ip, Some("wan")), "{ip} of ours");
        }
        assert!(!counts("127.0.0.1", Some("tailscale0")) && !counts("::1", None));
        assert!(!counts("100.64.0.7", None) && !counts("fd7a:115c:a1e0::7", None), "perhaps another node's");
        assert!(counts("192.0.2.1", None) && counts("100.128.0.1", None));
    }

    #[test]
    fn lengths_of_prefixes() {
        for (mask, len) in [("255.255.252.0", 22), ("255.255.255.255", 32), ("ffff:ffff:ffff:ffff::", 64)] {
            assert_eq!(prefix(mask.parse().expect("a mask")), len);
        }
        assert!(addresses(None).iter().all(|address| !address.ip.is_loopback()));
    }
}
