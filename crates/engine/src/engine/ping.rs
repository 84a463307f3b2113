//! Pings that we begin.

use super::{Engine, Output};
use crate::host::{Ping, PingAnswer, PingError, PingId, PingKind};
use crate::time::Mono;
use std::net::IpAddr;
use std::time::Duration;

/// A ping to begin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PingRequest<'a> {
    /// TSMP or ICMP.
    pub kind: PingKind,
    /// Whom: an address routed to a peer.
    pub dst: IpAddr,
    /// What an ICMP ping carries.
    pub payload: &'a [u8],
    /// After which time it gives up.
    pub timeout: Duration,
}

/// What became of a ping.
#[derive(Debug, Clone, PartialEq)]
pub enum PingOutcome {
    /// It came back.
    Answered(PingAnswer),
    /// It did not.
    TimedOut(PingId),
}

/// Why a ping cannot begin.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum StartError {
    /// We have no address of that family.
    #[error("this node has no tailnet address of the family of {0}")]
    NoAddress(IpAddr),
    /// See [`PingError`].
    #[error(transparent)]
    Ping(#[from] PingError),
}

impl Engine {
    /// Begins a ping; its outcome comes as [`Output::Ping`].
    ///
    /// # Errors
    /// See [`StartError`].
    pub fn start_ping(&mut self, request: &PingRequest<'_>, now: Mono) -> Result<PingId, StartError> {
        let own = self.config.addresses.iter().map(|(ip, _)| *ip);
        let src = own.into_iter().find(|ip| ip.is_ipv4() == request.dst.is_ipv4());
        let src = src.ok_or(StartError::NoAddress(request.dst))?;
        let PingRequest { kind, dst, payload, timeout } = *request;
        let (id, packet) = self.host.start_ping(&Ping { kind, src, dst, payload, timeout }, now)?;
        self.watch_echo();
        // A full ring loses the ping like any packet; its timeout tells.
        let _ = self.lines.inject_tx(&packet, None);
        Ok(id)
    }

    /// Forgets a ping nobody waits for any more.
    pub fn cancel_ping(&mut self, id: PingId) {
        self.host.cancel_ping(id);
        self.watch_echo();
    }

    /// Tells rx whether some ping waits for an echo reply.
    pub(super) fn watch_echo(&mut self) {
        self.lines.watch_echo(self.host.awaits_icmp());
    }

    pub(super) fn answered(&mut self, answer: PingAnswer) {
        self.watch_echo();
        self.outputs.push_back(Output::Ping(PingOutcome::Answered(answer)));
    }
}
