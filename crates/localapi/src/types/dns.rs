//! DNS: what control asks for, what the system has, what a query gave.

use gojson::Map;
use std::net::IpAddr;

go_object! {
    /// A resolver to forward to.
    pub struct Resolver {
        /// `IP`, `IP:port`, `https://…`, `tls://…` or `http://ip:port/dns-query`.
        pub addr: String => "Addr" omit,
        pub bootstrap_resolution: Vec<IpAddr> => "BootstrapResolution" omit,
        pub use_with_exit_node: bool => "UseWithExitNode" omit,
    }
}

go_object! {
    /// A record that the tailnet adds.
    pub struct DnsRecord {
        pub name: String => "Name",
        /// Empty = address by the form of the value.
        pub kind: String => "Type" omit,
        pub value: String => "Value",
    }
}

go_object! {
    /// The tailnet's DNS settings (Go's `tailcfg.DNSConfig`).
    pub struct DnsConfig {
        pub resolvers: Vec<Resolver> => "Resolvers" omit,
        /// Suffix to resolvers; none = answered by MagicDNS itself.
        pub routes: Map<String, Option<Vec<Resolver>>> => "Routes" omit,
        pub fallback_resolvers: Vec<Resolver> => "FallbackResolvers" omit,
        /// Search domains.
        pub domains: Vec<String> => "Domains" omit,
        /// MagicDNS is on.
        pub proxied: bool => "Proxied" omit,
        pub nameservers: Vec<IpAddr> => "Nameservers" omit,
        pub cert_domains: Vec<String> => "CertDomains" omit,
        pub extra_records: Vec<DnsRecord> => "ExtraRecords" omit,
        pub exit_node_filtered_set: Vec<String> => "ExitNodeFilteredSet" omit,
        pub temp_corp_issue13969: String => "TempCorpIssue13969" omit,
    }
}

go_object! {
    /// The system's DNS settings; names without trailing dot.
    pub struct DnsOsConfig {
        pub nameservers: Option<Vec<String>> => "Nameservers",
        pub search_domains: Option<Vec<String>> => "SearchDomains",
        pub match_domains: Option<Vec<String>> => "MatchDomains",
    }
}

go_object! {
    /// What a DNS query gave.
    pub struct DnsQueryResponse {
        /// The DNS message in Base64.
        pub bytes: Option<String> => "Bytes",
        pub resolvers: Vec<Resolver> => "Resolvers",
    }
}
