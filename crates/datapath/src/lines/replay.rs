//! The sliding window that tells a new counter from a repeated or ancient one.
//!
//! Owns: one session's memory of received counters. Only counters of packets that passed authentication may be
//! shown to it. Leaves out: limits on counters (see [`super::open`]).

const WORDS: usize = 64;

/// Which of the newest counters were seen. Wide enough for a burst that overtakes itself on two paths (relay and
/// direct).
#[derive(Debug, Clone)]
pub struct ReplayWindow {
    /// One more than the highest counter seen.
    next: u64,
    /// Bit `c % bits` is set when counter `c` was seen; only the newest [`Self::WIDTH`] counters are judged by it.
    seen: [u32; WORDS],
}

impl Default for ReplayWindow {
    fn default() -> Self {
        Self { next: 0, seen: [0; WORDS] }
    }
}

impl ReplayWindow {
    /// How far behind the newest counter one may be: a word less than what is stored, because the word that the
    /// newest counter lies in is cleared whole when it is entered.
    pub const WIDTH: u64 = (WORDS as u64 - 1) * 32;

    /// Takes note of `counter`; false when it was seen before or is too old to tell.
    pub fn admit(&mut self, counter: u64) -> bool {
        let word = counter / 32;
        if counter >= self.next {
            let newest = self.next.saturating_sub(1) / 32;
            // Words between the old newest and the new one hold counters of an earlier round.
            for skipped in 0..word.saturating_sub(newest).min(WORDS as u64) {
                self.seen[((word - skipped) % WORDS as u64) as usize] = 0;
            }
            self.next = counter.saturating_add(1);
        } else if self.next - counter > Self::WIDTH {
            return false;
        }
        let bit = 1u32 << (counter % 32);
        let place = &mut self.seen[(word % WORDS as u64) as usize];
        let fresh = *place & bit == 0;
        *place |= bit;
        fresh
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    #[test]
    fn wide_enough() {
        const { assert!(ReplayWindow::WIDTH >= 1024) };
        let mut window = ReplayWindow::default();
        assert!(window.admit(0));
        assert!(!window.admit(0));
        assert!(window.admit(5000));
        assert!(window.admit(5001 - ReplayWindow::WIDTH));
        assert!(!window.admit(5000 - ReplayWindow::WIDTH));
        assert!(!window.admit(5000));
        assert!(!window.admit(0));
    }

    #[test]
    fn far_future_and_back() {
        let mut window = ReplayWindow::default();
        assert!(window.admit(3));
        assert!(window.admit(u64::MAX - 1));
        assert!(!window.admit(3));
        assert!(!window.admit(u64::MAX - 1));
        assert!(window.admit(u64::MAX - 2));
    }

    proptest! {
        #[test]
        fn agrees_with_a_set(steps in proptest::collection::vec(
            prop_oneof![8 => -40i64..60, 2 => -2500i64..2500, 1 => 0i64..100_000], 1..400))
        {
            let (mut window, mut seen, mut top) = (ReplayWindow::default(), BTreeSet::new(), 0u64);
            let mut at = 0i64;
            for step in steps {
                at = (at + step).max(0);
                let counter = at as u64;
                let too_old = counter < top && top - counter > ReplayWindow::WIDTH;
                let want = !too_old && seen.insert(counter);
                prop_assert_eq!(window.admit(counter), want, "counter {} of {}", counter, top);
                top = top.max(counter + 1);
            }
        }
    }
}
