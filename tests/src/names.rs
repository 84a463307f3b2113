//! Questions to name servers, byte by byte, and answers as text that can be compared.

use anyhow::{Context, Result, ensure};
use base64::Engine as _;
use lab::{Host, Node};
use std::fmt::Write as _;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream, UdpSocket};
use std::time::Duration;

/// How long an answer may take before it counts as silence.
const PATIENCE: Duration = Duration::from_millis(1500);

/// A question.
#[derive(Debug, Clone)]
pub struct Question {
    /// What is shown when answers differ.
    pub about: String,
    /// As it is sent.
    pub bytes: Vec<u8>,
}

/// A name as labels; what is longer than a label may be is sent all the same.
pub fn labels(name: &str) -> Vec<u8> {
    let mut out = Vec::new();
    for label in name.trim_end_matches('.').split('.').filter(|label| !label.is_empty()) {
        out.push(label.len() as u8);
        out.extend_from_slice(label.as_bytes());
    }
    out.push(0);
    out
}

/// A query for a name of a kind, with recursion desired.
pub fn query(name: &str, kind: u16) -> Question {
    let mut bytes = vec![0x12, 0x34, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
    bytes.extend_from_slice(&labels(name));
    bytes.extend_from_slice(&kind.to_be_bytes());
    bytes.extend_from_slice(&[0, 1]);
    Question { about: format!("{name} {kind}"), bytes }
}

/// The same with EDNS: the size that the asker takes, the flags, and options as bytes.
pub fn with_edns(mut question: Question, size: u16, flags: u16, options: &[u8]) -> Question {
    question.bytes[11] = 1;
    question.bytes.extend_from_slice(&[0, 0, 41]);
    question.bytes.extend_from_slice(&size.to_be_bytes());
    question.bytes.extend_from_slice(&[0, 0]);
    question.bytes.extend_from_slice(&flags.to_be_bytes());
    question.bytes.extend_from_slice(&(options.len() as u16).to_be_bytes());
    question.bytes.extend_from_slice(options);
    question.about = format!("{} edns {size} {flags:x} {}", question.about, options.len());
    question
}

/// Asks by UDP; `None` is silence.
///
/// # Errors
/// When nothing can be sent.
pub fn by_udp(from: &Host, to: SocketAddr, bytes: &[u8]) -> Result<Option<Vec<u8>>> {
    by_udp_within(from, to, bytes, PATIENCE)
}

/// The same with another patience.
///
/// # Errors
/// When nothing can be sent.
pub fn by_udp_within(
    from: &Host,
    to: SocketAddr,
    bytes: &[u8],
    patience: Duration,
) -> Result<Option<Vec<u8>>> {
    from.inside(|| {
        let any = if to.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" };
        let socket = UdpSocket::bind(any)?;
        socket.connect(to)?;
        socket.set_read_timeout(Some(patience))?;
        socket.send(bytes)?;
        let mut room = vec![0; 65536];
        Ok(socket.recv(&mut room).ok().map(|length| room[..length].to_vec()))
    })?
}

/// Asks by TCP; `None` is silence, or a stream that is closed.
///
/// # Errors
/// When nobody listens.
pub fn by_tcp(from: &Host, to: SocketAddr, bytes: &[u8]) -> Result<Option<Vec<u8>>> {
    by_tcp_within(from, to, bytes, PATIENCE)
}

/// The same with another patience.
///
/// # Errors
/// When nobody listens.
pub fn by_tcp_within(
    from: &Host,
    to: SocketAddr,
    bytes: &[u8],
    patience: Duration,
) -> Result<Option<Vec<u8>>> {
    from.inside(|| {
        let mut stream = TcpStream::connect_timeout(&to, Duration::from_secs(5))
            .with_context(|| format!("no stream to {to}"))?;
        stream.set_read_timeout(Some(patience))?;
        let mut framed = (bytes.len() as u16).to_be_bytes().to_vec();
        framed.extend_from_slice(bytes);
        stream.write_all(&framed)?;
        let mut length = [0; 2];
        if stream.read_exact(&mut length).is_err() {
            return Ok(None);
        }
        let mut answer = vec![0; usize::from(u16::from_be_bytes(length))];
        stream.read_exact(&mut answer).context("half an answer")?;
        Ok(Some(answer))
    })?
}

/// A node's PeerAPI, as one of its peers asks it: by a connection that is used again.
pub struct PeerApi<'a> {
    from: &'a Host,
    at: SocketAddr,
    stream: Option<TcpStream>,
}

impl<'a> PeerApi<'a> {
    /// Of the node that `from` knows by this address, as soon as it has told.
    ///
    /// # Errors
    /// When it has none.
    pub fn of(from: &'a Node, address: &str) -> Result<Self> {
        let url = lab::until("the other's PeerAPI", Duration::from_secs(20), || {
            let peer = from.peer(address)?.context("no such peer")?;
            Ok(peer["PeerAPIURL"][0].as_str().map(str::to_owned))
        })?;
        let at = url.trim_start_matches("http://").trim_end_matches('/').parse()?;
        Ok(Self { from: &from.host, at, stream: None })
    }

    /// The answer to a query by POST, or by GET, as text; what is no answer has its status.
    ///
    /// # Errors
    /// When there is no whole answer.
    pub fn query(&mut self, query: &[u8], get: bool) -> Result<String> {
        let (status, body) = if get {
            let text = base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(query);
            self.ask("GET", &format!("/dns-query?dns={text}"), &[])?
        } else {
            self.ask("POST", "/dns-query", query)?
        };
        Ok(if status == 200 { text(Some(&body)) } else { format!("HTTP {status}") })
    }

    /// Status and body of an answer.
    ///
    /// # Errors
    /// When there is no whole answer.
    pub fn ask(&mut self, method: &str, target: &str, body: &[u8]) -> Result<(u16, Vec<u8>)> {
        let kept = self.stream.take();
        if let Some(stream) = kept
            && let Ok(answer) = self.exchange(stream, method, target, body)
        {
            return Ok(answer);
        }
        let connecting = || TcpStream::connect_timeout(&self.at, Duration::from_secs(5));
        let stream = self.from.inside(connecting)?.with_context(|| format!("no stream to {}", self.at))?;
        self.exchange(stream, method, target, body)
    }

    fn exchange(
        &mut self,
        mut stream: TcpStream,
        method: &str,
        target: &str,
        body: &[u8],
    ) -> Result<(u16, Vec<u8>)> {
        // Longer than the five seconds of who answers.
        stream.set_read_timeout(Some(Duration::from_secs(8)))?;
        stream.set_nodelay(true)?;
        let head = format!(
            "{method} {target} HTTP/1.1\r\nHost: {}\r\nContent-Type: application/dns-message\r\n\
             Content-Length: {}\r\n\r\n",
            self.at,
            body.len()
        );
        stream.write_all(&[head.as_bytes(), body].concat())?;
        let (mut head, mut byte) = (Vec::new(), [0]);
        while !head.ends_with(b"\r\n\r\n") {
            stream.read_exact(&mut byte)?;
            head.push(byte[0]);
        }
        let head = String::from_utf8(head)?.to_ascii_lowercase();
        let status = head.split(' ').nth(1).context("no status")?.parse()?;
        let length = head.lines().find_map(|line| line.strip_prefix("content-length:"));
        let mut body = vec![0; length.context("no length")?.trim().parse()?];
        stream.read_exact(&mut body)?;
        if !head.contains("connection: close") {
            self.stream = Some(stream);
        }
        Ok((status, body))
    }
}

/// An answer as text: flags, question and all records, names without compression, serial numbers left out, records of a
/// section in alphabetical order. What cannot be read is shown as bytes.
pub fn text(answer: Option<&[u8]>) -> String {
    let Some(bytes) = answer else { return "silence".to_owned() };
    read(bytes).unwrap_or_else(|error| format!("{error}: {bytes:02x?}"))
}

/// How large an answer that was cut may have been depends on nobody.
fn read(bytes: &[u8]) -> Result<String> {
    ensure!(bytes.len() >= 12, "no header");
    let word = |at: usize| -> Result<u16> {
        Ok(u16::from_be_bytes([*bytes.get(at).context("cut")?, *bytes.get(at + 1).context("cut")?]))
    };
    let mut out = format!("{:04x} {:04x}", word(0)?, word(2)?);
    let mut at = 12;
    for _ in 0..word(4)? {
        let (name, end) = name(bytes, at)?;
        write!(out, " ? {name} {} {}", word(end)?, word(end + 2)?)?;
        at = end + 4;
    }
    for section in [6, 8, 10] {
        let mut records = Vec::new();
        for _ in 0..word(section)? {
            // Who compresses spells as the question does.
            let (owner, end) = name(bytes, at).map(|(owner, end)| (owner.to_ascii_lowercase(), end))?;
            let (kind, class) = (word(end)?, word(end + 2)?);
            let ttl = u32::from(word(end + 4)?) << 16 | u32::from(word(end + 6)?);
            let start = end + 10;
            at = start + usize::from(word(end + 8)?);
            let data = bytes.get(start..at).context("cut")?;
            let data = match kind {
                2 | 5 | 12 => name(bytes, start)?.0,
                // The serial number is the time.
                6 => {
                    let (server, next) = name(bytes, start)?;
                    let (mailbox, next) = name(bytes, next)?;
                    let rest = bytes.get(next + 4..at).context("cut")?;
                    format!("{server} {mailbox} {rest:02x?}").to_ascii_lowercase()
                }
                _ => format!("{data:02x?}"),
            };
            records.push(format!("{owner} {kind} {class} {ttl} {data}"));
        }
        records.sort();
        write!(out, " | {}", records.join(", "))?;
    }
    Ok(out)
}

/// The name at `at` of a message, with its final dot, and where it ends there.
///
/// # Errors
/// When it is cut off, or leads to itself.
pub fn name(bytes: &[u8], mut at: usize) -> Result<(String, usize)> {
    let (mut text, mut end, mut hops) = (String::new(), None, 0);
    loop {
        let length = usize::from(*bytes.get(at).context("cut")?);
        match length {
            0 => break,
            1..=63 => {
                let label = bytes.get(at + 1..at + 1 + length).context("cut")?;
                text.push_str(&String::from_utf8_lossy(label));
                text.push('.');
                at += 1 + length;
            }
            _ => {
                end.get_or_insert(at + 2);
                at = (length & 0x3f) << 8 | usize::from(*bytes.get(at + 1).context("cut")?);
                hops += 1;
                ensure!(hops < 40, "a name that leads to itself");
            }
        }
    }
    Ok((text, end.unwrap_or(at + 1)))
}
