//! One call: connect, ask, read the answer within its limit, turn a refusal into an error.

use super::{Client, not_running};
use crate::error::Error;
use crate::server::{CAPABILITY_HEADER, HOST_NAME, REASON_HEADER};
use base64::Engine as _;
use bytes::{Bytes, BytesMut};
use http::{HeaderMap, Method, Request, StatusCode};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;

/// The largest answer that is read whole: a status of some 100 000 peers.
const MAX_ANSWER: usize = 256 << 20;

/// An answer, whatever its status.
#[derive(Debug)]
pub struct Answer {
    /// Status code.
    pub status: u16,
    /// Headers; `Tailscale-Version` is the daemon's version where it tells.
    pub headers: HeaderMap,
    /// Body.
    pub body: Bytes,
}

impl Answer {
    /// The status with its name: `404 Not Found`.
    pub fn status_text(&self) -> String {
        StatusCode::from_u16(self.status)
            .map_or_else(|_| self.status.to_string(), |status| status.to_string())
    }

    /// Everything before the body, as HTTP/1.1 writes it, headers in the order of their names.
    pub fn head(&self) -> Vec<u8> {
        let mut lines: Vec<_> = self.headers.iter().map(|(name, value)| (name.as_str(), value)).collect();
        lines.sort_by_key(|(name, _)| *name);
        let mut out = format!("HTTP/1.1 {}\r\n", self.status_text()).into_bytes();
        for (name, value) in lines {
            let mut start = true;
            for byte in name.bytes() {
                out.push(if start { byte.to_ascii_uppercase() } else { byte });
                start = byte == b'-';
            }
            out.extend_from_slice(b": ");
            out.extend_from_slice(value.as_bytes());
            out.extend_from_slice(b"\r\n");
        }
        out.extend_from_slice(b"\r\n");
        out
    }
}

/// An answer that is read bit by bit; dropping it ends the call.
#[derive(Debug)]
pub struct BodyStream {
    path: String,
    body: Incoming,
}

impl BodyStream {
    /// The next piece; `None` at the end.
    pub async fn next(&mut self) -> Result<Option<Bytes>, Error> {
        while let Some(frame) = self.body.frame().await {
            let frame = frame.map_err(|error| broken(&self.path, &error))?;
            if let Ok(data) = frame.into_data() {
                return Ok(Some(data));
            }
        }
        Ok(None)
    }

    pub(super) fn path(&self) -> &str {
        &self.path
    }

    async fn whole(mut self) -> Result<Bytes, Error> {
        let mut out = BytesMut::new();
        while let Some(data) = self.next().await? {
            if data.len() > MAX_ANSWER.saturating_sub(out.len()) {
                let cause = format!("the answer is larger than {MAX_ANSWER} bytes");
                return Err(Error::Connection { path: self.path, cause });
            }
            out.extend_from_slice(&data);
        }
        Ok(out.freeze())
    }
}

impl Client {
    /// Any call below `/localapi/v0/`, with whatever answer it gets; a `path` that begins with a slash is taken
    /// as it is.
    pub async fn raw(&self, method: Method, path: &str, body: Bytes) -> Result<Answer, Error> {
        let (status, headers, body) = self.send(method, path, body).await?;
        Ok(Answer { status: status.as_u16(), headers, body: body.whole().await? })
    }

    /// A call whose answer must have the status `want`.
    pub async fn call(&self, method: Method, path: &str, want: u16, body: Bytes) -> Result<Bytes, Error> {
        let (status, _, body) = self.send(method, path, body).await?;
        let body = body.whole().await?;
        if status.as_u16() == want { Ok(body) } else { Err(refused(status, &body)) }
    }

    /// A call whose answer of 200 is read as it comes.
    pub async fn stream(&self, method: Method, path: &str, body: Bytes) -> Result<BodyStream, Error> {
        let (status, _, body) = self.send(method, path, body).await?;
        if status == StatusCode::OK { Ok(body) } else { Err(refused(status, &body.whole().await?)) }
    }

    async fn send(
        &self,
        method: Method,
        path: &str,
        body: Bytes,
    ) -> Result<(StatusCode, HeaderMap, BodyStream), Error> {
        let name = endpoint(path);
        let stream = self.connect().await.map_err(|error| not_running(&self.socket, path, &error))?;
        let (mut sender, connection) =
            http1::handshake(TokioIo::new(stream)).await.map_err(|error| broken(&name, &error))?;
        tokio::spawn(async move {
            if let Err(error) = connection.await {
                log::debug!("localapi client: {error}");
            }
        });
        let uri = if path.starts_with('/') { path.to_owned() } else { format!("/localapi/v0/{path}") };
        let mut request = Request::builder().method(method).uri(uri).header("host", HOST_NAME);
        if let Some(capability) = self.capability {
            request = request.header(CAPABILITY_HEADER, capability);
        }
        if let Some(reason) = &self.reason {
            request = request.header(REASON_HEADER, base64::engine::general_purpose::STANDARD.encode(reason));
        }
        let request = request
            .body(Full::new(body))
            .map_err(|error| Error::Connection { path: name.clone(), cause: error.to_string() })?;
        let response = sender.send_request(request).await.map_err(|error| broken(&name, &error))?;
        let (parts, body) = response.into_parts();
        Ok((parts.status, parts.headers, BodyStream { path: name, body }))
    }
}

/// The path without its query.
pub(super) fn endpoint(path: &str) -> String {
    let path = path.split('?').next().unwrap_or_default();
    if path.starts_with('/') { path.to_owned() } else { format!("/localapi/v0/{path}") }
}

fn broken(path: &str, error: &hyper::Error) -> Error {
    Error::Connection { path: path.to_owned(), cause: error.to_string() }
}

/// What the daemon said, in the words of Go's client.
fn refused(status: StatusCode, body: &[u8]) -> Error {
    let said = serde_json::from_slice::<crate::types::ErrorBody>(body).map(|body| body.error);
    let said = said.ok().filter(|text| !text.is_empty());
    let text = String::from_utf8_lossy(body).trim().to_owned();
    match status {
        StatusCode::FORBIDDEN => Error::AccessDenied(said.unwrap_or(text)),
        StatusCode::PRECONDITION_FAILED => Error::PreconditionsFailed(said.unwrap_or(text)),
        _ => {
            let text = said.unwrap_or_else(|| format!("{status}: {text}"));
            if status == StatusCode::NOT_FOUND {
                Error::NotFound(text)
            } else {
                Error::Http { status: status.as_u16(), text }
            }
        }
    }
}
