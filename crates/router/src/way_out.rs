//! The way out of this machine by IPv6 that is not the tunnel, asked of the kernel: in `/proc`, where that of IPv4 is read, the
//! routes of all tables stand side by side, and nothing tells which is whose.
//!
//! Leaves out: what follows from it (the caller), policy rules.

use crate::attributes::{Body, attributes, number};
use crate::kernel::{GET_ROUTE, ROUTE_HEADER, RTA_GATEWAY, RTA_OIF, RTA_PRIORITY, RTA_TABLE, addr, family};
use crate::layout::MAIN;
use crate::netlink::Netlink;
use netlink_packet_route::route::{RouteHeader, RouteType};
use rustix::io::Errno;
use std::net::IpAddr;

/// Several ways of one route, each with a head of eight bytes: its length, flags, weight and interface.
const RTA_MULTIPATH: u16 = 9;
const NEXT_HOP_HEADER: usize = 8;

/// `RTNH_F_DEAD`: the interface is down.
const DEAD: u32 = 1;

/// Where a default route leads: number of the interface, and the router behind it if there is one.
pub type WayOut = (u32, Option<IpAddr>);

/// The default route of IPv6 in the main table that costs least and does not lead to the interface `own`, the first of
/// several.
pub(crate) fn way_out_v6(netlink: &mut Netlink, own: u32) -> Result<Option<WayOut>, Errno> {
    let head = RouteHeader {
        address_family: family(true),
        table: MAIN,
        kind: RouteType::Unicast,
        ..RouteHeader::default()
    };
    let mut best: Option<(u32, WayOut)> = None;
    let asked = netlink.dump(GET_ROUTE, Body::new(&head), &mut |_, payload| {
        let Some((metric, way)) = default_route(payload, own) else { return };
        if best.is_none_or(|(least, _)| metric < least) {
            best = Some((metric, way));
        }
    });
    match asked {
        // A kernel without the family, or without the table.
        Ok(()) | Err(Errno::OPNOTSUPP | Errno::AFNOSUPPORT | Errno::NOENT) => Ok(best.map(|(_, way)| way)),
        Err(errno) => Err(errno),
    }
}

/// What a route costs and where it leads, if it is a default route of the main table that leads elsewhere than to `own`.
fn default_route(payload: &[u8], own: u32) -> Option<(u32, WayOut)> {
    let head = RouteHeader::parse(payload).ok()?;
    let everything = head.destination_prefix_length == 0 && head.source_prefix_length == 0;
    let dead = number(payload.get(8..)?)? & DEAD != 0;
    let (mut table, mut metric, mut several) = (u32::from(head.table), 0, None);
    let mut one = Hop::default();
    attributes(payload, ROUTE_HEADER, &mut |kind, value| match kind {
        RTA_TABLE => table = number(value).unwrap_or_default(),
        RTA_PRIORITY => metric = number(value).unwrap_or_default(),
        RTA_MULTIPATH => several = first_of(value, own),
        _ => one.read(kind, value),
    });
    let leads = everything && !dead && head.kind == RouteType::Unicast && table == u32::from(MAIN);
    let Hop { to, router } = several.unwrap_or(one);
    leads.then_some((metric, (to.filter(|to| *to != own)?, router)))
}

#[derive(Default)]
struct Hop {
    to: Option<u32>,
    router: Option<IpAddr>,
}

impl Hop {
    fn read(&mut self, kind: u16, value: &[u8]) {
        match kind {
            RTA_OIF => self.to = number(value),
            RTA_GATEWAY => self.router = addr(value),
            _ => {}
        }
    }
}

/// The first of several ways that is not by `own`.
fn first_of(mut rest: &[u8], own: u32) -> Option<Hop> {
    loop {
        let [a, b, _, _, ..] = *rest else { return None };
        let len = usize::from(u16::from_ne_bytes([a, b])).max(NEXT_HOP_HEADER);
        let one = rest.get(..len)?;
        let mut hop = Hop { to: number(one.get(4..)?), router: None };
        attributes(one, NEXT_HOP_HEADER, &mut |kind, value| hop.read(kind, value));
        if hop.to != Some(own) {
            return Some(hop);
        }
        rest = rest.get(len.next_multiple_of(4)..)?;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn anything(bytes: Vec<u8>) {
            let _ = default_route(&bytes, 1);
            let _ = first_of(&bytes, 1);
        }
    }
}
