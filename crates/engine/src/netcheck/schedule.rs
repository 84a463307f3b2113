//! When the network is looked at again (protocol reference §4.4): at once when somebody wants it, and every 20 to 26 s
//! while there is traffic. A quiet node is silent: the first wish after that starts it again.

use crate::time::Mono;
use std::time::Duration;

/// Shortest pause between two reports while there is traffic: NATs forget a mapping after 30 s.
pub(super) const SOONEST: Duration = Duration::from_secs(20);
/// Longest.
pub(super) const LATEST: Duration = Duration::from_secs(26);

/// The moments.
#[derive(Debug, Default)]
pub(super) struct Schedule {
    /// Somebody wants a report.
    wanted: bool,
    /// The owner was asked to begin one and has not yet.
    told: bool,
    next: Option<Mono>,
}

impl Schedule {
    /// A report is wanted as soon as none is being made.
    pub(super) fn want(&mut self) {
        self.wanted = true;
    }

    /// Whether the owner is to be asked now to begin a report.
    pub(super) fn ask(&mut self) -> bool {
        self.wanted && !std::mem::replace(&mut self.told, true)
    }

    /// A report has begun.
    pub(super) fn begun(&mut self) {
        *self = Self::default();
    }

    /// A report has ended; the next one follows after `pause`.
    pub(super) fn ended(&mut self, now: Mono, pause: Duration) {
        self.next = Some(now + pause);
    }

    /// When [`Self::handle_timeout`] is due.
    pub(super) fn due(&self) -> Option<Mono> {
        self.next
    }

    /// The pause may be over: the next report is wanted if there is traffic, and put off until somebody wants one if
    /// there is none.
    pub(super) fn handle_timeout(&mut self, now: Mono, traffic: bool) {
        if self.next.is_some_and(|at| at <= now) {
            self.next = None;
            self.wanted |= traffic;
        }
    }
}
