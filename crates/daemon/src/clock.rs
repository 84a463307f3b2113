//! The only reader of monotonic and wall time.
//!
//! Owns: the clock rules. Routers boot in 1970, so wall time has a floor: a machine whose clock is before the build, or
//! decades after it, is taken to have been at the later of build time and the state file's last change when it started. A clock between the two may be behind (it
//! is not trusted), or the file was written while it ran ahead: it is believed as it is. Once control has told its time, wall time is control's plus what has passed since:
//! a machine whose clock jumps by years keeps its keys valid and its handshakes growing.
//! Leaves out: judging certificates (`dial`) and key expiry (`backend`): they are given a reading.

use dial::WallReading;
use engine::time::{Mono, Wall};
use nix::time::{ClockId, clock_gettime};
use std::sync::Mutex;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// When this source was last known to be current; the floor of wall time unless the build says a later one.
const RELEASE_EPOCH: u64 = 1_795_219_200;

/// A clock so far ahead of the build is wrong, and a state file that claims to be so young was written under such a one.
const OLDEST: u64 = 30 * 365 * 86_400;

/// ControlTime before this (2023-01-10) is a mistake and ignored (protocol reference §11).
const CONTROL_TIME_EPOCH: i64 = 1_673_373_066;

/// Nanoseconds of sleep after which what was known of the network is doubted.
const SLEEP: u64 = 30_000_000_000;

/// Both clocks of the process. Shared by reference; the mutex is held for a few instructions only (it exists
/// because rustls asks from inside a `Sync` verifier, and 64-bit atomics do not exist on ARMv5).
#[derive(Debug)]
pub struct Clock {
    start: Instant,
    /// Seconds since 1970, as the next.
    built: u64,
    /// Last change of the state file.
    changed: u64,
    /// What the machine's own clock reads, in nanoseconds since 1970.
    machine: fn() -> u64,
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
        let built = RELEASE_EPOCH.max(built);
        let changed = if changed > built + OLDEST { 0 } else { changed };
        Self { start, built, changed, machine: machine_nanos, anchor: Mutex::new(None) }
    }

    /// Monotonic time since the process started.
    pub fn mono(&self) -> Mono {
        Mono::from_nanos(u64::try_from(self.start.elapsed().as_nanos()).unwrap_or(u64::MAX))
    }

    /// When `at` comes on the runtime's clock.
    pub fn instant(&self, at: Mono) -> Instant {
        self.start + Duration::from_nanos(at.as_nanos())
    }

    /// Whether the machine has slept for more than half a minute since the last call with the same `mark`. That its wall
    /// clock has been set, as each start without a battery ends, is none: nothing outside has changed.
    pub fn slept(&self, mark: &mut Option<u64>) -> bool {
        let (all, awake) = (nanos(ClockId::CLOCK_BOOTTIME), nanos(ClockId::CLOCK_MONOTONIC));
        let asleep = all.zip(awake).map(|(all, awake)| all.saturating_sub(awake));
        let before = std::mem::replace(mark, asleep);
        before.zip(asleep).is_some_and(|(before, asleep)| asleep.saturating_sub(before) > SLEEP)
    }

    /// The best guess of wall time.
    pub fn wall(&self) -> Wall {
        let anchor = self.anchor.lock().map_or(None, |a| *a);
        if let Some(anchor) = anchor {
            let passed = self.mono().as_nanos().saturating_sub(anchor.heard.as_nanos());
            return Wall(anchor.unix_nanos.saturating_add(passed));
        }
        let machine = (self.machine)();
        let floor = self.built.max(self.changed).saturating_mul(1_000_000_000);
        let floor = floor.saturating_add(self.mono().as_nanos());
        Wall(if self.is_plausible(machine) { machine } else { floor })
    }

    /// Neither before the build nor decades after it.
    fn is_plausible(&self, machine_nanos: u64) -> bool {
        (self.built..self.built.saturating_add(OLDEST)).contains(&(machine_nanos / 1_000_000_000))
    }

    /// The best guess of wall time as files are stamped with.
    pub fn system_time(&self) -> SystemTime {
        UNIX_EPOCH + Duration::from_nanos(self.wall().0)
    }

    /// The best guess of wall time as a time stamp.
    pub fn timestamp(&self) -> netmap::Timestamp {
        netmap::Timestamp::from_unix_nanos(i128::from(self.wall().0))
    }

    /// Takes control's word for the time. Returns by how many seconds the machine's own clock is off
    /// (positive: it is behind) if that is more than a minute.
    pub fn set_control_time(&self, at: netmap::Timestamp) -> Option<i64> {
        if !is_sane(at) {
            return None;
        }
        let unix_nanos = u64::try_from(at.unix_nanos()).ok()?;
        if let Ok(mut anchor) = self.anchor.lock() {
            *anchor = Some(Anchor { heard: self.mono(), unix_nanos });
        }
        let machine = i64::try_from((self.machine)() / 1_000_000_000).unwrap_or(0);
        let off = at.unix().saturating_sub(machine);
        (off.abs() > 60).then_some(off)
    }
}

/// Whether control may mean this time.
pub fn is_sane(at: netmap::Timestamp) -> bool {
    at.unix() >= CONTROL_TIME_EPOCH
}

impl dial::WallClock for Clock {
    fn reading(&self) -> WallReading {
        let anchored = self.anchor.lock().is_ok_and(|a| a.is_some());
        let machine = (self.machine)();
        let trusted = anchored || self.is_plausible(machine) && machine / 1_000_000_000 >= self.changed;
        WallReading { unix_secs: self.wall().0 / 1_000_000_000, trusted }
    }
}

/// Not by the standard library, which ends the process where 32 bits do not hold the time, from 2038 on.
fn machine_nanos() -> u64 {
    // The end of time, which is not plausible, if it cannot be said.
    nanos(ClockId::CLOCK_REALTIME).unwrap_or(u64::MAX)
}

/// What a clock of the kernel reads, in nanoseconds.
fn nanos(clock: ClockId) -> Option<u64> {
    let at = clock_gettime(clock).ok()?;
    let (seconds, rest) = (u64::try_from(at.tv_sec()).ok()?, u64::try_from(at.tv_nsec()).ok()?);
    seconds.checked_mul(1_000_000_000)?.checked_add(rest)
}

fn unix(at: SystemTime) -> Duration {
    at.duration_since(UNIX_EPOCH).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use dial::WallClock as _;
    use netmap::Timestamp;

    /// 2050.
    const LATER: u64 = 2_524_608_000;
    /// 2076.
    const FAR: u64 = 3_345_062_400;

    fn at(unix_secs: u64) -> SystemTime {
        UNIX_EPOCH + Duration::from_secs(unix_secs)
    }

    fn clock(changed: u64, machine: fn() -> u64) -> Clock {
        Clock { machine, ..Clock::new(Some(at(changed))) }
    }

    #[test]
    fn a_router_boots_in_1970() {
        let early = clock(LATER, || 100_000_000_000);
        assert_eq!(early.reading(), WallReading { unix_secs: LATER, trusted: false });
        let fresh = Clock { machine: || 0, ..Clock::new(None) };
        assert_eq!(fresh.reading(), WallReading { unix_secs: RELEASE_EPOCH, trusted: false });
        assert_eq!(early.set_control_time(Timestamp::from_unix(5)), None, "absurd times are ignored");
        assert!(!early.reading().trusted);
        let off = early.set_control_time(Timestamp::from_unix(LATER as i64 + 9)).expect("far off");
        assert_eq!(off, LATER as i64 + 9 - 100);
        assert_eq!(early.reading(), WallReading { unix_secs: LATER + 9, trusted: true });
        assert_eq!(early.system_time().duration_since(at(LATER)).expect("later").as_secs(), 9);
    }

    #[test]
    fn time_passes_while_the_clock_is_wrong() {
        let mut early = clock(LATER, || 0);
        early.start -= Duration::from_secs(5);
        assert_eq!(early.reading(), WallReading { unix_secs: LATER + 5, trusted: false });
    }

    #[test]
    fn a_clock_that_is_set_is_no_sleep() {
        let mut mark = None;
        let set = clock(0, || (RELEASE_EPOCH + 60) * 1_000_000_000);
        assert!(!set.slept(&mut mark));
        let set = Clock { machine: || (RELEASE_EPOCH + 6000) * 1_000_000_000, ..set };
        assert!(!set.slept(&mut mark));
        assert_eq!(mark.map(|asleep| asleep < u64::MAX / 2), Some(true), "the kernel tells of sleep");
    }

    #[test]
    fn a_clock_beyond_what_can_be_said_is_not_plausible() {
        let beyond = clock(0, || u64::MAX);
        assert_eq!(beyond.reading(), WallReading { unix_secs: RELEASE_EPOCH, trusted: false });
        assert_eq!(beyond.set_control_time(Timestamp::from_unix(LATER as i64)).map(i64::signum), Some(-1));
    }

    #[test]
    fn a_state_file_from_the_future_does_not_drag_a_good_clock_along() {
        let good = clock(LATER, || (RELEASE_EPOCH + 60) * 1_000_000_000);
        assert_eq!(good.reading(), WallReading { unix_secs: RELEASE_EPOCH + 60, trusted: false });
        let wild = clock(FAR, || 0);
        assert_eq!(wild.reading(), WallReading { unix_secs: RELEASE_EPOCH, trusted: false });
    }

    #[test]
    fn jumps_of_the_machine_do_not_count_once_control_has_told_the_time() {
        let ahead = clock(0, || FAR * 1_000_000_000);
        assert_eq!(ahead.reading(), WallReading { unix_secs: RELEASE_EPOCH, trusted: false });
        let off = ahead.set_control_time(Timestamp::from_unix(LATER as i64)).expect("far off");
        assert_eq!(off, LATER as i64 - FAR as i64);
        assert_eq!(ahead.reading(), WallReading { unix_secs: LATER, trusted: true });
        assert_eq!(ahead.set_control_time(Timestamp::from_unix(FAR as i64)), None);
    }
}
