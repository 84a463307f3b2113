//! NaCl boxes: what one key seals for another, and nobody else opens (protocol reference §2.2, §3.1).
//!
//! Owns: the box between two keys. Leaves out: nonces, which the caller chooses and never uses twice, and what is
//! around the bytes.

use crypto_secretbox::aead::{AeadInPlace as _, KeyInit as _};
use crypto_secretbox::{Tag, XSalsa20Poly1305};
use salsa20::cipher::consts::U10;
use std::fmt;
use zeroize::Zeroizing;

/// Bytes of a nonce.
pub const NONCE: usize = 24;
/// Bytes of the tag that a box has besides its text.
pub const TAG: usize = 16;

/// The box between a private key and another's public key: X25519, HSalsa20, XSalsa20 and Poly1305.
pub struct NaclBox(XSalsa20Poly1305);

impl NaclBox {
    /// Works the box out: a key exchange.
    pub(crate) fn new(own: &[u8; 32], other: &[u8; 32]) -> Self {
        let shared = Zeroizing::new(x25519_dalek::x25519(*own, *other));
        let mut key = salsa20::hsalsa::<U10>((&*shared).into(), &[0; 16].into());
        let made = Self(XSalsa20Poly1305::new(&key));
        zeroize::Zeroize::zeroize(key.as_mut_slice());
        made
    }

    /// Seals `text` where it stands and returns its tag; `None` if it has gigabytes.
    pub fn seal(&self, nonce: &[u8; NONCE], text: &mut [u8]) -> Option<[u8; TAG]> {
        self.0.encrypt_in_place_detached(nonce.into(), &[], text).ok().map(Into::into)
    }

    /// Opens `text` where it stands; false if it was not sealed for us by the other one. What stands there then is
    /// not to be used.
    #[must_use]
    pub fn open(&self, nonce: &[u8; NONCE], text: &mut [u8], tag: &[u8; TAG]) -> bool {
        self.0.decrypt_in_place_detached(nonce.into(), &[], text, Tag::from_slice(tag)).is_ok()
    }
}

impl fmt::Debug for NaclBox {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("NaclBox(redacted)")
    }
}

#[cfg(test)]
mod tests {
    use crate::{DiscoPrivate, NodePrivate};

    /// What another implementation of the same box makes of the same bytes.
    #[test]
    fn as_others_seal_it() {
        use crypto_box::aead::Aead as _;
        let ours = NodePrivate::from_bytes(std::array::from_fn(|n| n as u8 + 1));
        let theirs = NodePrivate::from_bytes(std::array::from_fn(|n| n as u8 + 33));
        let other = crypto_box::SalsaBox::new(
            &crypto_box::PublicKey::from(*ours.public().as_bytes()),
            &crypto_box::SecretKey::from(*theirs.as_bytes()),
        );
        let mut text = *b"hello";
        let tag = ours.nacl_box(&theirs.public()).seal(&[7; 24], &mut text).expect("short");
        let sealed = [&tag[..], &text].concat();
        assert_eq!(other.decrypt(&[7; 24].into(), &sealed[..]).expect("opens"), b"hello");
        assert_eq!(other.encrypt(&[7; 24].into(), &b"hello"[..]).expect("seals"), sealed);
    }

    #[test]
    fn opens_for_the_other_only() {
        let of = |n| DiscoPrivate::from_bytes([n; 32]);
        let mut sealed = *b"text";
        let tag = of(1).nacl_box(&of(2).public()).seal(&[3; 24], &mut sealed).expect("short");
        let opened = |own: u8, from: u8, nonce: u8, mut text: [u8; 4]| {
            let fine = of(own).nacl_box(&of(from).public()).open(&[nonce; 24], &mut text, &tag);
            fine.then_some(text)
        };
        assert_eq!(opened(2, 1, 3, sealed), Some(*b"text"));
        assert_eq!(opened(2, 3, 3, sealed), None);
        assert_eq!(opened(3, 1, 3, sealed), None);
        assert_eq!(opened(2, 1, 4, sealed), None);
        assert_eq!(opened(2, 1, 3, [0; 4]), None);
        assert_eq!(format!("{:?}", of(1).nacl_box(&of(2).public())), "NaclBox(redacted)");
    }
}
