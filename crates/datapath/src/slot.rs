//! The number under which every table of the engine knows a peer.

/// A peer's place in the tables of slow path and lines: 24 bits of index, 8 bits of generation, so that a record
/// about a removed peer is not taken for one about its successor in the same place.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PeerSlot(u32);

impl PeerSlot {
    /// How many places there are at most.
    pub const MAX: usize = (1 << 24) - 1;

    /// No peer but this node itself: what is routed to it is for the services that run in the process.
    pub const SERVICE: Self = Self(u32::MAX);

    /// A slot from its two parts; `index` is below [`Self::MAX`].
    pub const fn new(index: u32, generation: u8) -> Self {
        Self(index & 0x00ff_ffff | (generation as u32) << 24)
    }

    /// The place in a table.
    pub const fn index(self) -> usize {
        (self.0 & 0x00ff_ffff) as usize
    }

    /// Which of the peers that have held the place.
    pub const fn generation(self) -> u8 {
        (self.0 >> 24) as u8
    }

    /// As one number, for ring records.
    pub const fn to_bits(self) -> u32 {
        self.0
    }

    /// Back from [`Self::to_bits`].
    pub const fn from_bits(bits: u32) -> Self {
        Self(bits)
    }
}

/// Makes room in a table for the place `index`, an eighth more than there was at a time. Doubling would leave large
/// tables half empty, and the system moves large ones without copying them.
pub fn make_room<T>(table: &mut Vec<T>, index: usize) {
    if index >= table.capacity() {
        let more = index.saturating_sub(table.len()).saturating_add(1);
        table.reserve_exact(more.max(table.len() / 8).max(16));
    }
}
