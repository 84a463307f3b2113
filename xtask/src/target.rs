//! The four machines that binaries and images are made for, and every way to spell them.
//!
//! Owns: names. Leaves out: how one builds for a target (`build`).

use anyhow::{Result, bail};

/// A static musl target.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Target {
    Amd64,
    Arm64,
    ArmV7,
    ArmV5,
}

impl Target {
    pub(crate) const ALL: [Self; 4] = [Self::Amd64, Self::Arm64, Self::ArmV7, Self::ArmV5];

    /// Reads `amd64`, `arm64`, `arm/v7`, `armv7`, `arm/v5`, `armv5` or Rust's triple.
    pub(crate) fn parse(text: &str) -> Result<Self> {
        for target in Self::ALL {
            if [target.short(), target.slug(), target.triple()].contains(&text) {
                return Ok(target);
            }
        }
        let names: Vec<_> = Self::ALL.iter().map(|target| target.short()).collect();
        bail!("no target {text}: there are {} (or Rust's triple)", names.join(", "))
    }

    /// As OCI platforms are written: `arm/v7`.
    pub(crate) fn short(self) -> &'static str {
        match self {
            Self::Amd64 => "amd64",
            Self::Arm64 => "arm64",
            Self::ArmV7 => "arm/v7",
            Self::ArmV5 => "arm/v5",
        }
    }

    /// As it stands in file names: `armv7`.
    pub(crate) fn slug(self) -> &'static str {
        match self {
            Self::Amd64 => "amd64",
            Self::Arm64 => "arm64",
            Self::ArmV7 => "armv7",
            Self::ArmV5 => "armv5",
        }
    }

    /// Rust's name.
    pub(crate) fn triple(self) -> &'static str {
        match self {
            Self::Amd64 => "x86_64-unknown-linux-musl",
            Self::Arm64 => "aarch64-unknown-linux-musl",
            Self::ArmV7 => "armv7-unknown-linux-musleabihf",
            Self::ArmV5 => "armv5te-unknown-linux-musleabi",
        }
    }

    /// Architecture and variant as an image's configuration has them.
    #[allow(dead_code, reason = "images read it")]
    pub(crate) fn platform(self) -> (&'static str, Option<&'static str>) {
        match self {
            Self::Amd64 => ("amd64", None),
            Self::Arm64 => ("arm64", None),
            Self::ArmV7 => ("arm", Some("v7")),
            Self::ArmV5 => ("arm", Some("v5")),
        }
    }

    /// Whether this machine runs its programs itself.
    pub(crate) fn native(self) -> bool {
        match self {
            Self::Amd64 => cfg!(target_arch = "x86_64"),
            Self::Arm64 => cfg!(target_arch = "aarch64"),
            Self::ArmV7 | Self::ArmV5 => cfg!(target_arch = "arm"),
        }
    }

    /// The target whose programs this machine runs, where it is one of the four.
    pub(crate) fn here() -> Option<Self> {
        match std::env::consts::ARCH {
            "x86_64" => Some(Self::Amd64),
            "aarch64" => Some(Self::Arm64),
            "arm" => Some(Self::ArmV5),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_spelling_is_read() {
        for (text, target) in [
            ("amd64", Target::Amd64),
            ("arm64", Target::Arm64),
            ("arm/v7", Target::ArmV7),
            ("armv7", Target::ArmV7),
            ("arm/v5", Target::ArmV5),
            ("armv5", Target::ArmV5),
            ("armv5te-unknown-linux-musleabi", Target::ArmV5),
            ("x86_64-unknown-linux-musl", Target::Amd64),
        ] {
            assert_eq!(Target::parse(text).unwrap(), target);
        }
        let error = Target::parse("mips").unwrap_err().to_string();
        assert_eq!(error, "no target mips: there are amd64, arm64, arm/v7, arm/v5 (or Rust's triple)");
    }

    #[test]
    fn platforms_are_spelled_as_oci_does() {
        for target in Target::ALL {
            let (architecture, variant) = target.platform();
            let text = variant.map_or_else(|| architecture.to_owned(), |v| format!("{architecture}/{v}"));
            assert_eq!(text, target.short());
        }
    }
}
