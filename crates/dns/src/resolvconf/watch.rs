//! Whether somebody else writes the file: told from its stamp, read only when that has changed.
//!
//! Two programs that both want to be last would write without end. So we answer at most nine times in a row and then
//! leave the file to the other, until there has been some peace.

use super::files::Stamp;
use std::time::Duration;

/// Tramples are in a row when they are no farther apart.
const ROW: Duration = Duration::from_secs(5);
/// From this one on, we give in.
const MOST: u32 = 10;
/// Pause between looks in a fight; shorter than [`ROW`].
const FIGHT: Duration = Duration::from_secs(2);
/// Pause between looks otherwise: one `stat`.
const PEACE: Duration = Duration::from_secs(15);

/// What a look has found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Look {
    /// As we left it, or not ours to look after.
    Fine,
    /// Somebody else's; ours is to be put there again.
    Again,
    /// Somebody else's, for the tenth time in a row: left alone. Also said as long as it stays.
    GivenIn,
}

#[derive(Debug, Default)]
pub(super) struct Watch {
    wanted: Option<Vec<u8>>,
    stamp: Option<Stamp>,
    row: u32,
    last: Option<Duration>,
    given_in: bool,
}

impl Watch {
    /// Nothing is expected to be there.
    pub(super) fn forget(&mut self) {
        self.wanted = None;
    }

    /// This was put there.
    pub(super) fn expect(&mut self, wanted: Vec<u8>, stamp: Option<Stamp>) {
        self.wanted = Some(wanted);
        self.stamp = stamp;
        self.given_in = false;
    }

    pub(super) fn pause(&self) -> Duration {
        if self.row > 0 && !self.given_in { FIGHT } else { PEACE }
    }

    pub(super) fn look(
        &mut self,
        now: Duration,
        stamp: Option<Stamp>,
        read: impl FnOnce() -> Option<Vec<u8>>,
    ) -> Look {
        let Some(wanted) = &self.wanted else { return Look::Fine };
        let old = std::mem::replace(&mut self.stamp, stamp);
        if old == stamp && stamp.is_some() {
            if !self.given_in && self.last.is_none_or(|last| now.saturating_sub(last) > ROW) {
                self.row = 0;
            }
            return if self.given_in { Look::GivenIn } else { Look::Fine };
        }
        if read().as_deref() == Some(wanted) {
            self.given_in = false;
            return Look::Fine;
        }
        if self.last.is_none_or(|last| now.saturating_sub(last) > ROW) {
            self.row = 0;
        }
        self.last = Some(now);
        self.row += 1;
        self.given_in = self.row >= MOST;
        if self.given_in { Look::GivenIn } else { Look::Again }
    }
}
