//! Sockets that queries to one upstream share for a moment: making one costs more than everything else about a query.
//!
//! A socket is connected to its upstream, on a port that the kernel chooses, and takes [`MOST`] queries within [`LIFE`];
//! then comes another one. So whoever guesses has to hit the port and the number of a query as if each had its own (that
//! several wait at one port is outweighed by as many fewer ports), and a port is gone before it can be found out. Who asks
//! rarely has a new port for every query. What comes under a number that was never sent is a guess, and a few of them end the
//! socket. Leaves out: whether an answer answers its question.

use crate::forward::{Datagrams, MOST_FOREIGN, Pending};
use crate::message::{self, LARGEST};
use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::rc::{Rc, Weak};
use std::task::{Context, Poll, Waker};
use std::time::Duration;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::time::sleep;

/// Queries of one socket.
const MOST: usize = 64;
/// How long a socket takes queries.
const LIFE: Duration = Duration::from_millis(100);
/// Datagrams under one number that wait to be looked at; more are lost.
const MOST_UNSEEN: usize = 4;

/// What needs the caller's hand.
#[derive(Clone, Copy)]
pub struct Means {
    /// Binds a socket to port 0, for an upstream.
    pub bind: fn(SocketAddr) -> io::Result<UdpSocket>,
    /// Runs something beside everything else.
    pub spawn: fn(Pending<()>),
}

/// The sockets of a forwarder.
pub struct Shared {
    means: Means,
    /// Those that take queries, one for each upstream. They live as long as somebody waits, or might.
    current: RefCell<Vec<Weak<Socket>>>,
}

struct Socket {
    udp: AsyncFd<UdpSocket>,
    to: SocketAddr,
    /// Every query that was sent by it.
    queries: RefCell<Vec<Query>>,
    /// How many are waited for.
    waiting: Cell<usize>,
    /// Takes no more.
    old: Cell<bool>,
    failed: Cell<Option<io::ErrorKind>>,
    foreign: Cell<u32>,
    reader: Cell<Option<Waker>>,
}

struct Query {
    id: u16,
    /// Nobody waits for it any more. It is remembered, because its answer may come all the same.
    over: bool,
    come: Vec<Vec<u8>>,
    waker: Option<Waker>,
}

/// One query's part of a socket.
struct Part {
    socket: Rc<Socket>,
    id: u16,
}

impl Shared {
    /// None yet.
    pub fn new(means: Means) -> Self {
        Self { means, current: RefCell::default() }
    }

    /// Sends a query, whose number nobody can guess, and gives what receives its answers.
    ///
    /// # Errors
    /// When there is no socket to be had or the kernel does not send by it.
    pub fn send(&self, to: SocketAddr, bytes: &[u8]) -> io::Result<Box<dyn Datagrams>> {
        let id = message::id(bytes);
        let known =
            self.current.borrow().iter().find_map(|socket| socket.upgrade().filter(|one| one.to == to));
        if let Some(socket) = known {
            match socket.takes(id).then(|| socket.udp.get_ref().send(bytes)) {
                Some(Ok(_)) => return Ok(socket.part(id)),
                // That is about an earlier query, and nobody else is told.
                Some(Err(error)) if error.kind() != io::ErrorKind::WouldBlock => socket.fail(error.kind()),
                _ => socket.retire(),
            }
        }
        let udp = (self.means.bind)(to)?;
        // Connected, so that the kernel drops what comes from anywhere else and tells of refusals.
        udp.connect(to)?;
        udp.set_nonblocking(true)?;
        udp.send(bytes)?;
        #[expect(
            deprecated,
            reason = "its successor is `unsafe`, and an owned socket fulfils what that asks for"
        )]
        let udp = AsyncFd::with_interest(udp, Interest::READABLE)?;
        let socket = Rc::new(Socket {
            udp,
            to,
            queries: RefCell::default(),
            waiting: Cell::new(0),
            old: Cell::new(false),
            failed: Cell::new(None),
            foreign: Cell::new(0),
            reader: Cell::new(None),
        });
        let mut current = self.current.borrow_mut();
        current.retain(|one| one.upgrade().is_some_and(|one| one.to != to && !one.old.get()));
        current.push(Rc::downgrade(&socket));
        let part = socket.part(id);
        (self.means.spawn)(Box::pin(read(socket)));
        Ok(part)
    }
}

impl Socket {
    /// Whether a query of this number may be sent by it.
    fn takes(&self, id: u16) -> bool {
        let queries = self.queries.borrow();
        !self.old.get() && queries.len() < MOST && queries.iter().all(|query| query.id != id)
    }

    fn part(self: &Rc<Self>, id: u16) -> Box<dyn Datagrams> {
        self.queries.borrow_mut().push(Query { id, over: false, come: Vec::new(), waker: None });
        self.waiting.set(self.waiting.get() + 1);
        Box::new(Part { socket: Rc::clone(self), id })
    }

    fn take(&self, bytes: &[u8]) {
        let id = message::id(bytes);
        let mut queries = self.queries.borrow_mut();
        match queries.iter_mut().find(|query| query.id == id) {
            Some(query) if !query.over && query.come.len() < MOST_UNSEEN => {
                query.come.push(bytes.to_vec());
                query.waker.take().into_iter().for_each(Waker::wake);
            }
            Some(_) => {}
            None => self.foreign.set(self.foreign.get() + 1),
        }
    }

    /// Takes no more queries; with the last that is waited for it is closed.
    fn retire(&self) {
        self.old.set(true);
        if self.waiting.get() == 0 {
            self.reader.take().into_iter().for_each(Waker::wake);
        }
    }

    /// Everybody who waits hears of it.
    fn fail(&self, kind: io::ErrorKind) {
        self.old.set(true);
        self.failed.set(Some(kind));
        for query in self.queries.borrow_mut().iter_mut() {
            query.waker.take().into_iter().for_each(Waker::wake);
        }
    }

    /// Takes all there is; an error is the end.
    fn poll_read(&self, context: &mut Context<'_>) -> Poll<io::Error> {
        // One byte more than is passed on: so it is seen that there was more.
        let mut room = [0; LARGEST + 1];
        loop {
            let mut ready = match self.udp.poll_read_ready(context) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Err(error)) => return Poll::Ready(error),
                Poll::Ready(Ok(ready)) => ready,
            };
            match ready.try_io(|udp| udp.get_ref().recv(&mut room)) {
                Ok(Ok(length)) => self.take(room.get(..length).unwrap_or_default()),
                Ok(Err(error)) => return Poll::Ready(error),
                Err(_) => {}
            }
            if self.foreign.get() >= MOST_FOREIGN {
                return Poll::Ready(io::ErrorKind::InvalidData.into());
            }
        }
    }
}

/// Hands out what comes until nobody waits and nobody new can.
async fn read(socket: Rc<Socket>) {
    let mut life = Box::pin(sleep(LIFE));
    poll_fn(|context| {
        if let Poll::Ready(error) = socket.poll_read(context) {
            socket.fail(error.kind());
            return Poll::Ready(());
        }
        if !socket.old.get() && life.as_mut().poll(context).is_ready() {
            socket.old.set(true);
        }
        if socket.old.get() && socket.waiting.get() == 0 {
            return Poll::Ready(());
        }
        socket.reader.set(Some(context.waker().clone()));
        Poll::Pending
    })
    .await;
}

impl Datagrams for Part {
    fn poll_receive(&self, context: &mut Context<'_>, room: &mut [u8]) -> Poll<io::Result<usize>> {
        let mut queries = self.socket.queries.borrow_mut();
        let query = queries.iter_mut().find(|query| query.id == self.id);
        let Some(query) = query else { return Poll::Ready(Err(io::ErrorKind::NotFound.into())) };
        if query.come.is_empty() {
            if let Some(kind) = self.socket.failed.get() {
                return Poll::Ready(Err(kind.into()));
            }
            query.waker = Some(context.waker().clone());
            return Poll::Pending;
        }
        let bytes = query.come.remove(0);
        let length = bytes.len().min(room.len());
        for (to, from) in room.iter_mut().zip(&bytes) {
            *to = *from;
        }
        Poll::Ready(Ok(length))
    }
}

impl Drop for Part {
    fn drop(&mut self) {
        let socket = &self.socket;
        if let Some(query) = socket.queries.borrow_mut().iter_mut().find(|query| query.id == self.id) {
            *query = Query { id: self.id, over: true, come: Vec::new(), waker: None };
        }
        socket.waiting.set(socket.waiting.get().saturating_sub(1));
        if socket.old.get() {
            socket.retire();
        }
    }
}
