//! Feature `ipnbus`.

#[cfg(feature = "ipnbus")]
#[path = "enabled.rs"]
mod imp;
#[cfg(not(feature = "ipnbus"))]
#[path = "disabled.rs"]
mod imp;

pub use imp::*;
