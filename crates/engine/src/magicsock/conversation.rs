//! Notices when a conversation becomes a monologue: long before the next heartbeat is due, the path is asked.
//!
//! What the lines tell is looked at while something is said and both sides have said something since the last heartbeat; at
//! rest there is no look, and one direction without answers is asked once.

use super::UNHEARD;
use super::paths::Lately;
use crate::time::{Mono, Tick};
use std::time::Duration;

/// What is known of it.
#[derive(Debug, Default)]
pub(super) struct Conversation {
    sent: Option<Tick>,
    received: Option<Tick>,
    /// The next look.
    due: Option<Mono>,
    /// Time between two of them, and without an answer.
    gap: Duration,
    /// We alone have said something when it was last looked.
    alone: bool,
}

impl Conversation {
    /// When [`Self::look`] is due.
    pub(super) const fn due(&self) -> Option<Mono> {
        self.due
    }

    /// Whether it is.
    pub(super) fn is_due(&self, now: Mono) -> bool {
        self.due.is_some_and(|at| at <= now)
    }

    /// A heartbeat: if both have said something since the last one, it is listened closely from now on.
    pub(super) fn begin(&mut self, lately: &Lately, latency: Duration, now: Mono) {
        if self.due.is_none() && self.note(lately) == (true, true) {
            self.gap = UNHEARD.max(latency * 2);
            (self.due, self.alone) = (Some(now + self.gap), false);
        }
    }

    /// Whether the path is to be asked. Once is enough until the peer is heard again.
    pub(super) fn look(&mut self, lately: &Lately, now: Mono) -> bool {
        self.due = None;
        match (self.note(lately), self.alone) {
            ((_, true), _) => self.alone = false,
            (_, true) => return true,
            ((true, false), false) => self.alone = true,
            ((false, false), false) => return false,
        }
        self.due = Some(now + self.gap);
        false
    }

    /// Whether something was sent and whether something came since this was last asked. Compared with the last look, not
    /// with now: ticks wrap.
    fn note(&mut self, lately: &Lately) -> (bool, bool) {
        let sent = std::mem::replace(&mut self.sent, lately.sent) != lately.sent;
        (sent, std::mem::replace(&mut self.received, lately.received) != lately.received)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What both say in each half second (`b`oth, `s`ent, `r`eceived, `.` nothing), and the looks at which the path is asked.
    fn asked(story: &str, latency: u64) -> Vec<usize> {
        let mut it = Conversation::default();
        let (mut lately, mut asked) = (Lately::default(), Vec::new());
        for (n, what) in story.chars().enumerate() {
            let now = Mono::from_millis(500 * n as u64 + 500);
            let tick = Some(now.tick());
            if "bs".contains(what) {
                lately.sent = tick;
            }
            if "br".contains(what) {
                lately.received = tick;
            }
            if it.is_due(now) && it.look(&lately, now) {
                asked.push(n);
            }
            if n % 6 == 0 {
                it.begin(&lately, Duration::from_millis(latency), now);
            }
        }
        asked
    }

    #[test]
    fn who_is_asked_when() {
        assert_eq!(asked("bbbbbbbbbbbbbbbbbb", 9), []);
        assert_eq!(asked("bbbbss", 9), [5]);
        // TCP waits longer each time.
        assert_eq!(asked("bbbbs...s......s", 9), [5]);
        // Once only; and again after the peer was heard and spoken to.
        assert_eq!(asked("bbbbssssssssssssssssss", 9), [5]);
        assert_eq!(asked("bbbbssssssssssrsssssss", 9), [5, 20]);
        // Nobody says anything, or the peer alone does.
        assert_eq!(asked("bbb...............", 9), []);
        assert_eq!(asked("bbbrrrrrrrrrrrrrrr", 9), []);
        assert_eq!(asked("ssssssssssssssssss", 9), []);
        // An answer that takes a second.
        assert_eq!(asked("bsrsrsrsrsrsrsrsrs", 600), []);
    }
}
