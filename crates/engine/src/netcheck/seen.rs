//! As whom servers have seen us: good for endpoints somewhat longer than a report (protocol reference §3.9).

use super::report::Report;
use crate::time::Mono;
use netmap::Map;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

/// What servers have seen holds for so long: a NAT may keep a mapping that an odd report has missed.
const MEMORY: Duration = Duration::from_secs(5 * 60 + 10);
/// Of one address so many ports are kept.
const PORTS: usize = 6;
/// Addresses that are remembered at all.
const MOST: usize = 32;

/// Remembers what servers have seen.
#[derive(Debug, Default)]
pub struct Tracker {
    seen: Map<SocketAddr, Mono>,
}

impl Tracker {
    /// The network is another one.
    pub fn clear(&mut self) {
        self.seen.clear();
    }

    /// A report has come. True if of some family no server has seen us at any address that was seen before: our router has
    /// another one.
    pub fn note(&mut self, report: &Report, now: Mono) -> bool {
        let moved = [true, false].into_iter().any(|v4| {
            let of_family = |at: &&SocketAddr| at.is_ipv4() == v4;
            let mut these = report.seen.keys().filter(of_family).peekable();
            let before = || self.seen.keys().filter(of_family);
            these.peek().is_some()
                && before().next().is_some()
                && these.all(|at| before().all(|known| known.ip() != at.ip()))
        });
        for at in report.endpoints() {
            self.seen.insert(at, now);
        }
        self.prune(now);
        moved
    }

    /// A server has seen us as `at`, before a report has come of it. True if that is another address than all of its family
    /// that were seen before, which are forgotten then.
    pub fn saw(&mut self, at: SocketAddr, now: Mono) -> bool {
        let before = self.seen.len();
        let known = self.seen.keys().any(|known| known.ip() == at.ip());
        self.seen.retain(|other, _| known || other.is_ipv4() != at.is_ipv4());
        let moved = self.seen.len() < before;
        self.seen.insert(at, now);
        self.prune(now);
        moved
    }

    fn prune(&mut self, now: Mono) {
        self.seen.retain(|_, at| now.since(*at) <= MEMORY);
        // The oldest go first.
        let mut by_age: Vec<_> = self.seen.iter().map(|(at, seen)| (*seen, *at)).collect();
        by_age.sort_by_key(|(seen, at)| (std::cmp::Reverse(*seen), *at));
        let mut ports: Map<IpAddr, usize> = Map::new();
        let mut kept = 0;
        for (_, at) in by_age {
            let count = ports.entry(at.ip()).or_default();
            *count += 1;
            if *count > PORTS || kept == MOST {
                self.seen.remove(&at);
            } else {
                kept += 1;
            }
        }
    }

    /// Where servers see us: as `report` says first, then as others have before, each once.
    pub fn all(&self, report: Option<&Report>, now: Mono) -> Vec<SocketAddr> {
        let mut all: Vec<SocketAddr> = report.into_iter().flat_map(Report::endpoints).collect();
        let before = self.seen.iter().filter(|(_, seen)| now.since(**seen) <= MEMORY);
        for (at, _) in before {
            if !all.contains(at) {
                all.push(*at);
            }
        }
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use netmap::RegionId;

    fn report(seen: &[&str]) -> Report {
        let mut report = Report::default();
        for at in seen {
            report.heard(RegionId(1), at.parse().unwrap(), Duration::ZERO);
        }
        report
    }

    #[test]
    fn the_order() {
        let new = report(&["203.0.113.1:7", "[2001:db8::9]:41641"]);
        let mut tracker = Tracker::default();
        let start = Mono::from_millis(1);
        tracker.note(&report(&["203.0.113.1:6"]), start);
        tracker.note(&new, start + Duration::from_secs(1));
        let shown =
            |report, now| tracker.all(report, now).iter().map(SocketAddr::to_string).collect::<Vec<_>>();
        let want = ["203.0.113.1:7", "[2001:db8::9]:41641", "203.0.113.1:6"];
        assert_eq!(shown(Some(&new), start), want);
        assert_eq!(shown(Some(&new), start + MEMORY + Duration::from_millis(500)), want[..2]);
        assert_eq!(shown(None, start), ["203.0.113.1:6", want[0], want[1]]);
        assert!(!tracker.saw("203.0.113.1:9".parse().unwrap(), start));
        assert!(tracker.saw("203.0.113.2:9".parse().unwrap(), start));
        let left: Vec<_> = tracker.all(None, start).iter().map(SocketAddr::to_string).collect();
        assert_eq!(left, ["203.0.113.2:9", want[1]]);
        tracker.clear();
        assert_eq!(tracker.all(None, start), []);
    }

    #[test]
    fn another_address_than_all_before_is_noticed() {
        let mut tracker = Tracker::default();
        let mut note = |seen: &[&str]| tracker.note(&report(seen), Mono::from_millis(1));
        assert!(!note(&["203.0.113.1:7", "[2001:db8::9]:1"]), "the first");
        assert!(!note(&["203.0.113.1:8"]) && !note(&["203.0.113.1:8", "203.0.113.2:8"]), "one as before");
        assert!(note(&["203.0.113.3:8"]) && !note(&["203.0.113.3:9"]));
        assert!(note(&["203.0.113.3:9", "[2001:db8::a]:1"]), "of one family");
        assert!(!note(&[]), "nobody has seen us");
    }

    #[test]
    fn a_nat_that_gives_a_new_port_each_time_does_not_fill_the_memory() {
        let mut tracker = Tracker::default();
        for n in 1..500_u16 {
            tracker.note(&report(&[&format!("203.0.113.1:{n}")]), Mono::from_millis(u64::from(n)));
        }
        let ports: Vec<_> = tracker.seen.keys().map(SocketAddr::port).collect();
        assert_eq!(ports, [494, 495, 496, 497, 498, 499]);
        for n in 1..200_u8 {
            tracker.note(&report(&[&format!("203.0.{n}.1:1")]), Mono::from_millis(1000 + u64::from(n)));
        }
        assert_eq!(tracker.seen.len(), MOST);
    }
}
