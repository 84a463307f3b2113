//! One connection: HTTP/1.1 with keep-alive, each request checked before its body is read.

use super::endpoints::{Endpoint, Need};
use super::query::Query;
use super::request::{PeerCred, Request};
use super::response::{Body, Response};
use super::{Handler, Limits};
use base64::Engine as _;
use bytes::{Bytes, BytesMut};
use http::header::{CONTENT_TYPE, HOST, HeaderName, HeaderValue, ORIGIN, REFERER};
use http::request::Parts;
use http::{Method, StatusCode};
use http_body_util::BodyExt as _;
use hyper::body::{Body as _, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use std::convert::Infallible;
use std::rc::Rc;
use std::time::Duration;
use tokio::net::UnixStream;

/// The only name by which a client may call the daemon: a web page cannot make a browser send it.
pub(crate) const HOST_NAME: &str = "local-tailscaled.sock";
/// Why the user does it, in base64.
pub(crate) const REASON_HEADER: &str = "x-tailscale-reason";
/// The other side's capability version.
pub(crate) const CAPABILITY_HEADER: &str = "tailscale-cap";

const CONTENT_POLICY: &str = "default-src 'none'; frame-ancestors 'none'; script-src 'none'; script-src-elem 'none'; script-src-attr 'none'";
/// How long a client that is turned away may take to ask.
const TURN_AWAY_TIMEOUT: Duration = Duration::from_secs(1);
/// Header lines of a request.
const MAX_HEADERS: usize = 64;

/// Serves one connection; with `admitted` false it answers one request with 503.
pub(super) async fn run(stream: UnixStream, handler: Rc<dyn Handler>, limits: Rc<Limits>, admitted: bool) {
    let peer = PeerCred::of(&stream);
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new())
        .header_read_timeout(if admitted { limits.head_timeout } else { TURN_AWAY_TIMEOUT })
        .max_buf_size(limits.head_bytes.max(8 << 10))
        .max_headers(MAX_HEADERS)
        .keep_alive(admitted);
    let service = service_fn(move |request| {
        let (handler, limits) = (handler.clone(), limits.clone());
        async move {
            let response = if admitted {
                answer(request, peer, &*handler, &limits).await.unwrap_or_else(|refusal| refusal)
            } else {
                Response::error(503, "too many LocalAPI connections; try again later")
            };
            Ok::<_, Infallible>(finish(response, limits.capability))
        }
    });
    if let Err(error) = http.serve_connection(TokioIo::new(stream), service).await {
        log::debug!("localapi: connection: {error}");
    }
}

async fn answer(
    request: hyper::Request<Incoming>,
    peer: PeerCred,
    handler: &dyn Handler,
    limits: &Limits,
) -> Result<Response, Response> {
    let (parts, body) = request.into_parts();
    if parts.method == Method::CONNECT {
        return Err(Response::error(405, "bad method for platform"));
    }
    let path = parts.uri.path();
    if !path.starts_with("/localapi/") {
        return if path == "/" { Ok(greeting()) } else { Err(Response::not_found()) };
    }
    let reason = reason(&parts)?;
    if !asked_by_a_program(&parts) {
        return Err(Response::error(403, "invalid localapi request"));
    }
    let found = Endpoint::find(path).filter(|(endpoint, _)| handler.offers(endpoint.name));
    let (endpoint, rest) = found.ok_or_else(Response::not_found)?;
    let permissions = handler.permissions(&peer);
    endpoint.admit(parts.method.as_str(), permissions)?;

    let writer = matches!(endpoint.need, Need::Write | Need::ReadOrWrite) && permissions.write;
    let limit = if writer { limits.body_bytes } else { limits.reader_body_bytes };
    let body = tokio::time::timeout(limits.body_timeout, collect(body, limit))
        .await
        .map_err(|_| Response::error(408, "request body took too long"))??;

    let query = Query::parse(parts.uri.query().unwrap_or_default());
    let (method, headers) = (parts.method, parts.headers);
    let request = Request { endpoint, rest, method, query, headers, reason, body, peer, permissions };
    Ok(handler.handle(request).await)
}

/// True unless a browser may be behind the request: it names another host or the page it comes from.
fn asked_by_a_program(parts: &Parts) -> bool {
    let known = |host: &[u8]| host.is_empty() || host == HOST_NAME.as_bytes();
    let from_page = |name| parts.headers.get_all(name).iter().any(|value| !value.is_empty());
    !from_page(REFERER)
        && !from_page(ORIGIN)
        && parts.headers.get_all(HOST).iter().all(|host| known(host.as_bytes()))
        && parts.uri.authority().is_none_or(|host| known(host.as_str().as_bytes()))
}

fn reason(parts: &Parts) -> Result<Option<String>, Response> {
    let Some(header) = parts.headers.get(REASON_HEADER).filter(|value| !value.is_empty()) else {
        return Ok(None);
    };
    let bytes = base64::engine::general_purpose::STANDARD.decode(header.as_bytes());
    bytes
        .map(|bytes| Some(String::from_utf8_lossy(&bytes).into_owned()))
        .map_err(|_| Response::error(400, "invalid reason header"))
}

async fn collect(mut body: Incoming, limit: usize) -> Result<Bytes, Response> {
    let too_large = || Response::error(413, &format!("request body is larger than {limit} bytes"));
    if body.size_hint().lower() > limit as u64 {
        return Err(too_large());
    }
    let mut out = BytesMut::new();
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| Response::error(400, &error.to_string()))?;
        if let Some(data) = frame.data_ref() {
            if data.len() > limit.saturating_sub(out.len()) {
                return Err(too_large());
            }
            out.extend_from_slice(data);
        }
    }
    Ok(out.freeze())
}

fn greeting() -> Response {
    const PAGE: &str =
        "<html><title>Tailscale</title><body><h1>Tailscale</h1>This is the local Tailscale daemon.\n";
    Response { content_type: "text/html; charset=utf-8", ..Response::text(PAGE) }
}

/// Adds the headers that every answer has. There is no `Tailscale-Version`: Go's command line would warn that
/// it differs from its own.
fn finish(response: Response, capability: u32) -> hyper::Response<Body> {
    let mut out = hyper::Response::new(response.body);
    *out.status_mut() = StatusCode::from_u16(response.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let headers = out.headers_mut();
    headers.insert(CAPABILITY_HEADER, HeaderValue::from(capability));
    headers.insert("content-security-policy", HeaderValue::from_static(CONTENT_POLICY));
    headers.insert("x-frame-options", HeaderValue::from_static("DENY"));
    headers.insert("x-content-type-options", HeaderValue::from_static("nosniff"));
    if !response.content_type.is_empty() {
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(response.content_type));
    }
    for (name, value) in response.headers {
        if let (Ok(name), Ok(value)) = (HeaderName::try_from(name), HeaderValue::try_from(value)) {
            headers.insert(name, value);
        }
    }
    out
}
