//! The buffer between a stream and its messages.

use crate::body::Body;
use crate::head::{self, Request, Status};
use crate::{Error, Stream};
use bytes::{Buf as _, Bytes, BytesMut};
use std::future::pending;
use std::io;
use tokio::io::AsyncReadExt as _;

/// Bytes that are asked of the stream at a time.
const READ: usize = 8 << 10;

/// What has been read of a stream and not used.
#[derive(Debug, Default)]
pub struct Reader {
    input: BytesMut,
}

impl Reader {
    /// The next request; `None` if the stream ends before it begins. Its head may have `limit` bytes.
    ///
    /// # Errors
    /// Everything but [`Error::BodyTooLong`] and [`Error::Unsendable`].
    pub async fn request(
        &mut self,
        io: &mut dyn Stream,
        limit: usize,
    ) -> Result<Option<(Request, Body)>, Error> {
        let Some(head) = self.head(io, limit, false).await? else { return Ok(None) };
        let request = head::request(&head)?;
        let body = Body::of_request(&request.headers, request.old)?;
        Ok(Some((request, body)))
    }

    /// The first line and the fields of the next answer.
    pub(crate) async fn status(&mut self, io: &mut dyn Stream, limit: usize) -> Result<Status, Error> {
        let head = self.head(io, limit, true).await?.ok_or(Error::Unanswered)?;
        head::status(&head)
    }

    /// The bytes of a whole head.
    async fn head(
        &mut self,
        io: &mut dyn Stream,
        limit: usize,
        answer: bool,
    ) -> Result<Option<BytesMut>, Error> {
        let mut searched = 0;
        loop {
            // Empty lines before a head are left over from a body (RFC 9112 §2.2).
            while searched == 0 && matches!(self.input.first(), Some(b'\r' | b'\n')) {
                self.input.advance(1);
            }
            plausible(&self.input, answer)?;
            let length = head::length(&self.input, searched);
            searched = self.input.len();
            if length.unwrap_or(searched) > limit {
                return Err(Error::HeadTooLong(limit));
            }
            if let Some(length) = length {
                return Ok(Some(self.input.split_to(length)));
            }
            if self.fill(io).await? == 0 {
                return if self.input.is_empty() { Ok(None) } else { Err(Error::Cut) };
            }
        }
    }

    /// The next piece of `body`; `None` at its end. Dropping the future loses nothing.
    ///
    /// # Errors
    /// [`Error::Io`], [`Error::Cut`], [`Error::Malformed`].
    pub async fn piece(&mut self, io: &mut dyn Stream, body: &mut Body) -> Result<Option<Bytes>, Error> {
        loop {
            if let Some(piece) = body.take(&mut self.input)? {
                return Ok(Some(piece));
            }
            if body.is_done() {
                return Ok(None);
            }
            if self.fill(io).await? == 0 {
                body.closed()?;
            }
        }
    }

    /// All of `body`.
    ///
    /// # Errors
    /// As [`Reader::piece`], and [`Error::BodyTooLong`].
    pub async fn whole(
        &mut self,
        io: &mut dyn Stream,
        body: &mut Body,
        limit: usize,
    ) -> Result<Bytes, Error> {
        if body.at_least() > limit as u64 {
            return Err(Error::BodyTooLong(limit));
        }
        let mut whole = BytesMut::new();
        while let Some(piece) = self.piece(io, body).await? {
            // What a chunk has announced counts at once.
            let room = limit.saturating_sub(whole.len()).checked_sub(piece.len());
            if room.is_none_or(|room| body.at_least() > room as u64) {
                return Err(Error::BodyTooLong(limit));
            }
            whole.extend_from_slice(&piece);
        }
        Ok(whole.freeze())
    }

    /// Resolves when the other side hangs up. What it sends meanwhile is kept, and then it is no longer watched: it has
    /// another request, so it waits for this one.
    pub async fn gone(&mut self, io: &mut dyn Stream) {
        if self.input.is_empty() && matches!(self.fill(io).await, Ok(0) | Err(_)) {
            return;
        }
        pending().await
    }

    /// Reads everything to the end, and forgets it.
    pub(crate) async fn drain(&mut self, io: &mut dyn Stream) {
        while matches!(self.fill(io).await, Ok(1..)) {
            self.input.clear();
        }
    }

    /// Gives the buffer back when nothing is in it.
    pub fn rest(&mut self) {
        if self.input.is_empty() {
            self.input = BytesMut::new();
        }
    }

    /// What was read and is no HTTP: the beginning of another protocol.
    pub fn into_rest(self) -> Bytes {
        self.input.freeze()
    }

    /// Reads once; 0 is the end.
    async fn fill(&mut self, io: &mut dyn Stream) -> io::Result<usize> {
        self.input.reserve(READ);
        io.read_buf(&mut self.input).await
    }
}

/// Whether these bytes may begin a message: what speaks another protocol is not waited for.
fn plausible(input: &[u8], answer: bool) -> Result<(), Error> {
    const ANSWER: &[u8] = b"HTTP/";
    let fine = match answer {
        true => input.iter().zip(ANSWER).all(|(byte, wanted)| byte == wanted),
        false => input.first().is_none_or(u8::is_ascii_alphabetic),
    };
    if fine { Ok(()) } else { Err(Error::Malformed("something else")) }
}
