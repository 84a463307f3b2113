//! LocalAPI asked by hand: what the command line does not show, or in another form.

use anyhow::{Context, Result};
use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

/// An answer, without what every answer has.
#[derive(Debug, PartialEq, Eq)]
pub struct Answer {
    /// The number of its status.
    pub status: String,
    /// `Content-Type`, empty if there is none.
    pub kind: String,
    /// The body.
    pub body: String,
}

/// Asks the daemon at this socket. A request is a method, a path below `/localapi/v0/` or a whole one, and a body or none.
///
/// # Errors
/// When nobody answers within half a minute, or not in HTTP.
pub fn ask(socket: &Path, request: &str) -> Result<Answer> {
    let (method, rest) = request.split_once(' ').context("no path")?;
    let (path, body) = rest.split_once(' ').unwrap_or((rest, ""));
    let path = if path.starts_with('/') { path.to_owned() } else { format!("/localapi/v0/{path}") };
    let mut stream = UnixStream::connect(socket).context("the daemon's socket")?;
    stream.set_read_timeout(Some(Duration::from_secs(30)))?;
    let length = body.len();
    // HTTP/1.0, so that no answer comes in chunks.
    write!(
        stream,
        "{method} {path} HTTP/1.0\r\nHost: local-tailscaled.sock\r\nContent-Length: {length}\r\n\r\n{body}"
    )?;
    let mut text = String::new();
    stream.read_to_string(&mut text).with_context(|| format!("the answer to {request}"))?;
    let (head, body) = text.split_once("\r\n\r\n").context("no head")?;
    let status = head.split(' ').nth(1).unwrap_or_default().to_owned();
    let kind = head
        .lines()
        .find_map(|line| line.strip_prefix("Content-Type: ").or_else(|| line.strip_prefix("content-type: ")));
    Ok(Answer { status, kind: kind.unwrap_or_default().to_owned(), body: body.to_owned() })
}

/// The same for what is to succeed: the body.
///
/// # Errors
/// As [`ask`], and when the status is not 200.
pub fn body(socket: &Path, request: &str) -> Result<String> {
    let answer = ask(socket, request)?;
    anyhow::ensure!(answer.status == "200", "{request}: {answer:?}");
    Ok(answer.body)
}
