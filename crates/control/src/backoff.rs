//! How long to wait after a failure (protocol reference §1.12).

use rand_core::RngCore;
use std::time::Duration;

/// Longest wait before the random factor, in milliseconds.
const CEILING_MS: u64 = 30_000;
/// The same while this client has never had a map: nothing works yet, somebody waits for it, and after the network
/// comes up it must not take half a minute more. With the 2.5 s that a silent connection costs, 5 s are not exceeded.
const EAGER_CEILING_MS: u64 = 1_500;

/// Counts failures in a row: the n-th is followed by min(n²·10 ms, 30 s) times a random factor of 0.5 to 1.5.
#[derive(Debug, Default)]
pub(crate) struct Backoff {
    failures: u64,
}

impl Backoff {
    /// Something worked: the next failure is the first again.
    pub(crate) fn reset(&mut self) {
        self.failures = 0;
    }

    /// Notes a failure and tells how long to wait. An `eager` wait is 2.25 s at most.
    pub(crate) fn next(&mut self, eager: bool, rng: &mut dyn RngCore) -> Duration {
        self.failures = self.failures.saturating_add(1);
        let ceiling = if eager { EAGER_CEILING_MS } else { CEILING_MS };
        let base = self.failures.saturating_mul(self.failures).saturating_mul(10).min(ceiling);
        let factor = 500 + u64::from(rng.next_u32() % 1000);
        Duration::from_micros(base.saturating_mul(factor))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn grows_to_its_ceiling() {
        let mut backoff = Backoff::default();
        let mut rng = rand_core::OsRng;
        for n in 1..100u64 {
            let base = Duration::from_millis((n * n * 10).min(CEILING_MS));
            let wait = backoff.next(false, &mut rng);
            assert!(wait >= base / 2 && wait < base * 3 / 2, "{n}: {wait:?}");
        }
        assert!(backoff.next(true, &mut rng) <= Duration::from_millis(2250));
        backoff.reset();
        assert!(backoff.next(false, &mut rng) < Duration::from_millis(15));
    }
}
