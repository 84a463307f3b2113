//! `down`: switches the node off; settings and login stay.

use localapi::types::MaskedPrefs;

use super::risk::{ACCEPT_RISK, confirm, ssh_over_tailscale};
use super::{Run, no_words};
use crate::args::{Command, Flag, Matches, text};
use crate::stop::{Outcome, Stop};

pub(super) static COMMAND: Command = Command {
    name: "down",
    usage: "tailscale down",
    about: "Disconnect from the tailnet",
    flags: &[FLAGS],
    run: Some(run),
    ..Command::PLAIN
};

const FLAGS: &[Flag] =
    &[text("accept-risk", "", ACCEPT_RISK), text("reason", "", "reason, if a policy wants one")];

fn run(run: &mut Run<'_, '_>, matches: &Matches) -> Outcome {
    no_words(matches)?;
    if ssh_over_tailscale(run.env) {
        let question = "You are connected over Tailscale; this action will disable Tailscale and result in your session disconnecting.";
        confirm(run, question, matches.word("accept-risk"), false)?;
    }
    let status = run.status().map_err(|error| match Stop::from(error) {
        Stop::Error(message) => Stop::Error(format!("error fetching current status: {message}")),
        other => other,
    })?;
    if status.backend_state == "Stopped" {
        run.console.note("Tailscale was already stopped.\n");
        return Ok(());
    }
    let mut edit = MaskedPrefs::default();
    edit.mask.want_running = true;
    let client = run.client.clone().with_reason(matches.word("reason"));
    Ok(run.wait(client.edit_prefs(&edit)).map(drop)?)
}
