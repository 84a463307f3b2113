//! Upstreams made of memory, in time that does not pass.

use super::{Asked as Question, forwarding};
use dns::forward::{Asked, Datagrams, Net, Pending, Stream};
use dns::message::{self, HEADER};
use dns::{Answer, Transport};
use hickory_proto::rr::RecordType;
use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::time::{Sleep, sleep};

/// What is done to the query to make an answer of it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Lie {
    Nothing,
    WrongId,
    WrongName,
    WrongKind,
    WrongClass,
    /// An answer to the question before this one, with its number.
    Before,
    /// Two questions, the second of which is ours.
    Second,
    NoResponse,
    Cut(usize),
    ServFail,
    Truncated,
    /// So many bytes behind the question.
    Large(usize),
}

pub(crate) fn answer(query: &[u8], lie: Lie) -> Vec<u8> {
    let mut bytes = query.to_vec();
    bytes[2] |= 0x80;
    match lie {
        Lie::Nothing => {}
        Lie::WrongId => bytes[1] ^= 1,
        Lie::WrongName => bytes[HEADER + 1] ^= 1,
        Lie::WrongKind => bytes[query.len() - 3] ^= 28,
        Lie::WrongClass => bytes[query.len() - 1] ^= 2,
        Lie::Before => {
            bytes[1] ^= 0x55;
            bytes[HEADER + 1..HEADER + 4].copy_from_slice(b"ftp");
        }
        Lie::Second => {
            bytes[5] = 2;
            bytes.splice(HEADER..HEADER, *b"\x01x\0\0\x01\0\x01");
        }
        Lie::NoResponse => bytes[2] &= 0x7f,
        Lie::Cut(length) => bytes.truncate(length),
        Lie::ServFail => bytes[3] = 2,
        Lie::Truncated => bytes[2] |= 2,
        Lie::Large(more) => bytes.resize(bytes.len() + more, 0),
    }
    bytes
}

/// Answers after so many milliseconds each; without any, the port is closed.
pub(crate) type Script = Vec<(u64, Lie)>;

/// Makes a forgery of an answer.
pub(crate) type Forge = Arc<dyn Fn(&[u8]) -> Vec<u8> + Send + Sync>;

/// Upstreams of memory.
#[derive(Default)]
pub(crate) struct World {
    pub(crate) udp: Option<Script>,
    pub(crate) tcp: Option<Script>,
    pub(crate) https: Option<Script>,
    /// Makes all answers instead.
    pub(crate) forge: Option<Forge>,
    pub(crate) ids: Cell<u16>,
    /// How, and under which number.
    pub(crate) asked: Rc<RefCell<Vec<(&'static str, u16)>>>,
    pub(crate) open: Rc<Cell<u32>>,
}

/// An answer and when it comes.
type Coming = (Pin<Box<Sleep>>, Vec<u8>);

struct Socket {
    coming: RefCell<VecDeque<Coming>>,
    open: Rc<Cell<u32>>,
}

impl Drop for Socket {
    fn drop(&mut self) {
        self.open.set(self.open.get() - 1);
    }
}

impl Datagrams for Socket {
    fn poll_receive(&self, context: &mut Context<'_>, room: &mut [u8]) -> Poll<io::Result<usize>> {
        let mut coming = self.coming.borrow_mut();
        let Some((when, bytes)) = coming.front_mut() else { return Poll::Pending };
        if when.as_mut().poll(context).is_pending() {
            return Poll::Pending;
        }
        let length = bytes.len().min(room.len());
        room[..length].copy_from_slice(&bytes[..length]);
        coming.pop_front();
        Poll::Ready(Ok(length))
    }
}

impl World {
    fn answer(&self, query: &[u8], lie: Lie) -> Vec<u8> {
        self.forge.as_ref().map_or_else(|| answer(query, lie), |forge| forge(query))
    }
}

impl Net for World {
    fn udp(&self, _: SocketAddr, bytes: &[u8]) -> io::Result<Box<dyn Datagrams>> {
        self.asked.borrow_mut().push(("udp", message::id(bytes)));
        let script = self.udp.as_ref().ok_or(io::ErrorKind::ConnectionRefused)?;
        let coming = script
            .iter()
            .map(|(after, lie)| (Box::pin(sleep(Duration::from_millis(*after))), self.answer(bytes, *lie)));
        self.open.set(self.open.get() + 1);
        Ok(Box::new(Socket { coming: RefCell::new(coming.collect()), open: Rc::clone(&self.open) }))
    }

    fn tcp(&self, _: SocketAddr) -> Pending<io::Result<Box<dyn Stream>>> {
        let (script, forge) = (self.tcp.clone(), self.forge.clone());
        let asked = Rc::clone(&self.asked);
        Box::pin(async move {
            asked.borrow_mut().push(("tcp", 0));
            let script = script.ok_or(io::ErrorKind::ConnectionRefused)?;
            let (ours, mut theirs) = tokio::io::duplex(1024);
            tokio::spawn(async move {
                let length = theirs.read_u16().await.expect("a length");
                let mut query = vec![0; length.into()];
                theirs.read_exact(&mut query).await.expect("a query");
                for (after, lie) in script {
                    sleep(Duration::from_millis(after)).await;
                    let answer = forge.as_ref().map_or_else(|| answer(&query, lie), |forge| forge(&query));
                    theirs.write_u16(answer.len() as u16).await.ok();
                    theirs.write_all(&answer).await.ok();
                }
                sleep(Duration::from_secs(60)).await;
            });
            Ok(Box::new(ours) as Box<dyn Stream>)
        })
    }

    fn post(&self, _: &str, addresses: Vec<IpAddr>, message: Vec<u8>) -> Pending<io::Result<Vec<u8>>> {
        self.asked
            .borrow_mut()
            .push((if addresses.is_empty() { "http" } else { "https" }, message::id(&message)));
        let (script, forge) = (self.https.clone(), self.forge.clone());
        Box::pin(async move {
            let script = script.ok_or(io::ErrorKind::ConnectionRefused)?;
            let Some((after, lie)) = script.first() else { return std::future::pending().await };
            sleep(Duration::from_millis(*after)).await;
            Ok(forge.map_or_else(|| answer(&message, *lie), |forge| forge(&message)))
        })
    }

    fn random(&self) -> u16 {
        self.ids.set(self.ids.get().wrapping_add(0x1357));
        self.ids.get()
    }
}

/// What a resolver with one upstream makes of a question.
pub(crate) fn asked(upstream: &str, question: &[u8], transport: Transport) -> Asked {
    let resolver = forwarding(upstream);
    match resolver.answer(question, transport, 0) {
        Answer::Ask(steps) => Asked { query: question.to_vec(), transport, steps: Rc::clone(steps) },
        other => panic!("{other:?}"),
    }
}

pub(crate) fn question() -> Vec<u8> {
    let mut question = Question::new("www.example.com.", RecordType::A);
    question.message.metadata.id = 0xabcd;
    question.bytes()
}
