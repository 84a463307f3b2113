//! How far our writing may be ahead of the relay's reading.
//!
//! A relay forwards through a queue of some 32 packets a client and drops what does not fit. It reads a stream faster
//! than it forwards it, so a batch that lies whole in its socket loses its tail. A relay beside us (in the same
//! machine, house or data centre) is therefore given marks: a ping behind every [`MARK`] packets, and no more than
//! [`AHEAD`] of them without an answer. A distant relay is behind a line that is slower than itself, which spreads the
//! packets anyhow; it gets a ping now and then, so that a change is noticed.
//!
//! Owns: the numbers in the pings and what their answers mean. Leaves out: where the marks lie (`outbox`), and sleeping
//! (`conn`). A relay that leaves pings unanswered is soon taken for a distant one, so nothing depends on the answers.

use std::time::Duration;
use tokio::time::Instant;

/// Packets between two marks: what lies in the relay's queue at most, with room left for those of others. 32 cost
/// datagrams, 12 with two marks out cost one stream a tenth of its speed.
pub(crate) const MARK: u32 = 24;
/// Marks that may be without an answer.
pub(crate) const AHEAD: u32 = 1;
/// The same for a distant relay: every so many packets.
const RARE: u32 = 384;
/// A relay that answers sooner than this is near. Its answer takes as long as its reading, so this is not only the
/// way there and back.
const NEAR: Duration = Duration::from_millis(4);
/// How long a writer waits for an answer before it goes on without.
pub(crate) const PATIENCE: Duration = Duration::from_millis(10);
/// Answers after which it is decided anew whether the relay is near: by the quickest of them.
const ROUND: u32 = 8;
/// Without writing for this long packets no longer count as one batch.
pub(crate) const LULL: Duration = Duration::from_millis(2);
/// How pings of ours begin that are marks; a number follows.
const TAG: [u8; 4] = *b"mark";

/// The marks of one connection.
#[derive(Debug, Default)]
pub(crate) struct Pace {
    /// Packets queued since the last mark.
    packets: u32,
    /// Number of the last mark queued.
    queued: u32,
    /// Number of the last mark written or dropped.
    written: u32,
    /// Number of the last mark written.
    sent: u32,
    /// Marks dropped since the last answer.
    dropped: u32,
    /// Number of the last mark answered.
    answered: u32,
    far: bool,
    /// The mark whose answer is timed.
    timed: Option<(u32, Instant)>,
    samples: u32,
    quickest: Option<Duration>,
}

impl Pace {
    /// A packet was queued; the payload of the ping that is to follow it, if one is.
    pub(crate) fn packet(&mut self) -> Option<[u8; 8]> {
        self.packets += 1;
        if self.packets < if self.far { RARE } else { MARK } {
            return None;
        }
        self.packets = 0;
        self.queued = self.queued.wrapping_add(1);
        let [a, b, c, d] = TAG;
        let [e, f, g, h] = self.queued.to_be_bytes();
        Some([a, b, c, d, e, f, g, h])
    }

    /// What comes now is no batch with what came before.
    pub(crate) fn lull(&mut self) {
        self.packets = 0;
    }

    /// How many marks may be written now.
    pub(crate) fn room(&self) -> u32 {
        let out = self.written.wrapping_sub(self.answered).wrapping_sub(self.dropped);
        if self.far { u32::MAX } else { AHEAD.saturating_sub(out) }
    }

    /// The next mark has been written.
    pub(crate) fn wrote(&mut self, now: Instant) {
        self.written = self.written.wrapping_add(1);
        self.sent = self.written;
        if self.timed.is_none() {
            self.timed = Some((self.sent, now));
        }
    }

    /// The next mark has been dropped with the packets before it.
    pub(crate) fn dropped(&mut self) {
        self.written = self.written.wrapping_add(1);
        self.dropped += 1;
    }

    /// A pong arrived. True if it is the answer to a mark.
    pub(crate) fn answer(&mut self, payload: [u8; 8], now: Instant) -> bool {
        let [a, b, c, d, e, f, g, h] = payload;
        let number = u32::from_be_bytes([e, f, g, h]);
        let out = self.written.wrapping_sub(self.answered);
        // An answer stands for those before it: relays leave out some when marks come fast.
        let newer = number.wrapping_sub(self.answered);
        if [a, b, c, d] != TAG || newer == 0 || newer > out {
            return false;
        }
        self.answered = if number == self.sent { self.written } else { number };
        self.dropped = 0;
        if let Some((timed, at)) = self.timed
            && number.wrapping_sub(timed) <= u32::MAX / 2
        {
            self.timed = None;
            self.sample(now.duration_since(at));
        }
        true
    }

    /// The writer has waited for [`PATIENCE`] in vain.
    pub(crate) fn give_up(&mut self) {
        self.answered = self.written;
        self.dropped = 0;
        self.timed = None;
        self.sample(PATIENCE);
    }

    fn sample(&mut self, took: Duration) {
        self.quickest = Some(self.quickest.map_or(took, |quickest| quickest.min(took)));
        self.samples += 1;
        if self.samples >= ROUND {
            self.far = self.quickest.take().is_some_and(|quickest| quickest >= NEAR);
            self.samples = 0;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Queues and writes `marks` marks; the payload of the last.
    fn write(pace: &mut Pace, marks: u32, now: Instant) -> [u8; 8] {
        let mut last = [0; 8];
        for _ in 0..marks {
            while {
                let mark = pace.packet();
                last = mark.unwrap_or(last);
                mark.is_none()
            } {}
            pace.wrote(now);
        }
        last
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_stands_for_those_before_it() {
        let (mut pace, now) = (Pace::default(), Instant::now());
        let first = write(&mut pace, 1, now);
        let second = write(&mut pace, 1, now);
        assert_eq!(pace.room(), 0);
        assert!(pace.answer(second, now));
        assert_eq!(pace.room(), AHEAD);
        assert!(!pace.answer(first, now), "too late to mean anything");
        assert!(!pace.answer(*b"12345678", now), "somebody else's ping");
        assert!(!pace.answer(*b"mark\xff\xff\xff\xff", now), "never asked");
        assert_eq!(pace.room(), AHEAD);
    }

    #[tokio::test(start_paused = true)]
    async fn dropped_marks_are_owed_no_answer() {
        let (mut pace, now) = (Pace::default(), Instant::now());
        let mark = write(&mut pace, 2, now);
        for _ in 0..3 {
            pace.dropped();
        }
        assert_eq!(pace.room(), 0);
        assert!(pace.answer(mark, now));
        assert_eq!(pace.room(), AHEAD);
    }

    #[tokio::test(start_paused = true)]
    async fn distance_is_judged_by_the_quickest_of_a_round() {
        let (mut pace, mut now) = (Pace::default(), Instant::now());
        let mut round = |pace: &mut Pace, times: [u64; ROUND as usize]| {
            for ms in times {
                let mark = write(pace, 1, now);
                now += Duration::from_millis(ms);
                assert!(pace.answer(mark, now));
            }
            pace.room() == u32::MAX
        };
        assert!(!round(&mut pace, [9, 9, 9, 1, 9, 9, 9, 9]));
        assert!(round(&mut pace, [9, 9, 9, 9, 9, 9, 9, 9]));
        assert!(!round(&mut pace, [9, 9, 9, 9, 9, 9, 9, 0]));
    }
}
