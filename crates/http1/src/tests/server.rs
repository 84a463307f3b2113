//! The server against clients in virtual time.

use super::run;
use crate::server::{PATIENCE, PAUSE};
use crate::{Answer, Content, Head, Limits, LocalFuture, Request, Service, serve};
use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Duration;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream};
use tokio::net::UnixStream;
use tokio::sync::mpsc;
use tokio::time::Instant;

const LIMITS: Limits = Limits {
    head_bytes: 1 << 10,
    head_time: Duration::from_secs(10),
    body_time: Duration::from_secs(30),
    keep_alive: true,
};

/// Says what it was asked; `/stream` hands its sender to the test, `/slow` takes five seconds, `/never` does not answer.
#[derive(Default)]
struct Echo {
    senders: RefCell<Vec<mpsc::Sender<bytes::Bytes>>>,
    dropped: Cell<u32>,
}

fn text(status: u16, text: String) -> Answer {
    Answer { head: Head::answer(status).field("x", "y\r\nz: broken"), content: Content::Full(text.into()) }
}

struct OnDrop<'a>(&'a Cell<u32>);
impl Drop for OnDrop<'_> {
    fn drop(&mut self) {
        self.0.set(self.0.get() + 1);
    }
}

impl Service for Echo {
    fn admit(&self, request: &Request) -> Result<usize, Answer> {
        if request.path() == "/denied" { Err(text(403, "no".into())) } else { Ok(100) }
    }

    fn refuse(&self, status: u16, why: &str) -> Answer {
        text(status, why.to_owned())
    }

    fn answer(&self, request: Request) -> LocalFuture<'_, Answer> {
        Box::pin(async move {
            let _dropped = OnDrop(&self.dropped);
            match request.path() {
                "/stream" => {
                    let (sender, pieces) = mpsc::channel(1);
                    self.senders.borrow_mut().push(sender);
                    Answer { head: Head::answer(200), content: Content::Stream(pieces) }
                }
                "/slow" => {
                    tokio::time::sleep(Duration::from_secs(5)).await;
                    text(200, "at last".into())
                }
                "/never" => std::future::pending().await,
                "/empty" => Answer { head: Head::answer(204), content: Content::Full(bytes::Bytes::new()) },
                "/large" => text(200, "x".repeat(50_000)),
                path => text(200, format!("{} {path} {}", request.method, request.body.len())),
            }
        })
    }
}

/// Starts a server; its end is told by the handle.
fn start(limits: Limits) -> (Rc<Echo>, DuplexStream, tokio::task::JoinHandle<()>) {
    let (mut ours, theirs) = tokio::io::duplex(1 << 16);
    let echo = Rc::new(Echo::default());
    let service = echo.clone();
    let task = tokio::task::spawn_local(async move { drop(serve(&mut ours, &*service, &limits).await) });
    (echo, theirs, task)
}

/// Everything the server says to `bytes` until it hangs up.
fn say(bytes: &[u8]) -> String {
    run(async {
        let (_, mut stream, _task) = start(LIMITS);
        stream.write_all(bytes).await.expect("write");
        let mut out = String::new();
        stream.read_to_string(&mut out).await.expect("read");
        out
    })
}

#[test]
fn framing_of_answers() {
    let answer = say(b"GET /a HTTP/1.1\r\nConnection: foo, Close\r\n\r\n");
    assert_eq!(answer, "HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 8\r\n\r\nGET /a 0");
    // An idle connection is closed after a while: these stay open.
    let answer = say(b"HEAD /a HTTP/1.1\r\n\r\n");
    assert_eq!(answer, "HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\n");
    assert_eq!(say(b"GET /empty HTTP/1.1\r\n\r\n"), "HTTP/1.1 204 No Content\r\n\r\n");
    assert_eq!(say(b"GET /large HTTP/1.1\r\n\r\n").len(), 50_000 + 42);
    let answer = say(b"GET /a HTTP/1.0\r\nConnection: keep-alive\r\n\r\n");
    assert_eq!(answer, "HTTP/1.0 200 OK\r\nconnection: close\r\ncontent-length: 8\r\n\r\nGET /a 0");
}

#[test]
fn requests_one_after_another() {
    let three = b"POST /a HTTP/1.1\r\nContent-Length: 2\r\n\r\nxxPOST /b HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n\
                  3\r\nabc\r\n0\r\n\r\nGET /c HTTP/1.1\r\n\r\n";
    let answers = say(three);
    let bodies: Vec<_> =
        answers.split("HTTP/1.1 200 OK").filter_map(|one| one.split("\r\n\r\n").nth(1)).collect();
    assert_eq!(bodies, ["POST /a 2", "POST /b 3", "GET /c 0"]);
}

#[test]
fn refusals() {
    let status = |bytes: &[u8]| say(bytes).get(9..12).unwrap_or_default().to_owned();
    assert_eq!(status(b"GET / HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nabc"), "400");
    assert_eq!(status(b"\x16\x03\x01"), "400");
    assert_eq!(status(format!("GET / HTTP/1.1\r\nA: {}\r\n\r\n", "x".repeat(2000)).as_bytes()), "431");
    assert_eq!(status(b"POST / HTTP/1.1\r\nContent-Length: 101\r\n\r\n"), "413");
    assert_eq!(status(b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nxx"), "400");
    assert_eq!(status(b"POST / HTTP/1.1\r\nContent-Length: 10\r\n\r\nhalf"), "408");
    // What follows a body that nobody read is not taken for a request.
    let answer = say(b"POST /denied HTTP/1.1\r\nContent-Length: 18\r\n\r\nGET / HTTP/1.1\r\n\r\n");
    assert_eq!(answer.matches("HTTP/1.1").count(), 1, "{answer}");
    assert!(answer.contains("connection: close"), "{answer}");
    assert_eq!(say(b"GET / HTTP/1.1\r\nHos"), "", "a slow head is not answered");
}

#[test]
fn a_client_that_waits_for_a_go_ahead_gets_one() {
    run(async {
        let (_, mut stream, _task) = start(LIMITS);
        let head = b"POST /a HTTP/1.1\r\nExpect: 100-Continue\r\nContent-Length: 2\r\n\r\n";
        stream.write_all(head).await.expect("write");
        let mut interim = [0; 25];
        stream.read_exact(&mut interim).await.expect("read");
        assert_eq!(&interim, b"HTTP/1.1 100 Continue\r\n\r\n");
        stream.write_all(b"xx").await.expect("write");
        let mut out = String::new();
        stream.read_to_string(&mut out).await.expect("read");
        assert!(out.ends_with("POST /a 2"), "{out}");
    });
    let too_long = b"POST /a HTTP/1.1\r\nExpect: 100-continue\r\nContent-Length: 101\r\n\r\n";
    assert!(say(too_long).starts_with("HTTP/1.1 413"));
}

#[test]
fn streams_leave_piece_by_piece_and_end_with_their_reader() {
    run(async {
        let (echo, mut stream, task) = start(LIMITS);
        stream.write_all(b"GET /stream HTTP/1.1\r\n\r\n").await.expect("write");
        let mut some = [0; 256];
        let len = stream.read(&mut some).await.expect("read");
        assert_eq!(&some[..len], b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n");
        let sender = echo.senders.borrow_mut().pop().expect("sender");
        for piece in ["one", "", "three"] {
            sender.send(piece.into()).await.expect("send");
        }
        let mut both = [0; 18];
        stream.read_exact(&mut both).await.expect("read");
        assert_eq!(&both, b"3\r\none\r\n5\r\nthree\r\n");
        drop(sender);
        let mut end = [0; 5];
        stream.read_exact(&mut end).await.expect("read");
        assert_eq!(&end, b"0\r\n\r\n");

        stream.write_all(b"GET /stream HTTP/1.1\r\n\r\n").await.expect("write");
        while echo.senders.borrow().is_empty() {
            tokio::task::yield_now().await;
        }
        let sender = echo.senders.borrow_mut().pop().expect("sender");
        drop(stream);
        sender.closed().await;
        task.await.expect("the server ends");
    });
    let old = run(async {
        let (echo, mut stream, _task) = start(LIMITS);
        stream.write_all(b"GET /stream HTTP/1.0\r\n\r\n").await.expect("write");
        while echo.senders.borrow().is_empty() {
            tokio::task::yield_now().await;
        }
        let sender = echo.senders.borrow_mut().pop().expect("sender");
        sender.send("all".into()).await.expect("send");
        drop(sender);
        let mut out = String::new();
        stream.read_to_string(&mut out).await.expect("read");
        out
    });
    assert_eq!(old, "HTTP/1.0 200 OK\r\nconnection: close\r\n\r\nall");
}

#[test]
fn whoever_hangs_up_is_not_worked_for() {
    run(async {
        let (echo, mut stream, task) = start(LIMITS);
        stream.write_all(b"GET /never HTTP/1.1\r\n\r\n").await.expect("write");
        tokio::time::sleep(Duration::from_secs(100)).await;
        assert_eq!(echo.dropped.get(), 0);
        let begun = Instant::now();
        drop(stream);
        task.await.expect("the server ends");
        assert_eq!((echo.dropped.get(), begun.elapsed()), (1, Duration::ZERO));
    });
}

/// A client asks for `path` and ends its half; what it reads, how long that took, and what `send` has seen.
fn half<T: 'static>(path: &str, send: impl AsyncFnOnce(Rc<Echo>) -> T + 'static) -> (String, Duration, T) {
    run(async {
        let (echo, mut stream, task) = start(LIMITS);
        stream.write_all(format!("GET {path} HTTP/1.1\r\n\r\n").as_bytes()).await.expect("write");
        stream.shutdown().await.expect("shutdown");
        let sends = tokio::task::spawn_local(send(echo));
        let (begun, mut out) = (Instant::now(), String::new());
        stream.read_to_string(&mut out).await.expect("read");
        let took = begun.elapsed();
        task.await.expect("the server ends");
        (out, took, sends.await.expect("sends"))
    })
}

/// The sender of the stream that is asked for.
async fn sender(echo: &Echo) -> mpsc::Sender<bytes::Bytes> {
    while echo.senders.borrow().is_empty() {
        tokio::task::yield_now().await;
    }
    echo.senders.borrow_mut().pop().expect("sender")
}

#[test]
fn whoever_ends_its_half_is_answered() {
    let (answer, took, ()) = half("/slow", async |_| {});
    assert!(answer.ends_with("content-length: 7\r\n\r\nat last"), "{answer}");
    assert_eq!(took.as_secs(), 5);
    let (answer, ..) = half("/stream", async |echo| {
        let sender = sender(&echo).await;
        for _ in 0..8 {
            tokio::time::sleep(PAUSE / 2).await;
            sender.send("piece".into()).await.expect("send");
        }
    });
    assert_eq!(answer.matches("5\r\npiece\r\n").count(), 8, "{answer}");
    assert!(answer.ends_with("0\r\n\r\n"), "{answer}");
}

#[test]
fn whoever_ends_its_half_does_not_wait_for_ever() {
    let (answer, took, dropped) = half("/never", async |echo| {
        tokio::time::sleep(PATIENCE + PAUSE).await;
        echo.dropped.get()
    });
    assert_eq!((answer.as_str(), took.as_secs(), dropped), ("", PATIENCE.as_secs(), 1));
    let (answer, took, ()) = half("/stream", async |echo| {
        let sender = sender(&echo).await;
        sender.send("first".into()).await.expect("send");
        sender.closed().await;
    });
    assert!(answer.ends_with("5\r\nfirst\r\n"), "no end that looks like one: {answer}");
    assert_eq!(took.as_secs(), PAUSE.as_secs());
}

#[test]
fn a_socket_that_is_closed_is_told_from_one_that_is_half_closed() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("runtime");
    let ends = async |closes: bool| {
        let (mut ours, mut theirs) = UnixStream::pair().expect("pair");
        theirs.write_all(b"GET /never HTTP/1.1\r\n\r\n").await.expect("write");
        theirs.shutdown().await.expect("shutdown");
        let open = (!closes).then_some(theirs);
        let (echo, limit) = (Echo::default(), if closes { PATIENCE / 2 } else { PAUSE / 2 });
        let ends = tokio::time::timeout(limit, serve(&mut ours, &echo, &LIMITS)).await.is_ok();
        drop(open);
        ends
    };
    assert!(runtime.block_on(ends(true)));
    assert!(!runtime.block_on(ends(false)));
}

#[test]
fn one_answer_only_if_so_told() {
    run(async {
        let (_, mut stream, _task) = start(Limits { keep_alive: false, ..LIMITS });
        stream.write_all(b"GET /a HTTP/1.1\r\n\r\nGET /b HTTP/1.1\r\n\r\n").await.expect("write");
        let mut out = String::new();
        stream.read_to_string(&mut out).await.expect("read");
        assert_eq!(out.matches("HTTP/1.1 200 OK").count(), 1, "{out}");
    });
}
