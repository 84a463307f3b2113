//! The stack: what becomes of a packet to one of its addresses.

use crate::device::Outgoing;
use crate::tcp::{ConnId, Read, Tcp};
use datapath::drop::DropReason;
use datapath::filter::SipKey;
use datapath::packet::build::{self, Echo, Unreachable};
use datapath::packet::{Fragment, Parsed, proto};
use datapath::time::Mono;
use std::net::{IpAddr, SocketAddr};
use std::num::NonZeroU16;

/// What strangers can make the stack hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// TCP connections at once.
    pub connections: usize,
    /// Bytes of a connection that wait to be read; also its window.
    pub receive: usize,
    /// Bytes of a connection that wait to be acknowledged.
    pub send: usize,
}

/// A UDP datagram to one of the ports listened at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Datagram<'a> {
    /// Who sent it.
    pub from: SocketAddr,
    /// Which address and port of ours.
    pub to: SocketAddr,
    /// What it says.
    pub payload: &'a [u8],
}

/// What a packet brought that whoever owns the stack must know.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct News<'a> {
    /// A datagram.
    pub datagram: Option<Datagram<'a>>,
    /// A connection that begins.
    pub opened: Option<ConnId>,
}

/// One end of IP, with up to two addresses.
pub struct Stack {
    addresses: Box<[IpAddr]>,
    udp: Box<[u16]>,
    tcp: Box<[u16]>,
    conns: Tcp,
    out: Outgoing,
    scratch: Vec<u8>,
    /// Longest packet that certainly arrives, in bytes.
    safe: usize,
    numbers: Numbers,
}

/// The least MTU of whatever carries IPv6; what carries IPv4 alone is rarely below it.
const LEAST_MTU: usize = 1280;

/// What tells packets apart that routers may cut into fragments. They look like chance: who could tell the next one would
/// know what to forge fragments of.
struct Numbers {
    key: SipKey,
    count: u64,
}

impl Numbers {
    fn next(&mut self) -> NonZeroU16 {
        self.count = self.count.wrapping_add(1);
        NonZeroU16::new(self.key.hash(&[self.count]) as u16).unwrap_or(NonZeroU16::MIN)
    }
}

impl Stack {
    /// A stack that listens at these UDP and TCP ports of its addresses, the first two of those given. `mtu` is that of
    /// the packets it makes; `seed` is random.
    pub fn new(
        addresses: &[IpAddr],
        udp: &[u16],
        tcp: &[u16],
        mtu: usize,
        seed: u64,
        limits: Limits,
    ) -> Self {
        let addresses = addresses.get(..addresses.len().min(2)).unwrap_or_default();
        Self {
            addresses: addresses.into(),
            udp: udp.into(),
            tcp: tcp.into(),
            conns: Tcp::new(addresses, mtu, seed, limits),
            out: Outgoing::default(),
            scratch: Vec::new(),
            safe: mtu.min(LEAST_MTU),
            numbers: Numbers { key: SipKey::new(u128::from(seed).to_le_bytes()), count: 0 },
        }
    }

    /// Takes a packet to one of the addresses; call [`Self::poll`] after one or several.
    ///
    /// # Errors
    /// Why it was dropped.
    pub fn handle<'a>(&mut self, packet: &'a [u8], now: Mono) -> Result<News<'a>, DropReason> {
        let parsed = Parsed::parse(packet)?;
        if !self.addresses.contains(&parsed.dst) || self.addresses.contains(&parsed.src) {
            return Err(DropReason::NotLocal);
        }
        if parsed.fragment != Fragment::None {
            return Err(DropReason::TinyFragment);
        }
        let packet = packet.get(..parsed.total_len as usize).ok_or(DropReason::TooShort)?;
        let mut news = News::default();
        match parsed.proto {
            proto::UDP if self.udp.contains(&parsed.dst_port) => {
                // Lengths below the packet's are allowed, and the rest is not the datagram's.
                let (head, rest) =
                    parsed.transport(packet).split_first_chunk::<8>().ok_or(DropReason::TooShort)?;
                let len = usize::from(u16::from_be_bytes([head[4], head[5]])).checked_sub(8);
                let payload = len.and_then(|len| rest.get(..len)).ok_or(DropReason::Malformed)?;
                news.datagram = Some(Datagram {
                    from: SocketAddr::new(parsed.src, parsed.src_port),
                    to: SocketAddr::new(parsed.dst, parsed.dst_port),
                    payload,
                });
            }
            proto::UDP => self.refuse(&parsed, packet)?,
            proto::TCP => {
                let listening = self.tcp.contains(&parsed.dst_port);
                let (taken, opened) = self.conns.handle(packet, &parsed, listening, &mut self.out, now);
                news.opened = opened;
                if !taken {
                    build::tcp_reset(&mut self.scratch, &parsed, packet)?;
                    self.send()?;
                }
            }
            _ if parsed.is_icmp() => {
                let echo = Echo::parse(&parsed, packet).filter(|echo| !echo.reply);
                let echo = Echo { reply: true, ..echo.ok_or(DropReason::NotLocal)? };
                build::icmp_echo(&mut self.scratch, parsed.dst, parsed.src, &echo)?;
                self.send()?;
            }
            _ => return Err(DropReason::UnknownProtocol),
        }
        Ok(news)
    }

    fn refuse(&mut self, parsed: &Parsed, packet: &[u8]) -> Result<(), DropReason> {
        if !build::may_answer_with_error(parsed) {
            return Err(DropReason::NotLocal);
        }
        build::icmp_unreachable(&mut self.scratch, parsed, packet, Unreachable::Port)?;
        self.send()
    }

    /// Sends what is in `scratch`.
    fn send(&mut self) -> Result<(), DropReason> {
        match self.out.push(std::mem::take(&mut self.scratch)) {
            true => Ok(()),
            false => Err(DropReason::RingFull),
        }
    }

    /// Sends a datagram from one of our addresses. Who asked may be behind this machine: where it could be too long for a link
    /// on the way, routers may cut it (IPv4), or it is not sent (IPv6, of which only the sender makes fragments).
    ///
    /// # Errors
    /// Why it cannot be sent; `TooLarge` only because of its length.
    pub fn send_datagram(
        &mut self,
        from: SocketAddr,
        to: SocketAddr,
        payload: &[u8],
    ) -> Result<(), DropReason> {
        build::udp(&mut self.scratch, from, to, payload)?;
        if self.scratch.len() > self.safe {
            if to.is_ipv6() {
                return Err(DropReason::TooLarge);
            }
            build::allow_fragments(&mut self.scratch, self.numbers.next());
        }
        self.send()
    }

    /// The next packet that goes out. To be taken until there is none.
    pub fn next_packet(&mut self) -> Option<Vec<u8>> {
        self.out.pop()
    }

    /// Lets connections send and time out.
    pub fn poll(&mut self, now: Mono) {
        self.conns.poll(&mut self.out, now);
    }

    /// When [`Self::poll`] is due.
    pub fn poll_timeout(&mut self, now: Mono) -> Option<Mono> {
        self.conns.poll_timeout(now)
    }

    /// Whether a connection lives.
    pub fn is_open(&self, id: ConnId) -> bool {
        self.conns.is_open(id)
    }

    /// Who is at the other end of a connection.
    pub fn remote(&self, id: ConnId) -> Option<SocketAddr> {
        self.conns.remote(id)
    }

    /// Appends up to `most` bytes that a connection has received.
    pub fn read(&mut self, id: ConnId, into: &mut Vec<u8>, most: usize) -> Read {
        self.conns.read(id, into, most)
    }

    /// Gives a connection bytes to send; how many it took.
    pub fn write(&mut self, id: ConnId, bytes: &[u8]) -> usize {
        self.conns.write(id, bytes)
    }

    /// Nothing more will be written.
    pub fn close(&mut self, id: ConnId) {
        self.conns.close(id);
    }

    /// Ends a connection at once, and tells its peer.
    pub fn abort(&mut self, id: ConnId) {
        self.conns.abort(id);
    }
}
