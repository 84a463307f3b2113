//! Without feature `ipnbus` nobody can watch.

use bytes::Bytes;
use localapi::types::{HealthState, Node, Notify, PeerChange};
use tokio::sync::mpsc;

/// The name of the feature, if it is in this build.
pub const FEATURE: Option<&str> = None;

/// Has no watchers.
#[derive(Debug, Default)]
pub struct Bus;

/// Never asked.
///
/// # Errors
/// Always.
pub fn check_mask(_wanted: u64) -> Result<(), &'static str> {
    Err("the bus is not in this build")
}

impl Bus {
    /// Nobody may watch.
    pub fn watch(&mut self, _mask: u64) -> Option<mpsc::Receiver<Bytes>> {
        None
    }

    /// Nobody wants anything.
    pub fn wants(&self, _bits: u64) -> bool {
        false
    }

    /// Nobody watches.
    pub fn is_watched(&self) -> bool {
        false
    }

    /// Tells nobody.
    pub fn publish(&mut self, _notify: Notify, _whole: &dyn Fn(Vec<PeerChange>) -> Vec<Node>) {}
}

/// As it is.
pub fn health_for(_mask: u64, health: HealthState) -> HealthState {
    health
}

/// A message as it would go over the wire.
pub fn encode(_notify: &Notify) -> Bytes {
    Bytes::new()
}
