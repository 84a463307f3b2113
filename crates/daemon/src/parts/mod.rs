//! The optional features of the node, one folder each; the only place in the workspace with feature `cfg`.
//!
//! A folder holds `enabled.rs` and `disabled.rs` with the same signatures: callers never ask whether a feature is
//! in the build, they get a value that says "not in this build".

pub mod c2n;
pub mod debug;
pub mod health;
pub mod ipnbus;
pub mod osrouter;
pub mod unixsocketidentity;

/// The features this binary was built with, for `version --features` and LocalAPI.
pub fn built() -> Vec<&'static str> {
    [
        c2n::FEATURE,
        debug::FEATURE,
        health::FEATURE,
        ipnbus::FEATURE,
        osrouter::FEATURE,
        unixsocketidentity::FEATURE,
    ]
    .into_iter()
    .flatten()
    .collect()
}
