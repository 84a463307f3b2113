//! One peer: who it is, and, while anything goes on, its sessions and the handshake under way.
//!
//! A peer that never handshook costs one [`Peer`]; the rest is boxed and goes when the last session does.

use super::hash::Secret;
use super::noise::Waiting;
use super::stamp::Stamp;
use super::timers::{
    COOKIE_LATENCY, COOKIE_LIFE, EARLY_RETRIES, FIRST_RETRIES, REKEY_TIMEOUT, RESPONSE_TRIES, RETIRE_AFTER,
};
use super::watch::Watch;
use crate::slot::PeerSlot;
use crate::time::Mono;
use keys::NodePublic;
use std::time::Duration;

/// What is kept of every peer.
pub(super) struct Peer {
    pub(super) slot: PeerSlot,
    pub(super) key: NodePublic,
    /// Timestamp of the last initiation whose session it used; kept when the rest is dropped, against replays.
    pub(super) last_stamp: Stamp,
    /// How often a handshake with it is tried.
    pub(super) retries: Retries,
    /// Its key is a point of small order: there can be no session with it.
    pub(super) unusable: bool,
    pub(super) last_handshake: Option<Mono>,
    pub(super) run: Option<Box<Run>>,
}

impl Peer {
    pub(super) fn new(slot: PeerSlot, key: NodePublic) -> Self {
        Self {
            slot,
            key,
            last_stamp: [0; 12],
            retries: Retries::First,
            unusable: false,
            last_handshake: None,
            run: None,
        }
    }
}

/// A session as the slow path knows it: its keys are with the packet lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Session {
    pub(super) local: u32,
    pub(super) born: Mono,
    pub(super) initiator: bool,
}

/// The row of attempts to reach a peer.
pub(super) struct Attempts {
    /// When the row began.
    since: Mono,
    /// The next initiation is due then.
    pub(super) next: Mono,
    /// How many have been sent in this row.
    count: usize,
    /// The last one sent.
    pub(super) sent: Option<Sent>,
}

/// An initiation that waits for its response.
pub(super) struct Sent {
    pub(super) index: u32,
    pub(super) at: Mono,
    pub(super) waiting: Waiting,
    /// How many more bad responses are looked at.
    pub(super) tries: u8,
}

impl Sent {
    pub(super) const fn new(index: u32, at: Mono, waiting: Waiting) -> Self {
        Self { index, at, waiting, tries: RESPONSE_TRIES }
    }
}

/// What we know of a peer decides how often it is tried.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Retries {
    /// Added or reset, never heard of: it may not know us yet.
    First,
    /// A whole row of attempts was in vain.
    Early,
    /// It has answered.
    Slow,
}

impl Retries {
    /// The time after attempt number `count` of a row, without jitter.
    fn gap(self, count: usize) -> Duration {
        let early: &[u16] = match self {
            Self::First => &FIRST_RETRIES,
            Self::Early => &EARLY_RETRIES,
            Self::Slow => &[],
        };
        early.get(count).map_or(REKEY_TIMEOUT, |gap| Duration::from_millis(u64::from(*gap)))
    }
}

impl Attempts {
    pub(super) const fn new(now: Mono, first: Mono) -> Self {
        Self { since: now, next: first, count: 0, sent: None }
    }

    /// Starts counting again (both time and retries), because something about the peer has changed.
    pub(super) const fn refresh(&mut self, now: Mono, next: Mono) {
        (self.since, self.count, self.next) = (now, 0, next);
    }

    /// How long the row has lasted.
    pub(super) const fn lasted(&self, now: Mono) -> Duration {
        now.since(self.since)
    }

    /// One more was sent (or could not be): sets when the next is due. `random` spreads it.
    pub(super) fn count_one(&mut self, retries: Retries, random: u32, now: Mono) {
        let gap = retries.gap(self.count);
        self.count += 1;
        self.next = now + gap + jitter(random, gap);
    }
}

/// Up to 334 ms, and never more than a third of what it spreads.
pub(super) fn jitter(random: u32, spread: Duration) -> Duration {
    let third = (spread.as_millis() / 3).min(u128::from(super::timers::JITTER_MS)) as u32;
    Duration::from_millis(u64::from(random % third.max(1)))
}

/// A peer with which something goes on.
pub(super) struct Run {
    /// Static-static secret, computed once.
    pub(super) shared: Secret,
    pub(super) previous: Option<Session>,
    pub(super) current: Option<Session>,
    /// We answered; the peer has not confirmed yet.
    pub(super) next: Option<Session>,
    pub(super) attempts: Option<Attempts>,
    cookie: Option<([u8; 16], Mono)>,
    /// mac1 of the last message we sent; a cookie reply is bound to it and accepted once.
    pub(super) last_mac1: Option<[u8; 16]>,
    /// When an initiation of the peer was last taken, and its timestamp. That may have been an old one sent again, so
    /// for good it counts only when the peer uses the session (see [`Peer::last_stamp`]).
    pub(super) initiated: Option<(Mono, Stamp)>,
    pub(super) watch: Watch,
    /// When the lines' activity is looked at next.
    pub(super) look: Option<Mono>,
    /// The deadline that the table of deadlines knows.
    pub(super) due: Option<(Mono, &'static str)>,
}

impl Run {
    pub(super) fn new(shared: Secret) -> Self {
        Self {
            shared,
            previous: None,
            current: None,
            next: None,
            attempts: None,
            cookie: None,
            last_mac1: None,
            initiated: None,
            watch: Watch::default(),
            look: None,
            due: None,
        }
    }

    /// The peer's cookie, if it is still good.
    pub(super) fn cookie(&self, now: Mono) -> Option<&[u8; 16]> {
        self.cookie
            .as_ref()
            .filter(|(_, at)| now.since(*at) < COOKIE_LIFE.saturating_sub(COOKIE_LATENCY))
            .map(|(cookie, _)| cookie)
    }

    pub(super) const fn set_cookie(&mut self, cookie: [u8; 16], now: Mono) {
        self.cookie = Some((cookie, now));
        self.last_mac1 = None;
    }

    /// We answered an initiation. Returns the sessions that end.
    pub(super) const fn respond(&mut self, session: Session) -> [Option<Session>; 2] {
        [self.next.replace(session), self.previous.take()]
    }

    /// Our initiation was answered. `crossed`: keep the session that waits for the peer's confirmation, because
    /// both sides initiated at once and the peer's handshake is the one that both will settle on. Returns the sessions that
    /// end.
    pub(super) fn complete(&mut self, session: Session, crossed: bool) -> [Option<Session>; 2] {
        let now = session.born;
        let old = self.current.replace(session);
        match if crossed { None } else { self.next.take() } {
            // The peer may use it any moment.
            Some(waiting) if now.since(waiting.born) < REKEY_TIMEOUT => [old, self.previous.replace(waiting)],
            // Whoever uses a session does so at once. This one crossed another, by which packets are still on their way.
            unused => [std::mem::replace(&mut self.previous, old), unused],
        }
    }

    /// The peer has sent on the session that waited for it. Returns that session and the one that ends; `None` if
    /// `local` is another session.
    pub(super) fn confirm(&mut self, local: u32) -> Option<(Session, Option<Session>)> {
        let session = self.next.take_if(|next| next.local == local)?;
        let old = self.current.replace(session);
        let older = std::mem::replace(&mut self.previous, old);
        Some((session, older))
    }

    /// Takes all sessions out.
    pub(super) const fn drain(&mut self) -> [Option<Session>; 3] {
        [self.previous.take(), self.current.take(), self.next.take()]
    }

    /// Nothing goes on any more.
    pub(super) const fn is_over(&self) -> bool {
        self.attempts.is_none() && self.previous.is_none() && self.current.is_none() && self.next.is_none()
    }

    /// When the keys are to be wiped: long after the last session was made.
    pub(super) fn retire_at(&self) -> Option<Mono> {
        let born = [self.previous, self.current, self.next].into_iter().flatten().map(|s| s.born).max()?;
        Some(born + RETIRE_AFTER)
    }

    /// The earliest deadline and why.
    pub(super) fn earliest(&self) -> Option<(Mono, &'static str)> {
        let attempt = self.attempts.as_ref().map(|a| (a.next, "handshake"));
        let look = self.look.map(|at| (at, "session activity"));
        let retire = self.retire_at().map(|at| (at, "session end"));
        [attempt, look, retire].into_iter().flatten().min_by_key(|(at, _)| *at)
    }
}
