//! The buffer between a stream and its messages.

use crate::body::Body;
use crate::head::{self, Request, Status};
use crate::{Error, LocalFuture, Stream};
use bytes::{Buf as _, Bytes, BytesMut};
use std::future::poll_fn;
use std::io;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::io::AsyncReadExt as _;
use tokio::time::sleep;

/// Room for a piece of a body, in bytes.
const PIECE: usize = 8 << 10;
/// Room for what may be long in coming: connections wait with a buffer of this size.
const IDLE: usize = 1 << 10;

/// What has been read of a stream and not used.
///
/// Reading is done by `poll_*`, each of which is in the binary once; what is `async` only wraps them, because code of
/// that kind is repeated in every caller. Dropping a future loses nothing that has been read.
#[derive(Debug, Default)]
pub struct Reader {
    input: BytesMut,
    /// So many bytes of it are known not to end a head.
    searched: usize,
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
        let Some(head) = poll_fn(|cx| self.poll_head(cx, io, limit, false)).await? else {
            return Ok(None);
        };
        let request = head::request(&head)?;
        let body = Body::of_request(&request.headers, request.old)?;
        Ok(Some((request, body)))
    }

    /// The first line and the fields of the next answer.
    pub(crate) async fn status(&mut self, io: &mut dyn Stream, limit: usize) -> Result<Status, Error> {
        let head = poll_fn(|cx| self.poll_head(cx, io, limit, true)).await?;
        head::status(&head.ok_or(Error::Unanswered)?)
    }

    /// The bytes of a whole head; `None` if the stream ends before it begins.
    fn poll_head(
        &mut self,
        cx: &mut Context<'_>,
        io: &mut dyn Stream,
        limit: usize,
        answer: bool,
    ) -> Poll<Result<Option<BytesMut>, Error>> {
        loop {
            // Empty lines before a head are left over from a body (RFC 9112 §2.2).
            while self.searched == 0 && matches!(self.input.first(), Some(b'\r' | b'\n')) {
                self.input.advance(1);
            }
            plausible(&self.input, answer)?;
            let length = head::length(&self.input, self.searched);
            self.searched = self.input.len();
            if length.unwrap_or(self.searched) > limit {
                return Poll::Ready(Err(Error::HeadTooLong(limit)));
            }
            if let Some(length) = length {
                self.searched = 0;
                return Poll::Ready(Ok(Some(self.input.split_to(length))));
            }
            if ready!(self.poll_fill(cx, io, IDLE))? == 0 {
                return Poll::Ready(if self.input.is_empty() { Ok(None) } else { Err(Error::Cut) });
            }
        }
    }

    /// The next piece of `body`; `None` at its end.
    ///
    /// # Errors
    /// [`Error::Io`], [`Error::Cut`], [`Error::Malformed`].
    pub fn poll_piece(
        &mut self,
        cx: &mut Context<'_>,
        io: &mut dyn Stream,
        body: &mut Body,
    ) -> Poll<Result<Option<Bytes>, Error>> {
        loop {
            if let Some(piece) = body.take(&mut self.input)? {
                return Poll::Ready(Ok(Some(piece)));
            }
            if body.is_done() {
                return Poll::Ready(Ok(None));
            }
            if ready!(self.poll_fill(cx, io, PIECE))? == 0 {
                body.closed()?;
            }
        }
    }

    /// All of `body`.
    ///
    /// # Errors
    /// As [`Reader::poll_piece`], and [`Error::BodyTooLong`].
    pub fn whole<'a>(
        &'a mut self,
        io: &'a mut dyn Stream,
        body: &'a mut Body,
        limit: usize,
    ) -> LocalFuture<'a, Result<Bytes, Error>> {
        let mut whole = BytesMut::new();
        Box::pin(poll_fn(move |cx| {
            loop {
                // What a chunk has announced counts at once.
                let room = limit.checked_sub(whole.len());
                if room.is_none_or(|room| body.at_least() > room as u64) {
                    return Poll::Ready(Err(Error::BodyTooLong(limit)));
                }
                match ready!(self.poll_piece(cx, io, body))? {
                    Some(piece) => whole.extend_from_slice(&piece),
                    None => return Poll::Ready(Ok(std::mem::take(&mut whole).freeze())),
                }
            }
        }))
    }

    /// Resolves when the other side hangs up, or `patience` after it has ended its half: it may still read. What it sends
    /// meanwhile is kept, and then it is no longer watched: it has another request, so it waits for this one.
    pub async fn gone(&mut self, io: &mut dyn Stream, patience: Duration) {
        let may_read = poll_fn(|cx| match self.input.is_empty() {
            true => match self.poll_fill(cx, io, IDLE) {
                Poll::Ready(Ok(0)) => {
                    // A Unix socket does not even take nothing if both halves are closed; others tell who writes more.
                    let taken = Pin::new(&mut *io).poll_write(cx, &[]);
                    Poll::Ready(!matches!(taken, Poll::Ready(Err(_))))
                }
                Poll::Ready(Err(_)) => Poll::Ready(false),
                _ => Poll::Pending,
            },
            false => Poll::Pending,
        })
        .await;
        if may_read {
            sleep(patience).await;
        }
    }

    /// Reads everything to the end, and forgets it.
    pub(crate) async fn drain(&mut self, io: &mut dyn Stream) {
        poll_fn(|cx| {
            while matches!(ready!(self.poll_fill(cx, io, PIECE)), Ok(1..)) {
                self.input.clear();
            }
            Poll::Ready(())
        })
        .await;
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

    /// Reads once, with at least so much room; 0 is the end.
    fn poll_fill(
        &mut self,
        cx: &mut Context<'_>,
        io: &mut dyn Stream,
        room: usize,
    ) -> Poll<io::Result<usize>> {
        self.input.reserve(room);
        // The future holds nothing, so that a new one for each poll is as good.
        pin!(io.read_buf(&mut self.input)).poll(cx)
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
