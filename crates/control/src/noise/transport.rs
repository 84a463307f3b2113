//! The record layer: a byte stream in records of at most 4096 bytes (protocol reference §1.4).
//!
//! Memory: one receive buffer of two records and at most one sealed record waiting to be written.

use super::handshake::{
    Initiator, MSG_ERROR, MSG_RECORD, MSG_RESPONSE, RESPONSE_BODY, SessionKeys, TAG, aead, nonce,
};
use crate::Error;
use dial::BoxStream;
use ring::aead::{Aad, LessSafeKey};
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, ReadBuf};

/// Largest record with its header.
const RECORD: usize = 4096;
const HEADER: usize = 3;
/// Largest plaintext of one record.
const PLAIN: usize = RECORD - HEADER - TAG;
/// Longest refusal text of a server that is shown.
const REFUSAL: usize = 200;

/// Awaits the response to an initiation that has been sent, and turns the stream into an encrypted one.
pub(crate) async fn handshake(mut io: BoxStream, initiator: Initiator) -> Result<NoiseStream, Error> {
    let gone = |_| Error::Handshake("the connection ended");
    let mut header = [0; HEADER];
    io.read_exact(&mut header).await.map_err(gone)?;
    let len = usize::from(u16::from_be_bytes([header[1], header[2]]));
    match header[0] {
        MSG_RESPONSE if len == RESPONSE_BODY => {
            let mut body = [0; RESPONSE_BODY];
            io.read_exact(&mut body).await.map_err(gone)?;
            Ok(NoiseStream::new(io, &initiator.finish(&body)?))
        }
        MSG_ERROR => {
            let mut text = vec![0; len.min(REFUSAL)];
            io.read_exact(&mut text).await.map_err(gone)?;
            Err(Error::HandshakeRefused(crate::text::printable(&text)))
        }
        _ => Err(Error::Handshake("the answer is not a Noise response")),
    }
}

/// An encrypted byte stream. Any broken record ends it for good.
pub(crate) struct NoiseStream {
    io: BoxStream,
    receive: LessSafeKey,
    received: u64,
    send: LessSafeKey,
    sent: u64,
    /// Bytes `raw.0..raw.1` of `buf` are ciphertext not yet opened, `plain.0..plain.1` plaintext not yet read.
    buf: Box<[u8]>,
    raw: (usize, usize),
    plain: (usize, usize),
    /// A sealed record and how much of it has been written.
    out: Vec<u8>,
    out_done: usize,
    dead: bool,
}

impl NoiseStream {
    pub(crate) fn new(io: BoxStream, keys: &SessionKeys) -> Self {
        Self {
            io,
            receive: aead(&keys.receive),
            received: 0,
            send: aead(&keys.send),
            sent: 0,
            buf: vec![0; 2 * RECORD].into_boxed_slice(),
            raw: (0, 0),
            plain: (0, 0),
            out: Vec::new(),
            out_done: 0,
            dead: false,
        }
    }

    fn broken(&mut self, why: &'static str) -> io::Error {
        self.dead = true;
        io::Error::new(io::ErrorKind::InvalidData, why)
    }

    /// Opens the first whole record of `raw`; false if there is none yet.
    fn open_record(&mut self) -> io::Result<bool> {
        let (start, end) = self.raw;
        let Some(&[kind, high, low]) = self.buf.get(start..end).and_then(|raw| raw.first_chunk()) else {
            return Ok(false);
        };
        let len = usize::from(u16::from_be_bytes([high, low]));
        if kind != MSG_RECORD {
            return Err(self.broken("control sent something that is not a Noise record"));
        }
        if !(TAG..=RECORD - HEADER).contains(&len) {
            return Err(self.broken("control sent a Noise record of a forbidden length"));
        }
        let body = start + HEADER;
        if end - start < HEADER + len {
            return Ok(false);
        }
        let (number, next) = (self.received, self.received.checked_add(1));
        let Some(next) = next else {
            return Err(self.broken("the Noise connection has used up its counters"));
        };
        let opened = match self.buf.get_mut(body..body + len) {
            Some(record) => self.receive.open_in_place(nonce(number), Aad::empty(), record).is_ok(),
            None => false,
        };
        if !opened {
            return Err(self.broken("a Noise record from control does not decrypt"));
        }
        self.received = next;
        self.plain = (body, body + len - TAG);
        self.raw.0 = body + len;
        Ok(true)
    }

    fn poll_write_out(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while let Some(rest) = self.out.get(self.out_done..).filter(|rest| !rest.is_empty()) {
            let n = ready!(Pin::new(&mut self.io).poll_write(cx, rest))?;
            if n == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.out_done += n;
        }
        self.out.clear();
        self.out_done = 0;
        Poll::Ready(Ok(()))
    }
}

impl AsyncRead for NoiseStream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, out: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let me = self.get_mut();
        loop {
            if let Some(plain) = me.buf.get(me.plain.0..me.plain.1).filter(|plain| !plain.is_empty()) {
                let n = plain.len().min(out.remaining());
                out.put_slice(&plain[..n]);
                me.plain.0 += n;
                return Poll::Ready(Ok(()));
            }
            if me.dead {
                return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
            }
            if me.open_record()? {
                continue;
            }
            // No plaintext is left, so the rest of `raw` (less than a record) may move to the front.
            me.buf.copy_within(me.raw.0..me.raw.1, 0);
            me.raw = (0, me.raw.1 - me.raw.0);
            let mut space = ReadBuf::new(me.buf.get_mut(me.raw.1..).unwrap_or_default());
            ready!(Pin::new(&mut me.io).poll_read(cx, &mut space))?;
            let n = space.filled().len();
            if n == 0 {
                return match me.raw.1 {
                    0 => Poll::Ready(Ok(())),
                    _ => Poll::Ready(Err(me.broken("the connection to control ended within a record"))),
                };
            }
            me.raw.1 += n;
        }
    }
}

impl AsyncWrite for NoiseStream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        let me = self.get_mut();
        ready!(me.poll_write_out(cx))?;
        let taken = data.get(..PLAIN).unwrap_or(data);
        let Some(next) = me.sent.checked_add(1).filter(|_| !me.dead) else {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        };
        if taken.is_empty() {
            return Poll::Ready(Ok(0));
        }
        let len = (taken.len() + TAG) as u16;
        me.out.extend_from_slice(&[MSG_RECORD, (len >> 8) as u8, len as u8]);
        me.out.extend_from_slice(taken);
        let tag = match me.out.get_mut(HEADER..) {
            Some(body) => me.send.seal_in_place_separate_tag(nonce(me.sent), Aad::empty(), body),
            None => Err(ring::error::Unspecified),
        };
        let Ok(tag) = tag else {
            return Poll::Ready(Err(me.broken("a Noise record cannot be sealed")));
        };
        me.out.extend_from_slice(tag.as_ref());
        me.sent = next;
        // The record now counts as written; whatever the socket does not take goes out with the next call.
        match me.poll_write_out(cx) {
            Poll::Ready(Err(e)) => Poll::Ready(Err(e)),
            Poll::Ready(Ok(())) | Poll::Pending => Poll::Ready(Ok(taken.len())),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let me = self.get_mut();
        ready!(me.poll_write_out(cx))?;
        Pin::new(&mut me.io).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let me = self.get_mut();
        ready!(me.poll_write_out(cx))?;
        Pin::new(&mut me.io).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests;
