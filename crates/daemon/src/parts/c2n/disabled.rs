//! Without feature `c2n` every request of control is refused.

/// The name of the feature, if it is in this build.
pub const FEATURE: Option<&str> = None;

/// Refuses.
pub fn answer(_request: &[u8]) -> Vec<u8> {
    b"HTTP/1.1 501 Not Implemented\r\nContent-Length: 0\r\n\r\n".to_vec()
}
