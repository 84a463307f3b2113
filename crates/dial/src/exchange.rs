//! X25519 for TLS, by the code that WireGuard's handshakes need anyway; ring's is not in the program then.

use rustls::crypto::{ActiveKeyExchange, GetRandomFailed, SecureRandom as _, SharedSecret, SupportedKxGroup};
use rustls::ffdhe_groups::FfdheGroup;
use rustls::{Error, NamedGroup, PeerMisbehaved};
use x25519_dalek::{X25519_BASEPOINT_BYTES, x25519};
use zeroize::Zeroizing;

/// The group.
#[derive(Debug)]
pub(crate) struct X25519;

impl SupportedKxGroup for X25519 {
    fn start(&self) -> Result<Box<dyn ActiveKeyExchange>, Error> {
        let mut secret = Zeroizing::new([0; 32]);
        crate::provider::Kernel.fill(&mut *secret).map_err(|_| GetRandomFailed)?;
        let public = x25519(*secret, X25519_BASEPOINT_BYTES);
        Ok(Box::new(Started { secret, public }))
    }

    fn ffdhe_group(&self) -> Option<FfdheGroup<'static>> {
        None
    }

    fn name(&self) -> NamedGroup {
        NamedGroup::X25519
    }
}

/// Our half of one exchange.
struct Started {
    secret: Zeroizing<[u8; 32]>,
    public: [u8; 32],
}

impl ActiveKeyExchange for Started {
    fn complete(self: Box<Self>, theirs: &[u8]) -> Result<SharedSecret, Error> {
        let refused = Error::PeerMisbehaved(PeerMisbehaved::InvalidKeyShare);
        let theirs = theirs.try_into().map_err(|_| refused.clone())?;
        let shared = Zeroizing::new(x25519(*self.secret, theirs));
        // A point of small order: whoever listens knows the secret (RFC 8446 §7.4.2).
        if shared.iter().fold(0, |all, byte| all | byte) == 0 {
            return Err(refused);
        }
        Ok(SharedSecret::from(&shared[..]))
    }

    fn ffdhe_group(&self) -> Option<FfdheGroup<'static>> {
        None
    }

    fn pub_key(&self) -> &[u8] {
        &self.public
    }

    fn group(&self) -> NamedGroup {
        NamedGroup::X25519
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn agrees_with_others() {
        let theirs = rustls::crypto::ring::kx_group::X25519.start().expect("random");
        let ours = X25519.start().expect("random");
        let (our_key, their_key) = (ours.pub_key().to_vec(), theirs.pub_key().to_vec());
        let ours = ours.complete(&their_key).expect("a key");
        let theirs = theirs.complete(&our_key).expect("a key");
        assert_eq!(ours.secret_bytes(), theirs.secret_bytes());
    }

    #[test]
    fn what_is_no_key_is_refused() {
        let with = |key: &[u8]| X25519.start().expect("random").complete(key);
        assert!(with(&[0; 32]).is_err());
        assert!(with(&[9; 31]).is_err());
        assert!(with(&[9; 33]).is_err());
        assert!(with(&[9; 32]).is_ok());
    }
}
