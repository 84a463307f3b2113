//! Receiver indices: names of our sessions and of handshakes under way.
//!
//! The low 16 bits are a place in the tables of the packet lines, the high 16 are random and change with every use
//! of the place. An index is never zero. A freed place rests until [`RESTING`] others have been freed after it,
//! unless the table is full.

use crate::slot::PeerSlot;
use rand_core::RngCore;
use std::collections::VecDeque;

/// How many places there can be.
const PLACES: usize = 1 << 16;
/// How many freed places rest before the oldest is used again.
const RESTING: usize = 16;

#[derive(Debug, Clone, Copy)]
struct Place {
    high: u16,
    owner: Option<PeerSlot>,
}

/// Which indices are in use, and by whom.
#[derive(Debug, Default)]
pub(super) struct IndexTable {
    places: Vec<Place>,
    free: VecDeque<u16>,
}

impl IndexTable {
    /// A new index for `owner`; `None` when all 65536 places are in use.
    pub(super) fn allocate(&mut self, owner: PeerSlot, rng: &mut impl RngCore) -> Option<u32> {
        let full = self.places.len() >= PLACES;
        let low = if full || self.free.len() > RESTING { self.free.pop_front() } else { None };
        let (low, last) = match low {
            Some(low) => (low, self.places.get(usize::from(low))?.high),
            None if full => return None,
            None => (u16::try_from(self.places.len()).ok()?, 0),
        };
        let mut high = (rng.next_u32() >> 16) as u16;
        if high == last {
            high = high.wrapping_add(1);
        }
        if high == 0 && low == 0 {
            // Place 0 with 0 above it would be index 0. One further may be the last one again, hence two.
            high = if last == 1 { 2 } else { 1 };
        }
        let place = Place { high, owner: Some(owner) };
        match self.places.get_mut(usize::from(low)) {
            Some(old) => *old = place,
            None => self.places.push(place),
        }
        Some(u32::from(high) << 16 | u32::from(low))
    }

    /// Who holds `index`; `None` if nobody does (any more).
    pub(super) fn owner(&self, index: u32) -> Option<PeerSlot> {
        let place = self.places.get((index & 0xffff) as usize)?;
        if u32::from(place.high) == index >> 16 { place.owner } else { None }
    }

    /// Gives `index` back; nothing happens if nobody holds it.
    pub(super) fn free(&mut self, index: u32) {
        if self.owner(index).is_some()
            && let Some(place) = self.places.get_mut((index & 0xffff) as usize)
        {
            place.owner = None;
            self.free.push_back((index & 0xffff) as u16);
        }
    }

    /// How many indices are in use.
    #[cfg(test)]
    pub(super) fn used(&self) -> usize {
        self.places.len() - self.free.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand_chacha::ChaCha20Rng;
    use rand_core::SeedableRng;
    use std::collections::BTreeSet;

    /// Always the same bits, to force collisions.
    struct Stuck(u32);
    impl RngCore for Stuck {
        fn next_u32(&mut self) -> u32 {
            self.0
        }
        fn next_u64(&mut self) -> u64 {
            u64::from(self.0)
        }
        fn fill_bytes(&mut self, dest: &mut [u8]) {
            dest.fill(self.0 as u8);
        }
        fn try_fill_bytes(&mut self, dest: &mut [u8]) -> Result<(), rand_core::Error> {
            self.fill_bytes(dest);
            Ok(())
        }
    }

    const ME: PeerSlot = PeerSlot::new(1, 0);

    #[test]
    fn never_zero_and_never_the_same_twice_running() {
        for bits in [0, 0xffff_ffff, 0x0001_0000] {
            let mut table = IndexTable::default();
            let mut rng = Stuck(bits);
            let mut last = [0u32; RESTING + 1];
            for round in 0..5 {
                for slot in &mut last {
                    let index = table.allocate(ME, &mut rng).expect("room");
                    assert_ne!(index, 0);
                    assert_ne!(index, *slot, "round {round}");
                    *slot = index;
                }
                for index in last {
                    table.free(index);
                    assert_eq!(table.owner(index), None);
                }
            }
        }
    }

    #[test]
    fn all_places_and_no_more() {
        let mut table = IndexTable::default();
        let mut rng = ChaCha20Rng::from_seed([1; 32]);
        let all: BTreeSet<u32> = (0..PLACES).map(|_| table.allocate(ME, &mut rng).expect("room")).collect();
        assert_eq!(all.len(), PLACES);
        assert_eq!(table.allocate(ME, &mut rng), None);
        let one = *all.first().expect("some");
        table.free(one);
        table.free(one);
        let again = table.allocate(ME, &mut rng).expect("one place");
        assert_eq!(again & 0xffff, one & 0xffff);
        assert_ne!(again, one);
        assert_eq!(table.owner(one), None, "the old name is dead");
        assert_eq!(table.allocate(ME, &mut rng), None);
    }

    #[test]
    fn strangers_own_nothing() {
        let mut table = IndexTable::default();
        assert_eq!(table.owner(0), None);
        table.free(77);
        let index = table.allocate(ME, &mut Stuck(5 << 16)).expect("room");
        assert_eq!(table.owner(index), Some(ME));
        assert_eq!(table.owner(index ^ 0x10000), None);
        assert_eq!(table.used(), 1);
    }
}
