//! Heads that are being written.

use crate::Method;
use std::fmt::Write as _;

/// A head without the empty line after it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Head {
    pub(crate) text: String,
    /// Something was left out because it would not have stayed in its line.
    pub(crate) lacking: bool,
    /// Method of a request; of an answer it is not looked at.
    pub(crate) method: Method,
    /// Status of an answer.
    pub(crate) status: u16,
}

impl Head {
    /// A request to `host` for `target`: path and query.
    pub fn request(method: Method, target: &str, host: &str) -> Self {
        let lacking = target.is_empty() || !target.bytes().all(|byte| byte.is_ascii_graphic());
        let text = format!("{method} {target} HTTP/1.1\r\n");
        Self { text, lacking, method, status: 0 }.field("Host", host)
    }

    /// An answer.
    pub fn answer(status: u16) -> Self {
        let text = format!("HTTP/1.1 {status} {}\r\n", reason(status));
        Self { text, lacking: false, method: Method::GET, status }
    }

    /// Adds a field. A value that is not printable ASCII is left out, and a request that lacks one is not sent.
    #[must_use]
    pub fn field(mut self, name: &str, value: &str) -> Self {
        self.add(name, value);
        self
    }

    pub(crate) fn add(&mut self, name: &str, value: &str) {
        if value.bytes().all(|byte| byte.is_ascii_graphic() || matches!(byte, b' ' | b'\t')) {
            for part in [name, ": ", value, "\r\n"] {
                self.text.push_str(part);
            }
        } else {
            self.lacking = true;
        }
    }
}

/// `data` as a chunk, in one piece: each is one write, so that it leaves at once. The last chunk is empty.
pub(crate) fn chunk(data: &[u8]) -> Vec<u8> {
    let mut size = String::with_capacity(10);
    let _ = write!(size, "{:x}\r\n", data.len());
    let mut out = Vec::with_capacity(size.len() + data.len() + 2);
    out.extend_from_slice(size.as_bytes());
    out.extend_from_slice(data);
    out.extend_from_slice(b"\r\n");
    out
}

/// The words that go with a status; empty for a rare one.
pub fn reason(status: u16) -> &'static str {
    match status {
        101 => "Switching Protocols",
        200 => "OK",
        201 => "Created",
        202 => "Accepted",
        204 => "No Content",
        206 => "Partial Content",
        301 => "Moved Permanently",
        302 => "Found",
        304 => "Not Modified",
        400 => "Bad Request",
        401 => "Unauthorized",
        403 => "Forbidden",
        404 => "Not Found",
        405 => "Method Not Allowed",
        408 => "Request Timeout",
        409 => "Conflict",
        411 => "Length Required",
        412 => "Precondition Failed",
        413 => "Request Entity Too Large",
        415 => "Unsupported Media Type",
        429 => "Too Many Requests",
        431 => "Request Header Fields Too Large",
        500 => "Internal Server Error",
        501 => "Not Implemented",
        502 => "Bad Gateway",
        503 => "Service Unavailable",
        504 => "Gateway Timeout",
        505 => "HTTP Version Not Supported",
        _ => "",
    }
}
