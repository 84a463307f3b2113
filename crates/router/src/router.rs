//! The executor: what the kernel has, what it should have, and the difference carried out and read back.

use crate::kernel::{self, Link};
use crate::netlink::Netlink;
use crate::{Config, Error, Op, plan};
use ipnet::IpNet;
use rustix::io::Errno;
use std::net::IpAddr;

/// Keeps one interface as configured.
#[derive(Debug)]
pub struct Router {
    netlink: Netlink,
    interface: String,
    /// The interface as it was found.
    found: Link,
    /// Addresses in these are ours even if this run has not set them.
    ranges: Vec<IpNet>,
    /// Addresses this run has set.
    set: Vec<IpNet>,
    ipv6: bool,
}

impl Router {
    /// A router for an interface that exists. Addresses in `ranges` on it count as left by a former run.
    ///
    /// # Errors
    /// When there is no such interface or the kernel cannot be asked.
    pub fn open(interface: &str, ranges: &[IpNet]) -> Result<Self, Error> {
        let mut netlink = Netlink::open().map_err(Error::Netlink)?;
        let found = kernel::link(&mut netlink, interface).map_err(Error::Netlink)?;
        let found = found.ok_or_else(|| Error::NoInterface(interface.to_owned()))?;
        Ok(Self {
            netlink,
            interface: interface.to_owned(),
            found,
            ranges: ranges.to_vec(),
            set: Vec::new(),
            ipv6: ipv6_works(interface),
        })
    }

    /// The interface's name.
    pub fn interface(&self) -> &str {
        &self.interface
    }

    /// Whether the interface can have IPv6; if not, that half of a configuration is left out.
    pub const fn has_ipv6(&self) -> bool {
        self.ipv6
    }

    /// Brings the interface to `config`, as far as it differs, and reads routes back. Goes on after a refusal; what
    /// is returned is everything that is not as it should be, empty when all is well.
    pub fn apply(&mut self, config: &Config) -> Vec<Error> {
        self.bring_to(config).unwrap_or_else(|errno| vec![Error::Netlink(errno)])
    }

    /// Removes what this and former runs have set and leaves the link as it was found. Not needed when the device
    /// goes with the process, harmless then.
    pub fn close(mut self) -> Vec<Error> {
        let left = Config { mtu: self.found.mtu, up: self.found.up, ..Config::default() };
        self.apply(&left)
    }

    fn bring_to(&mut self, config: &Config) -> Result<Vec<Error>, Errno> {
        let mut wanted = config.clone();
        if !self.ipv6 {
            wanted.addresses.retain(|net| matches!(net, IpNet::V4(_)));
            wanted.routes.retain(|net| matches!(net, IpNet::V4(_)));
        }
        wanted.routes.iter_mut().for_each(|net| *net = net.trunc());
        let Some(now) = self.in_force()? else {
            return Ok(vec![Error::NoInterface(self.interface.clone())]);
        };
        let mut problems = Vec::new();
        let ops = plan(&now, &wanted);
        for op in &ops {
            match (kernel::carry_out(&mut self.netlink, self.found.index, *op), *op) {
                (Ok(()), op) => self.note(op),
                (Err(Errno::EXIST), Op::AddRoute(net)) => problems.push(Error::Taken(net)),
                (Err(errno), op) => problems.push(Error::Refused { op: op.to_string(), errno }),
            }
        }
        self.verify(&ops, &mut problems)?;
        Ok(problems)
    }

    fn note(&mut self, op: Op) {
        match op {
            Op::AddAddress(net) => self.set.push(net),
            Op::DeleteAddress(net) => self.set.retain(|set| *set != net),
            Op::Link { .. } | Op::AddRoute(_) | Op::DeleteRoute(_) => {}
        }
    }

    /// What of ours the kernel has; `None` if the interface is gone.
    fn in_force(&mut self) -> Result<Option<Config>, Errno> {
        let Some(link) = kernel::link(&mut self.netlink, &self.interface)? else { return Ok(None) };
        if link.index != self.found.index {
            return Ok(None);
        }
        let mut addresses = kernel::addresses(&mut self.netlink, link.index)?;
        addresses.retain(|net| {
            self.set.contains(net) || self.ranges.iter().any(|range| range.contains(&net.addr()))
        });
        let routes = kernel::routes(&mut self.netlink, link.index)?;
        Ok(Some(Config { mtu: link.mtu, up: link.up, addresses, routes }))
    }

    /// Reads new routes back: that they are there, and that packets take them.
    fn verify(&mut self, ops: &[Op], problems: &mut Vec<Error>) -> Result<(), Errno> {
        let added = ops.iter().filter_map(|op| match op {
            Op::AddRoute(net) => Some(*net),
            _ => None,
        });
        let added: Vec<IpNet> = added.filter(|net| !problems.iter().any(|p| p.is_about(net))).collect();
        if added.is_empty() {
            return Ok(());
        }
        let there = kernel::routes(&mut self.netlink, self.found.index)?;
        for route in added {
            let addr = probe(&route);
            if !there.contains(&route) {
                problems.push(Error::Missing(route));
            } else if kernel::way_to(&mut self.netlink, addr) != Some(self.found.index) {
                problems.push(Error::Diverted { route, addr, interface: self.interface.clone() });
            }
        }
        Ok(())
    }
}

impl Error {
    fn is_about(&self, route: &IpNet) -> bool {
        match self {
            Self::Taken(net) => net == route,
            Self::Refused { op, .. } => *op == Op::AddRoute(*route).to_string(),
            _ => false,
        }
    }
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

/// Whether an interface may have IPv6 addresses.
fn ipv6_works(interface: &str) -> bool {
    let file = format!("/proc/sys/net/ipv6/conf/{interface}/disable_ipv6");
    std::fs::read_to_string(file).is_ok_and(|text| text.trim() == "0")
}

/// Removes from `interface` what runs that were killed have left. No such interface: nothing to do.
///
/// # Errors
/// The first thing that could not be removed.
pub fn cleanup(interface: &str, ranges: &[IpNet]) -> Result<(), Error> {
    let mut router = match Router::open(interface, ranges) {
        Ok(router) => router,
        Err(Error::NoInterface(_)) => return Ok(()),
        Err(error) => return Err(error),
    };
    let left = Config { mtu: router.found.mtu, up: router.found.up, ..Config::default() };
    router.apply(&left).into_iter().next().map_or(Ok(()), Err)
}

#[cfg(test)]
mod tests {
    use super::*;

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
