//! One call: connect, ask, read the answer within its limit, turn a refusal into an error.

use super::{Client, not_running};
use crate::error::Error;
use crate::server::{CAPABILITY_HEADER, HOST_NAME, REASON_HEADER};
use base64::Engine as _;
use bytes::Bytes;
use http1::{Head, Headers, Method};
use tokio::net::UnixStream;

/// The largest answer that is read whole: a status of some 100 000 peers.
const MAX_ANSWER: usize = 256 << 20;

/// An answer, whatever its status.
#[derive(Debug)]
pub struct Answer {
    /// Status code.
    pub status: u16,
    /// The daemon's words for it.
    pub reason: String,
    /// Headers; `Tailscale-Version` is the daemon's version where it tells.
    pub headers: Headers,
    /// Body.
    pub body: Bytes,
}

impl Answer {
    /// The status with its name: `404 Not Found`.
    pub fn status_text(&self) -> String {
        status_text(self.status, &self.reason)
    }

    /// Everything before the body, as HTTP/1.1 writes it, headers in the order of their names.
    pub fn head(&self) -> Vec<u8> {
        let mut lines: Vec<_> = self.headers.iter().collect();
        lines.sort_by_key(|(name, _)| *name);
        let mut out = format!("HTTP/1.1 {}\r\n", self.status_text()).into_bytes();
        for (name, value) in lines {
            let mut start = true;
            for byte in name.bytes() {
                out.push(if start { byte.to_ascii_uppercase() } else { byte });
                start = byte == b'-';
            }
            out.extend_from_slice(b": ");
            out.extend_from_slice(value);
            out.extend_from_slice(b"\r\n");
        }
        out.extend_from_slice(b"\r\n");
        out
    }
}

fn status_text(status: u16, reason: &str) -> String {
    format!("{status} {reason}").trim_end().to_owned()
}

/// An answer that is read bit by bit; dropping it ends the call.
#[derive(Debug)]
pub struct BodyStream {
    path: String,
    stream: UnixStream,
    response: http1::Response,
}

impl BodyStream {
    /// The next piece; `None` at the end. Dropping the future loses nothing.
    pub async fn next(&mut self) -> Result<Option<Bytes>, Error> {
        self.response.next(&mut self.stream).await.map_err(|error| broken(&self.path, &error))
    }

    pub(super) fn path(&self) -> &str {
        &self.path
    }

    async fn whole(&mut self) -> Result<Bytes, Error> {
        let whole = self.response.whole(&mut self.stream, MAX_ANSWER).await;
        whole.map_err(|error| broken(&self.path, &error))
    }

    /// What the daemon said, in the words of Go's client.
    async fn refused(mut self) -> Error {
        match self.whole().await {
            Ok(body) => refused(self.response.status, &self.response.reason, &body),
            Err(error) => error,
        }
    }
}

impl Client {
    /// Any call below `/localapi/v0/`, with whatever answer it gets; a `path` that begins with a slash is taken
    /// as it is.
    pub async fn raw(&self, method: Method, path: &str, body: Bytes) -> Result<Answer, Error> {
        let mut call = self.send(method, path, &body).await?;
        let body = call.whole().await?;
        let http1::Response { status, reason, headers, .. } = call.response;
        Ok(Answer { status, reason, headers, body })
    }

    /// A call whose answer must have the status `want`.
    pub(super) async fn exchange(
        &self,
        method: Method,
        path: &str,
        want: u16,
        body: &[u8],
    ) -> Result<Bytes, Error> {
        let mut call = self.send(method, path, body).await?;
        if call.response.status == want { call.whole().await } else { Err(call.refused().await) }
    }

    /// A call whose answer of 200 is read as it comes.
    pub async fn stream(&self, method: Method, path: &str, body: Bytes) -> Result<BodyStream, Error> {
        let call = self.send(method, path, &body).await?;
        if call.response.status == 200 { Ok(call) } else { Err(call.refused().await) }
    }

    async fn send(&self, method: Method, path: &str, body: &[u8]) -> Result<BodyStream, Error> {
        let name = endpoint(path);
        let mut stream = self.connect().await.map_err(|error| not_running(&self.socket, path, &error))?;
        let target = if path.starts_with('/') { path.to_owned() } else { format!("/localapi/v0/{path}") };
        let mut request = Head::request(method, &target, HOST_NAME);
        if let Some(capability) = self.capability {
            request = request.field(CAPABILITY_HEADER, &capability.to_string());
        }
        if let Some(reason) = &self.reason {
            let reason = base64::engine::general_purpose::STANDARD.encode(reason);
            request = request.field(REASON_HEADER, &reason);
        }
        let response = http1::ask(&mut stream, request, body).await.map_err(|error| broken(&name, &error))?;
        Ok(BodyStream { path: name, stream, response })
    }
}

/// The path without its query.
pub(super) fn endpoint(path: &str) -> String {
    let path = path.split('?').next().unwrap_or_default();
    if path.starts_with('/') { path.to_owned() } else { format!("/localapi/v0/{path}") }
}

fn broken(path: &str, error: &http1::Error) -> Error {
    let cause = match error {
        http1::Error::BodyTooLong(limit) => format!("the answer is larger than {limit} bytes"),
        error => error.to_string(),
    };
    Error::Connection { path: path.to_owned(), cause }
}

/// What the daemon said, in the words of Go's client.
fn refused(status: u16, reason: &str, body: &[u8]) -> Error {
    let said = gojson::from_slice::<crate::types::ErrorBody>(body).map(|body| body.error);
    let said = said.ok().filter(|text| !text.is_empty());
    let text = String::from_utf8_lossy(body).trim().to_owned();
    match status {
        403 => Error::AccessDenied(said.unwrap_or(text)),
        412 => Error::PreconditionsFailed(said.unwrap_or(text)),
        _ => {
            let text = said.unwrap_or_else(|| format!("{}: {text}", status_text(status, reason)));
            if status == 404 { Error::NotFound(text) } else { Error::Http { status, text } }
        }
    }
}
