//! `down`: switches the node off; settings and login stay.

use clap::{ArgMatches, Command};
use localapi::types::MaskedPrefs;

use super::risk::{ACCEPT_RISK, confirm, ssh_over_tailscale};
use super::{Run, no_words};
use crate::args::{Matches, command, text};
use crate::stop::{Outcome, Stop};

pub(crate) fn define() -> Command {
    command("down", "tailscale down", "Disconnect from the tailnet")
        .arg(text("accept-risk", "", ACCEPT_RISK))
        .arg(text("reason", "", "reason, if a policy wants one"))
}

pub(crate) async fn run(run: &mut Run<'_, '_>, matches: &ArgMatches) -> Outcome {
    no_words(matches)?;
    if ssh_over_tailscale(run.env) {
        let question = "You are connected over Tailscale; this action will disable Tailscale and result in your session disconnecting.";
        confirm(run, question, matches.word("accept-risk"), false)?;
    }
    let status = run.client.status().await.map_err(|error| match Stop::from(error) {
        Stop::Error(message) => Stop::Error(format!("error fetching current status: {message}")),
        other => other,
    })?;
    if status.backend_state == "Stopped" {
        run.console.note("Tailscale was already stopped.\n");
        return Ok(());
    }
    let mut edit = MaskedPrefs::default();
    edit.mask.want_running = true;
    run.client.clone().with_reason(matches.word("reason")).edit_prefs(&edit).await?;
    Ok(())
}
