//! The client against servers that say what servers may say.

use super::run;
use crate::{Error, Head, Method, Response, ask};
use proptest::prelude::*;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

/// The answer to a `method` request when the server says `text` and hangs up; its body, and what was asked.
async fn exchange(
    method: Method,
    body: &[u8],
    text: &[u8],
) -> (Result<(Response, Result<Vec<u8>, Error>), Error>, String) {
    let (mut ours, mut theirs) = tokio::io::duplex(1 << 16);
    let server = async move {
        let mut asked = vec![0; 4096];
        let len = theirs.read(&mut asked).await.expect("read");
        let _ = theirs.write_all(text).await;
        String::from_utf8_lossy(&asked[..len]).into_owned()
    };
    let client = async {
        let mut response = ask(&mut ours, Head::request(method, "/x?y", "h").field("A", "b"), body).await?;
        let body = response.whole(&mut ours, 1 << 10).await.map(|body| body.to_vec());
        Ok((response, body))
    };
    tokio::join!(client, server)
}

fn body_of(method: Method, text: &str) -> Result<Vec<u8>, Error> {
    run(exchange(method, b"", text.as_bytes())).0?.1
}

#[test]
fn requests() {
    let ok = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n";
    let asked = |method, body: &[u8]| run(exchange(method, body, ok)).1;
    assert_eq!(asked(Method::GET, b""), "GET /x?y HTTP/1.1\r\nHost: h\r\nA: b\r\n\r\n");
    assert_eq!(
        asked(Method::POST, b""),
        "POST /x?y HTTP/1.1\r\nHost: h\r\nA: b\r\nContent-Length: 0\r\n\r\n"
    );
    assert!(asked(Method::DELETE, b"{}").ends_with("Content-Length: 2\r\n\r\n{}"));
    for (target, value) in [("/a b", "x"), ("", "x"), ("/\r\n", "x"), ("/", "x\r\nY: z"), ("/", "\u{e4}")] {
        let mut nobody = tokio::io::empty();
        let mut io = tokio::io::join(&mut nobody, tokio::io::sink());
        let head = Head::request(Method::GET, target, "h").field("V", value);
        assert!(matches!(run(ask(&mut io, head, b"")), Err(Error::Unsendable)), "{target:?} {value:?}");
    }
}

#[test]
fn how_answers_end() {
    let get = |text| body_of(Method::GET, text).expect(text);
    assert_eq!(get("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nabc"), b"ab");
    assert_eq!(get("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n1\r\na\r\n0\r\n\r\nHTTP"), b"a");
    assert_eq!(get("HTTP/1.0 200 OK\r\n\r\nabc"), b"abc");
    assert_eq!(get("HTTP/1.1 200\nA: b\n\nabc"), b"abc");
    assert_eq!(get("HTTP/1.1 204 No Content\r\n\r\nabc"), b"");
    assert_eq!(get("HTTP/1.1 304 x\r\nContent-Length: 9\r\n\r\n"), b"");
    assert_eq!(
        get("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 x\r\nA: b\r\n\r\nHTTP/1.1 200 OK\r\n\r\nx"),
        b"x"
    );
    let head = "HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n";
    assert_eq!(body_of(Method::HEAD, head).expect("HEAD"), b"");
    assert!(matches!(body_of(Method::GET, head), Err(Error::Cut)));
    assert!(matches!(
        body_of(Method::GET, "HTTP/1.1 200 OK\r\nContent-Length: 1025\r\n\r\n"),
        Err(Error::BodyTooLong(1024))
    ));
    let endless = format!("HTTP/1.1 200 OK\r\n\r\n{}", "x".repeat(1025));
    assert!(matches!(body_of(Method::GET, &endless), Err(Error::BodyTooLong(1024))));
}

#[test]
fn no_answers() {
    let error = |text: &str| body_of(Method::GET, text).expect_err(text);
    assert!(matches!(error(""), Error::Unanswered));
    assert!(matches!(error("HTTP/1.1 200 OK\r\n"), Error::Cut));
    assert!(matches!(error(&format!("HTTP/1.1 200 OK\r\nA: {}", "x".repeat(20_000))), Error::HeadTooLong(_)));
    assert!(matches!(error(&"HTTP/1.1 100 x\r\n\r\n".repeat(20)), Error::Malformed(_)));
    for text in [
        "\x15\x03\x01\x00\x02\x02\x46",
        "SSH-2.0-x\r\n",
        "HTTP/2.0 200 OK\r\n\r\n",
        "HTTP/1.1 OK\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab",
        "HTTP/1.1 200 OK\r\nA: b\r\n c\r\n\r\n",
    ] {
        assert!(matches!(error(text), Error::Malformed(_)), "{text:?}");
    }
}

#[test]
fn an_answer_counts_even_if_the_body_was_not_read() {
    run(async {
        let (mut ours, mut theirs) = tokio::io::duplex(512);
        let server = async move {
            let mut some = [0; 64];
            theirs.read_exact(&mut some).await.expect("read");
            theirs.write_all(b"HTTP/1.1 413 x\r\nContent-Length: 2\r\n\r\nno").await.expect("write");
        };
        let body = vec![b'x'; 1 << 20];
        let client = ask(&mut ours, Head::request(Method::POST, "/", "h"), &body);
        let (answer, ()) = tokio::join!(client, server);
        assert_eq!(answer.expect("an answer").status, 413);
    });
}

#[test]
fn what_follows_a_switch_is_kept() {
    let text = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n\r\n\0\x01";
    let (response, body) = run(exchange(Method::GET, b"", text)).0.expect("101");
    assert_eq!((response.status, response.headers.text("upgrade")), (101, "x"));
    assert_eq!(body.expect("none"), b"");
    assert_eq!(&response.into_rest()[..], b"\0\x01");
}

proptest! {
    #[test]
    fn any_answer(bytes: Vec<u8>) {
        let _ = run(exchange(Method::GET, b"", &bytes));
        let _ = run(exchange(Method::GET, b"", &[b"HTTP/1.1 200 OK\r\n", &bytes[..]].concat()));
    }
}
