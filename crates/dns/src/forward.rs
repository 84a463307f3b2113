//! Drives [`race`](crate::race): sockets, timers, and how many queries there are at once.
//!
//! Every query to an upstream has a number of its own and goes by a socket of the caller's ([`Net`]; the daemon's are
//! [`shared`](crate::shared)); what else comes to it is counted, not believed. Leaves out: TLS and HTTP.

use crate::config::Step;
use crate::cut::cut;
use crate::local::failure;
use crate::message::{self, Code, LARGEST, Query};
use crate::race::{Outcome, Race, Start, TOTAL, Verdict, Via, judge};
use crate::upstream::Upstream;
use crate::{Transport, providers};
use std::future::{Future, poll_fn};
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::rc::Rc;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::task::{Context, Poll};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::time::{Instant, sleep_until};

/// Queries at the same time; more are dropped.
const MOST_QUERIES: u32 = 256;
/// Foreign answers to one query after which its socket is closed: somebody is guessing.
pub(crate) const MOST_FOREIGN: u32 = 16;

/// Something that is waited for.
pub type Pending<T> = Pin<Box<dyn Future<Output = T>>>;

/// A stream of bytes to an upstream.
pub trait Stream: AsyncRead + AsyncWrite + Unpin {}
impl<S: AsyncRead + AsyncWrite + Unpin> Stream for S {}

/// A datagram socket connected to an upstream.
pub trait Datagrams {
    /// Receives one into `room`; what does not fit is lost.
    fn poll_receive(&self, context: &mut Context<'_>, room: &mut [u8]) -> Poll<io::Result<usize>>;
}

impl Datagrams for tokio::net::UdpSocket {
    fn poll_receive(&self, context: &mut Context<'_>, room: &mut [u8]) -> Poll<io::Result<usize>> {
        let mut room = tokio::io::ReadBuf::new(room);
        self.poll_recv(context, &mut room).map_ok(|()| room.filled().len())
    }
}

/// Connects a new socket (bound to port 0, marked by the caller) and sends: what [`Net::udp`] does in the end.
pub fn send(socket: std::net::UdpSocket, to: SocketAddr, bytes: &[u8]) -> io::Result<Box<dyn Datagrams>> {
    // Connected, so that the kernel drops what comes from anywhere else and tells of refusals.
    socket.connect(to)?;
    socket.set_nonblocking(true)?;
    socket.send(bytes)?;
    Ok(Box::new(tokio::net::UdpSocket::from_std(socket)?))
}

/// The outside, by the caller.
pub trait Net {
    /// A new socket on a port of the kernel's choice, connected to an upstream, by which `bytes` have been sent
    /// ([`send`]).
    fn udp(&self, to: SocketAddr, bytes: &[u8]) -> io::Result<Box<dyn Datagrams>>;
    /// A new stream to an upstream.
    fn tcp(&self, to: SocketAddr) -> Pending<io::Result<Box<dyn Stream>>>;
    /// POSTs a message of type `application/dns-message` and answers what comes back with status 200 and the same
    /// type, 64 KiB at most. `addresses` is where the URL's host is; empty when it is an address itself.
    fn post(&self, url: &str, addresses: Vec<IpAddr>, message: Vec<u8>) -> Pending<io::Result<Vec<u8>>>;
    /// A number that nobody can guess.
    fn random(&self) -> u16;
}

/// What has happened so far.
#[derive(Debug, Default)]
pub struct Counters {
    /// Queries that were forwarded.
    pub forwarded: AtomicU32,
    /// Queries that were dropped because there were too many.
    pub dropped: AtomicU32,
    /// Answers with a wrong number or question.
    pub foreign: AtomicU32,
    /// Queries to which no upstream had a good answer.
    pub failed: AtomicU32,
}

/// A query to be forwarded.
#[derive(Debug)]
pub struct Asked {
    /// As it came.
    pub query: Vec<u8>,
    /// By what it came.
    pub transport: Transport,
    /// Whom to ask.
    pub steps: Rc<[Step]>,
}

/// What goes back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Forwarded {
    /// The answer, under the number of the query that came.
    pub reply: Vec<u8>,
    /// Nobody could be reached (health item `dns-forward-failing`).
    pub unreachable: bool,
}

/// Forwards queries.
pub struct Forwarder<N> {
    net: N,
    /// TCP to upstreams is allowed.
    tcp: bool,
    active: AtomicU32,
    counters: Rc<Counters>,
}

/// One exchange that is waited for.
struct Flight {
    start: Start,
    pending: Pending<io::Result<Vec<u8>>>,
    sent: Rc<[u8]>,
}

/// One of the places that there are.
struct Place<'a>(&'a AtomicU32);

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Relaxed);
    }
}

impl<N: Net> Forwarder<N> {
    /// `tcp` is false with the attribute `dns-forwarder-disable-tcp-retries`.
    pub fn new(net: N, tcp: bool) -> Self {
        Self { net, tcp, active: AtomicU32::new(0), counters: Rc::default() }
    }

    /// What has happened so far.
    pub fn counters(&self) -> &Counters {
        &self.counters
    }

    /// Whether a query that came now would be dropped; if so it counts as dropped.
    pub fn is_full(&self) -> bool {
        let full = self.active.load(Relaxed) >= MOST_QUERIES;
        if full {
            self.counters.dropped.fetch_add(1, Relaxed);
        }
        full
    }

    /// Forwards a query, ten seconds at most. `None` when there are too many already, or when it is none.
    pub async fn forward(&self, asked: Asked) -> Option<Forwarded> {
        let Asked { mut query, transport, steps } = asked;
        if self.is_full() || query.len() > LARGEST {
            return None;
        }
        self.active.fetch_add(1, Relaxed);
        let _place = Place(&self.active);
        message::clamp_size(&mut query);
        let question_end = Query::parse(&query).ok()?.question_end;
        self.counters.forwarded.fetch_add(1, Relaxed);
        match self.run(&query, question_end, Race::new(steps, transport, self.tcp)).await {
            Outcome::Answer(mut reply) => {
                message::set_id(&mut reply, message::id(&query));
                if transport == Transport::Udp {
                    message::mark_truncated(&mut reply, message::size(&query));
                    cut(&mut reply, &query, question_end);
                    message::clamp_size(&mut reply);
                }
                Some(Forwarded { reply, unreachable: false })
            }
            Outcome::Nothing { unreachable } => {
                self.counters.failed.fetch_add(1, Relaxed);
                let query = Query::parse(&query).ok()?;
                Some(Forwarded { reply: failure(&query, Code::ServFail), unreachable })
            }
        }
    }

    async fn run(&self, query: &[u8], question_end: usize, mut race: Race) -> Outcome {
        let begun = Instant::now();
        let mut flights: Vec<Flight> = Vec::new();
        let mut timer = Box::pin(sleep_until(begun + TOTAL));
        loop {
            let now = begun.elapsed();
            while let Some(start) = race.start(now) {
                match self.launch(query, question_end, &race, start) {
                    Ok(flight) => flights.push(flight),
                    Err(_) => {
                        if let Some(outcome) = race.ended(start, None) {
                            return outcome;
                        }
                    }
                }
            }
            if let Some(outcome) = race.timeout(now) {
                return outcome;
            }
            flights.retain(|flight| race.is_flying(flight.start));
            timer.as_mut().reset(begun + race.wait());
            let landed = poll_fn(|context| {
                for at in 0..flights.len() {
                    let Some(flight) = flights.get_mut(at) else { break };
                    if let Poll::Ready(result) = flight.pending.as_mut().poll(context) {
                        let flight = flights.swap_remove(at);
                        return Poll::Ready(Some((flight.start, flight.sent, result)));
                    }
                }
                timer.as_mut().poll(context).map(|()| None)
            });
            let Some((start, sent, result)) = landed.await else { continue };
            let answer = result.ok().map(|bytes| (judge(&sent, question_end, &bytes), bytes));
            if matches!(answer, Some((Verdict::Foreign, _))) {
                self.counters.foreign.fetch_add(1, Relaxed);
            }
            if let Some(outcome) = race.ended(start, answer) {
                return outcome;
            }
        }
    }

    /// Asks somebody, under a number of its own.
    fn launch(&self, query: &[u8], question_end: usize, race: &Race, start: Start) -> io::Result<Flight> {
        let mut sent = query.to_vec();
        message::set_id(&mut sent, self.net.random());
        let sent: Rc<[u8]> = sent.into();
        let upstream = race.steps().get(start.step).map(|step| &step.upstream);
        let pending: Pending<io::Result<Vec<u8>>> = match (upstream, start.via) {
            (Some(Upstream::Plain(to)), Via::Udp) => {
                let socket = self.net.udp(*to, &sent)?;
                Box::pin(by_udp(socket, Rc::clone(&sent), question_end, Rc::clone(&self.counters)))
            }
            (Some(Upstream::Plain(to)), Via::Tcp) => Box::pin(by_tcp(self.net.tcp(*to), Rc::clone(&sent))),
            (Some(Upstream::PeerApi(url)), Via::Http) => self.net.post(url, Vec::new(), sent.to_vec()),
            (Some(Upstream::Https(url)), Via::Http) => {
                self.net.post(url, providers::addresses(url).unwrap_or_default(), sent.to_vec())
            }
            _ => return Err(io::ErrorKind::Unsupported.into()),
        };
        Ok(Flight { start, pending, sent })
    }
}

/// Waits for the answer to what was sent; what else comes is counted, and too much of it ends the wait.
async fn by_udp(
    socket: Box<dyn Datagrams>,
    sent: Rc<[u8]>,
    question_end: usize,
    counters: Rc<Counters>,
) -> io::Result<Vec<u8>> {
    let mut foreign = 0;
    poll_fn(move |context| {
        // One byte more than is passed on: so it is seen that there was more.
        let mut room = [0; LARGEST + 1];
        loop {
            let length = match socket.poll_receive(context, &mut room) {
                Poll::Ready(Ok(length)) => length,
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                Poll::Pending => return Poll::Pending,
            };
            let bytes = room.get(..length.min(LARGEST)).unwrap_or_default();
            if judge(&sent, question_end, bytes) != Verdict::Foreign {
                let mut bytes = bytes.to_vec();
                if length > LARGEST {
                    message::set_truncated(&mut bytes);
                }
                return Poll::Ready(Ok(bytes));
            }
            counters.foreign.fetch_add(1, Relaxed);
            foreign += 1;
            if foreign >= MOST_FOREIGN {
                return Poll::Ready(Err(io::ErrorKind::InvalidData.into()));
            }
        }
    })
    .await
}

/// One exchange by TCP. The answer's room grows with what comes, not with what is promised.
async fn by_tcp(stream: Pending<io::Result<Box<dyn Stream>>>, sent: Rc<[u8]>) -> io::Result<Vec<u8>> {
    let mut stream = stream.await?;
    let mut framed = (sent.len() as u16).to_be_bytes().to_vec();
    framed.extend_from_slice(&sent);
    stream.write_all(&framed).await?;
    drop(framed);
    let length = u64::from(stream.read_u16().await?);
    let mut bytes = Vec::new();
    stream.take(length).read_to_end(&mut bytes).await?;
    if bytes.len() as u64 == length { Ok(bytes) } else { Err(io::ErrorKind::UnexpectedEof.into()) }
}
