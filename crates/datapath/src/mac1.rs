//! mac1: whether a handshake message was made by somebody who knows our key (WireGuard paper §5.4.4).
//!
//! Owns: the check, and the hash and the keyed MAC that it and the handshakes need.
//! Leaves out: mac2 and cookies, which belong to the slow path.

use crate::kind::Kind;
use blake2::digest::consts::U16;
use blake2::digest::{KeyInit, Mac};
use blake2::{Blake2s256, Blake2sMac, Digest};
use keys::NodePublic;
use subtle::ConstantTimeEq;

/// What the key of mac1 is derived with.
pub const MAC1_LABEL: &[u8] = b"mac1----";

/// BLAKE2s-256 of the parts, one after the other.
pub fn hash(parts: &[&[u8]]) -> [u8; 32] {
    let mut state = Blake2s256::new();
    for part in parts {
        Digest::update(&mut state, part);
    }
    state.finalize().into()
}

/// The 16-byte keyed MAC; `None` if the key is longer than 32 bytes, which no caller's is.
pub fn mac(key: &[u8], parts: &[&[u8]]) -> Option<[u8; 16]> {
    let mut state = <Blake2sMac<U16> as KeyInit>::new_from_slice(key).ok()?;
    for part in parts {
        Mac::update(&mut state, part);
    }
    Some(state.finalize().into_bytes().into())
}

/// A message split at its two MACs.
pub struct Split<'a> {
    /// What mac1 is of.
    pub body: &'a [u8],
    /// The first.
    pub mac1: &'a [u8; 16],
    /// The second.
    pub mac2: &'a [u8; 16],
}

/// Splits a message; `None` if it is too short to have MACs.
pub fn split(bytes: &[u8]) -> Option<Split<'_>> {
    let (rest, mac2) = bytes.split_last_chunk::<16>()?;
    let (body, mac1) = rest.split_last_chunk::<16>()?;
    Some(Split { body, mac1, mac2 })
}

/// Tells cheaply whether a handshake message was made by somebody who knows our public key. One hash block a
/// check, no state: made for the receiving packet line, which asks before it queues anything.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Mac1Check {
    key: [u8; 32],
}

impl Mac1Check {
    /// The check for messages to `public`.
    pub fn new(public: &NodePublic) -> Self {
        Self { key: hash(&[MAC1_LABEL, public.as_bytes()]) }
    }

    /// True for an initiation or response whose mac1 is right, and for every cookie reply (those have no mac1; they
    /// are found genuine or not only by the handshake that they answer). False for all else.
    pub fn ok(&self, bytes: &[u8]) -> bool {
        match Kind::of(bytes) {
            Some(Kind::CookieReply) => true,
            Some(Kind::Initiation | Kind::Response) => split(bytes).is_some_and(|m| {
                mac(&self.key, &[m.body]).is_some_and(|right| bool::from(right.ct_eq(m.mac1)))
            }),
            Some(Kind::Data) | None => false,
        }
    }
}

/// [`Mac1Check::ok`] for a single message.
pub fn mac1_ok(our_public: &NodePublic, bytes: &[u8]) -> bool {
    Mac1Check::new(our_public).ok(bytes)
}
