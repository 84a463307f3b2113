//! Feature `health`: what is wrong with the node, for `status`, the bus and control.

pub mod warnable;

#[cfg(feature = "health")]
#[path = "enabled.rs"]
mod imp;
#[cfg(not(feature = "health"))]
#[path = "disabled.rs"]
mod imp;

pub use imp::{FEATURE, Tracker};
pub use warnable::{Severity, Unhealthy, Warnable};
