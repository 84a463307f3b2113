//! What is to change to get from one configuration to another. Pure.

use ipnet::IpNet;
use std::fmt;

/// The configuration of one interface, whole.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Config {
    /// Bytes of the largest packet; 0 = leave it as it is.
    pub mtu: u32,
    /// The link is up.
    pub up: bool,
    /// Addresses with their prefix lengths.
    pub addresses: Vec<IpNet>,
    /// Routes to the interface, in the main table.
    pub routes: Vec<IpNet>,
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
    AddRoute(IpNet),
    /// Remove a route.
    DeleteRoute(IpNet),
    /// Remove an address.
    DeleteAddress(IpNet),
}

impl fmt::Display for Op {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Link { mtu, up } => {
                write!(f, "set the link {} with MTU {mtu}", if *up { "up" } else { "down" })
            }
            Self::AddAddress(net) => write!(f, "add address {net}"),
            Self::AddRoute(net) => write!(f, "add route {net}"),
            Self::DeleteRoute(net) => write!(f, "remove route {net}"),
            Self::DeleteAddress(net) => write!(f, "remove address {net}"),
        }
    }
}

/// The changes that lead from `old` to `new`, in an order the kernel takes: the link comes up first (a route needs
/// that) and goes down last, and everything new is there before anything old goes, so that traffic finds a way at any
/// moment.
pub fn plan(old: &Config, new: &Config) -> Vec<Op> {
    let mut ops = Vec::new();
    let mtu = if new.mtu == 0 { old.mtu } else { new.mtu };
    let link = Op::Link { mtu: if mtu == old.mtu { 0 } else { mtu }, up: new.up };
    let link_changes = mtu != old.mtu || new.up != old.up;
    if link_changes && new.up {
        ops.push(link);
    }
    ops.extend(missing(&new.addresses, &old.addresses).map(Op::AddAddress));
    ops.extend(missing(&new.routes, &old.routes).map(Op::AddRoute));
    ops.extend(missing(&old.routes, &new.routes).map(Op::DeleteRoute));
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
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn nets(texts: &[&str]) -> Vec<IpNet> {
        texts.iter().map(|text| text.parse().expect("prefix")).collect()
    }

    #[test]
    fn order_of_the_kernel() {
        let old = Config {
            mtu: 1500,
            up: false,
            addresses: nets(&["100.64.0.1/32"]),
            routes: nets(&["10.0.0.0/8"]),
        };
        let new = Config {
            mtu: 1280,
            up: true,
            addresses: nets(&["100.64.0.2/32", "fd7a::2/128"]),
            routes: nets(&["100.64.0.0/10"]),
        };
        let texts: Vec<String> = plan(&old, &new).iter().map(ToString::to_string).collect();
        let up = [
            "set the link up with MTU 1280",
            "add address 100.64.0.2/32",
            "add address fd7a::2/128",
            "add route 100.64.0.0/10",
            "remove route 10.0.0.0/8",
            "remove address 100.64.0.1/32",
        ];
        assert_eq!(texts, up);
        assert!(matches!(plan(&new, &old).last(), Some(Op::Link { mtu: 1500, up: false })));
        assert_eq!(plan(&new, &new), []);
        assert_eq!(plan(&new, &Config { mtu: 0, ..new.clone() }), [], "MTU 0 leaves it");
    }

    /// What a kernel without opinions would have after `op`.
    fn carry_out(state: &mut Config, op: Op) {
        match op {
            Op::Link { mtu, up } => {
                state.up = up;
                state.mtu = if mtu == 0 { state.mtu } else { mtu };
            }
            Op::AddAddress(net) => state.addresses.push(net),
            Op::AddRoute(net) => state.routes.push(net),
            Op::DeleteRoute(net) => state.routes.retain(|had| *had != net),
            Op::DeleteAddress(net) => state.addresses.retain(|had| *had != net),
        }
    }

    fn config() -> impl Strategy<Value = Config> {
        let net = (any::<bool>(), 0_u8..6, 20_u8..=32).prop_map(|(v6, n, len)| {
            let text = if v6 { format!("fd00::{n}/{len}") } else { format!("100.64.{n}.0/{len}") };
            text.parse::<IpNet>().expect("prefix")
        });
        let some = || proptest::collection::vec(net.clone(), 0..6);
        (prop_oneof![Just(1280_u32), Just(1500)], any::<bool>(), some(), some())
            .prop_map(|(mtu, up, addresses, routes)| Config { mtu, up, addresses, routes })
    }

    proptest! {
        /// Whatever is in force, the plan leads to what is wanted, and then there is nothing left to do.
        #[test]
        fn leads_there(old in config(), new in config()) {
            let mut state = old.clone();
            for op in plan(&old, &new) {
                if let Op::AddAddress(net) = op {
                    prop_assert!(!state.addresses.contains(&net));
                }
                carry_out(&mut state, op);
            }
            prop_assert_eq!(plan(&state, &new), vec![]);
            prop_assert_eq!((state.mtu, state.up), (new.mtu, new.up));
        }
    }
}
