//! Feature `unixsocketidentity`.

#[cfg(feature = "unixsocketidentity")]
#[path = "enabled.rs"]
mod imp;
#[cfg(not(feature = "unixsocketidentity"))]
#[path = "disabled.rs"]
mod imp;

pub use imp::*;
