//! Without feature `c2n` every request of control is refused.

use crate::node::Shared;
use std::rc::Rc;

/// The name of the feature, if it is in this build.
pub const FEATURE: Option<&str> = None;

/// Refuses.
pub async fn answer(_shared: &Rc<Shared>, _request: &[u8]) -> Vec<u8> {
    b"HTTP/1.1 501 Not Implemented\r\nContent-Length: 0\r\n\r\n".to_vec()
}
