//! Public keys: plain 32-byte values that may be printed, compared and used as map keys.

use crate::text::{self, ParseKeyError};
use base64::Engine as _;
use std::fmt;

macro_rules! public_key {
    ($(#[$doc:meta])* $name:ident, $prefix:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
        pub struct $name([u8; 32]);

        impl $name {
            /// What the text form starts with.
            pub const PREFIX: &'static str = $prefix;
            /// The key that stands for "no key".
            pub const ZERO: Self = Self([0; 32]);

            /// A key from its 32 raw bytes.
            pub const fn from_bytes(bytes: [u8; 32]) -> Self {
                Self(bytes)
            }

            /// The 32 raw bytes.
            pub const fn as_bytes(&self) -> &[u8; 32] {
                &self.0
            }

            /// True for the key that stands for "no key".
            pub fn is_zero(&self) -> bool {
                self.0 == [0; 32]
            }

            /// The prefix and 64 hex digits.
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

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.to_text())
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.short())
            }
        }

    };
}

public_key! {
    /// Names an installation to the control server (`mkey:`). Never rotated.
    MachinePublic, "mkey:"
}
public_key! {
    /// Names a node to its peers and is its WireGuard public key (`nodekey:`). Rotates on login.
    NodePublic, "nodekey:"
}
public_key! {
    /// Names one run of a node to its peers for path discovery (`discokey:`).
    DiscoPublic, "discokey:"
}
public_key! {
    /// The per-connection challenge of the control server's early payload (`chalpub:`).
    ChallengePublic, "chalpub:"
}

/// `[` + the first five characters of the base64 form + `]`, as logs of every Tailscale node show keys.
fn bracketed(bytes: &[u8; 32]) -> String {
    let text = base64::engine::general_purpose::STANDARD.encode(bytes);
    format!("[{}]", &text[..5])
}

impl MachinePublic {
    /// Five base64 characters in brackets, for logs.
    pub fn short(&self) -> String {
        bracketed(&self.0)
    }
}

impl NodePublic {
    /// Five base64 characters in brackets, for logs.
    pub fn short(&self) -> String {
        bracketed(&self.0)
    }

    /// The key with its first six bytes overwritten by the marker of expired peers, so that nothing can be
    /// encrypted to it (it reads `[bad01]`-like in logs).
    #[must_use]
    pub fn with_bad_old_prefix(mut self) -> Self {
        self.0[..6].copy_from_slice(&[0x6d, 0xa7, 0x74, 0xd5, 0xd7, 0x74]);
        self
    }
}

impl DiscoPublic {
    /// `d:` + the first eight bytes in hex, for logs.
    pub fn short(&self) -> String {
        text::format("d:", &self.0[..8])
    }
}

impl ChallengePublic {
    /// Five base64 characters in brackets, for logs.
    pub fn short(&self) -> String {
        bracketed(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn display_forms() {
        let key = NodePublic::from_bytes(std::array::from_fn(|i| i as u8));
        assert_eq!(key.to_text(), "nodekey:000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f");
        assert_eq!(key.short(), "[AAECA]");
        assert_eq!(format!("{:?}", DiscoPublic::from_bytes([0xab; 32])), "d:abababababababab");
        assert_eq!(key.with_bad_old_prefix().short(), "[bad01]");
    }

    #[test]
    fn zero_is_written_out_and_parses() {
        let text = NodePublic::ZERO.to_text();
        assert_eq!(text.len(), "nodekey:".len() + 64);
        assert!(text.parse::<NodePublic>().expect("zero key").is_zero());
    }

    #[test]
    fn wrong_kinds_are_told_apart() {
        let text = NodePublic::from_bytes([7; 32]).to_text();
        assert_eq!(text.parse::<DiscoPublic>(), Err(ParseKeyError::Prefix("discokey:")));
        assert_eq!(
            "nodekey:12".parse::<NodePublic>(),
            Err(ParseKeyError::Digits { prefix: "nodekey:", digits: 64 })
        );
        assert!("".parse::<NodePublic>().is_err());
    }

    proptest! {
        #[test]
        fn round_trip(bytes: [u8; 32]) {
            let key = MachinePublic::from_bytes(bytes);
            prop_assert_eq!(key.to_text().parse::<MachinePublic>(), Ok(key));
        }

        #[test]
        fn any_text_parses_or_errs(text: String) {
            let _ = text.parse::<NodePublic>();
        }
    }
}
