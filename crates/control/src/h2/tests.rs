//! The protocol by hand-made frames, as a server may send them and as none should.

use super::frame::*;
use super::session::{CONNECTION_WINDOW, STREAM_WINDOW, Session};
use proptest::prelude::*;
use std::task::{Context, Poll, Waker};

/// A frame as it is on the wire.
type Sent = (u8, u8, u32, Vec<u8>);
const OK: &[u8] = &[0x88];

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    put_head(&mut out, payload.len(), kind, flags, stream);
    out.extend_from_slice(payload);
    out
}

fn setting(name: u16, value: u32) -> Vec<u8> {
    frame(SETTINGS, 0, 0, &[&name.to_be_bytes()[..], &value.to_be_bytes()].concat())
}

/// What the session has written since it was last asked.
fn sent(session: &mut Session) -> Vec<Sent> {
    session.pump();
    let out = std::mem::take(&mut session.out);
    let mut rest = &out[..];
    let mut frames = Vec::new();
    while let Some((head, more)) = rest.split_first_chunk::<9>() {
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize;
        let stream = u32::from_be_bytes([head[5], head[6], head[7], head[8]]);
        frames.push((head[3], head[4], stream, more[..length].to_vec()));
        rest = &more[length..];
    }
    frames
}

/// A connection on which both sides have sent their settings.
fn settled() -> Session {
    let mut session = Session::new();
    session.out.clear();
    session.take(&frame(SETTINGS, 0, 0, &[]));
    assert_eq!(sent(&mut session), [(SETTINGS, ACK, 0, vec![])]);
    session
}

fn head(session: &mut Session, key: u32) -> Poll<Result<u16, String>> {
    let head = session.poll_head(key, &mut Context::from_waker(Waker::noop()));
    head.map_ok(|head| head.status)
}

fn body(session: &mut Session, key: u32) -> Poll<Result<Vec<u8>, String>> {
    session.poll_body(key, &mut Context::from_waker(Waker::noop()))
}

/// The session has sent GOAWAY with this code, and is at its end.
fn broken(session: &mut Session) -> u32 {
    let goaway = sent(session).pop().expect("a frame");
    assert_eq!(goaway.0, GOAWAY);
    assert!(session.dead.is_some() && session.is_over() && !session.is_open());
    number(&goaway.3[4..]).expect("a code")
}

#[test]
fn what_it_begins_with() {
    let mut session = Session::new();
    assert!(session.out.starts_with(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"));
    session.out.drain(..24);
    let frames = sent(&mut session);
    let window = CONNECTION_WINDOW - 65_535;
    assert_eq!(frames[0].3, [0, 2, 0, 0, 0, 0, 0, 4, 0, 4, 0, 0, 0, 6, 0, 0, 0x40, 0]);
    assert_eq!(frames[1..], [(WINDOW_UPDATE, 0, 0, window.to_be_bytes().to_vec())]);
}

#[test]
fn an_answer_byte_by_byte() {
    let mut session = settled();
    let key = session.ask(vec![0x83], b"question".to_vec());
    let question = b"question".to_vec();
    assert_eq!(sent(&mut session), [(HEADERS, END_HEADERS, 1, vec![0x83]), (DATA, END_STREAM, 1, question)]);
    let answer = [
        frame(HEADERS, END_HEADERS, 1, &[0x08, 3, b'1', b'0', b'3']),
        frame(200, 0xff, 77, b"a kind of frame that nobody knows"),
        frame(HEADERS, PADDED | WITH_PRIORITY, 1, &[2, 0, 0, 0, 0, 9, 0x88, 0, 0]),
        frame(CONTINUATION, 0, 1, &[]),
        frame(CONTINUATION, END_HEADERS, 1, &[0x0f, 38, 1, b'7']),
        frame(DATA, 0, 1, b"one "),
        frame(PING, 0, 0, b"12345678"),
        frame(DATA, PADDED, 1, b"\x03two   "),
        frame(DATA, PADDED, 1, b"\x00"),
        frame(PRIORITY, 0, 1, &[0; 5]),
        frame(HEADERS, END_HEADERS | END_STREAM, 1, &[0x00, 1, b'a', 1, b'b']),
    ];
    for byte in answer.concat() {
        assert!(session.dead.is_none());
        session.take(&[byte]);
    }
    assert_eq!(head(&mut session, key), Poll::Ready(Ok(200)));
    assert_eq!(session.requests[0].head.as_ref().expect("head").retry_after, "7");
    assert_eq!(body(&mut session, key), Poll::Ready(Ok(b"one two".to_vec())));
    assert_eq!(body(&mut session, key), Poll::Ready(Ok(vec![])));
    assert_eq!(sent(&mut session), [(PING, ACK, 0, b"12345678".to_vec())]);
    session.forget(key);
    assert_eq!(sent(&mut session), []);
    assert!(session.requests.is_empty() && session.is_open());
}

#[test]
fn bodies_wait_for_windows() {
    let mut session = settled();
    session.ask(vec![0x83], vec![7; 200_000]);
    let count = |session: &mut Session| {
        let mut total = 0;
        loop {
            let frames = sent(session);
            if frames.is_empty() {
                return total;
            }
            assert!(frames.iter().all(|frame| frame.3.len() <= PAYLOAD));
            let data = frames.iter().filter(|frame| frame.0 == DATA);
            total += data.map(|frame| frame.3.len()).sum::<usize>();
        }
    };
    assert_eq!(count(&mut session), 65_535);
    let more = |stream, more: u32| frame(WINDOW_UPDATE, 0, stream, &more.to_be_bytes());
    session.take(&more(0, 100_000));
    assert_eq!(count(&mut session), 0, "the stream's window");
    session.take(&more(1, 10));
    assert_eq!(count(&mut session), 10);
    session.take(&setting(4, 65_535 + 20));
    assert_eq!(count(&mut session), 20);
    session.take(&setting(4, 0));
    session.take(&more(1, 65_555));
    assert_eq!(count(&mut session), 0, "a window below zero");
    session.take(&more(1, 1 << 20));
    assert_eq!(count(&mut session), 100_000 - 30, "the connection's window");
    session.take(&more(0, 1 << 20));
    assert_eq!(count(&mut session), 200_000 - 165_535);
    assert_eq!(session.window, 165_535 + (1 << 20) - 200_000);
}

#[test]
fn the_server_is_told_of_room_when_data_is_read() {
    let mut session = settled();
    let key = session.ask(vec![0x83], vec![]);
    session.take(&frame(HEADERS, END_HEADERS, 1, OK));
    sent(&mut session);
    let piece = frame(DATA, 0, 1, &[1; PAYLOAD]);
    for _ in 0..STREAM_WINDOW as usize / PAYLOAD {
        session.take(&piece);
    }
    assert_eq!(sent(&mut session), []);
    let mut told = Vec::new();
    while let Poll::Ready(Ok(piece)) = body(&mut session, key) {
        assert!(piece.len() <= PAYLOAD);
        told.extend(sent(&mut session));
    }
    let half = |stream, n: u32| (WINDOW_UPDATE, 0, stream, n.to_be_bytes().to_vec());
    assert_eq!(
        told,
        [half(1, STREAM_WINDOW / 2), half(0, CONNECTION_WINDOW / 2), half(1, STREAM_WINDOW / 2)]
    );
    // And what nobody reads any more counts as read.
    for _ in 0..STREAM_WINDOW as usize / PAYLOAD {
        session.take(&piece);
    }
    session.forget(key);
    assert_eq!(sent(&mut session), [(RST_STREAM, 0, 1, vec![0, 0, 0, 8]), half(0, CONNECTION_WINDOW / 2)]);
    for _ in 0..2 * STREAM_WINDOW as usize / PAYLOAD {
        session.take(&piece);
    }
    assert_eq!(sent(&mut session), [half(0, CONNECTION_WINDOW / 2), half(0, CONNECTION_WINDOW / 2)]);
}

#[test]
fn no_more_at_once_than_the_server_takes() {
    let mut session = settled();
    session.take(&setting(3, 1));
    sent(&mut session);
    let keys = [(); 3].map(|()| session.ask(vec![0x83], vec![]));
    let streams = |session: &mut Session| -> Vec<u32> { sent(session).iter().map(|frame| frame.2).collect() };
    assert_eq!(streams(&mut session), [1]);
    session.forget(keys[1]);
    assert!(streams(&mut session).is_empty());
    session.take(&frame(HEADERS, END_HEADERS | END_STREAM, 1, OK));
    assert_eq!(streams(&mut session), [3]);
    assert_eq!(head(&mut session, keys[0]), Poll::Ready(Ok(200)));
    assert_eq!(head(&mut session, keys[2]), Poll::Pending);
}

#[test]
fn a_long_header_block_goes_in_several_frames() {
    let mut session = settled();
    session.ask(vec![9; PAYLOAD + 1], vec![]);
    let frames = sent(&mut session);
    assert_eq!((frames[0].0, frames[0].1, frames[0].3.len()), (HEADERS, END_STREAM, PAYLOAD));
    assert_eq!(frames[1..], [(CONTINUATION, END_HEADERS, 1, vec![9])]);
}

#[test]
fn going_away() {
    let mut session = settled();
    let keys = [(); 2].map(|()| session.ask(vec![0x83], vec![]));
    session.take(&frame(GOAWAY, 0, 0, &[0, 0, 0, 1, 0, 0, 0, 0]));
    assert!(!session.is_open() && !session.is_over());
    assert!(matches!(head(&mut session, keys[1]), Poll::Ready(Err(_))));
    session.take(&frame(HEADERS, END_HEADERS | END_STREAM, 1, OK));
    assert_eq!(head(&mut session, keys[0]), Poll::Ready(Ok(200)));
    let late = session.ask(vec![0x83], vec![]);
    assert!(matches!(head(&mut session, late), Poll::Ready(Err(_))));
    for key in [keys[0], keys[1], late] {
        session.forget(key);
    }
    assert!(session.is_over());
}

#[test]
fn resets() {
    for (code, complete) in [(NO_ERROR, true), (CANCEL, true), (7, false)] {
        let mut session = settled();
        let keys = [(); 2].map(|()| session.ask(vec![0x83], vec![1; 100_000]));
        session.take(&frame(HEADERS, END_HEADERS, 1, OK));
        session.take(&frame(DATA, 0, 1, b"x"));
        for stream in [1, 3] {
            session.take(&frame(RST_STREAM, 0, stream, &[0, 0, 0, code as u8]));
        }
        assert_eq!(body(&mut session, keys[0]), Poll::Ready(Ok(b"x".to_vec())));
        assert_eq!(matches!(body(&mut session, keys[0]), Poll::Ready(Ok(_))), complete, "{code}");
        let Poll::Ready(Err(why)) = head(&mut session, keys[1]) else { panic!("an answer") };
        assert!(why.contains(&code.to_string()), "{why}");
        sent(&mut session);
        session.forget(keys[0]);
        session.forget(keys[1]);
        assert_eq!(sent(&mut session), [], "nothing is said about what the server has ended");
    }
}

#[test]
fn what_ends_the_connection() {
    let cases: &[(u32, &str, Vec<u8>)] = &[
        (FRAME_SIZE_ERROR, "too long", vec![0, 0x40, 1, DATA, 0, 0, 0, 0, 1]),
        (FRAME_SIZE_ERROR, "odd settings", frame(SETTINGS, 0, 0, &[0; 5])),
        (FRAME_SIZE_ERROR, "an ack that says something", frame(SETTINGS, ACK, 0, &[0; 6])),
        (FRAME_SIZE_ERROR, "a short ping", frame(PING, 0, 0, &[0; 7])),
        (FRAME_SIZE_ERROR, "a short reset", frame(RST_STREAM, 0, 1, &[0; 3])),
        (FRAME_SIZE_ERROR, "padding of nothing", {
            [frame(HEADERS, END_HEADERS, 1, OK), frame(DATA, PADDED, 1, &[])].concat()
        }),
        (PROTOCOL_ERROR, "a ping on a stream", frame(PING, 0, 1, &[0; 8])),
        (PROTOCOL_ERROR, "data on no stream", frame(DATA, 0, 0, &[])),
        (PROTOCOL_ERROR, "data on a stream to come", frame(DATA, 0, 5, &[])),
        (PROTOCOL_ERROR, "data on a stream of the server's", frame(DATA, 0, 2, &[])),
        (PROTOCOL_ERROR, "data before the head", frame(DATA, 0, 1, b"x")),
        (PROTOCOL_ERROR, "data behind the end", frame(DATA, 0, 3, b"x")),
        (PROTOCOL_ERROR, "too much padding", frame(HEADERS, END_HEADERS | PADDED, 1, &[2, 0x88])),
        (PROTOCOL_ERROR, "too little priority", frame(HEADERS, END_HEADERS | WITH_PRIORITY, 1, &[0; 4])),
        (PROTOCOL_ERROR, "a push", frame(PUSH_PROMISE, END_HEADERS, 1, &[0, 0, 0, 2, 0x88])),
        (PROTOCOL_ERROR, "continuing nothing", frame(CONTINUATION, END_HEADERS, 1, OK)),
        (PROTOCOL_ERROR, "no status", frame(HEADERS, END_HEADERS, 1, &[])),
        (PROTOCOL_ERROR, "no number", frame(HEADERS, END_HEADERS, 1, &[0x08, 3, b'2', b'x', b'0'])),
        (
            PROTOCOL_ERROR,
            "interrupted headers",
            [frame(HEADERS, 0, 1, OK), frame(PING, 0, 0, &[0; 8])].concat(),
        ),
        (PROTOCOL_ERROR, "a window grown by 0", frame(WINDOW_UPDATE, 0, 0, &[0; 4])),
        (PROTOCOL_ERROR, "pushing to a server", setting(2, 1)),
        (COMPRESSION_ERROR, "not HPACK", frame(HEADERS, END_HEADERS, 1, &[0x80])),
        (FLOW_CONTROL_ERROR, "a window too wide", frame(WINDOW_UPDATE, 0, 0, &[0x7f, 0xff, 0xff, 0xff])),
        (FLOW_CONTROL_ERROR, "a stream's", frame(WINDOW_UPDATE, 0, 1, &[0x7f, 0xff, 0xff, 0xff])),
        (FLOW_CONTROL_ERROR, "every stream's", setting(4, 1 << 31)),
        (ENHANCE_YOUR_CALM, "pings that are never read", frame(PING, 0, 0, &[0; 8]).repeat(20_000)),
        (ENHANCE_YOUR_CALM, "endless headers", {
            [frame(HEADERS, 0, 1, &[]), frame(CONTINUATION, 0, 1, &[]).repeat(100)].concat()
        }),
        (ENHANCE_YOUR_CALM, "long headers", {
            [frame(HEADERS, 0, 1, &[1; 9000]), frame(CONTINUATION, 0, 1, &[1; 9000])].concat()
        }),
        (FLOW_CONTROL_ERROR, "more than there is room for", {
            [frame(HEADERS, END_HEADERS, 1, OK), frame(DATA, 0, 1, &[1; PAYLOAD]).repeat(17)].concat()
        }),
    ];
    for (code, what, bytes) in cases {
        let mut session = settled();
        let keys = [(); 2].map(|()| session.ask(vec![0x83], vec![]));
        session.take(&frame(HEADERS, END_HEADERS | END_STREAM, 3, OK));
        assert_eq!(head(&mut session, keys[1]), Poll::Ready(Ok(200)));
        session.take(bytes);
        assert_eq!(broken(&mut session), *code, "{what}");
        let answer = head(&mut session, keys[0]).map(|answer| answer.err().unwrap_or_default());
        assert!(
            matches!(&answer, Poll::Ready(why) if why.is_empty() || why.contains("HTTP/2")),
            "{what}: {answer:?}"
        );
    }
    let mut session = Session::new();
    session.out.clear();
    session.take(&frame(PING, 0, 0, &[0; 8]));
    assert_eq!(broken(&mut session), PROTOCOL_ERROR, "no settings at the beginning");
}

proptest! {
    /// Whatever comes, nothing panics and nothing grows without bound.
    #[test]
    fn any_frames(
        frames in prop::collection::vec((0u8..11, any::<u8>(), 0u32..6, prop::collection::vec(any::<u8>(), 0..40)), 0..60),
        cut in 1usize..50,
    ) {
        let mut session = settled();
        let mut keys: Vec<u32> = (0..3).map(|_| session.ask(vec![0x83], vec![1; 30_000])).collect();
        let bytes: Vec<u8> =
            frames.iter().flat_map(|(kind, flags, stream, payload)| frame(*kind, *flags, *stream, payload)).collect();
        for (at, bytes) in bytes.chunks(cut).enumerate() {
            session.take(bytes);
            let _ = head(&mut session, keys[at % keys.len()]);
            let _ = body(&mut session, keys[at % keys.len()]);
            if at % 7 == 6 {
                session.forget(keys.remove(0));
                keys.push(session.ask(vec![0x83], vec![]));
            }
            session.pump();
        }
        if session.dead.is_some() {
            for key in keys {
                prop_assert!(head(&mut session, key).is_ready());
            }
        }
    }
}
