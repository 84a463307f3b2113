//! Names of addresses: `in-addr.arpa` and `ip6.arpa`, and which of their zones are Tailscale's.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Zone of Tailscale's IPv6 addresses: `fd7a:115c:a1e0::/48`.
const V6_ZONE: &[u8] = b"0.e.1.a.c.5.1.1.a.7.d.f.ip6.arpa";
const V4: &[u8] = b".in-addr.arpa";
const V6: &[u8] = b".ip6.arpa";
/// Text of 32 nibbles with dots between.
const NIBBLES: usize = 63;

/// The address that a name asks for; `None` when it is no whole address.
pub(crate) fn address(name: &[u8]) -> Option<IpAddr> {
    if let Some(front) = name.strip_suffix(V4) {
        let forwards: Ipv4Addr = std::str::from_utf8(front).ok()?.parse().ok()?;
        let [a, b, c, d] = forwards.octets();
        return Some(Ipv4Addr::new(d, c, b, a).into());
    }
    let front = name.strip_suffix(V6).filter(|front| front.len() == NIBBLES)?;
    let mut bits = 0_u128;
    for pair in front.rchunks(2) {
        let nibble = match *pair {
            [b'.', nibble] | [nibble] => char::from(nibble).to_digit(16)?,
            _ => return None,
        };
        bits = bits << 4 | u128::from(nibble);
    }
    Some(Ipv6Addr::from_bits(bits).into())
}

/// The zone of Tailscale's addresses that a name lies in.
pub(crate) fn zone(name: &[u8]) -> Option<&[u8]> {
    if crate::name::is_below(name, V6_ZONE) {
        return name.get(name.len() - V6_ZONE.len()..);
    }
    // `64.100.in-addr.arpa` to `127.100.in-addr.arpa`.
    let front = name.strip_suffix(b".100.in-addr.arpa")?;
    let second = front.rsplit(|byte| *byte == b'.').next()?;
    let number: u8 = std::str::from_utf8(second).ok()?.parse().ok()?;
    let canonical = !second.starts_with(b"0") && !second.starts_with(b"+");
    (canonical && (64..128).contains(&number)).then(|| name.get(front.len() - second.len()..))?
}

/// The IPv4 address that stands in one of Tailscale's IPv6 addresses of `fd7a:115c:a1e0:ab12:4843:cd96::/96`.
pub(crate) fn embedded_v4(address: IpAddr) -> Option<IpAddr> {
    match address {
        IpAddr::V6(v6) => match v6.segments() {
            [0xfd7a, 0x115c, 0xa1e0, 0xab12, 0x4843, 0xcd96, high, low] => {
                let [_, b] = high.to_be_bytes();
                let [c, d] = low.to_be_bytes();
                Some(Ipv4Addr::new(100, b, c, d).into())
            }
            _ => None,
        },
        IpAddr::V4(_) => None,
    }
}

/// Browsing for services of the domain of an address: five names that every machine asks for again and again.
pub(crate) fn is_browsing(name: &[u8]) -> bool {
    let mut labels = name.splitn(2, |byte| *byte == b'.');
    let first = labels.next().unwrap_or_default();
    matches!(first, b"b" | b"db" | b"r" | b"dr" | b"lb")
        && labels.next().is_some_and(|rest| rest.starts_with(b"_dns-sd._udp."))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whole_addresses_only() {
        let v6 = "b.a.9.8.7.6.5.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.b.d.0.1.0.0.2.ip6.arpa";
        for (name, expected) in [
            ("4.3.2.1.in-addr.arpa", Some("1.2.3.4")),
            (v6, Some("2001:db8::567:89ab")),
            ("3.2.1.in-addr.arpa", None),
            ("04.3.2.1.in-addr.arpa", None),
            ("5.4.3.2.1.in-addr.arpa", None),
            ("x.3.2.1.in-addr.arpa", None),
            (&v6[2..], None),
            (&v6.replacen("b.a", "bxa", 1), None),
            (&v6.replacen('b', "g", 1), None),
            ("in-addr.arpa", None),
            ("", None),
        ] {
            assert_eq!(
                address(name.as_bytes()),
                expected.map(|text| text.parse().expect("an address")),
                "{name}"
            );
        }
    }

    #[test]
    fn zones_of_tailscale() {
        for (name, expected) in [
            ("1.2.64.100.in-addr.arpa", Some("64.100.in-addr.arpa")),
            ("127.100.in-addr.arpa", Some("127.100.in-addr.arpa")),
            ("1.63.100.in-addr.arpa", None),
            ("1.128.100.in-addr.arpa", None),
            ("064.100.in-addr.arpa", None),
            ("+64.100.in-addr.arpa", None),
            ("100.in-addr.arpa", None),
            ("64.1100.in-addr.arpa", None),
            ("1.0.e.1.a.c.5.1.1.a.7.d.f.ip6.arpa", Some("0.e.1.a.c.5.1.1.a.7.d.f.ip6.arpa")),
            ("e.1.a.c.5.1.1.a.7.d.f.ip6.arpa", None),
        ] {
            assert_eq!(zone(name.as_bytes()), expected.map(str::as_bytes), "{name}");
        }
    }

    #[test]
    fn the_address_within() {
        let ip = |text: &str| text.parse::<IpAddr>().expect("an address");
        assert_eq!(embedded_v4(ip("fd7a:115c:a1e0:ab12:4843:cd96:6265:6667")), Some(ip("100.101.102.103")));
        assert_eq!(embedded_v4(ip("fd7a:115c:a1e0::1")), None);
    }
}
