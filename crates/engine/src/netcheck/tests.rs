//! Reports on a virtual clock against servers that are a closure each.

use super::*;
use netmap::Map;
use netmap::{DerpNode, DerpRegion, FamilyAddr};
use proptest::prelude::*;

const MS: Duration = Duration::from_millis(1);

/// Regions 1 to `n` with a server each at 192.0.2.N and 2001:db8::N.
fn map(n: u8) -> DerpMap {
    let region = |n: u8| {
        let node = DerpNode {
            ipv4: FamilyAddr::Ip([192, 0, 2, n].into()),
            ipv6: FamilyAddr::Ip(format!("2001:db8::{n}").parse().unwrap()),
            ..DerpNode::default()
        };
        let id = RegionId(u16::from(n));
        (id, DerpRegion { id, nodes: [node].into(), ..DerpRegion::default() })
    };
    DerpMap { regions: (1..=n).map(region).collect(), ..DerpMap::default() }
}

/// What a server says when it is asked: as whom it sees us and after how long; `None` = nothing.
type Server<'a> = &'a dyn Fn(SocketAddr) -> Option<(SocketAddr, Duration)>;

/// An answer without a fingerprint, as DERP servers write it.
fn answer(request: &[u8; stun::REQUEST], ours: SocketAddr) -> Vec<u8> {
    let ip = match ours.ip() {
        IpAddr::V4(ip) => ip.octets().to_vec(),
        IpAddr::V6(ip) => ip.octets().to_vec(),
    };
    let mut out = vec![1, 1, 0, ip.len() as u8 + 8];
    out.extend_from_slice(&request[4..20]);
    // Not mixed with anything: MAPPED-ADDRESS.
    out.extend_from_slice(&[0, 1, 0, ip.len() as u8 + 4, 0, if ours.is_ipv4() { 1 } else { 2 }]);
    out.extend_from_slice(&ours.port().to_be_bytes());
    out.extend_from_slice(&ip);
    out
}

struct World {
    check: Netcheck,
    map: DerpMap,
    now: Mono,
    home: RegionId,
    udp: bool,
    /// Families whose requests the system does not take.
    no_way: Vec<bool>,
    https: Map<RegionId, Duration>,
    asked: Vec<SocketAddr>,
}

impl World {
    fn new(n: u8) -> Self {
        Self {
            check: Netcheck::new([7; 32]),
            map: map(n),
            now: Mono::from_millis(1_000_000),
            home: RegionId::NONE,
            udp: true,
            no_way: Vec::new(),
            https: Map::new(),
            asked: Vec::new(),
        }
    }

    /// Makes a report; how long it took.
    fn report(&mut self, server: Server<'_>) -> (Arc<Report>, Duration) {
        let names = Names::new();
        let request = Request {
            map: &self.map,
            names: &names,
            v4: true,
            v6: true,
            udp: self.udp,
            home: self.home,
            enough: ENOUGH,
            hurry: self.home.is_none(),
        };
        let start = self.now;
        self.asked.clear();
        self.check.begin(&request, self.now);
        let mut flying: Vec<(Mono, Vec<u8>)> = Vec::new();
        loop {
            while let Some(step) = self.check.poll() {
                match step {
                    Step::Send { to, request } => {
                        self.asked.push(to);
                        self.check.sent(to, !self.no_way.contains(&to.is_ipv4()), self.now);
                        if self.no_way.contains(&to.is_ipv4()) {
                            continue;
                        }
                        if let Some((ours, took)) = server(to) {
                            flying.push((self.now + took, answer(&request, ours)));
                        }
                    }
                    Step::AskHttps(regions) => {
                        for region in regions {
                            let took = self.https.get(&region).copied();
                            self.check.https_answer(region, took, self.now + took.unwrap_or_default());
                        }
                    }
                    Step::Done(report) => {
                        self.home = report.preferred_derp;
                        return (report, self.now.since(start));
                    }
                    Step::Heard { .. } | Step::Begin => {}
                }
            }
            flying.sort_by_key(|(at, _)| *at);
            let due = self.check.poll_timeout().expect("a report ends");
            match flying.first() {
                Some((at, _)) if *at <= due => {
                    let (at, datagram) = flying.remove(0);
                    self.now = at;
                    self.check.handle_stun(&datagram, self.now).expect("an answer");
                }
                _ => {
                    assert!(due >= self.now, "time goes on");
                    self.now = due;
                    self.check.handle_timeout(due, true);
                }
            }
        }
    }
}

/// Servers are as many times 10 ms away as their number says; we are `198.51.100.1:1000` and `[2001:db8:1::1]:1000`.
fn easy(to: SocketAddr) -> Option<(SocketAddr, Duration)> {
    let (ours, n): (SocketAddr, u8) = match to.ip() {
        IpAddr::V4(ip) => ("198.51.100.1:1000".parse().unwrap(), ip.octets()[3]),
        IpAddr::V6(ip) => ("[2001:db8:1::1]:1000".parse().unwrap(), ip.octets()[15]),
    };
    Some((ours, 10 * MS * u32::from(n)))
}

#[test]
fn a_first_report_and_one_after_it() {
    let mut world = World::new(6);
    let (report, took) = world.report(&easy);
    assert!(report.full && report.udp && report.ipv4 && report.ipv6 && report.ipv4_can_send);
    assert_eq!(report.mapping_varies, Some(false));
    assert_eq!(report.preferred_derp, RegionId(1));
    assert_eq!(report.global_v4, Some("198.51.100.1:1000".parse().unwrap()));
    assert_eq!(report.global_v6, Some("[2001:db8:1::1]:1000".parse().unwrap()));
    // The third answer comes after 30 ms, and twice that later the rest is given up: all had answered.
    assert_eq!((report.region_latency.len(), took), (6, 60 * MS));
    world.now = world.now + Duration::from_secs(22);
    let (report, _) = world.report(&easy);
    assert!(!report.full);
    let ids: Vec<_> = report.region_latency.keys().map(|id| id.0).collect();
    assert_eq!(ids, [1, 2, 3]);
    assert_eq!(report.mapping_varies, Some(false));
    assert_eq!(world.asked.len(), 5, "{:?}", world.asked);
    world.now = world.now + FULL_EVERY;
    assert!(world.report(&easy).0.full);
    world.check.network_changed();
    assert!(world.report(&easy).0.full);
}

#[test]
fn enough_is_enough() {
    let mut world = World::new(6);
    let slow = |to: SocketAddr| easy(to).filter(|(_, took)| *took <= 30 * MS);
    let (report, took) = world.report(&slow);
    assert_eq!(report.region_latency.len(), 3);
    assert_eq!(took, 90 * MS, "twice the third's 30 ms after it");
    // Two are not enough: the others are asked again and waited for.
    let few = |to: SocketAddr| easy(to).filter(|(_, took)| *took <= 20 * MS);
    world.check.network_changed();
    let (report, took) = world.report(&few);
    assert_eq!((report.region_latency.len(), took), (2, ASK_LIMIT));
    assert!(report.preferred_derp == RegionId(1));
}

#[test]
fn a_hard_nat() {
    let mut world = World::new(2);
    let hard = |to: SocketAddr| {
        let (mut ours, took) = easy(to).filter(|_| to.is_ipv4())?;
        ours.set_port(u16::from(took.as_millis() as u8));
        Some((ours, took))
    };
    let (report, _) = world.report(&hard);
    assert_eq!((report.mapping_varies, report.ipv6, report.ipv6_can_send), (Some(true), false, true));
    assert_eq!(report.global_v4.map(|at| at.port()), Some(10), "the first answer's");
    let one = World::new(1).report(&easy).0;
    assert_eq!(one.mapping_varies, None, "one server cannot tell");
}

#[test]
fn without_udp() {
    let mut world = World::new(3);
    world.home = RegionId(1);
    world.https = [(RegionId(2), 70 * MS), (RegionId(3), 90 * MS)].into();
    let (report, took) = world.report(&|_| None);
    assert_eq!((report.udp, report.ipv4, report.ipv4_can_send), (false, false, true));
    assert_eq!((report.preferred_derp, took), (RegionId(2), ASK_LIMIT));
    assert!(report.region_v4_latency.is_empty());
    assert_eq!(world.asked.len(), 18, "three times by either family");
    // The next one asks by UDP only.
    world.check.heard_relay(RegionId(2), world.now);
    let (report, _) = world.report(&|_| None);
    assert_eq!((report.region_latency.len(), report.preferred_derp), (0, RegionId(2)));
    // Where UDP is forbidden nobody is asked by it.
    world.udp = false;
    world.check.network_changed();
    let (report, took) = world.report(&easy);
    assert_eq!((world.asked.len(), report.ipv4_can_send, took), (0, false, Duration::ZERO));
    assert_eq!(report.preferred_derp, RegionId(2));
    // A network with nothing at all.
    world.https.clear();
    world.now = world.now + Duration::from_secs(300);
    assert_eq!(world.report(&|_| None).0.preferred_derp, RegionId::NONE);
    world.map = DerpMap::default();
    world.check.network_changed();
    assert_eq!(*world.report(&easy).0, Report { full: true, ..Report::default() });
}

#[test]
fn a_node_without_a_home_is_in_a_hurry() {
    let mut world = World::new(3);
    world.https = [(RegionId(2), 70 * MS), (RegionId(3), 90 * MS)].into();
    let (report, took) = world.report(&|_| None);
    assert_eq!((report.udp, report.preferred_derp, took), (false, RegionId(2), HURRY));
    assert_eq!(world.check.poll(), Some(Step::Begin), "and now once more in peace");
    // Answers that come while HTTPS is asked are worth waiting for.
    let mut world = World::new(3);
    let slow = |to: SocketAddr| easy(to).map(|(ours, took)| (ours, took + 550 * MS));
    let (report, took) = world.report(&slow);
    assert!(report.udp && report.region_v4_latency.len() == 3, "{report:?}");
    assert!(took > HURRY && took < ASK_LIMIT, "{took:?}");
}

#[test]
fn a_node_without_a_home_does_not_wait_for_dead_regions() {
    let mut world = World::new(2);
    let half = |to: SocketAddr| easy(to).filter(|(_, took)| *took == 10 * MS);
    let (report, took) = world.report(&half);
    assert_eq!((report.preferred_derp, took), (RegionId(1), HURRY));
    world.check.network_changed();
    assert_eq!(world.report(&half).1, ASK_LIMIT, "with a home there is time");
}

#[test]
fn the_only_region_is_home_however_far() {
    let mut world = World::new(1);
    world.home = RegionId(1);
    let (report, _) = world.report(&|_| None);
    assert_eq!((report.region_latency.len(), report.preferred_derp), (0, RegionId::NONE));
}

#[test]
fn when_home_is_gone_all_are_asked_again_by_https_too() {
    let mut world = World::new(3);
    world.https = [(RegionId(1), 20 * MS), (RegionId(2), 90 * MS)].into();
    assert_eq!(world.report(&|_| None).0.preferred_derp, RegionId(1));
    world.https.remove(&RegionId(1));
    world.now = world.now + Duration::from_secs(20);
    let (report, _) = world.report(&|_| None);
    assert!(report.region_latency.is_empty(), "HTTPS is dear: {report:?}");
    world.home = RegionId(1);
    world.check.home_lost(world.now);
    assert_eq!(world.report(&|_| None).0.preferred_derp, RegionId(2));
    world.check.home_lost(world.now);
    assert!(!world.report(&|_| None).0.full, "they have just been asked");
}

#[test]
fn an_unanswered_https_request_does_not_hold_a_report_up() {
    let mut world = World::new(1);
    let names = Names::new();
    let request = Request {
        map: &world.map,
        names: &names,
        v4: false,
        v6: false,
        udp: true,
        home: RegionId::NONE,
        enough: ENOUGH,
        hurry: false,
    };
    world.check.begin(&request, world.now);
    assert_eq!(world.check.poll(), Some(Step::AskHttps(vec![RegionId(1)])));
    let due = world.check.poll_timeout().unwrap();
    assert_eq!(due, world.now + LIMIT);
    world.check.handle_timeout(due, false);
    assert!(matches!(world.check.poll(), Some(Step::Done(_))));
    world.check.https_answer(RegionId(1), Some(MS), due);
    assert_eq!(world.check.poll(), None, "too late");
}

#[test]
fn what_the_system_does_not_send_is_not_waited_for() {
    let mut world = World::new(2);
    world.no_way = vec![false];
    let (report, took) = world.report(&easy);
    assert_eq!((report.ipv4_can_send, report.ipv6_can_send, took), (true, false, 200 * MS));
    world.no_way = vec![true, false];
    world.check.network_changed();
    let (report, took) = world.report(&easy);
    assert_eq!((report.udp, report.ipv4_can_send, took), (false, false, 200 * MS));
}

#[test]
fn lost_requests_are_repeated() {
    let mut world = World::new(1);
    let count = std::cell::Cell::new(0);
    let third = |to: SocketAddr| {
        count.set(count.get() + 1);
        easy(to).filter(|_| count.get() > 4)
    };
    let (report, took) = world.report(&third);
    assert_eq!((report.udp, took), (true, 210 * MS));
}

#[test]
fn looking_again() {
    let mut world = World::new(3);
    world.check.want();
    world.check.want();
    assert_eq!((world.check.poll(), world.check.poll()), (Some(Step::Begin), None), "asked once");
    let (_, took) = world.report(&easy);
    assert!(took < ASK_LIMIT);
    let end = world.now;
    let next = world.check.poll_timeout().unwrap();
    assert!((schedule::SOONEST..schedule::LATEST).contains(&next.since(end)), "{next:?}");
    world.check.handle_timeout(next, true);
    assert_eq!(world.check.poll(), Some(Step::Begin));
    world.now = next;
    world.report(&easy);
    // Nobody sends anything: silence until somebody wants to know.
    let next = world.check.poll_timeout().unwrap();
    world.check.handle_timeout(next, false);
    assert_eq!((world.check.poll(), world.check.poll_timeout()), (None, None));
    world.check.want();
    assert_eq!(world.check.poll(), Some(Step::Begin));
}

#[test]
fn a_wish_while_a_report_is_made_is_remembered() {
    let mut world = World::new(1);
    let names = Names::new();
    let request = Request {
        map: &world.map,
        names: &names,
        v4: true,
        v6: false,
        udp: true,
        home: RegionId::NONE,
        enough: ENOUGH,
        hurry: false,
    };
    world.check.begin(&request, world.now);
    let Some(Step::Send { to, request }) = world.check.poll() else { panic!("no request") };
    world.check.want();
    assert_eq!(world.check.poll(), None);
    let datagram = answer(&request, easy(to).unwrap().0);
    assert_eq!(world.check.handle_stun(&datagram, world.now), Ok(()));
    assert!(matches!(world.check.poll(), Some(Step::Heard { .. })));
    assert!(matches!(world.check.poll(), Some(Step::Done(_))));
    assert_eq!(world.check.poll(), Some(Step::Begin));
    assert_eq!(world.check.handle_stun(&datagram, world.now), Err(DropReason::Stun), "the same again");
}

#[test]
fn another_network_gives_up_a_report_that_is_being_made() {
    let mut world = World::new(3);
    let (map, names) = (world.map.clone(), Names::new());
    let request = Request {
        map: &map,
        names: &names,
        v4: true,
        v6: false,
        udp: true,
        home: RegionId(1),
        enough: ENOUGH,
        hurry: false,
    };
    world.check.begin(&request, world.now);
    let mut asked = Vec::new();
    while let Some(Step::Send { to, request }) = world.check.poll() {
        asked.push(answer(&request, easy(to).unwrap().0));
    }
    assert_eq!(world.check.handle_stun(&asked[0], world.now), Ok(()));
    world.check.network_changed();
    assert_eq!((world.check.poll(), world.check.poll()), (Some(Step::Begin), None), "at once");
    assert!(!world.check.is_running());
    world.check.network_changed();
    assert_eq!(world.check.poll(), None, "it has not been begun yet");
    assert_eq!(world.check.poll_timeout(), None);
    world.check.https_answer(RegionId(1), Some(MS), world.now);
    assert_eq!(world.check.handle_stun(&asked[1], world.now), Err(DropReason::Stun), "too late");
    let new: SocketAddr = "203.0.113.9:9".parse().unwrap();
    let (report, _) = world.report(&|to| Some((new, easy(to).filter(|_| to.is_ipv4())?.1)));
    assert_eq!((report.full, report.endpoints().collect::<Vec<_>>()), (true, vec![new]));
    // One that has just been made and was not fetched is of the former network, too.
    world.check.begin(&Request { v4: false, udp: false, ..request }, world.now);
    world.check.network_changed();
    assert_eq!((world.check.poll(), world.check.poll()), (Some(Step::Begin), None));
}

#[test]
fn answers_of_strangers_are_dropped() {
    let mut world = World::new(1);
    let stray = answer(&stun::request(&[9; 12]), "192.0.2.9:9".parse().unwrap());
    assert_eq!(world.check.handle_stun(&stray, world.now), Err(DropReason::Stun), "nothing was asked");
    world.report(&easy);
    assert_eq!(world.check.handle_stun(&stray, world.now), Err(DropReason::Stun));
}

proptest! {
    /// Whatever answers when, a report ends in time and asks a bounded number of questions.
    #[test]
    fn every_report_ends(delays in proptest::collection::vec(proptest::option::of(0_u64..6000), 24), home in 0_u16..5) {
        let mut world = World::new(4);
        world.home = RegionId(home);
        let count = std::cell::Cell::new(0);
        let server = |to: SocketAddr| {
            let n = count.replace(count.get() + 1);
            let delay = delays.get(n).copied().flatten()?;
            Some((easy(to)?.0, Duration::from_millis(delay).min(2 * ASK_LIMIT)))
        };
        for _ in 0..2 {
            let names = Names::new();
            let request = Request { map: &world.map, names: &names, v4: true, v6: true, udp: true, home: world.home, enough: 3, hurry: false };
            let start = world.now;
            world.check.begin(&request, start);
            let mut flying = Vec::new();
            let mut asked = 0;
            let report = 'made: loop {
                while let Some(step) = world.check.poll() {
                    match step {
                        Step::Send { to, request } => {
                            asked += 1;
                            flying.extend(server(to).map(|(ours, took)| (world.now + took, answer(&request, ours))));
                        }
                        Step::Done(report) => break 'made report,
                        _ => {}
                    }
                }
                flying.sort_by_key(|(at, _)| *at);
                let due = world.check.poll_timeout().unwrap();
                if flying.first().is_some_and(|(at, _)| *at <= due) {
                    let (at, datagram) = flying.remove(0);
                    world.now = at;
                    let _ = world.check.handle_stun(&datagram, at);
                } else {
                    world.now = due;
                    world.check.handle_timeout(due, false);
                }
            };
            prop_assert!(world.now.since(start) <= LIMIT);
            prop_assert!(asked <= 24);
            prop_assert!(report.preferred_derp.is_none() || world.map.regions.contains_key(&report.preferred_derp));
            world.now = world.now + Duration::from_secs(20);
        }
    }
}
