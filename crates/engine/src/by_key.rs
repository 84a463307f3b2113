//! Which place in a table of peers has which key: a hash table of four bytes a place, because the keys themselves
//! are in the table of peers already. Several places may have the same key.
//!
//! Open addressing with linear probing, never more than three quarters full. The hash is keyed: whoever chooses keys
//! cannot make them collide.

use crate::filter::SipKey;

/// No place has this number: those of peers have 24 bits.
const FREE: u32 = u32::MAX;

/// Fewest cells there are, once there are any.
const FEWEST: usize = 16;

/// The table. Every method is told how to find the key of a place.
#[derive(Debug)]
pub(crate) struct ByKey {
    hash: SipKey,
    /// Places; their number is a power of two or zero.
    cells: Box<[u32]>,
    len: usize,
}

impl ByKey {
    pub(crate) fn new(seed: [u8; 16]) -> Self {
        Self { hash: SipKey::new(seed), cells: Box::default(), len: 0 }
    }

    /// How many keys there are.
    pub(crate) const fn len(&self) -> usize {
        self.len
    }

    /// A place that has `key`.
    pub(crate) fn find<'a>(
        &self,
        key: &[u8; 32],
        key_at: impl Fn(usize) -> Option<&'a [u8; 32]>,
    ) -> Option<usize> {
        let at = self.cell_of(key, |place| key_at(place) == Some(key))?;
        self.cells.get(at).map(|place| *place as usize)
    }

    /// A place that has `key` and that `is_it` wants.
    pub(crate) fn find_where(&self, key: &[u8; 32], is_it: impl Fn(usize) -> bool) -> Option<usize> {
        let at = self.cell_of(key, is_it)?;
        self.cells.get(at).map(|place| *place as usize)
    }

    /// Notes that `place` has `key`.
    pub(crate) fn insert<'a>(
        &mut self,
        key: &[u8; 32],
        place: usize,
        key_at: impl Fn(usize) -> Option<&'a [u8; 32]>,
    ) {
        if (self.len + 1) * 4 > self.cells.len() * 3 {
            let larger = vec![FREE; (self.cells.len() * 2).max(FEWEST)].into();
            let old = std::mem::replace(&mut self.cells, larger);
            for place in old.iter().filter(|place| **place != FREE) {
                if let Some(key) = key_at(*place as usize) {
                    self.put(key, *place);
                }
            }
        }
        self.put(key, place as u32);
        self.len += 1;
    }

    /// Forgets `place`, which has `key`.
    pub(crate) fn remove<'a>(
        &mut self,
        key: &[u8; 32],
        place: usize,
        key_at: impl Fn(usize) -> Option<&'a [u8; 32]>,
    ) {
        let Some(mut hole) = self.cell_of(key, |other| other == place) else { return };
        self.len -= 1;
        // What stands behind the hole moves into it if that is no further from where it belongs.
        let mut at = hole;
        loop {
            at = self.next(at);
            let place = self.get(at);
            if place == FREE {
                break;
            }
            let Some(key) = key_at(place as usize) else { continue };
            let home = self.home(key);
            let mask = self.cells.len() - 1;
            if (at.wrapping_sub(home) & mask) >= (at.wrapping_sub(hole) & mask) {
                self.set(hole, place);
                hole = at;
            }
        }
        self.set(hole, FREE);
    }

    /// The first cell from where `key` belongs whose place is the right one.
    fn cell_of(&self, key: &[u8; 32], is_it: impl Fn(usize) -> bool) -> Option<usize> {
        if self.cells.is_empty() {
            return None;
        }
        let mut at = self.home(key);
        loop {
            match self.get(at) {
                FREE => return None,
                place if is_it(place as usize) => return Some(at),
                _ => at = self.next(at),
            }
        }
    }

    /// There is a free cell.
    fn put(&mut self, key: &[u8; 32], place: u32) {
        let mut at = self.home(key);
        while self.get(at) != FREE {
            at = self.next(at);
        }
        self.set(at, place);
    }

    /// Where `key` belongs; there are cells.
    fn home(&self, key: &[u8; 32]) -> usize {
        self.hash.hash_bytes(key) as usize & (self.cells.len() - 1)
    }

    fn next(&self, at: usize) -> usize {
        (at + 1) & (self.cells.len() - 1)
    }

    fn get(&self, at: usize) -> u32 {
        self.cells.get(at).copied().unwrap_or(FREE)
    }

    fn set(&mut self, at: usize, place: u32) {
        if let Some(cell) = self.cells.get_mut(at) {
            *cell = place;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    const fn key(n: u8) -> [u8; 32] {
        [n; 32]
    }

    proptest! {
        #[test]
        fn agrees_with_a_tree(steps in proptest::collection::vec((0u8..40, any::<bool>()), 0..300)) {
            let mut table = ByKey::new([7; 16]);
            let (mut places, mut tree) = (Vec::new(), BTreeMap::new());
            for (n, add) in steps {
                let key = key(n);
                match (tree.get(&n).copied(), add) {
                    (None, true) => {
                        table.insert(&key, places.len(), |at| places.get(at));
                        tree.insert(n, places.len());
                        places.push(key);
                    }
                    (Some(place), false) => {
                        table.remove(&key, place, |at| places.get(at));
                        tree.remove(&n);
                    }
                    _ => {}
                }
                prop_assert_eq!(table.len(), tree.len());
                for n in 0..40 {
                    let found = table.find(&self::key(n), |at| places.get(at));
                    prop_assert_eq!(found, tree.get(&n).copied());
                }
            }
        }
    }

    #[test]
    fn several_places_may_have_one_key() {
        let keys = [key(1), key(2), key(1), key(1)];
        let at = |place: usize| keys.get(place);
        let mut table = ByKey::new([7; 16]);
        (0..4).for_each(|place| table.insert(&keys[place], place, at));
        for gone in [0, 3, 2] {
            assert!(table.find(&key(1), at).is_some());
            table.remove(&key(1), gone, at);
        }
        assert_eq!((table.find(&key(1), at), table.find(&key(2), at)), (None, Some(1)));
    }
}
