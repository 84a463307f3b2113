//! Addresses of the interfaces that are up.

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
}

/// More are not looked at: a router with a thousand interfaces tells its peers of a few.
const MOST: usize = 256;

/// All of them; none if the system does not tell.
pub(super) fn addresses() -> Vec<Address> {
    let Ok(all) = getifaddrs() else { return Vec::new() };
    let up = all.filter(|interface| interface.flags.contains(InterfaceFlags::IFF_UP));
    let found = up.filter_map(|interface| {
        let ip = ip_of(interface.address.as_ref()?)?;
        let prefix = interface.netmask.as_ref().and_then(ip_of).map_or(128, prefix);
        Some(Address { ip, prefix })
    });
    found.take(MOST).collect()
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
    fn there_is_loopback_at_least() {
        let all = addresses();
        let loopback = all.iter().find(|address| address.ip.is_loopback());
        assert!(loopback.is_some_and(|loopback| matches!(loopback.prefix, 8 | 128)), "{all:?}");
    }
}
