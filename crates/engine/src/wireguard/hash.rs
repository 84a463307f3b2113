//! BLAKE2s as handshakes use it: hash, HMAC, HKDF and keyed MAC (WireGuard paper §5.4).

use blake2::{Blake2s256, Digest};
use zeroize::{Zeroize, Zeroizing};

pub(super) use crate::mac1::{hash, mac};

/// 32 secret bytes, wiped when dropped.
pub(super) type Secret = Zeroizing<[u8; 32]>;

/// HMAC with BLAKE2s-256, whose block is 64 bytes.
fn hmac(key: &[u8; 32], parts: &[&[u8]]) -> Secret {
    let pass = |filler: u8, parts: &[&[u8]]| {
        let mut pad = [filler; 64];
        for (pad, key) in pad.iter_mut().zip(key) {
            *pad ^= key;
        }
        let mut state = Blake2s256::new();
        Digest::update(&mut state, pad);
        pad.zeroize();
        for part in parts {
            Digest::update(&mut state, part);
        }
        Secret::new(state.finalize().into())
    };
    let inner = pass(0x36, parts);
    pass(0x5c, &[&*inner])
}

/// `N` (at most three) keys from `key` and `input`.
pub(super) fn kdf<const N: usize>(key: &[u8; 32], input: &[u8]) -> [Secret; N] {
    let root = hmac(key, &[input]);
    let mut out: [Secret; N] = std::array::from_fn(|_| Secret::new([0; 32]));
    let mut last: Option<Secret> = None;
    for (counter, slot) in (1u8..).zip(out.iter_mut()) {
        let next = match &last {
            None => hmac(&root, &[&[counter]]),
            Some(last) => hmac(&root, &[&**last, &[counter]]),
        };
        slot.copy_from_slice(&*next);
        last = Some(next);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hex(bytes: &[u8]) -> String {
        bytes.iter().map(|b| format!("{b:02x}")).collect()
    }

    /// RFC 7693, appendix B.
    #[test]
    fn abc() {
        assert_eq!(
            hex(&hash(&[b"a", b"bc"])),
            "508c5e8c327c14e2e1a72ba34eeb452f37458b209ed63a294d999b4c86675982"
        );
    }

    /// The first chaining key and hash of every WireGuard handshake.
    #[test]
    fn protocol_name() {
        let ck = hash(&[b"Noise_IKpsk2_25519_ChaChaPoly_BLAKE2s"]);
        assert_eq!(hex(&ck), "60e26daef327efc02ec335e2a025d2d016eb4206f87277f52d38d1988b78cd36");
        let h = hash(&[&ck, b"WireGuard v1 zx2c4 Jason@zx2c4.com"]);
        assert_eq!(hex(&h), "2211b361081ac566691243db458ad5322d9c6c662293e8b70ee19c65ba079ef3");
    }

    /// First keyed vector of the BLAKE2 test suite has a 32-byte digest; here only that all inputs matter.
    #[test]
    fn macs_differ() {
        let a = mac(&[1; 32], &[b"x"]).expect("mac");
        assert_ne!(a, mac(&[2; 32], &[b"x"]).expect("mac"));
        assert_ne!(a, mac(&[1; 16], &[b"x"]).expect("mac"));
        assert_ne!(a, mac(&[1; 32], &[b"y"]).expect("mac"));
        assert_eq!(mac(&[0; 33], &[]), None);
    }

    #[test]
    fn kdf_is_a_prefix_family() {
        let [a] = kdf::<1>(&[7; 32], b"in");
        let [b, c] = kdf::<2>(&[7; 32], b"in");
        let [d, e, f] = kdf::<3>(&[7; 32], b"in");
        assert!(*a == *b && *b == *d && *c == *e && *e != *f);
    }
}
