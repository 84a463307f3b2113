//! No router is asked for anything.

use super::Mapping;
use std::net::SocketAddr;
use std::rc::Rc;

/// The name of the feature, if it is in this build.
pub const FEATURE: Option<&str> = None;

/// Nothing.
pub struct PortMapper;

impl PortMapper {
    /// Does nothing.
    pub fn start(_dialer: Rc<dyn dial::Dial>, _told: impl FnMut(Mapping) + 'static) -> Self {
        Self
    }

    /// Does nothing.
    pub fn want(&mut self, _port: u16, _upnp: bool) {}

    /// Does nothing.
    pub fn look(&mut self, _seen: Option<SocketAddr>) {}

    /// Does nothing.
    pub fn network_changed(&mut self) {}

    /// Does nothing.
    pub async fn close(self) {}
}
