//! Without feature `unixsocketidentity` whoever can open the socket may do everything; so only its owner can.

/// The name of the feature, if it is in this build.
pub const FEATURE: Option<&str> = None;

/// Mode of the LocalAPI socket: its owner only.
pub const SOCKET_MODE: u32 = 0o600;

/// Everybody who could connect.
pub fn may_write(_peer_uid: Option<u32>, _daemon_uid: u32, _operator: Option<u32>) -> bool {
    true
}
