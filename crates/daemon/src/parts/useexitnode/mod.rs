//! Feature `useexitnode`: internet through another node.

#[cfg(feature = "useexitnode")]
#[path = "enabled.rs"]
mod imp;
#[cfg(not(feature = "useexitnode"))]
#[path = "disabled.rs"]
mod imp;

pub use imp::*;
