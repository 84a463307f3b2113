//! A control server: `/key`, the upgrade, Noise, the early payload and HTTP/2.

use crate::noise::INITIATION_LEN;
use crate::noise::responder::Responder;
use base64::Engine as _;
use bytes::Bytes;
use dial::{BoxStream, Dial, LocalFuture, Target};
use http::{HeaderMap, Request, Response};
use http_body_util::BodyExt as _;
use http_body_util::channel::{Channel, Sender};
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use keys::MachinePrivate;
use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::io;
use std::pin::pin;
use std::rc::{Rc, Weak};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::sync::{Notify, mpsc, oneshot};

/// The open body of an answer.
pub(super) type Body = Sender<Bytes>;
type Answer = Response<Channel<Bytes>>;

/// What a port does.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Port {
    Serve,
    Refuse(&'static str),
    Hang,
    /// Takes connections and says nothing on them.
    Silent,
    /// Gives its key, and says nothing to an upgrade.
    SilentNoise,
    /// Answers everything with this text.
    Say(&'static str),
    /// Gives its key, but does not upgrade.
    OnlyKey,
    /// Upgrades and then closes at once.
    CloseAfterHandshake,
}

/// The server, and the dialler that reaches it under every name.
pub(super) struct Server {
    me: Weak<Self>,
    key: RefCell<MachinePrivate>,
    pub(super) ports: RefCell<HashMap<u16, Port>>,
    /// Every connection that was asked for.
    pub(super) dialled: RefCell<Vec<Target>>,
    /// Request lines outside Noise.
    pub(super) plain: RefCell<Vec<String>>,
    pub(super) version: Cell<u16>,
    /// Has every connection end as soon as what runs on it is done.
    pub(super) go_away: Notify,
    seen: mpsc::Sender<Seen>,
}

/// A request inside Noise.
pub(super) struct Seen {
    pub(super) method: String,
    pub(super) path: String,
    pub(super) headers: HeaderMap,
    pub(super) body: Bytes,
    pub(super) json: serde_json::Value,
    reply: oneshot::Sender<Answer>,
}

impl Seen {
    pub(super) async fn answer(self, json: &'static str) {
        self.answer_with(Response::builder(), json).await;
    }

    pub(super) async fn answer_with(self, head: http::response::Builder, text: &'static str) {
        let (mut sender, body) = Channel::new(1);
        let _ = self.reply.send(head.body(body).expect("head"));
        let _ = sender.send_data(Bytes::from_static(text.as_bytes())).await;
    }

    pub(super) async fn open(self) -> Body {
        let (sender, body) = Channel::new(1);
        let _ = self.reply.send(Response::new(body));
        sender
    }
}

/// A map message with its length.
pub(super) fn framed(json: &str) -> Bytes {
    [&(json.len() as u32).to_le_bytes(), json.as_bytes()].concat().into()
}

impl Server {
    pub(super) fn new() -> (Rc<Self>, mpsc::Receiver<Seen>) {
        let (seen, requests) = mpsc::channel(16);
        let server = Rc::new_cyclic(|me| Self {
            me: me.clone(),
            key: RefCell::new(MachinePrivate::from_bytes([5; 32])),
            ports: RefCell::default(),
            dialled: RefCell::default(),
            plain: RefCell::default(),
            version: Cell::new(0),
            go_away: Notify::new(),
            seen,
        });
        (server, requests)
    }

    pub(super) fn set_port(&self, port: u16, does: Port) {
        self.ports.borrow_mut().insert(port, does);
    }

    /// The server gets another identity.
    pub(super) fn change_key(&self) {
        *self.key.borrow_mut() = MachinePrivate::from_bytes([6; 32]);
    }

    /// Ports of the Noise connections so far, with whether they were TLS.
    pub(super) fn noise_dials(&self) -> Vec<(u16, bool)> {
        let dialled = self.dialled.borrow();
        dialled
            .iter()
            .filter(|t| t.tls != Some(dial::Verify::Host))
            .map(|t| (t.port, t.tls.is_some()))
            .collect()
    }

    async fn serve(self: Rc<Self>, mut io: BoxStream, port: Port) -> io::Result<()> {
        if port == Port::Silent {
            let _open = io;
            return std::future::pending().await;
        }
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(io.read_u8().await?);
        }
        let head = String::from_utf8(head).expect("head");
        let line = head.lines().next().unwrap_or_default().to_owned();
        let key = self.key.borrow().clone();
        if let Port::Say(text) = port {
            return io.write_all(text.as_bytes()).await;
        }
        if !line.starts_with("POST /ts2021 ") {
            self.plain.borrow_mut().push(line);
            let body = format!(r#"{{"publicKey":"{}"}}"#, key.public());
            let answer = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len());
            return io.write_all(answer.as_bytes()).await;
        }
        if port == Port::SilentNoise {
            let _open = io;
            return std::future::pending().await;
        }
        if port == Port::OnlyKey {
            return io.write_all(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n").await;
        }
        let header = |name: &str| {
            let lower = |line: &str| line.to_ascii_lowercase().starts_with(&format!("{name}: "));
            head.lines().find(|line| lower(line)).map(|line| line[name.len() + 2..].to_owned())
        };
        assert_eq!(header("upgrade").as_deref(), Some("tailscale-control-protocol"));
        assert_eq!(header("connection").as_deref(), Some("upgrade"));
        let message = header("x-tailscale-handshake").expect("handshake");
        let message = base64::engine::general_purpose::STANDARD.decode(message).expect("base64");
        let message: [u8; INITIATION_LEN] = message.try_into().expect("101 bytes");
        let ephemeral = MachinePrivate::generate(&mut rand_core::OsRng);
        let Ok((responder, response)) = Responder::answer(&key, &message, ephemeral) else {
            return io.write_all(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n").await;
        };
        self.version.set(responder.version);
        // Answer and Noise response in one write: the client's HTTP parser reads too far.
        let mut answer = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: tailscale-control-protocol\r\n\
                           Connection: upgrade\r\n\r\n"
            .to_vec();
        answer.extend(response);
        io.write_all(&answer).await?;
        if port == Port::CloseAfterHandshake {
            return Ok(());
        }
        let mut noise = responder.into_stream(io);
        noise.write_all(b"\xff\xff\xffTS\x00\x00\x00\x02{}").await?;
        let me = self.clone();
        let service = hyper::service::service_fn(move |request| me.clone().take(request));
        let connection =
            hyper::server::conn::http2::Builder::new(Local).serve_connection(TokioIo::new(noise), service);
        let mut connection = pin!(connection);
        tokio::select! {
            _ = &mut connection => return Ok(()),
            () = self.go_away.notified() => connection.as_mut().graceful_shutdown(),
        }
        let _ = connection.await;
        Ok(())
    }

    async fn take(self: Rc<Self>, request: Request<Incoming>) -> Result<Answer, hyper::Error> {
        let (head, body) = request.into_parts();
        let body = body.collect().await?.to_bytes();
        let (reply, answer) = oneshot::channel();
        let seen = Seen {
            method: head.method.to_string(),
            path: head.uri.path_and_query().map(ToString::to_string).unwrap_or_default(),
            headers: head.headers,
            json: serde_json::from_slice(&body).unwrap_or_default(),
            body,
            reply,
        };
        let _ = self.seen.send(seen).await;
        match answer.await {
            Ok(answer) => Ok(answer),
            Err(_) => std::future::pending().await,
        }
    }
}

#[derive(Clone)]
struct Local;

impl<F: Future<Output = ()> + 'static> hyper::rt::Executor<F> for Local {
    fn execute(&self, future: F) {
        tokio::task::spawn_local(future);
    }
}

impl Dial for Server {
    fn dial<'a>(&'a self, target: &'a Target) -> LocalFuture<'a, io::Result<BoxStream>> {
        self.dialled.borrow_mut().push(target.clone());
        let port = self.ports.borrow().get(&target.port).cloned().unwrap_or(Port::Serve);
        Box::pin(async move {
            match port {
                Port::Refuse(why) => return Err(io::Error::other(why)),
                Port::Hang => std::future::pending().await,
                _ => {}
            }
            let (ours, theirs) = tokio::io::duplex(1 << 16);
            let me = self.me.upgrade().expect("server");
            tokio::task::spawn_local(async move { me.serve(Box::new(theirs), port).await });
            Ok(Box::new(ours) as BoxStream)
        })
    }
}
