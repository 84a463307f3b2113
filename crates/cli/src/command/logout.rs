//! `logout`: gives the node key back to control and forgets the profile.

use super::{Run, no_words};
use crate::args::{Command, Matches, text};
use crate::stop::Outcome;

pub(super) static COMMAND: Command = Command {
    name: "logout",
    usage: "tailscale logout",
    about: "Disconnect and expire the node key, so that a login is needed again",
    flags: &[&[text("reason", "", "reason, if a policy wants one")]],
    run: Some(run),
    ..Command::PLAIN
};

fn run(run: &mut Run<'_, '_>, matches: &Matches) -> Outcome {
    no_words(matches)?;
    let client = run.client.clone().with_reason(matches.word("reason"));
    Ok(run.wait(client.logout())?)
}
