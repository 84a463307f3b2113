//! Pings of ours that wait for an answer: a bounded table.

use crate::filter::SipKey;
use crate::packet::Parsed;
use crate::packet::build::{self, Echo};
use crate::packet::tsmp::Message;
use crate::time::Mono;
use std::net::IpAddr;
use std::time::Duration;

/// Pings that may wait at once.
const MAX_PENDING: usize = 64;
/// Longest ping packet: the MTU of the tunnel.
const MAX_PACKET: usize = 1280;

/// How a peer is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PingKind {
    /// The other node's engine answers.
    Tsmp,
    /// The other node's operating system answers.
    Icmp,
}

/// A ping to send.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ping<'a> {
    /// How.
    pub kind: PingKind,
    /// An address of ours.
    pub src: IpAddr,
    /// Whom, same family.
    pub dst: IpAddr,
    /// What an ICMP ping carries: at most 1252 bytes over IPv4, 1232 over IPv6. TSMP carries nothing.
    pub payload: &'a [u8],
    /// After which time it gives up.
    pub timeout: Duration,
}

/// Names a ping that waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PingId(u32);

/// A ping that came back, unchanged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PingAnswer {
    /// Which.
    pub id: PingId,
    /// How it was sent.
    pub kind: PingKind,
    /// Who answered: the address that was asked.
    pub from: IpAddr,
    /// Time since it was sent.
    pub rtt: Duration,
    /// The peer's PeerAPI port, told by TSMP only; 0 = none.
    pub peerapi_port: u16,
    /// What an ICMP ping carried, as it came back; equal to what was sent.
    pub payload: Vec<u8>,
}

/// Why a ping cannot be sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PingError {
    /// The packet would exceed the tunnel's MTU.
    #[error("a ping of {0} bytes does not fit the tunnel's MTU of {MAX_PACKET}: choose a smaller size")]
    TooLarge(usize),
    /// Source and destination are of different families.
    #[error("a ping from {0} cannot reach {1}: use addresses of one family")]
    MixedFamilies(IpAddr, IpAddr),
    /// Too many pings wait already.
    #[error("{MAX_PENDING} pings wait for their answers: try again when one has come")]
    TooMany,
}

#[derive(Debug)]
struct Waiting {
    id: PingId,
    kind: PingKind,
    src: IpAddr,
    dst: IpAddr,
    /// TSMP: the data itself. ICMP: identifier and sequence number.
    token: u64,
    /// ICMP: keyed hash of the payload.
    digest: u64,
    sent: Mono,
    deadline: Mono,
}

/// All pings that wait.
#[derive(Debug)]
pub(super) struct Pending {
    key: SipKey,
    next: u32,
    waiting: Vec<Waiting>,
}

impl Pending {
    pub(super) fn new(seed: [u8; 16]) -> Self {
        Self { key: SipKey::new(seed), next: 0, waiting: Vec::new() }
    }

    pub(super) fn start(&mut self, ping: &Ping<'_>, now: Mono) -> Result<(PingId, Vec<u8>), PingError> {
        let &Ping { kind, src, dst, payload, timeout } = ping;
        if self.waiting.len() >= MAX_PENDING {
            return Err(PingError::TooMany);
        }
        let id = PingId(self.next);
        // No two that wait have the same number: it takes 2³² pings to come round, or 2¹⁶ for a sequence number.
        let random = self.key.hash(&[u64::from(id.0)]);
        let mut packet = Vec::new();
        let mixed = |_| PingError::MixedFamilies(src, dst);
        let token = match kind {
            PingKind::Tsmp => {
                build::tsmp(&mut packet, src, dst, &Message::Ping(random.to_be_bytes())).map_err(mixed)?;
                random
            }
            PingKind::Icmp => {
                let size = payload.len().saturating_add(if src.is_ipv4() { 28 } else { 48 });
                if size > MAX_PACKET {
                    return Err(PingError::TooLarge(size));
                }
                let echo = Echo { reply: false, id: (random >> 48) as u16, seq: id.0 as u16, payload };
                build::icmp_echo(&mut packet, src, dst, &echo).map_err(mixed)?;
                icmp_token(&echo)
            }
        };
        let digest = self.key.hash_bytes(payload);
        self.waiting.push(Waiting { id, kind, src, dst, token, digest, sent: now, deadline: now + timeout });
        self.next = self.next.wrapping_add(1);
        Ok((id, packet))
    }

    pub(super) fn handle_pong(
        &mut self,
        parsed: &Parsed,
        data: [u8; 8],
        peerapi_port: u16,
        now: Mono,
    ) -> Option<PingAnswer> {
        let waiting = self.take(parsed, PingKind::Tsmp, u64::from_be_bytes(data), None)?;
        Some(waiting.answer(peerapi_port, Vec::new(), now))
    }

    pub(super) fn handle_echo(&mut self, parsed: &Parsed, echo: &Echo<'_>, now: Mono) -> Option<PingAnswer> {
        // Nothing is hashed for strangers' replies.
        let digest = (!self.waiting.is_empty()).then(|| self.key.hash_bytes(echo.payload))?;
        let waiting = self.take(parsed, PingKind::Icmp, icmp_token(echo), Some(digest))?;
        Some(waiting.answer(0, echo.payload.to_vec(), now))
    }

    fn take(&mut self, parsed: &Parsed, kind: PingKind, token: u64, digest: Option<u64>) -> Option<Waiting> {
        let at = self.waiting.iter().position(|waiting| {
            waiting.kind == kind
                && waiting.token == token
                && digest.is_none_or(|digest| digest == waiting.digest)
                && (waiting.dst, waiting.src) == (parsed.src, parsed.dst)
        })?;
        Some(self.waiting.swap_remove(at))
    }

    pub(super) fn cancel(&mut self, id: PingId) {
        self.waiting.retain(|waiting| waiting.id != id);
    }

    pub(super) fn deadline(&self) -> Option<Mono> {
        self.waiting.iter().map(|waiting| waiting.deadline).min()
    }

    pub(super) fn expire(&mut self, now: Mono) -> Option<PingId> {
        let at = self.waiting.iter().position(|waiting| waiting.deadline <= now)?;
        Some(self.waiting.swap_remove(at).id)
    }

    pub(super) fn awaits_icmp(&self) -> bool {
        self.waiting.iter().any(|waiting| waiting.kind == PingKind::Icmp)
    }
}

impl Waiting {
    fn answer(self, peerapi_port: u16, payload: Vec<u8>, now: Mono) -> PingAnswer {
        let rtt = now.since(self.sent);
        PingAnswer { id: self.id, kind: self.kind, from: self.dst, rtt, peerapi_port, payload }
    }
}

const fn icmp_token(echo: &Echo<'_>) -> u64 {
    (echo.id as u64) << 16 | echo.seq as u64
}
