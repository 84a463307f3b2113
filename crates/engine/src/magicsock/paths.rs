//! The paths to one peer: which address is best, how long that may be trusted, what is asked when.
//!
//! Pure: moments and chance are given, what is to be sent comes out as [`Act`]s. The state exists only for peers to whom
//! something is sent or who send pings.

use super::boxes::SealedBox;
use super::candidates::{Candidates, Sent};
use super::conversation::Conversation;
use super::disco::TxId;
use super::score::Quality;
use super::{
    CALLS_TAKEN, DISCOVERY, ECHO_GAP, FIRST_ROUNDS, FORGET, GOOD_ENOUGH, HEARTBEAT, PING_TIMEOUT,
    PINGS_TAKEN, REMEMBERED, SAFE_MTU, SESSION_ACTIVE, TRUST, UPGRADE, WAITING,
};
use crate::drop::DropReason;
use crate::time::{Mono, Tick};
use rand_core::RngCore;
use std::net::SocketAddr;
use std::time::Duration;

/// Where a message goes or comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum To {
    /// An address.
    Udp(SocketAddr),
    /// The peer's relay.
    Relay,
}

/// What the owner is to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Act {
    /// Send a ping.
    Ping { to: To, tx: TxId, padding: u16 },
    /// Tell the peer through its relay where we are: pings of ours are on their way.
    Call,
    /// The path in use has ceased to answer: perhaps it is we who are somewhere else now.
    Lost,
    /// The peer sees us elsewhere than before.
    Moved,
    /// A ping that somebody waits for has come back.
    Answered { token: u32, rtt: Duration, to: To },
}

/// Moment, chance, and what is to be done.
pub(crate) struct Turn<'a> {
    pub(crate) now: Mono,
    pub(crate) rng: &'a mut dyn RngCore,
    pub(crate) acts: &'a mut Vec<Act>,
}

/// How packets go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Way {
    /// Directly.
    Direct(SocketAddr),
    /// Directly, and through the relay in case that has ceased to work.
    Doubtful(SocketAddr),
    /// Through the relay.
    Relay,
}

/// What the lines know of a peer's traffic.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Lately {
    /// When something was last sent to it, if it has been.
    pub(crate) sent: Option<Tick>,
    /// The same of what came from it.
    pub(crate) received: Option<Tick>,
    /// From where that came, for a silent node.
    pub(crate) from: Option<SocketAddr>,
    /// No heartbeats: data that comes from the path in use is all that confirms it (protocol reference §3.7).
    pub(crate) silent: bool,
}

/// Somebody looks after the path.
#[derive(Debug, Clone, Copy)]
struct Awake {
    heartbeat: Mono,
    /// The next round to all addresses, if there is no path to trust.
    round: Mono,
    /// Rounds in vain.
    rounds: usize,
}

/// At most so many in two seconds.
#[derive(Debug, Clone, Copy, Default)]
struct Budget {
    since: Mono,
    taken: u32,
}

impl Budget {
    fn take(&mut self, most: u32, now: Mono) -> bool {
        if now.since(self.since) >= Duration::from_secs(2) {
            *self = Self { since: now, taken: 0 };
        }
        self.taken = self.taken.saturating_add(1);
        self.taken <= most
    }
}

/// The state.
#[derive(Debug)]
pub(crate) struct Paths {
    pub(crate) sealed: SealedBox,
    /// When the owner has been told to call [`Self::handle_timeout`].
    pub(crate) scheduled: Option<Mono>,
    candidates: Candidates,
    /// The path in use has been asked and not answered yet: when that is too long, and whether it was asked twice.
    overdue: Option<(Mono, bool)>,
    conversation: Conversation,
    best: Option<Quality>,
    /// Until when `best` is trusted.
    trusted: Option<Mono>,
    sent: Vec<Sent>,
    awake: Option<Awake>,
    /// When something other than disco was last sent, as far as it is known.
    used: Mono,
    /// What the lines said last about that.
    seen: Option<Tick>,
    /// The last round to all addresses.
    compared: Option<Mono>,
    /// Pings that came last, and from where: one that comes again was caught by somebody and sent anew.
    answered: [Option<(TxId, To)>; REMEMBERED],
    /// Where in that the next one goes.
    next: usize,
    /// From addresses that have answered us, and from all others: whoever sends anything anew can have the latter only.
    pings: [Budget; 2],
    calls: Budget,
}

impl Paths {
    pub(crate) fn new(sealed: SealedBox, mapped: impl Iterator<Item = SocketAddr>, now: Mono) -> Self {
        let mut candidates = Candidates::default();
        candidates.set_mapped(mapped);
        Self {
            sealed,
            scheduled: None,
            candidates,
            overdue: None,
            conversation: Conversation::default(),
            best: None,
            trusted: None,
            sent: Vec::new(),
            awake: None,
            used: now,
            seen: None,
            compared: None,
            answered: [None; REMEMBERED],
            next: 0,
            pings: [Budget::default(); 2],
            calls: Budget::default(),
        }
    }

    /// How packets go now.
    pub(crate) fn way(&self) -> Way {
        match (&self.best, self.trusted) {
            (Some(best), Some(_)) => Way::Direct(best.addr),
            (Some(best), None) => Way::Doubtful(best.addr),
            (None, _) => Way::Relay,
        }
    }

    /// Whether somebody looks after the path; if not, the next packet to the peer is to be told.
    pub(crate) const fn is_awake(&self) -> bool {
        self.awake.is_some()
    }

    /// The addresses that are tried.
    pub(crate) fn candidates(&self) -> impl Iterator<Item = SocketAddr> + '_ {
        self.candidates.addrs()
    }

    /// Control tells other addresses. New ones are tried soon.
    pub(crate) fn set_mapped(&mut self, mapped: impl Iterator<Item = SocketAddr>, turn: &mut Turn<'_>) {
        self.candidates.set_mapped(mapped);
        let fresh = self.candidates.iter_mut().any(|known| known.pinged.is_none());
        if fresh && self.awake.is_some() && self.trusted.is_none() {
            self.ping_all(Duration::ZERO, turn, |known| known.is_none());
        }
    }

    /// Something is sent to the peer.
    pub(crate) fn wake(&mut self, turn: &mut Turn<'_>) {
        self.used = turn.now;
        if self.awake.is_none() {
            self.awake = Some(Awake { heartbeat: turn.now + HEARTBEAT, round: turn.now, rounds: 0 });
        }
        self.round_if_due(turn);
    }

    /// The network has changed: nothing is sure any more.
    pub(crate) fn doubt(&mut self, turn: &mut Turn<'_>) {
        self.trusted = None;
        self.candidates.iter_mut().for_each(|known| (known.pinged, known.seen_as) = (None, None));
        if let Some(awake) = &mut self.awake {
            (awake.round, awake.rounds) = (turn.now, 0);
            self.round_if_due(turn);
        }
    }

    /// The system has no way to the address in use.
    pub(crate) fn unreachable(&mut self, turn: &mut Turn<'_>) {
        if let Some(best) = self.best.take()
            && let Some(known) = self.candidates.get_mut(best.addr)
        {
            known.pinged = None;
        }
        self.trusted = None;
        if let Some(awake) = &mut self.awake {
            // Not at once: that address would be tried first.
            (awake.round, awake.rounds) = (turn.now + DISCOVERY / 10, 0);
        }
    }

    /// A ping that somebody waits for: to the path in use, or to all there are, and through the relay.
    pub(crate) fn ping(&mut self, relay: bool, token: u32, padding: u16, turn: &mut Turn<'_>) {
        if relay {
            self.send(To::Relay, Some(token), padding, turn);
        }
        if let Way::Direct(addr) = self.way() {
            self.send(To::Udp(addr), Some(token), padding, turn);
        } else {
            let all: Vec<_> = self.candidates.addrs().collect();
            all.into_iter().for_each(|addr| self.send(To::Udp(addr), Some(token), padding, turn));
        }
        self.wake(turn);
    }

    /// Nobody waits any more.
    pub(crate) fn cancel(&mut self, token: u32) {
        self.sent.iter_mut().filter(|sent| sent.token == Some(token)).for_each(|sent| sent.token = None);
    }

    /// The peer has sent a ping; false: too many, or not the first time, do not answer.
    pub(crate) fn handle_ping(&mut self, tx: TxId, from: To, turn: &mut Turn<'_>) -> bool {
        if self.answered.contains(&Some((tx, from))) {
            return false;
        }
        let known = match from {
            To::Relay => true,
            To::Udp(addr) => self.candidates.get_mut(addr).is_some_and(|known| known.seen_as.is_some()),
        };
        let [of_known, of_others] = &mut self.pings;
        if !(if known { of_known } else { of_others }).take(PINGS_TAKEN, turn.now) {
            return false;
        }
        if let Some(place) = self.answered.get_mut(self.next % REMEMBERED) {
            *place = Some((tx, from));
            self.next = self.next.wrapping_add(1);
        }
        let To::Udp(addr) = from else { return true };
        // It may have moved: what has worked until now is asked once.
        if let Some(best) = self.best.filter(|best| best.addr != addr && self.trusted.is_some())
            && self.awake.is_some()
            && self.overdue.is_none()
            && self.candidates.get_mut(addr).is_none()
        {
            self.send(To::Udp(best.addr), None, 0, turn);
            self.overdue = Some((turn.now + best.patience(), true));
        }
        let searching = self.awake.is_some() && self.trusted.is_none();
        let idle = |at: Option<Mono>| at.is_none_or(|at| turn.now.since(at) >= ECHO_GAP);
        let first = self.candidates.get_mut(addr).is_none_or(|known| idle(known.heard));
        let due = self.candidates.hear(addr, turn.now).is_some_and(|known| first || idle(known.pinged));
        // It has found a way to us: very likely that is a way back, and a ping of ours of a moment ago was lost because the
        // peer's router did not let it in yet.
        if due && searching {
            self.send(To::Udp(addr), None, 0, turn);
        }
        true
    }

    /// Whether a ping of ours waits for this pong.
    pub(crate) fn awaits(&self, tx: TxId) -> bool {
        self.sent.iter().any(|sent| sent.tx == tx)
    }

    /// A pong has come, which says that the ping came from `src`.
    ///
    /// # Errors
    /// It answers no ping of ours, or has come another way.
    pub(crate) fn handle_pong(
        &mut self,
        tx: TxId,
        from: To,
        src: SocketAddr,
        turn: &mut Turn<'_>,
    ) -> Result<(), DropReason> {
        let at = self.sent.iter().position(|sent| sent.tx == tx).ok_or(DropReason::Pong)?;
        let Some(sent) = self.sent.get(at).copied() else { return Err(DropReason::Pong) };
        // A peer may answer from another of its addresses. That it knows the transaction proves that the ping got there.
        if matches!(sent.to, To::Relay) != matches!(from, To::Relay) {
            return Err(DropReason::Pong);
        }
        self.sent.swap_remove(at);
        let rtt = turn.now.since(sent.at).max(Duration::from_nanos(1));
        if let Some(token) = sent.token {
            self.cancel(token);
            turn.acts.push(Act::Answered { token, rtt, to: sent.to });
        }
        let To::Udp(addr) = sent.to else { return Ok(()) };
        // A router in between has forgotten us, or has another address: what the peer sends to the old one is lost.
        if let Some(known) = self.candidates.get_mut(addr)
            && known.seen_as.replace(src).is_some_and(|before| before != src)
        {
            turn.acts.push(Act::Moved);
        }
        let this = Quality { addr, latency: rtt, mtu: sent.mtu };
        let better = self.best.as_ref().is_none_or(|best| this.is_better(best));
        if better || self.trusted.is_none() {
            self.best = Some(this);
        }
        if let Some(best) = self.best.as_mut().filter(|best| best.addr == addr) {
            best.latency = rtt;
            (self.trusted, self.overdue) = (Some(turn.now + TRUST), None);
            if let Some(awake) = &mut self.awake {
                awake.rounds = 0;
            }
        }
        Ok(())
    }

    /// The peer has sent pings and asks for ours, to these addresses.
    ///
    /// # Errors
    /// It asks too often.
    pub(crate) fn handle_call(
        &mut self,
        told: impl Iterator<Item = SocketAddr>,
        turn: &mut Turn<'_>,
    ) -> Result<(), DropReason> {
        if !self.calls.take(CALLS_TAKEN, turn.now) {
            return Err(DropReason::DiscoLimit);
        }
        self.candidates.set_called(told);
        // Who calls does not reach us directly, or has moved: until a pong says otherwise packets go both ways.
        if self.trusted.take().is_some()
            && let Some(awake) = &mut self.awake
        {
            // A call in answer would take its trust, and so on: that is for when no pong comes.
            let patience = self.best.map_or(Duration::ZERO, |best| best.patience());
            awake.round = awake.round.max(turn.now + patience.max(FIRST_ROUNDS[0]));
        }
        self.ping_all(Duration::ZERO, turn, |_| true);
        Ok(())
    }

    /// Does what is due.
    pub(crate) fn handle_timeout(&mut self, lately: &Lately, turn: &mut Turn<'_>) {
        let now = turn.now;
        if let Some((_, twice)) = self.overdue.take_if(|(at, _)| *at <= now)
            && let Some(best) = self.best.filter(|_| self.awake.is_some() && self.trusted.is_some())
        {
            if twice {
                self.trusted = Some(now);
            } else {
                self.send(To::Udp(best.addr), None, 0, turn);
                self.overdue = Some((now + best.patience(), true));
            }
        }
        if self.conversation.is_due(now)
            && self.conversation.look(lately, now)
            && let Some(best) = self.best.filter(|_| self.awake.is_some() && self.trusted.is_some())
        {
            self.send(To::Udp(best.addr), None, 0, turn);
            self.overdue = Some((now + best.patience(), true));
        }
        if self.trusted.is_some_and(|until| until <= now) {
            let from = lately.from.filter(|_| lately.silent);
            let confirmed = from.is_some() && from == self.best.as_ref().map(|best| best.addr);
            let age = lately.received.filter(|_| confirmed).map(|at| now.tick().since(at));
            let age = age.map(|millis| Duration::from_millis(millis.into())).filter(|age| *age < TRUST);
            self.trusted = age.map(|age| now + (TRUST - age));
            if self.trusted.is_none()
                && let Some(awake) = &mut self.awake
            {
                awake.round = now;
                turn.acts.push(Act::Lost);
            }
        }
        let mut unanswered = false;
        let best = self.best.as_ref().map(|best| To::Udp(best.addr));
        self.sent.retain(|sent| {
            let over = now.since(sent.at) >= PING_TIMEOUT;
            unanswered |= over && Some(sent.to) == best;
            !over
        });
        if unanswered && self.trusted.is_none() {
            self.best = None;
            // Again: a call may have taken the trust away before its time was over.
            if self.awake.is_some() {
                turn.acts.push(Act::Lost);
            }
        }
        if let Some(awake) = self.awake.filter(|awake| awake.heartbeat <= now) {
            // Compared with the last look, not with now: ticks wrap.
            if self.seen != lately.sent {
                (self.seen, self.used) = (lately.sent, now);
            }
            if now.since(self.used) >= if lately.silent { TRUST } else { SESSION_ACTIVE } {
                (self.awake, self.conversation) = (None, Conversation::default());
                return;
            }
            if let Some(best) = self.best.filter(|_| !lately.silent && self.trusted.is_some()) {
                self.conversation.begin(lately, best.latency, now);
            }
            self.awake = Some(Awake { heartbeat: now + HEARTBEAT, ..awake });
            if let Some(best) = self.best.filter(|_| !lately.silent) {
                self.send(To::Udp(best.addr), None, 0, turn);
                if self.overdue.is_none() {
                    self.overdue = Some((now + best.patience(), false));
                }
                let compared = self.compared.is_some_and(|at| now.since(at) < UPGRADE);
                if self.trusted.is_some() && best.latency > GOOD_ENOUGH && !compared {
                    self.ping_all(DISCOVERY, turn, |_| true);
                    turn.acts.push(Act::Call);
                }
            }
        }
        self.round_if_due(turn);
    }

    /// When [`Self::handle_timeout`] is due.
    pub(crate) fn poll_timeout(&self) -> Option<Mono> {
        let oldest = self.sent.iter().map(|sent| sent.at + PING_TIMEOUT).min();
        let awake = self.awake.map(|awake| match self.trusted {
            Some(_) => awake.heartbeat,
            None => awake.heartbeat.min(awake.round),
        });
        let quiet = self.awake.is_none() && self.sent.is_empty() && self.trusted.is_none();
        let forget = quiet.then(|| self.forget_at());
        let overdue = self.overdue.map(|(at, _)| at);
        [self.trusted, oldest, awake, forget, overdue, self.conversation.due()].into_iter().flatten().min()
    }

    /// Whether there is nothing left that is worth keeping.
    pub(crate) fn is_over(&self, now: Mono) -> bool {
        self.awake.is_none() && self.sent.is_empty() && self.trusted.is_none() && self.forget_at() <= now
    }

    fn forget_at(&self) -> Mono {
        self.used.max(self.candidates.last_heard().unwrap_or_default()) + FORGET
    }

    /// Without a path to trust, all addresses are tried by rounds, each with a call.
    fn round_if_due(&mut self, turn: &mut Turn<'_>) {
        let Some(awake) = &mut self.awake else { return };
        if self.trusted.is_some() || awake.round > turn.now {
            return;
        }
        let gap = FIRST_ROUNDS.get(awake.rounds).copied().unwrap_or(DISCOVERY);
        (awake.round, awake.rounds) = (turn.now + gap, awake.rounds.saturating_add(1));
        self.ping_all(gap / 2, turn, |_| true);
        turn.acts.push(Act::Call);
    }

    /// Pings all addresses that were not pinged within `gap` and that `wanted` wants by the moment of their last ping.
    fn ping_all(&mut self, gap: Duration, turn: &mut Turn<'_>, wanted: impl Fn(Option<Mono>) -> bool) {
        let now = turn.now;
        self.compared = Some(now);
        self.candidates.prune(Some(now));
        let due = |at: Option<Mono>| at.is_none_or(|at| now.since(at) >= gap);
        let all = self.candidates.iter_mut().filter(|known| due(known.pinged) && wanted(known.pinged));
        let all: Vec<_> = all.map(|known| known.addr).collect();
        all.into_iter().for_each(|addr| self.send(To::Udp(addr), None, 0, turn));
    }

    fn send(&mut self, to: To, token: Option<u32>, padding: u16, turn: &mut Turn<'_>) {
        let mut tx = [0; 12];
        turn.rng.fill_bytes(&mut tx);
        let tx = TxId(tx);
        let mut mtu = SAFE_MTU;
        if let To::Udp(addr) = to {
            if let Some(known) = self.candidates.get_mut(addr) {
                known.pinged = Some(turn.now);
            }
            if padding > 0 {
                let headers = if addr.is_ipv4() { 28 } else { 48 };
                mtu = padding.saturating_add(super::boxes::OVERHEAD as u16 + 46 + headers);
            }
        }
        if self.sent.len() >= WAITING {
            self.sent.remove(0);
        }
        self.sent.push(Sent { tx, to, at: turn.now, mtu, token });
        turn.acts.push(Act::Ping { to, tx, padding });
    }
}
