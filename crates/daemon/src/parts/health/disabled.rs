//! Without feature `health` nothing is tracked and nothing is shown.

use super::warnable::{Unhealthy, Warnable};
use engine::time::Mono;
use netmap::Timestamp;

/// The name of the feature, if it is in this build.
pub const FEATURE: Option<&str> = None;

/// Tracks nothing.
#[derive(Debug, Default)]
pub struct Tracker;

impl Tracker {
    /// Does nothing.
    pub fn set(&mut self, _what: Warnable, _text: impl Into<String>, _now: Mono, _wall: Timestamp) {}

    /// Does nothing.
    pub fn clear(&mut self, _what: Warnable) {}

    /// Nothing is ever wrong.
    pub fn is_set(&self, _what: Warnable) -> bool {
        false
    }

    /// Nothing is ever shown.
    pub fn visible(&self, _now: Mono) -> Vec<Unhealthy> {
        Vec::new()
    }

    /// Nothing ever will be.
    pub fn next_visible(&self, _now: Mono) -> Option<Mono> {
        None
    }
}
