//! The Huffman code of HPACK (RFC 7541 §5.2, appendix B), decoding only.
//!
//! The code is canonical: codes of one length are consecutive, in the order of what they stand for, and shorter ones
//! come first. So how many there are of each length, and the symbols in that order, say everything.

/// How many symbols have codes of 0, 1, 2… bits. The end-of-string symbol, the last of 30 bits, is left out: a string
/// must not contain it.
const COUNTS: [u8; 31] =
    [0, 0, 0, 0, 0, 10, 26, 32, 6, 0, 5, 3, 2, 6, 2, 3, 0, 0, 0, 3, 8, 13, 26, 29, 12, 4, 15, 19, 29, 0, 3];

/// The symbols, shortest code first.
const SYMBOLS: &[u8; 256] =
    b"012aceiost %-./3456789=A_bdfghlmnpru:BCDEFGHIJKLMNOPQRSTUVWYjkqvwxyz&*,;XZ!\"()?'+|#>\x00$@[]~^}\
    <`{\\\xc3\xd0\x80\x82\x83\xa2\xb8\xc2\xe0\xe2\x99\xa1\xa7\xac\xb0\xb1\xb3\xd1\xd8\xd9\xe3\xe5\
    \xe6\x81\x84\x85\x86\x88\x92\x9a\x9c\xa0\xa3\xa4\xa9\xaa\xad\xb2\xb5\xb9\xba\xbb\xbd\xbe\xc4\xc6\
    \xe4\xe8\xe9\x01\x87\x89\x8a\x8b\x8c\x8d\x8f\x93\x95\x96\x97\x98\x9b\x9d\x9e\xa5\xa6\xa8\xae\xaf\
    \xb4\xb6\xb7\xbc\xbf\xc5\xe7\xef\x09\x8e\x90\x91\x94\x9f\xab\xce\xd7\xe1\xec\xed\xc7\xcf\xea\xeb\
    \xc0\xc1\xc8\xc9\xca\xcd\xd2\xd5\xda\xdb\xee\xf0\xf2\xf3\xff\xcb\xcc\xd3\xd4\xd6\xdd\xde\xdf\xf1\
    \xf4\xf5\xf6\xf7\xf8\xfa\xfb\xfc\xfd\xfe\x02\x03\x04\x05\x06\x07\x08\x0b\x0c\x0e\x0f\x10\x11\x12\
    \x13\x14\x15\x17\x18\x19\x1a\x1b\x1c\x1d\x1e\x1f\x7f\xdc\xf9\x0a\x0d\x16";

/// Appends what `coded` stands for to `out`; `None` if it is not a string in this code.
pub(super) fn decode(coded: &[u8], out: &mut Vec<u8>) -> Option<()> {
    // The code read so far, the first code of its length, and how many symbols have shorter ones.
    let (mut code, mut first, mut shorter, mut length) = (0u32, 0u32, 0u32, 0usize);
    for bit in coded.iter().flat_map(|byte| (0..8).rev().map(move |at| u32::from(byte >> at & 1))) {
        code = code << 1 | bit;
        first <<= 1;
        length += 1;
        let count = u32::from(*COUNTS.get(length)?);
        match code.checked_sub(first) {
            Some(at) if at < count => {
                out.push(*SYMBOLS.get((shorter + at) as usize)?);
                (code, first, shorter, length) = (0, 0, 0, 0);
            }
            _ => {
                first += count;
                shorter += count;
            }
        }
    }
    // What fills up the last byte is the start of the end-of-string symbol: less than a byte of ones.
    (length < 8 && code == (1 << length) - 1).then_some(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decoded(coded: &[u8]) -> Option<Vec<u8>> {
        let mut out = Vec::new();
        decode(coded, &mut out).map(|()| out)
    }

    /// Every symbol has a code, and the codes fill the space but for the end-of-string symbol.
    #[test]
    fn the_code_is_complete() {
        assert_eq!(COUNTS.iter().map(|count| usize::from(*count)).sum::<usize>(), SYMBOLS.len());
        let used: u64 = (0u32..).zip(COUNTS).map(|(length, count)| u64::from(count) << (30 - length)).sum();
        assert_eq!(used, (1 << 30) - 1);
        let mut symbols = SYMBOLS.to_vec();
        symbols.sort_unstable();
        assert_eq!(symbols, (0..=255).collect::<Vec<u8>>());
    }

    #[test]
    fn ends() {
        assert_eq!(decoded(&[]).as_deref(), Some(&b""[..]));
        assert_eq!(decoded(&[0b0001_1111]).as_deref(), Some(&b"a"[..]));
        assert_eq!(decoded(&[0xfe]).as_deref(), None, "ends inside a symbol");
        assert_eq!(decoded(&[0b0001_1110]).as_deref(), None, "filled up with something else");
        assert_eq!(decoded(&[0b0001_1111, 0xff]).as_deref(), None, "filled up with a byte more than needed");
        assert_eq!(decoded(&[0xff; 4]).as_deref(), None, "the end-of-string symbol");
    }
}
