//! The only reader of monotonic and wall time.
//!
//! Owns: the clock rules. Routers boot in 1970, so wall time has a floor (the later of build time and the state
//! file's last change), and once control has told its time, wall time is control's plus what has passed since:
//! a machine whose clock jumps by years keeps its keys valid and its handshakes growing.
//! Leaves out: judging certificates (`dial`) and key expiry (`backend`): they are given a reading.

use dial::WallReading;
use engine::time::{Mono, Wall};
use std::sync::Mutex;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// When this source was last known to be current; the floor of wall time unless the build says a later one.
const RELEASE_EPOCH: u64 = 1_795_219_200;

/// ControlTime before this (2023-01-10) is a mistake and ignored (protocol reference §11).
const CONTROL_TIME_EPOCH: i64 = 1_673_373_066;

/// Both clocks of the process. Shared by reference; the mutex is held for a few instructions only (it exists
/// because rustls asks from inside a `Sync` verifier, and 64-bit atomics do not exist on ARMv5).
#[derive(Debug)]
pub struct Clock {
    start: Instant,
    floor: u64,
    anchor: Mutex<Option<Anchor>>,
}

/// What control said the time was, and when we heard it.
#[derive(Debug, Clone, Copy)]
struct Anchor {
    heard: Mono,
    unix_nanos: u64,
}

impl Clock {
    /// Starts the monotonic clock at zero. `state_changed` is the last change of the state file.
    pub fn new(state_changed: Option<SystemTime>) -> Self {
        let built = option_env!("SOURCE_DATE_EPOCH").and_then(|s| s.parse().ok()).unwrap_or(0);
        let changed = state_changed.map_or(0, |at| unix(at).as_secs());
        #[expect(clippy::disallowed_methods, reason = "this is the one place")]
        let start = Instant::now();
        Self { start, floor: RELEASE_EPOCH.max(built).max(changed), anchor: Mutex::new(None) }
    }

    /// Monotonic time since the process started.
    pub fn mono(&self) -> Mono {
        Mono::from_nanos(u64::try_from(self.start.elapsed().as_nanos()).unwrap_or(u64::MAX))
    }

    /// When `at` comes on the runtime's clock.
    pub fn instant(&self, at: Mono) -> Instant {
        self.start + Duration::from_nanos(at.as_nanos())
    }

    /// The best guess of wall time.
    pub fn wall(&self) -> Wall {
        let anchor = self.anchor.lock().map_or(None, |a| *a);
        if let Some(anchor) = anchor {
            let passed = self.mono().as_nanos().saturating_sub(anchor.heard.as_nanos());
            return Wall(anchor.unix_nanos.saturating_add(passed));
        }
        Wall(machine_nanos().max(self.floor.saturating_mul(1_000_000_000)))
    }

    /// The best guess of wall time as a time stamp.
    pub fn timestamp(&self) -> netmap::Timestamp {
        netmap::Timestamp::from_unix_nanos(i128::from(self.wall().0))
    }

    /// Takes control's word for the time. Returns by how many seconds the machine's own clock is off
    /// (positive: it is behind) if that is more than a minute.
    pub fn set_control_time(&self, at: netmap::Timestamp) -> Option<i64> {
        if at.unix() < CONTROL_TIME_EPOCH {
            return None;
        }
        let unix_nanos = u64::try_from(at.unix_nanos()).ok()?;
        if let Ok(mut anchor) = self.anchor.lock() {
            *anchor = Some(Anchor { heard: self.mono(), unix_nanos });
        }
        let machine = i64::try_from(machine_nanos() / 1_000_000_000).unwrap_or(0);
        let off = at.unix().saturating_sub(machine);
        (off.abs() > 60).then_some(off)
    }
}

impl dial::WallClock for Clock {
    fn reading(&self) -> WallReading {
        let anchored = self.anchor.lock().is_ok_and(|a| a.is_some());
        let trusted = anchored || machine_nanos() / 1_000_000_000 >= self.floor;
        WallReading { unix_secs: self.wall().0 / 1_000_000_000, trusted }
    }
}

#[expect(clippy::disallowed_methods, reason = "this is the one place")]
fn machine_nanos() -> u64 {
    u64::try_from(unix(SystemTime::now()).as_nanos()).unwrap_or(u64::MAX)
}

fn unix(at: SystemTime) -> Duration {
    at.duration_since(UNIX_EPOCH).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use dial::WallClock as _;
    use netmap::Timestamp;

    #[test]
    fn floor_and_anchor() {
        let future = UNIX_EPOCH + Duration::from_secs(4_000_000_000);
        let clock = Clock::new(Some(future));
        assert_eq!(clock.reading(), WallReading { unix_secs: 4_000_000_000, trusted: false });
        assert_eq!(clock.set_control_time(Timestamp::from_unix(5)), None, "absurd times are ignored");
        assert!(!clock.reading().trusted);
        let off = clock.set_control_time(Timestamp::from_unix(4_100_000_000)).expect("far off");
        assert!(off > 1_000_000_000);
        assert_eq!(clock.reading(), WallReading { unix_secs: 4_100_000_000, trusted: true });
    }
}
