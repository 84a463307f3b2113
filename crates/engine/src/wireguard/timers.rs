//! Every duration and limit of WireGuard in one table, and the deadlines of all peers.

use crate::slot::PeerSlot;
use crate::time::Mono;
use std::collections::BTreeSet;
use std::time::Duration;

/// A session that is in use is renewed after this (WireGuard paper §6.1, like all down to `COOKIE_LIFE`).
pub const REKEY_AFTER_TIME: Duration = Duration::from_secs(120);
/// A session is not used any more after this; the packet lines see to it.
pub const REJECT_AFTER_TIME: Duration = Duration::from_secs(180);
/// Time between initiations to a peer that has answered before.
pub const REKEY_TIMEOUT: Duration = Duration::from_secs(5);
/// Time without an answer after which we stop trying.
pub const GIVE_UP_AFTER: Duration = Duration::from_secs(90);
/// After receiving something without sending anything, an empty packet goes out.
pub const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(10);
/// A session that sent this many packets is renewed.
pub const REKEY_AFTER_MESSAGES: u64 = 1 << 60;
/// A session never sends or accepts a counter from here on.
pub const REJECT_AFTER_MESSAGES: u64 = u64::MAX - (1 << 13);
/// Lifetime of a cookie and of the secret that makes cookies.
pub const COOKIE_LIFE: Duration = Duration::from_secs(120);
/// A cookie is not presented any more this long before its end: it has a way to travel.
pub const COOKIE_LATENCY: Duration = Duration::from_secs(5);

/// Retries are spread by up to this many milliseconds, exclusive.
pub const JITTER_MS: u32 = 334;
/// Data sent and nothing heard for so long: the peer has lost the session (keepalive and one retry).
pub const NO_REPLY: Duration = Duration::from_secs(15);
/// An initiator that receives at this age renews even if it does not send (reject - keepalive - rekey timeout).
pub const REKEY_ON_RECEIVE: Duration = Duration::from_secs(165);
/// Keys of sessions are wiped so long after the last one was made.
pub const RETIRE_AFTER: Duration = Duration::from_secs(3 * 180);
/// At most 50 initiations a second are taken from one peer.
pub const INITIATION_GAP: Duration = Duration::from_millis(20);

/// Milliseconds between the initiations to a peer that has never answered. A control server tells peers of a newcomer
/// late (headscale within 0.8 s) and what comes to them before is lost, so the first second has many.
pub(super) const FIRST_RETRIES: [u16; 10] = [100, 100, 120, 120, 150, 200, 250, 500, 1000, 2000];
/// The same, once a whole row of them was in vain: it, or our path to it, may just be coming up.
pub(super) const EARLY_RETRIES: [u16; 4] = [250, 500, 1000, 2000];
/// An initiation whose session the peer has not used says nothing any more after this: somebody may have sent an old one
/// of a process whose clock was ahead, and the peer must not be locked out by it.
pub(super) const STAMP_DOUBT: Duration = Duration::from_secs(10);
/// A peer whose initiation we just answered gets this long to confirm before we start one ourselves.
pub(super) const CONFIRM_GRACE: Duration = Duration::from_millis(500);
/// Control tells of a restarted peer so late at most: a session younger than that may be one with its new process.
pub(super) const NEWS_DELAY: Duration = Duration::from_secs(10);
/// After a cookie arrives the refused initiation is repeated so soon (and a jitter).
pub(super) const COOKIE_RETRY: Duration = Duration::from_millis(250);
/// Least time between two initiations of ours to one peer: more than the peer's flood limit.
pub(super) const OWN_GAP: Duration = Duration::from_millis(25);
/// How many initiations we make at one moment; each costs three scalar multiplications (about 6 ms on ARMv5) and a
/// turn of the control thread must stay below 20 ms.
pub(super) const TURN_INITIATIONS: u8 = 3;
/// When the turn is full, the next one is this much later.
pub(super) const TURN_GAP: Duration = Duration::from_millis(5);
/// Responses that do not authenticate, per initiation sent, before we stop looking at more.
pub(super) const RESPONSE_TRIES: u8 = 16;
/// How often the activity of a peer in use is looked at.
pub(super) const LOOK: Duration = Duration::from_secs(5);
/// How often the activity of a peer with a session but no traffic is looked at: soon enough for the keepalive.
pub(super) const LOOK_IDLE: Duration = Duration::from_secs(10);
/// How many deadlines one call handles.
pub(super) const TURN_DEADLINES: usize = 256;

/// The earliest deadline of each peer that has one, in order.
#[derive(Debug, Default)]
pub(super) struct Deadlines(BTreeSet<(Mono, PeerSlot)>);

impl Deadlines {
    /// Replaces a peer's deadline.
    pub(super) fn change(&mut self, slot: PeerSlot, old: Option<Mono>, new: Option<Mono>) {
        if old == new {
            return;
        }
        if let Some(old) = old {
            self.0.remove(&(old, slot));
        }
        if let Some(new) = new {
            self.0.insert((new, slot));
        }
    }

    /// The earliest of all.
    pub(super) fn first(&self) -> Option<(Mono, PeerSlot)> {
        self.0.first().copied()
    }
}
