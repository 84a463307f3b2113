//! The guard of `up`: settings that the command line does not mention must already be at their defaults.
//!
//! `up` states the whole configuration, so a shorter line than last time would undo settings silently. Instead the
//! user is shown the line that keeps them (CLI reference §2.4).

use localapi::types::{DEFAULT_CONTROL_URL, Prefs};

use super::flags::{self, Value, value};
use crate::args::{Flag, Kind, Matches};
use crate::command::up_kept;

const HEAD: &str = "Error: changing settings via 'tailscale up' requires mentioning all\n\
    non-default flags. To proceed, either re-run your command with --reset or\n\
    use the command below to explicitly mention the current value of\n\
    all non-default settings:\n\n\
    \ttailscale up";

/// What the guard looks at besides the two sets of preferences.
pub(crate) struct Setting<'a> {
    /// The command line.
    pub(crate) matches: &'a Matches,
    /// State of the daemon, by name.
    pub(crate) backend_state: &'a str,
    /// Address of the exit node in use, or empty.
    pub(crate) exit_node: &'a str,
}

/// Compares what is with what would be. `Ok(true)` is a bare `up` of a node that was logged in before: it only
/// has to be switched on.
///
/// # Errors
/// The text to show when unmentioned settings would change.
pub(crate) fn check(new: &Prefs, current: &Prefs, setting: &Setting<'_>) -> Result<bool, String> {
    if current.control_url.is_empty() {
        // Control was never contacted: nothing to lose.
        return Ok(false);
    }
    let mut given = setting.matches.all_given();
    // Process 1 of a container adds it; it is no setting.
    given.retain(|flag| flag.name != up_kept::FLAG.name);
    let known = current.persist.as_ref().is_some_and(|persist| !persist.user_profile.login_name.is_empty());
    if given.is_empty() && known && setting.backend_state != "NeedsLogin" {
        return Ok(true);
    }

    let new_exit_node = new.exit_node_ip.0.map(|ip| ip.to_string()).unwrap_or_default();
    let mut missing = Vec::new();
    for flag in flags::UP {
        if setting.matches.given(flag) {
            continue;
        }
        let (old, new) = (value(flag, current, setting.exit_node), value(flag, new, &new_exit_node));
        let harmless = match flag {
            "login-server" => is_default_server(&old) && is_default_server(&new),
            // It was on by default for a few versions.
            "stateful-filtering" => old == Value::Bool(true) && new == Value::Bool(false),
            _ => false,
        };
        if old != new && !harmless {
            missing.push(old.as_argument(flag));
        }
    }
    if missing.is_empty() {
        return Ok(false);
    }
    missing.sort();
    let mut text = HEAD.to_owned();
    for argument in given.iter().map(|flag| explicit(flag, setting.matches)).chain(missing) {
        text.push(' ');
        text.push_str(&argument);
    }
    text.push_str("\n\n");
    Err(text)
}

/// The flag as the user gave it.
fn explicit(flag: &Flag, matches: &Matches) -> String {
    let value = match flag.kind {
        kind if kind.boolean() => Value::Bool(matches.on(flag.name)),
        Kind::Duration => Value::Text(matches.span(flag.name).to_string()),
        _ => Value::Text(matches.word(flag.name).to_owned()),
    };
    value.as_argument(flag.name)
}

fn is_default_server(url: &Value) -> bool {
    matches!(url, Value::Text(url) if is_login_server_synonym(url))
}

/// Two names of Tailscale's own control server.
pub(crate) fn is_login_server_synonym(url: &str) -> bool {
    url == DEFAULT_CONTROL_URL || url == "https://login.tailscale.com"
}
