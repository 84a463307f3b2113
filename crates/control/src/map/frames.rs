//! Message boundaries: a little-endian length before each message (protocol reference §1.9.2).

use crate::Error;

/// Longest message. It is streamed, so this bounds time, not memory.
const LIMIT: u32 = 64 << 20;

/// Cuts a byte stream into messages; chunk boundaries may be anywhere.
#[derive(Default)]
pub(super) struct Frames {
    head: [u8; 4],
    have: usize,
    left: u32,
    inside: bool,
}

/// A piece of the stream.
#[derive(Debug, PartialEq)]
pub(super) enum Piece<'a> {
    /// Bytes of the current message.
    Body(&'a [u8]),
    /// The current message is complete.
    End,
}

impl Frames {
    /// Takes the next piece off `input`; `None` when it is used up.
    pub(super) fn next<'a>(&mut self, input: &mut &'a [u8]) -> Result<Option<Piece<'a>>, Error> {
        while !self.inside {
            let Some((byte, rest)) = input.split_first() else { return Ok(None) };
            *input = rest;
            if let Some(slot) = self.head.get_mut(self.have) {
                *slot = *byte;
            }
            self.have += 1;
            if self.have == self.head.len() {
                self.left = u32::from_le_bytes(self.head);
                self.have = 0;
                if self.left > LIMIT {
                    return Err(Error::TooLong { what: "a map message".to_owned(), limit: LIMIT as usize });
                }
                self.inside = true;
            }
        }
        if self.left == 0 {
            self.inside = false;
            return Ok(Some(Piece::End));
        }
        if input.is_empty() {
            return Ok(None);
        }
        let (body, rest) = input.split_at(input.len().min(self.left as usize));
        *input = rest;
        self.left -= body.len() as u32;
        Ok(Some(Piece::Body(body)))
    }

    /// Takes back the last `n` bytes of the last body: they will come again.
    pub(super) fn unread(&mut self, n: usize) {
        self.left = self.left.saturating_add(n as u32);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn messages(stream: &[u8], piece: usize) -> Result<Vec<Vec<u8>>, Error> {
        let mut frames = Frames::default();
        let (mut done, mut current) = (Vec::new(), Vec::new());
        for chunk in stream.chunks(piece) {
            let mut input = chunk;
            while let Some(piece) = frames.next(&mut input)? {
                match piece {
                    Piece::Body(body) => current.extend(body),
                    Piece::End => done.push(std::mem::take(&mut current)),
                }
            }
        }
        Ok(done)
    }

    #[test]
    fn a_huge_length_is_refused() {
        assert!(messages(&[0, 0, 0, 5], 4).is_err());
        assert_eq!(messages(&[0, 0, 0, 4], 4), Ok(vec![]));
    }

    proptest! {
        #[test]
        fn any_chunking(sent: Vec<Vec<u8>>, piece in 1usize..40) {
            let mut stream = Vec::new();
            for message in &sent {
                stream.extend((message.len() as u32).to_le_bytes());
                stream.extend(message);
            }
            prop_assert_eq!(messages(&stream, piece), Ok(sent));
        }

        #[test]
        fn garbage_never_panics(stream: Vec<u8>, piece in 1usize..9) {
            let _ = messages(&stream, piece);
        }
    }
}
