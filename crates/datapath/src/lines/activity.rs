//! What a peer's traffic has been, written by the lines, read by the control thread without a message.
//!
//! Each number has one writer and is 32 bits wide (ARMv5 has no wider atomics): counts wrap, control adds up the
//! differences; ticks are those of [`Tick`], 0 meaning never. They wrap, too, so control has old ones forgotten
//! ([`PeerActivity::forget`]).

use crate::time::Tick;
use std::sync::atomic::{AtomicU32, Ordering};

/// Shared by both lines and control.
#[derive(Debug, Default)]
pub struct PeerActivity {
    sent: AtomicU32,
    sent_data: AtomicU32,
    received: AtomicU32,
    received_data: AtomicU32,
    tx_bytes: AtomicU32,
    tx_packets: AtomicU32,
    rx_bytes: AtomicU32,
    rx_packets: AtomicU32,
}

/// When the lines last carried packets of a peer; `None`: never. Over all sessions of the peer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Moments {
    /// Any packet was sealed, keepalives included.
    pub sent: Option<Tick>,
    /// A packet with payload was sealed.
    pub sent_data: Option<Tick>,
    /// Any genuine packet arrived, keepalives included.
    pub received: Option<Tick>,
    /// A genuine packet with payload arrived.
    pub received_data: Option<Tick>,
}

/// Data messages of a peer so far, keepalives included; each number modulo 2³².
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Traffic {
    /// Bytes sent, headers and tags included.
    pub tx_bytes: u32,
    /// Messages sent.
    pub tx_packets: u32,
    /// Bytes of messages that authenticated.
    pub rx_bytes: u32,
    /// Messages that authenticated.
    pub rx_packets: u32,
}

impl PeerActivity {
    /// The moments, for the timers of the slow path.
    pub fn moments(&self) -> Moments {
        let tick = |at: &AtomicU32| match at.load(Ordering::Relaxed) {
            0 => None,
            tick => Some(Tick(tick)),
        };
        Moments {
            sent_data: tick(&self.sent_data),
            sent: tick(&self.sent),
            received_data: tick(&self.received_data),
            received: tick(&self.received),
        }
    }

    /// The counts, for status.
    pub fn traffic(&self) -> Traffic {
        Traffic {
            tx_bytes: self.tx_bytes.load(Ordering::Relaxed),
            tx_packets: self.tx_packets.load(Ordering::Relaxed),
            rx_bytes: self.rx_bytes.load(Ordering::Relaxed),
            rx_packets: self.rx_packets.load(Ordering::Relaxed),
        }
    }

    /// Makes all moments that are at least `age` milliseconds before `now` `None`. To be called before the clock comes round
    /// to them again; one that a line writes meanwhile stays.
    pub fn forget(&self, now: Tick, age: u32) {
        for at in [&self.sent, &self.sent_data, &self.received, &self.received_data] {
            let tick = at.load(Ordering::Relaxed);
            if tick != 0 && now.since(Tick(tick)) >= age {
                // Failed: it is a fresh one now.
                let _ = at.compare_exchange(tick, 0, Ordering::Relaxed, Ordering::Relaxed);
            }
        }
    }

    /// Called by tx only.
    pub(super) fn note_sent(&self, now: Tick, packets: u32, bytes: u32, data: bool) {
        note(&self.sent, &self.sent_data, now, data);
        add(&self.tx_packets, packets);
        add(&self.tx_bytes, bytes);
    }

    /// Called by rx only.
    pub(super) fn note_received(&self, now: Tick, packets: u32, bytes: u32, data: bool) {
        note(&self.received, &self.received_data, now, data);
        add(&self.rx_packets, packets);
        add(&self.rx_bytes, bytes);
    }
}

/// Tick 0, which stands for never, is told as the next millisecond.
fn note(any: &AtomicU32, of_data: &AtomicU32, now: Tick, data: bool) {
    any.store(now.0.max(1), Ordering::Relaxed);
    if data {
        of_data.store(now.0.max(1), Ordering::Relaxed);
    }
}

/// Not `fetch_add`: there is one writer, and a plain load and store cost old ARMs much less.
fn add(count: &AtomicU32, n: u32) {
    count.store(count.load(Ordering::Relaxed).wrapping_add(n), Ordering::Relaxed);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn old_moments_are_forgotten() {
        let activity = PeerActivity::default();
        activity.note_sent(Tick(u32::MAX - 9), 1, 100, true);
        activity.note_received(Tick(990), 1, 100, false);
        activity.note_sent(Tick(90), 1, 100, false);
        activity.forget(Tick(1090), 1000);
        let left = Moments { received: Some(Tick(990)), ..Moments::default() };
        assert_eq!(activity.moments(), left);
        assert_eq!((activity.traffic().tx_packets, activity.traffic().rx_packets), (2, 1), "counts stay");
        activity.forget(Tick(989), 0);
        assert_eq!(activity.moments(), Moments::default(), "all, and what another thread's clock is ahead");
    }
}
