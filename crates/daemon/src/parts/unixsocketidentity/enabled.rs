//! Who may change the node: root, the user the daemon runs as, and the operator. Everybody else may read.

/// The name of the feature, if it is in this build.
pub const FEATURE: Option<&str> = Some("unixsocketidentity");

/// Mode of the LocalAPI socket: everybody may connect, since each connection is judged by its user.
pub const SOCKET_MODE: u32 = 0o666;

/// Whether a peer with this uid may change the node. `operator` is the uid of the operator preference.
pub fn may_write(peer_uid: Option<u32>, daemon_uid: u32, operator: Option<u32>) -> bool {
    peer_uid.is_some_and(|uid| uid == 0 || (daemon_uid != 0 && uid == daemon_uid) || operator == Some(uid))
}

#[cfg(test)]
mod tests {
    use super::may_write;

    #[test]
    fn who_may_write() {
        assert!(may_write(Some(0), 0, None));
        assert!(!may_write(Some(1000), 0, None));
        assert!(may_write(Some(1000), 1000, None));
        assert!(may_write(Some(1000), 0, Some(1000)));
        assert!(!may_write(None, 0, None), "unknown peers only read");
    }
}
