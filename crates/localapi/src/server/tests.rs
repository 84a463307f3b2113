//! Real sockets, real bytes: what a hostile or hasty client sends, and what it gets.

use super::*;
use std::cell::RefCell;
use std::os::unix::fs::{FileTypeExt as _, PermissionsExt as _};
use std::path::PathBuf;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::UnixStream;
use tokio::sync::mpsc;
use tokio::task::LocalSet;

/// Echoes what it got; `watch-ipn-bus` hands its sender to the test.
#[derive(Default)]
struct Echo {
    may: Cell<Permissions>,
    bus: RefCell<Vec<mpsc::Sender<bytes::Bytes>>>,
}

impl Handler for Echo {
    fn offers(&self, endpoint: &str) -> bool {
        endpoint != "dial"
    }

    fn permissions(&self, peer: &PeerCred) -> Permissions {
        assert!(peer.uid.is_some() && peer.pid.is_some());
        self.may.get()
    }

    fn handle(&self, request: Request) -> LocalFuture<Response> {
        if request.name() == "watch-ipn-bus" {
            let (sender, receiver) = mpsc::channel(4);
            self.bus.borrow_mut().push(sender);
            return Box::pin(async { Response::stream(receiver) });
        }
        let line = format!(
            "{} {} rest={} peers={} reason={:?} body={}",
            request.method,
            request.name(),
            request.rest,
            request.query.text("peers"),
            request.reason,
            request.body.len()
        );
        Box::pin(async { Response::text(line) })
    }
}

struct Bench {
    _dir: tempfile::TempDir,
    socket: PathBuf,
    echo: Rc<Echo>,
}

/// Runs `test` against a server on a socket of its own.
fn with_server<F: Future<Output = ()>>(limits: Limits, test: impl FnOnce(Bench) -> F) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("runtime");
    LocalSet::new().block_on(&runtime, async {
        let dir = tempfile::tempdir().expect("dir");
        let socket = dir.path().join("run/tailscaled.sock");
        let listener = listen(&socket, 0o666).await.expect("listen");
        let echo = Rc::new(Echo::default());
        echo.may.set(Permissions { read: true, write: true });
        tokio::task::spawn_local(serve(listener, echo.clone(), limits));
        tokio::time::timeout(Duration::from_secs(20), test(Bench { _dir: dir, socket, echo }))
            .await
            .expect("test takes too long");
    });
}

impl Bench {
    async fn connect(&self) -> UnixStream {
        UnixStream::connect(&self.socket).await.expect("connect")
    }

    /// Everything that comes back until the server closes.
    async fn exchange(&self, request: &[u8]) -> String {
        let mut stream = self.connect().await;
        // The server may close before it has read everything.
        let _ = stream.write_all(request).await;
        let mut out = Vec::new();
        let _ = stream.read_to_end(&mut out).await;
        String::from_utf8_lossy(&out).into_owned()
    }

    /// One request that closes the connection.
    async fn ask(&self, line: &str, headers: &str, body: &[u8]) -> String {
        let mut request =
            format!("{line} HTTP/1.1\r\nHost: local-tailscaled.sock\r\nConnection: close\r\n{headers}\r\n")
                .into_bytes();
        request.extend_from_slice(body);
        self.exchange(&request).await
    }
}

fn status(answer: &str) -> &str {
    answer.get(9..12).unwrap_or(answer)
}

/// Reads one answer with `Content-Length` from a connection that stays open.
async fn read_answer(stream: &mut UnixStream) -> String {
    let mut out = String::new();
    loop {
        if let Some((head, body)) = out.split_once("\r\n\r\n") {
            let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
            if body.len() >= length.map_or(0, |length| length.parse().expect("length")) {
                return out;
            }
        }
        let mut chunk = [0; 512];
        let read = stream.read(&mut chunk).await.expect("read");
        assert_ne!(read, 0, "closed after {out:?}");
        out.push_str(std::str::from_utf8(&chunk[..read]).expect("text"));
    }
}

#[test]
fn every_answer_has_the_headers() {
    with_server(Limits::new(119), async |bench| {
        let answer = bench.ask("GET /localapi/v0/status?peers=false", "", b"").await;
        assert!(answer.ends_with("GET status rest= peers=false reason=None body=0"), "{answer}");
        for header in [
            "HTTP/1.1 200 OK",
            "tailscale-cap: 119",
            "content-security-policy: default-src 'none';",
            "x-frame-options: DENY",
            "x-content-type-options: nosniff",
            "content-type: text/plain; charset=utf-8",
        ] {
            assert!(answer.contains(header), "{header}: {answer}");
        }
        assert!(!answer.to_lowercase().contains("tailscale-version"), "{answer}");
        assert!(bench.ask("GET /", "", b"").await.contains("<h1>Tailscale</h1>"));
    });
}

#[test]
fn only_programs_may_ask() {
    with_server(Limits::new(119), async |bench| {
        for (headers, want) in [
            ("", "200"),
            ("Host: \r\n", "200"),
            ("Host: local-tailscaled.sock\r\n", "200"),
            ("Host: evil.example\r\n", "403"),
            ("Host: localhost\r\n", "403"),
            ("Host: local-tailscaled.sock:80\r\n", "403"),
            ("Host: local-tailscaled.sock\r\nHost: evil.example\r\n", "403"),
            ("Host: local-tailscaled.sock\r\nOrigin: http://evil.example\r\n", "403"),
            ("Host: local-tailscaled.sock\r\nOrigin: null\r\n", "403"),
            ("Host: local-tailscaled.sock\r\nReferer: http://evil.example/\r\n", "403"),
        ] {
            let request = format!("GET /localapi/v0/status HTTP/1.1\r\nConnection: close\r\n{headers}\r\n");
            let answer = bench.exchange(request.as_bytes()).await;
            assert_eq!(status(&answer), want, "{headers:?}: {answer}");
            assert!(want == "200" || answer.ends_with("\r\n\r\ninvalid localapi request\n"), "{answer}");
        }
        let absolute = "GET http://evil.example/localapi/v0/status HTTP/1.1\r\nConnection: close\r\n\r\n";
        assert_eq!(status(&bench.exchange(absolute.as_bytes()).await), "403");
        let connect =
            "CONNECT evil.example:80 HTTP/1.1\r\nHost: evil.example:80\r\nConnection: close\r\n\r\n";
        assert_eq!(status(&bench.exchange(connect.as_bytes()).await), "405");
        assert_eq!(status(&bench.exchange(b"GET /localapi/v0/status HTTP/1.0\r\n\r\n").await), "200");
    });
}

#[test]
fn names_permissions_and_methods() {
    with_server(Limits::new(119), async |bench| {
        let all = Permissions { read: true, write: true };
        let reader = Permissions { read: true, write: false };
        let nobody = Permissions::default();
        for (may, line, want, text) in [
            (all, "GET /localapi/v0/nosuch", "404", "404 page not found\n"),
            (all, "GET /localapi/v0/status/more", "404", "404 page not found\n"),
            (all, "GET /localapi/v1/status", "404", "404 page not found\n"),
            (all, "GET /other", "404", "404 page not found\n"),
            (all, "GET /localapi/v0/update/check", "200", "GET update/check rest= peers= reason=None body=0"),
            (
                all,
                "POST /localapi/v0/profiles/a%2Fb%20c",
                "200",
                "POST profiles/ rest=a/b c peers= reason=None body=0",
            ),
            (all, "GET /localapi/v0/profiles/", "200", "GET profiles/ rest= peers= reason=None body=0"),
            (all, "GET /localapi/v0/profiles/%zz", "404", "404 page not found\n"),
            (all, "GET /localapi/v0/start", "400", "want POST\n"),
            (all, "POST /localapi/v0/check-prefs", "200", "POST check-prefs rest= peers= reason=None body=0"),
            (all, "DELETE /localapi/v0/prefs", "405", "unsupported method\n"),
            (reader, "GET /localapi/v0/prefs", "200", "GET prefs rest= peers= reason=None body=0"),
            (reader, "PATCH /localapi/v0/prefs", "403", "prefs write access denied\n"),
            (reader, "DELETE /localapi/v0/prefs", "405", "unsupported method\n"),
            (reader, "GET /localapi/v0/start", "403", "access denied\n"),
            (reader, "GET /localapi/v0/profiles/", "403", "profiles access denied\n"),
            (reader, "POST /localapi/v0/check-prefs", "403", "checkprefs access denied\n"),
            (reader, "POST /localapi/v0/ping", "200", "POST ping rest= peers= reason=None body=0"),
            (reader, "GET /localapi/v0/shutdown", "405", "only POST allowed\n"),
            (reader, "POST /localapi/v0/shutdown", "403", "shutdown access denied\n"),
            (all, "POST /localapi/v0/dial", "404", "404 page not found\n"),
            (nobody, "GET /localapi/v0/dial", "404", "404 page not found\n"),
            (nobody, "GET /localapi/v0/status", "403", "status access denied\n"),
            (nobody, "GET /localapi/v0/derpmap", "200", "GET derpmap rest= peers= reason=None body=0"),
        ] {
            bench.echo.may.set(may);
            let answer = bench.ask(line, "", b"").await;
            assert_eq!(status(&answer), want, "{line}: {answer}");
            assert_eq!(answer.split_once("\r\n\r\n").map(|(_, body)| body), Some(text), "{line}");
        }
        bench.echo.may.set(all);
        let answer = bench.ask("POST /localapi/v0/logout", "X-Tailscale-Reason: d2h5IG5vdA==\r\n", b"").await;
        assert!(answer.ends_with("reason=Some(\"why not\") body=0"), "{answer}");
        let answer = bench.ask("POST /localapi/v0/logout", "X-Tailscale-Reason: !\r\n", b"").await;
        assert!(answer.ends_with("\r\n\r\ninvalid reason header\n"), "{answer}");
    });
}

#[test]
fn the_table_is_sorted() {
    assert!(ENDPOINTS.windows(2).all(|pair| pair[0].name < pair[1].name));
    assert!(
        ENDPOINTS.iter().all(|endpoint| Endpoint::find(&format!("/localapi/v0/{}", endpoint.name)).is_some())
    );
}

#[test]
fn bodies() {
    with_server(Limits { body_timeout: Duration::from_millis(50), ..Limits::new(119) }, async |bench| {
        let chunked = "Transfer-Encoding: chunked\r\n";
        let answer =
            bench.ask("POST /localapi/v0/start", chunked, b"3\r\n{\"a\r\n4\r\n\":1}\r\n0\r\n\r\n").await;
        assert!(answer.ends_with("body=7"), "{answer}");
        let answer = bench.ask("POST /localapi/v0/start", chunked, b"zz\r\n").await;
        assert_eq!(status(&answer), "400");

        let full = vec![b'x'; 1 << 20];
        let answer = bench.ask("POST /localapi/v0/start", "Content-Length: 1048576\r\n", &full).await;
        assert!(answer.ends_with("body=1048576"), "{answer}");
        let answer = bench.ask("POST /localapi/v0/start", "Content-Length: 1048577\r\n", b"").await;
        assert_eq!(status(&answer), "413");
        let mut large = b"100001\r\n".to_vec();
        large.resize(large.len() + (1 << 20) + 1, b'x');
        let answer = bench.ask("POST /localapi/v0/start", chunked, &large).await;
        assert!(answer.is_empty() || status(&answer) == "413", "{answer}");

        // Who may only read sends less, and who may not write is refused before the body is read.
        let answer = bench.ask("POST /localapi/v0/ping", "Content-Length: 65537\r\n", b"").await;
        assert_eq!(status(&answer), "413");
        bench.echo.may.set(Permissions { read: true, write: false });
        let answer = bench.ask("POST /localapi/v0/start", "Content-Length: 1048577\r\n", b"").await;
        assert_eq!(status(&answer), "403");
        bench.echo.may.set(Permissions { read: true, write: true });

        // Half a body.
        let answer = bench.ask("POST /localapi/v0/start", "Content-Length: 10\r\n", b"half").await;
        assert_eq!(status(&answer), "408");
    });
}

#[test]
fn heads() {
    with_server(Limits { head_timeout: Duration::from_millis(100), ..Limits::new(119) }, async |bench| {
        let fits = format!("X-Padding: {}\r\n", "x".repeat(15 << 10));
        assert_eq!(status(&bench.ask("GET /localapi/v0/status", &fits, b"").await), "200");
        let large = format!("X-Padding: {}\r\n", "x".repeat(17 << 10));
        assert_eq!(status(&bench.ask("GET /localapi/v0/status", &large, b"").await), "431");
        let many = "A: b\r\n".repeat(80);
        assert_eq!(status(&bench.ask("GET /localapi/v0/status", &many, b"").await), "431");

        // Half a request, none at all, garbage: closed, and the next client is served.
        assert_eq!(bench.exchange(b"GET /localapi/v0/status HTTP/1.1\r\nHos").await, "");
        assert_eq!(bench.exchange(b"").await, "");
        for garbage in [
            &b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc"[..],
            b"\r\n\r\n\0\0\0",
            b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
            &[0xff; 64],
        ] {
            let answer = bench.exchange(garbage).await;
            assert!(!answer.contains(" 200 "), "{answer}");
        }
        assert_eq!(status(&bench.ask("GET /localapi/v0/status", "", b"").await), "200");
    });
}

#[test]
fn keep_alive_and_pipelining() {
    with_server(Limits::new(119), async |bench| {
        let mut stream = bench.connect().await;
        for _ in 0..3 {
            stream.write_all(b"GET /localapi/v0/status HTTP/1.1\r\n\r\n").await.expect("write");
            assert_eq!(status(&read_answer(&mut stream).await), "200");
        }
        let one = "GET /localapi/v0/status HTTP/1.1\r\n\r\n";
        let last = "GET /localapi/v0/whois HTTP/1.1\r\nConnection: close\r\n\r\n";
        let answers = bench.exchange(format!("{one}{one}{last}").as_bytes()).await;
        assert_eq!(answers.matches("HTTP/1.1 200 OK").count(), 3, "{answers}");
        assert!(answers.ends_with("GET whois rest= peers= reason=None body=0"), "{answers}");
    });
}

#[test]
fn forty_connections() {
    with_server(Limits::new(119), async |bench| {
        let mut served = Vec::new();
        for _ in 0..40 {
            let mut stream = bench.connect().await;
            stream.write_all(b"GET /localapi/v0/status HTTP/1.1\r\n\r\n").await.expect("write");
            let answer = read_answer(&mut stream).await;
            if status(&answer) == "200" {
                served.push(stream);
            } else {
                assert_eq!(status(&answer), "503");
                assert!(answer.contains("connection: close"), "{answer}");
            }
        }
        assert_eq!(served.len(), 32);
        served.truncate(31);
        while status(&bench.ask("GET /localapi/v0/status", "", b"").await) != "200" {
            tokio::task::yield_now().await;
        }
    });
}

#[test]
fn readers_cannot_shut_out_whoever_may_change_settings() {
    with_server(Limits::new(119), async |bench| {
        bench.echo.may.set(Permissions { read: true, write: false });
        let mut served = Vec::new();
        for _ in 0..30 {
            let mut stream = bench.connect().await;
            stream.write_all(b"GET /localapi/v0/status HTTP/1.1\r\n\r\n").await.expect("write");
            if status(&read_answer(&mut stream).await) == "200" {
                served.push(stream);
            }
        }
        assert_eq!(served.len(), 24);
        let mut silent = Vec::new();
        for _ in 0..60 {
            silent.push(bench.connect().await);
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
        bench.echo.may.set(Permissions { read: true, write: true });
        let asked = bench.ask("GET /localapi/v0/status", "", b"");
        let answer = tokio::time::timeout(connection::TURN_AWAY_TIMEOUT / 2, asked).await;
        assert_eq!(answer.as_deref().map(status), Ok("200"), "it does not wait behind the silent ones");
    });
}

#[test]
fn streams() {
    with_server(Limits::new(119), async |bench| {
        let mut stream = bench.connect().await;
        stream.write_all(b"GET /localapi/v0/watch-ipn-bus?mask=0 HTTP/1.1\r\n\r\n").await.expect("write");
        // The head comes before anything happens on the bus.
        let mut head = vec![0; 1024];
        let read = stream.read(&mut head).await.expect("read");
        let head = String::from_utf8_lossy(&head[..read]).into_owned();
        assert!(head.contains("200 OK") && head.contains("application/json"), "{head}");

        let sender = bench.echo.bus.borrow_mut().pop().expect("watcher");
        sender.send("{\"a\":1}\n".into()).await.expect("send");
        let mut line = vec![0; 64];
        let read = stream.read(&mut line).await.expect("read");
        assert_eq!(&line[..read], b"8\r\n{\"a\":1}\n\r\n");

        // A reader that does not read: the queue fills, and nobody waits for it.
        let piece = bytes::Bytes::from(vec![b'x'; 64 << 10]);
        let mut sent = 0;
        while sender.try_send(piece.clone()).is_ok() || {
            for _ in 0..50 {
                tokio::task::yield_now().await;
            }
            sender.try_send(piece.clone()).is_ok()
        } {
            sent += 1;
            assert!(sent < 100, "the queue is not bounded");
        }
        assert_eq!(status(&bench.ask("GET /localapi/v0/status", "", b"").await), "200");

        // A reader that goes away closes the channel.
        drop(stream);
        sender.closed().await;

        // The end of the channel is the end of the answer.
        let mut stream = bench.connect().await;
        stream
            .write_all(b"GET /localapi/v0/watch-ipn-bus HTTP/1.1\r\nConnection: close\r\n\r\n")
            .await
            .expect("write");
        while bench.echo.bus.borrow().is_empty() {
            tokio::task::yield_now().await;
        }
        bench.echo.bus.borrow_mut().clear();
        let mut out = String::new();
        stream.read_to_string(&mut out).await.expect("read");
        assert!(out.ends_with("0\r\n\r\n"), "{out}");
    });
}

#[test]
fn the_socket() {
    with_server(Limits::new(119), async |bench| {
        let mode =
            |path: &std::path::Path| std::fs::metadata(path).expect("meta").permissions().mode() & 0o777;
        assert_eq!(mode(&bench.socket), 0o666);
        assert_eq!(mode(bench.socket.parent().expect("dir")), 0o755);
        let error = listen(&bench.socket, 0o666).await.expect_err("in use");
        assert_eq!(error.to_string(), format!("tailscaled already running on {}", bench.socket.display()));

        // What a killed daemon leaves behind is cleared; anything else is not.
        let stale = bench.socket.with_file_name("stale.sock");
        drop(UnixListener::bind(&stale).expect("bind"));
        assert!(stale.exists());
        drop(listen(&stale, 0o600).await.expect("stale"));
        assert_eq!(mode(&stale), 0o600);
        // So are links to one that is dead, gone, in a folder that is, below a file, or to themselves.
        let dead = bench.socket.with_file_name("dead.sock");
        drop(UnixListener::bind(&dead).expect("bind"));
        let link = bench.socket.with_file_name("link.sock");
        let nowhere =
            [dead.with_file_name("gone"), dead.with_file_name("nowhere").join("gone"), dead.join("gone")];
        for target in nowhere.iter().chain([&dead, &link]) {
            std::os::unix::fs::symlink(target, &link).expect("link");
            drop(listen(&link, 0o600).await.expect("a link"));
            assert!(std::fs::symlink_metadata(&link).expect("meta").file_type().is_socket());
            std::fs::remove_file(&link).expect("remove");
        }
        assert!(dead.exists());
        let file = bench.socket.with_file_name("file");
        std::fs::write(&file, "precious").expect("write");
        std::os::unix::fs::symlink(&file, &link).expect("link");
        for path in [&file, &link] {
            let error = listen(path, 0o600).await.expect_err("a file").to_string();
            assert!(error.starts_with(&format!("cannot listen on {}: ", path.display())), "{error}");
            assert!(path.exists());
        }
    });
}
