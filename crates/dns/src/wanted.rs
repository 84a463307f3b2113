//! From what control says and the user wants to a [`Config`] (protocol reference §9.4). Pure.

use crate::config::Config;
use crate::hosts::{Builder, Hosts};
use crate::name::canonical;
use crate::reverse;
use crate::upstream::Upstream;
use netmap::{DnsConfig, DnsResolver};
use std::net::IpAddr;

/// The exit node in use.
#[derive(Debug, Clone, Copy, Default)]
pub enum Exit<'a> {
    /// None.
    #[default]
    None,
    /// One that answers DNS for us, at this URL of its PeerAPI.
    Proxy(&'a str),
    /// One that does not; a WireGuard-only one may name resolvers.
    Silent(&'a [DnsResolver]),
}

/// All that a configuration follows from.
#[derive(Debug)]
pub struct Facts<'a> {
    /// What control says.
    pub dns: &'a DnsConfig,
    /// The nodes, ourselves among them ([`Builder`]).
    pub nodes: Hosts,
    /// Our own addresses.
    pub addresses: &'a [IpAddr],
    /// The tailnet's suffix; empty when we have no name.
    pub suffix: &'a str,
    /// Preference `accept-dns`.
    pub accept: bool,
    /// Our key has expired, so that the tailnet's resolvers cannot be reached.
    pub expired: bool,
    /// We have the attribute `magicdns-aaaa`.
    pub nodes_aaaa: bool,
    /// The exit node.
    pub exit: Exit<'a>,
}

/// The configuration.
pub fn config(facts: Facts<'_>) -> Config {
    let Facts { dns, nodes, addresses, suffix, accept, expired, nodes_aaaa, exit } = facts;
    if expired {
        return Config::default();
    }
    let suffix = canonical(suffix).filter(|suffix| !suffix.is_empty());
    let config = Config {
        records: records(dns),
        nodes_unrouted: accept && !dns.proxied && suffix.is_some(),
        nodes,
        // Names of one label are answered whether or not the machine asks us.
        magic: suffix.filter(|_| dns.proxied),
        only_v6: !addresses.is_empty() && addresses.iter().all(IpAddr::is_ipv6),
        nodes_aaaa,
        ..Config::default()
    };
    if !accept {
        return config;
    }
    let mut routes: Vec<(Box<str>, Box<[Upstream]>)> = Vec::new();
    let reverse = config.magic.is_some();
    routes.extend(config.magic.iter().map(|suffix| (suffix.clone(), Box::default())));
    let through_exit = matches!(exit, Exit::Proxy(_));
    for (suffix, resolvers) in &dns.routes {
        let Some(suffix) = canonical(suffix) else { continue };
        // The sixty-five reverse zones that come with MagicDNS are known without a list.
        if resolvers.is_empty() && reverse && reverse::zone(suffix.as_bytes()) == Some(suffix.as_bytes()) {
            continue;
        }
        let kept = resolvers.iter().filter(|one| !through_exit || one.use_with_exit_node);
        let upstreams = Upstream::list(kept);
        if resolvers.is_empty() || !upstreams.is_empty() {
            set(&mut routes, suffix, upstreams);
        } else if !through_exit {
            // We alone were named for it: asking ourselves is a loop, asking others a leak.
            set(&mut routes, suffix, Box::default());
        }
    }
    Config {
        reverse,
        routes,
        default: default(dns, exit),
        search: dns
            .domains
            .iter()
            .filter_map(|domain| canonical(domain))
            .filter(|one| !one.is_empty())
            .collect(),
        ..config
    }
}

/// The later of two entries for one suffix counts.
fn set(routes: &mut Vec<(Box<str>, Box<[Upstream]>)>, suffix: Box<str>, upstreams: Box<[Upstream]>) {
    match routes.iter_mut().find(|(known, _)| *known == suffix) {
        Some((_, known)) => *known = upstreams,
        None => routes.push((suffix, upstreams)),
    }
}

/// Whom to ask for everything else.
fn default(dns: &DnsConfig, exit: Exit<'_>) -> Box<[Upstream]> {
    let chosen = match exit {
        Exit::Proxy(url) => {
            let own = Upstream::list(dns.resolvers.iter().filter(|one| one.use_with_exit_node));
            if own.is_empty() { [Upstream::PeerApi(url.into())].into() } else { own }
        }
        Exit::Silent(resolvers) if dns.resolvers.is_empty() => Upstream::list(resolvers),
        Exit::None | Exit::Silent(_) => Upstream::list(&dns.resolvers),
    };
    // The resolvers of the local network cannot be reached any more when all traffic leaves elsewhere.
    if chosen.is_empty() && matches!(exit, Exit::Silent(_)) {
        return Upstream::list(&dns.fallback_resolvers);
    }
    chosen
}

/// Addresses that control adds; the kind follows from the value.
fn records(dns: &DnsConfig) -> Hosts {
    let mut table = Builder::default();
    for record in &dns.extra_records {
        if matches!(&*record.kind, "" | "A" | "AAAA")
            && let Ok(address) = record.value.parse()
        {
            table.add(&record.name, false, std::iter::once(address));
        }
    }
    table.finish()
}

/// Whether an exit node may answer a name to its clients: `ExitNodeFilteredSet` has names, and suffixes with a dot in
/// front.
pub fn is_filtered(set: &[Box<str>], name: &[u8]) -> bool {
    set.iter().any(|entry| {
        let (entry, below) = entry.strip_prefix('.').map_or((&**entry, false), |suffix| (suffix, true));
        match canonical(entry).filter(|entry| !entry.is_empty()) {
            Some(entry) if below => name != entry.as_bytes() && crate::name::is_below(name, entry.as_bytes()),
            Some(entry) => name == entry.as_bytes(),
            None => false,
        }
    })
}
