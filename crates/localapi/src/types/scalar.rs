//! An address that may be empty.

use gojson::{Text, Zero, text};
use std::net::IpAddr;

/// Go's `netip.Addr`: an IP address, or nothing, written as an empty string.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Addr(pub Option<IpAddr>);

impl Zero for Addr {
    fn zero() -> Self {
        Self(None)
    }
}

impl Text for Addr {
    fn parse_text(text: &str) -> Result<Self, String> {
        if text.is_empty() { Ok(Self(None)) } else { IpAddr::parse_text(text).map(|ip| Self(Some(ip))) }
    }
    fn to_text(&self) -> String {
        self.0.map(|ip| ip.to_string()).unwrap_or_default()
    }
}

text!(Addr);
