//! Which machines can reach each other directly, worked out from a plan alone.
//!
//! It knows nothing of time, of loss, of port numbers and of how nodes find paths. It asks what two machines could do
//! that have one socket each, hear from servers how they look from outside, tell each other all they know of themselves
//! by a relay, knock at every address they know of the other again and again, and answer every knock to where it came
//! from. Whoever gets an answer has a path. What they know and what NATs and firewalls have seen of them only grows,
//! so letting both knock in turns until nothing new comes of it settles the matter.
//!
//! Assumed: outer ports never collide, and mappings outlive the pause between two knocks.

use super::behaviour::{Dependence, Ports};
use super::plan::{INTERNET, Plan, SiteIx};
use std::collections::{BTreeMap, BTreeSet};

/// Rounds of knocking. Two NATs that let in everybody but show a new port to each can go on for ever.
const ROUNDS: usize = 6;

/// Who can reach whom.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Verdict {
    /// The first gets answers from the second.
    pub forth: bool,
    /// The second gets answers from the first.
    pub back: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Ip {
    /// A machine's, at one of its interfaces.
    Uplink(usize, usize),
    /// A site's outer one.
    Wan(SiteIx),
    Server(usize),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Port {
    /// The one that a machine listens on.
    Own(usize),
    /// Chosen by a NAT.
    Chosen(usize),
    /// Forwarded to a machine.
    Forwarded(usize),
    Stun,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Address {
    v4: bool,
    ip: Ip,
    port: Port,
}

/// What a mapping or filter looks at.
type Seen = (Option<Ip>, Option<Port>);

fn seen(by: Dependence, remote: Address) -> Seen {
    match by {
        Dependence::Endpoint => (None, None),
        Dependence::Address => (Some(remote.ip), None),
        Dependence::AddressPort => (Some(remote.ip), Some(remote.port)),
    }
}

struct Mind<'a> {
    plan: &'a Plan,
    /// Ports that NATs have chosen, by what they were chosen for.
    chosen: BTreeMap<(SiteIx, Address, Seen), usize>,
    /// For whom an outer address is.
    inner: BTreeMap<(SiteIx, Address), Address>,
    /// Who was written to through an outer address (with a firewall: through the machine's own).
    written: BTreeSet<(SiteIx, Address, Address)>,
    /// By what outer address a flow came in that nobody inside had asked for.
    let_in: BTreeMap<(SiteIx, Address, Address), Address>,
}

/// Whether two machines of a plan can reach each other directly, with that many STUN servers to ask.
pub fn direct_possible(plan: &Plan, a: usize, b: usize, servers: usize) -> Verdict {
    let mut mind = Mind {
        plan,
        chosen: BTreeMap::new(),
        inner: BTreeMap::new(),
        written: BTreeSet::new(),
        let_in: BTreeMap::new(),
    };
    let mut known = BTreeMap::from([(a, mind.looks(b, servers)), (b, mind.looks(a, servers))]);
    let mut verdict = Verdict::default();
    for _ in 0..ROUNDS {
        for (from, to, answered) in [(a, b, &mut verdict.forth), (b, a, &mut verdict.back)] {
            for at in known[&from].clone() {
                let Some(seen_as) = mind.carry(from, at, to) else { continue };
                known.entry(to).or_default().insert(seen_as);
                *answered |= mind.carry(to, seen_as, from).is_some();
            }
        }
    }
    verdict
}

impl Mind<'_> {
    /// How a machine looks from everywhere it can find out about.
    fn looks(&mut self, machine: usize, servers: usize) -> BTreeSet<Address> {
        let mut all = BTreeSet::new();
        for (n, up) in self.plan.machines[machine].uplinks.iter().enumerate() {
            let port = Port::Own(machine);
            let own = [(true, up.v4.is_some()), (false, up.v6.is_some())];
            all.extend(own.iter().filter(|(_, has)| *has).map(|(v4, _)| Address {
                v4: *v4,
                ip: Ip::Uplink(machine, n),
                port,
            }));
            if up.mapped.is_some() && up.v4.is_some() {
                let inner = Address { v4: true, ip: Ip::Uplink(machine, n), port };
                let outer = Address { v4: true, ip: Ip::Wan(up.site), port: Port::Forwarded(machine) };
                self.inner.insert((up.site, outer), inner);
                all.insert(outer);
            }
        }
        for n in 0..servers {
            for v4 in [true, false] {
                let server = Address { v4, ip: Ip::Server(n), port: Port::Stun };
                all.extend(self.climb(machine, server).map(|(_, seen_as)| seen_as));
            }
        }
        all
    }

    /// A datagram from one machine to an address; how its sender looks to the other machine if it gets there.
    fn carry(&mut self, from: usize, to: Address, receiver: usize) -> Option<Address> {
        let (level, seen_as) = self.climb(from, to)?;
        (self.descend(level, seen_as, to)? == receiver).then_some(seen_as)
    }

    /// Goes up to where the address is known.
    fn climb(&mut self, machine: usize, to: Address) -> Option<(SiteIx, Address)> {
        let uplinks = &self.plan.machines[machine].uplinks;
        let usable = |n: &usize| uplinks[*n].address(to.v4).is_some();
        let near = |n: &usize| self.shares_a_lan(uplinks[*n].site, to);
        let mut all = (0..uplinks.len()).filter(usable);
        let n = all.clone().find(near).or_else(|| all.next())?;
        let mut level = uplinks[n].site;
        let mut from = Address { v4: to.v4, ip: Ip::Uplink(machine, n), port: Port::Own(machine) };
        while !self.is_known_at(level, to) {
            let site = self.plan.site(level);
            if level == INTERNET || !site.udp {
                return None;
            }
            if to.v4 {
                from = self.translate(level, from, to)?;
            } else {
                site.v6?;
                self.written.insert((level, from, to));
            }
            level = site.parent;
        }
        Some((level, from))
    }

    fn translate(&mut self, site: SiteIx, inner: Address, to: Address) -> Option<Address> {
        if let Some(outer) = self.let_in.get(&(site, inner, to)) {
            return Some(*outer);
        }
        let nat = self.plan.site(site).v4.as_ref()?.nat;
        let port = match nat.ports {
            Ports::Kept => inner.port,
            Ports::Random => {
                let next = self.chosen.len();
                Port::Chosen(*self.chosen.entry((site, inner, seen(nat.mapping, to))).or_insert(next))
            }
        };
        let outer = Address { v4: true, ip: Ip::Wan(site), port };
        self.inner.insert((site, outer), inner);
        self.written.insert((site, outer, to));
        Some(outer)
    }

    /// Goes down to a machine.
    fn descend(&mut self, mut level: SiteIx, from: Address, mut to: Address) -> Option<usize> {
        loop {
            let below = match to.ip {
                Ip::Server(_) => return None,
                Ip::Uplink(machine, n) => {
                    let site = self.plan.machines[machine].uplinks[n].site;
                    if site == level {
                        return Some(machine);
                    }
                    self.towards(level, site)
                }
                Ip::Wan(site) => site,
            };
            let site = self.plan.site(below);
            if !site.udp {
                return None;
            }
            if to.v4 {
                to = self.admit(below, from, to)?;
            } else if let Some(by) = site.v6?.filtering {
                let allowed = |(at, inner, remote): &(SiteIx, Address, Address)| {
                    *at == below && *inner == to && seen(by, *remote) == seen(by, from)
                };
                if !self.written.iter().any(allowed) {
                    return None;
                }
            }
            level = below;
        }
    }

    fn admit(&mut self, site: SiteIx, from: Address, outer: Address) -> Option<Address> {
        let nat = self.plan.site(site).v4.as_ref()?.nat;
        if from.ip == Ip::Wan(site) && !nat.hairpin {
            return None;
        }
        let inner = *self.inner.get(&(site, outer))?;
        if matches!(outer.port, Port::Forwarded(_)) {
            self.let_in.insert((site, inner, from), outer);
            return Some(inner);
        }
        let allowed = |(at, through, remote): &(SiteIx, Address, Address)| {
            *at == site && *through == outer && seen(nat.filtering, *remote) == seen(nat.filtering, from)
        };
        self.written.iter().any(allowed).then_some(inner)
    }

    /// Whether a site knows the way to an address without sending it up.
    fn is_known_at(&self, level: SiteIx, to: Address) -> bool {
        match to.ip {
            Ip::Server(_) => level == INTERNET,
            Ip::Wan(site) => self.plan.site(site).parent == level,
            Ip::Uplink(machine, n) => {
                let site = self.plan.machines[machine].uplinks[n].site;
                site == level || (!to.v4 && self.plan.is_within(site, level))
            }
        }
    }

    /// Whether an address looks as if it were on a site's LAN.
    fn shares_a_lan(&self, site: SiteIx, to: Address) -> bool {
        let lan = |site: SiteIx| self.plan.site(site).v4.as_ref().map(|v4| v4.lan);
        let home = match to.ip {
            Ip::Server(_) => return false,
            Ip::Wan(below) => self.plan.site(below).parent,
            Ip::Uplink(machine, n) => self.plan.machines[machine].uplinks[n].site,
        };
        site != INTERNET && if to.v4 { lan(site).is_some() && lan(site) == lan(home) } else { site == home }
    }

    fn towards(&self, level: SiteIx, mut site: SiteIx) -> SiteIx {
        while self.plan.site(site).parent != level && site != INTERNET {
            site = self.plan.site(site).parent;
        }
        site
    }
}
