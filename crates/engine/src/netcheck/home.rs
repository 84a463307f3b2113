//! Which region is home (protocol reference §4.3): the nearest one, weighed by control's scores, over the reports of
//! the last five minutes; the present one as long as no other is clearly nearer.

use super::report::{Latencies, Report};
use crate::time::Mono;
use netmap::{DerpMap, Map, RegionId};
use std::collections::VecDeque;
use std::time::Duration;

/// How old a report may be that is looked at: the time between two full ones, and what one takes.
const MEMORY: Duration = Duration::from_secs(5 * 60 + 5);
/// Reports that are remembered at most: one each 20 s fills five minutes.
const REPORTS: usize = 32;
/// Nearer by less is not worth a move.
const CLEARLY: Duration = Duration::from_millis(10);
/// A relay heard this long ago is there, whatever STUN says.
const HEARD: Duration = Duration::from_secs(8);
/// Without any latency, home stays this long after its relay was heard: twice its keep-alive.
const SILENT: Duration = Duration::from_secs(120);

/// What the choice remembers.
#[derive(Debug, Default)]
pub(super) struct History {
    reports: VecDeque<(Mono, Latencies)>,
    heard: Map<RegionId, Mono>,
}

impl History {
    /// Something came from the relay of `region`.
    pub(super) fn heard(&mut self, region: RegionId, now: Mono) {
        self.heard.insert(region, now);
    }

    /// The regions are others now.
    pub(super) fn forget_all_but(&mut self, map: &DerpMap) {
        self.heard.retain(|id, _| map.regions.contains_key(id));
        self.reports.iter_mut().for_each(|(_, all)| all.retain(|id, _| map.regions.contains_key(id)));
    }

    /// Remembers `report`, begun at `start`, and chooses. None if nothing answered and the present home has been silent.
    pub(super) fn choose(
        &mut self,
        map: &DerpMap,
        report: &Report,
        present: RegionId,
        start: Mono,
        now: Mono,
    ) -> RegionId {
        self.reports.push_back((now, report.region_latency.clone()));
        while self.reports.len() > REPORTS
            || self.reports.front().is_some_and(|(at, _)| now.since(*at) > MEMORY)
        {
            self.reports.pop_front();
        }
        let weighed = |id: &RegionId, latency: Duration| {
            let score = map.region_score.get(id).copied().filter(|score| *score > 0.0).unwrap_or(1.0);
            latency.mul_f64(score.min(1e6))
        };
        let best = |id: &RegionId| self.reports.iter().filter_map(|(_, all)| all.get(id)).min().copied();
        let usable = |id: &&RegionId| map.regions.get(id).is_some_and(|region| !region.no_measure_no_home);
        let answered = report.region_latency.keys().filter(usable);
        let nearest = answered.filter_map(|id| Some((weighed(id, best(id)?), *id))).min();
        let within = |limit: Duration| {
            let heard = self.heard.get(&present).filter(|_| !present.is_none());
            heard.is_some_and(|at| *at > start || now.since(*at) < limit)
        };
        let Some((nearest, choice)) = nearest else {
            return if within(SILENT) { present } else { RegionId::NONE };
        };
        let old = report.region_latency.get(&present).map(|latency| weighed(&present, *latency));
        let stay = match old {
            Some(old) => old.saturating_sub(nearest) < CLEARLY || nearest * 3 > old * 2,
            // It does not answer STUN, but it is there.
            None => within(HEARD) && map.regions.contains_key(&present),
        };
        if stay { present } else { choice }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use netmap::DerpRegion;

    fn map() -> DerpMap {
        let regions = (1..=4).map(RegionId).map(|id| (id, DerpRegion { id, ..DerpRegion::default() }));
        DerpMap { regions: regions.collect(), ..DerpMap::default() }
    }

    fn report(latencies: &[(u16, u64)]) -> Report {
        let all = latencies.iter().map(|(id, ms)| (RegionId(*id), Duration::from_millis(*ms)));
        Report { region_latency: all.collect(), ..Report::default() }
    }

    struct Node {
        history: History,
        map: DerpMap,
        home: u16,
        now: Mono,
    }

    impl Node {
        fn at(home: u16) -> Self {
            Self { history: History::default(), map: map(), home, now: Mono::from_millis(1_000_000) }
        }

        fn finds(&mut self, latencies: &[(u16, u64)]) -> u16 {
            self.now = self.now + Duration::from_secs(20);
            let start = self.now;
            let now = start + Duration::from_secs(1);
            self.home = self.history.choose(&self.map, &report(latencies), RegionId(self.home), start, now).0;
            self.home
        }
    }

    #[test]
    fn the_nearest() {
        assert_eq!(Node::at(0).finds(&[(1, 30), (2, 20), (3, 40)]), 2);
        assert_eq!(Node::at(0).finds(&[]), 0);
        assert_eq!(Node::at(0).finds(&[(9, 1)]), 0, "not in the map");
    }

    #[test]
    fn only_what_is_clearly_nearer() {
        // By 9 ms; by less than a third; by both more.
        assert_eq!(Node::at(1).finds(&[(1, 19), (2, 10)]), 1);
        assert_eq!(Node::at(1).finds(&[(1, 140), (2, 100)]), 1);
        assert_eq!(Node::at(1).finds(&[(1, 160), (2, 100)]), 2);
        assert_eq!(Node::at(1).finds(&[(2, 100)]), 2, "home does not answer");
    }

    #[test]
    fn one_bad_moment_of_home_is_none() {
        let mut node = Node::at(1);
        assert_eq!(node.finds(&[(1, 20), (2, 25)]), 1);
        // The best of the last minutes counts: home is nearest still.
        assert_eq!(node.finds(&[(1, 500), (2, 25)]), 1);
        for _ in 0..20 {
            node.finds(&[(1, 500), (2, 25)]);
        }
        assert_eq!(node.home, 2, "it was no moment");
    }

    #[test]
    fn a_home_that_is_heard() {
        let mut node = Node::at(1);
        node.history.heard(RegionId(1), node.now + Duration::from_secs(14));
        assert_eq!(node.finds(&[(2, 5)]), 1, "seven seconds ago");
        assert_eq!(node.finds(&[(2, 5)]), 2, "27 seconds ago");
        node.history.heard(RegionId(2), node.now);
        assert_eq!(node.finds(&[]), 2);
        for _ in 0..5 {
            node.finds(&[]);
        }
        assert_eq!(node.home, 0, "silent for two minutes");
    }

    #[test]
    fn scores() {
        let mut node = Node::at(0);
        node.map.region_score = [(RegionId(2), 0.1), (RegionId(1), -1.0), (RegionId(3), f64::NAN)].into();
        assert_eq!(node.finds(&[(1, 20), (2, 90), (3, 19)]), 2);
        node.map.regions.get_mut(&RegionId(2)).unwrap().no_measure_no_home = true;
        node.home = 0;
        assert_eq!(node.finds(&[(1, 20), (2, 90)]), 1);
    }
}
