//! Feature `cachenetmap`: the network map of the last run, by which a node carries packets before control has answered.
//!
//! `mirror` and `relays` are the values as they are written, `file` is their format, `enabled` decides when it is read
//! and written.

#[cfg(feature = "cachenetmap")]
mod file;
#[cfg(feature = "cachenetmap")]
#[path = "enabled.rs"]
mod imp;
#[cfg(not(feature = "cachenetmap"))]
#[path = "disabled.rs"]
mod imp;
#[cfg(feature = "cachenetmap")]
mod mark;
#[cfg(feature = "cachenetmap")]
mod mirror;
#[cfg(feature = "cachenetmap")]
mod schedule;
#[cfg(feature = "cachenetmap")]
mod settings;
#[cfg(all(test, feature = "cachenetmap"))]
mod tests;

pub use imp::*;
