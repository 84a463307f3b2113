//! Public resolvers of which we know that they speak DNS over HTTPS at the addresses of their plain DNS.
//!
//! Such a resolver is asked by HTTPS first and by UDP half a second later (protocol reference §9.3). The addresses are
//! the providers' own publications.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// One service: where its HTTPS is, and its addresses.
#[derive(Debug)]
struct Provider {
    url: &'static str,
    v4: &'static [[u8; 4]],
    /// The first three and the last two 16-bit groups; those between are zero.
    v6: &'static [[u16; 5]],
}

const fn provider(url: &'static str, v4: &'static [[u8; 4]], v6: &'static [[u16; 5]]) -> Provider {
    Provider { url, v4, v6 }
}

/// All that can be told by their whole address.
static KNOWN: [Provider; 23] = [
    provider(
        "https://cloudflare-dns.com/dns-query",
        &[[1, 1, 1, 1], [1, 0, 0, 1]],
        &[[0x2606, 0x4700, 0x4700, 0, 0x1111], [0x2606, 0x4700, 0x4700, 0, 0x1001]],
    ),
    provider(
        "https://security.cloudflare-dns.com/dns-query",
        &[[1, 1, 1, 2], [1, 0, 0, 2]],
        &[[0x2606, 0x4700, 0x4700, 0, 0x1112], [0x2606, 0x4700, 0x4700, 0, 0x1002]],
    ),
    provider(
        "https://family.cloudflare-dns.com/dns-query",
        &[[1, 1, 1, 3], [1, 0, 0, 3]],
        &[[0x2606, 0x4700, 0x4700, 0, 0x1113], [0x2606, 0x4700, 0x4700, 0, 0x1003]],
    ),
    provider(
        "https://dns.google/dns-query",
        &[[8, 8, 8, 8], [8, 8, 4, 4]],
        &[[0x2001, 0x4860, 0x4860, 0, 0x8888], [0x2001, 0x4860, 0x4860, 0, 0x8844]],
    ),
    provider(
        "https://dns.quad9.net/dns-query",
        &[[9, 9, 9, 9], [149, 112, 112, 112]],
        &[[0x2620, 0xfe, 0, 0, 0xfe], [0x2620, 0xfe, 0, 0, 9]],
    ),
    provider(
        "https://dns11.quad9.net/dns-query",
        &[[9, 9, 9, 11], [149, 112, 112, 11]],
        &[[0x2620, 0xfe, 0, 0, 0x11], [0x2620, 0xfe, 0, 0xfe, 0x11]],
    ),
    provider(
        "https://dns10.quad9.net/dns-query",
        &[[9, 9, 9, 10], [149, 112, 112, 10]],
        &[[0x2620, 0xfe, 0, 0, 0x10], [0x2620, 0xfe, 0, 0xfe, 0x10]],
    ),
    provider("https://dns.mullvad.net/dns-query", &[[194, 242, 2, 2]], &[[0x2a07, 0xe340, 0, 0, 2]]),
    provider("https://adblock.dns.mullvad.net/dns-query", &[[194, 242, 2, 3]], &[[0x2a07, 0xe340, 0, 0, 3]]),
    provider("https://base.dns.mullvad.net/dns-query", &[[194, 242, 2, 4]], &[[0x2a07, 0xe340, 0, 0, 4]]),
    provider("https://extended.dns.mullvad.net/dns-query", &[[194, 242, 2, 5]], &[[0x2a07, 0xe340, 0, 0, 5]]),
    provider("https://family.dns.mullvad.net/dns-query", &[[194, 242, 2, 6]], &[[0x2a07, 0xe340, 0, 0, 6]]),
    provider("https://all.dns.mullvad.net/dns-query", &[[194, 242, 2, 9]], &[[0x2a07, 0xe340, 0, 0, 9]]),
    provider("https://wikimedia-dns.org/dns-query", &[WIKIMEDIA], &[[0x2001, 0x67c, 0x930, 0, 1]]),
    provider(
        "https://freedns.controld.com/p0",
        &[[76, 76, 2, 0], [76, 76, 10, 0]],
        &[[0x2606, 0x1a40, 0, 0, 0], [0x2606, 0x1a40, 1, 0, 0]],
    ),
    provider(
        "https://freedns.controld.com/p1",
        &[[76, 76, 2, 1], [76, 76, 10, 1]],
        &[[0x2606, 0x1a40, 0, 0, 1], [0x2606, 0x1a40, 1, 0, 1]],
    ),
    provider(
        "https://freedns.controld.com/p2",
        &[[76, 76, 2, 2], [76, 76, 10, 2]],
        &[[0x2606, 0x1a40, 0, 0, 2], [0x2606, 0x1a40, 1, 0, 2]],
    ),
    provider(
        "https://freedns.controld.com/p3",
        &[[76, 76, 2, 3], [76, 76, 10, 3]],
        &[[0x2606, 0x1a40, 0, 0, 3], [0x2606, 0x1a40, 1, 0, 3]],
    ),
    provider(
        "https://freedns.controld.com/family",
        &[[76, 76, 2, 4], [76, 76, 10, 4]],
        &[[0x2606, 0x1a40, 0, 0, 4], [0x2606, 0x1a40, 1, 0, 4]],
    ),
    provider(
        "https://private.canadianshield.cira.ca/dns-query",
        &[[149, 112, 121, 10], [149, 112, 122, 10]],
        &[[0x2620, 0x10a, 0x80bb, 0, 0x10], [0x2620, 0x10a, 0x80bc, 0, 0x10]],
    ),
    provider(
        "https://protected.canadianshield.cira.ca/dns-query",
        &[[149, 112, 121, 20], [149, 112, 122, 20]],
        &[[0x2620, 0x10a, 0x80bb, 0, 0x20], [0x2620, 0x10a, 0x80bc, 0, 0x20]],
    ),
    provider(
        "https://family.canadianshield.cira.ca/dns-query",
        &[[149, 112, 121, 30], [149, 112, 122, 30]],
        &[[0x2620, 0x10a, 0x80bb, 0, 0x30], [0x2620, 0x10a, 0x80bc, 0, 0x30]],
    ),
    // Addresses to which no plain DNS belongs: a premium service, named by URL only.
    provider(
        CONTROLD,
        &[[76, 76, 2, 22], [76, 76, 10, 22]],
        &[[0x2606, 0x1a40, 0, 0, 0x22], [0x2606, 0x1a40, 1, 0, 0x22]],
    ),
];

/// Answers nothing on port 53.
const WIKIMEDIA: [u8; 4] = [185, 71, 138, 138];
/// A profile's name follows.
const NEXTDNS: &str = "https://dns.nextdns.io/";
/// A profile's name follows.
const CONTROLD: &str = "https://dns.controld.com/";
/// Most bytes that a profile has in an address.
const PROFILE: usize = 12;

/// What we know of a resolver.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoint {
    /// Where its HTTPS is.
    pub url: Box<str>,
    /// Plain DNS is not to be tried.
    pub https_only: bool,
}

fn v6([a, b, c, y, z]: [u16; 5]) -> Ipv6Addr {
    Ipv6Addr::new(a, b, c, 0, 0, 0, y, z)
}

fn has(one: &Provider, address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => one.v4.contains(&address.octets()),
        IpAddr::V6(address) => one.v6.iter().any(|known| v6(*known) == address),
    }
}

/// Whether an address lies in one of the two ranges of NextDNS whose low 12 bytes name a profile.
fn is_nextdns(address: Ipv6Addr) -> bool {
    matches!(address.segments(), [0x2a07, 0xa8c0 | 0xa8c1, third, ..] if third & 0x8000 == 0)
}

/// The HTTPS of the resolver at an address, when it is one of those known.
pub fn by_address(address: IpAddr) -> Option<Endpoint> {
    if let Some(one) = KNOWN.iter().find(|one| has(one, address)).filter(|one| one.url != CONTROLD) {
        return Some(Endpoint { url: one.url.into(), https_only: false });
    }
    let IpAddr::V6(address) = address else { return None };
    is_nextdns(address).then(|| {
        let low = address.octets();
        let mut url = NEXTDNS.to_owned();
        for byte in low.iter().skip(16 - PROFILE).skip_while(|byte| **byte == 0) {
            for nibble in [byte >> 4, byte & 15] {
                url.extend(char::from_digit(nibble.into(), 16));
            }
        }
        Endpoint { url: url.into(), https_only: true }
    })
}

/// Whether a machine's own resolver could do nothing with this address, because only HTTPS is spoken there.
pub fn is_https_only(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => {
            let octets = address.octets();
            matches!(octets, [45, 90, 28 | 30, _] | [76, 76, 2 | 10, 22]) || octets == WIKIMEDIA
        }
        IpAddr::V6(address) => {
            is_nextdns(address)
                || address == v6([0x2001, 0x67c, 0x930, 0, 1])
                || matches!(address.segments(), [0x2606, 0x1a40, 0 | 1, ..])
        }
    }
}

/// The addresses at which the HTTPS of `url` is dialled; `None` for one that we do not know.
pub fn addresses(url: &str) -> Option<Vec<IpAddr>> {
    if let Some(rest) = url.strip_prefix(NEXTDNS) {
        return nextdns(rest);
    }
    let one =
        KNOWN.iter().find(|one| one.url == url || (one.url == CONTROLD && url.starts_with(CONTROLD)))?;
    let v4 = one.v4.iter().map(|address| Ipv4Addr::from(*address).into());
    Some(v4.chain(one.v6.iter().map(|address| v6(*address).into())).collect())
}

/// The addresses of NextDNS for a profile, which is the path's first part.
fn nextdns(path: &str) -> Option<Vec<IpAddr>> {
    let profile = path.split(['/', '?']).next()?.as_bytes();
    if profile.is_empty() || profile.len() % 2 != 0 || profile.len() > 2 * PROFILE {
        return None;
    }
    let digit = |byte: u8| char::from(byte).to_digit(16).map(|digit| digit as u8);
    let mut low = [0; 16];
    for (place, pair) in low.iter_mut().rev().zip(profile.rchunks_exact(2)) {
        let [high, least] = *pair else { return None };
        *place = digit(high)? << 4 | digit(least)?;
    }
    let prefix = |second: u16| {
        let base = Ipv6Addr::new(0x2a07, second, 0, 0, 0, 0, 0, 0);
        IpAddr::from(Ipv6Addr::from_bits(base.to_bits() | u128::from_be_bytes(low)))
    };
    Some(vec![[45, 90, 28, 0].into(), [45, 90, 30, 0].into(), prefix(0xa8c0), prefix(0xa8c1)])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().expect("an address")
    }

    #[test]
    fn there_and_back() {
        for (address, url) in [
            ("1.1.1.1", "https://cloudflare-dns.com/dns-query"),
            ("2606:4700:4700::1112", "https://security.cloudflare-dns.com/dns-query"),
            ("8.8.4.4", "https://dns.google/dns-query"),
            ("2620:fe::fe:11", "https://dns11.quad9.net/dns-query"),
            ("2a07:e340::9", "https://all.dns.mullvad.net/dns-query"),
            ("2606:1a40:1::4", "https://freedns.controld.com/family"),
            ("2620:10a:80bc::30", "https://family.canadianshield.cira.ca/dns-query"),
        ] {
            let known = by_address(ip(address)).expect("known");
            assert_eq!((&*known.url, known.https_only), (url, false));
            assert!(addresses(url).expect("known").contains(&ip(address)), "{url}");
        }
        for address in
            ["1.1.1.4", "10.0.0.1", "2606:4700:4700::1", "76.76.2.22", "45.90.28.5", "2a07:a8c0:8000::1"]
        {
            assert_eq!(by_address(ip(address)), None, "{address}");
        }
        assert_eq!(addresses("https://example.com/dns-query"), None);
    }

    #[test]
    fn profiles() {
        let known = by_address(ip("2a07:a8c0::c3:a884")).expect("known");
        assert_eq!((&*known.url, known.https_only), ("https://dns.nextdns.io/c3a884", true));
        let dialled = ["45.90.28.0", "45.90.30.0", "2a07:a8c0::c3:a884", "2a07:a8c1::c3:a884"].map(ip);
        assert_eq!(addresses("https://dns.nextdns.io/c3a884/phone?x"), Some(dialled.into()));
        for bad in ["", "c3a88", "zz", "0011223344556677889900112233"] {
            assert_eq!(addresses(&format!("{NEXTDNS}{bad}")), None, "{bad}");
        }
        assert_eq!(addresses("https://dns.controld.com/abc").map(|all| all.len()), Some(4));
    }

    #[test]
    fn some_speak_nothing_else() {
        for (address, only) in [
            ("45.90.28.1", true),
            ("45.90.29.1", false),
            ("185.71.138.138", true),
            ("76.76.2.22", true),
            ("76.76.2.2", false),
            ("2606:1a40:1::22", true),
            ("2a07:a8c1::1", true),
            ("8.8.8.8", false),
        ] {
            assert_eq!(is_https_only(ip(address)), only, "{address}");
        }
    }
}
