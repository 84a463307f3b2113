//! A relay for tests. It encodes by hand, not with the code under test.

use crypto_box::aead::Aead as _;
use crypto_box::{Nonce, PublicKey, SalsaBox, SecretKey};
use dial::{BoxStream, Dial, LocalFuture, Target};
use keys::NodePrivate;
use std::cell::{Cell, RefCell};
use std::collections::BTreeSet;
use std::io;
use std::rc::Rc;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream};
use tokio::sync::mpsc;

/// What lies in a pipe between client and relay.
pub(super) const PIPE: usize = 16 << 10;

/// Hands out pipes instead of connections.
pub(super) struct FakeDialer {
    accepted: mpsc::Sender<(Target, DuplexStream)>,
    pub(super) dials: Cell<u32>,
    /// Hosts that refuse.
    pub(super) refusing: RefCell<BTreeSet<String>>,
    /// Hosts that never answer.
    pub(super) hanging: RefCell<BTreeSet<String>>,
}

impl Dial for FakeDialer {
    fn dial<'a>(&'a self, target: &'a Target) -> LocalFuture<'a, io::Result<BoxStream>> {
        Box::pin(async move {
            self.dials.set(self.dials.get() + 1);
            if self.refusing.borrow().contains(&target.host) {
                return Err(io::Error::other(format!("connection refused by {}", target.host)));
            }
            if self.hanging.borrow().contains(&target.host) {
                std::future::pending::<()>().await;
            }
            let (ours, theirs) = tokio::io::duplex(PIPE);
            self.accepted.try_send((target.clone(), theirs)).map_err(io::Error::other)?;
            Ok(Box::new(ours) as BoxStream)
        })
    }
}

pub(super) struct Relays {
    pub(super) dialer: Rc<FakeDialer>,
    accepted: mpsc::Receiver<(Target, DuplexStream)>,
}

impl Relays {
    pub(super) fn new() -> Self {
        let (sender, accepted) = mpsc::channel(64);
        let dialer = FakeDialer {
            accepted: sender,
            dials: Cell::default(),
            refusing: RefCell::default(),
            hanging: RefCell::default(),
        };
        Self { dialer: Rc::new(dialer), accepted }
    }

    /// The relay's end of the next connection, before anything is said.
    pub(super) async fn accept(&mut self) -> Server {
        let (target, pipe) = self.accepted.recv().await.expect("a dial");
        Server { target, pipe, key: [0x50; 32], marks: 0, mute: false }
    }

    /// True if a connection waits that nobody accepted.
    pub(super) fn is_dialled(&self) -> bool {
        !self.accepted.is_empty()
    }
}

pub(super) struct Server {
    pub(super) target: Target,
    pub(super) pipe: DuplexStream,
    /// Private key.
    pub(super) key: [u8; 32],
    /// Marks seen so far.
    pub(super) marks: u32,
    /// Leaves marks without an answer.
    pub(super) mute: bool,
}

impl Server {
    /// Reads the upgrade request.
    pub(super) async fn request(&mut self) -> String {
        let mut text = Vec::new();
        while !text.ends_with(b"\r\n\r\n") {
            text.push(self.pipe.read_u8().await.expect("request"));
        }
        String::from_utf8(text).expect("text")
    }

    /// Does the whole handshake; the 101 and the key leave in one write, as a real server may send them.
    pub(super) async fn welcome(&mut self, info: &str) {
        self.request().await;
        let mut answer = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: DERP\r\n\r\n".to_vec();
        answer.extend(self.key_frame());
        self.write(&answer).await;
        self.client_info(info).await;
    }

    pub(super) fn key_frame(&self) -> Vec<u8> {
        let public = SecretKey::from(self.key).public_key();
        raw(1, &[b"DERP\xf0\x9f\x94\x91".as_slice(), public.as_bytes()].concat())
    }

    /// Reads ClientInfo, checks it, and answers `info`.
    pub(super) async fn client_info(&mut self, info: &str) {
        let (kind, payload) = self.frame().await;
        assert_eq!(kind, 2);
        let client: [u8; 32] = payload[..32].try_into().expect("key");
        let nonce: [u8; 24] = payload[32..56].try_into().expect("nonce");
        let boxed = SalsaBox::new(&PublicKey::from(client), &SecretKey::from(self.key));
        let json = boxed.decrypt(&Nonce::from(nonce), &payload[56..]).expect("box opens");
        assert_eq!(json, br#"{"version":2,"CanAckPings":true}"#);
        let nonce = [9; 24];
        let sealed = boxed.encrypt(&Nonce::from(nonce), info.as_bytes()).expect("seal");
        self.write(&raw(3, &[&nonce[..], &sealed].concat())).await;
    }

    pub(super) async fn write(&mut self, bytes: &[u8]) {
        self.pipe.write_all(bytes).await.expect("client reads");
    }

    /// The next frame from the client that is no mark; marks are answered at once.
    pub(super) async fn frame(&mut self) -> (u8, Vec<u8>) {
        loop {
            let kind = self.pipe.read_u8().await.expect("type");
            let len = self.pipe.read_u32().await.expect("length");
            let mut payload = vec![0; len as usize];
            self.pipe.read_exact(&mut payload).await.expect("payload");
            if kind != 0x12 || !payload.starts_with(b"mark") {
                return (kind, payload);
            }
            self.marks += 1;
            if !self.mute {
                self.write(&raw(0x13, &payload)).await;
            }
        }
    }

    /// True if the client has hung up; waits for it or for bytes.
    pub(super) async fn is_closed(&mut self) -> bool {
        matches!(self.pipe.read_u8().await, Err(e) if e.kind() == io::ErrorKind::UnexpectedEof)
    }
}

/// A frame, by hand.
pub(super) fn raw(kind: u8, payload: &[u8]) -> Vec<u8> {
    let mut out = vec![kind];
    out.extend((payload.len() as u32).to_be_bytes());
    out.extend(payload);
    out
}

/// A packet from the peer whose key is `src` repeated.
pub(super) fn packet_from(src: u8, payload: &[u8]) -> Vec<u8> {
    raw(5, &[&[src; 32], payload].concat())
}

/// The public key of a private one.
pub(super) fn public(key: &NodePrivate) -> [u8; 32] {
    *SecretKey::from(*key.as_bytes()).public_key().as_bytes()
}
