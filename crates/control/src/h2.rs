//! HTTP/2 inside Noise: one connection for all requests, dialled again when it is dead (protocol reference §1.6).

use crate::early::WithoutEarly;
use crate::error::chain;
use crate::server::Url;
use crate::tasks::Task;
use crate::upgrade::{self, Attempt};
use crate::{Error, Options, key};
use ::h2::client::{Builder, SendRequest};
use ::h2::{Reason, RecvStream};
use bytes::{Bytes, BytesMut};
use dial::{BoxStream, Dial};
use http::{HeaderMap, HeaderName, HeaderValue, Request};
use http1::Method;
use keys::{MachinePrivate, MachinePublic, NodePublic};
use rand_core::CryptoRngCore;
use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::task::{self, Poll, Waker};
use std::time::Duration;
use tokio::time::Instant;

/// Receive windows: what a map message may run ahead of its decoder.
const STREAM_WINDOW: u32 = 256 << 10;
const CONNECTION_WINDOW: u32 = 512 << 10;
/// Requests sent before the server has said how many it takes.
const FIRST_REQUESTS: usize = 100;
/// Longest headers of an answer, in bytes.
const HEAD_LIMIT: u32 = 16 << 10;
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
    sender: SendRequest<Bytes>,
    /// What moves the connection's bytes; dropping it closes the connection.
    task: Task,
}

impl Live {
    /// Whether requests may be sent on it: a server that goes away (GOAWAY) still answers those it has.
    fn is_open(&self) -> bool {
        let ready = self.sender.clone().poll_ready(&mut task::Context::from_waker(Waker::noop()));
        !self.task.is_over() && !matches!(ready, Poll::Ready(Err(_)))
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
        let request = self.head(method, path, content_type, body.len(), hints)?;
        let mut sender = self.sender().await?;
        let (answer, mut stream) =
            sender.send_request(request, body.is_empty()).map_err(|e| Error::connection(&e))?;
        if !body.is_empty() {
            stream.send_data(body.into(), true).map_err(|e| Error::connection(&e))?;
        }
        let (head, body) = answer.await.map_err(|e| Error::connection(&e))?.into_parts();
        Ok(Answer { status: head.status.as_u16(), headers: head.headers, body })
    }

    fn head(
        &self,
        method: Method,
        path: &str,
        content_type: Option<&'static str>,
        length: usize,
        hints: &[NodePublic],
    ) -> Result<Request<()>, Error> {
        let mut request = Request::new(());
        let posts = method == Method::POST;
        *request.method_mut() = if posts { http::Method::POST } else { http::Method::HEAD };
        *request.uri_mut() = format!("https://{}{path}", self.url.authority).parse().map_err(|_| {
            Error::Connection(format!("{:?} is not a path", crate::text::printable(path.as_bytes())))
        })?;
        let headers = request.headers_mut();
        if posts {
            headers.append(http::header::CONTENT_LENGTH, HeaderValue::from(length));
        }
        if let Some(content_type) = content_type {
            headers.append(http::header::CONTENT_TYPE, HeaderValue::from_static(content_type));
        }
        for hint in hints.iter().filter(|key| !key.is_zero()) {
            if let Ok(value) = HeaderValue::try_from(hint.to_text()) {
                headers.append(HeaderName::from_static("ts-lb"), value);
            }
        }
        Ok(request)
    }

    async fn sender(&self) -> Result<SendRequest<Bytes>, Error> {
        let _one_at_a_time = self.dialing.lock().await;
        if let Some(live) = &*self.live.borrow()
            && live.is_open()
        {
            return Ok(live.sender.clone());
        }
        self.hang_up();
        let sender = self.dial().await;
        match &sender {
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
        sender
    }

    async fn dial(&self) -> Result<SendRequest<Bytes>, Error> {
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

        let (sender, connection) = Builder::new()
            .enable_push(false)
            .initial_max_send_streams(FIRST_REQUESTS)
            .initial_window_size(STREAM_WINDOW)
            .initial_connection_window_size(CONNECTION_WINDOW)
            .max_header_list_size(HEAD_LIMIT)
            .handshake(stream)
            .await
            .map_err(|e| Error::connection(&e))?;
        let task = Task::spawn(async move {
            if let Err(e) = connection.await {
                log::debug!("control: connection ended: {}", chain(&e));
            }
        });
        *self.live.borrow_mut() = Some(Live { sender: sender.clone(), task });
        Ok(sender)
    }
}

/// An answer whose body is still on its way. Dropped before its end, it tells the server to stop.
pub(crate) struct Answer {
    /// HTTP status.
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    body: RecvStream,
}

impl Answer {
    /// The next piece of the body; `None` at its end.
    pub(crate) async fn next(&mut self) -> Result<Option<Bytes>, Error> {
        match self.body.data().await {
            None => Ok(None),
            Some(Ok(piece)) => {
                // What has been handed on makes room in the window; too much of that cannot be given back.
                let _ = self.body.flow_control().release_capacity(piece.len());
                Ok(Some(piece))
            }
            // An answer complete in itself, to a request that need not be (RFC 9113 §8.1).
            Some(Err(e)) if matches!(e.reason(), Some(Reason::NO_ERROR | Reason::CANCEL)) => Ok(None),
            Some(Err(e)) => Err(Error::connection(&e)),
        }
    }

    /// The body, which may have `limit` bytes.
    pub(crate) async fn whole(&mut self, what: &'static str, limit: usize) -> Result<Bytes, Error> {
        let mut whole = BytesMut::new();
        while let Some(piece) = self.next().await? {
            if piece.len() > limit.saturating_sub(whole.len()) {
                return Err(Error::TooLong { what: what.to_owned(), limit });
            }
            whole.extend_from_slice(&piece);
        }
        Ok(whole.freeze())
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
