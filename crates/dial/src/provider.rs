//! What TLS calculates with: ring, and of it what a client needs; X25519 is our own choice ([`crate::exchange`]).
//!
//! Owns: the lists of cipher suites, key exchanges and signatures, and what judges signatures. Absent on purpose: loading
//! private keys (no server asks us for a certificate), TLS 1.2, and lists of revoked certificates; the code for each would
//! be in every binary.

use crate::exchange::X25519;
use rustls::crypto::ring::{cipher_suite, kx_group};
use rustls::crypto::{CryptoProvider, GetRandomFailed, KeyProvider, SecureRandom, WebPkiSupportedAlgorithms};
use rustls::pki_types::PrivateKeyDer;
use rustls::sign::SigningKey;
use rustls::{Error, SignatureScheme};
use std::sync::Arc;
use webpki::ring as signed;

/// What certificates and handshakes may be signed with.
pub(crate) static SIGNATURES: WebPkiSupportedAlgorithms = WebPkiSupportedAlgorithms {
    all: &[
        signed::ECDSA_P256_SHA256,
        signed::ECDSA_P256_SHA384,
        signed::ECDSA_P384_SHA256,
        signed::ECDSA_P384_SHA384,
        signed::RSA_PSS_2048_8192_SHA256_LEGACY_KEY,
        signed::RSA_PSS_2048_8192_SHA384_LEGACY_KEY,
        signed::RSA_PSS_2048_8192_SHA512_LEGACY_KEY,
        signed::RSA_PKCS1_2048_8192_SHA256,
        signed::RSA_PKCS1_2048_8192_SHA384,
        signed::RSA_PKCS1_2048_8192_SHA512,
    ],
    // In the order in which we like them.
    mapping: &[
        (SignatureScheme::ECDSA_NISTP256_SHA256, &[signed::ECDSA_P256_SHA256]),
        (SignatureScheme::ECDSA_NISTP384_SHA384, &[signed::ECDSA_P384_SHA384]),
        (SignatureScheme::RSA_PSS_SHA256, &[signed::RSA_PSS_2048_8192_SHA256_LEGACY_KEY]),
        (SignatureScheme::RSA_PSS_SHA384, &[signed::RSA_PSS_2048_8192_SHA384_LEGACY_KEY]),
        (SignatureScheme::RSA_PSS_SHA512, &[signed::RSA_PSS_2048_8192_SHA512_LEGACY_KEY]),
        // TLS 1.3 allows these in certificates only; a server chooses its chain by them.
        (SignatureScheme::RSA_PKCS1_SHA256, &[signed::RSA_PKCS1_2048_8192_SHA256]),
        (SignatureScheme::RSA_PKCS1_SHA384, &[signed::RSA_PKCS1_2048_8192_SHA384]),
        (SignatureScheme::RSA_PKCS1_SHA512, &[signed::RSA_PKCS1_2048_8192_SHA512]),
    ],
};

/// 32-bit ARM has no AES in hardware, so ChaCha20 comes first there; servers that can do both follow the client.
pub(crate) fn provider() -> CryptoProvider {
    let mut cipher_suites = vec![
        cipher_suite::TLS13_AES_256_GCM_SHA384,
        cipher_suite::TLS13_AES_128_GCM_SHA256,
        cipher_suite::TLS13_CHACHA20_POLY1305_SHA256,
    ];
    if cfg!(target_arch = "arm") {
        cipher_suites.reverse();
    }
    CryptoProvider {
        cipher_suites,
        kx_groups: vec![&X25519, kx_group::SECP256R1],
        signature_verification_algorithms: SIGNATURES,
        secure_random: &Kernel,
        key_provider: &NoKeys,
    }
}

/// Random numbers of the kernel.
#[derive(Debug)]
pub(crate) struct Kernel;

impl SecureRandom for Kernel {
    fn fill(&self, buf: &mut [u8]) -> Result<(), GetRandomFailed> {
        use ring::rand::SecureRandom as _;
        ring::rand::SystemRandom::new().fill(buf).map_err(|_| GetRandomFailed)
    }
}

/// We have no certificates of our own.
#[derive(Debug)]
struct NoKeys;

impl KeyProvider for NoKeys {
    fn load_private_key(&self, _key_der: PrivateKeyDer<'static>) -> Result<Arc<dyn SigningKey>, Error> {
        Err(Error::General("a client without a certificate has no private key".to_owned()))
    }
}
