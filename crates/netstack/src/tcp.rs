//! TCP connections that others open to our ports: smoltcp with everything around it made on demand.
//!
//! smoltcp has no queue of connections that wait: a socket listens for one. So a socket is made for each packet that
//! opens a connection, and takes it. Without connections there is no smoltcp at all.

use crate::Limits;
use crate::device::{Card, Outgoing};
use datapath::packet::Parsed;
use datapath::time::Mono;
use smoltcp::iface::{Config, Interface, SocketHandle, SocketSet};
use smoltcp::socket::tcp::{RecvError, Socket, SocketBuffer, State};
use smoltcp::time::{Duration, Instant};
use smoltcp::wire::{HardwareAddress, IpCidr};
use std::net::{IpAddr, SocketAddr};

/// How long the opening of a connection may take. smoltcp counts from what was heard last, whether or not anything is owed,
/// so it is told this only until the connection is open: who is silent too long afterwards is the service's to say.
const OPENING: Duration = Duration::from_secs(15);

/// Names a connection; never used again for another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ConnId(u64);

/// What [`Stack::read`](crate::Stack::read) found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Read {
    /// So many bytes, perhaps none; more may come.
    Bytes(usize),
    /// The peer has said that no more will come, and all of it was read.
    End,
    /// There is no such connection (any more).
    Gone,
}

#[derive(Debug)]
struct Conn {
    id: ConnId,
    handle: SocketHandle,
    remote: SocketAddr,
    local: SocketAddr,
}

/// smoltcp, while there is something for it to do.
struct Engine {
    interface: Interface,
    sockets: SocketSet<'static>,
}

/// All connections.
pub(crate) struct Tcp {
    engine: Option<Box<Engine>>,
    conns: Vec<Conn>,
    addresses: Box<[IpAddr]>,
    limits: Limits,
    mtu: usize,
    /// For the first sequence numbers.
    seed: u64,
    last: u64,
}

/// As smoltcp has it.
fn instant(now: Mono) -> Instant {
    Instant::from_micros((now.as_nanos() / 1000) as i64)
}

impl Tcp {
    pub(crate) fn new(addresses: &[IpAddr], mtu: usize, seed: u64, limits: Limits) -> Self {
        Self { engine: None, conns: Vec::new(), addresses: addresses.into(), limits, mtu, seed, last: 0 }
    }

    /// Takes a segment to one of our addresses; `listening` says whether its port is one of ours. False: it is to be
    /// refused. A connection that it opens is named by the second value.
    pub(crate) fn handle(
        &mut self,
        packet: &[u8],
        parsed: &Parsed,
        listening: bool,
        out: &mut Outgoing,
        now: Mono,
    ) -> (bool, Option<ConnId>) {
        let remote = SocketAddr::new(parsed.src, parsed.src_port);
        let local = SocketAddr::new(parsed.dst, parsed.dst_port);
        let known = self.conns.iter().any(|conn| conn.remote == remote && conn.local == local);
        let opens = parsed.is_tcp_syn() && listening && self.conns.len() < self.limits.connections;
        let mut opened = None;
        if !known {
            opened = if opens { self.open(remote, local, out, now) } else { None };
            if opened.is_none() {
                return (false, None);
            }
        }
        if let Some(engine) = &mut self.engine {
            let mut card = Card { incoming: Some(packet), out, mtu: self.mtu };
            engine.interface.poll_ingress_single(instant(now), &mut card, &mut engine.sockets);
        }
        (true, opened)
    }

    /// Makes a socket that takes the connection.
    fn open(
        &mut self,
        remote: SocketAddr,
        local: SocketAddr,
        out: &mut Outgoing,
        now: Mono,
    ) -> Option<ConnId> {
        let Limits { receive, send, .. } = self.limits;
        let mut socket = Socket::new(SocketBuffer::new(vec![0; receive]), SocketBuffer::new(vec![0; send]));
        socket.listen(local).ok()?;
        socket.set_timeout(Some(OPENING));
        // Answers are written whole: nothing comes that they could be sent with.
        socket.set_nagle_enabled(false);
        if self.engine.is_none() {
            self.engine = Some(Box::new(self.start(out, now)));
        }
        let handle = self.engine.as_mut()?.sockets.add(socket);
        self.last += 1;
        let id = ConnId(self.last);
        self.conns.push(Conn { id, handle, remote, local });
        Some(id)
    }

    fn start(&mut self, out: &mut Outgoing, now: Mono) -> Engine {
        let mut config = Config::new(HardwareAddress::Ip);
        self.seed = self.seed.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(now.as_nanos() | 1);
        config.random_seed = self.seed;
        let mut card = Card { incoming: None, out, mtu: self.mtu };
        let mut interface = Interface::new(config, &mut card, instant(now));
        interface.update_ip_addrs(|addresses| {
            for ip in &self.addresses {
                // Everybody is a neighbour. There is room for two.
                let _ = addresses.push(IpCidr::new((*ip).into(), 0));
            }
        });
        Engine { interface, sockets: SocketSet::new(Vec::new()) }
    }

    /// Sends what there is to be sent, runs timers, and forgets connections that are over.
    pub(crate) fn poll(&mut self, out: &mut Outgoing, now: Mono) {
        let Some(engine) = &mut self.engine else { return };
        let mut card = Card { incoming: None, out, mtu: self.mtu };
        engine.interface.poll(instant(now), &mut card, &mut engine.sockets);
        self.conns.retain(|conn| {
            let socket = engine.sockets.get_mut::<Socket<'_>>(conn.handle);
            if socket.state() != State::SynReceived {
                socket.set_timeout(None);
            }
            // What comes late for a connection that has ended well is refused, which does no harm.
            let over = matches!(socket.state(), State::Closed | State::TimeWait | State::Listen);
            if over {
                engine.sockets.remove(conn.handle);
            }
            !over
        });
        if self.conns.is_empty() {
            self.engine = None;
            self.conns = Vec::new();
        }
    }

    /// When [`Self::poll`] is due.
    pub(crate) fn poll_timeout(&mut self, now: Mono) -> Option<Mono> {
        let engine = self.engine.as_mut()?;
        let at = engine.interface.poll_at(instant(now), &engine.sockets)?;
        let micros = u64::try_from(at.total_micros()).unwrap_or_default();
        Some(Mono::from_nanos(micros.saturating_mul(1000)).max(now))
    }

    pub(crate) fn is_open(&self, id: ConnId) -> bool {
        self.conns.iter().any(|conn| conn.id == id)
    }

    pub(crate) fn remote(&self, id: ConnId) -> Option<SocketAddr> {
        self.conns.iter().find(|conn| conn.id == id).map(|conn| conn.remote)
    }

    fn socket(&mut self, id: ConnId) -> Option<&mut Socket<'static>> {
        let handle = self.conns.iter().find(|conn| conn.id == id)?.handle;
        self.engine.as_mut().map(|engine| engine.sockets.get_mut(handle))
    }

    pub(crate) fn read(&mut self, id: ConnId, into: &mut Vec<u8>, most: usize) -> Read {
        let Some(socket) = self.socket(id) else { return Read::Gone };
        let mut total = 0;
        // Twice, because the buffer is a ring.
        for _ in 0..2 {
            let taken = socket.recv(|bytes| {
                let taken = bytes.get(..bytes.len().min(most - total)).unwrap_or_default();
                into.extend_from_slice(taken);
                (taken.len(), taken.len())
            });
            match taken {
                Ok(taken) => total += taken,
                Err(RecvError::Finished) if total == 0 => return Read::End,
                Err(RecvError::InvalidState) if total == 0 && !socket.is_open() => return Read::Gone,
                Err(_) => break,
            }
        }
        Read::Bytes(total)
    }

    pub(crate) fn write(&mut self, id: ConnId, bytes: &[u8]) -> usize {
        let Some(socket) = self.socket(id) else { return 0 };
        let first = socket.send_slice(bytes).unwrap_or_default();
        let rest = bytes.get(first..).unwrap_or_default();
        let second = if rest.is_empty() { 0 } else { socket.send_slice(rest).unwrap_or_default() };
        first + second
    }

    pub(crate) fn close(&mut self, id: ConnId) {
        if let Some(socket) = self.socket(id) {
            socket.close();
        }
    }

    pub(crate) fn abort(&mut self, id: ConnId) {
        if let Some(socket) = self.socket(id) {
            socket.abort();
        }
    }
}
