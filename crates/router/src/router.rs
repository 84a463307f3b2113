//! The executor: what the kernel has, what it should have, and the difference carried out and read back.

use crate::kernel::{self, Link, is_v6};
use crate::layout::{BYPASS_MARK, Config, Ipv6, Layout, Neighbour, lay_out};
use crate::netlink::{Message, Netlink};
use crate::plan::{Route, State};
use crate::way_out::{WayOut, way_out_v6};
use crate::{Error, Op, plan};
use ipnet::IpNet;
use netlink_sys::protocols::NETLINK_ROUTE;
use rustix::io::Errno;
use std::net::IpAddr;

/// How many changes go into one datagram. The refusals of all of them fit into the socket's buffer.
const BATCH: usize = 100;

/// How many new routes of a family are read back. They share their fate: what hides one of them (a policy rule) hides them
/// all.
const READ_BACK: usize = 8;

/// Keeps one interface as configured.
#[derive(Debug)]
pub struct Router {
    netlink: Netlink,
    interface: String,
    /// The interface as it was found.
    found: Link,
    /// Large packets have been limited.
    limited: bool,
    /// Addresses in these are ours even if this run has not set them.
    ranges: Vec<IpNet>,
    /// Addresses this run has set.
    set: Vec<IpNet>,
    ipv6: Ipv6,
    /// What was applied last without a problem.
    in_force: Option<State>,
    /// What `Layout::Auto` stands for here, once that is known.
    chosen: Option<Layout>,
    /// How much has been changed so far.
    changes: u32,
}

impl Router {
    /// A router for an interface that exists. Addresses in `ranges` on it count as left by a former run.
    ///
    /// # Errors
    /// When there is no such interface or the kernel cannot be asked.
    pub fn open(interface: &str, ranges: &[IpNet]) -> Result<Self, Error> {
        let mut netlink = Netlink::open(NETLINK_ROUTE).map_err(Error::Netlink)?;
        let found = kernel::link(&mut netlink, interface).map_err(Error::Netlink)?;
        let found = found.ok_or_else(|| Error::NoInterface(interface.to_owned()))?;
        Ok(Self {
            netlink,
            interface: interface.to_owned(),
            found,
            limited: false,
            ranges: ranges.to_vec(),
            set: Vec::new(),
            ipv6: ipv6_of(interface),
            in_force: None,
            chosen: None,
            changes: 0,
        })
    }

    /// The interface's name.
    pub fn interface(&self) -> &str {
        &self.interface
    }

    /// Whether the interface can have IPv6, as it was when that was looked at last ([`Self::apply`] does); if not, that half
    /// of a configuration is left out or leads nowhere ([`lay_out`]).
    pub fn has_ipv6(&self) -> bool {
        self.ipv6 == Ipv6::On
    }

    /// Has the kernel hand over large packets (`Tun::ask_for_large`) of at most `bytes` bytes with their headers; false
    /// where it does not let itself be told, and goes on with up to 64 KiB.
    pub fn limit_large(&mut self, bytes: u32) -> bool {
        self.limited =
            self.found.large != 0 && kernel::limit_large(&mut self.netlink, self.found.index, bytes).is_ok();
        self.limited
    }

    /// Where [`Layout::Auto`] puts routes; `None` before the first of them.
    pub const fn layout(&self) -> Option<Layout> {
        self.chosen
    }

    /// The kernel's number for the sender of our changes, by which those who listen tell them from other people's.
    pub const fn port(&self) -> u32 {
        self.netlink.port()
    }

    /// Where the machine's default route of IPv6 leads, by the main table and apart from this interface; `None` where there is
    /// none.
    ///
    /// # Errors
    /// When the kernel cannot be asked.
    pub fn way_out_v6(&mut self) -> Result<Option<WayOut>, Error> {
        way_out_v6(&mut self.netlink, self.found.index).map_err(Error::Netlink)
    }

    /// How many changes have been asked of the kernel so far.
    pub const fn changes(&self) -> u32 {
        self.changes
    }

    /// How many netlink messages have been sent so far.
    pub const fn messages(&self) -> u32 {
        self.netlink.sent()
    }

    /// Brings the interface to `config`, as far as it differs, and reads routes back. Goes on after a refusal; what
    /// is returned is everything that is not as it should be, empty when all is well.
    ///
    /// What differs from the last application is changed without looking at the rest. The same configuration once more,
    /// and whatever comes after a problem, looks at everything, so others' meddling is mended then.
    pub fn apply(&mut self, config: &Config) -> Vec<Error> {
        let mut config = config.clone();
        // It can be switched at any time.
        self.ipv6 = ipv6_of(&self.interface);
        let undecided = config.layout == Layout::Auto && self.chosen.is_none();
        if config.layout == Layout::Auto {
            config.layout = self.chosen.unwrap_or(Layout::Policy);
        }
        if config.layout == Layout::Policy {
            config.neighbour = neighbour(&mut self.netlink);
        }
        let problems = self.bring_to(&config);
        if !undecided || config.routes.is_empty() {
            return problems;
        }
        if self.rules_are_followed(&config) && !problems.iter().any(Error::is_about_rules) {
            self.chosen = Some(Layout::Policy);
            return problems;
        }
        (self.chosen, config.layout) = (Some(Layout::Main), Layout::Main);
        self.bring_to(&config)
    }

    /// Removes what this and former runs have set and leaves the link as it was found. Not needed when the device
    /// goes with the process, harmless then but for policy rules, which stay. Of an interface that is gone already, that is
    /// what is removed.
    pub fn close(mut self) -> Vec<Error> {
        self.in_force = None;
        if self.limited {
            // Whoever made a device that stays may not have a use for the limit.
            let _ = kernel::limit_large(&mut self.netlink, self.found.index, self.found.large);
        }
        let left = Config { mtu: self.found.mtu, up: self.found.up, ..Config::default() };
        let problems = self.apply(&left);
        match problems.as_slice() {
            [Error::NoInterface(_)] => without_interface().unwrap_or_else(|error| vec![error]),
            _ => problems,
        }
    }

    fn bring_to(&mut self, config: &Config) -> Vec<Error> {
        let wanted = lay_out(config, self.ipv6);
        let mut problems = Vec::new();
        if let Err(error) = self.carry_out(&wanted, config, &mut problems) {
            problems.push(error);
        }
        if problems.is_empty() {
            self.in_force = Some(wanted);
        }
        problems
    }

    fn carry_out(&mut self, wanted: &State, config: &Config, problems: &mut Vec<Error>) -> Result<(), Error> {
        let mut ops = self.in_force.take().map_or_else(Vec::new, |now| plan(&now, wanted));
        if ops.is_empty() {
            let now = self.look().map_err(Error::Netlink)?;
            let Some(now) = now else { return Err(Error::NoInterface(self.interface.clone())) };
            ops = plan(&now, wanted);
        }
        self.changes = self.changes.wrapping_add(ops.len() as u32);
        let mut added = Vec::new();
        for ops in ops.chunks(BATCH) {
            let taken = change(&mut self.netlink, self.found.index, ops, problems)?;
            for (op, taken) in ops.iter().zip(taken) {
                match op {
                    Op::AddRoute(route) if taken => added.push(*route),
                    op => note(&mut self.set, op, taken),
                }
            }
        }
        self.verify(&added, config, problems).map_err(Error::Netlink)
    }

    /// What of ours the kernel has; `None` if the interface is gone.
    fn look(&mut self) -> Result<Option<State>, Errno> {
        let Some(link) = kernel::link(&mut self.netlink, &self.interface)? else { return Ok(None) };
        if link.index != self.found.index {
            return Ok(None);
        }
        let mut addresses = kernel::addresses(&mut self.netlink, link.index)?;
        addresses.retain(|net| {
            self.set.contains(net) || self.ranges.iter().any(|range| range.contains(&net.addr()))
        });
        let (mtu, up) = (link.mtu, link.up);
        let mut state = State { mtu, up, addresses, ..ours(&mut self.netlink, link.index)? };
        state.sort();
        Ok(Some(state))
    }

    /// Whether packets follow our policy rules: ours past the tunnel, all others into it.
    fn rules_are_followed(&mut self, config: &Config) -> bool {
        [false, true].into_iter().all(|v6| {
            let nets = config.routes.iter().filter(|net| net.prefix_len() != 0 && is_v6(net) == v6);
            let nets = nets.filter(|_| !v6 || self.has_ipv6());
            let Some(addr) = probe_of(nets, config) else { return true };
            let (netlink, index) = (&mut self.netlink, self.found.index);
            kernel::way_to(netlink, addr, 0) == Some(index)
                && kernel::way_to(netlink, addr, BYPASS_MARK) != Some(index)
        })
    }

    /// Reads new routes back, which the kernel has taken: that they are there, and that packets take them, or none where
    /// there is to be no way.
    fn verify(&mut self, added: &[Route], config: &Config, problems: &mut Vec<Error>) -> Result<(), Errno> {
        let of = |v6: bool| {
            let own = added.iter().filter(|it| is_v6(&it.net) == v6 && !it.throw && it.via.is_none());
            let probed = own.filter_map(|route| Some((*route, probe_of([&route.net].into_iter(), config)?)));
            probed.take(READ_BACK).collect::<Vec<(Route, IpAddr)>>()
        };
        let added = [of(false), of(true)].concat();
        let mut there = None;
        for (route, addr) in added {
            let way = kernel::way_to(&mut self.netlink, addr, 0);
            if way == (!route.nowhere).then_some(self.found.index) {
                continue;
            }
            if there.is_none() {
                there = Some(kernel::routes(&mut self.netlink, self.found.index)?);
            }
            let net = route.net;
            problems.push(if there.as_ref().is_some_and(|there| there.contains(&route)) {
                if route.nowhere {
                    problems.push(Error::Escapes { route: net, addr });
                    continue;
                }
                Error::Diverted { route: net, addr, interface: self.interface.clone() }
            } else {
                Error::Missing(net)
            });
        }
        Ok(())
    }
}

/// What a change means to the addresses that this run has set. One that somebody else has removed is set again.
fn note(set: &mut Vec<IpNet>, op: &Op, taken: bool) {
    match op {
        Op::AddAddress(net) if taken && !set.contains(net) => set.push(*net),
        Op::DeleteAddress(net) => set.retain(|set| set != net),
        _ => {}
    }
}

/// Whose policy rules there are besides ours, told as upstream tells it.
fn neighbour(netlink: &mut Netlink) -> Neighbour {
    let there = |path: &str| std::path::Path::new(path).exists();
    if there("/usr/bin/ubnt-device-info") {
        Neighbour::Ubnt
    } else if there("/etc/config/mwan3") && kernel::mwan3_rules(netlink) {
        Neighbour::Mwan3
    } else {
        Neighbour::Nobody
    }
}

/// Routes and rules of ours that are there.
fn ours(netlink: &mut Netlink, index: u32) -> Result<State, Errno> {
    let routes = kernel::routes(netlink, index)?;
    Ok(State { routes, rules: kernel::rules_there(netlink)?, ..State::default() })
}

/// Carries out at most [`BATCH`] changes; which of them the kernel has taken.
fn change(
    netlink: &mut Netlink,
    index: u32,
    ops: &[Op],
    problems: &mut Vec<Error>,
) -> Result<[bool; BATCH], Error> {
    let mut taken = [true; BATCH];
    let mut messages: Vec<Message> = ops.iter().map(|op| kernel::message(index, *op)).collect();
    let last = messages.len().saturating_sub(1);
    let sent = netlink.batch(&mut messages, last, &mut |at, errno| {
        let (Some(op), Some(taken)) = (ops.get(at), taken.get_mut(at)) else { return true };
        if !kernel::is_done(*op, errno) {
            *taken = false;
            problems.push(match op {
                Op::AddRoute(route) if errno == Errno::EXIST => Error::Taken(route.net),
                op => Error::Refused { op: op.to_string(), errno },
            });
        }
        true
    });
    sent.map(|()| taken).map_err(Error::Netlink)
}

impl Error {
    /// Whether the kernel did not take a policy rule or a route that needs one.
    fn is_about_rules(&self) -> bool {
        matches!(self, Self::Refused { op, .. } if op.contains("rule") || op.contains("table"))
    }
}

/// An address in the first of `nets` whose middle does not go past the interface.
fn probe_of<'a>(nets: impl Iterator<Item = &'a IpNet>, config: &Config) -> Option<IpAddr> {
    let past = |addr: &IpAddr| config.around.iter().chain(&config.beyond).any(|net| net.contains(addr));
    nets.map(probe).find(|addr| !past(addr))
}

/// An address in the middle of `net`: the ends are where others have more specific routes.
fn probe(net: &IpNet) -> IpAddr {
    match net {
        IpNet::V4(net) => {
            let half = u32::MAX.checked_shr(u32::from(net.prefix_len()).saturating_add(1)).unwrap_or(0);
            IpAddr::V4((u32::from(net.network()) | half.wrapping_add(u32::from(half != 0))).into())
        }
        IpNet::V6(net) => {
            let half = u128::MAX.checked_shr(u32::from(net.prefix_len()).saturating_add(1)).unwrap_or(0);
            IpAddr::V6((u128::from(net.network()) | half.wrapping_add(u128::from(half != 0))).into())
        }
    }
}

/// What an interface may have of IPv6.
fn ipv6_of(interface: &str) -> Ipv6 {
    let file = format!("/proc/sys/net/ipv6/conf/{interface}/disable_ipv6");
    match std::fs::read_to_string(file) {
        Ok(text) if text.trim() == "0" => Ipv6::On,
        Ok(_) => Ipv6::Off,
        Err(_) => Ipv6::Absent,
    }
}

/// Removes from `interface` what runs that were killed have left. Where there is no such interface, only what outlives
/// one: policy rules and the routes around it.
///
/// # Errors
/// The first thing that could not be removed.
pub fn cleanup(interface: &str, ranges: &[IpNet]) -> Result<(), Error> {
    let problems = match Router::open(interface, ranges) {
        Ok(router) => router.close(),
        Err(Error::NoInterface(_)) => without_interface()?,
        Err(error) => return Err(error),
    };
    problems.into_iter().next().map_or(Ok(()), Err)
}

fn without_interface() -> Result<Vec<Error>, Error> {
    let mut netlink = Netlink::open(NETLINK_ROUTE).map_err(Error::Netlink)?;
    let left = ours(&mut netlink, 0).map_err(Error::Netlink)?;
    let mut problems = Vec::new();
    for ops in plan(&left, &State::default()).chunks(BATCH) {
        change(&mut netlink, 0, ops, &mut problems)?;
    }
    Ok(problems)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_that_is_put_back_is_noted_once() {
        let net = |text: &str| text.parse::<IpNet>().expect("prefix");
        let (a, b) = (net("100.64.0.7/32"), net("fd7a:115c:a1e0::7/128"));
        let mut set = Vec::new();
        for _ in 0..3 {
            note(&mut set, &Op::AddAddress(a), true);
            note(&mut set, &Op::AddAddress(b), true);
        }
        assert_eq!(set, [a, b]);
        note(&mut set, &Op::DeleteAddress(a), true);
        note(&mut set, &Op::AddAddress(a), false);
        assert_eq!(set, [b]);
    }

    #[test]
    fn probes_lie_in_the_middle() {
        for (net, want) in [
            ("100.64.0.0/10", "100.96.0.0"),
            ("0.0.0.0/0", "128.0.0.0"),
            ("10.1.2.3/32", "10.1.2.3"),
            ("10.1.2.2/31", "10.1.2.2"),
            ("fd7a:115c:a1e0::/48", "fd7a:115c:a1e0:8000::"),
            ("::/0", "8000::"),
            ("fd00::1/128", "fd00::1"),
        ] {
            assert_eq!(probe(&net.parse().expect("prefix")), want.parse::<IpAddr>().expect("addr"), "{net}");
        }
    }
}
