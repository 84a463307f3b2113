//! The arena of a line: one buffer, allocated at start, in which packets lie one behind the other with room around
//! each for what sealing adds, so that nothing is moved between the device and the wire.
//!
//! Leaves out: what is done to packets (seal, open, filter); sources and sinks fill and empty the very same arena.

/// Bytes kept free before each plaintext of the tx line: the header of a WireGuard data message. On rx they are
/// where that header was, wide enough for the header of a TUN with offloads.
pub const HEADROOM: usize = 16;
/// Bytes a plaintext may grow by at its end: up to 15 of padding, 16 of tag.
pub const TAILROOM: usize = 31;
/// What plaintexts are padded to, and what packets in an arena are aligned to.
pub(super) const PAD: usize = 16;

/// Where one packet lies in an arena, and what the line has found out about it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Packet {
    /// Offset of its first byte.
    pub start: u32,
    /// Its length in bytes; 0 = a keepalive.
    pub len: u32,
    /// The line's note: bits of a peer's slot, or kind of record.
    pub peer: u32,
    /// A second note: a session's name, or flags.
    pub note: u32,
}

impl Packet {
    /// The packet's place in its arena.
    pub const fn range(self) -> std::ops::Range<usize> {
        self.start as usize..self.start as usize + self.len as usize
    }
}

/// Puts packets of one note ([`Packet::peer`]) together, by age among each other.
pub(super) fn group(packets: &mut [Packet]) {
    if packets.windows(2).any(|pair| matches!(pair, [a, b] if a.peer != b.peer)) {
        packets.sort_unstable_by_key(|packet| (packet.peer, packet.start));
    }
}

/// Packets that go the same way, ready for a sink, in order.
#[derive(Debug, Clone, Copy)]
pub struct Run<'a> {
    arena: &'a [u8],
    packets: &'a [Packet],
}

impl<'a> Run<'a> {
    /// `packets` of `arena`.
    pub const fn new(arena: &'a [u8], packets: &'a [Packet]) -> Self {
        Self { arena, packets }
    }

    /// The packets one by one, without those that were given up (empty ones). Sealed ones that entered the arena
    /// together lie end to end.
    pub fn iter(self) -> impl Iterator<Item = &'a [u8]> {
        let arena = self.arena;
        self.packets
            .iter()
            .filter_map(move |packet| arena.get(packet.range()))
            .filter(|bytes| !bytes.is_empty())
    }

    /// How many.
    pub const fn len(self) -> usize {
        self.packets.len()
    }

    /// Their lengths; zero for those that were given up.
    pub fn lengths(self) -> impl Iterator<Item = usize> + use<'a> {
        self.packets.iter().map(|packet| packet.len as usize)
    }

    /// The first `count` of them, and the others.
    pub fn split_at(self, count: usize) -> (Self, Self) {
        let (first, rest) = self.packets.split_at(count.min(self.packets.len()));
        (Self::new(self.arena, first), Self::new(self.arena, rest))
    }

    /// Whether there are none.
    pub const fn is_empty(self) -> bool {
        self.packets.is_empty()
    }
}

/// An arena and the packets in it.
#[derive(Debug)]
pub struct Batch {
    pub(super) arena: Box<[u8]>,
    pub(super) packets: Vec<Packet>,
    used: usize,
    most: usize,
    headroom: usize,
    tailroom: usize,
}

impl Batch {
    /// For plaintexts that will be sealed: with head- and tailroom.
    pub fn to_seal(bytes: usize, packets: usize) -> Self {
        Self::with_room(bytes, packets, HEADROOM, TAILROOM)
    }

    /// For datagrams that will be opened.
    pub fn to_open(bytes: usize, packets: usize) -> Self {
        Self::with_room(bytes, packets, 0, 0)
    }

    fn with_room(bytes: usize, packets: usize, headroom: usize, tailroom: usize) -> Self {
        let bytes = bytes.min(u32::MAX as usize);
        Self {
            arena: vec![0; bytes].into(),
            packets: Vec::with_capacity(packets.max(1)),
            used: 0,
            most: packets.max(1),
            headroom,
            tailroom,
        }
    }

    /// Forgets all packets.
    pub fn clear(&mut self) {
        self.packets.clear();
        self.used = 0;
    }

    /// How many packets.
    pub fn len(&self) -> usize {
        self.packets.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.packets.is_empty()
    }

    /// The largest packet that an empty arena takes.
    pub fn largest(&self) -> usize {
        self.arena.len().saturating_sub(self.headroom + self.tailroom)
    }

    /// Room for one more packet of `len` bytes to be filled in and then [`commit`](Self::commit)ted; `None` when
    /// the batch is full.
    pub fn room(&mut self, len: usize) -> Option<&mut [u8]> {
        if self.packets.len() >= self.most {
            return None;
        }
        let start = self.used.checked_add(self.headroom)?;
        let end = start.checked_add(len)?;
        if end.checked_add(self.tailroom)? > self.arena.len() {
            return None;
        }
        self.arena.get_mut(start..end)
    }

    /// Takes the first `len` bytes of the room asked for last as a packet.
    pub fn commit(&mut self, len: usize, peer: u32, note: u32) {
        let start = self.used + self.headroom;
        debug_assert!(self.packets.len() < self.most && start + len + self.tailroom <= self.arena.len());
        self.packets.push(Packet { start: start as u32, len: len as u32, peer, note });
        // A sealed packet is header + padded text + tag, all multiples of 16: datagrams lie end to end.
        let tag = if self.tailroom > 0 { PAD } else { 0 };
        self.used = start + len.next_multiple_of(PAD) + tag;
    }

    /// The bytes of a packet.
    pub fn bytes(&self, packet: Packet) -> &[u8] {
        self.arena.get(packet.range()).unwrap_or_default()
    }

    /// The packets as they are now.
    pub fn packets(&self) -> &[Packet] {
        &self.packets
    }

    /// Arena and packets, for [`seal_batch`](super::seal::SendSession::seal_batch) and
    /// [`open_batch`](super::open::SessionTable::open_batch).
    pub fn parts(&mut self) -> (&mut [u8], &mut Vec<Packet>) {
        (&mut self.arena, &mut self.packets)
    }

    /// Memory held, in bytes.
    pub fn heap_bytes(&self) -> usize {
        self.arena.len() + self.packets.capacity() * size_of::<Packet>()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packets_have_room_around_them() {
        let mut batch = Batch::to_seal(200, 8);
        for len in [1usize, 16, 17] {
            batch.room(len).expect("room").fill(len as u8);
            batch.commit(len, 0, 0);
        }
        let starts: Vec<_> = batch.packets().iter().map(|packet| packet.start).collect();
        // 16 + 16 + 16 = 48 a packet while padded to 16, then 64.
        assert_eq!(starts, [16, 64, 112]);
        assert!(batch.room(10).is_none(), "the third ends at 160, header and tag no longer fit");
        batch.clear();
        assert_eq!(batch.largest(), 153);
        assert!(batch.room(153).is_some());
        assert!(batch.room(154).is_none());
    }

    #[test]
    fn the_number_of_packets_is_bounded() {
        let mut batch = Batch::to_open(1 << 12, 2);
        for _ in 0..2 {
            assert!(batch.room(0).is_some());
            batch.commit(0, 0, 0);
        }
        assert!(batch.room(0).is_none());
    }
}
