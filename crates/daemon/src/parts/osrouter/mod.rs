//! Feature `osrouter`: the kernel's TUN interface, its addresses and routes.

#[cfg(feature = "osrouter")]
#[path = "enabled.rs"]
mod imp;
#[cfg(not(feature = "osrouter"))]
#[path = "disabled.rs"]
mod imp;
#[cfg(feature = "osrouter")]
mod keeping;
mod owner;
#[cfg(feature = "osrouter")]
mod reader;
#[cfg(feature = "osrouter")]
mod switches;
#[cfg(feature = "osrouter")]
mod writer;

pub use imp::*;
pub use owner::Owner;

/// Told which interfaces the daemon's own packets of IPv4 and of IPv6 leave by: `None`, by whichever the routes say. Called
/// before routes of ours would lead them into the tunnel, and after.
pub type Bind<'a> = &'a mut dyn FnMut(Option<[&str; 2]>);

/// The word of `--tun` that stands for no interface.
pub const USERSPACE: &str = "userspace-networking";
