//! One connection: each request is checked before its body is read.

use super::endpoints::{Endpoint, Need};
use super::query::Query;
use super::request::{PeerCred, Request};
use super::response::Response;
use super::{Handler, Limits};
use base64::Engine as _;
use http1::{Answer, Head, LocalFuture, Method, Service};
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
pub(super) const TURN_AWAY_TIMEOUT: Duration = Duration::from_secs(1);

/// Serves one connection; with `admitted` false it answers one request with 503.
pub(super) async fn run(
    mut stream: UnixStream,
    handler: Rc<dyn Handler>,
    limits: Rc<Limits>,
    admitted: bool,
) {
    let peer = PeerCred::of(&stream);
    let http = http1::Limits {
        head_bytes: limits.head_bytes,
        head_time: if admitted { limits.head_timeout } else { TURN_AWAY_TIMEOUT },
        body_time: limits.body_timeout,
        keep_alive: admitted,
    };
    let caller = Caller { handler, limits, peer, admitted };
    if let Err(error) = http1::serve(&mut stream, &caller, &http).await {
        log::debug!("localapi: connection: {error}");
    }
}

/// Who is at the other end, and what answers them.
struct Caller {
    handler: Rc<dyn Handler>,
    limits: Rc<Limits>,
    peer: PeerCred,
    admitted: bool,
}

impl Service for Caller {
    fn admit(&self, request: &http1::Request) -> Result<usize, Answer> {
        self.check(request).map_err(|response| self.finish(response))
    }

    fn refuse(&self, status: u16, why: &str) -> Answer {
        self.finish(Response::error(status, why))
    }

    fn answer(&self, request: http1::Request) -> LocalFuture<'_, Answer> {
        let response = match self.read(request) {
            Ok(request) => self.handler.handle(request),
            Err(response) => Box::pin(std::future::ready(response)),
        };
        Box::pin(async move { self.finish(response.await) })
    }
}

impl Caller {
    /// How long the body may be.
    fn check(&self, request: &http1::Request) -> Result<usize, Response> {
        if !self.admitted {
            return Err(Response::error(503, "too many LocalAPI connections; try again later"));
        }
        if request.method == Method::CONNECT {
            return Err(Response::error(405, "bad method for platform"));
        }
        let path = request.path();
        if !path.starts_with("/localapi/") {
            return Err(if path == "/" { greeting() } else { Response::not_found() });
        }
        reason(request)?;
        if !asked_by_a_program(request) {
            return Err(Response::error(403, "invalid localapi request"));
        }
        let (endpoint, _) = self.endpoint(request)?;
        let permissions = self.handler.permissions(&self.peer);
        endpoint.admit(request.method.as_str(), permissions)?;
        let writer = matches!(endpoint.need, Need::Write | Need::ReadOrWrite) && permissions.write;
        Ok(if writer { self.limits.body_bytes } else { self.limits.reader_body_bytes })
    }

    fn endpoint(&self, request: &http1::Request) -> Result<(&'static Endpoint, String), Response> {
        let found = Endpoint::find(request.path());
        found.filter(|(endpoint, _)| self.handler.offers(endpoint.name)).ok_or_else(Response::not_found)
    }

    /// What has passed the checks, as the handler gets it.
    fn read(&self, request: http1::Request) -> Result<Request, Response> {
        let (endpoint, rest) = self.endpoint(&request)?;
        let (query, reason) = (Query::parse(request.query()), reason(&request)?);
        let permissions = self.handler.permissions(&self.peer);
        let http1::Request { method, headers, body, .. } = request;
        let peer = self.peer;
        Ok(Request { endpoint, rest, method, query, headers, reason, body, peer, permissions })
    }

    /// Adds the headers that every answer has. There is no `Tailscale-Version`: Go's command line would warn that
    /// it differs from its own.
    fn finish(&self, response: Response) -> Answer {
        let mut head = Head::answer(response.status)
            .field(CAPABILITY_HEADER, &self.limits.capability.to_string())
            .field("content-security-policy", CONTENT_POLICY)
            .field("x-frame-options", "DENY")
            .field("x-content-type-options", "nosniff");
        if !response.content_type.is_empty() {
            head = head.field("content-type", response.content_type);
        }
        for (name, value) in response.headers {
            head = head.field(name, &value);
        }
        Answer { head, content: response.body }
    }
}

/// True unless a browser may be behind the request: it names another host or the page it comes from.
fn asked_by_a_program(request: &http1::Request) -> bool {
    let known = |host: &[u8]| host.is_empty() || host == HOST_NAME.as_bytes();
    let from_page = |name| request.headers.all(name).any(|value| !value.is_empty());
    !from_page("referer")
        && !from_page("origin")
        && request.headers.all("host").all(known)
        && request.authority().is_none_or(|host| known(host.as_bytes()))
}

fn reason(request: &http1::Request) -> Result<Option<String>, Response> {
    let Some(header) = request.headers.get(REASON_HEADER).filter(|value| !value.is_empty()) else {
        return Ok(None);
    };
    let bytes = base64::engine::general_purpose::STANDARD.decode(header);
    bytes
        .map(|bytes| Some(String::from_utf8_lossy(&bytes).into_owned()))
        .map_err(|_| Response::error(400, "invalid reason header"))
}

fn greeting() -> Response {
    const PAGE: &str =
        "<html><title>Tailscale</title><body><h1>Tailscale</h1>This is the local Tailscale daemon.\n";
    Response { content_type: "text/html; charset=utf-8", ..Response::text(PAGE) }
}
