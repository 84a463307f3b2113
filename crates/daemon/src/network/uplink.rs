//! The ways out of this machine that are not the tunnel: interface and router of the default route of each family.
//!
//! Read from `/proc`, where what one asks for is not changed by policy rules and wider routes of our own.

use super::table::{WORDS, each_line};
use nix::net::if_::if_nametoindex;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

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
    /// The present ones; `own` is our interface.
    pub fn read(own: &str) -> Self {
        let (mut v4, mut v6) = (Best::default(), Best::default());
        each_line("/proc/net/route", &mut |words| v4.see(v4_line(words), own));
        each_line("/proc/net/ipv6_route", &mut |words| v6.see(v6_line(words), own));
        Self { v4: v4.0.map(|(_, uplink)| uplink), v6: v6.0.map(|(_, uplink)| uplink) }
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

/// Destination and source with their lengths, router, metric, two counters, flags, interface.
fn v6_line<'a>(words: &[&'a str; WORDS]) -> Option<Line<'a>> {
    let [all, len, _, source_len, router, metric, _, _, flags, name] = *words;
    let (metric, flags) = (hex(metric)?, hex(flags)?);
    let router = Ipv6Addr::from(u128::from_str_radix(router, 16).ok()?);
    let everything = u128::from_str_radix(all, 16) == Ok(0) && len == "00" && source_len == "00";
    let leads = everything && flags & UP != 0 && flags & REJECT == 0 && !name.is_empty();
    leads.then_some((metric, name, (!router.is_unspecified()).then_some(router.into())))
}

#[cfg(test)]
mod tests {
    use super::super::table::each_line_in;
    use super::*;

    fn best(
        table: &str,
        own: &str,
        read: for<'a> fn(&[&'a str; WORDS]) -> Option<Line<'a>>,
    ) -> Option<Uplink> {
        let mut best = Best::default();
        each_line_in(table, &mut |words| best.see(read(words), own));
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
        let up = best(v4, "tailscale0", v4_line).expect("an uplink");
        let router: IpAddr =
            if cfg!(target_endian = "little") { [192, 168, 0, 1].into() } else { [1, 0, 168, 192].into() };
        assert_eq!((up.name.as_str(), up.router), ("veth", Some(router)));
        let none = "0".repeat(32);
        let gateway = format!("fd{}1", "0".repeat(29));
        let v6 = format!(
            "{none} 00 {none} 00 {none} ffffffff 00000001 00000000 00200200 lo\n\
             {none} 00 {none} 00 {none} 00000001 00000001 00000000 00000001 tailscale0\n\
             {none} 01 {none} 00 {none} 00000001 00000001 00000000 00000001 other\n\
             {none} 00 {none} 00 {gateway} 00000400 00000001 00000000 00000003 veth\n"
        );
        let up = best(&v6, "tailscale0", v6_line).expect("an uplink");
        assert_eq!((up.name.as_str(), up.router), ("veth", "fd00::1".parse().ok()));
        let prefix =
            format!("2001{} 40 {none} 00 {none} 00000100 00000001 00000000 00000001 veth\n", "0".repeat(28));
        assert_eq!(best(&(prefix.repeat(5000) + &v6), "tailscale0", v6_line), Some(up), "behind thousands");
        for broken in ["", "a b", "x 00000000 zz 0003 0 0 5 00000000"] {
            assert!(best(broken, "", v4_line).is_none() && best(broken, "", v6_line).is_none());
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
