//! Stock flags for things that this node does not do: their defaults pass, anything else is refused in a sentence.

use localapi::types::Prefs;

use super::flags::{Value, value};
use crate::args::Matches;

/// Flags that switch on what is not there, with the sentence that says so.
const SWITCHES: [(&str, &str); 7] = [
    ("advertise-connector", "--advertise-connector: this build has no app connector"),
    (
        "auto-update",
        "--auto-update: this build does not update itself; replace the binary or the image instead",
    ),
    ("qr", "--qr: this build draws no QR codes; open the printed URL instead"),
    ("remote-config", "--remote-config: this build takes no remote configuration"),
    ("report-posture", "--report-posture: this build gathers no posture information"),
    ("ssh", "--ssh: this build has no SSH server; use the one of your system"),
    ("webclient", "--webclient: this build has no web interface"),
];

/// Flags that give details of what is not there.
const WORDS: [(&str, &str, &str); 7] = [
    ("audience", "", "--audience: this build has no workload identity login; use --auth-key"),
    ("client-id", "", "--client-id: this build has no workload identity login; use --auth-key"),
    ("client-secret", "", "--client-secret: this build has no OAuth login; use --auth-key"),
    ("id-token", "", "--id-token: this build has no workload identity login; use --auth-key"),
    ("qr-format", "auto", "--qr-format: this build draws no QR codes"),
    ("relay-server-port", "", "--relay-server-port: this build has no peer relay server"),
    (
        "relay-server-static-endpoints",
        "",
        "--relay-server-static-endpoints: this build has no peer relay server",
    ),
];

/// Refuses what cannot be done. A setting that a daemon (Go's, perhaps) already has may be repeated: `current` are
/// its preferences, where they are known yet.
///
/// # Errors
/// The sentence for the first such flag.
pub(crate) fn check(matches: &Matches, current: Option<&Prefs>) -> Result<(), String> {
    let repeats = |flag: &str, wanted: Value| current.is_some_and(|prefs| value(flag, prefs, "") == wanted);
    for (flag, sentence) in SWITCHES {
        if matches.on(flag) && !repeats(flag, Value::Bool(true)) {
            return Err(sentence.to_owned());
        }
    }
    for (flag, default, sentence) in WORDS {
        let word = matches.word(flag);
        if matches.given(flag) && word != default && !repeats(flag, Value::Text(word.to_owned())) {
            return Err(sentence.to_owned());
        }
    }
    if matches.word("auth-key").starts_with("tskey-client-") {
        return Err("--auth-key: this build has no OAuth login; create an auth key instead".to_owned());
    }
    Ok(())
}
