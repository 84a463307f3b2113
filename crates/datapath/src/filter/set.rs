//! A set of addresses as sorted, disjoint ranges: one binary search a lookup, whatever the number of prefixes.

use ipnet::IpNet;
use netmap::{Map, RuleSrc};
use std::cell::RefCell;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Addresses of both families.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct AddrSet {
    v4: Box<[(u32, u32)]>,
    v6: Box<[(u128, u128)]>,
}

impl AddrSet {
    /// The addresses of all `nets`.
    pub fn of_nets<'a>(nets: impl IntoIterator<Item = &'a IpNet>) -> Self {
        let mut ranges = Ranges::default();
        nets.into_iter().for_each(|net| ranges.net(net));
        ranges.into_set()
    }

    /// Whether `ip` is in the set.
    #[inline]
    pub fn contains(&self, ip: IpAddr) -> bool {
        match ip {
            IpAddr::V4(ip) => within(&self.v4, ip.to_bits()),
            IpAddr::V6(ip) => within(&self.v6, ip.to_bits()),
        }
    }

    /// True for the set of no address.
    pub fn is_empty(&self) -> bool {
        self.v4.is_empty() && self.v6.is_empty()
    }
}

#[inline]
fn within<T: Ord + Copy>(ranges: &[(T, T)], at: T) -> bool {
    let next = ranges.partition_point(|&(first, _)| first <= at);
    next.checked_sub(1).and_then(|i| ranges.get(i)).is_some_and(|&(_, last)| at <= last)
}

/// Ranges being collected, in any order, overlapping or not.
#[derive(Debug, Default)]
pub(super) struct Ranges {
    v4: Vec<(u32, u32)>,
    v6: Vec<(u128, u128)>,
}

impl Ranges {
    pub(super) fn net(&mut self, net: &IpNet) {
        match net {
            IpNet::V4(net) => self.v4.push((net.network().to_bits(), net.broadcast().to_bits())),
            IpNet::V6(net) => self.v6.push((net.network().to_bits(), net.broadcast().to_bits())),
        }
    }

    /// Adds what `src` names; a range that is not one (mixed families, wrong order) adds nothing.
    pub(super) fn rule(&mut self, src: &RuleSrc, cap_holders: CapHolders<'_>) {
        match src {
            RuleSrc::Any => {
                self.v4.push((0, u32::MAX));
                self.v6.push((0, u128::MAX));
            }
            RuleSrc::Net(net) => self.net(net),
            RuleSrc::Range(IpAddr::V4(first), IpAddr::V4(last)) => {
                self.v4.push((first.to_bits(), last.to_bits()));
            }
            RuleSrc::Range(IpAddr::V6(first), IpAddr::V6(last)) => {
                self.v6.push((first.to_bits(), last.to_bits()));
            }
            RuleSrc::Range(..) => {}
            RuleSrc::Cap(name) => cap_holders(name, &mut |net| self.net(&net)),
        }
    }

    pub(super) fn into_set(self) -> AddrSet {
        AddrSet {
            v4: merge(self.v4, |last| last.checked_add(1)),
            v6: merge(self.v6, |last| last.checked_add(1)),
        }
    }
}

/// Looks up who has a node capability: called with its name and a function that takes the peers' prefixes.
pub type CapHolders<'a> = &'a dyn Fn(&str, &mut dyn FnMut(IpNet));

/// The same, but each name is looked up once: that takes a walk over all peers, and many rules may name one capability.
pub(super) fn once_each(holders: CapHolders<'_>) -> impl Fn(&str, &mut dyn FnMut(IpNet)) {
    let known = RefCell::new(Map::<Box<str>, Vec<IpNet>>::new());
    move |name, add| {
        let mut known = known.borrow_mut();
        let nets = known.get_or_insert_with(name.into(), || {
            let mut nets = Vec::new();
            holders(name, &mut |net| nets.push(net));
            nets
        });
        nets.iter().copied().for_each(add);
    }
}

fn merge<T: Ord + Copy>(mut ranges: Vec<(T, T)>, next: impl Fn(T) -> Option<T>) -> Box<[(T, T)]> {
    ranges.retain(|(first, last)| first <= last);
    ranges.sort_unstable();
    ranges.dedup_by(|later, kept| {
        let touches = next(kept.1).is_none_or(|after| later.0 <= after);
        if touches {
            kept.1 = kept.1.max(later.1);
        }
        touches
    });
    ranges.into_boxed_slice()
}

/// The gaps between `taken` ranges, as prefixes of the family of `v4`.
pub(super) fn complement(taken: &AddrSet, v4: bool) -> Vec<IpNet> {
    let mut nets = Vec::new();
    if v4 {
        for (first, last) in gaps(&taken.v4, 0, u32::MAX, |at| at.checked_add(1), |at| at.checked_sub(1)) {
            let subnets = ipnet::Ipv4Subnets::new(Ipv4Addr::from_bits(first), Ipv4Addr::from_bits(last), 0);
            nets.extend(subnets.map(IpNet::V4));
        }
    } else {
        for (first, last) in gaps(&taken.v6, 0, u128::MAX, |at| at.checked_add(1), |at| at.checked_sub(1)) {
            let subnets = ipnet::Ipv6Subnets::new(Ipv6Addr::from_bits(first), Ipv6Addr::from_bits(last), 0);
            nets.extend(subnets.map(IpNet::V6));
        }
    }
    nets
}

fn gaps<T: Ord + Copy>(
    taken: &[(T, T)],
    least: T,
    most: T,
    up: impl Fn(T) -> Option<T>,
    down: impl Fn(T) -> Option<T>,
) -> Vec<(T, T)> {
    let mut free = Vec::new();
    let mut from = Some(least);
    for &(first, last) in taken {
        let Some(start) = from else { break };
        if let Some(end) = down(first).filter(|&end| start <= end) {
            free.push((start, end));
        }
        from = up(last);
    }
    if let Some(start) = from {
        free.push((start, most));
    }
    free
}

#[cfg(test)]
mod tests {
    use super::*;

    fn nets(texts: &[&str]) -> Vec<IpNet> {
        texts.iter().map(|t| t.parse().expect("a prefix")).collect()
    }

    #[test]
    fn merges_and_finds() {
        let set = AddrSet::of_nets(&nets(&[
            "10.0.0.2/32",
            "10.0.0.0/31",
            "10.0.0.8/29",
            "10.0.0.3/32",
            "fd00::/8",
        ]));
        assert_eq!(set.v4.len(), 2, "touching prefixes are one range");
        for (ip, is_in) in [
            ("9.255.255.255", false),
            ("10.0.0.0", true),
            ("10.0.0.3", true),
            ("10.0.0.4", false),
            ("10.0.0.15", true),
            ("10.0.0.16", false),
            ("fd12::1", true),
            ("fc00::1", false),
            ("::ffff:10.0.0.1", false),
        ] {
            assert_eq!(set.contains(ip.parse().expect("an address")), is_in, "{ip}");
        }
    }

    #[test]
    fn whole_space_and_nothing() {
        let all = AddrSet::of_nets(&nets(&["0.0.0.0/0", "::/0", "255.255.255.255/32", "1.2.3.4/32"]));
        assert_eq!((all.v4.len(), all.v6.len()), (1, 1));
        assert!(all.contains("255.255.255.255".parse().expect("an address")));
        assert!(complement(&all, true).is_empty() && complement(&all, false).is_empty());
        let none = AddrSet::default();
        assert!(!none.contains("0.0.0.0".parse().expect("an address")));
        assert_eq!(complement(&none, true), nets(&["0.0.0.0/0"]));
        assert_eq!(complement(&none, false), nets(&["::/0"]));
    }

    #[test]
    fn what_is_left() {
        let set = AddrSet::of_nets(&nets(&["0.0.0.0/1", "192.0.0.0/2"]));
        assert_eq!(complement(&set, true), nets(&["128.0.0.0/2"]));
    }

    #[test]
    fn ranges_that_are_none() {
        let mut ranges = Ranges::default();
        let ip = |text: &str| text.parse::<IpAddr>().expect("an address");
        ranges.rule(&RuleSrc::Range(ip("10.0.0.9"), ip("10.0.0.1")), &|_, _| {});
        ranges.rule(&RuleSrc::Range(ip("10.0.0.9"), ip("fd00::1")), &|_, _| {});
        assert!(ranges.into_set().is_empty());
    }
}
