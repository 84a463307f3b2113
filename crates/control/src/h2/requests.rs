//! Requests of a [`Session`]: sending them as far as the server lets us, and handing on what comes back.

use super::answers::Head;
use super::frame::{
    CANCEL, CONTINUATION, DATA, END_HEADERS, END_STREAM, HEADERS, NO_ERROR, PAYLOAD, RST_STREAM, put_head,
    put_number,
};
use super::session::{STREAM_WINDOW, Session};
use std::task::{Context, Poll, Waker};

/// Bytes of bodies that are written ahead of the socket.
const AHEAD: usize = 16 << 10;
/// Bytes of an answer that are handed on in one piece.
const PIECE: usize = 16 << 10;
/// The last number a stream can have.
const LAST_STREAM: u32 = 0x7fff_ffff;

/// How an answer ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    Whole,
    /// By the server, with an error code.
    Reset(u32),
    Broken(&'static str),
    /// With the connection, which knows why.
    Dead,
}

/// A request and its answer.
pub(super) struct Request {
    key: u32,
    /// Its stream; 0 until it has been sent.
    pub(super) stream: u32,
    /// The header block, until it has been sent.
    block: Vec<u8>,
    body: Vec<u8>,
    sent: usize,
    /// What may be sent of the body yet.
    window: i32,
    pub(super) head: Option<Head>,
    /// What has come of the answer's body and is not handed on.
    pieces: Vec<Vec<u8>>,
    /// What the server may send yet, and what of that has been read since it was last told.
    pub(super) room: u32,
    pub(super) read: u32,
    pub(super) end: Option<End>,
    waker: Option<Waker>,
}

impl Request {
    pub(super) fn finish(&mut self, end: End) {
        if self.end.is_none() {
            self.end = Some(end);
            self.wake();
        }
    }

    pub(super) fn wake(&mut self) {
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }

    /// Takes bytes of the answer's body.
    pub(super) fn push(&mut self, bytes: &[u8]) {
        if bytes.is_empty() {
            return;
        }
        match self.pieces.last_mut() {
            Some(last) if last.len() + bytes.len() <= PIECE => last.extend_from_slice(bytes),
            _ => self.pieces.push(bytes.to_vec()),
        }
        self.wake();
    }

    /// The server takes `more` (or less) of the body; false if windows are not so wide.
    pub(super) fn widen(&mut self, more: i32) -> bool {
        // One that has not been sent begins with what will be in force then.
        let window = if self.stream == 0 { Some(0) } else { self.window.checked_add(more) };
        self.window = window.unwrap_or_default();
        window.is_some()
    }

    /// Whether its stream counts among those that are open.
    fn is_open(&self) -> bool {
        self.stream != 0 && (self.end.is_none() || !self.is_sent() && self.end == Some(End::Whole))
    }

    fn is_sent(&self) -> bool {
        self.sent >= self.body.len()
    }
}

impl Session {
    /// Whether further requests may be sent.
    pub(super) fn is_open(&self) -> bool {
        self.dead.is_none() && !self.going && self.next_stream < LAST_STREAM
    }

    /// Whether nothing is left to be done.
    pub(super) fn is_over(&self) -> bool {
        self.dead.is_some() || self.going && self.requests.is_empty()
    }

    /// Takes a request, and gives the name that it has here.
    pub(super) fn ask(&mut self, block: Vec<u8>, body: Vec<u8>) -> u32 {
        let key = self.next_key;
        self.next_key = key.wrapping_add(1);
        let end = match (&self.dead, self.is_open()) {
            (Some(_), _) => Some(End::Dead),
            (None, false) => Some(End::Broken("control closes the connection")),
            (None, true) => None,
        };
        self.requests.push(Request {
            key,
            stream: 0,
            block,
            body,
            sent: 0,
            window: 0,
            head: None,
            pieces: Vec::new(),
            room: STREAM_WINDOW,
            read: 0,
            end,
            waker: None,
        });
        self.pump();
        self.stir();
        key
    }

    /// Puts into `out` what may be sent of the requests.
    pub(super) fn pump(&mut self) {
        if self.dead.is_some() {
            return;
        }
        let mut open = self.requests.iter().filter(|request| request.is_open()).count();
        let out = &mut self.out;
        for request in &mut self.requests {
            if request.stream == 0 && request.end.is_none() && open < self.at_once {
                open += 1;
                request.stream = self.next_stream;
                request.window = self.first_window;
                self.next_stream += 2;
                put_block(out, request.stream, &request.block, request.body.is_empty());
                request.block = Vec::new();
            }
            while request.is_open() && out.len() < AHEAD {
                let rest = request.body.get(request.sent..).unwrap_or_default();
                let most = request.window.min(self.window).min(PAYLOAD as i32);
                let Some(now) = rest.get(..rest.len().min(usize::try_from(most).unwrap_or_default())) else {
                    break;
                };
                if now.is_empty() {
                    break;
                }
                let flags = if now.len() == rest.len() { END_STREAM } else { 0 };
                put_head(out, now.len(), DATA, flags, request.stream);
                out.extend_from_slice(now);
                request.sent += now.len();
                request.window -= now.len() as i32;
                self.window -= now.len() as i32;
                if request.is_sent() {
                    (request.body, request.sent) = (Vec::new(), 0);
                }
            }
        }
    }

    /// The head of the answer.
    pub(super) fn poll_head(&mut self, key: u32, cx: &mut Context<'_>) -> Poll<Result<Head, String>> {
        self.poll_answer(key, cx, |request| match (&request.head, request.end) {
            (Some(head), _) => Some(Ok(head.clone())),
            (None, Some(end)) => Some(Err(end)),
            (None, None) => None,
        })
    }

    /// The next piece of the answer's body; empty at its end.
    pub(super) fn poll_body(&mut self, key: u32, cx: &mut Context<'_>) -> Poll<Result<Vec<u8>, String>> {
        let piece = self.poll_answer(key, cx, |request| match request.end {
            _ if !request.pieces.is_empty() => {
                let piece = request.pieces.remove(0);
                request.read += piece.len() as u32;
                Some(Ok(piece))
            }
            // An answer complete in itself, to a request that need not be (RFC 9113 §8.1).
            Some(End::Whole | End::Reset(NO_ERROR | CANCEL)) => Some(Ok(Vec::new())),
            Some(end) => Some(Err(end)),
            None => None,
        });
        if let Poll::Ready(Ok(piece)) = &piece {
            self.read += piece.len() as u32;
            self.tell_room();
        }
        piece
    }

    fn poll_answer<T>(
        &mut self,
        key: u32,
        cx: &Context<'_>,
        look: impl FnOnce(&mut Request) -> Option<Result<T, End>>,
    ) -> Poll<Result<T, String>> {
        let Some(request) = self.requests.iter_mut().find(|request| request.key == key) else {
            return Poll::Pending;
        };
        match look(request) {
            Some(Ok(it)) => Poll::Ready(Ok(it)),
            Some(Err(end)) => Poll::Ready(Err(match end {
                End::Reset(code) => format!("control gave up the request (HTTP/2 error {code})"),
                End::Broken(why) => why.to_owned(),
                End::Whole | End::Dead => self.dead.clone().unwrap_or_default(),
            })),
            None => {
                request.waker = Some(cx.waker().clone());
                Poll::Pending
            }
        }
    }

    /// Forgets a request. A server that is not done with it is told.
    pub(super) fn forget(&mut self, key: u32) {
        let Some(at) = self.requests.iter().position(|request| request.key == key) else { return };
        let request = self.requests.remove(at);
        if request.is_open() && self.dead.is_none() {
            put_number(&mut self.out, RST_STREAM, request.stream, CANCEL);
        }
        self.read += request.pieces.iter().map(|piece| piece.len() as u32).sum::<u32>();
        self.tell_room();
        // Another may have waited for its place, and the last one lets the connection end.
        self.pump();
        if let Some(waker) = &self.waker {
            waker.wake_by_ref();
        }
    }
}

/// Writes a header block, in as many frames as it takes.
fn put_block(out: &mut Vec<u8>, stream: u32, block: &[u8], last: bool) {
    let (mut kind, mut flags, mut rest) = (HEADERS, if last { END_STREAM } else { 0 }, block);
    loop {
        let (now, more) = rest.split_at(rest.len().min(PAYLOAD));
        if more.is_empty() {
            flags |= END_HEADERS;
        }
        put_head(out, now.len(), kind, flags, stream);
        out.extend_from_slice(now);
        if more.is_empty() {
            return;
        }
        (kind, flags, rest) = (CONTINUATION, 0, more);
    }
}
