//! Opening: WireGuard data messages in an arena become plaintexts in the same place.
//!
//! Owns: the receive halves of all sessions, found by the receiver index that every datagram carries, and their
//! replay windows, which exist nowhere else.
//! Leaves out: what a plaintext may contain (see [`super::rx`]).

use super::batch::{HEADROOM, Packet};
use super::replay::ReplayWindow;
use super::seal::{DATA, REJECT_AFTER_MESSAGES, REJECT_AFTER_TIME, RestingKey, nonce};
use crate::drop::{DropCounters, DropReason};
use crate::session::SessionKeys;
use crate::slot::PeerSlot;
use crate::time::Tick;
use ring::aead::{Aad, LessSafeKey};
use std::fmt;

/// Shortest data message: header and tag of a keepalive.
pub const SHORTEST: usize = 32;

/// The half of a session that receives.
pub struct RecvSession {
    peer: PeerSlot,
    local: u32,
    key: RestingKey,
    window: ReplayWindow,
    born: Tick,
    /// Somebody was told of the first packet.
    announced: bool,
    /// As in the send half.
    spent: bool,
}

impl RecvSession {
    /// The receive half of freshly agreed keys. To be called once for them.
    pub fn new(keys: &SessionKeys) -> Self {
        Self {
            peer: keys.peer,
            local: keys.local,
            key: RestingKey::new(&keys.recv),
            window: ReplayWindow::default(),
            born: keys.born,
            announced: false,
            spent: false,
        }
    }

    /// The name of the session: our receiver index.
    pub const fn local(&self) -> u32 {
        self.local
    }

    fn usable(&mut self, now: Tick) -> bool {
        self.spent |= now.since(self.born) >= REJECT_AFTER_TIME;
        !self.spent
    }

    /// Opens one datagram in place; the plaintext, padding included, begins at [`HEADROOM`].
    fn open(&mut self, key: &LessSafeKey, datagram: &mut [u8]) -> Result<usize, DropReason> {
        let (header, sealed) = datagram.split_at_mut_checked(HEADROOM).ok_or(DropReason::TooShort)?;
        let counter =
            header.last_chunk().map(|bytes| u64::from_le_bytes(*bytes)).ok_or(DropReason::TooShort)?;
        if counter >= REJECT_AFTER_MESSAGES {
            return Err(DropReason::Expired);
        }
        let text = key.open_in_place(nonce(counter), Aad::empty(), sealed).map_err(|_| DropReason::BadTag)?;
        // Only now: a forged counter must not move the window.
        if self.window.admit(counter) { Ok(text.len()) } else { Err(DropReason::Replay) }
    }
}

impl fmt::Debug for RecvSession {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RecvSession({:?}, {:08x})", self.peer, self.local)
    }
}

/// The receiver index of a data message; `None` for anything else.
pub fn receiver_index(datagram: &[u8]) -> Option<u32> {
    let (kind, rest) = datagram.split_first_chunk()?;
    (u32::from_le_bytes(*kind) == DATA).then_some(())?;
    rest.first_chunk().map(|bytes| u32::from_le_bytes(*bytes))
}

/// All receiving sessions, each at the place that the low 16 bits of its name give.
#[derive(Debug, Default)]
pub struct SessionTable {
    places: Vec<Option<Box<RecvSession>>>,
}

impl SessionTable {
    /// The place of a session.
    pub(super) const fn place(local: u32) -> usize {
        (local & 0xffff) as usize
    }

    /// Moves into a larger vector that control has allocated; returns the old one to be freed there.
    pub(super) fn grow(
        &mut self,
        mut larger: Vec<Option<Box<RecvSession>>>,
    ) -> Vec<Option<Box<RecvSession>>> {
        larger.clear();
        if larger.capacity() < self.places.len() {
            return larger;
        }
        larger.append(&mut self.places);
        let full = larger.capacity().min(1 << 16);
        larger.resize_with(full.max(larger.len()), || None);
        std::mem::replace(&mut self.places, larger)
    }

    /// Puts a session at its place; returns whatever was there, or the session itself if the table is too small.
    pub fn insert(&mut self, session: Box<RecvSession>) -> Option<Box<RecvSession>> {
        match self.places.get_mut(Self::place(session.local)) {
            Some(place) => place.replace(session),
            None => Some(session),
        }
    }

    /// Takes the session of exactly this name out.
    pub fn remove(&mut self, local: u32) -> Option<Box<RecvSession>> {
        let place = self.places.get_mut(Self::place(local))?;
        if place.as_ref()?.local == local { place.take() } else { None }
    }

    /// A table for tests and benchmarks, which have no control thread that grows it.
    pub fn with_places(places: usize) -> Self {
        let mut table = Self::default();
        table.grow(Vec::with_capacity(places));
        table
    }

    /// Opens the datagrams of an arena in place and in order. Those that fail are counted and leave `packets`; of
    /// the others `start` and `len` then name the plaintext (with padding), `peer` the slot, `note` the length of
    /// the datagram. `first` is told a session's name at its first good packet, and again until it returns true.
    pub fn open_batch(
        &mut self,
        arena: &mut [u8],
        packets: &mut Vec<Packet>,
        now: Tick,
        drops: &DropCounters,
        first: &mut dyn FnMut(u32) -> bool,
    ) {
        let mut awake: Option<(u32, LessSafeKey)> = None;
        packets.retain_mut(|packet| match self.open_one(arena, packet, now, &mut awake, first) {
            Ok(()) => true,
            Err(reason) => {
                drops.count(reason);
                false
            }
        });
    }

    fn open_one(
        &mut self,
        arena: &mut [u8],
        packet: &mut Packet,
        now: Tick,
        awake: &mut Option<(u32, LessSafeKey)>,
        first: &mut dyn FnMut(u32) -> bool,
    ) -> Result<(), DropReason> {
        let datagram = arena.get_mut(packet.range()).ok_or(DropReason::TooShort)?;
        if datagram.len() < SHORTEST {
            return Err(DropReason::TooShort);
        }
        let local = receiver_index(datagram).ok_or(DropReason::Malformed)?;
        let session = match self.places.get_mut(Self::place(local)) {
            Some(Some(session)) if session.local == local => session,
            _ => return Err(DropReason::UnknownSession),
        };
        if !session.usable(now) {
            return Err(DropReason::Expired);
        }
        if awake.as_ref().is_none_or(|(name, _)| *name != local) {
            *awake = session.key.awake().map(|key| (local, key));
        }
        let Some((_, key)) = awake else { return Err(DropReason::UnknownSession) };
        let len = session.open(key, datagram)?;
        if !session.announced {
            session.announced = first(local);
        }
        *packet = Packet {
            start: packet.start + HEADROOM as u32,
            len: len as u32,
            peer: session.peer.to_bits(),
            note: packet.len,
        };
        Ok(())
    }
}
