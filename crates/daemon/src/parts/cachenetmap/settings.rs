//! What is said of the whole tailnet, as it is written: relays, filter, names, users.
//!
//! Leaves out control's messages to people and what it knows of newer versions: they are of the moment.

use super::mirror::{Caps, Net, Text, nets, nets_back};
use netmap::{
    CapGrant, DerpMap, DerpNode, DerpRegion, DnsConfig, DnsRecord, DnsResolver, FamilyAddr, FilterRule,
    NetMap, PortRange, RegionId, RuleDst, RuleSrc, UserId, UserProfile,
};
use serde::{Deserialize, Serialize};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Everything but the nodes.
#[derive(Serialize, Deserialize)]
pub(super) struct Settings {
    domain: Text,
    tailnet_lock: bool,
    regions: Vec<Region>,
    scores: Vec<(u16, f64)>,
    omit_default_regions: bool,
    dns: Dns,
    /// `None`: no filter ever came.
    filters: Option<Vec<(Text, Vec<Rule>)>>,
    users: Vec<User>,
}

#[derive(Serialize, Deserialize)]
struct Region {
    id: u16,
    code: Text,
    name: Text,
    latitude: f64,
    longitude: f64,
    avoid: bool,
    no_measure_no_home: bool,
    nodes: Vec<Relay>,
}

#[derive(Serialize, Deserialize)]
struct Relay {
    name: Text,
    host_name: Text,
    cert_name: Text,
    ipv4: Family<Ipv4Addr>,
    ipv6: Family<Ipv6Addr>,
    stun_port: i32,
    stun_only: bool,
    derp_port: u16,
    insecure_for_tests: bool,
    stun_test_ip: Text,
    can_port_80: bool,
}

#[derive(Serialize, Deserialize)]
enum Family<A> {
    Dns,
    Disabled,
    Ip(A),
}

#[derive(Serialize, Deserialize)]
struct Dns {
    resolvers: Vec<Resolver>,
    routes: Vec<(Text, Vec<Resolver>)>,
    fallback_resolvers: Vec<Resolver>,
    domains: Vec<Text>,
    proxied: bool,
    nameservers: Vec<Text>,
    cert_domains: Vec<Text>,
    extra_records: Vec<[Text; 3]>,
    exit_node_filtered_set: Vec<Text>,
}

#[derive(Serialize, Deserialize)]
pub(super) struct Resolver(Text, Vec<Text>, bool);

#[derive(Serialize, Deserialize)]
struct Rule {
    srcs: Vec<Src>,
    dsts: Vec<(Src, u16, u16)>,
    protos: Vec<u8>,
    grants: Vec<(Vec<Net>, Caps)>,
}

#[derive(Serialize, Deserialize)]
enum Src {
    Any,
    Net(Net),
    Range(IpAddr, IpAddr),
    Cap(Text),
}

#[derive(Serialize, Deserialize)]
struct User {
    id: i64,
    login_name: Text,
    display_name: Text,
    profile_pic_url: Text,
    groups: Vec<Text>,
}

impl Settings {
    pub(super) fn new(map: &NetMap) -> Self {
        let derp = &map.derp_map;
        let rules = |rules: &Vec<FilterRule>| rules.iter().map(Rule::new).collect();
        let filters = map.packet_filters.as_ref();
        Self {
            domain: map.domain.clone(),
            tailnet_lock: map.tailnet_lock,
            regions: derp.regions.values().map(Region::new).collect(),
            scores: derp.region_score.iter().map(|(id, score)| (id.0, *score)).collect(),
            omit_default_regions: derp.omit_default_regions,
            dns: Dns::new(&map.dns),
            filters: filters.map(|all| all.iter().map(|(name, all)| (name.clone(), rules(all))).collect()),
            users: map.users.values().map(User::new).collect(),
        }
    }

    /// Puts all of it into `map`.
    pub(super) fn put(self, map: &mut NetMap) -> Option<()> {
        map.domain = self.domain;
        map.tailnet_lock = self.tailnet_lock;
        map.derp_map = DerpMap {
            regions: self.regions.into_iter().map(|region| (RegionId(region.id), region.get())).collect(),
            region_score: self.scores.into_iter().map(|(id, score)| (RegionId(id), score)).collect(),
            omit_default_regions: self.omit_default_regions,
        };
        map.dns = self.dns.get();
        map.packet_filters = match self.filters {
            Some(all) => {
                let chunk = |(name, rules): (Text, Vec<Rule>)| {
                    Some((name, rules.into_iter().map(Rule::get).collect::<Option<Vec<_>>>()?))
                };
                Some(all.into_iter().map(chunk).collect::<Option<_>>()?)
            }
            None => None,
        };
        map.users = self.users.into_iter().map(|user| (UserId(user.id), user.get())).collect();
        Some(())
    }
}

impl Region {
    fn new(region: &DerpRegion) -> Self {
        Self {
            id: region.id.0,
            code: region.code.clone(),
            name: region.name.clone(),
            latitude: region.latitude,
            longitude: region.longitude,
            avoid: region.avoid,
            no_measure_no_home: region.no_measure_no_home,
            nodes: region.nodes.iter().map(Relay::new).collect(),
        }
    }

    fn get(self) -> DerpRegion {
        DerpRegion {
            id: RegionId(self.id),
            code: self.code,
            name: self.name,
            latitude: self.latitude,
            longitude: self.longitude,
            avoid: self.avoid,
            no_measure_no_home: self.no_measure_no_home,
            nodes: self.nodes.into_iter().map(Relay::get).collect(),
        }
    }
}

impl Relay {
    fn new(node: &DerpNode) -> Self {
        Self {
            name: node.name.clone(),
            host_name: node.host_name.clone(),
            cert_name: node.cert_name.clone(),
            ipv4: Family::new(&node.ipv4),
            ipv6: Family::new(&node.ipv6),
            stun_port: node.stun_port,
            stun_only: node.stun_only,
            derp_port: node.derp_port,
            insecure_for_tests: node.insecure_for_tests,
            stun_test_ip: node.stun_test_ip.clone(),
            can_port_80: node.can_port_80,
        }
    }

    fn get(self) -> DerpNode {
        DerpNode {
            name: self.name,
            host_name: self.host_name,
            cert_name: self.cert_name,
            ipv4: self.ipv4.get(),
            ipv6: self.ipv6.get(),
            stun_port: self.stun_port,
            stun_only: self.stun_only,
            derp_port: self.derp_port,
            insecure_for_tests: self.insecure_for_tests,
            stun_test_ip: self.stun_test_ip,
            can_port_80: self.can_port_80,
        }
    }
}

impl<A: Copy> Family<A> {
    fn new(addr: &FamilyAddr<A>) -> Self {
        match *addr {
            FamilyAddr::Dns => Self::Dns,
            FamilyAddr::Disabled => Self::Disabled,
            FamilyAddr::Ip(ip) => Self::Ip(ip),
        }
    }

    fn get(self) -> FamilyAddr<A> {
        match self {
            Self::Dns => FamilyAddr::Dns,
            Self::Disabled => FamilyAddr::Disabled,
            Self::Ip(ip) => FamilyAddr::Ip(ip),
        }
    }
}

pub(super) fn resolvers(all: &[DnsResolver]) -> Vec<Resolver> {
    let one =
        |r: &DnsResolver| Resolver(r.addr.clone(), r.bootstrap_resolution.to_vec(), r.use_with_exit_node);
    all.iter().map(one).collect()
}

pub(super) fn resolvers_back(all: Vec<Resolver>) -> Box<[DnsResolver]> {
    let one = |Resolver(addr, bootstrap, use_with_exit_node)| DnsResolver {
        addr,
        bootstrap_resolution: Vec::into(bootstrap),
        use_with_exit_node,
    };
    all.into_iter().map(one).collect()
}

impl Dns {
    fn new(dns: &DnsConfig) -> Self {
        let record = |r: &DnsRecord| [r.name.clone(), r.kind.clone(), r.value.clone()];
        Self {
            resolvers: resolvers(&dns.resolvers),
            routes: dns.routes.iter().map(|(suffix, all)| (suffix.clone(), resolvers(all))).collect(),
            fallback_resolvers: resolvers(&dns.fallback_resolvers),
            domains: dns.domains.to_vec(),
            proxied: dns.proxied,
            nameservers: dns.nameservers.to_vec(),
            cert_domains: dns.cert_domains.to_vec(),
            extra_records: dns.extra_records.iter().map(record).collect(),
            exit_node_filtered_set: dns.exit_node_filtered_set.to_vec(),
        }
    }

    fn get(self) -> DnsConfig {
        DnsConfig {
            resolvers: resolvers_back(self.resolvers),
            routes: self.routes.into_iter().map(|(suffix, all)| (suffix, resolvers_back(all))).collect(),
            fallback_resolvers: resolvers_back(self.fallback_resolvers),
            domains: self.domains.into(),
            proxied: self.proxied,
            nameservers: self.nameservers.into(),
            cert_domains: self.cert_domains.into(),
            extra_records: self
                .extra_records
                .into_iter()
                .map(|[name, kind, value]| DnsRecord { name, kind, value })
                .collect(),
            exit_node_filtered_set: self.exit_node_filtered_set.into(),
        }
    }
}

impl Rule {
    fn new(rule: &FilterRule) -> Self {
        let dst = |dst: &RuleDst| (Src::new(&dst.net), dst.ports.first, dst.ports.last);
        Self {
            srcs: rule.srcs.iter().map(Src::new).collect(),
            dsts: rule.dsts.iter().map(dst).collect(),
            protos: rule.protos.to_vec(),
            grants: rule.cap_grants.iter().map(|g| (nets(&g.dsts), Caps::new(&g.caps))).collect(),
        }
    }

    fn get(self) -> Option<FilterRule> {
        let dst = |(net, first, last): (Src, u16, u16)| {
            let net = net.get().filter(|net| first <= last && !matches!(net, RuleSrc::Cap(_)))?;
            Some(RuleDst { net, ports: PortRange { first, last } })
        };
        let grant =
            |(dsts, caps): (Vec<Net>, Caps)| Some(CapGrant { dsts: nets_back(&dsts)?, caps: caps.get() });
        Some(FilterRule {
            srcs: self.srcs.into_iter().map(Src::get).collect::<Option<_>>()?,
            dsts: self.dsts.into_iter().map(dst).collect::<Option<_>>()?,
            protos: self.protos.into(),
            cap_grants: self.grants.into_iter().map(grant).collect::<Option<_>>()?,
        })
    }
}

impl Src {
    fn new(src: &RuleSrc) -> Self {
        match src {
            RuleSrc::Any => Self::Any,
            RuleSrc::Net(net) => Self::Net(Net::new(net)),
            RuleSrc::Range(first, last) => Self::Range(*first, *last),
            RuleSrc::Cap(name) => Self::Cap(name.clone()),
        }
    }

    fn get(self) -> Option<RuleSrc> {
        Some(match self {
            Self::Any => RuleSrc::Any,
            Self::Net(net) => RuleSrc::Net(net.get()?),
            Self::Range(first, last) if first.is_ipv4() == last.is_ipv4() && first <= last => {
                RuleSrc::Range(first, last)
            }
            Self::Range(..) => return None,
            Self::Cap(name) => RuleSrc::Cap(name),
        })
    }
}

impl User {
    fn new(user: &UserProfile) -> Self {
        Self {
            id: user.id.0,
            login_name: user.login_name.clone(),
            display_name: user.display_name.clone(),
            profile_pic_url: user.profile_pic_url.clone(),
            groups: user.groups.to_vec(),
        }
    }

    fn get(self) -> UserProfile {
        UserProfile {
            id: UserId(self.id),
            login_name: self.login_name,
            display_name: self.display_name,
            profile_pic_url: self.profile_pic_url,
            groups: self.groups.into(),
        }
    }
}
