//! One HTTP/2 connection as a client sees it (RFC 9113): bytes in, bytes out, and what became of each request. Pure.
//!
//! Here: what the server says about the connection. `answers` has what it answers, `requests` the other direction, and
//! `driver` moves the bytes.
//!
//! Bounds for what a server may make us hold: a frame's payload, a header block ([`BLOCK`]), HPACK's table, the
//! windows of what is not read yet, and [`OUT`] bytes of replies that it does not take. What it gets wrong about one
//! stream mostly ends the connection: there is no second user of it to protect.

use super::answers::{BLOCK, Block};
use super::frame::*;
use super::hpack::Decoder;
use super::requests::{End, Request};
use std::task::Waker;

/// Receive windows: what a map message may run ahead of its decoder.
pub(super) const STREAM_WINDOW: u32 = 256 << 10;
pub(super) const CONNECTION_WINDOW: u32 = 512 << 10;
/// Replies (to SETTINGS and PING) that wait for the server to read them, in bytes.
const OUT: usize = 256 << 10;
/// Settings: names by number.
const ENABLE_PUSH: u16 = 2;
const MAX_CONCURRENT_STREAMS: u16 = 3;
const INITIAL_WINDOW_SIZE: u16 = 4;
const MAX_HEADER_LIST_SIZE: u16 = 6;
/// What a window begins with when nobody says anything.
const FIRST_WINDOW: u32 = 65_535;
/// Requests at once until the server has said how many it takes.
const FIRST_REQUESTS: usize = 100;

/// What the server got wrong: the code that it is told, and words for people.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Broken(pub(super) u32, pub(super) &'static str);

pub(super) const fn wrong<T>(why: &'static str) -> Result<T, Broken> {
    Err(Broken(PROTOCOL_ERROR, why))
}

/// A connection. A stream's number is 0 until the request has been sent.
pub(super) struct Session {
    frames: Frames,
    pub(super) decoder: Decoder,
    /// The server's first SETTINGS have come.
    settled: bool,
    pub(super) block: Option<Block>,
    /// Of the DATA frame that is being read: bytes before its padding, once that is known.
    pub(super) data_left: Option<usize>,
    /// What the server may send yet, and what of that has been read since it was last told.
    pub(super) room: u32,
    pub(super) read: u32,
    /// What we may send yet, and what each stream may at first.
    pub(super) window: i32,
    pub(super) first_window: i32,
    pub(super) at_once: usize,
    pub(super) requests: Vec<Request>,
    pub(super) next_key: u32,
    pub(super) next_stream: u32,
    /// The server takes no further requests.
    pub(super) going: bool,
    /// Why the connection is at its end.
    pub(super) dead: Option<String>,
    /// What is to be written.
    pub(super) out: Vec<u8>,
    /// The driver.
    pub(super) waker: Option<Waker>,
}

impl Session {
    pub(super) fn new() -> Self {
        let mut out = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
        let settings =
            [(ENABLE_PUSH, 0), (INITIAL_WINDOW_SIZE, STREAM_WINDOW), (MAX_HEADER_LIST_SIZE, BLOCK as u32)];
        put_head(&mut out, 6 * settings.len(), SETTINGS, 0, 0);
        for (name, value) in settings {
            out.extend_from_slice(&name.to_be_bytes());
            out.extend_from_slice(&value.to_be_bytes());
        }
        put_number(&mut out, WINDOW_UPDATE, 0, CONNECTION_WINDOW - FIRST_WINDOW);
        Self {
            frames: Frames::default(),
            decoder: Decoder::default(),
            settled: false,
            block: None,
            data_left: None,
            room: CONNECTION_WINDOW,
            read: 0,
            window: FIRST_WINDOW as i32,
            first_window: FIRST_WINDOW as i32,
            at_once: FIRST_REQUESTS,
            requests: Vec::new(),
            next_key: 0,
            next_stream: 1,
            going: false,
            dead: None,
            out,
            waker: None,
        }
    }

    /// Takes what the server has sent. An error ends the connection, and the server is told why.
    pub(super) fn take(&mut self, input: &[u8]) {
        if let Err(Broken(code, why)) = self.try_take(input) {
            put_head(&mut self.out, 8, GOAWAY, 0, 0);
            self.out.extend_from_slice(&[0; 4]);
            self.out.extend_from_slice(&code.to_be_bytes());
            self.die(format!("control breaks HTTP/2: {why}"));
        }
    }

    fn try_take(&mut self, mut input: &[u8]) -> Result<(), Broken> {
        while self.dead.is_none() {
            let Some(piece) = self.frames.next(&mut input)? else { break };
            match piece {
                Piece::Begin(head) => self.begin(head)?,
                Piece::Data(head, n) => {
                    let (now, rest) = input.split_at_checked(n).unwrap_or_default();
                    input = rest;
                    self.data(head, now)?;
                }
                Piece::End(head) => self.end(head)?,
            }
            if self.out.len() > OUT {
                return Err(Broken(ENHANCE_YOUR_CALM, "it does not read what it asks for"));
            }
        }
        Ok(())
    }

    /// Whether such a frame may come now, and be so long.
    fn begin(&mut self, head: Head) -> Result<(), Broken> {
        if !self.settled && (head.kind != SETTINGS || head.has(ACK)) {
            return wrong("no SETTINGS at the beginning");
        }
        let continued = self.block.as_ref().map(|block| block.stream);
        if continued.is_some() != (head.kind == CONTINUATION) || continued.is_some_and(|id| id != head.stream)
        {
            return wrong("a header block and its continuation do not follow each other");
        }
        let idle = head.stream != 0 && (head.stream.is_multiple_of(2) || head.stream >= self.next_stream);
        let fits = match head.kind {
            PRIORITY => head.length == 5,
            RST_STREAM | WINDOW_UPDATE => head.length == 4,
            PING => head.length == 8,
            GOAWAY => head.length >= 8,
            SETTINGS if head.has(ACK) => head.length == 0,
            SETTINGS => head.length.is_multiple_of(6),
            _ => true,
        };
        if !fits {
            return Err(Broken(FRAME_SIZE_ERROR, "a frame has not the length that its kind has"));
        }
        match head.kind {
            DATA | HEADERS | RST_STREAM if head.stream == 0 || idle => wrong("an answer without a request"),
            WINDOW_UPDATE if idle => wrong("a window without a request"),
            SETTINGS | PING | GOAWAY if head.stream != 0 => wrong("a stream where none belongs"),
            PRIORITY if head.stream == 0 => wrong("no stream where one belongs"),
            PUSH_PROMISE => wrong("an answer that nobody has asked for"),
            DATA => self.begin_data(head),
            _ => Ok(()),
        }
    }

    fn end(&mut self, head: Head) -> Result<(), Broken> {
        let payload = std::mem::take(&mut self.frames.payload);
        let result = self.act(head, &payload);
        // The room is used again, unless it is large.
        if payload.capacity() <= 256 {
            self.frames.payload = payload;
        }
        result
    }

    fn act(&mut self, head: Head, payload: &[u8]) -> Result<(), Broken> {
        match head.kind {
            DATA if head.has(END_STREAM) => {
                if let Some(request) = self.stream(head.stream) {
                    request.finish(End::Whole);
                }
            }
            HEADERS => return self.headers(head, payload),
            CONTINUATION => return self.more_headers(head, payload),
            RST_STREAM => {
                let code = number(payload).unwrap_or_default();
                if let Some(request) = self.stream(head.stream) {
                    request.finish(End::Reset(code));
                }
            }
            SETTINGS if !head.has(ACK) => return self.settings(payload),
            PING if !head.has(ACK) => {
                put_head(&mut self.out, payload.len(), PING, ACK, 0);
                self.out.extend_from_slice(payload);
            }
            GOAWAY => {
                let last = number(payload).unwrap_or_default() & 0x7fff_ffff;
                let code = payload.get(4..).and_then(number).unwrap_or_default();
                log::debug!("control: it closes HTTP/2 behind request {last}, error {code}");
                self.going = true;
                for request in &mut self.requests {
                    if request.stream == 0 || request.stream > last {
                        request.finish(End::Broken(
                            "control closes the connection, and did not take the request",
                        ));
                    }
                }
            }
            WINDOW_UPDATE => return self.window_update(head.stream, number(payload).unwrap_or_default()),
            _ => {}
        }
        Ok(())
    }

    fn settings(&mut self, payload: &[u8]) -> Result<(), Broken> {
        for setting in payload.chunks_exact(6) {
            let name = setting.first_chunk().copied().map(u16::from_be_bytes).unwrap_or_default();
            let value = setting.get(2..).and_then(number).unwrap_or_default();
            match name {
                ENABLE_PUSH if value != 0 => return wrong("a server that wants to be pushed to"),
                MAX_CONCURRENT_STREAMS => self.at_once = value as usize,
                INITIAL_WINDOW_SIZE => {
                    let first = i32::try_from(value).ok();
                    let more = first.and_then(|first| first.checked_sub(self.first_window));
                    let fits =
                        more.is_some_and(|more| self.requests.iter_mut().all(|request| request.widen(more)));
                    let Some(first) = first.filter(|_| fits) else { return too_wide() };
                    self.first_window = first;
                }
                _ => {}
            }
        }
        self.settled = true;
        put_head(&mut self.out, 0, SETTINGS, ACK, 0);
        Ok(())
    }

    fn window_update(&mut self, stream: u32, more: u32) -> Result<(), Broken> {
        let more = more as i32 & i32::MAX;
        if more == 0 {
            return wrong("a window that grows by nothing");
        }
        let fits = match stream {
            0 => {
                let window = self.window.checked_add(more);
                self.window = window.unwrap_or(self.window);
                window.is_some()
            }
            _ => self.stream(stream).is_none_or(|request| request.widen(more)),
        };
        if fits { Ok(()) } else { too_wide() }
    }

    /// Tells the server of room that has become free, when it is worth a frame.
    pub(super) fn tell_room(&mut self) {
        if self.read >= CONNECTION_WINDOW / 2 {
            put_number(&mut self.out, WINDOW_UPDATE, 0, self.read);
            self.room += self.read;
            self.read = 0;
        }
        for request in &mut self.requests {
            if request.read >= STREAM_WINDOW / 2 && request.end.is_none() {
                put_number(&mut self.out, WINDOW_UPDATE, request.stream, request.read);
                request.room += request.read;
                request.read = 0;
            }
        }
        self.stir();
    }

    /// The request that is on this stream.
    pub(super) fn stream(&mut self, id: u32) -> Option<&mut Request> {
        self.requests.iter_mut().find(|request| request.stream == id)
    }

    /// Ends everything, for this reason.
    pub(super) fn die(&mut self, why: String) {
        if self.dead.is_none() {
            self.dead = Some(why);
            for request in &mut self.requests {
                request.finish(End::Dead);
            }
        }
    }

    /// Has the driver look.
    pub(super) fn stir(&mut self) {
        if !self.out.is_empty()
            && let Some(waker) = &self.waker
        {
            waker.wake_by_ref();
        }
    }
}

fn too_wide<T>() -> Result<T, Broken> {
    Err(Broken(FLOW_CONTROL_ERROR, "a window wider than windows are"))
}
