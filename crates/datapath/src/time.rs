//! Moments as arguments: monotonic time, its coarse form for packet threads, and wall time.

use std::time::Duration;

/// Monotonic time since some fixed moment of the process (or of the simulation), in nanoseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Mono(u64);

impl Mono {
    /// The fixed moment itself.
    pub const ZERO: Self = Self(0);

    /// A moment that long after the fixed one.
    pub const fn from_nanos(nanos: u64) -> Self {
        Self(nanos)
    }

    /// A moment that long after the fixed one.
    pub const fn from_millis(millis: u64) -> Self {
        Self(millis.saturating_mul(1_000_000))
    }

    /// Nanoseconds since the fixed moment.
    pub const fn as_nanos(self) -> u64 {
        self.0
    }

    /// How long ago `earlier` was; zero if it is later.
    pub const fn since(self, earlier: Self) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }

    /// The same moment on the coarse clock of the packet lines.
    pub const fn tick(self) -> Tick {
        Tick((self.0 / 1_000_000) as u32)
    }
}

impl std::ops::Add<Duration> for Mono {
    type Output = Self;
    fn add(self, later: Duration) -> Self {
        Self(self.0.saturating_add(later.as_nanos().min(u128::from(u64::MAX)) as u64))
    }
}

/// A moment in milliseconds that wraps after 49.7 days: what packet threads read once a batch and publish in
/// 32-bit atomics (ARMv5 has no wider ones). One that is kept for longer says nothing: whoever keeps one forgets it in time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Tick(pub u32);

impl Tick {
    /// Threads read the clock at different times: one may know moments so many milliseconds ahead of another's.
    const AHEAD: u32 = 60_000;

    /// Milliseconds from `earlier` to `self`, right up to a minute less than the clock takes to wrap; zero if `earlier` is
    /// later, by a minute at most.
    pub const fn since(self, earlier: Self) -> u32 {
        let gone = self.0.wrapping_sub(earlier.0);
        if gone >= u32::MAX - Self::AHEAD { 0 } else { gone }
    }
}

/// Wall time in nanoseconds since 1970, already lifted to the floor of the daemon's clock and corrected by control.
/// Only WireGuard handshake timestamps and key expiry depend on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Wall(pub u64);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_wrap() {
        assert_eq!(Tick(5).since(Tick(u32::MAX - 4)), 10);
        assert_eq!(Tick(5).since(Tick(9)), 0);
        assert_eq!(Tick(5).since(Tick(60_005)), 0, "read by another thread, later");
        for days in [24, 25, 30, 49] {
            let (then, gone) = (Mono::from_millis(7_000_000), Duration::from_secs(days * 86400));
            assert_eq!(u128::from((then + gone).tick().since(then.tick())), gone.as_millis(), "{days} days");
        }
        assert_eq!(Mono::from_millis(1500).tick(), Tick(1500));
    }

    #[test]
    fn moments() {
        let later = Mono::from_millis(10) + Duration::from_millis(5);
        assert_eq!(later.since(Mono::from_millis(10)), Duration::from_millis(5));
        assert_eq!(Mono::ZERO.since(later), Duration::ZERO);
    }
}
