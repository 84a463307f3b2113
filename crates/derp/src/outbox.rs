//! What waits to be written to one relay.
//!
//! Packets lie here as finished frames in one ring of bytes, which the socket is written from: one copy a
//! packet, no allocation once the ring has grown. Full = the oldest packet that has not begun to leave goes.
//! Control frames (pong, note-preferred) have a ring of their own, go first, and are never dropped for
//! packets.

use crate::frame::{self, HEADER, PING, SEND_OVERHEAD, SEND_PACKET};
use crate::handshake::TokenBucket;
use crate::pace::Pace;
use keys::NodePublic;
use std::collections::VecDeque;
use tokio::time::Instant;

/// Bytes of packets that may wait: a batch of 128 full packets fits with room to spare.
pub(crate) const CAPACITY: usize = 256 << 10;
/// Bytes of control frames that may wait; a relay that floods us with pings gets fewer pongs.
const CONTROL_CAPACITY: usize = 4 << 10;
/// What the rings shrink to while nothing happens.
const IDLE_CAPACITY: usize = 4 << 10;
/// The most that is handed to the socket at once.
const CHUNK: usize = 128 << 10;

/// What became of a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Pushed {
    /// It waits; this many older ones made room for it.
    Queued { dropped: u32 },
    /// The relay's rate limit does not allow it.
    OverLimit,
    /// It does not fit beside a frame that is being written.
    NoRoom,
}

#[derive(Debug, Default)]
pub(crate) struct Outbox {
    packets: VecDeque<u8>,
    control: VecDeque<u8>,
    /// Bytes at the front of `packets` that finish a frame whose beginning has been written.
    unfinished: usize,
    /// The relay's rate limit.
    pub(crate) limit: Option<TokenBucket>,
    /// How far writing may be ahead of the relay.
    pub(crate) pace: Pace,
}

impl Outbox {
    /// True if nothing waits.
    pub(crate) fn is_empty(&self) -> bool {
        self.packets.is_empty() && self.control.is_empty()
    }

    /// Queues `packet` (at most [`frame::MAX_PACKET`] bytes) for `dst`.
    pub(crate) fn push_packet(&mut self, dst: &NodePublic, packet: &[u8]) -> Pushed {
        let size = SEND_OVERHEAD + packet.len();
        if let Some(limit) = &mut self.limit
            && !limit.take(size, Instant::now())
        {
            return Pushed::OverLimit;
        }
        let mut dropped = 0;
        while self.packets.len() + size > CAPACITY {
            match self.drop_oldest() {
                None => return Pushed::NoRoom,
                Some(mark) => dropped += u32::from(!mark),
            }
        }
        frame::put(&mut self.packets, SEND_PACKET, &[dst.as_bytes(), packet]);
        if let Some(mark) = self.pace.packet() {
            frame::put(&mut self.packets, PING, &[&mark]);
        }
        Pushed::Queued { dropped }
    }

    /// Queues a control frame; false if far too many wait already.
    pub(crate) fn push_control(&mut self, kind: u8, payload: &[u8]) -> bool {
        let fits = self.control.len() + HEADER + payload.len() <= CONTROL_CAPACITY;
        if fits {
            frame::put(&mut self.control, kind, &[payload]);
        }
        fits
    }

    /// The next bytes for the socket; empty if nothing waits or the relay is too far behind. Frames are never
    /// interleaved.
    pub(crate) fn next_chunk(&self) -> &[u8] {
        let (ring, limit) = match (self.unfinished, self.control.is_empty()) {
            (_, true) => (&self.packets, self.allowed()),
            (0, false) => (&self.control, CHUNK),
            (unfinished, false) => (&self.packets, unfinished),
        };
        let chunk = ring.as_slices().0;
        chunk.get(..limit).unwrap_or(chunk)
    }

    /// How many bytes of packets may be written.
    fn allowed(&self) -> usize {
        let mut marks = self.pace.room();
        if marks == u32::MAX {
            return CHUNK;
        }
        let mut at = self.unfinished;
        while marks > 0 && at < CHUNK {
            let Some(len) = self.frame_len(at) else { break };
            marks -= u32::from(self.is_mark(at));
            at += len;
        }
        at
    }

    /// Takes out the first `written` bytes of [`Self::next_chunk`].
    pub(crate) fn advance(&mut self, written: usize, now: Instant) {
        if self.unfinished == 0 && !self.control.is_empty() {
            self.control.drain(..written.min(self.control.len()));
            return;
        }
        let written = written.min(self.packets.len());
        // Walk the headers to learn how much of a frame is left.
        let mut at = self.unfinished;
        while at < written {
            if self.is_mark(at) {
                self.pace.wrote(now);
            }
            at += self.frame_len(at).unwrap_or(usize::MAX / 2);
        }
        self.unfinished = at - written;
        self.packets.drain(..written);
        if self.packets.is_empty() {
            // Back to the start of the ring, so that the next batch lies in one piece.
            self.packets.clear();
            self.unfinished = 0;
        }
    }

    /// Forgets everything, as after the end of a connection; how many packets that were.
    pub(crate) fn clear(&mut self) -> u32 {
        let mut lost = u32::from(self.unfinished > 0);
        let mut at = self.unfinished;
        while let Some(len) = self.frame_len(at) {
            lost += u32::from(!self.is_mark(at));
            at += len;
        }
        *self = Self::default();
        lost
    }

    /// Gives memory back while nothing waits.
    pub(crate) fn shrink(&mut self) {
        self.packets.shrink_to(IDLE_CAPACITY);
        self.control.shrink_to(0);
    }

    /// Takes out the oldest whole frame; whether it was a mark. `None`: there is none.
    fn drop_oldest(&mut self) -> Option<bool> {
        let len = self.frame_len(self.unfinished)?;
        let mark = self.is_mark(self.unfinished);
        if mark {
            self.pace.dropped();
        }
        let end = (self.unfinished + len).min(self.packets.len());
        self.packets.drain(self.unfinished..end);
        Some(mark)
    }

    fn is_mark(&self, at: usize) -> bool {
        self.packets.get(at) == Some(&PING)
    }

    /// Length of the frame that starts at `at`.
    fn frame_len(&self, at: usize) -> Option<usize> {
        let byte = |i: usize| self.packets.get(at + i).copied();
        let len = u32::from_be_bytes([byte(1)?, byte(2)?, byte(3)?, byte(4)?]);
        Some(HEADER + len as usize)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frame::{Frame, NOTE_PREFERRED, PONG, decode};
    use proptest::prelude::*;

    const DST: NodePublic = NodePublic::from_bytes([3; 32]);

    #[test]
    fn a_batch_of_128_fits() {
        let mut outbox = Outbox::default();
        for _ in 0..128 {
            assert_eq!(outbox.push_packet(&DST, &[0; 1500]), Pushed::Queued { dropped: 0 });
        }
        assert_eq!(outbox.clear(), 128);
    }

    #[test]
    fn oldest_goes_first_but_never_one_half_written() {
        let mut outbox = Outbox::default();
        let mut number = 0u32;
        let mut push = |outbox: &mut Outbox| {
            let mut packet = [0; 60_000];
            packet[..4].copy_from_slice(&number.to_be_bytes());
            number += 1;
            outbox.push_packet(&DST, &packet)
        };
        for _ in 0..4 {
            assert_eq!(push(&mut outbox), Pushed::Queued { dropped: 0 });
        }
        let mut wire = outbox.next_chunk()[..10].to_vec();
        outbox.advance(10, Instant::now());
        assert_eq!(push(&mut outbox), Pushed::Queued { dropped: 1 });
        assert!(outbox.push_control(PONG, &[1; 8]));
        assert_eq!(
            drain(&mut outbox, &mut wire, 7919),
            ["packet 0", "Pong", "packet 2", "packet 3", "packet 4"]
        );
    }

    #[test]
    fn pongs_are_bounded() {
        let mut outbox = Outbox::default();
        let sent = (0..10_000).filter(|_| outbox.push_control(PONG, &[0; 8])).count();
        assert_eq!(sent, CONTROL_CAPACITY / 13);
    }

    /// Writes everything out in steps of at most `step` bytes and reads the frames back.
    fn drain(outbox: &mut Outbox, wire: &mut Vec<u8>, step: usize) -> Vec<String> {
        while !outbox.is_empty() {
            let chunk = outbox.next_chunk();
            if chunk.is_empty() {
                outbox.pace.give_up();
                continue;
            }
            let n = chunk.len().min(step);
            wire.extend(&chunk[..n]);
            outbox.advance(n, Instant::now());
        }
        assert_eq!(outbox.unfinished, 0);
        let (mut at, mut seen) = (0, Vec::new());
        while let Some((frame, used)) = decode(&wire[at..]).expect("frames") {
            at += used;
            seen.push(match frame {
                Frame::SendPacket(_, packet) => {
                    format!("packet {}", u32::from_be_bytes(packet[..4].try_into().expect("number")))
                }
                Frame::Pong(_) => "Pong".to_owned(),
                Frame::Ping(_) => continue,
                other => format!("{other:?}"),
            });
        }
        assert_eq!(at, wire.len(), "whole frames only");
        seen
    }

    proptest! {
        /// Whatever is pushed and written in whatever steps: whole frames, packets in order, control complete.
        #[test]
        fn any_order_of_pushes_and_writes(ops in prop::collection::vec((0u8..3, 1usize..30_000), 1..200)) {
            let (mut outbox, mut wire) = (Outbox::default(), Vec::new());
            let (mut number, mut controls, mut dropped) = (0u32, 0usize, 0u32);
            for (op, size) in ops {
                match op {
                    0 => {
                        let mut packet = vec![0; size.max(4)];
                        packet[..4].copy_from_slice(&number.to_be_bytes());
                        number += 1;
                        match outbox.push_packet(&DST, &packet) {
                            Pushed::Queued { dropped: n } => dropped += n,
                            other => prop_assert!(false, "{:?}", other),
                        }
                    }
                    1 => controls += usize::from(outbox.push_control(NOTE_PREFERRED, &[1])),
                    _ => {
                        let chunk = outbox.next_chunk();
                        let n = chunk.len().min(size);
                        wire.extend(&chunk[..n]);
                        outbox.advance(n, Instant::now());
                    }
                }
            }
            let seen = drain(&mut outbox, &mut wire, 1000);
            let numbers: Vec<u32> =
                seen.iter().filter_map(|s| s.strip_prefix("packet ")?.parse().ok()).collect();
            prop_assert!(numbers.is_sorted_by(|a, b| a < b));
            prop_assert_eq!(numbers.len() as u32 + dropped, number);
            prop_assert_eq!(seen.len() - numbers.len(), controls);
        }
    }
}
