//! Feature `useroutes`: networks behind other nodes.

#[cfg(feature = "useroutes")]
#[path = "enabled.rs"]
mod imp;
#[cfg(not(feature = "useroutes"))]
#[path = "disabled.rs"]
mod imp;

pub use imp::*;
