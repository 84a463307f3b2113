//! The network-lock (Tailnet Lock) key pair: ed25519, made once a profile and only announced, not used to sign.

use crate::text::{self, ParseKeyError};
use curve25519_dalek::EdwardsPoint;
use rand_core::CryptoRngCore;
use ring::digest;
use std::fmt;
use zeroize::Zeroize;

/// Public half, written `nlpub:` + 64 hex digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct NlPublic([u8; 32]);

impl NlPublic {
    /// The key that stands for "no key".
    pub const ZERO: Self = Self([0; 32]);

    /// The 32 raw bytes.
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// The prefix and 64 hex digits.
    pub fn to_text(&self) -> String {
        text::format("nlpub:", &self.0)
    }
}

impl std::str::FromStr for NlPublic {
    type Err = ParseKeyError;
    /// Takes the wire form and the form that the command line shows (`tlpub:`).
    fn from_str(s: &str) -> Result<Self, ParseKeyError> {
        text::parse(s, "nlpub:").or_else(|e| text::parse(s, "tlpub:").map_err(|_| e)).map(Self)
    }
}

impl fmt::Debug for NlPublic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.to_text())
    }
}

/// Private half: 32-byte seed and 32-byte public key, written `nlpriv:` + 128 hex digits.
#[derive(Clone, PartialEq, Eq)]
pub struct NlPrivate([u8; 64]);

impl NlPrivate {
    /// The key that stands for "no key".
    pub const fn zero() -> Self {
        Self([0; 64])
    }

    /// A new key from `rng`.
    pub fn generate(rng: &mut impl CryptoRngCore) -> Self {
        let mut out = [0; 64];
        rng.fill_bytes(&mut out[..32]);
        let (seed, public) = out.split_at_mut(32);
        let digest = digest::digest(&digest::SHA512, seed);
        if let Some(scalar) = digest.as_ref().first_chunk() {
            public.copy_from_slice(EdwardsPoint::mul_base_clamped(*scalar).compress().as_bytes());
        }
        Self(out)
    }

    /// True for the key that stands for "no key".
    pub fn is_zero(&self) -> bool {
        self.0 == [0; 64]
    }

    /// The public half.
    pub fn public(&self) -> NlPublic {
        let mut bytes = [0; 32];
        bytes.copy_from_slice(&self.0[32..]);
        NlPublic(bytes)
    }

    /// The prefix and 128 hex digits. Only for the state file.
    pub fn to_text(&self) -> String {
        text::format("nlpriv:", &self.0)
    }
}

impl Default for NlPrivate {
    fn default() -> Self {
        Self::zero()
    }
}

impl std::str::FromStr for NlPrivate {
    type Err = ParseKeyError;
    fn from_str(s: &str) -> Result<Self, ParseKeyError> {
        text::parse(s, "nlpriv:").map(Self)
    }
}

impl fmt::Debug for NlPrivate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("NlPrivate(redacted)")
    }
}

impl Drop for NlPrivate {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seed_and_public_half() {
        let key = NlPrivate::generate(&mut rand_core::OsRng);
        assert_eq!(key.to_text().len(), "nlpriv:".len() + 128);
        assert_eq!(key.to_text().parse::<NlPrivate>(), Ok(key.clone()));
        assert!(key.public().to_text().ends_with(&key.to_text()[7 + 64..]));
        assert_eq!(format!("{key:?}"), "NlPrivate(redacted)");
        assert!(NlPrivate::zero().is_zero());
    }

    #[test]
    fn public_half_as_others_have_it() {
        use ring::signature::{Ed25519KeyPair, KeyPair as _};
        let key = NlPrivate::generate(&mut rand_core::OsRng);
        let pair = Ed25519KeyPair::from_seed_unchecked(&key.0[..32]).expect("a seed");
        assert_eq!(pair.public_key().as_ref(), key.public().as_bytes());
    }

    #[test]
    fn command_line_form() {
        let text = NlPrivate::generate(&mut rand_core::OsRng).public().to_text();
        assert_eq!(text.replace("nlpub:", "tlpub:").parse::<NlPublic>(), text.parse());
    }
}
