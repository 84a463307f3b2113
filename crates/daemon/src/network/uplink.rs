//! The ways out of this machine that are not the tunnel: interface and router of the default route of each family.
//!
//! That of IPv4 is read from `/proc`, which has the main table only, and where what one asks for is not changed by policy
//! rules and wider routes of our own. That of IPv6, of which it has all tables, the caller has asked of the kernel.

use super::table::{WORDS, each_line};
use nix::net::if_::{if_indextoname, if_nametoindex};
use std::net::{IpAddr, Ipv4Addr};

/// Where a default route leads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Uplink {
    /// The interface.
    pub name: String,
    /// Its number, which another one of the same name has not; 0 = not known.
    pub index: u32,
    /// The router behind it; `None` on a line that has but one other end.
    pub router: Option<IpAddr>,
}

/// The default routes that lead elsewhere than to our own interface.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Uplinks {
    /// Of IPv4.
    pub v4: Option<Uplink>,
    /// Of IPv6.
    pub v6: Option<Uplink>,
}

/// `RTF_UP`, and `RTF_REJECT`.
const UP: u32 = 0x1;
const REJECT: u32 = 0x200;

impl Uplinks {
    /// The present ones; `own` is our interface. `v6` is where IPv6 leads: number of the interface, and router.
    pub fn read(own: &str, v6: Option<(u32, Option<IpAddr>)>) -> Self {
        let mut v4 = Best::default();
        each_line("/proc/net/route", &mut |words| v4.see(v4_line(words), own));
        let v6 = v6.and_then(|(index, router)| {
            let name = if_indextoname(index).ok()?.into_string().ok()?;
            Some(Uplink { name, index, router })
        });
        Self { v4: v4.0.map(|(_, uplink)| uplink), v6 }
    }

    /// The interfaces that packets of IPv4 and of IPv6 leave by: a family without a default route has the other's, where
    /// its neighbours are if it has any, and without both nothing leaves.
    pub fn names(&self) -> [&str; 2] {
        let v4 = self.v4.as_ref().or(self.v6.as_ref());
        let v6 = self.v6.as_ref().or(self.v4.as_ref());
        [v4, v6].map(|uplink| uplink.map_or("lo", |uplink| uplink.name.as_str()))
    }

    /// The routers, with the numbers of the interfaces that they are behind.
    pub fn routers(&self) -> Vec<(u32, IpAddr)> {
        let known = [&self.v4, &self.v6].into_iter().flatten();
        let known = known.filter(|uplink| uplink.index != 0);
        known.filter_map(|uplink| Some((uplink.index, uplink.router?))).collect()
    }
}

/// A line of a table of routes: metric, interface, router. `None` if it is no default route that leads somewhere.
type Line<'a> = (u32, &'a str, Option<IpAddr>);

/// The one of the least metric so far, the first of several.
#[derive(Default)]
struct Best(Option<(u32, Uplink)>);

impl Best {
    fn see(&mut self, line: Option<Line<'_>>, own: &str) {
        let Some((metric, name, router)) = line.filter(|(_, name, _)| *name != own && *name != "lo") else {
            return;
        };
        if self.0.as_ref().is_none_or(|(least, _)| metric < *least) {
            let index = if_nametoindex(name).unwrap_or_default();
            self.0 = Some((metric, Uplink { name: name.to_owned(), index, router }));
        }
    }
}

fn hex(word: &str) -> Option<u32> {
    u32::from_str_radix(word, 16).ok()
}

/// Interface, destination, gateway, flags, two counters, metric, mask.
fn v4_line<'a>(words: &[&'a str; WORDS]) -> Option<Line<'a>> {
    let [name, all, router, flags, _, _, metric, mask, ..] = *words;
    let (all, flags, mask) = (hex(all)?, hex(flags)?, hex(mask)?);
    // The bytes are as they lie in memory.
    let router = Ipv4Addr::from(hex(router)?.to_ne_bytes());
    let metric = metric.parse().ok()?;
    let leads = all == 0 && mask == 0 && flags & UP != 0 && flags & REJECT == 0;
    leads.then_some((metric, name, (!router.is_unspecified()).then_some(router.into())))
}

#[cfg(test)]
mod tests {
    use super::super::table::each_line_in;
    use super::*;

    fn best(table: &str, own: &str) -> Option<Uplink> {
        let mut best = Best::default();
        each_line_in(table, &mut |words| best.see(v4_line(words), own));
        best.0.map(|(_, uplink)| uplink)
    }

    #[test]
    fn the_way_out_that_is_not_ours() {
        let v4 = "Iface Destination Gateway Flags RefCnt Use Metric Mask MTU Window IRTT\n\
                  tailscale0 00000000 00000000 0001 0 0 0 00000080 0 0 0\n\
                  tailscale0 00000000 00000000 0001 0 0 0 00000000 0 0 0\n\
                  wan1 00000000 010012AC 0003 0 0 100 00000000 0 0 0\n\
                  veth 00000000 0100A8C0 0003 0 0 5 00000000 0 0 0\n\
                  veth 0000A8C0 00000000 0001 0 0 0 00FFFFFF 0 0 0\n";
        let up = best(v4, "tailscale0").expect("an uplink");
        let router: IpAddr =
            if cfg!(target_endian = "little") { [192, 168, 0, 1].into() } else { [1, 0, 168, 192].into() };
        assert_eq!((up.name.as_str(), up.router), ("veth", Some(router)));
        for broken in ["", "a b", "x 00000000 zz 0003 0 0 5 00000000"] {
            assert!(best(broken, "").is_none());
        }
    }

    #[test]
    fn a_family_without_a_way_out_has_the_others() {
        let uplink = |name: &str| Some(Uplink { name: name.to_owned(), index: 1, router: None });
        assert_eq!(Uplinks::default().names(), ["lo", "lo"]);
        assert_eq!(Uplinks { v4: uplink("a"), v6: None }.names(), ["a", "a"]);
        assert_eq!(Uplinks { v4: uplink("a"), v6: uplink("b") }.names(), ["a", "b"]);
    }
}
