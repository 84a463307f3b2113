//! A name server of the machine as its resolv.conf names it: an address, and with it the link if it is known on that alone.

use crate::upstream::PORT;
use std::net::{IpAddr, SocketAddr, SocketAddrV6};

/// A name server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Server {
    at: SocketAddr,
    /// As the file has it, a name mostly; empty for an address that is known everywhere.
    link: Box<str>,
}

impl Server {
    /// Reads `ADDRESS` or `ADDRESS%LINK` (RFC 4007 §11). `number` knows the number of a link by its name; `None` for what is
    /// no address, and for a link that is not there.
    pub fn parse(text: &str, number: impl Fn(&str) -> Option<u32>) -> Option<Self> {
        let Some((ip, link)) = text.split_once('%') else {
            return text.parse::<IpAddr>().ok().map(Self::from);
        };
        let ip = ip.parse().ok()?;
        let number = number(link).or_else(|| link.parse().ok()).filter(|number| *number > 0)?;
        Some(Self { at: SocketAddrV6::new(ip, PORT, 0, number).into(), link: link.into() })
    }

    /// Where it is asked.
    pub fn at(&self) -> SocketAddr {
        self.at
    }

    /// Its address alone.
    pub fn ip(&self) -> IpAddr {
        self.at.ip()
    }
}

impl From<IpAddr> for Server {
    fn from(ip: IpAddr) -> Self {
        Self { at: SocketAddr::new(ip, PORT), link: Box::default() }
    }
}

/// As the file has it.
impl std::fmt::Display for Server {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &*self.link {
            "" => write!(f, "{}", self.ip()),
            link => write!(f, "{}%{link}", self.ip()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_with_and_without_a_link() {
        let number = |link: &str| (link == "eth0").then_some(7);
        for (text, at) in [
            ("192.0.2.1", Some("192.0.2.1:53")),
            ("2001:db8::1", Some("[2001:db8::1]:53")),
            ("fe80::1", Some("[fe80::1]:53")),
            ("fe80::1%eth0", Some("[fe80::1%7]:53")),
            ("fe80::1%3", Some("[fe80::1%3]:53")),
            ("fe80::1%eth1", None),
            ("fe80::1%0", None),
            ("fe80::1%", None),
            ("fe80::1%%eth0", None),
            ("192.0.2.1%eth0", None),
            ("%eth0", None),
            ("", None),
        ] {
            let server = Server::parse(text, number);
            let at: Option<SocketAddr> = at.map(|at| at.parse().expect("an address"));
            assert_eq!(server.as_ref().map(Server::at), at, "{text}");
            assert!(server.is_none_or(|server| server.to_string() == text), "{text}");
        }
    }
}
