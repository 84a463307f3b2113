//! Whom to ask: one resolver as control names it.

use crate::is_service;
use netmap::DnsResolver;
use std::net::{IpAddr, SocketAddr};

/// Port of plain DNS.
pub const PORT: u16 = 53;

/// A resolver.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Upstream {
    /// Plain DNS, by UDP and TCP.
    Plain(SocketAddr),
    /// DNS over HTTP at an exit node's PeerAPI; the URL.
    PeerApi(Box<str>),
    /// DNS over HTTPS at a provider that we know ([`crate::providers`]); the URL.
    Https(Box<str>),
    /// Something that we do not speak. It is kept, because a route to it is still a route: its names are not asked
    /// of anybody else.
    Unknown(Box<str>),
}

impl Upstream {
    /// What an address of control's means (protocol reference §9.3): IP, IP:port, or a URL.
    pub fn parse(text: &str) -> Self {
        if let Ok(ip) = text.parse::<IpAddr>() {
            Self::Plain(SocketAddr::new(ip, PORT))
        } else if let Ok(address) = text.parse() {
            Self::Plain(address)
        } else if text.starts_with("http://") {
            Self::PeerApi(text.into())
        } else if text.starts_with("https://") && crate::providers::addresses(text).is_some() {
            Self::Https(text.into())
        } else {
            Self::Unknown(text.into())
        }
    }

    /// All of a list that are not ourselves.
    pub fn list<'a>(resolvers: impl IntoIterator<Item = &'a DnsResolver>) -> Box<[Self]> {
        resolvers
            .into_iter()
            .map(|resolver| Self::parse(&resolver.addr))
            .filter(|one| !one.is_ourselves())
            .collect()
    }

    /// Whether asking it would be asking ourselves.
    pub fn is_ourselves(&self) -> bool {
        matches!(self, Self::Plain(address) if is_service(address.ip()))
    }

    /// Its address, when it is one that a machine's own resolver can be told.
    pub fn plain_ip(&self) -> Option<IpAddr> {
        match self {
            Self::Plain(address) if address.port() == PORT => Some(address.ip()),
            _ => None,
        }
    }
}

/// As control writes it.
impl std::fmt::Display for Upstream {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Plain(address) if *address == SocketAddr::new(address.ip(), PORT) => {
                write!(f, "{}", address.ip())
            }
            // Another port, or one link alone.
            Self::Plain(address) => write!(f, "{address}"),
            Self::PeerApi(url) | Self::Https(url) | Self::Unknown(url) => f.write_str(url),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_of_every_form() {
        for (text, plain) in [
            ("1.2.3.4", Some("1.2.3.4:53")),
            ("1.2.3.4:5353", Some("1.2.3.4:5353")),
            ("2001:db8::1", Some("[2001:db8::1]:53")),
            ("[2001:db8::1]:5353", Some("[2001:db8::1]:5353")),
            ("tls://1.2.3.4", None),
            ("https://dns.google/dns-query", None),
            ("", None),
            ("dns.google", None),
        ] {
            let upstream = Upstream::parse(text);
            let address = plain.map(|text| Upstream::Plain(text.parse().expect("an address")));
            assert_eq!(matches!(upstream, Upstream::Plain(_)).then(|| upstream.clone()), address, "{text}");
            assert_eq!(upstream.to_string(), text);
        }
        assert!(matches!(Upstream::parse("https://dns.google/dns-query"), Upstream::Https(_)));
        assert!(matches!(Upstream::parse("https://example.com/dns-query"), Upstream::Unknown(_)));
        assert!(matches!(Upstream::parse("http://100.64.0.3:4/dns-query"), Upstream::PeerApi(_)));
    }

    #[test]
    fn we_are_no_resolver_of_ours() {
        let list = [
            "100.100.100.100",
            "fd7a:115c:a1e0::53",
            "::ffff:100.100.100.100",
            "100.100.100.100:5353",
            "9.9.9.9",
        ]
        .map(|addr| DnsResolver { addr: addr.into(), ..DnsResolver::default() });
        assert_eq!(Upstream::list(&list), [Upstream::parse("9.9.9.9")].into());
    }
}
