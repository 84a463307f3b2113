//! From netmap and settings to the whole configuration of DNS.

use crate::backend::convert::magic_dns_suffix;
use crate::backend::{Backend, Moment};
use crate::parts::{peerapiclient, useexitnode};
use dns::hosts::Builder;
use dns::wanted::{self, Exit, Facts};
use dns::{Config, Hosts};
use netmap::NetMap;
use std::net::IpAddr;

/// Nodes with both kinds of addresses show both, with this attribute of ours.
const NODES_AAAA: &str = "magicdns-aaaa";
/// Every name below the node's has its addresses.
const SUBDOMAINS: &str = "dns-subdomain-resolve";
/// Forwarded queries are not repeated by TCP.
const NO_TCP: &str = "dns-forwarder-disable-tcp-retries";

/// What follows for DNS from all that the backend knows.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Wanted {
    pub(super) config: Config,
    /// TCP to upstreams is allowed.
    pub(super) tcp: bool,
    /// What exit-node clients are not answered, as control writes it.
    pub(super) excepted: Box<[Box<str>]>,
}

/// All of it; nothing while no packets may pass.
pub(super) fn wanted(backend: &Backend, now: Moment) -> Wanted {
    let Some(map) = backend.netmap().filter(|_| backend.is_active()) else {
        return Wanted { tcp: true, ..Wanted::default() };
    };
    let node = &map.self_node;
    let prefs = backend.prefs();
    let addresses: Vec<IpAddr> = node.ips().collect();
    let carrier = map.peers().find(|peer| useexitnode::carries(prefs, peer));
    let exit = carrier.and_then(|peer| peerapiclient::resolver(peer, &addresses));
    // Those of one that speaks more than WireGuard are nobody's business.
    let named = carrier.filter(|peer| peer.wireguard_only);
    let config = wanted::config(Facts {
        dns: &map.dns,
        nodes: nodes(map),
        addresses: &addresses,
        suffix: magic_dns_suffix(&node.name),
        accept: prefs.corp_dns,
        expired: node.is_expired(now.wall),
        nodes_aaaa: node.has_cap(NODES_AAAA),
        exit: match &exit {
            Some(url) => Exit::Proxy(url),
            None if useexitnode::in_use(prefs) => {
                Exit::Silent(named.map_or(&[], |peer| &peer.rare().exit_node_dns))
            }
            None => Exit::None,
        },
    });
    Wanted { config, tcp: !node.has_cap(NO_TCP), excepted: map.dns.exit_node_filtered_set.clone() }
}

/// Every node that has a name, ourselves among them.
fn nodes(map: &NetMap) -> Hosts {
    let all = || std::iter::once(&map.self_node).chain(map.peers());
    let bytes = all().map(|node| node.name.len()).sum();
    let mut table = Builder::with_room(all().count(), bytes, all().map(|node| node.addresses.len()).sum());
    for node in all() {
        if !node.name.is_empty() {
            table.add(&node.name, node.has_cap(SUBDOMAINS), node.ips());
        }
    }
    table.finish()
}
