//! Sealing: plaintexts in an arena become WireGuard data messages in the same place.
//!
//! Owns: the send half of a session and, alone in the whole program, its send counter. A [`SendSession`] is neither
//! copied nor built twice from the same keys, so no (key, nonce) pair can repeat.
//! Leaves out: which session a packet goes by, where the result is sent.

use super::batch::{HEADROOM, PAD, Packet};
use crate::session::SessionKeys;
use crate::slot::PeerSlot;
use crate::time::Tick;
use ring::aead::{Aad, CHACHA20_POLY1305, LessSafeKey, Nonce, UnboundKey};
use std::fmt;
use zeroize::Zeroizing;

/// First word of a data message.
pub(super) const DATA: u32 = 4;
/// Milliseconds after which a session's keys are not used any more.
pub const REJECT_AFTER_TIME: u32 = 180_000;
/// Milliseconds after which nothing more is sealed with them: what is on its way then still arrives while its receiver
/// takes it, and what comes later waits for the next session instead of being lost.
const LAST_SEALED: u32 = REJECT_AFTER_TIME - 5_000;
/// Messages after which the sender must ask for a new session.
pub const REKEY_AFTER_MESSAGES: u64 = 1 << 60;
/// Counter from which on nothing is sent or accepted.
pub const REJECT_AFTER_MESSAGES: u64 = u64::MAX - (1 << 13);

/// A key at rest: 32 bytes, wiped when dropped. ring's own form has room for every cipher it knows (half a
/// kilobyte), so it is made once a run of packets and not kept for every session.
pub(super) struct RestingKey(Zeroizing<[u8; 32]>);

impl RestingKey {
    pub(super) fn new(key: &[u8; 32]) -> Self {
        Self(Zeroizing::new(*key))
    }

    /// The key as ring uses it. `None` cannot happen: the length is right.
    pub(super) fn awake(&self) -> Option<LessSafeKey> {
        UnboundKey::new(&CHACHA20_POLY1305, &*self.0).ok().map(LessSafeKey::new)
    }
}

/// The nonce of a data message: four zero bytes and the counter.
pub(super) fn nonce(counter: u64) -> Nonce {
    let mut bytes = [0; 12];
    if let Some(place) = bytes.last_chunk_mut() {
        *place = counter.to_le_bytes();
    }
    Nonce::assume_unique_for_key(bytes)
}

/// The half of a session that sends.
pub struct SendSession {
    peer: PeerSlot,
    local: u32,
    remote: u32,
    key: RestingKey,
    counter: u64,
    born: Tick,
    /// Set once and for all when the age was seen to be too high, so that a wrapped clock does not revive it.
    spent: bool,
}

impl SendSession {
    /// The send half of freshly agreed keys. To be called once for them.
    pub fn new(keys: &SessionKeys) -> Self {
        Self {
            peer: keys.peer,
            local: keys.local,
            remote: keys.remote,
            key: RestingKey::new(&keys.send),
            counter: 0,
            born: keys.born,
            spent: false,
        }
    }

    /// Whose session.
    pub const fn peer(&self) -> PeerSlot {
        self.peer
    }

    /// The name of the session: our receiver index.
    pub const fn local(&self) -> u32 {
        self.local
    }

    /// How many packets it has sealed.
    pub const fn sealed(&self) -> u64 {
        self.counter
    }

    /// Whether it may still seal at `now`.
    pub fn usable(&mut self, now: Tick) -> bool {
        self.spent |= now.since(self.born) >= LAST_SEALED || self.counter >= REJECT_AFTER_MESSAGES;
        !self.spent
    }

    /// Seals plaintexts of an arena in place: afterwards each packet of `run` names the whole datagram. They are padded as far
    /// as `mtu` bytes, beyond which a datagram might not pass whole. A packet
    /// around which the arena has too little room, or for which no counter is left, is left empty. Returns how many
    /// were sealed. The caller has asked [`usable`](Self::usable) in this turn.
    pub fn seal_batch(&mut self, arena: &mut [u8], run: &mut [Packet], mtu: u16) -> usize {
        let Some(key) = self.key.awake() else { return 0 };
        let mut sealed = 0;
        for packet in run {
            let done = self.seal(&key, arena, packet, mtu.into()).is_some();
            if done {
                sealed += 1;
            } else {
                packet.len = 0;
            }
        }
        sealed
    }

    fn seal(&mut self, key: &LessSafeKey, arena: &mut [u8], packet: &mut Packet, mtu: usize) -> Option<()> {
        if self.counter >= REJECT_AFTER_MESSAGES {
            return None;
        }
        let len = packet.len as usize;
        let padded = len.checked_next_multiple_of(PAD)?.min(mtu.max(len));
        let from = (packet.start as usize).checked_sub(HEADROOM)?;
        let datagram = arena.get_mut(from..)?.get_mut(..HEADROOM.checked_add(padded)?.checked_add(PAD)?)?;
        let total = datagram.len();
        let (header, rest) = datagram.split_at_mut(HEADROOM);
        let (text, tag) = rest.split_at_mut(padded);
        let (kind, rest) = header.split_first_chunk_mut()?;
        let (index, rest) = rest.split_first_chunk_mut()?;
        *kind = DATA.to_le_bytes();
        *index = self.remote.to_le_bytes();
        *rest.first_chunk_mut()? = self.counter.to_le_bytes();
        text.get_mut(len..)?.fill(0);
        let nonce = nonce(self.counter);
        // Spent before it is used: an error below must not lead to its second use.
        self.counter += 1;
        let made = key.seal_in_place_separate_tag(nonce, Aad::empty(), text).ok()?;
        tag.copy_from_slice(made.as_ref());
        packet.start = from as u32;
        packet.len = total as u32;
        Some(())
    }
}

impl fmt::Debug for SendSession {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SendSession({:?}, {:08x}, {} sealed)", self.peer, self.local, self.counter)
    }
}
