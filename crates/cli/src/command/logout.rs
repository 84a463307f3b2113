//! `logout`: gives the node key back to control and forgets the profile.

use clap::{ArgMatches, Command};

use super::{Run, no_words};
use crate::args::{Matches, command, text};
use crate::stop::Outcome;

pub(crate) fn define() -> Command {
    command(
        "logout",
        "tailscale logout",
        "Disconnect and expire the node key, so that a login is needed again",
    )
    .arg(text("reason", "", "reason, if a policy wants one"))
}

pub(crate) async fn run(run: &mut Run<'_, '_>, matches: &ArgMatches) -> Outcome {
    no_words(matches)?;
    Ok(run.client.clone().with_reason(matches.word("reason")).logout().await?)
}
