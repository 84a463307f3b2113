//! Other ends for tests: a real registry, a line that is cut, and a registry that answers by script.

use lab::Process;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, Shutdown, TcpListener, TcpStream};
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tempfile::TempDir;

/// User and password of a registry that wants them, and docker-registry's line for both.
pub(super) const USER: &str = "pusher";
pub(super) const PASSWORD: &str = "open-sesame";
const HTPASSWD: &str = "pusher:$2y$04$ZLnJHuSjnqQfEU/vtPfIN.J31kGDt8CLZjATSyCBMIKWNUSAcUHWy\n";

/// Debian's docker-registry on a port of loopback.
pub(super) struct Registry {
    pub(super) port: u16,
    dir: TempDir,
    process: Process,
}

impl Registry {
    /// Starts one; `locked` asks for user and password.
    pub(super) fn start(locked: bool) -> Self {
        // Between our asking for a free port and its listening there, somebody else may have got the port.
        (0..5).find_map(|_| Self::try_start(locked)).expect("docker-registry listens")
    }

    fn try_start(locked: bool) -> Option<Self> {
        let dir = tempfile::tempdir().unwrap();
        let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap().port();
        let path = |name: &str| dir.path().join(name);
        let mut config = format!(
            "version: 0.1\nlog: {{level: error}}\nstorage:\n  filesystem: {{rootdirectory: {}}}\n\
             http: {{addr: \"127.0.0.1:{port}\"}}\n",
            path("data").display()
        );
        if locked {
            std::fs::write(path("htpasswd"), HTPASSWD).unwrap();
            config.push_str(&format!(
                "auth: {{htpasswd: {{realm: r, path: {}}}}}\n",
                path("htpasswd").display()
            ));
        }
        std::fs::write(path("config.yml"), config).unwrap();
        let mut command = Command::new("docker-registry");
        command.arg("serve").arg(path("config.yml")).env_remove("OTEL_TRACES_EXPORTER");
        let process = Process::spawn(command, "docker-registry", &path("log")).unwrap();
        let mut registry = Self { port, dir, process };
        let listens = lab::until("docker-registry", Duration::from_secs(20), || {
            if !registry.process.running() {
                let log = registry.log();
                assert!(log.contains("address already in use"), "docker-registry ended: {log}");
                return Ok(Some(false));
            }
            Ok(TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_ok().then_some(true))
        });
        listens.unwrap().then_some(registry)
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.dir.path().join("log")).unwrap_or_default()
    }

    /// Bytes of everything it keeps, broken-off uploads included.
    pub(super) fn kept(&self) -> u64 {
        fn size(path: &Path) -> u64 {
            let Ok(found) = path.symlink_metadata() else { return 0 };
            let entries = std::fs::read_dir(path).into_iter().flatten().flatten();
            if found.is_dir() { entries.map(|entry| size(&entry.path())).sum() } else { found.len() }
        }
        size(&self.dir.path().join("data"))
    }
}

/// A line to a port of loopback. It counts what passes towards it, and breaks when it is told.
pub(super) struct Line {
    pub(super) port: u16,
    state: Arc<LineState>,
}

#[derive(Default)]
struct LineState {
    sent: AtomicUsize,
    connections: AtomicUsize,
    /// Bytes after which a connection is cut.
    limit: AtomicUsize,
    /// Whether that happens to each connection, or to the first that reaches the limit.
    always: AtomicBool,
}

impl Line {
    /// A line to `port` that cuts after `limit` bytes: once, or each connection.
    pub(super) fn to(port: u16, limit: usize, always: bool) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let own = listener.local_addr().unwrap().port();
        let state = Arc::new(LineState::default());
        state.limit.store(limit, Ordering::Relaxed);
        state.always.store(always, Ordering::Relaxed);
        let shared = state.clone();
        std::thread::spawn(move || {
            for near in listener.incoming().flatten() {
                let state = shared.clone();
                state.connections.fetch_add(1, Ordering::Relaxed);
                std::thread::spawn(move || carry(near, port, &state));
            }
        });
        Self { port: own, state }
    }

    /// Bytes that passed towards the far end.
    pub(super) fn sent(&self) -> usize {
        self.state.sent.load(Ordering::Relaxed)
    }

    pub(super) fn connections(&self) -> usize {
        self.state.connections.load(Ordering::Relaxed)
    }
}

fn carry(near: TcpStream, port: u16, state: &LineState) {
    let Ok(far) = TcpStream::connect((Ipv4Addr::LOCALHOST, port)) else { return };
    let (Ok(mut back_from), Ok(mut back_to)) = (far.try_clone(), near.try_clone()) else { return };
    std::thread::spawn(move || {
        std::io::copy(&mut back_from, &mut back_to).ok();
        back_to.shutdown(Shutdown::Both).ok();
    });
    let (mut near, mut far) = (near, far);
    let mut buffer = [0; 16 * 1024];
    let mut passed = 0;
    while let Ok(read @ 1..) = near.read(&mut buffer) {
        state.sent.fetch_add(read, Ordering::Relaxed);
        passed += read;
        if far.write_all(&buffer[..read]).is_err() {
            break;
        }
        if passed >= state.limit.load(Ordering::Relaxed) {
            if !state.always.load(Ordering::Relaxed) {
                state.limit.store(usize::MAX, Ordering::Relaxed);
            }
            break;
        }
    }
    near.shutdown(Shutdown::Both).ok();
    far.shutdown(Shutdown::Both).ok();
}

/// What a scripted registry was asked.
#[derive(Clone, Debug, Default)]
pub(super) struct Asked {
    pub(super) method: String,
    pub(super) path: String,
    pub(super) headers: Vec<(String, String)>,
    pub(super) body: Vec<u8>,
}

impl Asked {
    pub(super) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }
}

/// What it says: status, heads, body.
pub(super) type Said = (u16, Vec<(&'static str, String)>, String);

/// A registry that answers by script and remembers what it was asked.
pub(super) struct Scripted {
    pub(super) port: u16,
    asked: Arc<Mutex<Vec<Asked>>>,
}

impl Scripted {
    pub(super) fn start(script: impl Fn(&Asked, u16) -> Said + Send + 'static) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        let asked: Arc<Mutex<Vec<Asked>>> = Arc::default();
        let notes = asked.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                answer(stream, &notes, &|asked| script(asked, port));
            }
        });
        Self { port, asked }
    }

    /// Everything it was asked so far.
    pub(super) fn asked(&self) -> Vec<Asked> {
        self.asked.lock().unwrap().clone()
    }
}

/// One question and one answer a connection.
fn answer(stream: TcpStream, notes: &Mutex<Vec<Asked>>, script: &dyn Fn(&Asked) -> Said) -> Option<()> {
    let mut reader = BufReader::new(stream);
    let mut line = String::new();
    reader.read_line(&mut line).ok()?;
    let mut words = line.split_whitespace();
    let mut asked =
        Asked { method: words.next()?.to_owned(), path: words.next()?.to_owned(), ..Asked::default() };
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).ok()?;
        let Some((name, value)) = line.trim_end().split_once(": ") else { break };
        asked.headers.push((name.to_lowercase(), value.to_owned()));
    }
    let length = asked.header("content-length").and_then(|text| text.parse().ok()).unwrap_or(0);
    asked.body = vec![0; length];
    reader.read_exact(&mut asked.body).ok()?;
    let (status, heads, body) = script(&asked);
    notes.lock().unwrap().push(asked.clone());
    let mut text = format!("HTTP/1.1 {status} X\r\nConnection: close\r\nContent-Length: {}\r\n", body.len());
    for (name, value) in heads {
        text.push_str(&format!("{name}: {value}\r\n"));
    }
    text.push_str("\r\n");
    if asked.method != "HEAD" {
        text.push_str(&body);
    }
    reader.into_inner().write_all(text.as_bytes()).ok()
}

/// A registry that has nothing and takes everything.
pub(super) fn agreeable(asked: &Asked) -> Said {
    let location = ("Location", "/v2/team/smalltail/blobs/uploads/1?state=x".to_owned());
    match asked.method.as_str() {
        "HEAD" => (404, Vec::new(), String::new()),
        "POST" => (202, vec![location], String::new()),
        "PATCH" => {
            let range = asked.header("content-range").unwrap_or("0-0");
            let last = range.split('-').next_back().unwrap_or("0");
            (202, vec![location, ("Range", format!("0-{last}"))], String::new())
        }
        "PUT" => (201, Vec::new(), String::new()),
        _ => (405, Vec::new(), String::new()),
    }
}
