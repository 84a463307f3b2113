//! Heads of messages: from bytes to values.

use crate::{Error, Method};

/// Header lines of a message at most.
const MAX_LINES: usize = 64;

/// Header fields in the order of their lines, names in lower case.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Headers(Vec<(String, Vec<u8>)>);

impl Headers {
    /// Every value of `name`, which is in lower case.
    pub fn all<'a>(&'a self, name: &str) -> impl Iterator<Item = &'a [u8]> {
        self.iter().filter(move |(known, _)| *known == name).map(|(_, value)| value)
    }

    /// The first value of `name`, which is in lower case.
    pub fn get(&self, name: &str) -> Option<&[u8]> {
        self.all(name).next()
    }

    /// The first value of `name` if it is text, else nothing.
    pub fn text(&self, name: &str) -> &str {
        self.get(name).and_then(|value| std::str::from_utf8(value).ok()).unwrap_or_default()
    }

    /// Names and values.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &[u8])> {
        self.0.iter().map(|(name, value)| (name.as_str(), value.as_slice()))
    }

    /// Whether the list of tokens in `name` has `token` (in lower case).
    pub(crate) fn lists(&self, name: &str, token: &str) -> bool {
        let mut tokens = self.all(name).flat_map(|value| value.split(|byte| *byte == b','));
        tokens.any(|one| one.trim_ascii().eq_ignore_ascii_case(token.as_bytes()))
    }

    fn of(lines: &[httparse::Header<'_>]) -> Self {
        Self(lines.iter().map(|line| (line.name.to_ascii_lowercase(), line.value.to_vec())).collect())
    }
}

/// A request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// What to do.
    pub method: Method,
    /// What with, as it stood in the request line.
    pub target: String,
    /// The client speaks HTTP/1.0.
    pub old: bool,
    /// The header fields.
    pub headers: Headers,
    /// The body; empty until it has been read.
    pub body: bytes::Bytes,
}

impl Request {
    /// The path, without query.
    pub fn path(&self) -> &str {
        self.parts().1
    }

    /// What follows the `?`.
    pub fn query(&self) -> &str {
        self.parts().2
    }

    /// The host in a request line that names one (`GET http://host/path`).
    pub fn authority(&self) -> Option<&str> {
        self.parts().0
    }

    fn parts(&self) -> (Option<&str>, &str, &str) {
        let (rest, query) = self.target.split_once('?').unwrap_or((&self.target, ""));
        let Some((_, rest)) = rest.split_once("://").filter(|_| !rest.starts_with('/')) else {
            return (None, rest, query);
        };
        let (authority, path) = rest.find('/').map_or((rest, "/"), |at| rest.split_at(at));
        (Some(authority), path, query)
    }
}

/// The first line and the fields of an answer.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Status {
    pub(crate) code: u16,
    pub(crate) reason: String,
    pub(crate) headers: Headers,
}

/// The length of the head at the start of `bytes` if all of it is there; `searched` bytes are known not to end it.
pub(crate) fn length(bytes: &[u8], searched: usize) -> Option<usize> {
    let from = searched.saturating_sub(2);
    let fresh = bytes.get(from..)?;
    let ends = fresh.iter().enumerate().filter(|(_, byte)| **byte == b'\n');
    for (at, _) in ends {
        match fresh.get(at + 1..) {
            Some([b'\n', ..]) => return Some(from + at + 2),
            Some([b'\r', b'\n', ..]) => return Some(from + at + 3),
            _ => {}
        }
    }
    None
}

/// Parses a whole head of a request.
pub(crate) fn request(head: &[u8]) -> Result<Request, Error> {
    let mut lines = [httparse::EMPTY_HEADER; MAX_LINES];
    let mut parsed = httparse::Request::new(&mut lines);
    if parsed.parse(head).map_err(|why| refused(why, head.len()))?.is_partial() {
        return Err(Error::Malformed("a request that does not end"));
    }
    let (Some(method), Some(target), Some(minor)) = (parsed.method, parsed.path, parsed.version) else {
        return Err(Error::Malformed("no request line"));
    };
    let method = Method::from_bytes(method.as_bytes()).map_err(|_| Error::Malformed("no method"))?;
    let known = target.starts_with('/') || target.contains("://") || target == "*";
    if !known && method != Method::CONNECT {
        return Err(Error::Malformed("no target"));
    }
    let (target, headers) = (target.to_owned(), Headers::of(parsed.headers));
    Ok(Request { method, target, old: minor == 0, headers, body: bytes::Bytes::new() })
}

/// Parses a whole head of an answer.
pub(crate) fn status(head: &[u8]) -> Result<Status, Error> {
    let mut lines = [httparse::EMPTY_HEADER; MAX_LINES];
    let mut parsed = httparse::Response::new(&mut lines);
    if parsed.parse(head).map_err(|why| refused(why, head.len()))?.is_partial() {
        return Err(Error::Malformed("an answer that does not end"));
    }
    let code = parsed.code.ok_or(Error::Malformed("no status"))?;
    let reason = parsed.reason.unwrap_or_default().to_owned();
    Ok(Status { code, reason, headers: Headers::of(parsed.headers) })
}

fn refused(why: httparse::Error, len: usize) -> Error {
    match why {
        httparse::Error::TooManyHeaders => Error::HeadTooLong(len),
        httparse::Error::Version => Error::Malformed("another version"),
        httparse::Error::HeaderName | httparse::Error::HeaderValue => Error::Malformed("a header line"),
        httparse::Error::Status => Error::Malformed("the status line"),
        _ => Error::Malformed("the first line"),
    }
}
