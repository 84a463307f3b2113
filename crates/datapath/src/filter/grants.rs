//! Capabilities that rules grant peers towards our addresses: what whois and the PeerAPI ask for.

use super::set::{AddrSet, once_each};
use super::{FilterInput, sources};
use netmap::{CapGrant, CapMap};
use std::net::IpAddr;

/// All grants in force. Kept apart from the filter, since packets never need them.
#[derive(Debug, Default)]
pub struct Grants(Box<[Granting]>);

/// One rule that grants.
#[derive(Debug)]
struct Granting {
    srcs: AddrSet,
    /// What is granted towards which of our addresses.
    grants: Box<[(AddrSet, CapMap)]>,
}

impl Grants {
    /// Collects the grants of the rules; with shields up there are none.
    pub fn compile(input: &FilterInput<'_>) -> Self {
        let granting = input.rules.iter().filter(|rule| !input.shields_up && !rule.cap_grants.is_empty());
        let grant = |grant: &CapGrant| (AddrSet::of_nets(&grant.dsts), grant.caps.clone());
        let holders = once_each(input.cap_holders);
        let compiled = granting.map(|rule| Granting {
            srcs: sources(rule, &holders),
            grants: rule.cap_grants.iter().map(grant).collect(),
        });
        Self(compiled.collect())
    }

    /// What a peer at `src` may do with `dst`, an address of ours; values of several grants of one name follow
    /// each other in order of the rules.
    pub fn caps_for(&self, src: IpAddr, dst: IpAddr) -> CapMap {
        let mut caps = CapMap::new();
        for rule in self.0.iter().filter(|rule| rule.srcs.contains(src)) {
            for (_, granted) in rule.grants.iter().filter(|(dsts, _)| dsts.contains(dst)) {
                for (name, values) in granted {
                    let all = caps.entry(name.clone()).or_default();
                    *all = std::mem::take(all).into_iter().chain(values.iter().cloned()).collect();
                }
            }
        }
        caps
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use netmap::{FilterRule, IpNet, RuleSrc};

    #[test]
    fn grants_add_up() {
        let net = |text: &str| text.parse::<IpNet>().expect("a prefix");
        let caps = |name: &str, values: &[&str]| {
            CapMap::from([(name.into(), values.iter().map(|v| Box::from(*v)).collect())])
        };
        let rule = |src: &str, name: &str, values: &[&str]| FilterRule {
            srcs: [RuleSrc::Net(net(src))].into(),
            cap_grants: Box::new([CapGrant {
                dsts: Box::new([net("100.64.0.1/32")]),
                caps: caps(name, values),
            }]),
            ..FilterRule::default()
        };
        let rules = [
            rule("100.64.0.2/32", "a", &["1"]),
            rule("100.64.0.0/24", "a", &["2"]),
            rule("100.64.0.3/32", "b", &[]),
        ];
        let rules: Vec<&FilterRule> = rules.iter().collect();
        let mut input = FilterInput { rules: &rules, local: &[], shields_up: false, cap_holders: &|_, _| {} };
        let grants = Grants::compile(&input);
        let ask = |src: &str, dst: &str| grants.caps_for(src.parse().expect("ip"), dst.parse().expect("ip"));
        assert_eq!(ask("100.64.0.2", "100.64.0.1"), caps("a", &["1", "2"]));
        assert_eq!(ask("100.64.0.3", "100.64.0.1").len(), 2);
        assert!(ask("100.64.0.2", "100.64.0.9").is_empty());
        input.shields_up = true;
        assert!(Grants::compile(&input).0.is_empty());
    }
}
