//! TAI64N timestamps of initiations: 12 bytes that only ever grow (WireGuard paper §5.1).

use crate::time::Wall;

/// A timestamp as it travels; compares as bytes.
pub(super) type Stamp = [u8; 12];

/// TAI64 label of 1970-01-01 (2⁶² and the ten leap seconds of that time).
const EPOCH: u64 = 0x4000_0000_0000_000a;
/// Low bits of the clock that nobody needs to see (about 17 ms), as other implementations hide them.
const HIDDEN: u64 = (1 << 24) - 1;
const SECOND: u64 = 1_000_000_000;

/// Makes our timestamps. One row for all peers, so that it grows for each.
#[derive(Debug, Default)]
pub(super) struct Stamps {
    last: u64,
}

impl Stamps {
    /// The next timestamp: the wall clock's, or one more than the last when the clock stands or steps back.
    pub(super) fn next(&mut self, wall: Wall) -> Stamp {
        self.last = (wall.0 & !HIDDEN).max(self.last.saturating_add(1));
        encode(self.last)
    }
}

fn encode(nanos: u64) -> Stamp {
    let mut out = [0; 12];
    let (secs, rest) = out.split_at_mut(8);
    secs.copy_from_slice(&(EPOCH + nanos / SECOND).to_be_bytes());
    rest.copy_from_slice(&((nanos % SECOND) as u32).to_be_bytes());
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn layout() {
        assert_eq!(encode(3 * SECOND + 7), [0x40, 0, 0, 0, 0, 0, 0, 13, 0, 0, 0, 7]);
    }

    proptest! {
        #[test]
        fn always_grows(walls in proptest::collection::vec(any::<u32>(), 2..40)) {
            let mut stamps = Stamps::default();
            let mut last = [0; 12];
            for wall in walls {
                let next = stamps.next(Wall(u64::from(wall) << 8));
                prop_assert!(next > last);
                last = next;
            }
        }
    }
}
