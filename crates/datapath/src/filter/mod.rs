//! The packet filter: which packets from peers reach this machine or the networks behind it.
//!
//! Owns: the rules of the netmap in a form for fast matching ([`Filter`]), the flows whose replies pass
//! ([`FlowTable`]), the local set ([`local_set`]), capability grants ([`Grants`]). The order of decisions is that of
//! the protocol reference §7.2, but that ICMP passes by rules for any protocol: that is what upstream does. Leaves out:
//! whether a source belongs to the peer that sent it (routes do that, before), what becomes of refused packets.
//!
//! What cannot be understood allows nothing: a rule entry that is broken is left out, and with no rule or no local
//! set nothing passes.

mod flow;
mod grants;
mod local;
mod set;
mod siphash;

pub use flow::{Announcer, DEFAULT_FLOWS, FlowTable, FlowTuple};
pub use grants::Grants;
pub use local::{local_set, shrink_default_route};
pub use set::{AddrSet, CapHolders};
pub use siphash::SipKey;

use crate::drop::DropReason;
use crate::packet::{Fragment, Parsed, proto};
use ipnet::IpNet;
use netmap::{FilterRule, PortRange, RuleDst};
use set::{Ranges, once_each};
use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

/// What a filter is made from.
#[derive(Clone, Copy)]
pub struct FilterInput<'a> {
    /// All rules in force (`NetMap::filter_rules`). Before the first filter came use [`Filter::deny_all`].
    pub rules: &'a [&'a FilterRule],
    /// Destinations that are ours, see [`local_set`].
    pub local: &'a [IpNet],
    /// Accept nothing that a peer begins.
    pub shields_up: bool,
    /// Who has a node capability, for `cap:` sources: their own addresses.
    pub cap_holders: CapHolders<'a>,
}

/// Rules compiled for matching. Immutable: a change of the input makes a new one, flows are kept apart from it.
#[derive(Debug, Default)]
pub struct Filter {
    local: AddrSet,
    /// Distinct sets of addresses, named by their place.
    sets: Box<[AddrSet]>,
    rules: Box<[Rule]>,
    shields_up: bool,
    /// Where anybody may open a TCP connection.
    open: Box<[SocketAddr]>,
}

#[derive(Debug)]
struct Rule {
    protos: Protos,
    srcs: u32,
    /// Destinations by range of ports.
    dsts: Box<[(PortRange, u32)]>,
}

/// Which part of a rule's port ranges must fit.
#[derive(Clone, Copy)]
enum Ports {
    /// One that contains this port.
    One(u16),
    /// Any one, and any protocol: whoever may reach a port of an address may ask it for an echo.
    Ignored,
    /// The range of all ports: the filter cannot see what the protocol has.
    All,
}

/// The one link-local address that packets may go to: cloud metadata services.
const CLOUD_METADATA: Ipv4Addr = Ipv4Addr::new(169, 254, 169, 254);

impl Filter {
    /// Lets nothing in: before the first packet filter arrives, and in every state but Running.
    pub fn deny_all() -> Self {
        Self::default()
    }

    /// Compiles the rules.
    pub fn compile(input: &FilterInput<'_>) -> Self {
        let mut sets = Interned::default();
        let mut rules = Vec::new();
        let holders = once_each(input.cap_holders);
        for rule in input.rules.iter().filter(|_| !input.shields_up) {
            // Grouped by ports, so that a rule for many hosts is one lookup. Sorted at once, in whatever order they come, and
            // as pairs of numbers: the code for that is there for addresses.
            let by_ports = |dst: &RuleDst| u32::from(dst.ports.first) << 16 | u32::from(dst.ports.last);
            let mut places: Vec<_> = rule.dsts.iter().map(by_ports).zip(0u32..).collect();
            places.sort_unstable();
            let mut dsts = Vec::new();
            for group in places.chunk_by(|a, b| a.0 == b.0) {
                let of_group = group.iter().filter_map(|&(_, place)| rule.dsts.get(place as usize));
                let mut ranges = Ranges::default();
                let mut ports = None;
                for dst in of_group.filter(|dst| dst.ports.first <= dst.ports.last) {
                    ranges.rule(&dst.net, &|_, _| {});
                    ports = Some(dst.ports);
                }
                let set = ranges.into_set();
                if let Some(ports) = ports.filter(|_| !set.is_empty()) {
                    dsts.push((ports, sets.place(set)));
                }
            }
            let srcs = sources(rule, &holders);
            if !dsts.is_empty() && !srcs.is_empty() {
                let (protos, srcs) = (Protos::new(&rule.protos), sets.place(srcs));
                rules.push(Rule { protos, srcs, dsts: dsts.into_boxed_slice() });
            }
        }
        Self {
            local: AddrSet::of_nets(input.local),
            sets: sets.into_sets(),
            rules: rules.into_boxed_slice(),
            shields_up: input.shields_up,
            open: Box::default(),
        }
    }

    /// The same, but for TCP to these addresses of ours, which judge for themselves who may come: the PeerAPI.
    #[must_use]
    pub fn with_open(self, open: &[SocketAddr]) -> Self {
        Self { open: open.into(), ..self }
    }

    /// Whether a packet from a peer may pass. The caller has checked its source against the peer. A `jailed` peer
    /// is treated as with shields up.
    ///
    /// Errors: why not. Keepalives (length 0) never get here.
    #[inline]
    pub fn check_in(&self, packet: &Parsed, flows: &mut FlowTable, jailed: bool) -> Result<(), DropReason> {
        check_destination(packet.dst)?;
        // A later fragment has nothing to judge by; without its first one it is worth nothing. Its destination
        // must be ours all the same: kernels forward stray fragments.
        if !self.local.contains(packet.dst) {
            return Err(DropReason::NotLocal);
        }
        if packet.fragment == Fragment::Later {
            return Ok(());
        }
        let ports = match packet.proto {
            _ if packet.is_icmp() => {
                if packet.is_echo_reply() || packet.is_icmp_error() {
                    return Ok(());
                }
                Ports::Ignored
            }
            proto::TCP if !packet.is_tcp_syn() => return Ok(()),
            proto::TCP if self.is_open(packet, jailed) => return Ok(()),
            proto::TCP => Ports::One(packet.dst_port),
            proto::UDP | proto::SCTP => {
                if flows.hit(&tuple(packet)) {
                    return Ok(());
                }
                Ports::One(packet.dst_port)
            }
            proto::TSMP => return Ok(()),
            _ => Ports::All,
        };
        if !jailed && self.matches(packet.proto, packet.src, packet.dst, ports) {
            Ok(())
        } else {
            Err(DropReason::Acl)
        }
    }

    /// Whether a packet of ours may go to a peer, and the flow to announce to the rx line before it is sent (for
    /// UDP and SCTP, turned round already).
    #[inline]
    pub fn check_out(&self, packet: &Parsed) -> Result<Option<FlowTuple>, DropReason> {
        check_destination(packet.dst)?;
        if packet.fragment == Fragment::Later || !matches!(packet.proto, proto::UDP | proto::SCTP) {
            return Ok(None);
        }
        let FlowTuple { src, dst, src_port, dst_port, proto } = tuple(packet);
        Ok(Some(FlowTuple { src: dst, dst: src, src_port: dst_port, dst_port: src_port, proto }))
    }

    /// Whether a peer at `src` may begin to speak `proto` with `port` of `dst` (ports and the rules' protocols
    /// are ignored for ICMP, as upstream does).
    pub fn allows(&self, proto: u8, src: IpAddr, dst: IpAddr, port: u16) -> bool {
        let ports = match proto {
            proto::ICMP | proto::ICMPV6 => Ports::Ignored,
            proto::TCP | proto::UDP | proto::SCTP => Ports::One(port),
            _ => Ports::All,
        };
        self.local.contains(dst) && self.matches(proto, src, dst, ports)
    }

    /// Whether `ip` is one of our own or advertised addresses.
    pub fn is_local(&self, ip: IpAddr) -> bool {
        self.local.contains(ip)
    }

    /// Whether everything that peers begin is refused by preference.
    pub const fn shields_up(&self) -> bool {
        self.shields_up
    }

    fn is_open(&self, packet: &Parsed, jailed: bool) -> bool {
        !jailed && self.open.iter().any(|at| at.ip() == packet.dst && at.port() == packet.dst_port)
    }

    fn matches(&self, proto: u8, src: IpAddr, dst: IpAddr, ports: Ports) -> bool {
        let has = |set: u32, ip| self.sets.get(set as usize).is_some_and(|set: &AddrSet| set.contains(ip));
        self.rules.iter().any(|rule| {
            (matches!(ports, Ports::Ignored) || rule.protos.contains(proto))
                && rule.dsts.iter().any(|&(range, set)| ports.fit(range) && has(set, dst))
                && has(rule.srcs, src)
        })
    }
}

impl Ports {
    fn fit(self, range: PortRange) -> bool {
        match self {
            Self::One(port) => range.contains(port),
            Self::Ignored => true,
            Self::All => range == PortRange::ALL,
        }
    }
}

/// The sources of a rule.
fn sources(rule: &FilterRule, cap_holders: CapHolders<'_>) -> AddrSet {
    let mut ranges = Ranges::default();
    rule.srcs.iter().for_each(|src| ranges.rule(src, cap_holders));
    ranges.into_set()
}

#[inline]
const fn tuple(packet: &Parsed) -> FlowTuple {
    FlowTuple {
        src: packet.src,
        dst: packet.dst,
        src_port: packet.src_port,
        dst_port: packet.dst_port,
        proto: packet.proto,
    }
}

/// Refuses destinations that no packet in the tunnel may have, in either direction.
#[inline]
fn check_destination(dst: IpAddr) -> Result<(), DropReason> {
    let (multicast, link_local) = match dst {
        IpAddr::V4(ip) => (ip.is_multicast(), ip.is_link_local() && ip != CLOUD_METADATA),
        IpAddr::V6(ip) => (ip.is_multicast(), ip.is_unicast_link_local()),
    };
    match (multicast, link_local) {
        (true, _) => Err(DropReason::Multicast),
        (_, true) => Err(DropReason::LinkLocal),
        _ => Ok(()),
    }
}

/// A set of IP protocol numbers.
#[derive(Debug, Clone, Copy)]
struct Protos([u32; 8]);

impl Protos {
    /// `listed`, or what an empty list stands for.
    fn new(listed: &[u8]) -> Self {
        let usual = [proto::TCP, proto::UDP, proto::ICMP, proto::ICMPV6];
        let mut bits = [0u32; 8];
        for &proto in if listed.is_empty() { &usual[..] } else { listed } {
            bits[usize::from(proto >> 5)] |= 1 << (proto & 31);
        }
        Self(bits)
    }

    #[inline]
    const fn contains(&self, proto: u8) -> bool {
        self.0[(proto >> 5) as usize] & 1 << (proto & 31) != 0
    }
}

/// Sets of addresses, each kept once: policies name the same group in many rules.
#[derive(Default)]
struct Interned(BTreeMap<AddrSet, u32>);

impl Interned {
    fn place(&mut self, set: AddrSet) -> u32 {
        let next = self.0.len() as u32;
        *self.0.entry(set).or_insert(next)
    }

    fn into_sets(self) -> Box<[AddrSet]> {
        let mut sets: Vec<(u32, AddrSet)> = self.0.into_iter().map(|(set, place)| (place, set)).collect();
        sets.sort_unstable_by_key(|(place, _)| *place);
        sets.into_iter().map(|(_, set)| set).collect()
    }
}

#[cfg(test)]
mod tests;
