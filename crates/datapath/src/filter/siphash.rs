//! SipHash-2-4 over whole 64-bit words: a hash that a peer who does not know the key cannot aim.

/// The key, ready for use. Not only the filter uses it: whatever hashes what peers choose does.
#[derive(Clone, Copy)]
pub struct SipKey(u64, u64);

impl std::fmt::Debug for SipKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("SipKey(redacted)")
    }
}

impl SipKey {
    /// A key from random bytes.
    pub fn new(seed: [u8; 16]) -> Self {
        let bits = u128::from_le_bytes(seed);
        Self(bits as u64, (bits >> 64) as u64)
    }

    /// The hash of `words` taken as little-endian bytes.
    #[inline]
    pub fn hash(&self, words: &[u64]) -> u64 {
        self.run(words.iter().copied(), (words.len() as u64).wrapping_mul(8) << 56)
    }

    /// The hash of `bytes`.
    pub fn hash_bytes(&self, bytes: &[u8]) -> u64 {
        let (words, rest) = bytes.as_chunks::<8>();
        let mut last = [0; 8];
        for (to, from) in last.iter_mut().zip(rest) {
            *to = *from;
        }
        let last = u64::from_le_bytes(last) | (bytes.len() as u64) << 56;
        self.run(words.iter().map(|word| u64::from_le_bytes(*word)), last)
    }

    /// `last` holds the length in its highest byte and the bytes that fill no word in the lower ones.
    #[inline]
    fn run(&self, words: impl Iterator<Item = u64>, last: u64) -> u64 {
        let mut v = [
            self.0 ^ 0x736f_6d65_7073_6575,
            self.1 ^ 0x646f_7261_6e64_6f6d,
            self.0 ^ 0x6c79_6765_6e65_7261,
            self.1 ^ 0x7465_6462_7974_6573,
        ];
        for word in words.chain([last]) {
            v[3] ^= word;
            round(&mut v);
            round(&mut v);
            v[0] ^= word;
        }
        v[2] ^= 0xff;
        for _ in 0..4 {
            round(&mut v);
        }
        v[0] ^ v[1] ^ v[2] ^ v[3]
    }
}

fn round(v: &mut [u64; 4]) {
    v[0] = v[0].wrapping_add(v[1]);
    v[1] = v[1].rotate_left(13) ^ v[0];
    v[0] = v[0].rotate_left(32);
    v[2] = v[2].wrapping_add(v[3]);
    v[3] = v[3].rotate_left(16) ^ v[2];
    v[0] = v[0].wrapping_add(v[3]);
    v[3] = v[3].rotate_left(21) ^ v[0];
    v[2] = v[2].wrapping_add(v[1]);
    v[1] = v[1].rotate_left(17) ^ v[2];
    v[2] = v[2].rotate_left(32);
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Vectors of the algorithm's authors: the bytes `00 01 …` under the key `00 … 0f`.
    #[test]
    fn published_vectors() {
        let key = SipKey::new(std::array::from_fn(|i| i as u8));
        let bytes: [u8; 15] = std::array::from_fn(|i| i as u8);
        assert_eq!(key.hash_bytes(&bytes), 0xa129_ca61_49be_45e5);
        let eight = u64::from_le_bytes([0x62, 0x24, 0x93, 0x9a, 0x79, 0xf5, 0xf5, 0x93]);
        assert_eq!(key.hash_bytes(&bytes[..8]), eight);
        assert_eq!(key.hash(&[u64::from_le_bytes(std::array::from_fn(|i| i as u8))]), eight);
        let none = u64::from_le_bytes([0x31, 0x0e, 0x0e, 0xdd, 0x47, 0xdb, 0x6f, 0x72]);
        assert_eq!((key.hash(&[]), key.hash_bytes(&[])), (none, none));
    }

    #[test]
    fn depends_on_the_key() {
        assert_ne!(SipKey::new([1; 16]).hash(&[5]), SipKey::new([2; 16]).hash(&[5]));
    }
}
