//! Disco is heard by the UDP sockets alone.

use std::net::SocketAddr;

/// The name of the feature, if it is in this build.
pub const FEATURE: Option<&str> = None;

/// There is none.
pub enum RawDisco {}

impl RawDisco {
    /// Opens nothing.
    pub fn open(_port: u16) -> Option<Self> {
        None
    }

    /// There is none.
    pub fn listen_at(&self, _port: u16) {
        match *self {}
    }

    /// There is none.
    pub async fn hear(&self, _took: impl FnMut(SocketAddr, &[u8])) {
        match *self {}
    }
}
