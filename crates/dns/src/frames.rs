//! Queries in a stream of bytes: two bytes of length in front of each. Pure; whoever has the stream keeps the time.

use crate::message::LARGEST;
use std::time::Duration;

/// A stream by which no query has come for so long is closed.
pub const IDLE: Duration = Duration::from_secs(45);
/// Bytes of a length.
const LENGTH: usize = 2;

/// Bytes that have come and make no whole query yet. Never more than one query and what came with its end.
#[derive(Debug, Default)]
pub struct Frames {
    bytes: Vec<u8>,
}

/// The other side does not speak DNS, or means too much of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TooLarge;

impl Frames {
    /// How many more bytes are of use: more than that is not to be read.
    pub fn room(&self) -> usize {
        (LENGTH + LARGEST).saturating_sub(self.bytes.len())
    }

    /// Whether no query has begun.
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// Takes what has been read, [`Frames::room`] at most.
    pub fn push(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes.get(..self.room()).unwrap_or(bytes));
    }

    /// The next whole query; an error ends the stream.
    pub fn next_query(&mut self) -> Result<Option<Vec<u8>>, TooLarge> {
        let Some(length) = self.bytes.first_chunk() else { return Ok(None) };
        let end = LENGTH + usize::from(u16::from_be_bytes(*length));
        if end > LENGTH + LARGEST {
            return Err(TooLarge);
        }
        if self.bytes.len() < end {
            return Ok(None);
        }
        let query = self.bytes.drain(..end).skip(LENGTH).collect();
        Ok(Some(query))
    }
}

/// An answer as it goes into the stream. A longer one than its length can say is not made.
pub fn framed(reply: &[u8]) -> Option<Vec<u8>> {
    let length = u16::try_from(reply.len()).ok()?;
    let mut bytes = Vec::with_capacity(LENGTH + reply.len());
    bytes.extend_from_slice(&length.to_be_bytes());
    bytes.extend_from_slice(reply);
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn however_they_are_cut() {
        let queries = [vec![1; 12], vec![], vec![2; LARGEST], vec![3; 300]];
        let stream: Vec<_> = queries.iter().flat_map(|query| framed(query).expect("fits")).collect();
        for step in [1, 2, 3, 7, 500, 5000] {
            let (mut frames, mut read, mut rest) = (Frames::default(), Vec::new(), &stream[..]);
            while !rest.is_empty() {
                let taken = step.min(frames.room()).min(rest.len());
                assert!(taken > 0, "full of nothing");
                frames.push(&rest[..taken]);
                rest = &rest[taken..];
                while let Some(query) = frames.next_query().expect("fits") {
                    read.push(query);
                }
                assert!(frames.bytes.len() <= LENGTH + LARGEST);
            }
            assert_eq!(read, queries, "{step}");
        }
    }

    #[test]
    fn too_large_ends_it() {
        let mut frames = Frames::default();
        frames.push(&4096_u16.to_be_bytes());
        assert_eq!(frames.next_query(), Err(TooLarge));
        assert_eq!(framed(&vec![0; 65536]), None);
    }
}
