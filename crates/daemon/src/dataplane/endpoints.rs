//! Where we can be reached: what was found out and the addresses of this machine, in the order in which peers and control
//! are told (protocol reference §3.9).
//!
//! Leaves out: finding out (STUN, port mapping), telling.

use control::{Endpoint, EndpointKind};
use nix::ifaddrs::getifaddrs;
use nix::net::if_::InterfaceFlags;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};

/// So many are told at most.
const MOST: usize = 32;

/// Addresses of one IPv6 subnet that are told: machines with privacy addresses have a dozen.
const PER_SUBNET: usize = 2;

/// What others say about us.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Found {
    /// Ports that routers have opened for us.
    pub mapped: Vec<SocketAddr>,
    /// As STUN servers see us, those that several agree on first.
    pub stun: Vec<SocketAddr>,
    /// Different servers see different ports: what STUN says is of little use to others.
    pub varies: bool,
}

/// The whole list. `port` is the one of our sockets, `wanted` the one that the user asked for (0 = any), `fixed` what the
/// user knows himself.
pub(super) fn list(
    found: &Found,
    fixed: &[SocketAddr],
    local: &[IpAddr],
    (port, wanted): (u16, u16),
) -> Vec<Endpoint> {
    let mut all: Vec<Endpoint> = Vec::new();
    let mut add = |addr: SocketAddr, kind| {
        if all.len() < MOST && addr.port() != 0 && all.iter().all(|known| known.addr != addr) {
            all.push(Endpoint { addr, kind });
        }
    };
    found.mapped.iter().for_each(|at| add(*at, EndpointKind::Portmapped));
    found.stun.iter().for_each(|at| add(*at, EndpointKind::Stun));
    // Whoever asks for a port may have it forwarded.
    if found.varies
        && wanted != 0
        && let Some(public) = found.stun.iter().find(|at| at.is_ipv4())
    {
        add(SocketAddr::new(public.ip(), wanted), EndpointKind::Stun4LocalPort);
    }
    fixed.iter().for_each(|at| add(*at, EndpointKind::Explicit));
    local.iter().for_each(|ip| add(SocketAddr::new(*ip, port), EndpointKind::Local));
    all
}

/// The addresses of this machine that are worth telling, by the families there are sockets for.
pub(super) fn local((v4, v6): (bool, bool)) -> Vec<IpAddr> {
    let Ok(interfaces) = getifaddrs() else { return Vec::new() };
    let up = interfaces.filter(|interface| interface.flags.contains(InterfaceFlags::IFF_UP));
    let addresses = up.filter_map(|interface| {
        let address = interface.address?;
        let v4 = address.as_sockaddr_in().map(|at| IpAddr::V4(at.ip()));
        v4.or_else(|| address.as_sockaddr_in6().map(|at| IpAddr::V6(at.ip())))
    });
    choose(addresses.filter(|ip| if ip.is_ipv4() { v4 } else { v6 }))
}

/// Those of the widest reach that there are.
fn choose(addresses: impl Iterator<Item = IpAddr>) -> Vec<IpAddr> {
    let (mut wide, mut narrow, mut loopback) = (Vec::new(), Vec::new(), Vec::new());
    for ip in addresses {
        let list = match ip {
            IpAddr::V4(v4) if matches!(v4.octets(), [100, 64..=127, ..]) => continue,
            IpAddr::V6(v6) if matches!(v6.segments(), [0xfd7a, 0x115c, 0xa1e0, ..]) => continue,
            ip if ip.is_loopback() => &mut loopback,
            ip if ip.is_unspecified() || ip.is_multicast() => continue,
            IpAddr::V4(v4) if v4.is_link_local() => &mut narrow,
            IpAddr::V4(_) => &mut wide,
            IpAddr::V6(v6) if v6.is_unicast_link_local() => continue,
            IpAddr::V6(v6) if v6.is_unique_local() => &mut narrow,
            IpAddr::V6(v6)
                if wide.iter().filter(|known| subnet(known) == Some(prefix(v6))).count() >= PER_SUBNET =>
            {
                continue;
            }
            IpAddr::V6(_) => &mut wide,
        };
        if !list.contains(&ip) {
            list.push(ip);
        }
    }
    [wide, narrow, loopback].into_iter().find(|list| !list.is_empty()).unwrap_or_default()
}

fn prefix(ip: Ipv6Addr) -> [u16; 4] {
    let [a, b, c, d, ..] = ip.segments();
    [a, b, c, d]
}

fn subnet(ip: &IpAddr) -> Option<[u16; 4]> {
    match ip {
        IpAddr::V4(_) => None,
        IpAddr::V6(ip) => Some(prefix(*ip)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ips(all: &[&str]) -> Vec<IpAddr> {
        all.iter().map(|ip| ip.parse().expect("an address")).collect()
    }

    fn chosen(all: &[&str]) -> Vec<IpAddr> {
        choose(ips(all).into_iter())
    }

    #[test]
    fn addresses_of_the_machine() {
        let all = ["127.0.0.1", "::1", "fe80::1", "169.254.1.1", "fd00::1", "192.168.1.2", "100.64.0.9"];
        assert_eq!(chosen(&all), ips(&["192.168.1.2"]));
        assert_eq!(chosen(&all[..5]), ips(&["169.254.1.1", "fd00::1"]));
        assert_eq!(chosen(&all[..3]), ips(&["127.0.0.1", "::1"]));
        assert_eq!(chosen(&["fe80::1", "fd7a:115c:a1e0::1"]), ips(&[]));
        let many = ["2001:db8::1", "2001:db8::2", "2001:db8::3", "2001:db8:0:1::1", "10.0.0.1", "10.0.0.1"];
        assert_eq!(chosen(&many), ips(&["2001:db8::1", "2001:db8::2", "2001:db8:0:1::1", "10.0.0.1"]));
    }

    #[test]
    fn order_and_kinds() {
        let at = |text: &str| text.parse::<SocketAddr>().expect("an address");
        let found = Found {
            mapped: vec![at("203.0.113.1:7")],
            stun: vec![at("203.0.113.1:9"), at("203.0.113.1:7")],
            varies: true,
        };
        let local = ips(&["10.0.0.1"]);
        let told = |wanted| {
            let all = list(&found, &[at("198.51.100.1:3")], &local, (41641, wanted));
            all.into_iter().map(|e| (e.addr.to_string(), e.kind as u8)).collect::<Vec<_>>()
        };
        let mapped = ("203.0.113.1:7".to_owned(), 3);
        let stun = ("203.0.113.1:9".to_owned(), 2);
        let forwarded = ("203.0.113.1:41641".to_owned(), 4);
        let fixed = ("198.51.100.1:3".to_owned(), 5);
        let own = ("10.0.0.1:41641".to_owned(), 1);
        assert_eq!(told(0), [mapped.clone(), stun.clone(), fixed.clone(), own.clone()]);
        assert_eq!(told(41641), [mapped, stun, forwarded, fixed, own]);
        let many: Vec<IpAddr> = (0..=255).map(|n| IpAddr::from([10, 0, 0, n])).collect();
        assert_eq!(list(&found, &[], &many, (1, 0)).len(), MOST);
        assert_eq!(list(&Found::default(), &[], &local, (0, 0)), [], "without a socket there is none");
    }

    #[test]
    fn this_machine_has_some() {
        assert!(!local((true, true)).is_empty());
        assert!(local((false, false)).is_empty());
    }
}
