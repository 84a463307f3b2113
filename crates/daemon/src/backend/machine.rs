//! Go's seven states and which follows (features reference §7).

pub use localapi::types::State;

/// What the next state depends on.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Facts {
    /// The state store can be used.
    pub(super) store_ok: bool,
    /// The user wants the node up.
    pub(super) want_running: bool,
    /// The user logged out.
    pub(super) logged_out: bool,
    /// Waiting for a login (key expired, or a login under way).
    pub(super) blocked: bool,
    /// The profile has a node key.
    pub(super) have_node_key: bool,
    /// A network map is in force.
    pub(super) have_netmap: bool,
    /// Control cannot go on without the user: not logged in and no login under way, or one that waits for a URL.
    pub(super) auth_cant_continue: bool,
    /// Our key has expired.
    pub(super) key_expired: bool,
    /// An admin has approved the machine.
    pub(super) machine_authorized: bool,
    /// A peer has a handshake, or a relay is connected.
    pub(super) connected: bool,
}

/// The state that follows `now`; the first rule that fits decides.
pub(super) fn next(now: State, facts: &Facts) -> State {
    if !facts.store_ok {
        return State::NoState;
    }
    if !facts.want_running && !facts.logged_out && !facts.blocked && facts.have_node_key {
        return State::Stopped;
    }
    if !facts.have_netmap {
        return match now {
            _ if facts.auth_cant_continue || facts.logged_out => State::NeedsLogin,
            State::Stopped => State::Starting,
            other => other,
        };
    }
    if !facts.want_running {
        return State::Stopped;
    }
    if facts.key_expired {
        return State::NeedsLogin;
    }
    if !facts.machine_authorized {
        return State::NeedsMachineAuth;
    }
    match now {
        State::Running => State::Running,
        State::Starting if facts.connected => State::Running,
        _ => State::Starting,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const UP: Facts = Facts {
        store_ok: true,
        want_running: true,
        logged_out: false,
        blocked: false,
        have_node_key: true,
        have_netmap: true,
        auth_cant_continue: false,
        key_expired: false,
        machine_authorized: true,
        connected: true,
    };

    #[test]
    fn the_way_up() {
        let fresh =
            Facts { have_netmap: false, have_node_key: false, logged_out: true, want_running: false, ..UP };
        assert_eq!(next(State::NoState, &fresh), State::NeedsLogin);
        let cold = Facts { have_netmap: false, connected: false, ..UP };
        assert_eq!(next(State::NoState, &cold), State::NoState);
        assert_eq!(next(State::NoState, &Facts { connected: false, ..UP }), State::Starting);
        assert_eq!(next(State::Starting, &Facts { connected: false, ..UP }), State::Starting);
        assert_eq!(next(State::Starting, &UP), State::Running);
        assert_eq!(next(State::Running, &Facts { connected: false, ..UP }), State::Running);
    }

    #[test]
    fn down_expired_unapproved_and_broken() {
        assert_eq!(next(State::Running, &Facts { want_running: false, ..UP }), State::Stopped);
        assert_eq!(next(State::Running, &Facts { key_expired: true, ..UP }), State::NeedsLogin);
        assert_eq!(next(State::Running, &Facts { machine_authorized: false, ..UP }), State::NeedsMachineAuth);
        assert_eq!(next(State::NeedsMachineAuth, &UP), State::Starting);
        assert_eq!(next(State::Running, &Facts { store_ok: false, ..UP }), State::NoState);
        let waiting = Facts { have_netmap: false, auth_cant_continue: true, ..UP };
        assert_eq!(next(State::Starting, &waiting), State::NeedsLogin);
    }
}
