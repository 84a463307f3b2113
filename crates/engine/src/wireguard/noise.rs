//! The handshake itself as pure functions: `Noise_IKpsk2` with an all-zero preshared key (WireGuard paper §5.4).
//!
//! Owns: chaining key, transcript hash, the four DH results of each side. Leaves out: indices, timestamps' meaning,
//! MACs, state of peers. `None` everywhere means that the other side's bytes are not what they claim to be.

use super::hash::{Secret, hash, kdf};
use super::identity::Identity;
use super::message::{Initiation, Response};
use super::stamp::Stamp;
use keys::{NodePrivate, NodePublic};
use ring::aead::{Aad, CHACHA20_POLY1305, LessSafeKey, Nonce, UnboundKey};
use zeroize::Zeroize;

const CONSTRUCTION: &[u8] = b"Noise_IKpsk2_25519_ChaChaPoly_BLAKE2s";
const IDENTIFIER: &[u8] = b"WireGuard v1 zx2c4 Jason@zx2c4.com";

/// The two keys that a handshake ends with, named by direction.
pub(super) struct Keys {
    pub(super) from_initiator: Secret,
    pub(super) from_responder: Secret,
}

/// Chaining key and transcript hash.
#[derive(Clone)]
struct Chain {
    key: Secret,
    hash: [u8; 32],
}

impl Drop for Chain {
    fn drop(&mut self) {
        self.hash.zeroize();
    }
}

/// A cipher for one key; every handshake key seals one message under nonce zero.
fn cipher(key: &Secret) -> Option<LessSafeKey> {
    UnboundKey::new(&CHACHA20_POLY1305, &**key).ok().map(LessSafeKey::new)
}

fn nonce() -> Nonce {
    Nonce::assume_unique_for_key([0; 12])
}

impl Chain {
    fn start(responder: &NodePublic) -> Self {
        let key = hash(&[CONSTRUCTION]);
        let start = hash(&[&key, IDENTIFIER]);
        Self { key: Secret::new(key), hash: hash(&[&start, responder.as_bytes()]) }
    }

    fn mix_hash(&mut self, bytes: &[u8]) {
        self.hash = hash(&[&self.hash, bytes]);
    }

    fn mix_key(&mut self, input: &[u8]) {
        let [key] = kdf(&self.key, input);
        self.key = key;
    }

    fn mix_key_and_draw(&mut self, input: &[u8]) -> Secret {
        let [key, drawn] = kdf(&self.key, input);
        self.key = key;
        drawn
    }

    /// Mixes the all-zero preshared key.
    fn mix_preshared(&mut self) -> Secret {
        let [key, tau, drawn] = kdf(&self.key, &[0; 32]);
        self.key = key;
        self.mix_hash(&*tau);
        drawn
    }

    /// Seals `plain`, whose tag brings it to `M` bytes.
    fn seal<const M: usize>(&mut self, key: &Secret, plain: &[u8]) -> Option<[u8; M]> {
        let mut out = [0; M];
        let (body, end) = out.split_at_mut_checked(plain.len())?;
        body.copy_from_slice(plain);
        let tag = cipher(key)?.seal_in_place_separate_tag(nonce(), Aad::from(&self.hash), body).ok()?;
        if end.len() != tag.as_ref().len() {
            return None;
        }
        end.copy_from_slice(tag.as_ref());
        self.mix_hash(&out);
        Some(out)
    }

    /// Opens `sealed`, which is `N` bytes without its tag.
    fn open<const N: usize>(&mut self, key: &Secret, sealed: &[u8]) -> Option<[u8; N]> {
        // The longest sealed field of a handshake is a public key and its tag.
        let mut buffer = [0; 48];
        let buffer = buffer.get_mut(..sealed.len())?;
        buffer.copy_from_slice(sealed);
        let plain = cipher(key)?.open_in_place(nonce(), Aad::from(&self.hash), buffer).ok()?;
        let plain = <[u8; N]>::try_from(&*plain).ok()?;
        self.mix_hash(sealed);
        Some(plain)
    }

    fn split(self) -> Keys {
        let [from_initiator, from_responder] = kdf(&self.key, &[]);
        Keys { from_initiator, from_responder }
    }
}

/// What the initiator keeps until the response comes.
pub(super) struct Waiting {
    chain: Chain,
    ephemeral: NodePrivate,
}

/// The first message, without MACs, from `own` to `peer`; `shared` is their static-static secret.
pub(super) fn initiate(
    own: &Identity,
    peer: &NodePublic,
    shared: &Secret,
    ephemeral: NodePrivate,
    sender: u32,
    stamp: &Stamp,
) -> Option<(Waiting, Initiation)> {
    let mut chain = Chain::start(peer);
    let public = *ephemeral.public().as_bytes();
    chain.mix_key(&public);
    chain.mix_hash(&public);
    let key = chain.mix_key_and_draw(&*Secret::new(ephemeral.agree(peer.as_bytes())?));
    let sealed_static = chain.seal(&key, own.public.as_bytes())?;
    let key = chain.mix_key_and_draw(&**shared);
    let sealed_stamp = chain.seal(&key, stamp)?;
    let message =
        Initiation { sender, ephemeral: public, sealed_static, sealed_stamp, mac1: [0; 16], mac2: [0; 16] };
    Some((Waiting { chain, ephemeral }, message))
}

/// An initiation whose sender has named itself, but not yet proved it.
pub(super) struct Opened {
    chain: Chain,
    ephemeral: [u8; 32],
    /// Who it claims to be from.
    pub(super) peer: NodePublic,
}

/// Finds out whom an initiation claims to be from. One DH.
pub(super) fn open_static(own: &Identity, message: &Initiation) -> Option<Opened> {
    let mut chain = Chain::start(&own.public);
    chain.mix_key(&message.ephemeral);
    chain.mix_hash(&message.ephemeral);
    let key = chain.mix_key_and_draw(&*Secret::new(own.private.agree(&message.ephemeral)?));
    let peer = NodePublic::from_bytes(chain.open(&key, &message.sealed_static)?);
    Some(Opened { chain, ephemeral: message.ephemeral, peer })
}

impl Opened {
    /// The timestamp; that it opens proves that the sender has the private key of `self.peer` (or is a replay).
    pub(super) fn open_stamp(&mut self, shared: &Secret, message: &Initiation) -> Option<Stamp> {
        let key = self.chain.mix_key_and_draw(&**shared);
        self.chain.open(&key, &message.sealed_stamp)
    }

    /// The second message, without MACs, and the keys.
    pub(super) fn respond(
        mut self,
        ephemeral: &NodePrivate,
        sender: u32,
        receiver: u32,
    ) -> Option<(Response, Keys)> {
        let public = *ephemeral.public().as_bytes();
        self.chain.mix_key(&public);
        self.chain.mix_hash(&public);
        self.chain.mix_key(&*Secret::new(ephemeral.agree(&self.ephemeral)?));
        self.chain.mix_key(&*Secret::new(ephemeral.agree(self.peer.as_bytes())?));
        let key = self.chain.mix_preshared();
        let sealed_nothing = self.chain.seal(&key, &[])?;
        let message =
            Response { sender, receiver, ephemeral: public, sealed_nothing, mac1: [0; 16], mac2: [0; 16] };
        Some((message, self.chain.split()))
    }
}

impl Waiting {
    /// Checks the response. A forged one changes nothing: the genuine one may still come.
    pub(super) fn finish(&self, own: &Identity, message: &Response) -> Option<Keys> {
        let mut chain = self.chain.clone();
        chain.mix_key(&message.ephemeral);
        chain.mix_hash(&message.ephemeral);
        chain.mix_key(&*Secret::new(self.ephemeral.agree(&message.ephemeral)?));
        chain.mix_key(&*Secret::new(own.private.agree(&message.ephemeral)?));
        let key = chain.mix_preshared();
        let [] = chain.open::<0>(&key, &message.sealed_nothing)?;
        Some(chain.split())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(fill: u8) -> NodePrivate {
        NodePrivate::from_bytes([fill; 32])
    }

    struct Both {
        a: Identity,
        b: Identity,
        shared: Secret,
    }

    fn both() -> Both {
        let (a, b) = (Identity::new(&key(0x48)), Identity::new(&key(0x50)));
        let shared = a.shared(&b.public).expect("good key");
        Both { a, b, shared }
    }

    #[test]
    fn both_sides_agree() {
        let Both { a, b, shared } = both();
        let stamp = [9; 12];
        let (waiting, first) = initiate(&a, &b.public, &shared, key(0x58), 11, &stamp).expect("initiate");
        let mut opened = open_static(&b, &first).expect("static");
        assert_eq!(opened.peer, a.public);
        let shared_b = b.shared(&opened.peer).expect("good key");
        assert_eq!(opened.open_stamp(&shared_b, &first), Some(stamp));
        let (second, keys_b) = opened.respond(&key(0x60), 22, first.sender).expect("respond");
        assert_eq!((second.sender, second.receiver), (22, 11));

        let mut forged = second.clone();
        forged.sealed_nothing[0] ^= 1;
        assert!(waiting.finish(&a, &forged).is_none());
        let mut forged = second.clone();
        forged.ephemeral = [0; 32];
        assert!(waiting.finish(&a, &forged).is_none(), "small order");
        let keys_a = waiting.finish(&a, &second).expect("finish");
        assert_eq!(*keys_a.from_initiator, *keys_b.from_initiator);
        assert_eq!(*keys_a.from_responder, *keys_b.from_responder);
        assert_ne!(*keys_a.from_initiator, *keys_a.from_responder);
    }

    #[test]
    fn wrong_receivers_and_changed_bytes() {
        let Both { a, b, shared } = both();
        let (_, first) = initiate(&a, &b.public, &shared, key(0x58), 11, &[9; 12]).expect("initiate");
        assert!(open_static(&Identity::new(&key(0x68)), &first).is_none());
        let mut bad = first.clone();
        bad.sealed_static[5] ^= 1;
        assert!(open_static(&b, &bad).is_none());
        let mut bad = first.clone();
        bad.ephemeral = [0; 32];
        assert!(open_static(&b, &bad).is_none(), "small order");
        let mut bad = first;
        bad.sealed_stamp[5] ^= 1;
        let mut opened = open_static(&b, &bad).expect("static is whole");
        assert!(opened.open_stamp(&shared, &bad).is_none());
    }

    #[test]
    fn small_order_peer() {
        let Both { a, shared, .. } = both();
        assert!(a.shared(&NodePublic::ZERO).is_none());
        assert!(initiate(&a, &NodePublic::ZERO, &shared, key(1), 1, &[0; 12]).is_none());
    }
}
