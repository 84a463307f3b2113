//! Where a body ends: by its length, by its chunks, or with the connection. Pure.

use crate::{Error, Headers};
use bytes::{Buf as _, Bytes, BytesMut};

/// Bytes of chunk extensions and trailers that are read over in one body.
const MAX_IGNORED: u16 = 16 << 10;

/// What is still to come of a body.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Body {
    state: State,
    /// Bytes of extensions and trailers so far.
    ignored: u16,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Done,
    Length(u64),
    UntilClose,
    /// In the line with the length of a chunk, whose first digits mean this.
    Size {
        size: u64,
        part: Part,
    },
    /// So much of a chunk is to come.
    Chunk(u64),
    /// The line end after a chunk; the CR of it has come.
    ChunkEnd(bool),
    /// Lines after the last chunk: whether this one has a byte, and whether its CR has come.
    Trailer(bool, bool),
}

/// Where in the line of a chunk's length.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Part {
    Start,
    Digits,
    Extension,
    Cr,
}

impl Body {
    /// No body at all.
    pub const NONE: Self = Self::new(State::Done);

    const fn new(state: State) -> Self {
        Self { state, ignored: 0 }
    }

    /// The body of a request with these headers; `old` is HTTP/1.0.
    pub(crate) fn of_request(headers: &Headers, old: bool) -> Result<Self, Error> {
        if old && headers.get("transfer-encoding").is_some() {
            return Err(Error::Malformed("chunks in HTTP/1.0"));
        }
        Ok(Self::told(headers)?.unwrap_or(Self::NONE))
    }

    /// The body of an answer, which the status does not rule out.
    pub(crate) fn of_answer(headers: &Headers) -> Result<Self, Error> {
        Ok(Self::told(headers)?.unwrap_or(Self::new(State::UntilClose)))
    }

    /// What the headers say of the body's length.
    fn told(headers: &Headers) -> Result<Option<Self>, Error> {
        let mut lengths = headers.all("content-length");
        let mut codings = headers.all("transfer-encoding");
        match (lengths.next(), codings.next()) {
            (None, None) => Ok(None),
            (Some(_), Some(_)) => Err(Error::Malformed("a length beside chunks")),
            (Some(length), None) => match (lengths.next(), decimal(length)) {
                (None, Some(0)) => Ok(Some(Self::NONE)),
                (None, Some(length)) => Ok(Some(Self::new(State::Length(length)))),
                _ => Err(Error::Malformed("Content-Length")),
            },
            (None, Some(coding)) => match codings.next().is_none() && coding.eq_ignore_ascii_case(b"chunked")
            {
                true => Ok(Some(Self::new(State::Size { size: 0, part: Part::Start }))),
                false => Err(Error::Malformed("Transfer-Encoding")),
            },
        }
    }

    /// Nothing more is to come.
    pub fn is_done(&self) -> bool {
        self.state == State::Done
    }

    /// The number of bytes to come, if it is known; chunks have told theirs only as far as they have come.
    pub fn at_least(&self) -> u64 {
        match self.state {
            State::Length(left) | State::Chunk(left) => left,
            _ => 0,
        }
    }

    /// Takes the next piece off `input`; `None` when that is used up, or the body is done.
    pub(crate) fn take(&mut self, input: &mut BytesMut) -> Result<Option<Bytes>, Error> {
        loop {
            let left = match self.state {
                State::Done => return Ok(None),
                State::UntilClose => u64::MAX,
                State::Length(left) | State::Chunk(left) => left,
                _ => {
                    let Some(byte) = input.first().copied() else { return Ok(None) };
                    input.advance(1);
                    self.state = self.after(byte)?;
                    continue;
                }
            };
            if input.is_empty() {
                return Ok(None);
            }
            let len = usize::try_from(left).map_or(input.len(), |left| left.min(input.len()));
            let piece = input.split_to(len).freeze();
            let left = left.saturating_sub(len as u64);
            self.state = match (self.state, left) {
                (State::Length(_), 0) => State::Done,
                (State::Length(_), left) => State::Length(left),
                (State::Chunk(_), 0) => State::ChunkEnd(false),
                (State::Chunk(_), left) => State::Chunk(left),
                (other, _) => other,
            };
            return Ok(Some(piece));
        }
    }

    /// The state after a byte of what is between the chunks.
    fn after(&mut self, byte: u8) -> Result<State, Error> {
        let wrong = || Error::Malformed("chunks");
        Ok(match (self.state, byte) {
            (State::Size { part: Part::Cr, size: 0 }, b'\n') => State::Trailer(false, false),
            (State::Size { part: Part::Cr, size }, b'\n') => State::Chunk(size),
            (State::Size { part: Part::Cr, .. }, _) => return Err(wrong()),
            (State::Size { part: Part::Start, .. }, b'\r') => return Err(wrong()),
            (State::Size { size, .. }, b'\r') => State::Size { size, part: Part::Cr },
            (State::Size { size, part: Part::Extension }, byte) if byte != b'\n' => {
                self.ignore()?;
                State::Size { size, part: Part::Extension }
            }
            (State::Size { size, part: Part::Digits }, b';' | b' ' | b'\t') => {
                State::Size { size, part: Part::Extension }
            }
            (State::Size { size, part }, digit) => {
                if size == 0 && part == Part::Digits {
                    self.ignore()?;
                }
                let digit = char::from(digit).to_digit(16).ok_or_else(wrong)?;
                let size = size.checked_mul(16).ok_or_else(wrong)?;
                State::Size { size: size | u64::from(digit), part: Part::Digits }
            }
            (State::ChunkEnd(false), b'\r') => State::ChunkEnd(true),
            (State::ChunkEnd(true), b'\n') => State::Size { size: 0, part: Part::Start },
            (State::Trailer(false, true), b'\n') => State::Done,
            (State::Trailer(true, true), b'\n') => State::Trailer(false, false),
            (State::Trailer(some, false), b'\r') => State::Trailer(some, true),
            (State::Trailer(_, false), byte) if byte != b'\n' => {
                self.ignore()?;
                State::Trailer(true, false)
            }
            _ => return Err(wrong()),
        })
    }

    fn ignore(&mut self) -> Result<(), Error> {
        self.ignored = self.ignored.saturating_add(1);
        if self.ignored > MAX_IGNORED { Err(Error::Malformed("too much between chunks")) } else { Ok(()) }
    }

    /// The connection has ended, and with it perhaps the body.
    pub(crate) fn closed(&mut self) -> Result<(), Error> {
        match self.state {
            State::Done | State::UntilClose => {
                self.state = State::Done;
                Ok(())
            }
            _ => Err(Error::Cut),
        }
    }
}

/// Digits and nothing else.
fn decimal(text: &[u8]) -> Option<u64> {
    let digits = !text.is_empty() && text.iter().all(u8::is_ascii_digit);
    std::str::from_utf8(text).ok().filter(|_| digits)?.parse().ok()
}
