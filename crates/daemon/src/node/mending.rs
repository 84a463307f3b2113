//! When it is looked whether others have removed what is ours in the kernel, and when what it refused is tried again. Pure.
//!
//! News of the kernel are followed soon, but not again and again when somebody goes on removing. The packet filter tells
//! nobody of its changes: it is looked at when the node is awake for another reason and has not looked for long. What was
//! refused may be taken a moment later (somebody else had the lock of the packet filter), or never: it is tried after
//! pauses that double.

use engine::time::Mono;
use std::time::Duration;

/// At least this lies between two looks …
const LEAST: Duration = Duration::from_secs(4);
/// … and when so many in a row have found something, twice as much after each further one, …
const PATIENCE: u32 = 6;
/// … so much at most.
const MOST: Duration = EVERY;
/// A look without news.
const EVERY: Duration = Duration::from_secs(180);
/// What was refused is tried again after this, then after twice as much each time, [`MOST`] at most.
const AGAIN: Duration = Duration::from_secs(1);

/// Keeps the time.
#[derive(Debug, Default)]
pub(super) struct Mending {
    /// There is news that has not been followed.
    news: bool,
    last: Option<Mono>,
    /// What lies between this look and the next.
    pause: Duration,
    /// Looks in a row that have found something.
    found: u32,
    /// When what was refused is tried again, and how long after the last try that is.
    again: Option<(Mono, Duration)>,
}

impl Mending {
    /// The kernel has told of something.
    pub(super) const fn hear(&mut self) {
        self.news = true;
    }

    /// When to wake up for a look; `None`: not for this.
    pub(super) fn due(&self) -> Option<Mono> {
        let news = self.news.then(|| self.last.map_or(Mono::ZERO, |last| last + self.pause));
        news.into_iter().chain(self.again.map(|(at, _)| at)).min()
    }

    /// Whether to look, now that the node is awake.
    pub(super) fn is_time(&self, now: Mono) -> bool {
        self.due().is_some_and(|at| at <= now) || self.last.is_none_or(|last| now.since(last) >= EVERY)
    }

    /// It has been looked; whether something had to be put back.
    pub(super) fn looked(&mut self, now: Mono, found: bool) {
        let in_a_row = self.last.is_some_and(|last| now.since(last) <= 2 * MOST);
        self.found = if found && in_a_row { self.found.saturating_add(1) } else { 0 };
        self.pause = if self.found > PATIENCE { (self.pause * 2).min(MOST) } else { LEAST };
        (self.news, self.last) = (false, Some(now));
    }

    /// The kernel was to be given something, in a look or without one; whether it has taken all of it.
    pub(super) fn tried(&mut self, now: Mono, taken: bool) {
        let pause = self.again.map_or(AGAIN, |(_, pause)| (pause * 2).min(MOST));
        self.again = (!taken).then(|| (now + pause, pause));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Mono {
        Mono::ZERO + Duration::from_secs(seconds)
    }

    #[test]
    fn news_are_followed_and_nothing_wakes_the_node_without() {
        let mut mending = Mending::default();
        assert!(mending.is_time(at(0)) && mending.due().is_none());
        mending.looked(at(0), false);
        assert!(mending.due().is_none() && !mending.is_time(at(179)) && mending.is_time(at(180)));
        mending.hear();
        assert_eq!(mending.due(), Some(at(4)));
        assert!(!mending.is_time(at(3)) && mending.is_time(at(4)));
        mending.looked(at(100), false);
        mending.hear();
        assert!(mending.is_time(at(104)), "an old look holds nothing up");
    }

    #[test]
    fn what_was_refused_is_tried_again_until_it_is_taken() {
        let mut mending = Mending::default();
        mending.looked(at(0), false);
        mending.tried(at(0), false);
        let (mut tries, mut now) = (Vec::new(), 0);
        while now < 1000 {
            if mending.is_time(at(now)) {
                tries.push(now);
                mending.tried(at(now), false);
                mending.looked(at(now), false);
            }
            now += 1;
        }
        assert_eq!(tries, [1, 3, 7, 15, 31, 63, 127, 255, 435, 615, 795, 975]);
        mending.tried(at(1001), true);
        mending.looked(at(1001), true);
        assert!(mending.due().is_none() && !mending.is_time(at(1100)), "all is well");
        mending.tried(at(1200), false);
        assert_eq!(mending.due(), Some(at(1201)), "and soon again the next time");
        mending.hear();
        assert_eq!(mending.due(), Some(at(1005)), "news do not wait for that");
    }

    #[test]
    fn who_goes_on_removing_is_followed_less_and_less() {
        let (mut mending, mut now, mut looks) = (Mending::default(), 0, 0);
        while now < 3600 {
            mending.hear();
            if mending.is_time(at(now)) {
                mending.looked(at(now), true);
                looks += 1;
            }
            now += 1;
        }
        assert!((15..35).contains(&looks), "{looks} looks in an hour");
        mending.looked(at(now), false);
        mending.hear();
        assert_eq!(mending.due(), Some(at(now + 4)), "and after a quiet one as before");
    }
}
