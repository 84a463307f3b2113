//! The internet checksum (RFC 1071), eight bytes at a time, and its incremental update (RFC 1624).

use std::net::IpAddr;

/// A one's-complement sum in progress. Parts must be added in order, and all but the last must be of even length.
/// Words are summed in the machine's byte order, which the sum does not mind until it is finished.
#[derive(Debug, Clone, Copy, Default)]
pub struct Sum(u64);

impl Sum {
    /// An empty sum.
    pub const fn new() -> Self {
        Self(0)
    }

    /// Adds `bytes`; an odd last byte counts as if a zero followed.
    #[inline]
    #[must_use]
    pub fn bytes(self, bytes: &[u8]) -> Self {
        let mut sum = self.0;
        let (chunks, rest) = bytes.as_chunks::<8>();
        for chunk in chunks {
            let word = u64::from_ne_bytes(*chunk);
            sum += (word & 0xffff_ffff) + (word >> 32);
        }
        let mut last = [0; 8];
        for (to, from) in last.iter_mut().zip(rest) {
            *to = *from;
        }
        let word = u64::from_ne_bytes(last);
        sum += (word & 0xffff_ffff) + (word >> 32);
        // Keeps 32 bits and their carry, so that no sequence of calls overflows.
        Self((sum & 0xffff_ffff) + (sum >> 32))
    }

    /// Adds one word.
    #[inline]
    #[must_use]
    pub fn word(self, word: u16) -> Self {
        Self(self.0 + u64::from(word.to_be()))
    }

    /// Adds the pseudo-header of TCP, UDP and ICMPv6; `len` is that of the transport header and data, at most
    /// 65 535.
    #[inline]
    #[must_use]
    pub fn pseudo_header(self, src: IpAddr, dst: IpAddr, proto: u8, len: usize) -> Self {
        let with = |sum: Self, ip: IpAddr| match ip {
            IpAddr::V4(ip) => sum.bytes(&ip.octets()),
            IpAddr::V6(ip) => sum.bytes(&ip.octets()),
        };
        with(with(self, src), dst).word(u16::from(proto)).word(len as u16)
    }

    /// The checksum as it stands in a header (big-endian when written with `to_be_bytes`). Over data that
    /// contains a correct checksum it is zero.
    #[inline]
    pub const fn finish(self) -> u16 {
        let mut sum = self.0;
        sum = (sum & 0xffff_ffff) + (sum >> 32);
        sum = (sum & 0xffff) + (sum >> 16);
        sum = (sum & 0xffff) + (sum >> 16);
        sum = (sum & 0xffff) + (sum >> 16);
        u16::from_be(!(sum as u16))
    }
}

/// The checksum of `bytes`.
#[inline]
pub fn checksum(bytes: &[u8]) -> u16 {
    Sum::new().bytes(bytes).finish()
}

/// The checksum after `old` was replaced by `new` in data whose checksum was `was`. Both are of the same even
/// length and at an even place.
#[inline]
pub fn update(was: u16, old: &[u8], new: &[u8]) -> u16 {
    // HC' = ~(~HC + ~m + m'); the sum of ~m over words is the complement of the sum of m.
    Sum::new().word(!was).word(checksum(old)).bytes(new).finish()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The definition, word by word.
    fn plainly(bytes: &[u8]) -> u16 {
        let mut sum = 0u64;
        for pair in bytes.chunks(2) {
            sum += u64::from(pair[0]) << 8 | u64::from(pair.get(1).copied().unwrap_or(0));
        }
        while sum > 0xffff {
            sum = (sum & 0xffff) + (sum >> 16);
        }
        !(sum as u16)
    }

    #[test]
    fn rfc_1071_example() {
        let bytes = [0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7];
        assert_eq!(checksum(&bytes), !0xddf2);
    }

    #[test]
    fn many_parts_do_not_overflow() {
        let part = [0xff; 64];
        let sum = (0..100_000).fold(Sum::new(), |sum, _| sum.bytes(&part));
        assert_eq!(sum.finish(), 0);
    }

    proptest! {
        #[test]
        fn as_defined(bytes: Vec<u8>) {
            prop_assert_eq!(checksum(&bytes), plainly(&bytes));
        }

        #[test]
        fn in_parts(words in proptest::collection::vec(any::<[u8; 2]>(), 0..60), rest: Vec<u8>) {
            let first = words.concat();
            let parts = Sum::new().bytes(&first).bytes(&rest).finish();
            prop_assert_eq!(parts, plainly(&[first, rest].concat()));
        }

        #[test]
        fn updated(mut bytes in proptest::collection::vec(any::<u8>(), 24), new: [u8; 4]) {
            // A zero sum has two forms; real packets (never all zero) have one.
            bytes[0] |= 1;
            let was = checksum(&bytes);
            let old: Vec<u8> = bytes[12..16].to_vec();
            bytes[12..16].copy_from_slice(&new);
            prop_assert_eq!(update(was, &old, &new), plainly(&bytes));
        }
    }
}
