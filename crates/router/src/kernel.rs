//! Link, addresses and routes as netlink messages.
//!
//! The heads come from `netlink-packet-route`, attributes are written and read singly: its types for whole messages
//! would bring the codecs of every kind of link and tunnel into the binary.

use crate::netlink::Netlink;
use crate::plan::Op;
use ipnet::IpNet;
use netlink_packet_core::{DefaultNla, Emitable, NLM_F_CREATE, NLM_F_EXCL, NlasIterator};
use netlink_packet_route::AddressFamily;
use netlink_packet_route::address::{AddressHeader, AddressHeaderFlags, AddressScope};
use netlink_packet_route::link::{LinkFlags, LinkHeader};
use netlink_packet_route::route::{RouteHeader, RouteProtocol, RouteScope, RouteType};
use rustix::io::Errno;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Routing protocol number (`ip route` shows it) by which our routes are known.
pub const PROTOCOL: u8 = 52;

const NEW_LINK: u16 = 16;
const GET_LINK: u16 = 18;
const NEW_ADDRESS: u16 = 20;
const DELETE_ADDRESS: u16 = 21;
const GET_ADDRESS: u16 = 22;
const NEW_ROUTE: u16 = 24;
const DELETE_ROUTE: u16 = 25;
const GET_ROUTE: u16 = 26;

const IFLA_IFNAME: u16 = 3;
const IFLA_MTU: u16 = 4;
const IFA_ADDRESS: u16 = 1;
const IFA_LOCAL: u16 = 2;
const RTA_DST: u16 = 1;
const RTA_OIF: u16 = 4;
const RTA_TABLE: u16 = 15;

const LINK_HEADER: usize = 16;
const ADDRESS_HEADER: usize = 8;
const ROUTE_HEADER: usize = 12;

/// An interface.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Link {
    pub(crate) index: u32,
    pub(crate) mtu: u32,
    pub(crate) up: bool,
}

fn body(head: &impl Emitable, attributes: &[DefaultNla]) -> Vec<u8> {
    let mut bytes = vec![0; head.buffer_len() + attributes.buffer_len()];
    let (first, rest) = bytes.split_at_mut(head.buffer_len());
    head.emit(first);
    attributes.emit(rest);
    bytes
}

fn attribute(kind: u16, value: &[u8]) -> DefaultNla {
    DefaultNla::new(kind, value.to_vec())
}

fn octets(addr: IpAddr) -> Vec<u8> {
    match addr {
        IpAddr::V4(v4) => v4.octets().to_vec(),
        IpAddr::V6(v6) => v6.octets().to_vec(),
    }
}

const fn family(net: &IpNet) -> AddressFamily {
    match net {
        IpNet::V4(_) => AddressFamily::Inet,
        IpNet::V6(_) => AddressFamily::Inet6,
    }
}

/// Calls `each` with kind and value of every attribute after a head of `head` bytes.
fn attributes(payload: &[u8], head: usize, each: &mut dyn FnMut(u16, &[u8])) {
    let rest = payload.get(head..).unwrap_or_default();
    for attribute in NlasIterator::new(rest).map_while(Result::ok) {
        each(attribute.kind(), attribute.value());
    }
}

fn number(value: &[u8]) -> Option<u32> {
    Some(u32::from_ne_bytes(*value.first_chunk()?))
}

fn addr(value: &[u8]) -> Option<IpAddr> {
    match value.len() {
        4 => Some(Ipv4Addr::from(*value.first_chunk::<4>()?).into()),
        16 => Some(Ipv6Addr::from(*value.first_chunk::<16>()?).into()),
        _ => None,
    }
}

/// The interface called `name`.
pub(crate) fn link(netlink: &mut Netlink, name: &str) -> Result<Option<Link>, Errno> {
    let mut name = name.as_bytes().to_vec();
    name.push(0);
    let request = body(&LinkHeader::default(), &[DefaultNla::new(IFLA_IFNAME, name)]);
    let mut found = None;
    let asked = netlink.request(GET_LINK, 0, &request, &mut |_, payload| {
        let Ok(head) = LinkHeader::parse(payload) else { return };
        let mut link = Link { index: head.index, mtu: 0, up: head.flags.contains(LinkFlags::Up) };
        attributes(payload, LINK_HEADER, &mut |kind, value| {
            if let (IFLA_MTU, Some(mtu)) = (kind, number(value)) {
                link.mtu = mtu;
            }
        });
        found = Some(link);
    });
    match asked {
        Ok(()) => Ok(found),
        Err(Errno::NODEV) => Ok(None),
        Err(errno) => Err(errno),
    }
}

/// All addresses of an interface but link-local ones.
pub(crate) fn addresses(netlink: &mut Netlink, index: u32) -> Result<Vec<IpNet>, Errno> {
    let mut all = Vec::new();
    let request = body(&AddressHeader { index, ..AddressHeader::default() }, &[]);
    netlink.dump(GET_ADDRESS, &request, &mut |_, payload| {
        let Ok(head) = AddressHeader::parse(payload) else { return };
        if head.index != index || head.scope == AddressScope::Link {
            return;
        }
        let (mut local, mut remote) = (None, None);
        attributes(payload, ADDRESS_HEADER, &mut |kind, value| match kind {
            IFA_LOCAL => local = addr(value),
            IFA_ADDRESS => remote = addr(value),
            _ => {}
        });
        all.extend(local.or(remote).and_then(|addr| IpNet::new(addr, head.prefix_len).ok()));
    })?;
    Ok(all)
}

/// Our routes to an interface, in the main table.
pub(crate) fn routes(netlink: &mut Netlink, index: u32) -> Result<Vec<IpNet>, Errno> {
    let mut all = Vec::new();
    for family in [AddressFamily::Inet, AddressFamily::Inet6] {
        let head = RouteHeader {
            address_family: family,
            table: RouteHeader::RT_TABLE_MAIN,
            ..RouteHeader::default()
        };
        let request = body(&head, &[attribute(RTA_OIF, &index.to_ne_bytes())]);
        let asked = netlink.dump(GET_ROUTE, &request, &mut |_, payload| {
            let Ok(head) = RouteHeader::parse(payload) else { return };
            let (mut to, mut table, mut dst) = (None, Some(u32::from(head.table)), None);
            attributes(payload, ROUTE_HEADER, &mut |kind, value| match kind {
                RTA_OIF => to = number(value),
                RTA_TABLE => table = number(value),
                RTA_DST => dst = addr(value),
                _ => {}
            });
            let all_of_family = match family {
                AddressFamily::Inet => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
                _ => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
            };
            let main = table == Some(u32::from(RouteHeader::RT_TABLE_MAIN));
            if to == Some(index) && main && u8::from(head.protocol) == PROTOCOL {
                let net = IpNet::new(dst.unwrap_or(all_of_family), head.destination_prefix_length);
                all.extend(net.ok());
            }
        });
        match asked {
            // A kernel without the family.
            Ok(()) | Err(Errno::OPNOTSUPP | Errno::AFNOSUPPORT) => {}
            Err(errno) => return Err(errno),
        }
    }
    Ok(all)
}

/// By which interface the kernel sends to `to`; `None` if by none.
pub(crate) fn way_to(netlink: &mut Netlink, to: IpAddr) -> Option<u32> {
    let whole = IpNet::from(to);
    let head = RouteHeader {
        address_family: family(&whole),
        destination_prefix_length: whole.prefix_len(),
        ..RouteHeader::default()
    };
    let request = body(&head, &[DefaultNla::new(RTA_DST, octets(to))]);
    let mut way = None;
    let asked = netlink.request(GET_ROUTE, 0, &request, &mut |_, payload| {
        attributes(payload, ROUTE_HEADER, &mut |kind, value| {
            if kind == RTA_OIF {
                way = number(value);
            }
        });
    });
    asked.ok().and(way)
}

/// Carries out one change of the interface `index`. What is there already may be added and what is gone may be
/// removed; only a route that another interface has is told by `EXIST`.
pub(crate) fn carry_out(netlink: &mut Netlink, index: u32, op: Op) -> Result<(), Errno> {
    let fresh = NLM_F_CREATE | NLM_F_EXCL;
    let mut change = |kind, flags, body: Vec<u8>| netlink.request(kind, flags, &body, &mut |_, _| {});
    let gone = |result| match result {
        Err(Errno::ADDRNOTAVAIL | Errno::SRCH | Errno::NOENT | Errno::NODEV) => Ok(()),
        other => other,
    };
    match op {
        Op::Link { mtu, up } => {
            let head = LinkHeader {
                index,
                flags: if up { LinkFlags::Up } else { LinkFlags::empty() },
                change_mask: LinkFlags::Up,
                ..LinkHeader::default()
            };
            let mtu = (mtu != 0).then(|| attribute(IFLA_MTU, &mtu.to_ne_bytes()));
            change(NEW_LINK, 0, body(&head, mtu.as_slice()))
        }
        Op::AddAddress(net) => match change(NEW_ADDRESS, fresh, address(index, net)) {
            Err(Errno::EXIST) => Ok(()),
            other => other,
        },
        Op::DeleteAddress(net) => gone(change(DELETE_ADDRESS, 0, address(index, net))),
        Op::AddRoute(net) => change(NEW_ROUTE, fresh, route(index, net)),
        Op::DeleteRoute(net) => gone(change(DELETE_ROUTE, 0, route(index, net))),
    }
}

fn address(index: u32, net: IpNet) -> Vec<u8> {
    let head = AddressHeader {
        family: family(&net),
        prefix_len: net.prefix_len(),
        // Nobody else can have it, so it need not be tried out first.
        flags: if matches!(net, IpNet::V6(_)) {
            AddressHeaderFlags::Nodad
        } else {
            AddressHeaderFlags::empty()
        },
        index,
        ..AddressHeader::default()
    };
    let own = octets(net.addr());
    body(&head, &[DefaultNla::new(IFA_LOCAL, own.clone()), DefaultNla::new(IFA_ADDRESS, own)])
}

fn route(index: u32, net: IpNet) -> Vec<u8> {
    let head = RouteHeader {
        address_family: family(&net),
        destination_prefix_length: net.prefix_len(),
        table: RouteHeader::RT_TABLE_MAIN,
        protocol: RouteProtocol::Other(PROTOCOL),
        scope: if matches!(net, IpNet::V4(_)) { RouteScope::Link } else { RouteScope::Universe },
        kind: RouteType::Unicast,
        ..RouteHeader::default()
    };
    let to = attribute(RTA_OIF, &index.to_ne_bytes());
    body(&head, &[DefaultNla::new(RTA_DST, octets(net.network())), to])
}
