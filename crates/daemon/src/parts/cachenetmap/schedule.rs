//! When a map is compared with what is on flash, and when it is written.
//!
//! Flash wears out by writing, so news gather for a while and a file is replaced a few times an hour at most, whatever
//! control tells.

use engine::time::Mono;
use std::time::Duration;

/// News are left to gather so long: a map is followed by what it leaves out, and a home region is found.
const GATHER: Duration = Duration::from_secs(10);

/// Least time between two looks at the whole map.
const LOOKS: Duration = Duration::from_secs(60);

/// Least time between two writes.
const WRITES: Duration = Duration::from_secs(600);

/// What has happened so far.
#[derive(Debug, Default)]
pub(super) struct Schedule {
    /// When the first of the news came that nobody has looked at.
    news: Option<Mono>,
    looked: Option<Mono>,
    wrote: Option<Mono>,
}

impl Schedule {
    /// There is something new.
    pub(super) fn news(&mut self, now: Mono) {
        self.news.get_or_insert(now);
    }

    /// Nothing is known of that would have to be written.
    pub(super) fn clear(&mut self) {
        self.news = None;
    }

    /// When to look next.
    pub(super) fn due(&self) -> Option<Mono> {
        let least = [self.looked.map(|at| at + LOOKS), self.wrote.map(|at| at + WRITES)];
        least.into_iter().flatten().chain([self.news? + GATHER]).max()
    }

    /// The map as it is now has been compared.
    pub(super) fn looked(&mut self, now: Mono) {
        self.news = None;
        self.looked = Some(now);
    }

    /// It has been written, or could not be.
    pub(super) fn wrote(&mut self, now: Mono) {
        self.wrote = Some(now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn whatever_control_tells_a_file_is_written_six_times_an_hour() {
        let (mut schedule, mut writes, mut looks) = (Schedule::default(), 0, 0);
        for second in 0..3600 {
            let now = Mono::ZERO + SECOND * second;
            // Every news differs.
            schedule.news(now);
            if schedule.due().is_some_and(|at| at <= now) {
                schedule.looked(now);
                schedule.wrote(now);
                (writes, looks) = (writes + 1, looks + 1);
            }
        }
        assert_eq!((writes, looks), (6, 6));
    }

    #[test]
    fn what_makes_no_difference_is_looked_at_once_a_minute() {
        let (mut schedule, mut looks) = (Schedule::default(), 0);
        for second in 0..3600 {
            let now = Mono::ZERO + SECOND * second;
            schedule.news(now);
            if schedule.due().is_some_and(|at| at <= now) {
                schedule.looked(now);
                looks += 1;
            }
        }
        assert_eq!(looks, 60);
        schedule.clear();
        assert_eq!(schedule.due(), None);
    }

    #[test]
    fn nothing_is_due_without_news() {
        assert_eq!(Schedule::default().due(), None);
        let mut schedule = Schedule::default();
        schedule.news(Mono::ZERO);
        assert_eq!(schedule.due(), Some(Mono::ZERO + GATHER));
    }
}
