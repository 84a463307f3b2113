//! How much handshake work strangers can cause: when we are under load, and how much a source may ask then.
//!
//! All initiations with a right mac1 count toward load. Beyond [`Limit::set_rate`] a second we are under load for
//! at least one more second; then a source must first show by a cookie that it owns its address, and gets its own
//! small allowance (WireGuard paper §5.3). Responses do not count: each answers an initiation of ours.

use crate::source::Source;
use crate::time::Mono;
use keys::NodePublic;
use netmap::Map;
use std::net::IpAddr;
use std::time::Duration;

/// Initiations a second above which we are under load, unless set otherwise. Each costs four scalar
/// multiplications.
const RATE: u32 = 100;
/// How long we stay under load after the last excess.
const CALM: Duration = Duration::from_secs(1);
/// What one source may have under load: so many a second …
const SOURCE_RATE: u32 = 20;
/// … and so many at once.
const SOURCE_BURST: u32 = 5;
/// How many sources are remembered at most.
const SOURCES: usize = 512;
/// How often the table of sources is searched for room when it is full.
const SWEEP: Duration = Duration::from_millis(250);

/// A token bucket; time is its only input.
#[derive(Debug, Clone, Copy)]
struct Bucket {
    /// Fill in thousandths of a token.
    milli: u64,
    at: Mono,
}

impl Bucket {
    const fn full(burst: u32, now: Mono) -> Self {
        Self { milli: burst as u64 * 1000, at: now }
    }

    /// Refills by the time gone; true if it is full then.
    fn refill(&mut self, rate: u32, burst: u32, now: Mono) -> bool {
        let gone = now.since(self.at).as_micros().min(u128::from(u32::MAX)) as u64;
        let more = gone * u64::from(rate) / 1000;
        if more > 0 {
            self.at = now;
        }
        let top = u64::from(burst) * 1000;
        self.milli = (self.milli + more).min(top);
        self.milli == top
    }

    fn take(&mut self, rate: u32, burst: u32, now: Mono) -> bool {
        self.refill(rate, burst, now);
        let enough = self.milli >= 1000;
        if enough {
            self.milli -= 1000;
        }
        enough
    }
}

/// A source as far as its allowance goes: a port is free to choose, and so is the lower half of an IPv6 address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Origin {
    V4([u8; 4]),
    V6([u8; 8]),
    Derp(NodePublic),
}

impl From<&Source> for Origin {
    fn from(from: &Source) -> Self {
        match from {
            Source::Derp { peer, .. } => Self::Derp(*peer),
            Source::Udp(at) => match at.ip().to_canonical() {
                IpAddr::V4(ip) => Self::V4(ip.octets()),
                IpAddr::V6(ip) => {
                    let [a, b, c, d, e, f, g, h, ..] = ip.octets();
                    Self::V6([a, b, c, d, e, f, g, h])
                }
            },
        }
    }
}

/// The state of both limits.
#[derive(Debug)]
pub(super) struct Limit {
    rate: u32,
    all: Option<Bucket>,
    loaded_until: Mono,
    sources: Map<Origin, Bucket>,
    swept: Mono,
}

impl Default for Limit {
    fn default() -> Self {
        Self { rate: RATE, all: None, loaded_until: Mono::ZERO, sources: Map::new(), swept: Mono::ZERO }
    }
}

impl Limit {
    /// Sets how many initiations a second are no load. Zero: always under load.
    pub(super) fn set_rate(&mut self, per_second: u32) {
        self.rate = per_second;
        self.all = None;
    }

    /// Counts an initiation; true if we are under load, so that it needs a cookie.
    pub(super) fn under_load(&mut self, now: Mono) -> bool {
        let rate = self.rate;
        let all = self.all.get_or_insert_with(|| Bucket::full(rate, now));
        if !all.take(rate, rate, now) {
            self.loaded_until = now + CALM;
        }
        let loaded = now < self.loaded_until;
        if !loaded {
            self.sources.clear();
        }
        loaded
    }

    /// Under load: may this source, which has shown a cookie, have one more?
    pub(super) fn admit(&mut self, from: &Source, now: Mono) -> bool {
        let origin = Origin::from(from);
        if self.sources.len() >= SOURCES && !self.sources.contains_key(&origin) {
            if now.since(self.swept) >= SWEEP {
                self.swept = now;
                self.sources.retain(|_, bucket| !bucket.refill(SOURCE_RATE, SOURCE_BURST, now));
            }
            if self.sources.len() >= SOURCES {
                return false;
            }
        }
        self.sources.entry(origin).or_insert(Bucket::full(SOURCE_BURST, now)).take(
            SOURCE_RATE,
            SOURCE_BURST,
            now,
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ms: u64) -> Mono {
        Mono::from_millis(10_000 + ms)
    }

    fn udp(n: u32, port: u16) -> Source {
        Source::Udp((std::net::Ipv4Addr::from_bits(n), port).into())
    }

    #[test]
    fn load_begins_and_ends() {
        let mut limit = Limit::default();
        limit.set_rate(10);
        for _ in 0..10 {
            assert!(!limit.under_load(at(0)));
        }
        assert!(limit.under_load(at(0)));
        assert!(limit.under_load(at(900)), "stays for a while even at a low rate");
        assert!(!limit.under_load(at(2500)));
    }

    #[test]
    fn a_steady_rate_below_the_limit_is_no_load() {
        let mut limit = Limit::default();
        limit.set_rate(50);
        assert!((0..500).all(|i| !limit.under_load(at(i * 21))));
        limit.set_rate(0);
        assert!(limit.under_load(at(20_000)));
    }

    #[test]
    fn sources_are_apart_and_ports_are_not() {
        let mut limit = Limit::default();
        for port in 0..SOURCE_BURST as u16 {
            assert!(limit.admit(&udp(1, port), at(0)));
        }
        assert!(!limit.admit(&udp(1, 99), at(0)));
        assert!(limit.admit(&udp(2, 99), at(0)));
        assert!(limit.admit(&udp(1, 99), at(50)), "20 a second");
        assert!(!limit.admit(&udp(1, 99), at(50)));
    }

    #[test]
    fn the_table_of_sources_is_bounded() {
        let mut limit = Limit::default();
        let admitted = (0..10_000).filter(|n| limit.admit(&udp(*n, 1), at(0))).count();
        assert_eq!(admitted, SOURCES);
        assert_eq!(limit.sources.len(), SOURCES);
        assert!(limit.admit(&udp(77_777, 1), at(1000)), "full buckets made room");
        assert_eq!(limit.sources.len(), 1);
    }
}
