//! Feature `debug`: looking inside a running node.

#[cfg(feature = "debug")]
#[path = "enabled.rs"]
mod imp;
#[cfg(not(feature = "debug"))]
#[path = "disabled.rs"]
mod imp;
#[cfg(feature = "debug")]
mod knobs;

pub use imp::*;
