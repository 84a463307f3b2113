//! `login`: a new profile, then `up`.

use clap::{ArgMatches, Command};

use super::{Run, no_words, up};
use crate::args::{Matches, command, text};
use crate::prefs::{flags, names, routes, unsupported};
use crate::stop::{Outcome, connecting};

pub(crate) fn define() -> Command {
    let own = [text("nickname", "", "name for the new account")];
    let flags = flags::shared().into_iter().chain(flags::up_only()).chain(own).collect();
    command("login", "tailscale login [flags]", "Log in to a further account").args(flags::sorted(flags))
}

pub(crate) async fn run(run: &mut Run<'_, '_>, root: &Command, matches: &ArgMatches) -> Outcome {
    // What can be refused is refused before the daemon leaves the profile it is in.
    no_words(matches)?;
    unsupported::check(matches, None)?;
    routes::advertised(matches.word("advertise-routes"), matches.on("advertise-exit-node"))?;
    names::tags(matches.word("advertise-tags"))?;
    names::check_hostname(matches.word("hostname"))?;
    flags::netfilter_mode(matches.word("netfilter-mode"))?;
    run.client.new_profile().await.map_err(connecting)?;
    up::go(run, root, "login", matches).await
}
