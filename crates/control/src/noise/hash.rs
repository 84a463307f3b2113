//! BLAKE2s-256 and the HKDF built from it, as Noise uses them.

use blake2::{Blake2s256, Digest};

/// A digest, a chaining key or a cipher key.
pub(crate) type Block = [u8; 32];

/// Block length of BLAKE2s in bytes, to which HMAC pads its key.
const HMAC_BLOCK: usize = 64;

/// BLAKE2s-256 of the concatenation of `parts`.
pub(crate) fn hash(parts: &[&[u8]]) -> Block {
    let mut state = Blake2s256::new();
    for part in parts {
        state.update(part);
    }
    state.finalize().into()
}

fn hmac(key: &Block, parts: &[&[u8]]) -> Block {
    let mut inner_pad = [0x36; HMAC_BLOCK];
    let mut outer_pad = [0x5c; HMAC_BLOCK];
    for ((inner, outer), k) in inner_pad.iter_mut().zip(&mut outer_pad).zip(key) {
        *inner ^= k;
        *outer ^= k;
    }
    let mut state = Blake2s256::new();
    state.update(inner_pad);
    for part in parts {
        state.update(part);
    }
    let inner: Block = state.finalize().into();
    hash(&[&outer_pad, &inner])
}

/// Two outputs of HKDF with empty info: the new chaining key and a cipher key.
pub(crate) fn hkdf2(salt: &Block, input: &[u8]) -> (Block, Block) {
    let extracted = hmac(salt, &[input]);
    let first = hmac(&extracted, &[&[1]]);
    let second = hmac(&extracted, &[&first, &[2]]);
    (first, second)
}
