//! Pings that somebody waits for: through the tunnel, or by path discovery alone.
//!
//! Leaves out: what a ping is (`engine`), where its answer arrives (`pump`).

use super::Dataplane;
use engine::host::{PingAnswer, PingId, PingKind};
use engine::{DiscoPong, PingOutcome, PingRequest};
use netmap::NodeId;
use std::net::IpAddr;
use std::time::Duration;
use tokio::sync::oneshot;

impl Dataplane {
    /// Pings a peer by its direct paths and its relay; whichever answers first, `None` if none does in time.
    ///
    /// # Errors
    /// Why it could not be sent.
    pub async fn ping_paths(
        &self,
        id: NodeId,
        size: usize,
        timeout: Duration,
    ) -> Result<Option<DiscoPong>, String> {
        let started = self.engine.borrow_mut().start_path_ping(id, size, self.clock.mono());
        let token = started.map_err(|error| error.to_string())?;
        let (sender, answer) = oneshot::channel();
        self.path_pings.borrow_mut().insert(token, sender);
        let waiting = WaitingForPath { plane: self, id, token };
        self.pump();
        let outcome = tokio::time::timeout(timeout, answer).await;
        drop(waiting);
        Ok(outcome.ok().and_then(Result::ok))
    }

    /// Sends a ping and waits for its answer; `None` if there was none in time.
    ///
    /// # Errors
    /// Why it could not be sent.
    pub async fn ping(
        &self,
        kind: PingKind,
        dst: IpAddr,
        timeout: Duration,
    ) -> Result<Option<PingAnswer>, String> {
        let payload: &[u8] = if kind == PingKind::Icmp { &[0x55; 56] } else { &[] };
        let outcome = self.ping_with(kind, dst, payload, timeout).await?;
        Ok(match outcome {
            Some(PingOutcome::Answered(answer)) => Some(answer),
            _ => None,
        })
    }

    /// As [`Self::ping`], with a payload of the caller's; the answer has it as it came back.
    ///
    /// # Errors
    /// Why it could not be sent.
    pub async fn ping_with(
        &self,
        kind: PingKind,
        dst: IpAddr,
        payload: &[u8],
        timeout: Duration,
    ) -> Result<Option<PingOutcome>, String> {
        let request = PingRequest { kind, dst, payload, timeout };
        let started = self.engine.borrow_mut().start_ping(&request, self.clock.mono());
        let id = started.map_err(|error| error.to_string())?;
        let (sender, answer) = oneshot::channel();
        self.pings.borrow_mut().insert(id, sender);
        let waiting = Waiting { plane: self, id };
        self.pump();
        let outcome = answer.await.ok();
        drop(waiting);
        Ok(outcome)
    }
}

/// Forgets a ping by path discovery when nobody waits for it any more.
struct WaitingForPath<'a> {
    plane: &'a Dataplane,
    id: NodeId,
    token: u32,
}

impl Drop for WaitingForPath<'_> {
    fn drop(&mut self) {
        self.plane.path_pings.borrow_mut().remove(&self.token);
        self.plane.engine.borrow_mut().cancel_path_ping(self.id, self.token);
    }
}

/// Forgets a ping when nobody waits for it any more.
struct Waiting<'a> {
    plane: &'a Dataplane,
    id: PingId,
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.plane.pings.borrow_mut().remove(&self.id);
        self.plane.engine.borrow_mut().cancel_ping(self.id);
    }
}
