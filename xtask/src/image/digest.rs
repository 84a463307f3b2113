//! SHA-256 names of blobs, as registries and layouts spell them.

use anyhow::{Context, Result, ensure};
use oci_spec::image::Sha256Digest;
use sha2::{Digest as _, Sha256};
use std::fmt::{Display, Formatter};
use std::str::FromStr;

/// Length in hexadecimal digits.
const HEX: usize = 64;

/// `sha256:` and 64 hexadecimal digits, of which the digits are kept.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Digest(String);

impl Digest {
    /// The name of `bytes`.
    pub(crate) fn of(bytes: &[u8]) -> Self {
        Self(Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect())
    }

    /// The digits alone.
    pub(crate) fn hex(&self) -> &str {
        &self.0
    }

    /// As the crate for the formats has it.
    pub(crate) fn oci(&self) -> Result<oci_spec::image::Digest> {
        let digest = Sha256Digest::from_str(&self.0).with_context(|| self.to_string())?;
        Ok(digest.into())
    }
}

impl Display for Digest {
    fn fmt(&self, f: &mut Formatter<'_>) -> std::fmt::Result {
        write!(f, "sha256:{}", self.0)
    }
}

impl FromStr for Digest {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> Result<Self> {
        let hex = text.strip_prefix("sha256:").with_context(|| format!("`{text}` is no sha256 digest"))?;
        let digits = hex.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
        ensure!(hex.len() == HEX && digits, "`{text}` is no sha256 digest");
        Ok(Self(hex.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_names() {
        let empty = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
        assert_eq!(Digest::of(b"").to_string(), empty);
        assert_eq!(empty.parse::<Digest>().unwrap(), Digest::of(b""));
        assert_eq!(Digest::of(b"").oci().unwrap().to_string(), empty);
        for bad in ["", "sha256:", "sha256:../../etc", "sha512:00", &empty.to_uppercase(), &empty[..70]] {
            assert!(bad.parse::<Digest>().is_err(), "{bad}");
        }
    }
}
