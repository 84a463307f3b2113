//! What comes out of the tunnel besides bytes: actions and states.

use crate::session::SessionKeys;
use crate::slot::PeerSlot;
use crate::source::Source;
use crate::time::Mono;

/// What the owner of the tunnel must do, in this order. Actions about sessions go to both packet lines, through
/// queues that keep the order and lose nothing.
#[derive(Debug)]
pub enum Action {
    /// Send a handshake message.
    Transmit {
        /// For whom; `None` for a cookie reply to somebody not yet known.
        slot: Option<PeerSlot>,
        /// Which way; `None`: the peer's current path.
        to: Option<Source>,
        /// The message.
        bytes: Box<[u8]>,
    },
    /// A session is born: rx may receive on it; tx may send on it at once if `initiator`, else after `Confirm`.
    Install(Box<SessionKeys>),
    /// tx may (and from now on should) send on this session.
    Confirm {
        /// Whose session.
        slot: PeerSlot,
        /// Its receiver index.
        local: u32,
    },
    /// tx must not send on this session any more, the peer may not have it; what it has sent on it is still taken.
    Hold {
        /// Whose session.
        slot: PeerSlot,
        /// Its receiver index.
        local: u32,
    },
    /// Forget this session and wipe its keys.
    Retire {
        /// Whose session.
        slot: PeerSlot,
        /// Its receiver index, free for another session after this action.
        local: u32,
    },
    /// tx should send an empty packet on this session. May be skipped when tx has sent something on it since the
    /// session was installed and this keepalive follows an `Install`.
    Keepalive {
        /// Whose session.
        slot: PeerSlot,
        /// Its receiver index.
        local: u32,
    },
    /// A handshake is complete: both sides have proved themselves.
    Established {
        /// Who.
        slot: PeerSlot,
        /// When; what `status` shows as the last handshake.
        at: Mono,
    },
    /// No answer for 90 s: packets staged for this peer are to be dropped. The next one starts anew.
    GaveUp {
        /// Who.
        slot: PeerSlot,
    },
}

/// A peer's sessions in a few words, for `status`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct SessionState {
    /// When a handshake with the peer last completed.
    pub last_handshake: Option<Mono>,
    /// The session that tx should be sending with, by its receiver index.
    pub current: Option<u32>,
    /// An initiation of ours is waiting for its answer.
    pub handshaking: bool,
}
