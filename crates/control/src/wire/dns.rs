//! DNS settings.

use gojson::Pairs;

gojson::object! {
    read
    pub(crate) struct DnsConfig {
        resolvers: Vec<Option<Resolver>> => "Resolvers",
        routes: Pairs<Box<str>, Option<Vec<Option<Resolver>>>> => "Routes",
        fallback_resolvers: Vec<Option<Resolver>> => "FallbackResolvers",
        domains: Vec<Box<str>> => "Domains",
        proxied: bool => "Proxied",
        nameservers: Vec<Box<str>> => "Nameservers",
        cert_domains: Vec<Box<str>> => "CertDomains",
        extra_records: Vec<Record> => "ExtraRecords",
        exit_node_filtered_set: Vec<Box<str>> => "ExitNodeFilteredSet",
    }
}

gojson::object! {
    read
    pub(crate) struct Resolver {
        addr: Box<str> => "Addr",
        bootstrap_resolution: Vec<Box<str>> => "BootstrapResolution",
        use_with_exit_node: bool => "UseWithExitNode",
    }
}

gojson::object! {
    read
    struct Record {
        name: Box<str> => "Name",
        kind: Box<str> => "Type",
        value: Box<str> => "Value",
    }
}

pub(super) fn resolvers(list: Vec<Option<Resolver>>) -> Box<[netmap::DnsResolver]> {
    list.into_iter()
        .flatten()
        .map(|r| netmap::DnsResolver {
            addr: r.addr,
            bootstrap_resolution: r.bootstrap_resolution.into(),
            use_with_exit_node: r.use_with_exit_node,
        })
        .collect()
}

impl From<DnsConfig> for netmap::DnsConfig {
    fn from(dns: DnsConfig) -> Self {
        let routes = dns.routes.sorted().into_iter();
        let routes = routes.map(|(suffix, list)| (suffix, resolvers(list.unwrap_or_default())));
        Self {
            resolvers: resolvers(dns.resolvers),
            routes: routes.collect(),
            fallback_resolvers: resolvers(dns.fallback_resolvers),
            domains: dns.domains.into(),
            proxied: dns.proxied,
            nameservers: dns.nameservers.into(),
            cert_domains: dns.cert_domains.into(),
            extra_records: dns
                .extra_records
                .into_iter()
                .map(|r| netmap::DnsRecord { name: r.name, kind: r.kind, value: r.value })
                .collect(),
            exit_node_filtered_set: dns.exit_node_filtered_set.into(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn config() {
        let dns: DnsConfig = gojson::from_str(
            r#"{"Resolvers":[{"Addr":"1.1.1.1"},null],"Routes":{"a.example":[{"Addr":"10.0.0.1","UseWithExitNode":true}],
                "b.example":null},"Domains":["c.example"],"Proxied":true,"ExtraRecords":[{"Name":"x","Value":"1.2.3.4"}],
                "CertDomains":null}"#,
        )
        .expect("dns");
        let dns = netmap::DnsConfig::from(dns);
        assert_eq!((dns.resolvers.len(), dns.proxied, &*dns.domains[0]), (1, true, "c.example"));
        assert!(dns.routes["a.example"][0].use_with_exit_node);
        assert!(dns.routes["b.example"].is_empty());
        assert_eq!(&*dns.extra_records[0].kind, "");
    }
}
