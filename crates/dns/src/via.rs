//! Names that spell a 4via6 address: `10-1-1-16-via-7` is `fd7a:115c:a1e0:b1a:0:7:a01:110`.

use crate::name::is_below;
use std::net::{Ipv4Addr, Ipv6Addr};

const VIA: &str = "-via-";
/// Domains below which such names exist; as single labels they exist as well.
const DOMAINS: [&[u8]; 2] = [b"ts.net", b"tailscale.net"];

/// The address that a name spells.
pub(crate) fn address(name: &[u8]) -> Option<Ipv6Addr> {
    let mut parts = name.splitn(2, |byte| *byte == b'.');
    let label = std::str::from_utf8(parts.next()?).ok()?;
    if let Some(domain) = parts.next()
        && !DOMAINS.iter().any(|known| is_below(domain, known))
    {
        return None;
    }
    let (v4, site) = label.split_once(VIA)?;
    let v4: Ipv4Addr = v4.replace('-', ".").parse().ok()?;
    let site = number(site)?.to_be_bytes();
    let [a, b, c, d] = site;
    let word = |high, low| u16::from_be_bytes([high, low]);
    let [e, f, g, h] = v4.octets();
    Some(Ipv6Addr::new(0xfd7a, 0x115c, 0xa1e0, 0xb1a, word(a, b), word(c, d), word(e, f), word(g, h)))
}

/// A site's number: decimal, or with one of the prefixes of Go's literals.
fn number(text: &str) -> Option<u32> {
    let (radix, digits) = match text.as_bytes() {
        [b'0', b'x', ..] => (16, text.get(2..)?),
        [b'0', b'b', ..] => (2, text.get(2..)?),
        [b'0', b'o', ..] => (8, text.get(2..)?),
        [b'0', _, ..] => (8, text.get(1..)?),
        _ => (10, text),
    };
    if digits.starts_with('+') { None } else { u32::from_str_radix(digits, radix).ok() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spelled_addresses() {
        let seven = "fd7a:115c:a1e0:b1a:0:7:a01:110";
        for (name, expected) in [
            ("10-1-1-16-via-7", Some(seven)),
            ("10-1-1-16-via-7.tail1.ts.net", Some(seven)),
            ("10-1-1-16-via-7.ts.net", Some(seven)),
            ("10-1-1-16-via-0x7.a.tailscale.net", Some(seven)),
            ("10-1-1-16-via-4294967295", Some("fd7a:115c:a1e0:b1a:ffff:ffff:a01:110")),
            ("10-1-1-16-via-7.example.com", None),
            ("10-1-1-16-via-4294967296", None),
            ("10-1-1-16-via-+7", None),
            ("10-1-1-16-via-", None),
            ("10-1-1-256-via-7", None),
            ("10-1-1-via-7", None),
            ("010-1-1-1-via-7", None),
            ("via", None),
            ("", None),
        ] {
            assert_eq!(
                address(name.as_bytes()),
                expected.map(|text| text.parse().expect("an address")),
                "{name}"
            );
        }
    }
}
