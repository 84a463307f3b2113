//! Feature `advertiseexitnode`: being an exit node.

#[cfg(feature = "advertiseexitnode")]
#[path = "enabled.rs"]
mod imp;
#[cfg(not(feature = "advertiseexitnode"))]
#[path = "disabled.rs"]
mod imp;

pub use imp::*;
