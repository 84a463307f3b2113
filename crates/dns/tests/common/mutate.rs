//! Changes to messages by chance. Also used by the black box's soak.

/// Chance that can be repeated (xorshift).
pub(crate) struct Dice(pub(crate) u32);

impl Dice {
    /// The next number.
    pub(crate) fn next(&mut self) -> u32 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 17;
        self.0 ^= self.0 << 5;
        self.0
    }

    /// One below `end`; 0 when there is none.
    pub(crate) fn below(&mut self, end: usize) -> usize {
        self.next() as usize % end.max(1)
    }
}

/// One to six changes: bits, bytes, counts, pointers, cuts, repetitions, and pieces of another message.
pub(crate) fn mutate(dice: &mut Dice, message: &[u8], other: &[u8]) -> Vec<u8> {
    let mut bytes = message.to_vec();
    for _ in 0..=dice.below(6) {
        let at = dice.below(bytes.len());
        let end = bytes.len().min(at + 1 + dice.below(40));
        match dice.below(10) {
            _ if bytes.is_empty() => bytes.push(dice.next() as u8),
            0 | 1 => bytes[at] ^= 1 << dice.below(8),
            2 => bytes[at] = dice.next() as u8,
            3 => {
                let count = dice.below(12.min(bytes.len()));
                bytes[count] = 0xff;
            }
            4 => {
                let pointer = 0xc000 | dice.below(bytes.len() + 2) as u16;
                bytes.splice(at..end.min(at + 2), pointer.to_be_bytes());
            }
            5 => bytes.truncate(at),
            6 => {
                let piece = bytes[at..end].to_vec();
                bytes.splice(at..at, piece.repeat(1 + dice.below(8)));
            }
            7 => {
                let from = dice.below(other.len());
                bytes.splice(at..end, other[from..].iter().copied().take(60));
            }
            8 => bytes.extend(std::iter::repeat_n(dice.next() as u8, dice.below(6000))),
            _ => drop(bytes.drain(at..end)),
        }
    }
    bytes
}
