//! A daemon that answers from a script, and a command line run against it.
//!
//! The HTTP here is written by hand and knows nothing of the client under test. Every call is written down, so a
//! test sees order and bodies.

// Each test file uses its own part of this.
#![allow(dead_code, unreachable_pub, clippy::unwrap_used)]

pub mod nodes;

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, SystemTime};

use expect_test::Expect;
use localapi::types::{Indent, OptionalFeatures, Prefs, to_go_json};
use serde_json::{Value, json};

/// What the daemon answers.
#[derive(Clone, Default)]
pub struct Script {
    /// By `METHOD path` or `METHOD path?query`, the latter first: status and body.
    answers: BTreeMap<String, (u16, String)>,
    /// Sent on the bus, after the call that begins with the first word was made.
    bus: (String, Vec<String>),
    /// Whether the bus ends after its last line.
    bus_ends: bool,
}

impl Script {
    /// A daemon with this status and these preferences, that accepts what is asked of it.
    pub fn new(status: &Value, prefs: &Value) -> Self {
        let mut script = Self::default();
        for (call, status, body) in [
            ("GET status", 200, status.to_string()),
            ("GET prefs", 200, prefs.to_string()),
            ("PATCH prefs", 200, prefs.to_string()),
            ("POST check-prefs", 200, "{}".to_owned()),
            ("GET check-ip-forwarding", 200, "{\"Warning\":\"\"}".to_owned()),
            ("GET check-udp-gro-forwarding", 200, "{\"Warning\":\"\"}".to_owned()),
            ("POST start", 204, String::new()),
            ("POST login-interactive", 204, String::new()),
            ("POST logout", 204, String::new()),
            ("PUT profiles/", 201, String::new()),
        ] {
            script.answers.insert(call.to_owned(), (status, body));
        }
        script
    }

    /// Answers `call` with `status` and `body`.
    pub fn answer(mut self, call: &str, status: u16, body: &str) -> Self {
        self.answers.insert(call.to_owned(), (status, body.to_owned()));
        self
    }

    /// Puts `lines` on the bus once `after` was called; empty for at once.
    pub fn bus(mut self, after: &str, lines: &[&str]) -> Self {
        self.bus = (after.to_owned(), lines.iter().map(|line| (*line).to_owned()).collect());
        self
    }

    /// Closes the bus after its last line.
    pub fn bus_ends(mut self) -> Self {
        self.bus_ends = true;
        self
    }
}

/// What a command line did.
pub struct Done {
    pub status: i32,
    pub out: String,
    pub err: String,
    /// `METHOD path body`, in order; bodies cut down to what they change.
    pub calls: Vec<String>,
}

impl Done {
    /// All of it as one text to compare.
    pub fn transcript(&self) -> String {
        let mut text = String::new();
        for call in &self.calls {
            text.push_str(&format!("> {call}\n"));
        }
        for (name, stream) in [("out", &self.out), ("err", &self.err)] {
            if !stream.is_empty() {
                let newline = if stream.ends_with('\n') { "" } else { "⏎\n" };
                text.push_str(&format!("-- {name}\n{stream}{newline}"));
            }
        }
        format!("{text}-- status {}\n", self.status)
    }
}

/// The environment of the tests: a time at which the recorded rows were made, an ordinary user.
pub fn env(socket: PathBuf) -> cli::Env {
    cli::Env {
        commands: &cli::ALL_COMMANDS,
        patient: false,
        vars: [("USER", "joe")].map(|(name, value)| (name.to_owned(), value.to_owned())).into(),
        uid: 1000,
        terminal: false,
        now: SystemTime::UNIX_EPOCH + Duration::from_secs(1_795_300_000),
        socket,
        version: cli::VersionInfo {
            short: "1.102.5".to_owned(),
            long: "1.102.5-test".to_owned(),
            commit: "0123abcd".to_owned(),
            capability: 119,
            features: OptionalFeatures {
                features: ["health", "osrouter"].map(|name| (name.to_owned(), true)).into(),
                missing: vec!["dns".to_owned()],
            },
        },
        dialer: || Err("no way out of a test".to_owned()),
    }
}

/// Runs `tailscale line`, words split at blanks (`%20` is one), against `script`.
pub fn run(script: &Script, line: &str) -> Done {
    run_as(script, line, |_| ())
}

/// The same with standard output going to `out`; gives the exit status.
pub fn run_into(script: &Script, line: &str, out: &mut dyn Write) -> i32 {
    run_with(script, line, |_| (), out).status
}

/// The same with a changed environment.
pub fn run_as(script: &Script, line: &str, change: impl FnOnce(&mut cli::Env)) -> Done {
    let mut out = Vec::new();
    let done = run_with(script, line, change, &mut out);
    Done { out: String::from_utf8(out).unwrap().replace(&done.out, "DIR"), ..done }
}

/// Gives, as output, the directory that is not to be shown.
fn run_with(script: &Script, line: &str, change: impl FnOnce(&mut cli::Env), out: &mut dyn Write) -> Done {
    let dir = tempfile::tempdir().unwrap();
    let socket = dir.path().join("s");
    let listener = UnixListener::bind(&socket).unwrap();
    let calls = Arc::new((Mutex::new(Vec::new()), Condvar::new()));
    let (script, shared) = (Arc::new(script.clone()), Arc::clone(&calls));
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let (script, calls) = (Arc::clone(&script), Arc::clone(&shared));
            // A client that goes away is no failure of the test.
            std::thread::spawn(move || serve(stream.unwrap(), &script, &calls));
        }
    });
    let mut env = env(socket);
    change(&mut env);
    let args: Vec<String> = line.split_whitespace().map(|word| word.replace("%20", " ")).collect();
    let mut err = Vec::new();
    let status = cli::run(&args, &env, out, &mut err);
    let calls = calls.0.lock().unwrap().clone();
    let out = dir.path().to_str().unwrap().to_owned();
    Done { status, err: String::from_utf8(err).unwrap().replace(&out, "DIR"), out, calls }
}

type Calls = (Mutex<Vec<String>>, Condvar);

fn serve(stream: UnixStream, script: &Script, calls: &Calls) -> Option<()> {
    let mut reader = BufReader::new(stream.try_clone().ok()?);
    let mut stream = stream;
    loop {
        let (method, path, reason, body) = request(&mut reader)?;
        let name = path.strip_prefix("/localapi/v0/").unwrap_or(&path).to_owned();
        let mut call = format!("{method} {name}{}", shortened(&name, &body));
        if !reason.is_empty() {
            call.push_str(&format!(" reason={reason}"));
        }
        calls.0.lock().unwrap().push(call);
        calls.1.notify_all();
        if name.starts_with("watch-ipn-bus") && !script.answers.contains_key("GET watch-ipn-bus") {
            stream.write_all(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n").ok()?;
            let (after, lines) = &script.bus;
            let seen = |calls: &mut Vec<String>| !calls.iter().any(|call| call.starts_with(after.as_str()));
            drop(calls.1.wait_while(calls.0.lock().unwrap(), seen).unwrap());
            for line in lines {
                write!(stream, "{:x}\r\n{line}\n\r\n", line.len() + 1).ok()?;
            }
            if script.bus_ends {
                stream.write_all(b"0\r\n\r\n").ok()?;
            }
            continue;
        }
        let short = format!("{method} {}", name.split('?').next().unwrap_or_default());
        let answer = script.answers.get(&format!("{method} {name}")).or_else(|| script.answers.get(&short));
        let (status, body) = answer.cloned().unwrap_or_else(|| (404, "404 page not found\n".to_owned()));
        if status == 0 {
            // Never answers.
            std::thread::sleep(Duration::from_secs(60));
            return None;
        }
        write!(stream, "HTTP/1.1 {status} {}\r\n", reason_phrase(status)).ok()?;
        if status != 204 {
            write!(stream, "Content-Length: {}\r\n", body.len()).ok()?;
        }
        write!(stream, "\r\n{body}").ok()?;
    }
}

fn reason_phrase(status: u16) -> &'static str {
    match status {
        200 => "OK",
        204 => "No Content",
        400 => "Bad Request",
        403 => "Forbidden",
        404 => "Not Found",
        500 => "Internal Server Error",
        _ => "Other",
    }
}

fn request(reader: &mut impl BufRead) -> Option<(String, String, String, Vec<u8>)> {
    let mut line = String::new();
    reader.read_line(&mut line).ok().filter(|read| *read > 0)?;
    let mut words = line.split(' ');
    let (method, path) = (words.next()?.to_owned(), words.next()?.to_owned());
    let (mut length, mut chunked, mut reason) = (0, false, String::new());
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).ok()?;
        let Some((name, value)) = line.trim().split_once(':') else { break };
        match name.to_ascii_lowercase().as_str() {
            "content-length" => length = value.trim().parse().unwrap(),
            "transfer-encoding" => chunked = true,
            "x-tailscale-reason" => reason = value.trim().to_owned(),
            "host" => assert_eq!(value.trim(), "local-tailscaled.sock"),
            _ => {}
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    while chunked {
        let mut line = String::new();
        reader.read_line(&mut line).ok()?;
        let size = usize::from_str_radix(line.trim(), 16).unwrap();
        let mut chunk = vec![0; size + 2];
        reader.read_exact(&mut chunk).ok()?;
        body.extend_from_slice(&chunk[..size]);
        chunked = size > 0;
    }
    Some((method, path, reason, body))
}

/// What a body says, without what every body says: masked fields of an edit, what differs from the defaults of a
/// complete set of preferences.
fn shortened(name: &str, body: &[u8]) -> String {
    if body.is_empty() {
        return String::new();
    }
    let Ok(Value::Object(body)) = serde_json::from_slice::<Value>(body) else {
        return format!(" {}", String::from_utf8_lossy(body));
    };
    let differing = |prefs: &serde_json::Map<String, Value>| {
        let defaults = to_go_json(&Prefs::new_default(), Indent::None);
        let defaults: Value = serde_json::from_str(&defaults).unwrap();
        let fields = prefs.iter().filter(|(name, value)| defaults.get(name.as_str()) != Some(value));
        fields.map(|(name, value)| format!(" {name}={value}")).collect::<String>()
    };
    match name {
        "prefs" => {
            let set = body.iter().filter(|(name, _)| name.ends_with("Set"));
            set.map(|(name, set)| {
                let name = name.trim_end_matches("Set");
                let which = if set.is_object() { format!("({set})") } else { String::new() };
                format!(" {name}{which}={}", body.get(name).unwrap_or(&Value::Null))
            })
            .collect()
        }
        "check-prefs" => differing(&body),
        "start" => {
            let prefs = body["UpdatePrefs"].as_object().map(differing).unwrap_or_default();
            format!(" AuthKey={}{prefs}", body["AuthKey"])
        }
        _ => format!(" {}", Value::Object(body)),
    }
}

/// What a daemon with peers of every kind answers to `status`.
pub const STATUS: &str = include_str!("../data/status.json");

/// A daemon with [`STATUS`] and [`prefs`].
pub fn recorded() -> Script {
    Script::new(&json!({}), &prefs()).answer("GET status", 200, STATUS)
}

/// Settings of which most differ from the defaults.
pub fn prefs() -> Value {
    json!({
        "ControlURL": "https://c.example", "RouteAll": true, "ExitNodeID": "n6", "ExitNodeIP": "", "CorpDNS": true,
        "WantRunning": true, "Hostname": "it's me", "AdvertiseRoutes": ["0.0.0.0/0", "10.0.0.0/8", "::/0"],
        "AdvertiseTags": ["tag:a", "tag:b"], "NoStatefulFiltering": true, "NetfilterMode": 1,
        "OperatorUser": "joe", "ProfileName": "nick", "AutoUpdate": { "Check": true, "Apply": null },
    })
}

/// A status in the state `name`.
pub fn state(name: &str) -> Value {
    json!({ "Version": "9.9", "BackendState": name, "Self": { "TailscaleIPs": null }, "Health": ["a", "b"] })
}

/// Runs `line` and compares calls, output and exit status.
#[track_caller]
pub fn check(script: &Script, line: &str, want: Expect) {
    want.assert_eq(&run(script, line).transcript());
}
