//! How often something may happen.

use crate::time::Mono;
use std::time::Duration;

/// A token bucket: so many a second, and as many at once after a pause.
#[derive(Debug)]
pub(super) struct Limit {
    /// When the bucket was, or will be, full.
    full_at: Mono,
    gap: Duration,
    depth: Duration,
}

impl Limit {
    /// `per_second` is at least 1.
    pub(super) fn new(per_second: u32) -> Self {
        let gap = Duration::from_secs(1) / per_second.max(1);
        Self { full_at: Mono::ZERO, gap, depth: Duration::from_secs(1) }
    }

    /// Takes one token if there is one.
    pub(super) fn take(&mut self, now: Mono) -> bool {
        let after = self.full_at.max(now) + self.gap;
        let allowed = after.since(now) <= self.depth;
        if allowed {
            self.full_at = after;
        }
        allowed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_then_the_rate() {
        let mut limit = Limit::new(50);
        let taken = |limit: &mut Limit, ms| (0..1000).filter(|_| limit.take(Mono::from_millis(ms))).count();
        assert_eq!(taken(&mut limit, 0), 50);
        assert_eq!(taken(&mut limit, 100), 5);
        assert_eq!(taken(&mut limit, 110), 0);
        assert_eq!(taken(&mut limit, 120), 1);
        assert_eq!(taken(&mut limit, 100_000), 50);
    }
}
