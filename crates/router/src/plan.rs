//! What is to change to get from one state of the kernel to another. Pure.

use ipnet::IpNet;
use std::fmt;
use std::net::IpAddr;

/// What of ours is in the kernel, or is to be.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct State {
    /// Bytes of the largest packet; 0 = as it is.
    pub mtu: u32,
    /// The link is up.
    pub up: bool,
    /// Addresses of the interface.
    pub addresses: Vec<IpNet>,
    /// Routes, in order, one for each prefix in each table.
    pub routes: Vec<Route>,
    /// Policy rules.
    pub rules: Vec<Rule>,
}

/// A route to the interface, or the hint that a prefix is none of it or has no way at all.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Route {
    /// Number of the table.
    pub table: u8,
    /// Where to, without host bits.
    pub net: IpNet,
    /// Not to the interface: the search goes on in the tables behind this one.
    pub throw: bool,
    /// Not to the interface: there is no way. Only of IPv6.
    pub nowhere: bool,
    /// Not to the interface but to the router with this address behind the interface of this number.
    pub via: Option<(u32, IpAddr)>,
}

/// For which packets a policy rule is, by their marks under [`crate::MARK_MASK`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Marked {
    /// For all.
    Any,
    /// Only for those that carry [`crate::BYPASS_MARK`].
    Ours,
    /// Only for those that do not.
    Others,
}

/// A policy rule.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rule {
    /// For IPv6.
    pub v6: bool,
    /// Rules with lower numbers are asked first.
    pub priority: u32,
    /// For which packets.
    pub marked: Marked,
    /// The table to be asked; 0 = there is no way.
    pub table: u8,
    /// Who has made it, as the kernel knows: other nodes make the same rules, which do as well.
    pub protocol: u8,
}

/// One change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Op {
    /// Set MTU (0 = not) and state of the link.
    Link {
        /// Bytes.
        mtu: u32,
        /// Up or down.
        up: bool,
    },
    /// Add an address.
    AddAddress(IpNet),
    /// Add a route.
    AddRoute(Route),
    /// Add a rule.
    AddRule(Rule),
    /// Remove a rule.
    DeleteRule(Rule),
    /// Remove a route.
    DeleteRoute(Route),
    /// Remove an address.
    DeleteAddress(IpNet),
}

impl fmt::Display for Route {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let around = match (self.throw, self.nowhere) {
            (true, _) => "around ",
            (_, true) => "nowhere ",
            _ => "",
        };
        write!(f, "{around}{}", self.net)?;
        if let Some((_, router)) = self.via {
            write!(f, " via {router}")?;
        }
        if self.table == crate::layout::MAIN { Ok(()) } else { write!(f, " in table {}", self.table) }
    }
}

impl fmt::Display for Op {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (verb, rule) = match self {
            Self::Link { mtu, up } => {
                return write!(f, "set the link {} with MTU {mtu}", if *up { "up" } else { "down" });
            }
            Self::AddAddress(net) => return write!(f, "add address {net}"),
            Self::DeleteAddress(net) => return write!(f, "remove address {net}"),
            Self::AddRoute(route) => return write!(f, "add route {route}"),
            Self::DeleteRoute(route) => return write!(f, "remove route {route}"),
            Self::AddRule(rule) => ("add", rule),
            Self::DeleteRule(rule) => ("remove", rule),
        };
        let family = if rule.v6 { 6 } else { 4 };
        write!(f, "{verb} the IPv{family} policy rule {}", rule.priority)
    }
}

impl Route {
    /// Whether it leads past the interface.
    const fn leads_past(&self) -> bool {
        self.throw || self.via.is_some()
    }
}

impl Rule {
    /// Whether it does the same.
    fn is(&self, other: &Self) -> bool {
        (self.v6, self.priority, self.marked, self.table)
            == (other.v6, other.priority, other.marked, other.table)
    }
}

impl State {
    /// Puts routes in order, one for each prefix in each table; what goes around the interface wins.
    pub(crate) fn sort(&mut self) {
        let key = |a: &Route, b: &Route| (a.table, a.net, b.leads_past());
        self.routes.sort_unstable_by(|a, b| key(a, b).cmp(&key(b, a)));
        self.routes.dedup_by_key(|route| (route.table, route.net));
    }

    /// The route of `net` in `table`.
    fn route(&self, route: &Route) -> Option<&Route> {
        let key = (route.table, route.net);
        let at = self.routes.binary_search_by_key(&key, |route| (route.table, route.net)).ok()?;
        self.routes.get(at)
    }
}

/// The changes that lead from `old` to `new`, in an order the kernel takes: the link comes up first (a route needs
/// that) and goes down last, and everything new is there before anything old goes, so that traffic finds a way at any
/// moment. What goes around the interface is there before what leads to it, and exceptions before their rule.
pub fn plan(old: &State, new: &State) -> Vec<Op> {
    let mut ops = Vec::new();
    let mtu = if new.mtu == 0 { old.mtu } else { new.mtu };
    let link = Op::Link { mtu: if mtu == old.mtu { 0 } else { mtu }, up: new.up };
    let link_changes = mtu != old.mtu || new.up != old.up;
    if link_changes && new.up {
        ops.push(link);
    }
    ops.extend(missing(&new.addresses, &old.addresses).map(Op::AddAddress));
    for past in [true, false] {
        for route in new.routes.iter().filter(|route| route.leads_past() == past) {
            match old.route(route) {
                Some(same) if same == route => continue,
                // The kernel has one for each prefix.
                Some(other) => ops.push(Op::DeleteRoute(*other)),
                None => {}
            }
            ops.push(Op::AddRoute(*route));
        }
    }
    let fresh = new.rules.iter().filter(|rule| !old.rules.iter().any(|old| old.is(rule)));
    ops.extend(fresh.map(|rule| Op::AddRule(*rule)));
    let stale = old.rules.iter().rev().filter(|rule| !new.rules.iter().any(|new| new.is(rule)));
    ops.extend(stale.map(|rule| Op::DeleteRule(*rule)));
    for past in [false, true] {
        let gone = old.routes.iter().filter(|route| route.leads_past() == past && new.route(route).is_none());
        ops.extend(gone.map(|route| Op::DeleteRoute(*route)));
    }
    ops.extend(missing(&old.addresses, &new.addresses).map(Op::DeleteAddress));
    if link_changes && !new.up {
        ops.push(link);
    }
    ops
}

/// Those of `from` that `there` has not, each once.
fn missing<'a>(from: &'a [IpNet], there: &'a [IpNet]) -> impl Iterator<Item = IpNet> + 'a {
    let first = |at: usize, net: &IpNet| !from.get(..at).unwrap_or_default().contains(net);
    from.iter()
        .enumerate()
        .filter(move |(at, net)| !there.contains(net) && first(*at, net))
        .map(|(_, net)| *net)
}

#[cfg(test)]
mod tests;
