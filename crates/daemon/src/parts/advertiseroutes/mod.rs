//! Feature `advertiseroutes`: networks behind this node, as a subnet router offers them.

#[cfg(feature = "advertiseroutes")]
#[path = "enabled.rs"]
mod imp;
#[cfg(not(feature = "advertiseroutes"))]
#[path = "disabled.rs"]
mod imp;

pub use imp::*;
