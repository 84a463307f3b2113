//! The local set: which destinations a packet from a peer may have at all (protocol reference §7.2, step 1).

use super::set::{AddrSet, complement};
use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use std::net::{Ipv4Addr, Ipv6Addr};

/// What an advertised default route never covers: private, loopback, link-local, multicast and tailnet addresses.
/// Somebody who wants peers to reach these behind the node advertises them by name.
fn never_by_default() -> [IpNet; 11] {
    let v4 = |a, b, len| IpNet::V4(Ipv4Net::new_assert(Ipv4Addr::new(a, b, 0, 0), len));
    let v6 = |a, b, c, len| IpNet::V6(Ipv6Net::new_assert(Ipv6Addr::new(a, b, c, 0, 0, 0, 0, 0), len));
    [
        v4(10, 0, 8),
        v4(172, 16, 12),
        v4(192, 168, 16),
        v4(127, 0, 8),
        v4(169, 254, 16),
        v4(224, 0, 4),
        v4(100, 64, 10),
        IpNet::V6(Ipv6Addr::LOCALHOST.into()),
        v6(0xfe80, 0, 0, 10),
        v6(0xff00, 0, 0, 8),
        v6(0xfd7a, 0x115c, 0xa1e0, 48),
    ]
}

/// What an advertised default route of one family stands for. `interfaces` are this machine's interface addresses
/// with their prefix lengths (the host part is the machine's own address), without the tunnel's.
///
/// It is everything but [private and special ranges](never_by_default) and the attached networks, plus the
/// machine's own addresses outside of the former.
pub fn shrink_default_route(v4: bool, interfaces: &[IpNet]) -> Vec<IpNet> {
    let never = never_by_default();
    let taken = AddrSet::of_nets(never.iter().chain(interfaces));
    let mut nets = complement(&taken, v4);
    let never = AddrSet::of_nets(&never);
    let own = interfaces.iter().map(IpNet::addr).filter(|ip| ip.is_ipv4() == v4 && !never.contains(*ip));
    nets.extend(own.map(IpNet::from));
    nets
}

/// The local set: `addresses` (our own in the tailnet, masquerade addresses included) and `advertised` routes,
/// default routes shrunk as [`shrink_default_route`] says.
pub fn local_set(addresses: &[IpNet], advertised: &[IpNet], interfaces: &[IpNet]) -> Vec<IpNet> {
    let mut nets = addresses.to_vec();
    for route in advertised {
        match route.prefix_len() {
            0 => nets.extend(shrink_default_route(route.addr().is_ipv4(), interfaces)),
            _ => nets.push(*route),
        }
    }
    nets
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::IpAddr;

    fn nets(texts: &[&str]) -> Vec<IpNet> {
        texts.iter().map(|t| t.parse().expect("a prefix")).collect()
    }

    #[test]
    fn default_routes_leave_the_lan_out() {
        let interfaces = nets(&["192.168.88.1/24", "203.0.113.7/24", "2001:db8:1::1/64", "fe80::1/64"]);
        let local =
            local_set(&nets(&["100.64.0.1/32"]), &nets(&["0.0.0.0/0", "::/0", "10.9.0.0/16"]), &interfaces);
        let set = AddrSet::of_nets(&local);
        for (ip, is_in) in [
            ("100.64.0.1", true),
            ("100.64.0.2", false),
            ("8.8.8.8", true),
            ("0.0.0.0", true),
            ("255.255.255.255", true),
            ("10.8.0.1", false),
            ("10.9.0.1", true),
            ("172.31.255.255", false),
            ("172.32.0.0", true),
            ("127.0.0.1", false),
            ("192.168.88.1", false),
            ("203.0.113.7", true),
            ("203.0.113.8", false),
            ("169.254.169.254", false),
            ("239.1.1.1", false),
            ("2001:db8:1::1", true),
            ("2001:db8:1::2", false),
            ("2001:db8:2::2", true),
            ("fd7a:115c:a1e0::1", false),
            ("fd7a:115c:a1e1::1", true),
            ("::1", false),
            ("::2", true),
            ("fe80::1", false),
            ("ff02::1", false),
        ] {
            let ip: IpAddr = ip.parse().expect("an address");
            assert_eq!(set.contains(ip), is_in, "{ip}");
        }
    }

    #[test]
    fn an_attached_default_prefix_leaves_only_ourselves() {
        assert_eq!(shrink_default_route(true, &nets(&["198.51.100.1/0"])), nets(&["198.51.100.1/32"]));
    }
}
