//! HTTP/1.1 outside Noise: single small requests, and the switch of a connection to another protocol.

use crate::Error;
use crate::error::chain;
use crate::prefixed::Prefixed;
use crate::server::Url;
use bytes::Bytes;
use dial::{BoxStream, Dial, Target};
use http1::{Head, Method};
use std::io::ErrorKind;

/// An answer that has been read whole.
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) body: Bytes,
}

/// Connects, sends one request and reads the answer's body up to `limit` bytes. The caller bounds the time.
pub(crate) async fn fetch(
    dialer: &dyn Dial,
    method: Method,
    url: &Url,
    body: Vec<u8>,
    limit: usize,
) -> Result<Answer, Error> {
    let target = url.target();
    let shown = || format!("{}://{}{}", if url.tls { "https" } else { "http" }, url.authority, url.path);
    let mut io = connect(dialer, &target).await?;
    let request = Head::request(method, &url.path, &url.authority);
    let mut answer =
        http1::ask(&mut io, request, &body).await.map_err(|why| broken(&target, shown(), &why))?;
    let body = answer.whole(&mut io, limit).await.map_err(|why| match why {
        http1::Error::BodyTooLong(limit) => Error::TooLong { what: shown(), limit },
        why => Error::Fetch { url: shown(), why: chain(&why) },
    })?;
    if answer.status == 400 && speaks_tls(&body) {
        return Err(Error::NotPlain { host: target.host, port: target.port });
    }
    Ok(Answer { status: answer.status, body })
}

/// Sends `request`, which has no body, and if the answer is `101`, gives the connection back together with what was
/// read beyond the answer.
pub(crate) async fn upgrade(
    dialer: &dyn Dial,
    target: &Target,
    host: &str,
    request: Head,
) -> Result<BoxStream, Error> {
    let mut io = connect(dialer, target).await?;
    let answer =
        http1::ask(&mut io, request, &[]).await.map_err(|why| broken(target, host.to_owned(), &why))?;
    let protocol = answer.headers.text("upgrade");
    if answer.status != 101 || !protocol.eq_ignore_ascii_case("tailscale-control-protocol") {
        return Err(Error::Upgrade { host: host.to_owned(), status: answer.status });
    }
    let first = answer.into_rest();
    match first.is_empty() {
        true => Ok(io),
        false => Ok(Box::new(Prefixed { first, io })),
    }
}

async fn connect(dialer: &dyn Dial, target: &Target) -> Result<BoxStream, Error> {
    dialer.dial(target).await.map_err(|e| Error::dial(&target.host, target.port, &e))
}

/// A failed exchange: a TLS alert where an HTTP answer belongs means the wrong scheme.
fn broken(target: &Target, url: String, error: &http1::Error) -> Error {
    use http1::Error::{Cut, HeadTooLong, Io, Malformed, Unanswered};
    let (host, port) = (target.host.clone(), target.port);
    let plain = target.tls.is_none();
    if plain && matches!(error, Malformed(_) | HeadTooLong(_)) {
        log::debug!("control: {host}:{port} answers something that is not HTTP");
        return Error::NotPlain { host, port };
    }
    let mut why = chain(error);
    // Some TLS servers hang up on plain HTTP without a word.
    let unanswered = match error {
        Io(error) => error.kind() == ErrorKind::ConnectionReset,
        error => matches!(error, Unanswered | Cut),
    };
    if unanswered && plain {
        why = format!("{host}:{port} hung up without an answer; if it speaks TLS, write https:// in the URL");
    }
    match why.to_ascii_lowercase().contains("invalidcontenttype") {
        true => Error::NotTls { host, port },
        false => Error::Fetch { url, why },
    }
}

/// Go's and nginx's words to a plain request on a TLS port.
fn speaks_tls(body: &[u8]) -> bool {
    let text = crate::text::printable(body);
    text.contains("HTTP request to an HTTPS server") || text.contains("HTTP request was sent to HTTPS port")
}
