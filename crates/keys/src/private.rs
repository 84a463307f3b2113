//! X25519 private keys: clamped at creation, wiped on drop, never printed by `Debug`.

use crate::nacl::NaclBox;
use crate::public::{DiscoPublic, MachinePublic, NodePublic};
use crate::text::{self, ParseKeyError};
use rand_core::CryptoRngCore;
use std::fmt;
use subtle::ConstantTimeEq;
use x25519_dalek::{X25519_BASEPOINT_BYTES, x25519};
use zeroize::{Zeroize, Zeroizing};

macro_rules! private_key {
    ($(#[$doc:meta])* $name:ident, $public:ident, $prefix:literal) => {
        $(#[$doc])*
        #[derive(Clone)]
        pub struct $name([u8; 32]);

        impl $name {
            /// What the text form starts with.
            pub const PREFIX: &'static str = $prefix;

            /// A new key from `rng`, clamped as X25519 wants it.
            pub fn generate(rng: &mut impl CryptoRngCore) -> Self {
                let mut bytes = [0; 32];
                rng.fill_bytes(&mut bytes);
                bytes[0] &= 248;
                bytes[31] = bytes[31] & 127 | 64;
                Self(bytes)
            }

            /// The key that stands for "no key".
            pub const fn zero() -> Self {
                Self([0; 32])
            }

            /// A key from its 32 raw bytes, taken as they are.
            pub const fn from_bytes(bytes: [u8; 32]) -> Self {
                Self(bytes)
            }

            /// The 32 raw bytes. Keep them out of logs.
            pub const fn as_bytes(&self) -> &[u8; 32] {
                &self.0
            }

            /// True for the key that stands for "no key".
            pub fn is_zero(&self) -> bool {
                bool::from(self.0.ct_eq(&[0; 32]))
            }

            /// The public half; the zero key's is the zero key.
            pub fn public(&self) -> $public {
                if self.is_zero() {
                    return $public::ZERO;
                }
                $public::from_bytes(x25519(self.0, X25519_BASEPOINT_BYTES))
            }

            /// The X25519 shared secret with `public`; `None` if it is all zero (a point of small order).
            pub fn agree(&self, public: &[u8; 32]) -> Option<[u8; 32]> {
                let shared = Zeroizing::new(x25519(self.0, *public));
                (!bool::from(shared.ct_eq(&[0; 32]))).then_some(*shared)
            }

            /// The NaCl box between this key and `other`: a key exchange.
            pub fn nacl_box(&self, other: &$public) -> NaclBox {
                NaclBox::new(&self.0, other.as_bytes())
            }

            /// The prefix and 64 hex digits. Only for the state file.
            pub fn to_text(&self) -> String {
                text::format($prefix, &self.0)
            }
        }

        impl std::str::FromStr for $name {
            type Err = ParseKeyError;
            fn from_str(s: &str) -> Result<Self, ParseKeyError> {
                text::parse(s, $prefix).map(Self)
            }
        }

        impl PartialEq for $name {
            fn eq(&self, other: &Self) -> bool {
                bool::from(self.0.ct_eq(&other.0))
            }
        }
        impl Eq for $name {}

        impl Drop for $name {
            fn drop(&mut self) {
                self.0.zeroize();
            }
        }

        impl Default for $name {
            fn default() -> Self {
                Self::zero()
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(concat!(stringify!($name), "(redacted)"))
            }
        }

    };
}

private_key! {
    /// The machine's key towards control (`privkey:` in the state file).
    MachinePrivate, MachinePublic, "privkey:"
}
private_key! {
    /// The node's key, also its WireGuard key (`privkey:` in the state file).
    NodePrivate, NodePublic, "privkey:"
}
private_key! {
    /// The key of one run of the node for path discovery; lives in memory only.
    DiscoPrivate, DiscoPublic, "privkey:"
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Private key bytes and public halves of the protocol reference, §14.
    #[test]
    fn public_halves() {
        let machine = MachinePrivate::from_bytes(std::array::from_fn(|i| i as u8 + 1));
        assert_eq!(
            machine.public().to_text(),
            "mkey:07a37cbc142093c8b755dc1b10e86cb426374ad16aa853ed0bdfc0b2b86d1c7c"
        );
        assert!(NodePrivate::zero().public().is_zero());
    }

    #[test]
    fn agreement_and_small_order() {
        let mut rng = rand_core::OsRng;
        let (a, b) = (NodePrivate::generate(&mut rng), NodePrivate::generate(&mut rng));
        assert_eq!(a.agree(b.public().as_bytes()), b.agree(a.public().as_bytes()));
        assert_eq!(a.agree(&[0; 32]), None);
        assert_eq!(a.as_bytes()[0] & 7, 0);
    }

    #[test]
    fn debug_tells_nothing() {
        let key = NodePrivate::from_bytes([0x42; 32]);
        assert_eq!(format!("{key:?}"), "NodePrivate(redacted)");
        assert_eq!(key.to_text().parse::<NodePrivate>(), Ok(key));
    }
}
