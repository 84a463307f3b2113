//! What this node itself says to packets that reach it, where no operating system or userspace stack does.
//!
//! Owns: TSMP and ICMP echo in both directions (pings of ours and of others), clean refusals (TCP reset, ICMP port
//! unreachable, TSMP reject). Runs on the control thread, behind the filter. Leaves out: sockets of any kind, TSMP
//! about refusals of others, fragments.
//!
//! Answers go only from an address of ours to where the packet came from; nothing here answers an answer.

mod limit;
mod ping;

pub use ping::{Ping, PingAnswer, PingError, PingId, PingKind};

use crate::drop::DropReason;
use crate::packet::build::{self, Echo, Unreachable};
use crate::packet::tsmp::{Message, Reject, RejectReason};
use crate::packet::{Fragment, Parsed, proto};
use crate::time::Mono;
use limit::Limit;
use ping::Pending;
use std::net::{IpAddr, SocketAddrV4};

/// ICMP errors a second, and at once after a pause.
const ERRORS: u32 = 50;
/// TSMP rejects a second, and at once after a pause.
const REJECTS: u32 = 50;

/// What came of a packet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reaction {
    /// Send this IP packet to the peer that has its destination.
    Reply(Vec<u8>),
    /// A ping of ours came back.
    Answer(PingAnswer),
    /// Nothing to do.
    Nothing,
}

/// An IPv4 connection attempt of a peer that the filter refused: what the rx line reports of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Refused {
    /// Who tried.
    pub src: SocketAddrV4,
    /// What was tried.
    pub dst: SocketAddrV4,
    /// Everything is refused by preference, not by a rule.
    pub shields_up: bool,
}

impl Refused {
    /// What to report of a packet the filter refused: only TCP SYNs of IPv4 are worth an answer.
    pub fn of(packet: &Parsed, shields_up: bool) -> Option<Self> {
        match (packet.src, packet.dst) {
            (IpAddr::V4(src), IpAddr::V4(dst)) if packet.is_tcp_syn() => Some(Self {
                src: SocketAddrV4::new(src, packet.src_port),
                dst: SocketAddrV4::new(dst, packet.dst_port),
                shields_up,
            }),
            _ => None,
        }
    }
}

/// Answers for our own addresses, and asks.
#[derive(Debug)]
pub struct Responder {
    /// Our addresses, and on which port of each our PeerAPI listens (0 = not at all).
    own: Vec<(IpAddr, u16)>,
    pings: Pending,
    errors: Limit,
    rejects: Limit,
}

impl Responder {
    /// A responder without an address; `seed` is random and makes its pings unguessable.
    pub fn new(seed: [u8; 16]) -> Self {
        Self {
            own: Vec::new(),
            pings: Pending::new(seed),
            errors: Limit::new(ERRORS),
            rejects: Limit::new(REJECTS),
        }
    }

    /// Sets all our addresses, each with the port of our PeerAPI there (0 = none).
    pub fn apply(&mut self, own: Vec<(IpAddr, u16)>) {
        self.own = own;
    }

    /// Takes a packet that reached one of our addresses. Of others only TSMP pings are its business: they ask whether
    /// the way through the tunnel to us works, and whoever sent one takes us for the way to that address.
    pub fn handle(&mut self, packet: &[u8], now: Mono) -> Reaction {
        let Ok(parsed) = Parsed::parse(packet) else { return Reaction::Nothing };
        if parsed.fragment != Fragment::None || parsed.src == parsed.dst {
            return Reaction::Nothing;
        }
        let Some(&(_, peerapi_port)) = self.own.iter().find(|(ip, _)| *ip == parsed.dst) else {
            return match Message::parse(&parsed, packet) {
                Some(Message::Ping(data)) => pong(&parsed, data, 0),
                _ => Reaction::Nothing,
            };
        };
        match parsed.proto {
            proto::TSMP => self.handle_tsmp(&parsed, packet, peerapi_port, now),
            proto::TCP => reply(|out| build::tcp_reset(out, &parsed, packet)),
            _ if parsed.is_icmp() => self.handle_icmp(&parsed, packet, now),
            proto::UDP if build::may_answer_with_error(&parsed) && self.errors.take(now) => {
                reply(|out| build::icmp_unreachable(out, &parsed, packet, Unreachable::Port))
            }
            _ => Reaction::Nothing,
        }
    }

    /// The TSMP message that tells a peer of a refusal; `None` if there have been too many lately.
    pub fn refuse(&mut self, refused: &Refused, now: Mono) -> Option<Vec<u8>> {
        if !self.rejects.take(now) {
            return None;
        }
        let reject = Reject {
            proto: proto::TCP,
            reason: if refused.shields_up { RejectReason::SHIELDS } else { RejectReason::ACL },
            src_port: refused.src.port(),
            dst_port: refused.dst.port(),
            maybe_broken: false,
        };
        let (us, them) = (IpAddr::V4(*refused.dst.ip()), IpAddr::V4(*refused.src.ip()));
        let mut out = Vec::new();
        build::tsmp(&mut out, us, them, &Message::Reject(reject)).ok().map(|()| out)
    }

    /// Begins a ping: its number and the packet to send.
    ///
    /// Errors: see [`PingError`].
    pub fn start_ping(&mut self, ping: &Ping<'_>, now: Mono) -> Result<(PingId, Vec<u8>), PingError> {
        self.pings.start(ping, now)
    }

    /// Forgets a ping, answered or not.
    pub fn cancel_ping(&mut self, id: PingId) {
        self.pings.cancel(id);
    }

    /// When the next ping gives up; then call [`Self::poll_expired`].
    pub fn poll_timeout(&self) -> Option<Mono> {
        self.pings.deadline()
    }

    /// The next ping that has given up by `now`; call it until it is `None`.
    pub fn poll_expired(&mut self, now: Mono) -> Option<PingId> {
        self.pings.expire(now)
    }

    /// True while a ping by ICMP waits: then ICMP echo replies must come here even if a TUN takes the rest.
    pub fn awaits_icmp(&self) -> bool {
        self.pings.awaits_icmp()
    }

    fn handle_tsmp(&mut self, parsed: &Parsed, packet: &[u8], peerapi_port: u16, now: Mono) -> Reaction {
        match Message::parse(parsed, packet) {
            Some(Message::Ping(data)) => pong(parsed, data, peerapi_port),
            Some(Message::Pong { data, peerapi_port }) => self
                .pings
                .handle_pong(parsed, data, peerapi_port, now)
                .map_or(Reaction::Nothing, Reaction::Answer),
            Some(Message::Reject(_)) | None => Reaction::Nothing,
        }
    }

    fn handle_icmp(&mut self, parsed: &Parsed, packet: &[u8], now: Mono) -> Reaction {
        match Echo::parse(parsed, packet) {
            Some(echo) if echo.reply => {
                self.pings.handle_echo(parsed, &echo, now).map_or(Reaction::Nothing, Reaction::Answer)
            }
            Some(echo) => {
                let echo = Echo { reply: true, ..echo };
                reply(|out| build::icmp_echo(out, parsed.dst, parsed.src, &echo))
            }
            None => Reaction::Nothing,
        }
    }
}

fn pong(ping: &Parsed, data: [u8; 8], peerapi_port: u16) -> Reaction {
    let pong = Message::Pong { data, peerapi_port };
    reply(|out| build::tsmp(out, ping.dst, ping.src, &pong))
}

fn reply(build: impl FnOnce(&mut Vec<u8>) -> Result<(), DropReason>) -> Reaction {
    let mut out = Vec::new();
    match build(&mut out) {
        Ok(()) => Reaction::Reply(out),
        Err(_) => Reaction::Nothing,
    }
}

#[cfg(test)]
mod tests;
