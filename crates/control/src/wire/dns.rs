//! DNS settings.

use super::lenient::null;
use serde::Deserialize;
use std::collections::BTreeMap;

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct DnsConfig {
    #[serde(default, deserialize_with = "null")]
    resolvers: Vec<Option<Resolver>>,
    #[serde(default, deserialize_with = "null")]
    routes: BTreeMap<Box<str>, Option<Vec<Option<Resolver>>>>,
    #[serde(default, deserialize_with = "null")]
    fallback_resolvers: Vec<Option<Resolver>>,
    #[serde(default, deserialize_with = "null")]
    domains: Vec<Box<str>>,
    #[serde(default, deserialize_with = "null")]
    proxied: bool,
    #[serde(default, deserialize_with = "null")]
    nameservers: Vec<Box<str>>,
    #[serde(default, deserialize_with = "null")]
    cert_domains: Vec<Box<str>>,
    #[serde(default, deserialize_with = "null")]
    extra_records: Vec<Record>,
    #[serde(default, deserialize_with = "null")]
    exit_node_filtered_set: Vec<Box<str>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Resolver {
    #[serde(default, deserialize_with = "null")]
    addr: Box<str>,
    #[serde(default, deserialize_with = "null")]
    bootstrap_resolution: Vec<Box<str>>,
    #[serde(default, deserialize_with = "null")]
    use_with_exit_node: bool,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Record {
    #[serde(default, deserialize_with = "null")]
    name: Box<str>,
    #[serde(rename = "Type", default, deserialize_with = "null")]
    kind: Box<str>,
    #[serde(default, deserialize_with = "null")]
    value: Box<str>,
}

fn resolvers(list: Vec<Option<Resolver>>) -> Box<[netmap::DnsResolver]> {
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
        let routes =
            dns.routes.into_iter().map(|(suffix, list)| (suffix, resolvers(list.unwrap_or_default())));
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
        let dns: DnsConfig = serde_json::from_str(
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
