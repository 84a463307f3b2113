//! Feature `debug`: looking inside a running node.

#[cfg(feature = "debug")]
#[path = "enabled.rs"]
mod imp;
#[cfg(not(feature = "debug"))]
#[path = "disabled.rs"]
mod imp;

pub use imp::*;
