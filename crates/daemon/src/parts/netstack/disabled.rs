//! Without feature `netstack` there are no services: packets to their addresses are routed like any other.

use super::Query;
use engine::drop::DropReason;
use engine::time::Mono;
use std::net::IpAddr;

/// The name of the feature, if it is in this build.
pub const FEATURE: Option<&str> = None;

/// There is none.
#[derive(Debug, Clone, Copy)]
pub enum Back {}

/// None of them.
pub struct Services;

/// None.
pub fn addresses(_own: impl Iterator<Item = IpAddr>) -> Vec<IpAddr> {
    Vec::new()
}

impl Services {
    /// Nothing.
    pub fn new(_mtu: usize, _seed: u64) -> Self {
        Self
    }

    /// Refused.
    ///
    /// # Errors
    /// Always.
    pub fn handle(&self, _packet: &[u8], _now: Mono) -> Result<(), DropReason> {
        Err(DropReason::NoHost)
    }

    /// None.
    pub fn next_query(&self) -> Option<Query> {
        None
    }

    /// Cannot be called.
    pub fn answer(&self, back: Back, _answer: Option<&[u8]>) {
        match back {}
    }

    /// None.
    pub fn next_packet(&self) -> Option<Vec<u8>> {
        None
    }

    /// Does nothing.
    pub fn poll(&self, _now: Mono) {}

    /// Never.
    pub fn poll_timeout(&self, _now: Mono) -> Option<Mono> {
        None
    }
}
