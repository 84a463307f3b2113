//! `version`: ours, and the daemon's with `--daemon`.

use clap::{ArgMatches, Command};

use super::{Run, no_words};
use crate::args::{Matches, command, switch, text};
use crate::render::version;
use crate::stop::{Outcome, Stop};

pub(crate) fn define() -> Command {
    command("version", "tailscale version [flags]", "Print the version")
        .arg(switch("daemon", false, "print the daemon's version, too"))
        .arg(switch("json", false, "print JSON"))
        .arg(text("track", "", "with --upstream (not in this build)").hide(true))
        .arg(switch("upstream", false, "print the latest version there is (not in this build)").hide(true))
}

pub(crate) async fn run(run: &mut Run<'_, '_>, matches: &ArgMatches) -> Outcome {
    no_words(matches)?;
    if matches.on("upstream") {
        return Err(Stop::from("fetching latest version not supported in this build"));
    }
    let daemon = match matches.on("daemon") {
        true => Some(run.client.status_without_peers().await?.version),
        false => None,
    };
    let own = &run.env.version;
    let text = match (matches.on("json"), daemon) {
        (true, daemon) => version::as_json(own, daemon.as_deref()),
        (false, Some(daemon)) => format!("Client: {}\nDaemon: {daemon}\n", version::text(own)),
        (false, None) => format!("{}\n", version::text(own)),
    };
    run.console.say(&text);
    Ok(())
}
