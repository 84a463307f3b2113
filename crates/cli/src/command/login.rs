//! `login`: a new profile, then `up`.

use localapi::types::Status;

use super::{Run, no_words, up};
use crate::args::{Command, Matches, text};
use crate::prefs::up::from_flags;
use crate::prefs::{flags, unsupported};
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
    // A new profile knows no nodes, so that an exit node has to be an address.
    from_flags(matches, &Status::default())?;
    up::from_file(matches.word("auth-key"))?;
    run.wait(run.client.new_profile()).map_err(connecting)?;
    up::go(run, matches)
}
