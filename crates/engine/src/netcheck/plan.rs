//! Which servers are asked, over which family, when (protocol reference §4.2).
//!
//! A full plan asks every region three times; an incremental one asks the three nearest and our home. A request that
//! would tell nothing new when its moment comes is not sent (`super::run`).

use super::report::Report;
use super::{Names, Request};
use netmap::{DerpNode, DerpRegion, FamilyAddr, RegionId};
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

/// Requests to a region in each family when nothing is known.
const TRIES: u32 = 3;
/// Between two of them.
const APART: Duration = Duration::from_millis(100);
/// Regions of an incremental plan, the nearest of the report before.
const NEAREST: usize = 3;
/// How many of these are asked twice, and over both families.
const BOTH: usize = 2;
/// Requests to home, so that a loss or two does not move it.
const HOME_TRIES: u32 = 4;
/// The pause before the next try where no latency is known.
const UNKNOWN: Duration = Duration::from_millis(200);
/// What each further pause is longer by.
const SLOWER: Duration = Duration::from_millis(50);
/// Requests in a plan: Tailscale's own map makes 170.
const MOST: usize = 1024;
/// Where servers listen unless the map says otherwise.
const STUN_PORT: u16 = 3478;

/// One request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Probe {
    /// Since the beginning.
    pub(super) at: Duration,
    pub(super) region: RegionId,
    pub(super) to: SocketAddr,
}

/// What to send, in order. With `last` only what has to be looked at again.
pub(super) fn plan(request: &Request<'_>, last: Option<&Report>) -> Vec<Probe> {
    let mut probes = match last.filter(|last| !last.region_latency.is_empty()) {
        Some(last) => incremental(request, last),
        None => full(request),
    };
    probes.truncate(MOST);
    probes.sort_by_key(|probe| probe.at);
    probes
}

fn full(request: &Request<'_>) -> Vec<Probe> {
    let mut probes = Vec::new();
    for region in request.map.regions.values().filter(|region| !region.no_measure_no_home) {
        for (node, turn) in region.nodes.iter().cycle().zip(0..TRIES) {
            add(&mut probes, request, region, node, APART * turn, (true, true));
        }
    }
    probes
}

fn incremental(request: &Request<'_>, last: &Report) -> Vec<Probe> {
    let (had4, had6) = (!last.region_v4_latency.is_empty(), !last.region_v6_latency.is_empty());
    let had_both = request.v6 && had4 && had6;
    let is_home = |region: &DerpRegion| region.id == request.home;
    let usable = request.map.regions.values().filter(|r| !r.no_measure_no_home && (!r.avoid || is_home(r)));
    let latency = |region: &DerpRegion| last.region_latency.get(&region.id).copied();
    let mut regions: Vec<_> = usable.collect();
    regions.sort_by_key(|region| (latency(region).is_none(), latency(region), region.id));
    let mut probes = Vec::new();
    for (rank, region) in regions.into_iter().enumerate() {
        let (home, near) = (is_home(region), rank < BOTH);
        if rank >= NEAREST && !home {
            continue;
        }
        let (mut v4, mut v6) = (true, home || near || had6);
        let tries = match (home, near) {
            (true, _) => HOME_TRIES,
            (false, true) => 2,
            (false, false) => {
                // One family is enough for the rest, by turns.
                if had_both {
                    (v4, v6) = (rank % 2 == 0, rank % 2 == 1);
                }
                1
            }
        };
        let pause = latency(region).map_or(UNKNOWN, |latency| latency * 6 / 5);
        for (node, turn) in region.nodes.iter().cycle().zip(0..tries) {
            let slower = if turn > 1 { SLOWER * turn } else { Duration::ZERO };
            add(&mut probes, request, region, node, pause * turn + slower, (v4, v6 && (turn == 0 || had6)));
        }
    }
    probes
}

fn add(
    probes: &mut Vec<Probe>,
    request: &Request<'_>,
    region: &DerpRegion,
    node: &DerpNode,
    at: Duration,
    (v4, v6): (bool, bool),
) {
    let test = !node.stun_test_ip.is_empty();
    for (v4, wanted) in [(true, v4 && (request.v4 || test)), (false, v6 && (request.v6 || test))] {
        if wanted && let Some(to) = address(node, request.names, v4) {
            probes.push(Probe { at, region: region.id, to });
        }
    }
}

/// Where a server listens for STUN, if it does so over this family.
fn address(node: &DerpNode, names: &Names, v4: bool) -> Option<SocketAddr> {
    let port = match node.stun_port {
        0 => STUN_PORT,
        port => u16::try_from(port).ok()?,
    };
    let named = || names.get(&node.host_name)?.iter().find(|ip| ip.is_ipv4() == v4).copied();
    let ip = if !node.stun_test_ip.is_empty() {
        node.stun_test_ip.parse().ok().filter(|ip: &IpAddr| ip.is_ipv4() == v4)?
    } else if v4 {
        told(node.ipv4, named)?
    } else {
        told(node.ipv6, named)?
    };
    Some(SocketAddr::new(ip, port))
}

fn told<A: Into<IpAddr>>(addr: FamilyAddr<A>, named: impl FnOnce() -> Option<IpAddr>) -> Option<IpAddr> {
    match addr {
        FamilyAddr::Ip(ip) => Some(ip.into()),
        FamilyAddr::Dns => named(),
        FamilyAddr::Disabled => None,
    }
}

/// The names that must be looked up before a plan can be made: those of servers whose addresses the map does not tell.
pub fn unknown_names(map: &netmap::DerpMap) -> impl Iterator<Item = &str> {
    let nodes = map.regions.values().filter(|region| !region.no_measure_no_home).flat_map(|r| &r.nodes);
    let unknown = |node: &&DerpNode| {
        let dns = node.ipv4 == FamilyAddr::Dns || node.ipv6 == FamilyAddr::Dns;
        dns && node.stun_port >= 0 && node.stun_test_ip.is_empty()
    };
    nodes.filter(unknown).map(|node| &*node.host_name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use netmap::DerpMap;

    fn node(ipv4: &str, ipv6: &str) -> DerpNode {
        fn family<A: std::str::FromStr>(text: &str) -> FamilyAddr<A> {
            match text {
                "" => FamilyAddr::Dns,
                text => text.parse().map_or(FamilyAddr::Disabled, FamilyAddr::Ip),
            }
        }
        let (ipv4, ipv6) = (family(ipv4), family(ipv6));
        DerpNode { host_name: "derp.example".into(), ipv4, ipv6, ..DerpNode::default() }
    }

    fn region(nodes: &[DerpNode]) -> DerpRegion {
        DerpRegion { nodes: nodes.into(), ..DerpRegion::default() }
    }

    fn map(regions: Vec<DerpRegion>) -> DerpMap {
        let regions = (1..).map(RegionId).zip(regions);
        let regions = regions.map(|(id, region)| (id, DerpRegion { id, ..region })).collect();
        DerpMap { regions, ..DerpMap::default() }
    }

    fn lines(map: &DerpMap, v6: bool, home: u16, last: Option<&Report>) -> Vec<String> {
        let names = Names::new();
        let request = Request {
            map,
            names: &names,
            v4: true,
            v6,
            udp: true,
            home: RegionId(home),
            enough: 3,
            hurry: false,
        };
        let plan = plan(&request, last);
        plan.iter().map(|probe| format!("{:?} {} {}", probe.at, probe.region, probe.to)).collect()
    }

    #[test]
    fn servers_take_turns() {
        let two = region(&[node("192.0.2.1", "none"), node("192.0.2.2", "2001:db8::2")]);
        let never = DerpRegion { no_measure_no_home: true, ..region(&[node("192.0.2.3", "none")]) };
        let off = region(&[DerpNode { stun_port: -1, ..node("192.0.2.4", "none") }]);
        let map = map(vec![two, never, off, DerpRegion::default()]);
        let want = [
            "0ns 1 192.0.2.1:3478",
            "100ms 1 192.0.2.2:3478",
            "100ms 1 [2001:db8::2]:3478",
            "200ms 1 192.0.2.1:3478",
        ];
        assert_eq!(lines(&map, true, 0, None), want);
        assert_eq!(lines(&map, false, 0, None), [want[0], want[1], want[3]], "no IPv6 here");
        assert_eq!(lines(&map, false, 0, Some(&Report::default())).len(), 3, "a report of nothing is none");
    }

    #[test]
    fn the_nearest_and_home_are_looked_at_again() {
        let at = |n: u8| region(&[node(&format!("192.0.2.{n}"), &format!("2001:db8::{n}"))]);
        let map = map((1..=6).map(at).collect());
        let mut last = Report::default();
        for (id, ms) in [(3, 10), (1, 20), (2, 40), (4, 50)] {
            last.region_latency.insert(RegionId(id), Duration::from_millis(ms));
        }
        last.region_v4_latency = last.region_latency.clone();
        // Home is not among the nearest three and has never answered.
        let v4 = [
            "0ns 3 192.0.2.3:3478",
            "0ns 1 192.0.2.1:3478",
            "0ns 2 192.0.2.2:3478",
            "0ns 6 192.0.2.6:3478",
            "12ms 3 192.0.2.3:3478",
            "24ms 1 192.0.2.1:3478",
            "200ms 6 192.0.2.6:3478",
            "500ms 6 192.0.2.6:3478",
            "750ms 6 192.0.2.6:3478",
        ];
        assert_eq!(lines(&map, false, 6, Some(&last)), v4);
        // With IPv6 that has not answered, home and the nearest two are asked once over it.
        let v6: Vec<_> = lines(&map, true, 6, Some(&last)).into_iter().filter(|l| l.contains('[')).collect();
        assert_eq!(v6, ["0ns 3 [2001:db8::3]:3478", "0ns 1 [2001:db8::1]:3478", "0ns 6 [2001:db8::6]:3478"]);
        // With both families the third is asked over one of them.
        last.region_v6_latency = last.region_latency.clone();
        let third = lines(&map, true, 3, Some(&last))
            .into_iter()
            .filter(|line| line.contains(" 2 "))
            .collect::<Vec<_>>();
        assert_eq!(third, ["0ns 2 192.0.2.2:3478"]);
    }

    #[test]
    fn addresses_from_names_and_for_tests() {
        let ips = ["2001:db8::9", "192.0.2.9", "192.0.2.8"].map(|ip| ip.parse().unwrap());
        let names = Names::from([("derp.example".into(), ips.to_vec())]);
        let both = |node: &DerpNode| {
            let all = [address(node, &names, true), address(node, &names, false)];
            all.map(|at| at.map_or_else(String::new, |at| at.to_string()))
        };
        assert_eq!(both(&node("", "")), ["192.0.2.9:3478", "[2001:db8::9]:3478"]);
        assert_eq!(both(&node("none", "")), ["", "[2001:db8::9]:3478"]);
        assert_eq!(both(&node("2001:db8::9", "nonsense")), ["", ""]);
        let mut test = node("192.0.2.1", "");
        (test.stun_test_ip, test.stun_port) = ("127.0.0.1".into(), 99);
        assert_eq!(both(&test), ["127.0.0.1:99", ""]);
        test.stun_port = 1 << 20;
        assert_eq!(both(&test), ["", ""]);
    }

    #[test]
    fn names_to_look_up() {
        let off = DerpNode { stun_port: -1, ..node("", "") };
        let map = map(vec![region(&[node("192.0.2.1", "none"), off]), region(&[node("", "none")])]);
        assert_eq!(unknown_names(&map).collect::<Vec<_>>(), ["derp.example"]);
    }

    #[test]
    fn a_plan_is_bounded() {
        let many = vec![node("192.0.2.1", "2001:db8::1")];
        let map = map((0..5000).map(|_| region(&many)).collect());
        assert_eq!(lines(&map, true, 0, None).len(), MOST);
    }
}
