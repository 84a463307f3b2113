//! Feature `peerapiclient`: asking other nodes' PeerAPI (protocol reference §9.6).

#[cfg(feature = "peerapiclient")]
#[path = "enabled.rs"]
mod imp;
#[cfg(not(feature = "peerapiclient"))]
#[path = "disabled.rs"]
mod imp;

pub use imp::*;
