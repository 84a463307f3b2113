//! Link, addresses, routes and policy rules as netlink messages.
//!
//! The heads come from `netlink-packet-route`, attributes are written and read singly. Leaves out what is to be changed
//! ([`crate::plan`]) and what is done about refusals ([`crate::Router`]).

use crate::attributes::{Body, attributes, number};
use crate::layout::{BYPASS_MARK, MAIN, MARK_MASK, RULES, TABLE};
use crate::netlink::{Message, Netlink};
use crate::plan::{Marked, Op, Route, Rule};
use ipnet::IpNet;
use netlink_packet_core::{NLM_F_CREATE, NLM_F_EXCL, NLM_F_REPLACE};
use netlink_packet_route::AddressFamily;
use netlink_packet_route::address::{AddressHeader, AddressHeaderFlags, AddressScope};
use netlink_packet_route::link::{LinkFlags, LinkHeader};
use netlink_packet_route::route::{RouteHeader, RouteProtocol, RouteScope, RouteType};
use rustix::io::Errno;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Routing protocol number (`ip route` shows it) by which our routes are known.
pub const PROTOCOL: u8 = 52;

/// What our routes in the main table cost: more than what this machine has of the same network, whoever has set that.
const METRIC: u32 = 4096;

const NEW_LINK: u16 = 16;
const GET_LINK: u16 = 18;
const NEW_ADDRESS: u16 = 20;
const DELETE_ADDRESS: u16 = 21;
const GET_ADDRESS: u16 = 22;
const NEW_ROUTE: u16 = 24;
const DELETE_ROUTE: u16 = 25;
pub(crate) const GET_ROUTE: u16 = 26;
const NEW_RULE: u16 = 32;
const DELETE_RULE: u16 = 33;
const GET_RULE: u16 = 34;

const IFLA_IFNAME: u16 = 3;
const IFLA_MTU: u16 = 4;
const IFLA_GSO_MAX_SIZE: u16 = 41;
const IFA_ADDRESS: u16 = 1;
const IFA_LOCAL: u16 = 2;
const RTA_DST: u16 = 1;
pub(crate) const RTA_OIF: u16 = 4;
pub(crate) const RTA_GATEWAY: u16 = 5;
pub(crate) const RTA_PRIORITY: u16 = 6;
pub(crate) const RTA_TABLE: u16 = 15;
const RTA_MARK: u16 = 16;
const FRA_PRIORITY: u16 = 6;
const FRA_FWMARK: u16 = 10;
const FRA_TABLE: u16 = 15;
const FRA_FWMASK: u16 = 16;
const FRA_PROTOCOL: u16 = 21;

/// What a rule does: ask a table, or say that there is no way.
const TO_TABLE: u8 = 1;
const UNREACHABLE: u8 = 7;
/// `FIB_RULE_INVERT`: for all packets that the rest of the rule does not mean.
const INVERT: u32 = 2;

const LINK_HEADER: usize = 16;
const ADDRESS_HEADER: usize = 8;
pub(crate) const ROUTE_HEADER: usize = 12;
const RULE_HEADER: usize = 12;

/// An interface.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Link {
    pub(crate) index: u32,
    pub(crate) mtu: u32,
    pub(crate) up: bool,
    /// Bytes of large packets; 0 = the kernel does not tell.
    pub(crate) large: u32,
}

/// An address as bytes on the stack, without a case for each family at the caller.
fn octets(addr: IpAddr) -> ([u8; 16], usize) {
    match addr {
        IpAddr::V4(v4) => {
            let mut bytes = [0; 16];
            bytes[..4].copy_from_slice(&v4.octets());
            (bytes, 4)
        }
        IpAddr::V6(v6) => (v6.octets(), 16),
    }
}

fn add_address(body: &mut Body, kind: u16, addr: IpAddr) {
    let (bytes, len) = octets(addr);
    body.add(kind, bytes.get(..len).unwrap_or_default());
}

pub(crate) const fn family(v6: bool) -> AddressFamily {
    if v6 { AddressFamily::Inet6 } else { AddressFamily::Inet }
}

pub(crate) const fn is_v6(net: &IpNet) -> bool {
    matches!(net, IpNet::V6(_))
}

pub(crate) fn addr(value: &[u8]) -> Option<IpAddr> {
    match value.len() {
        4 => Some(Ipv4Addr::from(*value.first_chunk::<4>()?).into()),
        16 => Some(Ipv6Addr::from(*value.first_chunk::<16>()?).into()),
        _ => None,
    }
}

/// The interface called `name`.
pub(crate) fn link(netlink: &mut Netlink, name: &str) -> Result<Option<Link>, Errno> {
    let mut body = Body::new(&LinkHeader::default());
    body.add(IFLA_IFNAME, &[name.as_bytes(), &[0]].concat());
    let mut found = None;
    let asked = netlink.request(GET_LINK, body, &mut |_, payload| {
        let Ok(head) = LinkHeader::parse(payload) else { return };
        let mut link = Link { index: head.index, mtu: 0, up: head.flags.contains(LinkFlags::Up), large: 0 };
        attributes(payload, LINK_HEADER, &mut |kind, value| match (kind, number(value)) {
            (IFLA_MTU, Some(mtu)) => link.mtu = mtu,
            (IFLA_GSO_MAX_SIZE, Some(bytes)) => link.large = bytes,
            _ => {}
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
    let request = Body::new(&AddressHeader { index, ..AddressHeader::default() });
    netlink.dump(GET_ADDRESS, request, &mut |_, payload| {
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

/// Our routes: those to the interface `index` (0: to none), and those that lead past it.
pub(crate) fn routes(netlink: &mut Netlink, index: u32) -> Result<Vec<Route>, Errno> {
    let mut all = Vec::new();
    for (v6, wanted) in [(false, MAIN), (false, TABLE), (true, MAIN), (true, TABLE)] {
        let protocol = RouteProtocol::Other(PROTOCOL);
        let head =
            RouteHeader { address_family: family(v6), table: wanted, protocol, ..RouteHeader::default() };
        let asked = netlink.dump(GET_ROUTE, Body::new(&head), &mut |_, payload| {
            let Ok(head) = RouteHeader::parse(payload) else { return };
            let (mut to, mut table, mut dst, mut router) = (None, Some(u32::from(head.table)), None, None);
            attributes(payload, ROUTE_HEADER, &mut |kind, value| match kind {
                RTA_OIF => to = number(value),
                RTA_GATEWAY => router = addr(value),
                RTA_TABLE => table = number(value),
                RTA_DST => dst = addr(value),
                _ => {}
            });
            let throw = head.kind == RouteType::Throw;
            let via = to.zip(router);
            let nowhere = v6 && head.kind == RouteType::Unreachable;
            let unicast = head.kind == RouteType::Unicast && (to == Some(index) || via.is_some());
            let ours = throw && wanted == TABLE || nowhere || unicast;
            if ours && table == Some(wanted.into()) && u8::from(head.protocol) == PROTOCOL {
                let all_of_family =
                    if v6 { Ipv6Addr::UNSPECIFIED.into() } else { Ipv4Addr::UNSPECIFIED.into() };
                let net = IpNet::new(dst.unwrap_or(all_of_family), head.destination_prefix_length);
                all.extend(net.ok().map(|net| Route { table: wanted, net, throw, nowhere, via }));
            }
        });
        match asked {
            // A kernel without the family, without the table, or without the interface.
            Ok(()) | Err(Errno::OPNOTSUPP | Errno::AFNOSUPPORT | Errno::NOENT | Errno::NODEV) => {}
            Err(errno) => return Err(errno),
        }
    }
    Ok(all)
}

/// Those of the rules we make that are there, whoever made them: another node like us makes the very same.
pub(crate) fn rules_there(netlink: &mut Netlink) -> Result<Vec<Rule>, Errno> {
    let mut all: Vec<Rule> = Vec::new();
    for v6 in [false, true] {
        let mut head = [0; RULE_HEADER];
        head[0] = u8::from(family(v6));
        let asked = netlink.dump(GET_RULE, Body(head.to_vec()), &mut |_, payload| {
            let mut found = [0_u32; 4];
            let (mut others, mut protocol) = (false, 0);
            attributes(payload, RULE_HEADER, &mut |kind, value| {
                let place = match kind {
                    FRA_PRIORITY => 0,
                    FRA_FWMARK => 1,
                    FRA_FWMASK => 2,
                    FRA_TABLE => 3,
                    FRA_PROTOCOL => return protocol = value.first().copied().unwrap_or_default(),
                    // Source, destination, interfaces: another rule that happens to stand in the same place.
                    1..=3 | 17 => return others = true,
                    _ => return,
                };
                if let (Some(place), Some(number)) = (found.get_mut(place), number(value)) {
                    *place = number;
                }
            });
            let action = payload.get(7).copied().unwrap_or_default();
            let [priority, mark, mask, table] = found;
            let inverted = payload.get(8..).and_then(number).is_some_and(|flags| flags & INVERT != 0);
            let marked = match (mark, mask, inverted) {
                (0, _, false) => Marked::Any,
                (BYPASS_MARK, MARK_MASK, false) => Marked::Ours,
                (BYPASS_MARK, MARK_MASK, true) => Marked::Others,
                _ => return,
            };
            let mut rules = RULES.iter().map(|&(_, priority, marked, table)| Rule {
                v6,
                priority,
                marked,
                table,
                protocol,
            });
            let ours = rules.find(|rule| {
                (rule.priority, rule.marked) == (priority, marked)
                    && action == action_of(rule)
                    && (rule.table == 0 || u32::from(rule.table) == table)
            });
            all.extend(ours.filter(|_| !others));
        });
        match asked {
            Ok(()) | Err(Errno::OPNOTSUPP | Errno::AFNOSUPPORT) => {}
            Err(errno) => return Err(errno),
        }
    }
    Ok(all)
}

/// Whether mwan3 has rules for its uplinks here: marks of any kind at these places (upstream's way to tell).
pub(crate) fn mwan3_rules(netlink: &mut Netlink) -> bool {
    let mut any = false;
    let mut head = [0; RULE_HEADER];
    head[0] = u8::from(family(false));
    let asked = netlink.dump(GET_RULE, Body(head.to_vec()), &mut |_, payload| {
        let (mut priority, mut mark) = (0, 0);
        attributes(payload, RULE_HEADER, &mut |kind, value| match kind {
            FRA_PRIORITY => priority = number(value).unwrap_or_default(),
            FRA_FWMARK => mark = number(value).unwrap_or_default(),
            _ => {}
        });
        any |= matches!(priority, 2001..=2004) && mark != 0;
    });
    asked.is_ok() && any
}

/// By which interface the kernel sends what carries `mark` to `to`; `None` if by none, which older kernels say of IPv6 by
/// a route of its own kind instead of an error.
pub(crate) fn way_to(netlink: &mut Netlink, to: IpAddr, mark: u32) -> Option<u32> {
    let whole = IpNet::from(to);
    let head = RouteHeader {
        address_family: family(is_v6(&whole)),
        destination_prefix_length: whole.prefix_len(),
        ..RouteHeader::default()
    };
    let mut request = Body::new(&head);
    add_address(&mut request, RTA_DST, to);
    if mark != 0 {
        request.add(RTA_MARK, &mark.to_ne_bytes());
    }
    let mut way = None;
    let asked = netlink.request(GET_ROUTE, request, &mut |_, payload| {
        if RouteHeader::parse(payload).is_ok_and(|head| head.kind == RouteType::Unreachable) {
            return;
        }
        attributes(payload, ROUTE_HEADER, &mut |kind, value| {
            if kind == RTA_OIF {
                way = number(value);
            }
        });
    });
    asked.ok().and(way)
}

/// One change of the interface `index` as a message.
pub(crate) fn message(index: u32, op: Op) -> Message {
    let fresh = NLM_F_CREATE | NLM_F_EXCL;
    let (kind, flags, body) = match op {
        Op::Link { mtu, up } => (NEW_LINK, 0, link_body(index, mtu, up)),
        Op::AddAddress(net) => (NEW_ADDRESS, fresh, address(index, net)),
        Op::DeleteAddress(net) => (DELETE_ADDRESS, 0, address(index, net)),
        Op::AddRoute(to) => {
            let (flags, body) = added_route(index, to);
            (NEW_ROUTE, flags, body)
        }
        Op::DeleteRoute(to) => (DELETE_ROUTE, 0, route(index, to)),
        // With EXCL the kernel would take a narrower rule in the same place for this one.
        Op::AddRule(rule) => (NEW_RULE, NLM_F_CREATE, rule_body(&rule)),
        Op::DeleteRule(rule) => (DELETE_RULE, 0, rule_body(&rule)),
    };
    Message { kind, flags, body }
}

/// Whether a refusal says that there is nothing to do: what is there already may be added and what is gone may be
/// removed. Only a route that another interface has is something to tell.
pub(crate) const fn is_done(op: Op, errno: Errno) -> bool {
    match op {
        Op::AddAddress(_) | Op::AddRule(_) => matches!(errno, Errno::EXIST),
        Op::DeleteAddress(_) | Op::DeleteRoute(_) | Op::DeleteRule(_) => {
            matches!(errno, Errno::ADDRNOTAVAIL | Errno::SRCH | Errno::NOENT | Errno::NODEV)
        }
        Op::Link { .. } | Op::AddRoute(_) => false,
    }
}

fn link_body(index: u32, mtu: u32, up: bool) -> Body {
    let mut body = Body::new(&LinkHeader {
        index,
        flags: if up { LinkFlags::Up } else { LinkFlags::empty() },
        change_mask: LinkFlags::Up,
        ..LinkHeader::default()
    });
    if mtu != 0 {
        body.add(IFLA_MTU, &mtu.to_ne_bytes());
    }
    body
}

/// Has the interface hand over large packets of at most `bytes` bytes.
pub(crate) fn limit_large(netlink: &mut Netlink, index: u32, bytes: u32) -> Result<(), Errno> {
    let mut body = Body::new(&LinkHeader { index, ..LinkHeader::default() });
    body.add(IFLA_GSO_MAX_SIZE, &bytes.to_ne_bytes());
    netlink.request(NEW_LINK, body, &mut |_, _| {})
}

fn address(index: u32, net: IpNet) -> Body {
    let mut body = Body::new(&AddressHeader {
        family: family(is_v6(&net)),
        prefix_len: net.prefix_len(),
        // Nobody else can have it, so it need not be tried out first.
        flags: if is_v6(&net) { AddressHeaderFlags::Nodad } else { AddressHeaderFlags::empty() },
        index,
        ..AddressHeader::default()
    });
    add_address(&mut body, IFA_LOCAL, net.addr());
    add_address(&mut body, IFA_ADDRESS, net.addr());
    body
}

fn route(index: u32, Route { table, net, throw, nowhere, via }: Route) -> Body {
    let mut body = Body::new(&RouteHeader {
        address_family: family(is_v6(&net)),
        destination_prefix_length: net.prefix_len(),
        table,
        protocol: RouteProtocol::Other(PROTOCOL),
        scope: if is_v6(&net) || throw || via.is_some() { RouteScope::Universe } else { RouteScope::Link },
        kind: match (throw, nowhere) {
            (true, _) => RouteType::Throw,
            (_, true) => RouteType::Unreachable,
            _ => RouteType::Unicast,
        },
        ..RouteHeader::default()
    });
    add_address(&mut body, RTA_DST, net.network());
    if !throw && !nowhere {
        body.add(RTA_OIF, &via.map_or(index, |(index, _)| index).to_ne_bytes());
    }
    if let Some((_, router)) = via {
        add_address(&mut body, RTA_GATEWAY, router);
    }
    body
}

/// A route to be added, and how. Its metric is not looked at when it is taken away again.
fn added_route(index: u32, to: Route) -> (u16, Body) {
    let mut body = route(index, to);
    if to.table == TABLE {
        // It is upstream's and ours: what Go's node has left there of the same network gives way, as with itself.
        return (NLM_F_CREATE | NLM_F_REPLACE, body);
    }
    if !is_v6(&to.net) {
        // IPv6 has such a one in any case.
        body.add(RTA_PRIORITY, &METRIC.to_ne_bytes());
    }
    (NLM_F_CREATE | NLM_F_EXCL, body)
}

const fn action_of(rule: &Rule) -> u8 {
    if rule.table == 0 { UNREACHABLE } else { TO_TABLE }
}

fn rule_body(rule: &Rule) -> Body {
    let mut head = [0; RULE_HEADER];
    head[0] = u8::from(family(rule.v6));
    (head[4], head[7]) = (rule.table, action_of(rule));
    if rule.marked == Marked::Others {
        head[8..].copy_from_slice(&INVERT.to_ne_bytes());
    }
    let mut body = Body(head.to_vec());
    body.add(FRA_PRIORITY, &rule.priority.to_ne_bytes());
    if rule.marked != Marked::Any {
        body.add(FRA_FWMARK, &BYPASS_MARK.to_ne_bytes());
        body.add(FRA_FWMASK, &MARK_MASK.to_ne_bytes());
    }
    // What has none is found without.
    if rule.protocol != 0 {
        body.add(FRA_PROTOCOL, &[rule.protocol]);
    }
    body
}
