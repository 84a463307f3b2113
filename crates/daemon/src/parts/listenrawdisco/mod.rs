//! Feature `listenrawdisco`: disco is heard before the host's packet filter can drop it.

#[cfg(feature = "listenrawdisco")]
#[path = "enabled.rs"]
mod imp;
#[cfg(not(feature = "listenrawdisco"))]
#[path = "disabled.rs"]
mod imp;
#[cfg(feature = "listenrawdisco")]
mod packet;

pub use imp::*;
