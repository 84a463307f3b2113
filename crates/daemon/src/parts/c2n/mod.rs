//! Feature `c2n`.

#[cfg(feature = "c2n")]
#[path = "enabled.rs"]
mod imp;
#[cfg(not(feature = "c2n"))]
#[path = "disabled.rs"]
mod imp;

pub use imp::*;
