//! A request as the handler gets it, and who sent it.

use super::Permissions;
use super::endpoints::Endpoint;
use super::query::Query;
use super::response::Response;
use bytes::Bytes;
use gojson::{Value, Zero};
use http1::{Headers, Method};
use tokio::net::UnixStream;

/// The process at the other end of the socket; all unknown when the kernel does not tell.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct PeerCred {
    /// User id.
    pub uid: Option<u32>,
    /// Group id.
    pub gid: Option<u32>,
    /// Process id.
    pub pid: Option<i32>,
}

impl PeerCred {
    pub(super) fn of(stream: &UnixStream) -> Self {
        stream.peer_cred().map_or_else(
            |_| Self::default(),
            |cred| Self { uid: Some(cred.uid()), gid: Some(cred.gid()), pid: cred.pid() },
        )
    }
}

/// A whole request, checked.
#[derive(Debug)]
pub struct Request {
    /// What is asked for.
    pub endpoint: &'static Endpoint,
    /// What follows the name of an endpoint that takes everything below it, decoded.
    pub rest: String,
    /// One of the methods the endpoint takes.
    pub method: Method,
    /// Parameters.
    pub query: Query,
    /// All headers.
    pub headers: Headers,
    /// Why the user does it, if told (`X-Tailscale-Reason`).
    pub reason: Option<String>,
    /// The body; at most [`Limits::body_bytes`](super::Limits::body_bytes).
    pub body: Bytes,
    /// Who asks.
    pub peer: PeerCred,
    /// What they may do.
    pub permissions: Permissions,
}

impl Request {
    /// The name of the endpoint (`status`, `profiles/`…).
    pub fn name(&self) -> &'static str {
        self.endpoint.name
    }

    /// The body as JSON; like Go, what follows the first value is not looked at.
    ///
    /// # Errors
    /// The answer to give: 400 with the reason.
    pub fn json<T: Value + Zero>(&self) -> Result<T, Response> {
        let mut value = T::zero();
        match gojson::first_over(&self.body, &mut value) {
            Ok(()) => Ok(value),
            Err(_) if self.body.is_empty() => Err(Response::error(400, "EOF")),
            Err(error) => Err(Response::error(400, &error.to_string())),
        }
    }
}
