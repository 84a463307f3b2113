//! DNS settings as control sends them.

use crate::Map;
use std::net::{Ipv4Addr, Ipv6Addr};

/// Where every node reaches its own resolver, by IPv4 (protocol reference §9.1).
pub const SERVICE_V4: Ipv4Addr = Ipv4Addr::new(100, 100, 100, 100);
/// And by IPv6.
pub const SERVICE_V6: Ipv6Addr = Ipv6Addr::new(0xfd7a, 0x115c, 0xa1e0, 0, 0, 0, 0, 0x53);

/// The whole DNS configuration of a tailnet; a new one replaces the old one whole.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct DnsConfig {
    /// Default resolvers.
    pub resolvers: Box<[DnsResolver]>,
    /// Suffix to resolvers; an empty list means that we answer it ourselves.
    pub routes: Map<Box<str>, Box<[DnsResolver]>>,
    /// Resolvers used only when nothing else is set.
    pub fallback_resolvers: Box<[DnsResolver]>,
    /// Search domains.
    pub domains: Box<[Box<str>]>,
    /// MagicDNS is on.
    pub proxied: bool,
    /// Legacy resolver addresses.
    pub nameservers: Box<[Box<str>]>,
    /// Names for which TLS certificates may be had.
    pub cert_domains: Box<[Box<str>]>,
    /// Additional records.
    pub extra_records: Box<[DnsRecord]>,
    /// Names that an exit node must not answer.
    pub exit_node_filtered_set: Box<[Box<str>]>,
}

/// One resolver.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct DnsResolver {
    /// IP, IP:port, `https://…` or `tls://…`.
    pub addr: Box<str>,
    /// Addresses by which a resolver named by host name is found.
    pub bootstrap_resolution: Box<[Box<str>]>,
    /// Keep using it while an exit node is in use.
    pub use_with_exit_node: bool,
}

/// One additional record.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct DnsRecord {
    /// Fully qualified name.
    pub name: Box<str>,
    /// `A`, `AAAA`, or empty to tell by the value.
    pub kind: Box<str>,
    /// The address.
    pub value: Box<str>,
}
