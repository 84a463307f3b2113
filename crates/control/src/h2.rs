//! HTTP/2 inside Noise: one connection for all requests, dialled again when it is dead (protocol reference §1.6).

use crate::early::WithoutEarly;
use crate::error::chain;
use crate::server::Url;
use crate::upgrade::{self, Attempt};
use crate::{Error, Options, key};
use bytes::Bytes;
use dial::{BoxStream, Dial};
use http::{HeaderName, HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::Incoming;
use hyper::client::conn::http2::{self, SendRequest};
use hyper_util::rt::TokioIo;
use keys::{MachinePrivate, MachinePublic, NodePublic};
use rand_core::CryptoRngCore;
use std::cell::{Cell, RefCell};
use std::future::Future;
use std::rc::{Rc, Weak};
use std::time::Duration;
use tokio::task::JoinSet;
use tokio::time::Instant;

/// Receive windows: what a map message may run ahead of its decoder.
const STREAM_WINDOW: u32 = 256 << 10;
const CONNECTION_WINDOW: u32 = 512 << 10;
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
    sender: SendRequest<Full<Bytes>>,
    /// Everything that hyper runs for this connection; dropping it closes the connection.
    tasks: Rc<RefCell<JoinSet<()>>>,
}

/// Runs hyper's futures on the current thread for as long as the connection is wanted.
#[derive(Clone)]
struct Executor(Weak<RefCell<JoinSet<()>>>);

impl<F: Future<Output = ()> + 'static> hyper::rt::Executor<F> for Executor {
    fn execute(&self, future: F) {
        if let Some(tasks) = self.0.upgrade() {
            let mut tasks = tasks.borrow_mut();
            while tasks.try_join_next().is_some() {}
            tasks.spawn_local(future);
        }
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
    ) -> Result<Response<Incoming>, Error> {
        self.send(Method::POST, path, Some("application/json"), body, hints).await
    }

    /// Sends any request.
    pub(crate) async fn send(
        &self,
        method: Method,
        path: &str,
        content_type: Option<&'static str>,
        body: Vec<u8>,
        hints: &[NodePublic],
    ) -> Result<Response<Incoming>, Error> {
        let mut request = Request::new(Full::new(Bytes::from(body)));
        *request.method_mut() = method;
        *request.uri_mut() = format!("https://{}{path}", self.url.authority).parse().map_err(|_| {
            Error::Connection(format!("{:?} is not a path", crate::text::printable(path.as_bytes())))
        })?;
        if let Some(content_type) = content_type {
            request.headers_mut().insert(http::header::CONTENT_TYPE, HeaderValue::from_static(content_type));
        }
        for hint in hints.iter().filter(|key| !key.is_zero()) {
            if let Ok(value) = HeaderValue::try_from(hint.to_text()) {
                request.headers_mut().append(HeaderName::from_static("ts-lb"), value);
            }
        }
        let mut sender = self.sender().await?;
        sender.ready().await.map_err(|e| Error::connection(&e))?;
        sender.send_request(request).await.map_err(|e| Error::connection(&e))
    }

    async fn sender(&self) -> Result<SendRequest<Full<Bytes>>, Error> {
        let _one_at_a_time = self.dialing.lock().await;
        if let Some(live) = &*self.live.borrow()
            && !live.sender.is_closed()
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

    async fn dial(&self) -> Result<SendRequest<Full<Bytes>>, Error> {
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

        let tasks = Rc::new(RefCell::new(JoinSet::new()));
        let (sender, connection) = http2::Builder::new(Executor(Rc::downgrade(&tasks)))
            .initial_stream_window_size(STREAM_WINDOW)
            .initial_connection_window_size(CONNECTION_WINDOW)
            .max_send_buf_size(64 << 10)
            .handshake(TokioIo::new(stream))
            .await
            .map_err(|e| Error::connection(&e))?;
        tasks.borrow_mut().spawn_local(async move {
            if let Err(e) = connection.await {
                log::debug!("control: connection ended: {}", chain(&e));
            }
        });
        *self.live.borrow_mut() = Some(Live { sender: sender.clone(), tasks });
        Ok(sender)
    }
}

impl Drop for Live {
    fn drop(&mut self) {
        self.tasks.borrow_mut().abort_all();
    }
}

/// Reads a body of at most `limit` bytes.
pub(crate) async fn read_body(body: Incoming, what: &'static str, limit: usize) -> Result<Bytes, Error> {
    match Limited::new(body, limit).collect().await {
        Ok(body) => Ok(body.to_bytes()),
        Err(e) => Err(match e.downcast_ref::<hyper::Error>() {
            Some(e) => Error::connection(e),
            None => Error::TooLong { what: what.to_owned(), limit },
        }),
    }
}

/// The error that an answer with another status than 200 stands for, with the start of its body.
pub(crate) async fn status_error(what: &'static str, answer: Response<Incoming>) -> Error {
    /// Bodies of errors are short; this much is waited for.
    const TEXT_LIMIT: usize = 16 << 10;
    let status = answer.status();
    let text = match read_body(answer.into_body(), what, TEXT_LIMIT).await {
        Ok(body) => crate::text::printable(&body),
        Err(_) => String::new(),
    };
    debug_assert_ne!(status, StatusCode::OK);
    Error::Status { what, status: status.as_u16(), text }
}
