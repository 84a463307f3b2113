//! HTTP/1.1 outside Noise: single small requests, and the switch of a connection to another protocol.

use crate::error::chain;
use crate::prefixed::Prefixed;
use crate::server::Url;
use crate::{Error, tasks::Task};
use bytes::Bytes;
use dial::{BoxStream, Dial, Target};
use http::{HeaderMap, Method, Request, StatusCode};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use std::pin::pin;

/// Longest head of an answer, in bytes.
const HEAD_LIMIT: usize = 16 << 10;

type Body = Full<Bytes>;

/// An answer that has been read whole.
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) body: Bytes,
}

/// Connects, sends one request and reads the answer's body up to `limit` bytes.
/// Needs a `LocalSet`; the caller bounds the time.
pub(crate) async fn fetch(
    dialer: &dyn Dial,
    method: Method,
    url: &Url,
    body: Vec<u8>,
    limit: usize,
) -> Result<Answer, Error> {
    let target = url.target();
    let shown = format!("{}://{}{}", if url.tls { "https" } else { "http" }, url.authority, url.path);
    let failed = |why: String| Error::Fetch { url: shown.clone(), why };
    let io = connect(dialer, &target).await?;
    let request = Request::builder()
        .method(method)
        .uri(&url.path)
        .header(http::header::HOST, &url.authority)
        .body(Body::from(body))
        .map_err(|e| failed(e.to_string()))?;
    let (mut sender, connection) = handshake(io).await.map_err(|e| failed(chain(&e)))?;
    let _driver = Task::spawn(async move { drop(connection.await) });
    let answer = sender.send_request(request).await.map_err(|e| broken(&target, &e, failed))?;
    let (head, body) = answer.into_parts();
    let body = Limited::new(body, limit).collect().await.map_err(|e| match e.is::<hyper::Error>() {
        true => failed(e.to_string()),
        false => Error::TooLong { what: shown.clone(), limit },
    })?;
    let body = body.to_bytes();
    if head.status == StatusCode::BAD_REQUEST && speaks_tls(&body) {
        return Err(Error::NotPlain { host: target.host, port: target.port });
    }
    Ok(Answer { status: head.status, body })
}

/// Sends `POST path` with `headers` and, if the answer is `101`, gives the connection back together with what
/// was read beyond the answer.
pub(crate) async fn upgrade(
    dialer: &dyn Dial,
    target: &Target,
    host: &str,
    path: &str,
    headers: HeaderMap,
) -> Result<BoxStream, Error> {
    let failed = |why: String| Error::Fetch { url: format!("{host}{path}"), why };
    let io = connect(dialer, target).await?;
    let mut request = Request::new(Body::default());
    *request.method_mut() = Method::POST;
    *request.uri_mut() = path.parse().map_err(|_| failed("not a path".to_owned()))?;
    *request.headers_mut() = headers;
    let host_value = host.parse().map_err(|_| failed("not a host name".to_owned()))?;
    request.headers_mut().insert(http::header::HOST, host_value);

    let (mut sender, connection) = handshake(io).await.map_err(|e| failed(chain(&e)))?;
    let mut connection = pin!(connection.without_shutdown());
    let mut answer = pin!(sender.send_request(request));
    let mut parts = None;
    let answer = loop {
        tokio::select! {
            biased;
            answer = &mut answer => break answer.map_err(|e| broken(target, &e, failed))?,
            ended = &mut connection, if parts.is_none() => match ended {
                Ok(ended) => parts = Some(ended),
                Err(e) => return Err(broken(target, &e, failed)),
            },
        }
    };
    let wanted = answer
        .headers()
        .get(http::header::UPGRADE)
        .is_some_and(|name| name.as_bytes().eq_ignore_ascii_case(b"tailscale-control-protocol"));
    if answer.status() != StatusCode::SWITCHING_PROTOCOLS || !wanted {
        return Err(Error::Upgrade { host: host.to_owned(), status: answer.status().as_u16() });
    }
    let parts = match parts {
        Some(parts) => parts,
        None => connection.await.map_err(|e| failed(chain(&e)))?,
    };
    let io = parts.io.into_inner();
    match parts.read_buf.is_empty() {
        true => Ok(io),
        false => Ok(Box::new(Prefixed { first: parts.read_buf, io })),
    }
}

async fn connect(dialer: &dyn Dial, target: &Target) -> Result<BoxStream, Error> {
    dialer.dial(target).await.map_err(|e| Error::dial(&target.host, target.port, &e))
}

async fn handshake(
    io: BoxStream,
) -> hyper::Result<(http1::SendRequest<Body>, http1::Connection<TokioIo<BoxStream>, Body>)> {
    http1::Builder::new().max_buf_size(HEAD_LIMIT).handshake(TokioIo::new(io)).await
}

/// A failed exchange: a TLS alert where an HTTP answer belongs means the wrong scheme.
fn broken(target: &Target, error: &hyper::Error, failed: impl Fn(String) -> Error) -> Error {
    let (host, port) = (target.host.clone(), target.port);
    if error.is_parse() && target.tls.is_none() {
        log::debug!("control: {host}:{port} answers something that is not HTTP");
        return Error::NotPlain { host, port };
    }
    let mut why = chain(error);
    // Some TLS servers hang up on plain HTTP without a word.
    let unanswered = why.contains("connection closed before message") || why.contains("reset by peer");
    if unanswered && target.tls.is_none() {
        why = format!("{host}:{port} hung up without an answer; if it speaks TLS, write https:// in the URL");
    }
    match why.to_ascii_lowercase().contains("invalidcontenttype") {
        true => Error::NotTls { host, port },
        false => failed(why),
    }
}

/// Go's and nginx's words to a plain request on a TLS port.
fn speaks_tls(body: &[u8]) -> bool {
    let text = crate::text::printable(body);
    text.contains("HTTP request to an HTTPS server") || text.contains("HTTP request was sent to HTTPS port")
}
