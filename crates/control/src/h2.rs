//! HTTP/2 inside Noise: one connection for all requests, dialled again when it is dead (protocol reference §1.6).
//!
//! Here: which connection there is, and requests on it. Below it, from the wire upwards: `frame`, `huffman` and
//! `hpack`; `session`, `answers` and `requests`, the protocol; `driver`, which moves its bytes.

mod answers;
mod driver;
mod frame;
mod hpack;
mod huffman;
mod requests;
mod session;

#[cfg(test)]
mod tests;

use crate::early::WithoutEarly;
use crate::server::Url;
use crate::tasks::Task;
use crate::upgrade::{self, Attempt};
use crate::{Error, Options, key};
use dial::{BoxStream, Dial};
use driver::Driver;
use http1::Method;
use keys::{MachinePrivate, MachinePublic, NodePublic};
use rand_core::CryptoRngCore;
use session::Session;
use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::rc::Rc;
use std::time::Duration;
use tokio::time::Instant;

/// Dialling again sooner than this suggests that something on the way mangles plain HTTP.
const QUICK_REDIAL: Duration = Duration::from_secs(120);
/// After so many failed handshakes in a row the server's key is fetched anew: it may have changed.
const KEY_DOUBTS: u8 = 2;

/// Requests to control. Everything in it belongs to one thread.
pub(crate) struct Client {
    url: Url,
    dialer: Rc<dyn Dial>,
    machine_key: MachinePrivate,
    version: u16,
    force_noise_443: bool,
    rng: RefCell<Box<dyn CryptoRngCore>>,
    server_key: Cell<Option<MachinePublic>>,
    failed_handshakes: Cell<u8>,
    last_dial: Cell<Option<Instant>>,
    live: RefCell<Option<Live>>,
    dialing: tokio::sync::Mutex<()>,
}

struct Live {
    session: Rc<RefCell<Session>>,
    /// What moves the connection's bytes; dropping it closes the connection.
    task: Task,
}

impl Live {
    /// Whether requests may be sent on it: a server that goes away (GOAWAY) still answers those it has.
    fn is_open(&self) -> bool {
        !self.task.is_over() && self.session.borrow().is_open()
    }
}

impl Client {
    pub(crate) fn new(options: Options) -> Result<Self, Error> {
        Ok(Self {
            url: Url::parse(&options.server_url)?,
            dialer: options.dialer,
            machine_key: options.machine_key,
            version: options.capability_version,
            force_noise_443: options.force_noise_443,
            rng: RefCell::new(options.rng),
            server_key: Cell::new(None),
            failed_handshakes: Cell::new(0),
            last_dial: Cell::new(None),
            live: RefCell::new(None),
            dialing: tokio::sync::Mutex::new(()),
        })
    }

    pub(crate) fn version(&self) -> u16 {
        self.version
    }

    /// Whether control is the service of the company Tailscale.
    pub(crate) fn is_tailscales_own(&self) -> bool {
        self.url.is_tailscales_own()
    }

    /// Whether control may send people to this page.
    pub(crate) fn may_show(&self, page: &str) -> bool {
        self.url.may_show(page)
    }

    pub(crate) fn dialer(&self) -> &dyn Dial {
        &*self.dialer
    }

    /// Lends the random numbers; not across an await.
    pub(crate) fn with_rng<T>(&self, work: impl FnOnce(&mut dyn CryptoRngCore) -> T) -> T {
        work(&mut **self.rng.borrow_mut())
    }

    /// Forgets the connection; the next request dials anew.
    pub(crate) fn hang_up(&self) {
        let live = self.live.borrow_mut().take();
        drop(live);
    }

    /// Sends a request with a JSON body and awaits the head of the answer. `hints` go into `Ts-Lb`.
    pub(crate) async fn post(
        &self,
        path: &str,
        body: Vec<u8>,
        hints: &[NodePublic],
    ) -> Result<Answer, Error> {
        self.send(Method::POST, path, Some("application/json"), body, hints).await
    }

    /// Sends a `HEAD` or a `POST`.
    pub(crate) async fn send(
        &self,
        method: Method,
        path: &str,
        content_type: Option<&'static str>,
        body: Vec<u8>,
        hints: &[NodePublic],
    ) -> Result<Answer, Error> {
        let block = self.head(method, path, content_type, body.len(), hints)?;
        let session = self.session().await?;
        let key = session.borrow_mut().ask(block, body);
        let mut answer = Answer { status: 0, date: String::new(), retry_after: String::new(), session, key };
        let head = poll_fn(|cx| answer.session.borrow_mut().poll_head(key, cx)).await;
        let head = head.map_err(Error::Connection)?;
        (answer.status, answer.date, answer.retry_after) = (head.status, head.date, head.retry_after);
        Ok(answer)
    }

    /// The header block of a request. Its scheme is https whatever the URL: Noise protects it as TLS would.
    fn head(
        &self,
        method: Method,
        path: &str,
        content_type: Option<&str>,
        length: usize,
        hints: &[NodePublic],
    ) -> Result<Vec<u8>, Error> {
        let path = path.split('#').next().unwrap_or_default();
        if !path.starts_with('/') || !path.bytes().all(|byte| byte.is_ascii_graphic()) {
            let path = crate::text::printable(path.as_bytes());
            return Err(Error::Connection(format!("{path:?} is not a path")));
        }
        let posts = method == Method::POST;
        let mut block = Vec::with_capacity(256);
        hpack::put(&mut block, hpack::METHOD, if posts { b"POST" } else { b"HEAD" });
        hpack::put(&mut block, hpack::SCHEME, b"https");
        hpack::put(&mut block, hpack::AUTHORITY, self.url.authority.as_bytes());
        hpack::put(&mut block, hpack::PATH, path.as_bytes());
        if posts {
            hpack::put(&mut block, hpack::CONTENT_LENGTH, length.to_string().as_bytes());
        }
        if let Some(content_type) = content_type {
            hpack::put(&mut block, hpack::CONTENT_TYPE, content_type.as_bytes());
        }
        for hint in hints.iter().filter(|key| !key.is_zero()) {
            hpack::put_named(&mut block, b"ts-lb", hint.to_text().as_bytes());
        }
        Ok(block)
    }

    async fn session(&self) -> Result<Rc<RefCell<Session>>, Error> {
        let _one_at_a_time = self.dialing.lock().await;
        if let Some(live) = &*self.live.borrow()
            && live.is_open()
        {
            return Ok(live.session.clone());
        }
        self.hang_up();
        let session = self.dial().await;
        match &session {
            Err(
                Error::Handshake(_)
                | Error::HandshakeRefused(_)
                | Error::Upgrade { .. }
                | Error::Unreachable { .. },
            ) => {
                let failed = self.failed_handshakes.get().saturating_add(1);
                self.failed_handshakes.set(failed);
                if failed >= KEY_DOUBTS {
                    self.failed_handshakes.set(0);
                    self.server_key.set(None);
                }
            }
            _ => self.failed_handshakes.set(0),
        }
        session
    }

    async fn dial(&self) -> Result<Rc<RefCell<Session>>, Error> {
        let server_key = match self.server_key.get() {
            Some(key) => key,
            None => {
                let key = key::fetch(self.dialer(), &self.url, self.version()).await?;
                self.server_key.set(Some(key));
                key
            }
        };
        let attempt = Attempt {
            dialer: self.dialer(),
            server: &self.url,
            server_key,
            machine_key: &self.machine_key,
            version: self.version(),
            rng: &self.rng,
        };
        let now = Instant::now();
        // A URL with http:// asks for plain HTTP: there it is never skipped just because of a quick redial.
        let quick = self.url.tls && self.last_dial.get().is_some_and(|last| now - last < QUICK_REDIAL);
        self.last_dial.set(Some(now));
        let stream = upgrade::connect(&attempt, quick || self.force_noise_443).await?;
        let stream: BoxStream = Box::new(WithoutEarly::new(stream, self.version()));

        let session = Rc::new(RefCell::new(Session::new()));
        let task = Task::spawn(Driver::new(session.clone(), stream));
        *self.live.borrow_mut() = Some(Live { session: session.clone(), task });
        Ok(session)
    }
}

/// An answer whose body is still on its way. Dropped before its end, it tells the server to stop.
pub(crate) struct Answer {
    /// HTTP status.
    pub(crate) status: u16,
    /// `Date`, or empty.
    pub(crate) date: String,
    /// `Retry-After`, or empty.
    pub(crate) retry_after: String,
    session: Rc<RefCell<Session>>,
    /// The request's name there.
    key: u32,
}

impl Drop for Answer {
    fn drop(&mut self) {
        if let Ok(mut session) = self.session.try_borrow_mut() {
            session.forget(self.key);
        }
    }
}

impl Answer {
    /// The next piece of the body; `None` at its end.
    pub(crate) async fn next(&mut self) -> Result<Option<Vec<u8>>, Error> {
        let piece = poll_fn(|cx| self.session.borrow_mut().poll_body(self.key, cx)).await;
        let piece = piece.map_err(Error::Connection)?;
        Ok((!piece.is_empty()).then_some(piece))
    }

    /// The body, which may have `limit` bytes.
    pub(crate) async fn whole(&mut self, what: &'static str, limit: usize) -> Result<Vec<u8>, Error> {
        let mut whole = Vec::new();
        while let Some(piece) = self.next().await? {
            if piece.len() > limit.saturating_sub(whole.len()) {
                return Err(Error::TooLong { what: what.to_owned(), limit });
            }
            whole.extend_from_slice(&piece);
        }
        Ok(whole)
    }

    /// The error that an answer with another status than 200 stands for, with the start of its body.
    pub(crate) async fn error(&mut self, what: &'static str) -> Error {
        /// Bodies of errors are short; this much is waited for.
        const TEXT_LIMIT: usize = 16 << 10;
        let text = match self.whole(what, TEXT_LIMIT).await {
            Ok(body) => crate::text::printable(&body),
            Err(_) => String::new(),
        };
        debug_assert_ne!(self.status, 200);
        Error::Status { what, status: self.status, text }
    }
}
