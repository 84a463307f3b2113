//! One direction of a UDP path: latency, jitter, loss, duplication, reordering, MTU.

use engine::time::Mono;
use rand_chacha::ChaCha8Rng;
use rand_core::RngCore;
use std::time::Duration;

/// How a path treats datagrams. Chances are in parts per million.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Link {
    /// Least time underway.
    pub latency: Duration,
    /// Up to that much more, evenly spread. Datagrams keep their order all the same.
    pub jitter: Duration,
    /// Chance that a datagram is lost.
    pub loss: u32,
    /// Chance that a datagram arrives twice.
    pub duplicate: u32,
    /// Chance that a datagram is held back by `reorder_by`, so that later ones overtake it.
    pub reorder: u32,
    /// How long a reordered datagram is held back.
    pub reorder_by: Duration,
    /// Longest UDP payload that passes, in bytes.
    pub mtu: usize,
    /// False: nothing passes.
    pub up: bool,
}

impl Default for Link {
    /// A good path: 10 ms, nothing lost.
    fn default() -> Self {
        Self {
            latency: Duration::from_millis(10),
            jitter: Duration::ZERO,
            loss: 0,
            duplicate: 0,
            reorder: 0,
            reorder_by: Duration::from_millis(5),
            mtu: 1472,
            up: true,
        }
    }
}

/// What a path did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct LinkStats {
    /// Datagrams that were sent into it.
    pub sent: u32,
    /// Lost by chance or because it was down.
    pub lost: u32,
    /// Arrived twice.
    pub duplicated: u32,
    /// Held back.
    pub reordered: u32,
    /// Too long for it.
    pub too_large: u32,
}

/// A link in use.
#[derive(Debug, Default)]
pub(crate) struct Path {
    pub(crate) link: Link,
    pub(crate) stats: LinkStats,
    last: Mono,
}

impl Path {
    pub(crate) fn new(link: Link) -> Self {
        Self { link, ..Self::default() }
    }

    /// When a datagram sent now arrives, once, twice or not at all.
    pub(crate) fn send(&mut self, len: usize, now: Mono, rng: &mut ChaCha8Rng) -> [Option<Mono>; 2] {
        // The same draws for every datagram, so that one chance does not shift all that come after.
        let [lost, twice, held] = [self.link.loss, self.link.duplicate, self.link.reorder]
            .map(|ppm| rng.next_u32() % 1_000_000 < ppm);
        let jitter = self.link.jitter.mul_f64(f64::from(rng.next_u32()) / f64::from(u32::MAX));
        self.stats.sent += 1;
        if len > self.link.mtu {
            self.stats.too_large += 1;
            return [None, None];
        }
        if lost || !self.link.up {
            self.stats.lost += 1;
            return [None, None];
        }
        let mut at = (now + self.link.latency + jitter).max(self.last);
        if held {
            self.stats.reordered += 1;
            at = at + self.link.reorder_by;
        } else {
            self.last = at;
        }
        self.stats.duplicated += u32::from(twice);
        [Some(at), twice.then(|| at + Duration::from_millis(1))]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand_core::SeedableRng;

    fn arrivals(link: Link, count: u64) -> (Vec<(Mono, u64)>, LinkStats) {
        let mut rng = ChaCha8Rng::seed_from_u64(1);
        let mut path = Path::new(link);
        let mut got = Vec::new();
        for n in 0..count {
            let at = path.send(100, Mono::from_millis(n), &mut rng);
            got.extend(at.into_iter().flatten().map(|at| (at, n)));
        }
        got.sort();
        (got, path.stats)
    }

    #[test]
    fn jitter_keeps_order() {
        let (got, _) = arrivals(Link { jitter: Duration::from_millis(50), ..Link::default() }, 500);
        let order: Vec<u64> = got.iter().map(|&(_, n)| n).collect();
        assert_eq!(order, (0..500).collect::<Vec<_>>());
        assert!(got.iter().all(|&(at, n)| {
            let underway = at.since(Mono::from_millis(n)).as_millis();
            (10..=60).contains(&underway)
        }));
        assert!(got.windows(2).any(|w| w[1].0.since(w[0].0) > Duration::from_millis(3)), "it does vary");
    }

    #[test]
    fn chances_are_about_right() {
        let link = Link { loss: 100_000, duplicate: 50_000, reorder: 200_000, ..Link::default() };
        let (got, stats) = arrivals(link, 10_000);
        assert_eq!(got.len() as u32, 10_000 - stats.lost + stats.duplicated);
        assert!((900..1100).contains(&stats.lost), "{stats:?}");
        assert!((400..500).contains(&stats.duplicated), "{stats:?}");
        assert!((1700..1900).contains(&stats.reordered), "{stats:?}");
        assert!(got.windows(2).any(|w| w[1].1 < w[0].1), "some overtake others");
    }

    #[test]
    fn down_or_too_long() {
        let (got, stats) = arrivals(Link { up: false, ..Link::default() }, 10);
        assert_eq!((got.len(), stats.lost), (0, 10));
        let (got, stats) = arrivals(Link { mtu: 99, ..Link::default() }, 10);
        assert_eq!((got.len(), stats.too_large), (0, 10));
    }
}
