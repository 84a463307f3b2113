//! The packet lines as threads share them: whoever is awake turns a line, one at a time.
//!
//! What a relay sends and receives passes the control thread anyway, which holds the connection. To hand each piece to a
//! packet thread costs two switches between threads and the calls around them, more than the work itself. So control turns
//! line rx for what a relay has delivered, and while everything leaves by relays it reads the TUN and turns line tx too.
//! The same goes for services of this node, which control answers. What comes and leaves by UDP is the packet threads' alone.
//!
//! Nobody waits for control, and control waits for nobody: where it finds a line in other hands it rings for them.

use super::port::{Reader, Writer};
use engine::lines::{RxLine, TurnReport, TxLine};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Mutex, MutexGuard};

/// Turns in a row whose packets all went to relays or services, after which control takes the TUN.
const HABIT: u32 = 16;
/// The same at most: it doubles whenever control had to give the TUN back.
const LONGEST_HABIT: u32 = 1 << 14;
/// Turns of control in a row that left something, after which two threads carry more than one.
const OVERWORKED: u32 = 4;

/// Line tx and where its packets come from.
pub(super) struct Outward {
    pub(super) line: TxLine,
    pub(super) tun: Reader,
    pub(super) had_tun: bool,
}

impl Outward {
    /// Whether there was a TUN and is none any more; true once.
    pub(super) fn lost_tun(&mut self) -> bool {
        let lost = self.had_tun && self.tun.fd().is_none();
        self.had_tun &= !lost;
        lost
    }
}

/// Line rx and where its packets go.
pub(super) struct Inward {
    pub(super) line: RxLine,
    pub(super) tun: Writer,
}

/// Both lines.
pub(super) struct Lines {
    outward: Mutex<Outward>,
    inward: Mutex<Inward>,
    /// Control reads the TUN.
    taken: AtomicBool,
    /// There may be something in the TUN that its reader has not been told of.
    readable: AtomicBool,
    /// Turns in a row so far that speak against who reads the TUN, and how many it takes for control to have it.
    streak: AtomicU32,
    habit: AtomicU32,
}

impl Lines {
    pub(super) fn new(outward: Outward, inward: Inward) -> Self {
        Self {
            outward: Mutex::new(outward),
            inward: Mutex::new(inward),
            taken: false.into(),
            readable: false.into(),
            streak: 0.into(),
            habit: HABIT.into(),
        }
    }

    /// Line tx, for its thread. `None`: another thread has panicked.
    pub(super) fn outward(&self) -> Option<MutexGuard<'_, Outward>> {
        let mut outward = self.outward.lock().ok()?;
        self.note(&mut outward);
        Some(outward)
    }

    /// Line rx, for its thread.
    pub(super) fn inward(&self) -> Option<MutexGuard<'_, Inward>> {
        self.inward.lock().ok()
    }

    /// Line tx, for control, if nobody turns it.
    pub(super) fn try_outward(&self) -> Option<MutexGuard<'_, Outward>> {
        let mut outward = self.outward.try_lock().ok()?;
        self.note(&mut outward);
        Some(outward)
    }

    /// Line rx, for control, if nobody turns it.
    pub(super) fn try_inward(&self) -> Option<MutexGuard<'_, Inward>> {
        self.inward.try_lock().ok()
    }

    /// There is something to read in the TUN; whoever turns line tx next is told.
    pub(super) fn note_readable(&self) {
        self.readable.store(true, Ordering::Release);
    }

    fn note(&self, outward: &mut Outward) {
        if self.readable.load(Ordering::Relaxed) && self.readable.swap(false, Ordering::Acquire) {
            outward.tun.note_readable();
        }
    }

    /// Whether control reads the TUN.
    pub(super) fn taken(&self) -> bool {
        self.taken.load(Ordering::Acquire)
    }

    /// Learns from a turn of the thread of tx; true when control is to take the TUN now.
    pub(super) fn learn(&self, report: &TurnReport) -> bool {
        if report.direct {
            self.streak.store(0, Ordering::Relaxed);
        }
        if !(report.relayed || report.served) || report.direct || self.taken() {
            return false;
        }
        let streak = self.streak.load(Ordering::Relaxed) + 1;
        self.streak.store(streak, Ordering::Relaxed);
        let take = streak >= self.habit.load(Ordering::Relaxed);
        if take {
            self.streak.store(0, Ordering::Relaxed);
            self.taken.store(true, Ordering::Release);
        }
        take
    }

    /// Learns from a turn of control; true when its thread is to have the TUN back: something leaves by UDP, or it is more
    /// than control manages beside the relays. Services are control's work alone, so that two threads carry no more of it.
    pub(super) fn unlearn(&self, report: &TurnReport) -> bool {
        let left = if report.more && report.relayed { self.streak.load(Ordering::Relaxed) + 1 } else { 0 };
        self.streak.store(left, Ordering::Relaxed);
        report.direct || left >= OVERWORKED
    }

    /// Control gives the TUN back.
    pub(super) fn give_back(&self) {
        let habit = self.habit.load(Ordering::Relaxed).saturating_mul(2).min(LONGEST_HABIT);
        self.habit.store(habit, Ordering::Relaxed);
        self.streak.store(0, Ordering::Relaxed);
        self.taken.store(false, Ordering::Release);
    }
}

#[cfg(test)]
mod tests {
    use super::super::port;
    use super::*;
    use engine::lines::{Limits, new};

    fn lines() -> Lines {
        let (_control, tx, rx) = new(&Limits::default(), [[1; 16]; 2]);
        let (reader, writer) = port::ends(None);
        Lines::new(Outward { line: tx, tun: reader, had_tun: false }, Inward { line: rx, tun: writer })
    }

    #[test]
    fn control_takes_the_tun_when_everything_is_relayed() {
        let lines = lines();
        let relayed = TurnReport { relayed: true, ..TurnReport::default() };
        let direct = TurnReport { direct: true, ..TurnReport::default() };
        for _ in 1..HABIT {
            assert!(!lines.learn(&relayed));
        }
        assert!(!lines.learn(&direct), "one that is not starts anew");
        for _ in 1..HABIT {
            assert!(!lines.learn(&relayed));
        }
        assert!(!lines.learn(&TurnReport::default()), "a turn without packets says nothing");
        assert!(lines.learn(&relayed) && lines.taken());
        assert!(!lines.learn(&relayed), "told once");
        assert!(!lines.unlearn(&relayed));
        assert!(lines.unlearn(&direct));
        lines.give_back();
        assert!(!lines.taken());
        assert_eq!(
            (0..100).position(|_| lines.learn(&relayed)),
            Some(2 * HABIT as usize - 1),
            "twice as long"
        );
    }

    #[test]
    fn control_gives_back_what_it_does_not_manage() {
        let lines = lines();
        let more = TurnReport { relayed: true, more: true, ..TurnReport::default() };
        let done = TurnReport { relayed: true, ..TurnReport::default() };
        while !lines.learn(&done) {}
        for _ in 1..OVERWORKED {
            assert!(!lines.unlearn(&more));
        }
        assert!(!lines.unlearn(&done), "it has caught up");
        for _ in 1..OVERWORKED {
            assert!(!lines.unlearn(&more));
        }
        assert!(lines.unlearn(&more));
    }

    #[test]
    fn control_keeps_what_is_for_services_however_much_it_is() {
        let lines = lines();
        let more = TurnReport { served: true, more: true, ..TurnReport::default() };
        assert_eq!((0..100).position(|_| lines.learn(&more)), Some(HABIT as usize - 1));
        assert!((0..100).all(|_| !lines.unlearn(&more)));
        assert!(lines.unlearn(&TurnReport { direct: true, ..more }));
    }

    #[test]
    fn nobody_waits_for_a_line_in_other_hands() {
        let lines = lines();
        let held = lines.outward();
        assert!(lines.try_outward().is_none() && lines.try_inward().is_some());
        drop(held);
        assert!(lines.try_outward().is_some());
    }
}
