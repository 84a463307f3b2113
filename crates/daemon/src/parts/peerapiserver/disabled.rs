//! Without feature `peerapiserver` nothing listens for other nodes.

use crate::node::Shared;
use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;

/// The name of the feature, if it is in this build.
pub const FEATURE: Option<&str> = None;

/// Nothing.
#[derive(Default)]
pub struct PeerApi;

impl PeerApi {
    /// Nowhere.
    pub fn apply(&mut self, _shared: &Rc<Shared>, _own: &[IpAddr], _device: &str) -> Vec<SocketAddr> {
        Vec::new()
    }
}
