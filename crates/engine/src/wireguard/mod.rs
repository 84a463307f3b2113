//! WireGuard's slow path: handshakes, cookies, timers and the life of sessions, for every peer of the node.
//!
//! Owns: message types 1, 2 and 3 (`Noise_IKpsk2_25519_ChaChaPoly_BLAKE2s` with an all-zero preshared key), the
//! receiver indices, who may send with which key and until when. [`Tunnel`] is the one door: bytes and moments go
//! in, [`Action`]s come out.
//! Leaves out: data packets (type 4), their counters and replay windows, and the keys of living sessions: a
//! finished handshake hands [`crate::session::SessionKeys`] to the packet lines and forgets them. Also which path
//! a message takes.
//!
//! Differences from other implementations, each invisible to them: early retries are quick until a peer answers
//! for the first time; our own initiation stays valid while we answer the peer's (so two that start at once do
//! not wait five seconds); a response that we asked for is never refused for load.
//!
//! Sources: the WireGuard paper (sections in brackets, as "WireGuard paper §5.4") and protocol reference §6.

mod action;
#[cfg(test)]
mod hand_line;
mod hash;
mod identity;
mod index;
mod limit;
pub mod mac;
pub mod message;
mod noise;
mod peer;
mod receive;
mod stamp;
#[cfg(test)]
mod tests;
pub mod timers;
mod tunnel;
mod watch;

pub use crate::lines::Moments as Activity;
pub use crate::mac1::{Mac1Check, mac1_ok};
pub use crate::source::Source;
pub use action::{Action, SessionState};
pub use tunnel::Tunnel;
