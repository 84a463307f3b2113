//! The client: one request, and its answer.

use crate::body::Body;
use crate::writer::Head;
use crate::{Error, Headers, LocalFuture, Method, Reader, Stream};
use bytes::Bytes;
use std::future::poll_fn;
use tokio::io::AsyncWriteExt as _;

/// The longest head of an answer, in bytes.
const HEAD_LIMIT: usize = 16 << 10;
/// So many interim answers (1xx) are read over.
const INTERIM: u32 = 8;

/// An answer whose body is still on its way.
#[derive(Debug)]
pub struct Response {
    /// Status code.
    pub status: u16,
    /// The words after it.
    pub reason: String,
    /// The header fields.
    pub headers: Headers,
    body: Body,
    reader: Reader,
}

/// Sends a request with `body`, which may be empty, and reads the head of its answer. The caller bounds the time.
///
/// # Errors
/// Everything but [`Error::BodyTooLong`].
pub fn ask<'a>(
    io: &'a mut dyn Stream,
    request: Head,
    body: &'a [u8],
) -> LocalFuture<'a, Result<Response, Error>> {
    // In a box, so that its code is not repeated in its callers.
    Box::pin(exchange(io, request, body))
}

async fn exchange(io: &mut dyn Stream, mut request: Head, body: &[u8]) -> Result<Response, Error> {
    if request.lacking {
        return Err(Error::Unsendable);
    }
    if !body.is_empty() || request.method.tells_length() {
        request.add("Content-Length", &body.len().to_string());
    }
    let sent = send(io, request.text, body).await;
    let mut reader = Reader::default();
    let mut tries = INTERIM;
    let head = loop {
        match reader.status(io, HEAD_LIMIT).await {
            Ok(head) if (100..200).contains(&head.code) && head.code != 101 => {
                tries = tries.checked_sub(1).ok_or(Error::Malformed("nothing but interim answers"))?;
            }
            Ok(head) => break head,
            // A server may answer and hang up before it has read everything, so a failed write counts only now.
            Err(why) => return Err(sent.err().map_or(why, Error::Io)),
        }
    };
    let bare = request.method == Method::HEAD || matches!(head.code, 101 | 204 | 304);
    let body = if bare { Body::NONE } else { Body::of_answer(&head.headers)? };
    Ok(Response { status: head.code, reason: head.reason, headers: head.headers, body, reader })
}

async fn send(io: &mut dyn Stream, head: String, body: &[u8]) -> std::io::Result<()> {
    let mut out = head.into_bytes();
    out.extend_from_slice(b"\r\n");
    out.extend_from_slice(body);
    io.write_all(&out).await?;
    io.flush().await
}

impl Response {
    /// The next piece of the body; `None` at its end. Dropping the future loses nothing.
    ///
    /// # Errors
    /// [`Error::Io`], [`Error::Cut`], [`Error::Malformed`].
    pub async fn next(&mut self, io: &mut dyn Stream) -> Result<Option<Bytes>, Error> {
        poll_fn(|cx| self.reader.poll_piece(cx, io, &mut self.body)).await
    }

    /// All of the body.
    ///
    /// # Errors
    /// As [`Response::next`], and [`Error::BodyTooLong`].
    pub fn whole<'a>(
        &'a mut self,
        io: &'a mut dyn Stream,
        limit: usize,
    ) -> LocalFuture<'a, Result<Bytes, Error>> {
        self.reader.whole(io, &mut self.body, limit)
    }

    /// What came behind the head of an answer that switches to another protocol.
    pub fn into_rest(self) -> Bytes {
        self.reader.into_rest()
    }
}
