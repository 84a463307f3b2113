//! `login`: a new profile, then `up`.

use super::{Run, no_words, up};
use crate::args::{Command, Matches, text};
use crate::prefs::{flags, names, routes, unsupported};
use crate::stop::{Outcome, connecting};

pub(super) static COMMAND: Command = Command {
    name: "login",
    usage: "tailscale login [flags]",
    about: "Log in to a further account",
    flags: &[flags::SHARED, flags::UP_ONLY, &[text("nickname", "", "name for the new account")]],
    run: Some(run),
    ..Command::PLAIN
};

fn run(run: &mut Run<'_, '_>, matches: &Matches) -> Outcome {
    // What can be refused is refused before the daemon leaves the profile it is in.
    no_words(matches)?;
    unsupported::check(matches, None)?;
    routes::advertised(matches.word("advertise-routes"), matches.on("advertise-exit-node"))?;
    names::tags(matches.word("advertise-tags"))?;
    names::check_hostname(matches.word("hostname"))?;
    flags::netfilter_mode(matches.word("netfilter-mode"))?;
    run.wait(run.client.new_profile()).map_err(connecting)?;
    up::go(run, matches)
}
