//! Whether somebody else writes the file: told from its stamp, read only when that has changed.
//!
//! Two programs that both want to be last would write without end. So we answer at most nine times in a row and then
//! leave the file to the other for as long as he goes on, whether we answer or not. After a minute of peace what he writes is
//! answered once more, and again in full when that is left alone.
//!
//! The original beside ours may be a link to a file that somebody keeps up to date (`/run/NetworkManager/resolv.conf`): its
//! stamp is looked at, too. Where it names a server on one link alone it is read at every look: the link may come, go, and come
//! back under another number.

use super::files::Stamp;
use crate::config::OsConfig;
use std::time::Duration;

/// Tramples are in a row when they are seen no farther apart; longer than [`PEACE`], at whose end they may be seen.
const ROW: Duration = Duration::from_secs(20);
/// The same once we have given in; longer than [`ROW`] and [`PEACE`] together, so that who made us do so is not answered
/// while he goes on as before.
const TRUCE: Duration = Duration::from_secs(60);
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
    /// Ours is in its place, and the original beside it says something else than it did.
    NewBase,
}

/// The original as it was read last.
#[derive(Debug)]
struct Original {
    /// Of the file that it leads to.
    stamp: Option<Stamp>,
    base: OsConfig,
    /// It names links.
    linked: bool,
    /// It has had no server for one look.
    doubted: bool,
}

#[derive(Debug, Default)]
pub(super) struct Watch {
    wanted: Option<Vec<u8>>,
    stamp: Option<Stamp>,
    row: u32,
    last: Option<Duration>,
    given_in: bool,
    original: Option<Original>,
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

    /// This is what the original says.
    pub(super) fn follow(&mut self, stamp: Option<Stamp>, base: OsConfig, linked: bool) {
        self.original = Some(Original { stamp, base, linked, doubted: false });
    }

    /// Whether there is nothing to be read anew behind this stamp of the original.
    pub(super) fn is_followed(&self, stamp: Option<Stamp>) -> bool {
        let ours = self.wanted.is_some();
        let settled = |known: &Original| known.stamp == stamp && !known.doubted && !known.linked;
        !ours || self.original.as_ref().is_none_or(settled)
    }

    /// What follows from the original, read after this stamp, and whether it names links.
    pub(super) fn look_at_base(&mut self, stamp: Option<Stamp>, base: Option<(OsConfig, bool)>) -> Look {
        let (Some(known), Some((base, linked))) = (&mut self.original, base) else { return Look::Fine };
        known.linked = linked;
        let same = base == known.base;
        // Who writes it anew may have emptied it only a moment ago.
        known.doubted = !same && base.is_empty() && !known.doubted;
        known.stamp = stamp;
        if same || known.doubted { Look::Fine } else { Look::NewBase }
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
        // One more answer, and the next trample in a row is one too many again.
        let (pause, left) = if self.given_in { (TRUCE, MOST - 2) } else { (ROW, 0) };
        if self.last.is_none_or(|last| now.saturating_sub(last) > pause) {
            self.row = left;
        }
        let old = std::mem::replace(&mut self.stamp, stamp);
        // One that is missing is put back after the truce, whoever removed it.
        if old == stamp && (stamp.is_some() || (self.given_in && self.row >= MOST)) {
            return if self.given_in { Look::GivenIn } else { Look::Fine };
        }
        if read().as_deref() == Some(wanted) {
            self.given_in = false;
            return Look::Fine;
        }
        self.last = Some(now);
        self.row += 1;
        self.given_in = self.row >= MOST;
        if self.given_in { Look::GivenIn } else { Look::Again }
    }
}
