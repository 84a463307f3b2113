//! Feature `peerapiserver`: HTTP for other nodes at our own addresses (protocol reference §9.6).

#[cfg(feature = "peerapiserver")]
#[path = "enabled.rs"]
mod imp;
#[cfg(not(feature = "peerapiserver"))]
#[path = "disabled.rs"]
mod imp;
#[cfg(feature = "peerapiserver")]
mod places;
#[cfg(feature = "peerapiserver")]
mod visit;

pub use imp::*;
