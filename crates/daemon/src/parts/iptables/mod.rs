//! Feature `iptables`: rules of ours in the system's packet filter, so that what comes from the tailnet may go on and
//! finds back.

#[cfg(feature = "iptables")]
#[path = "enabled.rs"]
mod imp;
#[cfg(not(feature = "iptables"))]
#[path = "disabled.rs"]
mod imp;

pub use imp::*;
