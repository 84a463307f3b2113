//! The initiator's half of the handshake: pure, randomness is an argument (protocol reference §1.4).

use super::hash::{Block, hash, hkdf2};
use crate::Error;
use keys::{MachinePrivate, MachinePublic};
use ring::aead::{Aad, CHACHA20_POLY1305, LessSafeKey, Nonce, UnboundKey};
use zeroize::{Zeroize, Zeroizing};

/// Hashed, because it is longer than a digest.
const PROTOCOL: &[u8] = b"Noise_IK_25519_ChaChaPoly_BLAKE2s";

/// Length of the initiation with its header.
pub(crate) const INITIATION_LEN: usize = 101;
/// Length of the body of a response.
pub(super) const RESPONSE_BODY: usize = 48;

pub(super) const MSG_INITIATION: u8 = 1;
pub(super) const MSG_RESPONSE: u8 = 2;
pub(super) const MSG_ERROR: u8 = 3;
pub(super) const MSG_RECORD: u8 = 4;

/// Length of a Poly1305 tag.
pub(super) const TAG: usize = 16;

/// One cipher key for each direction.
pub(crate) struct SessionKeys {
    pub(super) send: Zeroizing<Block>,
    pub(super) receive: Zeroizing<Block>,
}

/// The running hash and chaining key of a handshake.
pub(super) struct Symmetric {
    h: Block,
    ck: Block,
}

impl Symmetric {
    /// The state after protocol name, prologue for `version` and the server's static key.
    pub(super) fn new(version: u16, server: &MachinePublic) -> Self {
        let h = hash(&[PROTOCOL]);
        let mut state = Self { h, ck: h };
        state.mix_hash(format!("Tailscale Control Protocol v{version}").as_bytes());
        state.mix_hash(server.as_bytes());
        state
    }

    pub(super) fn mix_hash(&mut self, data: &[u8]) {
        self.h = hash(&[&self.h, data]);
    }

    /// Mixes in a shared secret; the key it gives is used once, with an all-zero nonce.
    pub(super) fn mix_key(&mut self, mut shared: Block) -> LessSafeKey {
        let (ck, mut k) = hkdf2(&self.ck, &shared);
        self.ck = ck;
        let key = aead(&k);
        k.zeroize();
        shared.zeroize();
        key
    }

    /// Seals `plain` and mixes the ciphertext in.
    pub(super) fn seal(&mut self, key: &LessSafeKey, plain: &[u8]) -> Result<Vec<u8>, Error> {
        let mut out = plain.to_vec();
        key.seal_in_place_append_tag(nonce(0), Aad::from(self.h), &mut out)
            .map_err(|_| Error::Handshake("cannot encrypt"))?;
        self.mix_hash(&out);
        Ok(out)
    }

    /// Opens `cipher` and mixes it in.
    pub(super) fn open(&mut self, key: &LessSafeKey, cipher: &[u8]) -> Result<Vec<u8>, Error> {
        let mut out = cipher.to_vec();
        let len = key
            .open_in_place(nonce(0), Aad::from(self.h), &mut out)
            .map_err(|_| Error::Handshake("the server does not have the key that it published at /key"))?
            .len();
        out.truncate(len);
        self.mix_hash(cipher);
        Ok(out)
    }

    /// The keys of the two directions: initiator to responder first.
    pub(super) fn split(&self) -> (Zeroizing<Block>, Zeroizing<Block>) {
        let (first, second) = hkdf2(&self.ck, &[]);
        (Zeroizing::new(first), Zeroizing::new(second))
    }
}

impl Drop for Symmetric {
    fn drop(&mut self) {
        self.ck.zeroize();
    }
}

/// A handshake whose initiation has been made and whose response is awaited.
pub(crate) struct Initiator {
    state: Symmetric,
    machine: MachinePrivate,
    ephemeral: MachinePrivate,
}

impl Initiator {
    /// Makes the initiation from the machine key to the server's static key. `version` is the capability
    /// version that everything else on this connection declares; `ephemeral` must be fresh.
    pub(crate) fn start(
        version: u16,
        machine: MachinePrivate,
        server: &MachinePublic,
        ephemeral: MachinePrivate,
    ) -> Result<(Self, [u8; INITIATION_LEN]), Error> {
        let mut state = Symmetric::new(version, server);
        let e_public = ephemeral.public();
        state.mix_hash(e_public.as_bytes());
        let key = state.mix_key(agree(&ephemeral, server)?);
        let sealed_machine = state.seal(&key, machine.public().as_bytes())?;
        let key = state.mix_key(agree(&machine, server)?);
        let tag = state.seal(&key, &[])?;

        let mut message = Vec::with_capacity(INITIATION_LEN);
        message.extend(version.to_be_bytes());
        message.push(MSG_INITIATION);
        message.extend(96u16.to_be_bytes());
        message.extend(e_public.as_bytes());
        message.extend(sealed_machine);
        message.extend(tag);
        let message = message.try_into().map_err(|_| Error::Handshake("initiation of a wrong length"))?;
        Ok((Self { state, machine, ephemeral }, message))
    }

    /// Takes the body of the response.
    pub(crate) fn finish(mut self, body: &[u8; RESPONSE_BODY]) -> Result<SessionKeys, Error> {
        let (e_bytes, tag) = body.split_at(32);
        let e_server =
            MachinePublic::from_bytes(e_bytes.try_into().map_err(|_| Error::Handshake("short response"))?);
        self.state.mix_hash(e_server.as_bytes());
        self.state.mix_key(agree(&self.ephemeral, &e_server)?);
        let key = self.state.mix_key(agree(&self.machine, &e_server)?);
        self.state.open(&key, tag)?;
        let (send, receive) = self.state.split();
        Ok(SessionKeys { send, receive })
    }
}

pub(super) fn agree(private: &MachinePrivate, public: &MachinePublic) -> Result<Block, Error> {
    private.agree(public.as_bytes()).ok_or(Error::Handshake("the server's key is a point of small order"))
}

/// A ChaCha20-Poly1305 key.
pub(super) fn aead(key: &Block) -> LessSafeKey {
    match UnboundKey::new(&CHACHA20_POLY1305, key) {
        Ok(key) => LessSafeKey::new(key),
        // Unreachable: ring refuses only keys of another length than 32.
        Err(_) => unreachable!("32-byte key"),
    }
}

/// Nonce number `counter`: four zero bytes, then the counter big-endian (standard Noise has it little-endian).
pub(super) fn nonce(counter: u64) -> Nonce {
    let mut bytes = [0; 12];
    bytes[4..].copy_from_slice(&counter.to_be_bytes());
    Nonce::assume_unique_for_key(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::noise::responder::Responder;

    pub(crate) fn key(first: u8) -> MachinePrivate {
        MachinePrivate::from_bytes(std::array::from_fn(|i| first + i as u8))
    }

    fn hex(bytes: &[u8]) -> String {
        bytes.iter().map(|b| format!("{b:02x}")).collect()
    }

    /// Protocol reference §14.
    #[test]
    fn vectors() {
        let server = key(33).public();
        assert_eq!(
            hex(server.as_bytes()),
            "5869aff450549732cbaaed5e5df9b30a6da31cb0e5742bad5ad4a1a768f1a67b"
        );
        assert_eq!(
            hex(&hash(&[PROTOCOL])),
            "bbea022b948cf3bc5857d70804229179e1116bc40cb8cc074835349c464bca36"
        );
        let state = Symmetric::new(119, &server);
        assert_eq!(hex(&state.h), "cc7a02a47af426cd8b8de1bc3805cec9f50c242720bb44e4bd54ec0c273a8a88");

        let (initiator, message) = Initiator::start(119, key(1), &server, key(65)).expect("start");
        assert_eq!(
            hex(&message),
            "007701006064b101b1d0be5a8704bd078f9895001fc03e8e9f9522f188dd128d9846d48466\
             822e8514e6389169bdfd10afecae5bded9cda3f0157ac1d03cd3620b3bb73a865fc947ec1aede7a0c81f791ac3661c4e\
             237817940021e3b99b5e32daeb366dd9"
        );
        let (responder, response) = Responder::answer(&key(33), &message, key(97)).expect("answer");
        assert_eq!(responder.machine, key(1).public());
        assert_eq!(
            hex(&response),
            "020030244fe3b963e899dd295baffce248d3530f3a9a7479ba063002680ebfe7adad49ac2118893dd648b5cdebc87702bdfd5e"
        );
        let body: [u8; RESPONSE_BODY] = response[3..].try_into().expect("body");
        let keys = initiator.finish(&body).expect("finish");
        assert_eq!(hex(&*keys.send), "99523600f402fd8a2bbe1bf0d0c0bbc51e8c16f88e0f21edff753daf88fa44f1");
        assert_eq!(hex(&*keys.receive), "fd6238f0383382396f1cd23642d6ab135ac98fe7c1b63e32360e005e892c4c33");
    }

    /// Protocol reference §14: counters above 0 show the byte order of the nonce.
    #[test]
    fn record_vectors() {
        let send = aead(&std::array::from_fn(|i| {
            u8::from_str_radix(
                &"99523600f402fd8a2bbe1bf0d0c0bbc51e8c16f88e0f21edff753daf88fa44f1"[2 * i..2 * i + 2],
                16,
            )
            .expect("hex")
        }));
        for (counter, sealed) in [
            (0, "110d0d69ba1fbe6a445193b903672412015188ce9d"),
            (1, "964b677421c1de39ca0c20839b755d355e6db9c6f2"),
        ] {
            let mut data = b"hello".to_vec();
            send.seal_in_place_append_tag(nonce(counter), Aad::empty(), &mut data).expect("seal");
            assert_eq!(hex(&data), sealed);
        }
    }

    #[test]
    fn a_wrong_server_is_told() {
        let (initiator, message) = Initiator::start(119, key(1), &key(33).public(), key(65)).expect("start");
        let (_, mut response) = Responder::answer(&key(33), &message, key(97)).expect("answer");
        response[50] ^= 1;
        let body: [u8; RESPONSE_BODY] = response[3..].try_into().expect("body");
        assert!(matches!(initiator.finish(&body), Err(Error::Handshake(_))));
        assert!(Initiator::start(119, key(1), &MachinePublic::ZERO, key(65)).is_err());
        assert!(Responder::answer(&key(34), &message, key(97)).is_err(), "sealed for another server");
    }
}
