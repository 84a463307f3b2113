//! Without feature `peerapiclient` nobody is asked.

use netmap::Node;
use std::io;
use std::net::{IpAddr, SocketAddr};

/// The name of the feature, if it is in this build.
pub const FEATURE: Option<&str> = None;

/// Nobody is to be asked.
pub fn base(_node: &Node, _own: &[IpAddr]) -> Option<SocketAddr> {
    None
}

/// Nobody.
pub fn resolver(_node: &Node, _own: &[IpAddr]) -> Option<String> {
    None
}

/// Asks nobody.
///
/// # Errors
/// Always.
pub fn ping(_at: SocketAddr) -> dial::LocalFuture<'static, io::Result<()>> {
    Box::pin(async { Err(io::Error::other("PeerAPI is not in this build")) })
}
