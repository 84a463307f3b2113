//! Nodes as they are written: what `netmap` has, in types whose encoding stays as it is when those change.
//!
//! What comes and goes without meaning for the way of packets is in [`Passing`], so that it is no reason to write. When
//! control last saw a node is not kept at all. Reading takes nothing that control could not have said: `None` is damage.

use super::settings::{Resolver, resolvers, resolvers_back};
use netmap::{
    CapMap, HostRest, Hostinfo, IpNet, Location, Map, Node, NodeId, Rare, RegionId, Service, StableId,
    System, Timestamp, UserId,
};
use serde::{Deserialize, Serialize};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;

/// What most texts are.
pub(super) type Text = Box<str>;

/// An address and the length of its prefix.
#[derive(Serialize, Deserialize)]
pub(super) struct Net(IpAddr, u8);

impl Net {
    pub(super) fn new(net: &IpNet) -> Self {
        Self(net.addr(), net.prefix_len())
    }

    pub(super) fn get(&self) -> Option<IpNet> {
        IpNet::new(self.0, self.1).ok()
    }
}

/// Seconds since 1970 and nanoseconds.
#[derive(Serialize, Deserialize)]
struct At(i64, u32);

const NANOS: i128 = 1_000_000_000;

impl At {
    fn new(at: Timestamp) -> Self {
        Self(at.unix(), at.unix_nanos().rem_euclid(NANOS) as u32)
    }

    fn get(&self) -> Timestamp {
        Timestamp::from_unix_nanos(i128::from(self.0) * NANOS + i128::from(self.1))
    }
}

/// Capability names and their values.
#[derive(Serialize, Deserialize)]
pub(super) struct Caps(Vec<(Text, Vec<Text>)>);

impl Caps {
    pub(super) fn new(caps: &CapMap) -> Self {
        Self(caps.iter().map(|(name, values)| (name.clone(), values.to_vec())).collect())
    }

    pub(super) fn get(self) -> CapMap {
        self.0.into_iter().map(|(name, values)| (name, values.into())).collect::<Map<_, _>>()
    }
}

pub(super) fn nets(all: &[IpNet]) -> Vec<Net> {
    all.iter().map(Net::new).collect()
}

pub(super) fn nets_back<C: FromIterator<IpNet>>(all: &[Net]) -> Option<C> {
    all.iter().map(Net::get).collect()
}

/// What is said of a node and seldom changes.
#[derive(Serialize, Deserialize)]
pub(super) struct Lasting {
    id: i64,
    stable_id: Text,
    name: Text,
    user: i64,
    key: [u8; 32],
    key_expiry: At,
    machine: [u8; 32],
    disco_key: [u8; 32],
    addresses: Vec<Net>,
    /// `None`: the addresses.
    allowed_ips: Option<Vec<Net>>,
    home_derp: u16,
    created: At,
    cap: i32,
    machine_authorized: bool,
    expired: bool,
    wireguard_only: bool,
    jailed: bool,
    rare: Option<Uncommon>,
}

/// What few nodes have.
#[derive(Serialize, Deserialize)]
struct Uncommon {
    sharer: i64,
    tags: Vec<Text>,
    primary_routes: Vec<Net>,
    caps: Caps,
    masq_v4: Option<Ipv4Addr>,
    masq_v6: Option<Ipv6Addr>,
    exit_node_dns: Vec<Resolver>,
}

/// What is said of a node and changes all the time, or tells people something only.
#[derive(Serialize, Deserialize)]
pub(super) struct Passing {
    endpoints: Vec<SocketAddr>,
    hostname: Text,
    services: Vec<(Text, u16, Text)>,
    system: [Text; 3],
    rest: Option<Said>,
    /// Whether control saw it.
    pub(super) online: Option<bool>,
}

#[derive(Serialize, Deserialize)]
struct Said {
    routable_ips: Vec<Net>,
    request_tags: Vec<Text>,
    location: Option<Place>,
    sharee_node: bool,
}

#[derive(Serialize, Deserialize)]
struct Place {
    country: [Text; 2],
    city: [Text; 2],
    latitude: f64,
    longitude: f64,
    priority: i32,
}

impl Lasting {
    pub(super) fn new(node: &Node) -> Self {
        let rare = node.rare.as_deref().map(|rare| Uncommon {
            sharer: rare.sharer.0,
            tags: rare.tags.to_vec(),
            primary_routes: nets(&rare.primary_routes),
            caps: Caps::new(&rare.cap_map),
            masq_v4: rare.masq_v4,
            masq_v6: rare.masq_v6,
            exit_node_dns: resolvers(&rare.exit_node_dns),
        });
        let routes = !Arc::ptr_eq(&node.allowed_ips, &node.addresses) && node.allowed_ips != node.addresses;
        Self {
            id: node.id.0,
            stable_id: node.stable_id.0.clone(),
            name: node.name.clone(),
            user: node.user.0,
            key: *node.key.as_bytes(),
            key_expiry: At::new(node.key_expiry),
            machine: *node.machine.as_bytes(),
            disco_key: *node.disco_key.as_bytes(),
            addresses: nets(&node.addresses),
            allowed_ips: routes.then(|| nets(&node.allowed_ips)),
            home_derp: node.home_derp.0,
            created: At::new(node.created),
            cap: node.cap,
            machine_authorized: node.machine_authorized,
            expired: node.expired,
            wireguard_only: node.wireguard_only,
            jailed: node.jailed,
            rare,
        }
    }

    /// Ourselves: what this very process makes anew and tells control is not control's word, and `home` is where we are.
    pub(super) fn of_self(node: &Node, home: RegionId) -> Self {
        Self { disco_key: [0; 32], home_derp: home.0, ..Self::new(node) }
    }

    /// The node, with what is passing.
    pub(super) fn node(self, passing: Passing) -> Option<Node> {
        let rare = match self.rare {
            Some(rare) => Rare {
                sharer: UserId(rare.sharer),
                tags: rare.tags.into(),
                primary_routes: nets_back(&rare.primary_routes)?,
                cap_map: rare.caps.get(),
                masq_v4: rare.masq_v4,
                masq_v6: rare.masq_v6,
                exit_node_dns: resolvers_back(rare.exit_node_dns),
            }
            .boxed(),
            None => None,
        };
        let addresses: Arc<[IpNet]> = nets_back::<Vec<_>>(&self.addresses)?.into();
        let allowed_ips = match &self.allowed_ips {
            Some(all) => nets_back::<Vec<_>>(all)?.into(),
            None => Arc::clone(&addresses),
        };
        Some(Node {
            id: NodeId(self.id),
            stable_id: StableId(self.stable_id),
            name: self.name,
            user: UserId(self.user),
            key: keys::NodePublic::from_bytes(self.key),
            key_expiry: self.key_expiry.get(),
            machine: keys::MachinePublic::from_bytes(self.machine),
            disco_key: keys::DiscoPublic::from_bytes(self.disco_key),
            addresses,
            allowed_ips,
            endpoints: passing.endpoints.iter().copied().collect(),
            home_derp: RegionId(self.home_derp),
            hostinfo: passing.hostinfo()?,
            created: self.created.get(),
            cap: self.cap,
            last_seen: Timestamp::ZERO,
            online: None,
            machine_authorized: self.machine_authorized,
            expired: self.expired,
            wireguard_only: self.wireguard_only,
            jailed: self.jailed,
            rare,
        })
    }
}

impl Passing {
    pub(super) fn new(node: &Node) -> Self {
        let host = &node.hostinfo;
        let service =
            |service: &Service| (service.proto().into(), service.port, service.description().into());
        let rest = host.rest().map(|rest| Said {
            routable_ips: nets(&rest.routable_ips),
            request_tags: rest.request_tags.to_vec(),
            location: rest.location.as_ref().map(|at| Place {
                country: [at.country.clone(), at.country_code.clone()],
                city: [at.city.clone(), at.city_code.clone()],
                latitude: at.latitude,
                longitude: at.longitude,
                priority: at.priority,
            }),
            sharee_node: rest.sharee_node,
        });
        Self {
            endpoints: node.endpoints.iter().collect(),
            hostname: host.hostname.clone(),
            services: host.services.iter().map(service).collect(),
            system: [host.os(), host.os_version(), host.ipn_version()].map(Text::from),
            rest,
            online: node.online,
        }
    }

    fn hostinfo(self) -> Option<Hostinfo> {
        let services = self.services.into_iter().map(|(proto, port, text)| Service::new(proto, port, text));
        let [os, os_version, ipn_version] = self.system;
        let rest = match self.rest {
            Some(rest) => HostRest {
                routable_ips: nets_back(&rest.routable_ips)?,
                request_tags: rest.request_tags.into(),
                location: rest.location.map(|at| {
                    let ([country, country_code], [city, city_code]) = (at.country, at.city);
                    let (latitude, longitude, priority) = (at.latitude, at.longitude, at.priority);
                    Location { country, country_code, city, city_code, latitude, longitude, priority }
                }),
                sharee_node: rest.sharee_node,
            },
            None => HostRest::default(),
        };
        let system = System { os, os_version, ipn_version };
        Some(Hostinfo::new(self.hostname, services.collect(), system, rest))
    }
}
