//! `up` for a container's process 1: settings that are refused do not keep a node from logging in.
//!
//! Nobody may be there to correct a line of settings, and a router that does not log in is out of reach. So a node that
//! control has known before goes on with the settings that it has. Leaves out: `up` as people type it, which changes
//! nothing when it refuses (`up`).

use localapi::types::{Prefs, State, Status};

use super::Run;
use crate::args::{Flag, Matches, hide, switch};
use crate::prefs::revert;
use crate::stop::Stop;

/// Asks for this. Hidden, as Go's tool has no such flag and whoever types can correct what is refused.
pub(crate) const FLAG: Flag = switch(
    "login-even-if-refused",
    false,
    "log in with the settings that the node has when those of this line are refused",
)
.hidden();

/// Whether the node must log in with the settings it has, when those of the command line are refused.
pub(super) fn asked(matches: &Matches, status: &Status) -> bool {
    let must = status.backend_state == State::NeedsLogin.name() || !status.auth_url.is_empty();
    matches.on(FLAG.name) && must
}

/// Why `up` ended, without the auth key where that goes to a log.
pub(super) fn hushed(matches: &Matches, stop: Stop) -> Stop {
    let key = if matches.on(FLAG.name) { matches.word("auth-key") } else { "" };
    match stop {
        Stop::Error(text) => Stop::Error(hide(key, &text)),
        Stop::Denied(text) => Stop::Denied(hide(key, &text)),
        other => other,
    }
}

/// The settings to log in with after the refusal `why`, which is shown: those in force, but for the control server that the
/// line names.
///
/// # Errors
/// The refusal itself when the node never had a control server, so that it has no settings of its own; or when it has
/// another one than the line means, for which the line's auth key is not.
pub(super) fn prefs(
    run: &mut Run<'_, '_>,
    matches: &Matches,
    current: &Prefs,
    why: &str,
) -> Result<Prefs, Stop> {
    let elsewhere = !matches.given("login-server") && !revert::is_login_server_synonym(&current.control_url);
    if current.control_url.is_empty() || elsewhere {
        return Err(Stop::from(why));
    }
    let why = hide(matches.word("auth-key"), why);
    run.console.note(&format!("{}\n# The node logs in with the settings that it has.\n", why.trim_end()));
    let mut prefs = Prefs { want_running: true, logged_out: false, persist: None, ..current.clone() };
    if matches.given("login-server") {
        prefs.control_url = matches.word("login-server").to_owned();
    }
    Ok(prefs)
}
