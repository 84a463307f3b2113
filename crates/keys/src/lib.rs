//! The keys of a node and their text forms.
//!
//! Owns: every kind of key a tailnet knows (machine, node, disco, challenge, network lock), how each is
//! written (`nodekey:` + 64 hex digits and so on), and that private halves never reach a log: their `Debug`
//! is redacted and their memory is wiped when dropped.
//! Also the NaCl box between two of them, which relays and disco share.
//! Leaves out: what else the keys are used for (Noise and WireGuard live with their protocols).
//!
//! Text forms as Tailscale's `types/key` writes them; a zero key is written as its prefix and 64 zeros, never
//! as an empty string, and parses back to a zero key.

mod hex;
mod lock;
pub mod nacl;
mod private;
mod public;
mod text;

pub use lock::{NlPrivate, NlPublic};
pub use nacl::NaclBox;
pub use private::{DiscoPrivate, MachinePrivate, NodePrivate};
pub use public::{ChallengePublic, DiscoPublic, MachinePublic, NodePublic};
pub use text::ParseKeyError;
