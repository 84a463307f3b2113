//! The server: the requests of one connection, one after another.

use crate::body::Body;
use crate::head::Request;
use crate::writer::{self, Head};
use crate::{Error, LocalFuture, Method, Reader, Stream};
use bytes::Bytes;
use std::time::Duration;
use tokio::io::AsyncWriteExt as _;
use tokio::sync::mpsc;
use tokio::time::timeout;

/// How long a client that was refused may go on sending until it reads the refusal.
const LINGER: Duration = Duration::from_secs(1);
/// How long an answer may take to begin once the client has ended its half.
pub(crate) const PATIENCE: Duration = Duration::from_secs(10);
/// How long it may then pause: an answer without an end ends so.
pub(crate) const PAUSE: Duration = Duration::from_secs(1);
/// Bodies up to this length leave in one write with their head.
const TOGETHER: usize = 16 << 10;

/// What a client may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of a request's line and headers.
    pub head_bytes: usize,
    /// Time for them; an idle connection is closed after it.
    pub head_time: Duration,
    /// Time for a body.
    pub body_time: Duration,
    /// Whether a connection serves more than one request.
    pub keep_alive: bool,
}

/// An answer to be written.
#[derive(Debug)]
pub struct Answer {
    /// Status and fields, but for those that say how long the body is.
    pub head: Head,
    /// The body.
    pub content: Content,
}

/// The body of an answer.
#[derive(Debug)]
pub enum Content {
    /// All of it.
    Full(Bytes),
    /// As it comes; the sender finds the channel closed once the client is gone, or has ended its half and is sent nothing
    /// for a second.
    Stream(mpsc::Receiver<Bytes>),
}

/// Answers requests.
pub trait Service {
    /// Looks at a request before its body is read: how many bytes that may have.
    ///
    /// # Errors
    /// The answer, if it is to be given without a look at the body.
    fn admit(&self, request: &Request) -> Result<usize, Answer>;

    /// The answer to a request whose body is too long (413), too slow (408) or no body at all (400).
    fn refuse(&self, status: u16, why: &str) -> Answer;

    /// The answer to a whole request. The future is dropped when the client goes away, and ten seconds after it has ended
    /// its half: it may wait for the answer, but not for ever.
    fn answer(&self, request: Request) -> LocalFuture<'_, Answer>;
}

/// Serves a connection until either side ends it.
///
/// # Errors
/// What was wrong with the stream or the last request; the client has been told what can be told.
pub async fn serve(io: &mut dyn Stream, service: &dyn Service, limits: &Limits) -> Result<(), Error> {
    let mut reader = Reader::default();
    loop {
        reader.rest();
        let (mut request, mut body) =
            match timeout(limits.head_time, reader.request(io, limits.head_bytes)).await {
                Ok(Ok(Some(request))) => request,
                Ok(Ok(None)) | Err(_) => return Ok(()),
                Ok(Err(why)) => {
                    let status = match why {
                        Error::HeadTooLong(_) => 431,
                        Error::Malformed(_) => 400,
                        _ => return Err(why),
                    };
                    let head = Head::answer(status).field("connection", "close");
                    send(io, head, &[]).await?;
                    linger(io, &mut reader).await;
                    return Err(why);
                }
            };
        let bare = request.method == Method::HEAD;
        let old = request.old;
        let close = !limits.keep_alive || old || request.headers.lists("connection", "close");
        let answer = match service.admit(&request) {
            Ok(limit) => match read(io, &mut reader, &request, &mut body, limit, limits).await? {
                Ok(whole) => {
                    request.body = whole;
                    tokio::select! {
                        biased;
                        answer = service.answer(request) => answer,
                        () = reader.gone(io, PATIENCE) => return Ok(()),
                    }
                }
                Err((status, why)) => service.refuse(status, &why),
            },
            Err(answer) => answer,
        };
        // What is left of a body would be taken for the next request.
        let unread = !body.is_done();
        write(io, &mut reader, answer, bare, old, close || unread).await?;
        if unread {
            linger(io, &mut reader).await;
        }
        if close || unread {
            return Ok(());
        }
    }
}

/// The body of `request`, or status and text of the refusal.
async fn read(
    io: &mut dyn Stream,
    reader: &mut Reader,
    request: &Request,
    body: &mut Body,
    limit: usize,
    limits: &Limits,
) -> Result<Result<Bytes, (u16, String)>, Error> {
    if body.is_done() {
        return Ok(Ok(Bytes::new()));
    }
    let fits = body.at_least() <= limit as u64;
    if fits && !request.old && request.headers.lists("expect", "100-continue") {
        io.write_all(b"HTTP/1.1 100 Continue\r\n\r\n").await?;
        io.flush().await?;
    }
    Ok(match timeout(limits.body_time, reader.whole(io, body, limit)).await {
        Ok(Ok(whole)) => Ok(whole),
        Ok(Err(Error::BodyTooLong(limit))) => {
            Err((413, format!("request body is larger than {limit} bytes")))
        }
        Ok(Err(why @ Error::Malformed(_))) => Err((400, why.to_string())),
        Ok(Err(why)) => return Err(why),
        Err(_) => Err((408, "request body took too long".to_owned())),
    })
}

/// Writes an answer; `bare` without its body, `old` in the way of HTTP/1.0.
async fn write(
    io: &mut dyn Stream,
    reader: &mut Reader,
    answer: Answer,
    bare: bool,
    old: bool,
    close: bool,
) -> Result<(), Error> {
    let Answer { mut head, content } = answer;
    if old {
        head.text = head.text.replacen("HTTP/1.1", "HTTP/1.0", 1);
    }
    if close {
        head.add("connection", "close");
    }
    let none = matches!(head.status, 100..200 | 204 | 304);
    match content {
        Content::Full(body) => {
            if !none {
                head.add("content-length", &body.len().to_string());
            }
            send(io, head, if bare || none { &[] } else { &body }).await
        }
        Content::Stream(mut pieces) => {
            if !old && !none {
                head.add("transfer-encoding", "chunked");
            }
            send(io, head, &[]).await?;
            if bare || none {
                return Ok(());
            }
            loop {
                let piece = tokio::select! {
                    biased;
                    piece = pieces.recv() => piece,
                    () = reader.gone(io, PAUSE) => return Err(Error::Cut),
                };
                match piece {
                    Some(piece) if piece.is_empty() => {}
                    Some(piece) if old => io.write_all(&piece).await?,
                    Some(piece) => io.write_all(&writer::chunk(&piece)).await?,
                    None if old => break,
                    None => {
                        io.write_all(b"0\r\n\r\n").await?;
                        break;
                    }
                }
                io.flush().await?;
            }
            Ok(io.flush().await?)
        }
    }
}

/// Writes a head and what follows it.
async fn send(io: &mut dyn Stream, head: Head, body: &[u8]) -> Result<(), Error> {
    let mut out = head.text.into_bytes();
    out.extend_from_slice(b"\r\n");
    let together = body.len() <= TOGETHER;
    if together {
        out.extend_from_slice(body);
    }
    io.write_all(&out).await?;
    if !together {
        io.write_all(body).await?;
    }
    Ok(io.flush().await?)
}

/// Lets a client that is still sending read its answer: a socket closed over unread bytes takes the answer with it.
async fn linger(io: &mut dyn Stream, reader: &mut Reader) {
    let _ = io.shutdown().await;
    let _ = timeout(LINGER, reader.drain(io)).await;
}
