//! Frames of HTTP/2 (RFC 9113 §4, §6): their heads, kinds, flags and error codes, and cutting a byte stream into them.
//!
//! Leaves out: what frames mean (`session`).

use super::session::Broken;

/// Longest payload we take, and the longest we send: what every endpoint begins with.
pub(super) const PAYLOAD: usize = 16 << 10;
/// Length, kind, flags, stream.
const HEAD: usize = 9;

pub(super) const DATA: u8 = 0;
pub(super) const HEADERS: u8 = 1;
pub(super) const PRIORITY: u8 = 2;
pub(super) const RST_STREAM: u8 = 3;
pub(super) const SETTINGS: u8 = 4;
pub(super) const PUSH_PROMISE: u8 = 5;
pub(super) const PING: u8 = 6;
pub(super) const GOAWAY: u8 = 7;
pub(super) const WINDOW_UPDATE: u8 = 8;
pub(super) const CONTINUATION: u8 = 9;

pub(super) const END_STREAM: u8 = 1;
pub(super) const ACK: u8 = 1;
pub(super) const END_HEADERS: u8 = 4;
pub(super) const PADDED: u8 = 8;
pub(super) const WITH_PRIORITY: u8 = 0x20;

pub(super) const NO_ERROR: u32 = 0;
pub(super) const PROTOCOL_ERROR: u32 = 1;
pub(super) const FLOW_CONTROL_ERROR: u32 = 3;
pub(super) const FRAME_SIZE_ERROR: u32 = 6;
pub(super) const CANCEL: u32 = 8;
pub(super) const COMPRESSION_ERROR: u32 = 9;
pub(super) const ENHANCE_YOUR_CALM: u32 = 11;

/// The head of a frame.
#[derive(Clone, Copy)]
pub(super) struct Head {
    pub(super) length: usize,
    pub(super) kind: u8,
    pub(super) flags: u8,
    pub(super) stream: u32,
}

impl Head {
    pub(super) fn has(&self, flag: u8) -> bool {
        self.flags & flag != 0
    }
}

/// Writes the head of a frame of at most [`PAYLOAD`] bytes.
pub(super) fn put_head(out: &mut Vec<u8>, length: usize, kind: u8, flags: u8, stream: u32) {
    let length = (length as u32).to_be_bytes();
    out.extend_from_slice(&length[1..]);
    out.extend_from_slice(&[kind, flags]);
    out.extend_from_slice(&stream.to_be_bytes());
}

/// Writes a frame that is nothing but a number.
pub(super) fn put_number(out: &mut Vec<u8>, kind: u8, stream: u32, number: u32) {
    put_head(out, 4, kind, 0, stream);
    out.extend_from_slice(&number.to_be_bytes());
}

/// The number that `bytes` begin with.
pub(super) fn number(bytes: &[u8]) -> Option<u32> {
    bytes.first_chunk().copied().map(u32::from_be_bytes)
}

/// A piece of what the server sends.
pub(super) enum Piece {
    /// A frame has begun.
    Begin(Head),
    /// So many bytes of a DATA frame, which are the next of the input; at least one.
    Data(Head, usize),
    /// A frame is complete. Its payload, unless it is DATA or of a kind that nobody knows, is [`Frames::payload`].
    End(Head),
}

/// Cuts what arrives into frames. DATA goes through piece by piece; of other frames one payload is kept.
#[derive(Default)]
pub(super) struct Frames {
    head: [u8; HEAD],
    have: usize,
    left: usize,
    /// The payload of the frame that [`Piece::End`] has told of.
    pub(super) payload: Vec<u8>,
}

impl Frames {
    /// The next piece; takes off `input` what belongs to it, but for [`Piece::Data`]. `None`: more must arrive.
    pub(super) fn next(&mut self, input: &mut &[u8]) -> Result<Option<Piece>, Broken> {
        if self.have < HEAD {
            while let Some(slot) = self.head.get_mut(self.have) {
                let Some((&byte, rest)) = input.split_first() else { return Ok(None) };
                *slot = byte;
                self.have += 1;
                *input = rest;
            }
            let head = self.parsed();
            if head.length > PAYLOAD {
                return Err(Broken(FRAME_SIZE_ERROR, "a frame is longer than 16384 bytes"));
            }
            self.left = head.length;
            self.payload.clear();
            return Ok(Some(Piece::Begin(head)));
        }
        let head = self.parsed();
        if self.left == 0 {
            self.have = 0;
            return Ok(Some(Piece::End(head)));
        }
        let n = self.left.min(input.len());
        if n == 0 {
            return Ok(None);
        }
        self.left -= n;
        if head.kind == DATA {
            return Ok(Some(Piece::Data(head, n)));
        }
        let (now, rest) = input.split_at(n);
        *input = rest;
        if head.kind <= CONTINUATION {
            self.payload.extend_from_slice(now);
        }
        self.next(input)
    }

    fn parsed(&self) -> Head {
        let [l0, l1, l2, kind, flags, s0, s1, s2, s3] = self.head;
        Head {
            length: u32::from_be_bytes([0, l0, l1, l2]) as usize,
            kind,
            flags,
            stream: u32::from_be_bytes([s0, s1, s2, s3]) & 0x7fff_ffff,
        }
    }
}
