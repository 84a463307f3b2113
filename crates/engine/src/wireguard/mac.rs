//! mac1, mac2 and cookies (WireGuard paper §5.3, §5.4.4, §5.4.7).
//!
//! Owns: both MACs of outgoing messages, the check of the second one, the secret that makes our cookies.
//! Leaves out: the check of the first one, which the packet lines make ([`crate::mac1`]); when we are under load
//! ([`super::limit`]) and what becomes of a refused message.

use super::hash::{hash, mac};
use super::message::CookieReply;
use super::timers::COOKIE_LIFE;
use crate::mac1::{MAC1_LABEL, split};
use crate::source::Source;
use crate::time::Mono;
use chacha20poly1305::aead::AeadInPlace;
use chacha20poly1305::{KeyInit, XChaCha20Poly1305};
use keys::NodePublic;
use rand_core::RngCore;
use std::net::SocketAddr;
use subtle::ConstantTimeEq;
use zeroize::Zeroize;

pub(super) const COOKIE_LABEL: &[u8] = b"cookie--";

/// Writes both MACs into a message to `peer`, mac2 only with a cookie from the peer. Returns mac1, which the peer's
/// cookie reply would be bound to; `None` if the message is too short to be one.
pub(super) fn sign(message: &mut [u8], peer: &NodePublic, cookie: Option<&[u8; 16]>) -> Option<[u8; 16]> {
    let (rest, mac2) = message.split_last_chunk_mut::<16>()?;
    let (body, mac1) = rest.split_last_chunk_mut::<16>()?;
    *mac1 = mac(&hash(&[MAC1_LABEL, peer.as_bytes()]), &[body])?;
    let mac1 = *mac1;
    *mac2 = match cookie {
        Some(cookie) => mac(cookie, &[body, &mac1])?,
        None => [0; 16],
    };
    Some(mac1)
}

/// The bytes that a cookie binds. Nodes behind a relay share its address, so there the key stands for it.
fn cookie_bytes(from: &Source) -> ([u8; 34], usize) {
    let mut out = [0; 34];
    let (port, body): (u16, &[u8]) = match from {
        Source::Derp { peer, .. } => (0, peer.as_bytes()),
        Source::Udp(SocketAddr::V4(at)) => (at.port(), &at.ip().octets()),
        Source::Udp(SocketAddr::V6(at)) => (at.port(), &at.ip().octets()),
    };
    let (head, tail) = out.split_at_mut(2);
    head.copy_from_slice(&port.to_be_bytes());
    for (to, from) in tail.iter_mut().zip(body) {
        *to = *from;
    }
    (out, 2 + body.len())
}

/// Makes and checks the cookies that we hand out. They are computed, not stored: a flood costs no memory.
pub(super) struct Bakery {
    secret: [u8; 32],
    /// When the secret was made; `None` before the first use.
    since: Option<Mono>,
}

impl Bakery {
    pub(super) const fn new() -> Self {
        Self { secret: [0; 32], since: None }
    }

    fn cookie(&mut self, from: &Source, now: Mono, rng: &mut impl RngCore) -> Option<[u8; 16]> {
        if self.since.is_none_or(|since| now.since(since) >= COOKIE_LIFE) {
            rng.fill_bytes(&mut self.secret);
            self.since = Some(now);
        }
        let (bytes, len) = cookie_bytes(from);
        mac(&self.secret, &[bytes.get(..len)?])
    }

    /// True if the message carries a mac2 made with the cookie of its source.
    pub(super) fn mac2_ok(
        &mut self,
        message: &[u8],
        from: &Source,
        now: Mono,
        rng: &mut impl RngCore,
    ) -> bool {
        let Some(cookie) = self.cookie(from, now, rng) else { return false };
        split(message).is_some_and(|m| {
            mac(&cookie, &[m.body, m.mac1]).is_some_and(|right| bool::from(right.ct_eq(m.mac2)))
        })
    }

    /// The answer to `message` (whose sender's index is `receiver`): a cookie for its source, sealed so that only
    /// somebody who saw the message can read it.
    pub(super) fn reply(
        &mut self,
        message: &[u8],
        receiver: u32,
        from: &Source,
        cookie_key: &[u8; 32],
        now: Mono,
        rng: &mut impl RngCore,
    ) -> Option<CookieReply> {
        let cookie = self.cookie(from, now, rng)?;
        let mut nonce = [0; 24];
        rng.fill_bytes(&mut nonce);
        let mut sealed_cookie = [0; 32];
        let (body, end) = sealed_cookie.split_at_mut(16);
        body.copy_from_slice(&cookie);
        let cipher = XChaCha20Poly1305::new(cookie_key.into());
        let tag = cipher.encrypt_in_place_detached((&nonce).into(), split(message)?.mac1, body).ok()?;
        end.copy_from_slice(&tag);
        Some(CookieReply { receiver, nonce, sealed_cookie })
    }
}

impl Drop for Bakery {
    fn drop(&mut self) {
        self.secret.zeroize();
    }
}

/// The cookie in a reply from `peer` to the message of ours that had `mac1`; `None` if the reply is not genuine.
pub(super) fn open_cookie(peer: &NodePublic, reply: &CookieReply, mac1: &[u8; 16]) -> Option<[u8; 16]> {
    let key = hash(&[COOKIE_LABEL, peer.as_bytes()]);
    let (cookie, tag) = reply.sealed_cookie.split_first_chunk::<16>()?;
    let tag: &[u8; 16] = tag.first_chunk()?;
    let mut cookie = *cookie;
    XChaCha20Poly1305::new((&key).into())
        .decrypt_in_place_detached((&reply.nonce).into(), mac1, &mut cookie, tag.into())
        .ok()?;
    Some(cookie)
}

#[cfg(test)]
mod tests {
    use super::super::identity::Identity;
    use super::super::message::{Initiation, RESPONSE_SIZE};
    use super::*;
    use crate::mac1::mac1_ok;
    use keys::NodePrivate;
    use rand_chacha::ChaCha20Rng;
    use rand_core::SeedableRng;

    fn message() -> [u8; 148] {
        let mut m = Initiation {
            sender: 7,
            ephemeral: [3; 32],
            sealed_static: [4; 48],
            sealed_stamp: [5; 28],
            mac1: [0; 16],
            mac2: [0; 16],
        };
        m.ephemeral[0] = 9;
        m.encode()
    }

    fn at(port: u16) -> Source {
        Source::Udp(([192, 0, 2, 1], port).into())
    }

    #[test]
    fn mac1_names_the_responder() {
        let us = NodePrivate::from_bytes([0x48; 32]).public();
        let other = NodePrivate::from_bytes([0x50; 32]).public();
        let mut m = message();
        assert!(!mac1_ok(&us, &m));
        sign(&mut m, &us, None);
        assert!(mac1_ok(&us, &m));
        assert!(!mac1_ok(&other, &m));
        assert_eq!(m[132..], [0; 16]);
        for i in 4..132 {
            let mut bad = m;
            bad[i] ^= 1;
            assert!(!mac1_ok(&us, &bad), "byte {i}");
        }
        assert!(!mac1_ok(&us, &m[..RESPONSE_SIZE]));
        assert!(!mac1_ok(&us, &[]));
    }

    #[test]
    fn a_cookie_goes_round() {
        let us = Identity::new(&NodePrivate::from_bytes([0x48; 32]));
        let mut rng = ChaCha20Rng::from_seed([2; 32]);
        let mut bakery = Bakery::new();
        let mut m = message();
        let mac1 = sign(&mut m, &us.public, None).expect("long enough");
        let t = Mono::from_millis(1000);
        assert!(!bakery.mac2_ok(&m, &at(1), t, &mut rng));
        let reply = bakery.reply(&m, 7, &at(1), &us.cookie_key, t, &mut rng).expect("reply");
        assert_eq!(open_cookie(&us.public, &reply, &[0; 16]), None, "bound to mac1");
        let cookie = open_cookie(&us.public, &reply, &mac1).expect("genuine");
        let mut forged = reply;
        forged.sealed_cookie[31] ^= 1;
        assert_eq!(open_cookie(&us.public, &forged, &mac1), None);

        sign(&mut m, &us.public, Some(&cookie));
        assert!(mac1_ok(&us.public, &m));
        assert!(bakery.mac2_ok(&m, &at(1), t, &mut rng));
        assert!(!bakery.mac2_ok(&m, &at(2), t, &mut rng), "another port");
        let relayed = Source::Derp { region: 1, peer: us.public };
        assert!(!bakery.mac2_ok(&m, &relayed, t, &mut rng));
        assert!(bakery.mac2_ok(&m, &at(1), Mono::from_millis(120_999), &mut rng));
        assert!(!bakery.mac2_ok(&m, &at(1), Mono::from_millis(121_000), &mut rng), "secret rotated");
    }
}
