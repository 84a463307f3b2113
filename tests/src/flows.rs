//! Many small flows at once, to see which of them pass: TCP connections, datagrams that are echoed, ICMP echoes, and
//! packets of other protocols that somebody at the other end must see.
//!
//! Owns: sending and listening. A flow passes when it is answered, or seen, within [`PATIENCE`]; what is refused is
//! silent, so that is what asking costs, however many flows there are. Leaves out: what should pass.

use anyhow::{Context, Result};
use lab::Host;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::net::{AddressFamily, Protocol, RecvFlags, SendFlags, SocketFlags, SocketType};
use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, UdpSocket};
use std::os::fd::{AsFd, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

/// How long an answer may take.
const PATIENCE: Duration = Duration::from_millis(2300);

/// What was not answered is sent again after that long. TCP does so by itself after a second.
const AGAIN: Duration = Duration::from_millis(800);

/// How long a thread waits before it looks whether it is still wanted.
const LOOK: Timespec = Timespec { tv_sec: 0, tv_nsec: 50_000_000 };

/// In every packet of another protocol, before the flow's number.
const WORD: [u8; 4] = *b"flow";

/// What is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Packet {
    /// A connection to this port. Refused by the machine is passed, too.
    Tcp(u16),
    /// A datagram to this port.
    Udp(u16),
    /// An echo of ICMP, or of ICMPv6.
    Echo,
    /// The head of a message to this port.
    Sctp(u16),
    /// A tunnel that nobody has.
    Gre,
}

const SCTP: u8 = 132;
const GRE: u8 = 47;

/// One flow to be tried.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Flow {
    /// Where it goes.
    pub to: IpAddr,
    /// What is sent.
    pub packet: Packet,
}

fn protocol(number: u8) -> Result<Protocol> {
    Ok(Protocol::from_raw(u32::from(number).try_into()?))
}

fn raw(v6: bool, number: u8) -> Result<OwnedFd> {
    let family = if v6 { AddressFamily::INET6 } else { AddressFamily::INET };
    let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
    rustix::net::socket_with(family, SocketType::RAW, flags, Some(protocol(number)?)).context("raw socket")
}

/// The number that a packet ends with.
fn numbered(bytes: &[u8]) -> Option<u32> {
    let (word, number) = bytes.last_chunk::<8>()?.split_at(4);
    (word == WORD).then(|| u32::from_be_bytes([number[0], number[1], number[2], number[3]]))
}

fn number(number: usize) -> Vec<u8> {
    [WORD, (number as u32).to_be_bytes()].concat()
}

/// Whoever listens on all of some ports at a host.
#[derive(Debug)]
pub struct Listener {
    stop: Arc<AtomicBool>,
    seen: Arc<Mutex<BTreeSet<u32>>>,
    thread: Option<JoinHandle<()>>,
}

impl Listener {
    /// Listens at `host` for whatever `packets` are.
    ///
    /// # Errors
    /// When a port is taken.
    pub fn new(host: &Host, packets: &[Packet]) -> Result<Self> {
        let any = |port: u16| SocketAddr::from((Ipv6Addr::UNSPECIFIED, port));
        let (tcp, udp, others) = host.inside(|| -> Result<_> {
            let (mut tcp, mut udp, mut others) = (Vec::new(), Vec::new(), Vec::new());
            for packet in packets {
                match packet {
                    Packet::Tcp(port) => {
                        let socket = TcpListener::bind(any(*port)).with_context(|| format!("{packet:?}"))?;
                        socket.set_nonblocking(true)?;
                        tcp.push(socket);
                    }
                    Packet::Udp(port) => {
                        let socket = UdpSocket::bind(any(*port)).with_context(|| format!("{packet:?}"))?;
                        socket.set_nonblocking(true)?;
                        udp.push(socket);
                    }
                    Packet::Echo | Packet::Sctp(_) | Packet::Gre => {}
                }
            }
            for (v6, number) in [(false, SCTP), (true, SCTP), (false, GRE), (true, GRE)] {
                others.push(raw(v6, number)?);
            }
            Ok((tcp, udp, others))
        })??;
        let (stop, seen) = (Arc::new(AtomicBool::new(false)), Arc::new(Mutex::new(BTreeSet::new())));
        let (stopped, noted) = (Arc::clone(&stop), Arc::clone(&seen));
        let thread = std::thread::spawn(move || {
            while !stopped.load(Ordering::Relaxed) {
                listen(&tcp, &udp, &others, &noted);
            }
        });
        Ok(Self { stop, seen, thread: Some(thread) })
    }

    /// Numbers of the flows of other protocols that were seen since the last call.
    fn seen(&self) -> BTreeSet<u32> {
        std::mem::take(&mut self.seen.lock().unwrap_or_else(std::sync::PoisonError::into_inner))
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            thread.join().ok();
        }
    }
}

/// One turn: waits for something, accepts and closes, echoes, and notes.
fn listen(tcp: &[TcpListener], udp: &[UdpSocket], others: &[OwnedFd], seen: &Mutex<BTreeSet<u32>>) {
    let all = tcp.iter().map(AsFd::as_fd).chain(udp.iter().map(AsFd::as_fd));
    let all = all.chain(others.iter().map(AsFd::as_fd));
    let mut ready: Vec<_> = all.map(|fd| PollFd::from_borrowed_fd(fd, PollFlags::IN)).collect();
    if poll(&mut ready, Some(&LOOK)).is_err() {
        return;
    }
    let mut room = [0; 256];
    tcp.iter().for_each(|socket| while socket.accept().is_ok() {});
    for socket in udp {
        while let Ok((len, from)) = socket.recv_from(&mut room) {
            socket.send_to(&room[..len], from).ok();
        }
    }
    for socket in others {
        while let Ok((len, _)) = rustix::net::recv(socket, &mut room[..], RecvFlags::empty()) {
            if let Some(number) = numbered(&room[..len]) {
                seen.lock().unwrap_or_else(std::sync::PoisonError::into_inner).insert(number);
            }
        }
    }
}

/// The sockets of one host that flows start from.
struct Sender {
    udp: [UdpSocket; 2],
    icmp: [OwnedFd; 2],
    others: [OwnedFd; 4],
    /// Of each flow that is a connection; `None` once it is answered.
    tcp: Vec<Option<OwnedFd>>,
}

impl Sender {
    fn new(flows: &[Flow]) -> Result<Self> {
        let udp =
            [UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))?, UdpSocket::bind((Ipv6Addr::UNSPECIFIED, 0))?];
        for socket in &udp {
            socket.set_nonblocking(true)?;
        }
        let mut tcp = Vec::with_capacity(flows.len());
        for flow in flows {
            tcp.push(match flow.packet {
                Packet::Tcp(port) => connect(SocketAddr::new(flow.to, port))?,
                _ => None,
            });
        }
        let icmp = [raw(false, 1)?, raw(true, 58)?];
        let others = [raw(false, SCTP)?, raw(true, SCTP)?, raw(false, GRE)?, raw(true, GRE)?];
        Ok(Self { udp, icmp, others, tcp })
    }

    /// Sends `flow` unless it is a connection. That there is no way there is silence.
    fn send(&self, flow: &Flow, at: usize, first: u32) {
        let v6 = usize::from(flow.to.is_ipv6());
        let word = number(first as usize + at);
        let to = |socket: &OwnedFd, bytes: &[u8]| {
            let _ = rustix::net::sendto(socket, bytes, SendFlags::empty(), &SocketAddr::new(flow.to, 0));
        };
        match flow.packet {
            Packet::Tcp(_) => {}
            Packet::Udp(port) => drop(self.udp[v6].send_to(&word, SocketAddr::new(flow.to, port))),
            Packet::Echo => to(&self.icmp[v6], &echo(v6 == 1, at as u16, &word)),
            Packet::Sctp(port) => {
                let mut bytes = vec![0; 12];
                bytes[..2].copy_from_slice(&4000_u16.to_be_bytes());
                bytes[2..4].copy_from_slice(&port.to_be_bytes());
                to(&self.others[v6], &[bytes, word].concat());
            }
            Packet::Gre => to(&self.others[2 + v6], &[&[0; 4], &*word].concat()),
        }
    }

    /// Notes what has been answered.
    fn receive(&mut self, first: u32, passed: &mut [bool]) {
        let mut room = [0; 256];
        let mut note = |number: Option<u32>| {
            let at = number.and_then(|number| number.checked_sub(first));
            if let Some(place) = at.and_then(|at| passed.get_mut(at as usize)) {
                *place = true;
            }
        };
        for socket in &self.udp {
            while let Ok((len, _)) = socket.recv_from(&mut room) {
                note(numbered(&room[..len]));
            }
        }
        // Answers only: what a host asks itself it hears, too.
        for (socket, head, answer) in [(&self.icmp[0], 20, 0), (&self.icmp[1], 0, 129)] {
            while let Ok((len, _)) = rustix::net::recv(socket, &mut room[..], RecvFlags::empty()) {
                if room[head] == answer {
                    note(numbered(&room[..len]));
                }
            }
        }
        for (at, place) in self.tcp.iter_mut().enumerate() {
            if let Some(passed) = place.as_ref().and_then(answered) {
                *place = None;
                note(passed.then_some(first + at as u32));
            }
        }
    }
}

/// Begins to connect; `None` where there is no way.
fn connect(to: SocketAddr) -> Result<Option<OwnedFd>> {
    let family = if to.is_ipv6() { AddressFamily::INET6 } else { AddressFamily::INET };
    let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
    let socket = rustix::net::socket_with(family, SocketType::STREAM, flags, None)?;
    // Nothing stays behind a flow.
    rustix::net::sockopt::set_socket_linger(&socket, Some(Duration::ZERO))?;
    match rustix::net::connect(&socket, &to) {
        Ok(()) | Err(rustix::io::Errno::INPROGRESS) => Ok(Some(socket)),
        Err(_) => Ok(None),
    }
}

/// Whether the other machine has accepted or refused; `None` while nobody has said anything. That there is no way, which
/// others say, can be asked for once only.
fn answered(socket: &OwnedFd) -> Option<bool> {
    let mut ready = [PollFd::new(socket, PollFlags::OUT)];
    let now = Timespec { tv_sec: 0, tv_nsec: 0 };
    if !poll(&mut ready, Some(&now)).is_ok_and(|count| count > 0) {
        return None;
    }
    let state = rustix::net::sockopt::socket_error(socket);
    Some(matches!(state, Ok(Ok(()) | Err(rustix::io::Errno::CONNREFUSED))))
}

/// An echo request; by IPv6 the kernel sums it up.
fn echo(v6: bool, sequence: u16, payload: &[u8]) -> Vec<u8> {
    let mut bytes = vec![if v6 { 128 } else { 8 }, 0, 0, 0, 0x5f, 0x10];
    bytes.extend_from_slice(&sequence.to_be_bytes());
    bytes.extend_from_slice(payload);
    if !v6 {
        let words = bytes.chunks_exact(2).map(|pair| u32::from(u16::from_be_bytes([pair[0], pair[1]])));
        let sum: u32 = words.sum();
        let folded = (sum & 0xffff) + (sum >> 16);
        bytes[2..4].copy_from_slice(&(!(folded as u16)).to_be_bytes());
    }
    bytes
}

/// Tries `flows` of each of several hosts, all at once, and says of each whether it passed. `listeners` are at all places
/// that flows go to.
///
/// # Errors
/// When a socket cannot be had.
pub fn passing(flows: &[(&Host, Vec<Flow>)], listeners: &[&Listener]) -> Result<Vec<Vec<bool>>> {
    listeners.iter().for_each(|listener| drop(listener.seen()));
    let mut results = std::thread::scope(|scope| {
        let mut first = 0;
        let mut threads = Vec::new();
        for (host, flows) in flows {
            let from = first;
            first += flows.len() as u32;
            threads.push(scope.spawn(move || host.inside(|| from_one(flows, from))?));
        }
        let all = threads.into_iter().map(|thread| thread.join().unwrap_or_else(|_| anyhow::bail!("panic")));
        all.collect::<Result<Vec<_>>>()
    })?;
    let places: Vec<(usize, usize)> = flows
        .iter()
        .enumerate()
        .flat_map(|(n, (_, flows))| (0..flows.len()).map(move |at| (n, at)))
        .collect();
    for number in listeners.iter().flat_map(|listener| listener.seen()) {
        if let Some(passed) = places.get(number as usize).map(|(n, at)| &mut results[*n][*at]) {
            *passed = true;
        }
    }
    Ok(results)
}

/// All flows of one host, whose first has the number `first`.
fn from_one(flows: &[Flow], first: u32) -> Result<Vec<bool>> {
    let mut passed = vec![false; flows.len()];
    let started = lab::now();
    let mut sender = Sender::new(flows)?;
    let mut rounds = 0;
    while started.elapsed() < PATIENCE {
        if started.elapsed() >= AGAIN * rounds {
            rounds += 1;
            for (at, flow) in flows.iter().enumerate().filter(|(at, _)| !passed[*at]) {
                sender.send(flow, at, first);
            }
        }
        sender.receive(first, &mut passed);
        std::thread::sleep(Duration::from_millis(10));
    }
    Ok(passed)
}
