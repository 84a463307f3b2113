//! The daemon's side of the LocalAPI: listens, checks who asks and how, and hands over whole requests.
//!
//! Owns: limits on connections, headers, bodies and time; the rules on Host, Referer and Origin; which endpoint
//! needs which permission and method; the headers and error texts of Go's daemon (feature reference §4).
//! HTTP itself is `http1`'s. Leaves out: who has which permission and what an endpoint does; [`Handler`] says both.

mod connection;
mod endpoints;
mod query;
mod request;
mod response;
mod socket;

pub(crate) use connection::{CAPABILITY_HEADER, HOST_NAME, REASON_HEADER};
pub use endpoints::{ENDPOINTS, Endpoint, Need};
pub use query::Query;
pub(crate) use query::encode;
pub use request::{PeerCred, Request};
pub use response::Response;
pub use socket::listen;

use std::cell::Cell;
use std::pin::Pin;
use std::rc::Rc;
use std::time::Duration;
use tokio::net::UnixListener;
use tokio::task::JoinSet;

/// A future that stays on its thread.
pub type LocalFuture<T> = Pin<Box<dyn Future<Output = T>>>;

/// What a caller may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Permissions {
    /// See state and settings.
    pub read: bool,
    /// Change them.
    pub write: bool,
}

/// Answers requests.
pub trait Handler {
    /// Whether this build has the endpoint of this name; without it the answer is 404 to everybody, as if it had
    /// never been heard of.
    fn offers(&self, endpoint: &str) -> bool {
        let _ = endpoint;
        true
    }

    /// What the process at the other end may do; asked for each request, as settings change.
    fn permissions(&self, peer: &PeerCred) -> Permissions;

    /// Answers a request whose endpoint, method and permission have been checked. The future is dropped when the
    /// client goes away.
    fn handle(&self, request: Request) -> LocalFuture<Response>;
}

/// How much a client may ask for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Connections served at a time; the next few get 503, more are closed at once.
    pub connections: usize,
    /// Bytes of a request's line and headers; more is 431.
    pub head_bytes: usize,
    /// Bytes of a body where write permission was needed; more is 413.
    pub body_bytes: usize,
    /// Bytes of a body elsewhere.
    pub reader_body_bytes: usize,
    /// Time for the whole head of a request; an idle connection is closed after it.
    pub head_timeout: Duration,
    /// Time for the whole body; longer is 408.
    pub body_timeout: Duration,
    /// The capability version that is told to clients.
    pub capability: u32,
}

impl Limits {
    /// The limits of a daemon that declares `capability`.
    pub const fn new(capability: u32) -> Self {
        Self {
            connections: 32,
            head_bytes: 16 << 10,
            body_bytes: 1 << 20,
            reader_body_bytes: 64 << 10,
            head_timeout: Duration::from_secs(10),
            body_timeout: Duration::from_secs(30),
            capability,
        }
    }
}

/// Connections beyond the limit that are told so at the same time.
const TURNED_AWAY: usize = 8;
/// Connections that only those who may change settings get: nobody else can shut them out.
const KEPT_FOR_WRITERS: usize = 8;
/// Pause after a failed accept (out of file descriptors, mostly).
const ACCEPT_PAUSE: Duration = Duration::from_millis(200);

/// Serves `listener` until dropped, which ends all connections. Runs inside a [`tokio::task::LocalSet`].
pub async fn serve(listener: UnixListener, handler: Rc<dyn Handler>, limits: Limits) {
    let limits = Rc::new(limits);
    let served = Rc::new(Cell::new(0));
    let mut tasks = JoinSet::new();
    loop {
        let full = limits.connections.saturating_add(TURNED_AWAY);
        tokio::select! {
            Some(_) = tasks.join_next() => {}
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => {
                    let own = handler.permissions(&PeerCred::of(&stream)).write;
                    let kept = if own { 0 } else { KEPT_FOR_WRITERS.min(limits.connections / 2) };
                    let slot = Slot::take(&served, limits.connections.saturating_sub(kept));
                    // Nobody waits behind those who connect and say nothing.
                    if slot.is_none() && tasks.len() >= full {
                        continue;
                    }
                    let connection = connection::run(stream, handler.clone(), limits.clone(), slot.is_some());
                    // In a box: the runtime's code is made anew for each type of task.
                    let connection: LocalFuture<()> = Box::pin(async move {
                        connection.await;
                        drop(slot);
                    });
                    tasks.spawn_local(connection);
                }
                Err(error) => {
                    log::warn!("localapi: accept: {error}");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }
}

/// One of the connections that are served.
struct Slot(Rc<Cell<usize>>);

impl Slot {
    fn take(served: &Rc<Cell<usize>>, limit: usize) -> Option<Self> {
        let used = served.get();
        (used < limit).then(|| {
            served.set(used.saturating_add(1));
            Self(served.clone())
        })
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.0.set(self.0.get().saturating_sub(1));
    }
}

#[cfg(test)]
mod tests;
