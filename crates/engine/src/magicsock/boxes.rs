//! The boxes that disco messages travel in (protocol reference §3.1): magic, the sender's disco key, a nonce, and a NaCl
//! box between the two disco keys.
//!
//! Owns: our own disco key, opening and sealing, what a key exchange costs. Leaves out: who is known by which key.

use super::disco::Message;
use crate::lines::demux::{DISCO_MAGIC, DISCO_SHORTEST};
use crate::time::Mono;
use keys::nacl::{NONCE, TAG};
use keys::{DiscoPrivate, DiscoPublic, NaclBox};
use rand_core::RngCore;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

const KEY: usize = 32;

/// Bytes that no two messages have in common: the sender's key and a nonce, behind what all have.
pub const HEAD: usize = DISCO_MAGIC.len() + KEY + NONCE;

/// Bytes around a message.
pub const OVERHEAD: usize = DISCO_SHORTEST;

/// Boxes kept for senders who have no state of their own here: those whose pings we only answer.
const KEPT: usize = 32;

/// Key exchanges for senders of whom nothing has been opened yet, at once and per second: one takes some milliseconds on
/// a small machine, and anybody who has seen a peer's disco key can ask for one.
const EXCHANGES: u32 = 20;

/// The box between our disco key and one other.
#[derive(Clone)]
pub struct SealedBox(Arc<NaclBox>);

impl fmt::Debug for SealedBox {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SealedBox(redacted)")
    }
}

impl SealedBox {
    /// Works the box out: a key exchange.
    pub fn new(own: &DiscoPrivate, other: &DiscoPublic) -> Self {
        Self(Arc::new(own.nacl_box(other)))
    }

    /// A whole datagram; `own` is our public key.
    pub fn seal(&self, own: &DiscoPublic, message: &Message, rng: &mut dyn RngCore) -> Box<[u8]> {
        let mut nonce = [0; NONCE];
        rng.fill_bytes(&mut nonce);
        self.seal_with(own, message, nonce)
    }

    fn seal_with(&self, own: &DiscoPublic, message: &Message, nonce: [u8; NONCE]) -> Box<[u8]> {
        let mut text = message.encode();
        let Some(tag) = self.0.seal(&nonce, &mut text) else { return Box::default() };
        [&DISCO_MAGIC[..], own.as_bytes(), &nonce, &tag, &text].concat().into()
    }

    /// The message in a datagram; `None`: not meant for us, not from whom it says, or nothing we know.
    pub fn open(&self, datagram: &[u8]) -> Result<Option<Message>, NotOpened> {
        let (nonce, rest) = datagram
            .get(DISCO_MAGIC.len() + KEY..)
            .and_then(<[u8]>::split_first_chunk::<NONCE>)
            .ok_or(NotOpened)?;
        let (tag, sealed) = rest.split_first_chunk::<TAG>().ok_or(NotOpened)?;
        let mut text = sealed.to_vec();
        if !self.0.open(nonce, &mut text, tag) {
            return Err(NotOpened);
        }
        Ok(Message::parse(&text))
    }
}

/// A box that is not for us, or not from whom it says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NotOpened;

/// Who claims to have sent a datagram.
pub fn sender(datagram: &[u8]) -> Option<DiscoPublic> {
    if datagram.len() < OVERHEAD {
        return None;
    }
    datagram.get(DISCO_MAGIC.len()..)?.first_chunk().map(|key| DiscoPublic::from_bytes(*key))
}

/// Our own key, and the boxes of senders who have no state here.
#[derive(Debug, Default)]
pub struct Keyring {
    own: DiscoPrivate,
    public: DiscoPublic,
    kept: Vec<(DiscoPublic, SealedBox)>,
    /// The next of `kept` to go.
    oldest: usize,
    /// Exchanges done since a moment.
    done: (Mono, u32),
}

impl Keyring {
    /// With our own key; zero = there is no disco.
    pub fn new(own: &DiscoPrivate) -> Self {
        Self { own: own.clone(), public: own.public(), ..Self::default() }
    }

    /// Our public key; zero = there is no disco.
    pub const fn public(&self) -> &DiscoPublic {
        &self.public
    }

    /// Forgets the box of a key.
    pub fn forget(&mut self, key: &DiscoPublic) {
        self.kept.retain(|(kept, _)| kept != key);
    }

    /// The box of a peer whom we mean to talk to.
    pub fn with(&self, key: &DiscoPublic) -> SealedBox {
        self.kept
            .iter()
            .find(|(kept, _)| kept == key)
            .map_or_else(|| SealedBox::new(&self.own, key), |(_, kept)| kept.clone())
    }

    /// The box of a sender who is a peer; `None` when too many have asked.
    pub fn of_sender(&mut self, key: &DiscoPublic, now: Mono) -> Option<SealedBox> {
        if let Some((_, kept)) = self.kept.iter().find(|(kept, _)| kept == key) {
            return Some(kept.clone());
        }
        if now.since(self.done.0) >= Duration::from_secs(1) {
            self.done = (now, 0);
        }
        if self.done.1 >= EXCHANGES {
            return None;
        }
        self.done.1 += 1;
        let made = SealedBox::new(&self.own, key);
        if self.kept.len() < KEPT {
            self.kept.push((*key, made.clone()));
        } else {
            let at = self.oldest % KEPT;
            self.oldest = at + 1;
            if let Some(place) = self.kept.get_mut(at) {
                *place = (*key, made.clone());
            }
        }
        Some(made)
    }
}

#[cfg(test)]
mod tests {
    use super::super::disco::TxId;
    use super::*;
    use keys::NodePublic;
    use rand_chacha::ChaCha8Rng;
    use rand_core::SeedableRng as _;

    fn keys() -> (DiscoPrivate, DiscoPrivate) {
        (
            DiscoPrivate::from_bytes(std::array::from_fn(|n| n as u8 + 1)),
            DiscoPrivate::from_bytes(std::array::from_fn(|n| n as u8 + 33)),
        )
    }

    /// The vector of the protocol reference, §14.
    #[test]
    fn golden_ping() {
        let (ours, theirs) = keys();
        let ping = Message::Ping {
            tx: TxId(std::array::from_fn(|n| n as u8)),
            node: NodePublic::from_bytes(std::array::from_fn(|n| n as u8 + 0xa0)),
            padding: 0,
        };
        let nonce = std::array::from_fn(|n| n as u8 + 0x80);
        let sealed = SealedBox::new(&ours, &theirs.public()).seal_with(&ours.public(), &ping, nonce);
        let hex: String = sealed.iter().map(|byte| format!("{byte:02x}")).collect();
        let wanted = concat!(
            "5453f09f92ac07a37cbc142093c8b755dc1b10e86cb426374ad16aa853ed0bdfc0b2b86d1c7c",
            "808182838485868788898a8b8c8d8e8f9091929394959697",
            "d779dd601b269fc798f73b48371ba71be9788fc49d592e78b124ae907746b928",
            "77d3b12cfcf52780e715bddabe063ac7590f5eebbb20feaa258684baf225",
        );
        assert_eq!(hex, wanted);
        assert_eq!(sender(&sealed), Some(ours.public()));
        assert_eq!(SealedBox::new(&theirs, &ours.public()).open(&sealed), Ok(Some(ping)));
    }

    #[test]
    fn what_was_changed_does_not_open() {
        let (ours, theirs) = keys();
        let mut rng = ChaCha8Rng::seed_from_u64(1);
        let message = Message::CallMeMaybe(vec![([1, 2, 3, 4], 5).into()]);
        let sealed = SealedBox::new(&ours, &theirs.public()).seal(&ours.public(), &message, &mut rng);
        let opens = SealedBox::new(&theirs, &ours.public());
        for at in 38..sealed.len() {
            let mut changed = sealed.clone();
            changed[at] ^= 1;
            assert_eq!(opens.open(&changed), Err(NotOpened), "byte {at}");
        }
        for len in 0..sealed.len() {
            assert_eq!(opens.open(&sealed[..len]), Err(NotOpened), "{len} bytes");
        }
        assert_eq!(sender(&sealed[..OVERHEAD - 1]), None);
        let again = SealedBox::new(&ours, &theirs.public()).seal(&ours.public(), &message, &mut rng);
        assert_ne!(sealed, again, "no nonce twice");
    }

    #[test]
    fn key_exchanges_for_strangers_are_few() {
        let mut ring = Keyring::new(&keys().0);
        let key = |n: u8| DiscoPublic::from_bytes([n; 32]);
        let made =
            |ring: &mut Keyring, at| (0..99).filter(|n| ring.of_sender(&key(*n), at).is_some()).count();
        assert_eq!(made(&mut ring, Mono::from_millis(5000)), EXCHANGES as usize);
        // Those are kept and cost nothing.
        assert_eq!(made(&mut ring, Mono::from_millis(5999)), EXCHANGES as usize);
        assert!(made(&mut ring, Mono::from_millis(6000)) >= EXCHANGES as usize);
        assert_eq!(ring.kept.len(), KEPT);
        assert!(!format!("{ring:?}").contains("[1, 1"));
    }
}
