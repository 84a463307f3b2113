//! From the values that control decided to the JSON types of the LocalAPI.

use crate::parts::health::Unhealthy;
use ipnet::IpNet;
use localapi::types as api;
use netmap::{FamilyAddr, Timestamp};

/// A moment.
pub fn time(at: Timestamp) -> api::Time {
    at.into()
}

fn strings(list: &[Box<str>]) -> Vec<String> {
    list.iter().map(|s| s.to_string()).collect()
}

fn addrs(list: &[Box<str>]) -> Vec<std::net::IpAddr> {
    list.iter().filter_map(|s| s.parse().ok()).collect()
}

/// A capability map: names, and the values of those that have any.
pub fn cap_map(map: &netmap::CapMap) -> api::CapMap {
    let values = |values: &[Box<str>]| {
        (!values.is_empty()).then(|| values.iter().filter_map(|v| api::Raw::new(v.to_string())).collect())
    };
    map.iter().map(|(name, list)| (name.to_string(), values(list))).collect()
}

/// A user.
pub fn user(user: &netmap::UserProfile) -> api::UserProfile {
    api::UserProfile {
        id: user.id.0,
        login_name: user.login_name.to_string(),
        display_name: user.display_name.to_string(),
        profile_pic_url: user.profile_pic_url.to_string(),
        groups: strings(&user.groups),
    }
}

/// Where a node stands.
pub fn location(place: &netmap::Location) -> api::Location {
    api::Location {
        country: place.country.to_string(),
        country_code: place.country_code.to_string(),
        city: place.city.to_string(),
        city_code: place.city_code.to_string(),
        latitude: place.latitude,
        longitude: place.longitude,
        priority: i64::from(place.priority),
    }
}

/// A node, as whois and the bus show it.
pub fn node(node: &netmap::Node) -> api::Node {
    let (home, rare) = (i64::from(node.home_derp.0), node.rare());
    let hostname = node.hostinfo.hostname.to_string();
    let computed = short_name(&node.name, &hostname);
    let with_host = if hostname.is_empty() || hostname.eq_ignore_ascii_case(&computed) {
        computed.clone()
    } else {
        format!("{computed} ({hostname})")
    };
    api::Node {
        id: node.id.0,
        stable_id: node.stable_id.to_string(),
        name: node.name.to_string(),
        user: node.user.0,
        sharer: rare.sharer.0,
        key: node.key,
        key_expiry: time(node.key_expiry),
        machine: node.machine,
        disco_key: node.disco_key,
        addresses: node.addresses.to_vec(),
        allowed_ips: Some(node.allowed_ips.to_vec()),
        endpoints: node.endpoints.iter().collect(),
        home_derp: home,
        hostinfo: Some(Box::new(hostinfo(&node.hostinfo))),
        created: time(node.created),
        cap: i64::from(node.cap),
        tags: strings(&rare.tags),
        primary_routes: rare.primary_routes.to_vec(),
        last_seen: (!node.last_seen.is_zero()).then(|| time(node.last_seen)),
        online: node.online,
        machine_authorized: node.machine_authorized,
        cap_map: cap_map(&rare.cap_map),
        computed_name: computed,
        computed_name_with_host: with_host,
        expired: node.expired,
        masq_v4: rare.masq_v4.map(Into::into),
        masq_v6: rare.masq_v6.map(Into::into),
        is_wireguard_only: node.wireguard_only,
        is_jailed: node.jailed,
        exit_node_dns_resolvers: rare.exit_node_dns.iter().map(resolver).collect(),
        ..api::Node::default()
    }
}

/// A peer, likewise: expired also if the clock says so before control does.
pub fn peer(peer: &netmap::Node, now: Timestamp) -> api::Node {
    api::Node { expired: peer.is_expired(now), ..node(peer) }
}

fn hostinfo(host: &netmap::Hostinfo) -> api::Hostinfo {
    let service = |s: &netmap::Service| api::Service {
        proto: s.proto().to_owned(),
        port: s.port,
        description: s.description().to_owned(),
    };
    let rest = host.rest();
    api::Hostinfo {
        ipn_version: host.ipn_version().to_owned(),
        os: host.os().to_owned(),
        os_version: host.os_version().to_owned(),
        hostname: host.hostname.to_string(),
        sharee_node: rest.is_some_and(|rest| rest.sharee_node),
        routable_ips: rest.map(|rest| rest.routable_ips.to_vec()).unwrap_or_default(),
        request_tags: rest.map(|rest| strings(&rest.request_tags)).unwrap_or_default(),
        services: host.services.iter().map(service).collect(),
        location: rest.and_then(|rest| rest.location.as_ref()).map(location),
        ..api::Hostinfo::default()
    }
}

/// A patch of a peer, as the bus shows it.
pub fn patch(patch: &netmap::PeerPatch) -> api::PeerChange {
    api::PeerChange {
        node_id: patch.id.0,
        derp_region: patch.home_derp.map_or(0, |r| i64::from(r.0)),
        cap: patch.cap.map_or(0, i64::from),
        cap_map: patch.cap_map.as_ref().map(cap_map).unwrap_or_default(),
        endpoints: patch.endpoints.iter().flat_map(netmap::Endpoints::iter).collect(),
        key: patch.key,
        key_signature: String::new(),
        disco_key: patch.disco_key,
        online: patch.online,
        last_seen: patch.last_seen.map(time),
        key_expiry: patch.key_expiry.map(time),
    }
}

/// The relays.
pub fn derp_map(map: &netmap::DerpMap) -> api::DerpMap {
    let score = &map.region_score;
    api::DerpMap {
        home_params: (!score.is_empty()).then(|| api::DerpHomeParams {
            region_score: score.iter().map(|(id, score)| (i64::from(id.0), *score)).collect(),
        }),
        regions: map.regions.iter().map(|(id, region)| (i64::from(id.0), derp_region(region))).collect(),
        omit_default_regions: map.omit_default_regions,
    }
}

fn derp_region(region: &netmap::DerpRegion) -> api::DerpRegion {
    let id = i64::from(region.id.0);
    api::DerpRegion {
        region_id: id,
        region_code: region.code.to_string(),
        region_name: region.name.to_string(),
        latitude: region.latitude,
        longitude: region.longitude,
        avoid: region.avoid,
        no_measure_no_home: region.no_measure_no_home,
        nodes: region.nodes.iter().map(|node| derp_node(node, id)).collect(),
    }
}

fn derp_node(node: &netmap::DerpNode, region_id: i64) -> api::DerpNode {
    fn family<A: ToString + Copy>(addr: FamilyAddr<A>) -> String {
        match addr {
            FamilyAddr::Dns => String::new(),
            FamilyAddr::Disabled => "none".to_owned(),
            FamilyAddr::Ip(ip) => ip.to_string(),
        }
    }
    api::DerpNode {
        name: node.name.to_string(),
        region_id,
        host_name: node.host_name.to_string(),
        cert_name: node.cert_name.to_string(),
        ipv4: family(node.ipv4),
        ipv6: family(node.ipv6),
        stun_port: i64::from(node.stun_port),
        stun_only: node.stun_only,
        derp_port: i64::from(node.derp_port),
        insecure_for_tests: node.insecure_for_tests,
        stun_test_ip: node.stun_test_ip.to_string(),
        can_port80: node.can_port_80,
    }
}

/// DNS settings.
pub fn dns_config(dns: &netmap::DnsConfig) -> api::DnsConfig {
    let list = |list: &[netmap::DnsResolver]| -> Vec<api::Resolver> { list.iter().map(resolver).collect() };
    let route = |suffix: &str, resolvers: &[netmap::DnsResolver]| {
        (suffix.to_owned(), (!resolvers.is_empty()).then(|| list(resolvers)))
    };
    api::DnsConfig {
        resolvers: list(&dns.resolvers),
        routes: dns.routes.iter().map(|(suffix, resolvers)| route(suffix, resolvers)).collect(),
        fallback_resolvers: list(&dns.fallback_resolvers),
        domains: strings(&dns.domains),
        proxied: dns.proxied,
        nameservers: addrs(&dns.nameservers),
        cert_domains: strings(&dns.cert_domains),
        extra_records: extra_records(dns),
        exit_node_filtered_set: strings(&dns.exit_node_filtered_set),
        temp_corp_issue13969: String::new(),
    }
}

/// The additional records of the DNS settings.
pub fn extra_records(dns: &netmap::DnsConfig) -> Vec<api::DnsRecord> {
    let record = |r: &netmap::DnsRecord| api::DnsRecord {
        name: r.name.to_string(),
        kind: r.kind.to_string(),
        value: r.value.to_string(),
    };
    dns.extra_records.iter().map(record).collect()
}

fn resolver(resolver: &netmap::DnsResolver) -> api::Resolver {
    api::Resolver {
        addr: resolver.addr.to_string(),
        bootstrap_resolution: addrs(&resolver.bootstrap_resolution),
        use_with_exit_node: resolver.use_with_exit_node,
    }
}

/// What control knows of newer versions.
pub fn client_version(version: &netmap::ClientVersion) -> api::ClientVersion {
    api::ClientVersion {
        running_latest: version.running_latest,
        latest_version: version.latest_version.to_string(),
        urgent_security_update: version.urgent_security_update,
        notify: version.notify,
        notify_url: version.notify_url.to_string(),
        notify_text: version.notify_text.to_string(),
    }
}

/// Everything that is wrong and visible, with what to do about it apart from the texts.
pub fn health(unhealthy: &[Unhealthy]) -> api::HealthState {
    let state = |u: &Unhealthy| api::UnhealthyState {
        warnable_code: u.code.clone(),
        severity: u.severity.text().to_owned(),
        title: u.title.clone(),
        text: u.text.clone(),
        broken_since: Some(time(u.since)),
        args: Default::default(),
        depends_on: u.depends_on.iter().map(|code| (*code).to_owned()).collect(),
        impacts_connectivity: u.impacts_connectivity,
        primary_action: u
            .action
            .as_ref()
            .map(|(url, label)| api::UnhealthyAction { url: url.to_string(), label: label.to_string() }),
        etag: String::new(),
    };
    api::HealthState { warnings: unhealthy.iter().map(|u| (u.code.clone(), state(u))).collect() }
}

/// The MagicDNS suffix of a node's name: what follows the first label, without the trailing dot; all of a name that
/// has but one label.
pub fn magic_dns_suffix(name: &str) -> &str {
    let name = name.trim_matches('.');
    name.split_once('.').map_or(name, |(_, suffix)| suffix)
}

/// The first label of a MagicDNS name, or the host name of a node without one.
pub fn short_name(name: &str, hostname: &str) -> String {
    match name.split('.').next() {
        Some(label) if !label.is_empty() => label.to_owned(),
        _ => hostname.to_owned(),
    }
}

/// Addresses as single-address prefixes do not need their length.
pub fn ips(prefixes: &[IpNet]) -> Vec<std::net::IpAddr> {
    prefixes.iter().map(IpNet::addr).collect()
}
