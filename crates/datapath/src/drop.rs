//! Why packets are dropped. A dropped packet is not an error: it is counted under one of these.

use std::sync::atomic::{AtomicU32, Ordering};

macro_rules! reasons {
    ($($(#[$doc:meta])* $name:ident => $text:literal,)*) => {
        /// Why a packet was dropped.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum DropReason { $($(#[$doc])* $name,)* }

        impl DropReason {
            /// Every reason, in order of its number.
            pub const ALL: &'static [Self] = &[$(Self::$name,)*];

            /// A few words for status output.
            pub const fn text(self) -> &'static str {
                match self { $(Self::$name => $text,)* }
            }
        }
    };
}

reasons! {
    /// Shorter than its kind must be.
    TooShort => "too short",
    /// Not IPv4 or IPv6, or its header contradicts itself.
    Malformed => "malformed",
    /// A transport protocol or extension header the filter cannot judge.
    UnknownProtocol => "unknown protocol",
    /// A fragment too small to be honest.
    TinyFragment => "tiny fragment",
    /// To a multicast address.
    Multicast => "multicast",
    /// To a link-local address.
    LinkLocal => "link-local",
    /// No filter rule allows it.
    Acl => "acl",
    /// To an address that is not ours and not routed by us.
    NotLocal => "not local",
    /// No peer has this destination.
    NoRoute => "no route",
    /// From an address the sending peer may not use.
    BadSource => "bad source",
    /// To or from a peer that is unknown or removed.
    UnknownPeer => "unknown peer",
    /// For a session that does not exist (any more).
    UnknownSession => "unknown session",
    /// The session is too old or has sent too much.
    Expired => "expired session",
    /// Authentication failed.
    BadTag => "bad tag",
    /// Counter seen before or too old.
    Replay => "replay",
    /// mac1 of a handshake message is wrong.
    BadMac => "bad mac1",
    /// Handshake refused: load, rate or timestamp.
    HandshakeLimit => "handshake limit",
    /// Staging for a session that has not come up is full, or it did not come up.
    Staging => "staging full",
    /// A ring between threads is full.
    RingFull => "ring full",
    /// No path to the peer is known.
    NoPath => "no path",
    /// Larger than a packet can be here.
    TooLarge => "too large",
    /// Nothing on this machine takes it (no TUN, no userspace stack).
    NoHost => "no host",
    /// TSMP from this machine: only the node itself may speak it.
    HostTsmp => "tsmp from host",
    /// disco from a stranger, not meant for us, or of a kind that is not spoken here.
    Disco => "disco",
    /// A pong to a ping that was not ours, or that did not come the way it should.
    Pong => "unexpected pong",
    /// More disco of one peer than there is reason for.
    DiscoLimit => "disco limit",
    /// STUN that nobody waits for.
    Stun => "stun",
    /// The system has no way to the peer's address, or refuses it.
    Unreachable => "unreachable",
    /// The system's buffers or queues for what is sent are full.
    SendBuffer => "send buffer full",
    /// A host said that nobody listens at the peer's address.
    Refused => "refused",
}

/// One counter a reason, wrapping, shared between threads.
#[derive(Debug)]
pub struct DropCounters([AtomicU32; DropReason::ALL.len()]);

impl Default for DropCounters {
    fn default() -> Self {
        Self(std::array::from_fn(|_| AtomicU32::new(0)))
    }
}

impl DropCounters {
    /// Counts one packet.
    pub fn count(&self, reason: DropReason) {
        self.add(reason, 1);
    }

    /// Counts `n` packets.
    pub fn add(&self, reason: DropReason, n: u32) {
        self.0[reason as usize].fetch_add(n, Ordering::Relaxed);
    }

    /// How many so far, modulo 2³².
    pub fn get(&self, reason: DropReason) -> u32 {
        self.0[reason as usize].load(Ordering::Relaxed)
    }
}
