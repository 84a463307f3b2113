//! What this program calls itself.

/// The upstream release whose names, flags and protocol this node speaks; scripts and control compare it.
pub const SHORT: &str = "1.102.5";

/// Upstream release and our own version.
pub const LONG: &str = concat!("1.102.5-smalltail", env!("CARGO_PKG_VERSION"));
