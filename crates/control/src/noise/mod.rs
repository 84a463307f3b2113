//! Noise between node and control: `Noise_IK_25519_ChaChaPoly_BLAKE2s` as control speaks it.
//!
//! Owns: the handshake messages and the record layer on top of a byte stream.
//! Leaves out: how the byte stream is reached (`upgrade`) and what is said over it (`h2`).

mod handshake;
mod hash;
#[cfg(test)]
pub(crate) mod responder;
mod transport;

#[cfg(test)]
pub(crate) use handshake::INITIATION_LEN;
pub(crate) use handshake::Initiator;
pub(crate) use transport::{NoiseStream, handshake};
