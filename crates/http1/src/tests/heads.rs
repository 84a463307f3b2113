//! Heads of requests: cut anywhere, too long, wrong.

use super::requests;
use crate::{Error, Method};
use proptest::prelude::*;

#[test]
fn cut_at_every_byte() {
    let two = b"\r\nPOST /a/b?c=d HTTP/1.1\r\nHost:  h \r\nX-Empty:\r\ncontent-length: 3\r\n\r\nxyzGET / HTTP/1.0\r\n\r\n";
    for step in 1..two.len() {
        let (all, error) = requests(two, step);
        assert!(error.is_none() && all.len() == 2, "{step}: {error:?}");
        let first = &all[0];
        assert_eq!((first.method, first.path(), first.query()), (Method::POST, "/a/b", "c=d"));
        assert_eq!(
            (first.headers.get("host"), first.headers.get("x-empty")),
            (Some(&b"h"[..]), Some(&b""[..]))
        );
        assert_eq!((&first.body[..], first.old), (&b"xyz"[..], false));
        assert_eq!((all[1].path(), all[1].old, all[1].headers.iter().count()), ("/", true, 0));
    }
    let second = two.len() - b"GET / HTTP/1.0\r\n\r\n".len();
    for end in 0..two.len() {
        let (all, error) = requests(&two[..end], 7);
        assert_eq!(all.len(), usize::from(end >= second), "{end}");
        let whole = end <= 2 || end == second;
        assert_eq!(matches!(error, Some(Error::Cut)), !whole, "{end}: {error:?}");
    }
}

#[test]
fn targets() {
    let one = |target: &str| requests(format!("GET {target} HTTP/1.1\r\n\r\n").as_bytes(), 64).0.pop();
    let request = one("http://h:1/a?b://c").expect("absolute");
    assert_eq!((request.authority(), request.path(), request.query()), (Some("h:1"), "/a", "b://c"));
    let request = one("http://h?x").expect("absolute");
    assert_eq!((request.authority(), request.path()), (Some("h"), "/"));
    let request = one("/a://b/c").expect("path");
    assert_eq!((request.authority(), request.path()), (None, "/a://b/c"));
    assert!(one("h:80").is_none() && one("a b").is_none());
    assert_eq!(one("*").expect("star").path(), "*");
}

#[test]
fn heads_have_limits() {
    let long = |fill: usize| format!("GET / HTTP/1.1\r\nX: {}\r\n\r\n", "x".repeat(fill));
    let frame = long(0).len();
    assert_eq!(requests(long(1024 - frame).as_bytes(), 100).0.len(), 1);
    for fill in [1025 - frame, 1 << 20] {
        let (all, error) = requests(long(fill).as_bytes(), 100);
        assert!(all.is_empty() && matches!(error, Some(Error::HeadTooLong(1024))), "{error:?}");
    }
    let lines = |count: usize| format!("GET / HTTP/1.1\r\n{}\r\n", "a:b\r\n".repeat(count));
    assert_eq!(requests(lines(64).as_bytes(), 100).0.len(), 1);
    assert!(matches!(requests(lines(65).as_bytes(), 100).1, Some(Error::HeadTooLong(_))));
}

#[test]
fn what_can_be_read_in_two_ways_is_refused() {
    for lines in [
        "Content-Length: 3\r\nContent-Length: 3",
        "Content-Length: 3\r\nContent-Length: 4",
        "Content-Length: 3, 3",
        "Content-Length: +3",
        "Content-Length: 0x3",
        "Content-Length: ",
        "Content-Length: 18446744073709551616",
        "Content-Length: 3\r\nTransfer-Encoding: chunked",
        "Transfer-Encoding: chunked\r\nContent-Length: 3",
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked",
        "Transfer-Encoding: gzip, chunked",
        "Transfer-Encoding: chunked, chunked",
        "Transfer-Encoding: identity",
        "Transfer-Encoding: xchunked",
        "Host: h\r\n folded: x",
        "Content-Length : 3",
        " Content-Length: 3",
        "Host: a\0b",
        "no colon",
    ] {
        let (all, error) = requests(format!("POST / HTTP/1.1\r\n{lines}\r\n\r\nxyz").as_bytes(), 64);
        assert!(all.is_empty() && matches!(error, Some(Error::Malformed(_))), "{lines:?}: {error:?}");
    }
    let old = "POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n";
    assert!(matches!(requests(old.as_bytes(), 64).1, Some(Error::Malformed(_))));
}

#[test]
fn other_protocols_are_not_waited_for() {
    for start in
        [&b"\x16\x03\x01"[..], b"\0", b"\xff\xff", b"{\"a\"", b"GET / HTTP/2.0\r\n\r\n", b"GET /\r\n\r\n"]
    {
        let (all, error) = requests(start, 64);
        assert!(all.is_empty() && matches!(error, Some(Error::Malformed(_))), "{start:?}: {error:?}");
    }
}

#[test]
fn methods() {
    for text in ["GET", "VERSION-CONTROL", "M-SEARCH", "a", "UPDATEREDIRECTREF"] {
        assert_eq!(Method::from_bytes(text.as_bytes()).expect(text).as_str(), text);
    }
    for bad in ["", "G T", "G\r\n", "GET:", "\u{e4}", "AVERYLONGMETHODTHATNOBODYUSES"] {
        assert!(Method::from_bytes(bad.as_bytes()).is_err(), "{bad}");
    }
    assert_eq!(Method::from_bytes(b"PATCH"), Ok(Method::PATCH));
}

proptest! {
    #[test]
    fn any_bytes(bytes: Vec<u8>, step in 1usize..100) {
        let _ = requests(&bytes, step);
    }

    #[test]
    fn nearly_requests(
        text in "(GET|POST|get|\r\n| ){0,3}(/[a-z?:]{0,4}){0,2} ?HTTP/1\\.[0-9](\r\n|\n)(([A-Za-z-]{0,3}|Content-Length|Transfer-Encoding): ?([0-9]{1,3}|chunked|,| )(\r\n|\n|\r)){0,4}(\r\n|\n)?[0-9a-f;\r\n]{0,30}",
        step in 1usize..40,
    ) {
        // However the bytes are cut, they mean the same.
        let (whole, error) = requests(text.as_bytes(), 4096);
        let (pieces, again) = requests(text.as_bytes(), step);
        prop_assert_eq!(whole, pieces);
        prop_assert_eq!(error.map(|error| error.to_string()), again.map(|error| error.to_string()));
    }
}
