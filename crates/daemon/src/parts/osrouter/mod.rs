//! Feature `osrouter`: the kernel's TUN interface, its addresses and routes.

#[cfg(feature = "osrouter")]
#[path = "enabled.rs"]
mod imp;
#[cfg(not(feature = "osrouter"))]
#[path = "disabled.rs"]
mod imp;
#[cfg(feature = "osrouter")]
mod reader;
#[cfg(feature = "osrouter")]
mod writer;

pub use imp::*;

/// The word of `--tun` that stands for no interface.
pub const USERSPACE: &str = "userspace-networking";
