//! Is the node well? Answered once, by `containerboot healthcheck`, or to whoever asks for `/healthz`.
//!
//! Both ask the daemon by its LocalAPI. The subcommand is strict: well is who carries traffic. `/healthz` is the official
//! container's: well is who has an address in the tailnet.

use localapi::client::Client;
use localapi::types::{State, Status};
use std::cell::Cell;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::process::ExitCode;
use std::rc::Rc;
use std::time::Duration;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

/// How long the daemon may take to answer.
const PATIENCE: Duration = Duration::from_secs(5);

/// How long a question may take to arrive: those who connect and say nothing must not keep others out.
const QUESTION: Duration = Duration::from_secs(1);

/// How long a question and its answer may take in all.
const TALK: Duration = Duration::from_secs(10);

/// Who asks for health asks in one small packet.
const LONGEST_QUESTION: usize = 2048;

/// Questions answered at a time; more are closed.
const AT_ONCE: usize = 8;

/// Pause after a failed accept or bind.
const PAUSE: Duration = Duration::from_secs(1);

/// The subcommand: one line, and status 0 for well.
pub(super) fn check(socket: PathBuf) -> ExitCode {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let verdict = match runtime {
        Ok(runtime) => runtime.block_on(async {
            match tokio::time::timeout(PATIENCE, Client::new(socket).status_without_peers()).await {
                Ok(Ok(status)) => verdict(&status),
                Ok(Err(error)) => Err(format!("tailscaled does not answer: {error}")),
                Err(_) => Err(format!("tailscaled has not answered for {} s", PATIENCE.as_secs())),
            }
        }),
        Err(error) => Err(format!("cannot ask: {error}")),
    };
    let (word, text, code) = match verdict {
        Ok(text) => ("healthy", text, ExitCode::SUCCESS),
        Err(text) => ("unhealthy", text, ExitCode::FAILURE),
    };
    super::print(&format!("{word}: {}\n", text.replace('\n', " ")));
    code
}

/// Whether a node in this state carries traffic, and why not.
fn verdict(status: &Status) -> Result<String, String> {
    let addresses = || status.tailscale_ips.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
    let problems = status.health.iter().flatten().map(|text| format!("; {}", text.trim_end_matches('.')));
    let problems: String = problems.collect();
    match State::from_name(&status.backend_state) {
        Some(State::Running) => Ok(format!("running at {}{problems}", addresses())),
        Some(State::Starting) => {
            Err(format!("starting: neither a relay nor a peer has answered yet{problems}"))
        }
        Some(State::Stopped) => Err("stopped by \"tailscale down\"; \"tailscale up\" starts it".to_owned()),
        Some(State::NeedsMachineAuth) => Err("waits for an admin to approve this machine".to_owned()),
        Some(State::NeedsLogin) if status.auth_url.is_empty() => Err(format!("not logged in{problems}")),
        Some(State::NeedsLogin) => Err(format!("not logged in: visit {}{problems}", status.auth_url)),
        _ => Err(format!("starting: control has not answered yet{problems}")),
    }
}

/// Answers `GET /healthz` at `at` as long as the daemon lives.
pub(crate) async fn serve(at: SocketAddr, socket: PathBuf) {
    let mut told = false;
    let listener = loop {
        match listen(at).await {
            Ok(listener) => break listener,
            Err(error) if !told => log::warn!("health cannot be told at {at}: {error}; trying on"),
            Err(_) => {}
        }
        told = true;
        tokio::time::sleep(PAUSE).await;
    };
    log::info!("health is told at http://{at}/healthz");
    let (client, asking) = (Client::new(socket), Rc::new(Cell::new(0_usize)));
    loop {
        let Ok((stream, _)) = listener.accept().await else {
            tokio::time::sleep(PAUSE).await;
            continue;
        };
        if asking.get() >= AT_ONCE {
            continue;
        }
        asking.set(asking.get().saturating_add(1));
        let (client, asking) = (client.clone(), asking.clone());
        dial::spawn(async move {
            let _ = tokio::time::timeout(TALK, answer(stream, &client)).await;
            asking.set(asking.get().saturating_sub(1));
        });
    }
}

/// Every address means IPv4 alone where there is no IPv6.
async fn listen(at: SocketAddr) -> std::io::Result<TcpListener> {
    let first = TcpListener::bind(at).await;
    let all = at.is_ipv6() && at.ip().is_unspecified();
    match first {
        Err(error) if all && error.kind() != std::io::ErrorKind::AddrInUse => {
            TcpListener::bind((Ipv4Addr::UNSPECIFIED, at.port())).await
        }
        first => first,
    }
}

/// One question and its answer.
async fn answer(mut stream: TcpStream, client: &Client) -> std::io::Result<()> {
    let mut question = Vec::new();
    let mut room = [0; 512];
    let until = tokio::time::Instant::now() + QUESTION;
    while !question.windows(4).any(|end| end == b"\r\n\r\n") && question.len() < LONGEST_QUESTION {
        let read = tokio::time::timeout_at(until, stream.read(&mut room)).await??;
        if read == 0 {
            break;
        }
        question.extend_from_slice(room.get(..read).unwrap_or_default());
    }
    let line = question.split(|byte| *byte == b'\r').next().unwrap_or_default();
    let reply = match wanted(line) {
        Ok(()) => {
            let status = tokio::time::timeout(PATIENCE, client.status_without_peers()).await;
            let well = matches!(status, Ok(Ok(status)) if !status.tailscale_ips.is_empty());
            if well { ("200 OK", "ok") } else { ("503 Service Unavailable", "no address in the tailnet\n") }
        }
        Err(reply) => reply,
    };
    let (status, body) = reply;
    let body_sent = if line.starts_with(b"HEAD ") { "" } else { body };
    let text = format!(
        "HTTP/1.1 {status}\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Length: {}\r\n\
         Connection: close\r\n\r\n{body_sent}",
        body.len()
    );
    stream.write_all(text.as_bytes()).await?;
    stream.shutdown().await
}

/// Whether the request's first line asks for health, or what else to say.
fn wanted(line: &[u8]) -> Result<(), (&'static str, &'static str)> {
    let mut words = line.split(|byte| *byte == b' ');
    let (method, path) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    let path = path.split(|byte| *byte == b'?').next().unwrap_or_default();
    match (method, path) {
        (b"GET" | b"HEAD", b"/healthz") => Ok(()),
        (_, b"/healthz") => Err(("405 Method Not Allowed", "use GET\n")),
        (_, [b'/', ..]) => Err(("404 Not Found", "there is only /healthz\n")),
        _ => Err(("400 Bad Request", "no HTTP\n")),
    }
}

/// Where the daemon's socket may be, looked at in the order in which it is chosen.
pub(crate) fn find_socket(usual: PathBuf) -> PathBuf {
    if usual.exists() {
        return usual;
    }
    let others = super::machine::OTHER_SOCKETS.into_iter().map(PathBuf::from);
    others.into_iter().find(|path| path.exists()).unwrap_or(usual)
}

#[cfg(test)]
mod tests {
    use super::*;
    use expect_test::expect;

    #[test]
    fn a_verdict_for_every_state() {
        let mut text = String::new();
        for state in ["Running", "Starting", "Stopped", "NeedsLogin", "NeedsMachineAuth", "NoState", "?"] {
            let status = Status {
                backend_state: state.to_owned(),
                tailscale_ips: vec!["100.64.0.1".parse().unwrap(), "fd7a:115c:a1e0::1".parse().unwrap()],
                ..Status::default()
            };
            text.push_str(&format!("{state}: {:?}\n", verdict(&status)));
        }
        let asked = Status {
            backend_state: "NeedsLogin".to_owned(),
            auth_url: "https://control.example.com/register/x".to_owned(),
            health: Some(vec!["The last login error was: key expired.".to_owned()]),
            ..Status::default()
        };
        text.push_str(&format!("{:?}\n", verdict(&asked)));
        expect![[r#"
            Running: Ok("running at 100.64.0.1, fd7a:115c:a1e0::1")
            Starting: Err("starting: neither a relay nor a peer has answered yet")
            Stopped: Err("stopped by \"tailscale down\"; \"tailscale up\" starts it")
            NeedsLogin: Err("not logged in")
            NeedsMachineAuth: Err("waits for an admin to approve this machine")
            NoState: Err("starting: control has not answered yet")
            ?: Err("starting: control has not answered yet")
            Err("not logged in: visit https://control.example.com/register/x; The last login error was: key expired")
        "#]].assert_eq(&text);
    }

    #[test]
    fn only_healthz_is_answered() {
        assert_eq!(wanted(b"GET /healthz HTTP/1.1"), Ok(()));
        assert_eq!(wanted(b"HEAD /healthz?probe=1 HTTP/1.0"), Ok(()));
        let status = |line: &[u8]| wanted(line).map_err(|(status, _)| status.split(' ').next().unwrap_or(""));
        assert_eq!(status(b"POST /healthz HTTP/1.1"), Err("405"));
        assert_eq!(status(b"GET /metrics HTTP/1.1"), Err("404"));
        assert_eq!(status(b"\x16\x03\x01"), Err("400"));
        assert_eq!(status(b""), Err("400"));
    }

    #[tokio::test]
    async fn who_connects_and_says_nothing_is_gone_in_a_second() {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let _silent = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let began = tokio::time::Instant::now();
        let answered = answer(listener.accept().await.unwrap().0, &Client::new("/none".into())).await;
        assert!(answered.is_err() && began.elapsed() < TALK / 2);
    }

    #[tokio::test]
    async fn without_a_daemon_healthz_says_503() {
        let local = tokio::task::LocalSet::new();
        let dir = tempfile::tempdir().unwrap();
        let said = local.run_until(async {
            let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
            let at = listener.local_addr().unwrap();
            let client = Client::new(dir.path().join("none"));
            let asked = async {
                let mut stream = TcpStream::connect(at).await.unwrap();
                stream.write_all(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
                let mut said = String::new();
                stream.read_to_string(&mut said).await.unwrap();
                said
            };
            let answered = async { answer(listener.accept().await.unwrap().0, &client).await.unwrap() };
            tokio::join!(asked, answered).0
        });
        let said = said.await;
        assert!(said.starts_with("HTTP/1.1 503 "), "{said}");
    }
}
