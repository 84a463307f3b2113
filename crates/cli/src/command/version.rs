//! `version`: ours, and the daemon's with `--daemon`; with `--features` what is in the build.

use clap::{ArgMatches, Command};
use localapi::types::{Indent, to_go_json};

use super::{Run, no_words};
use crate::args::{Matches, command, switch, text};
use crate::render::version;
use crate::stop::{Outcome, Stop};

pub(crate) fn define() -> Command {
    command("version", "tailscale version [flags]", "Print the version")
        .arg(switch("daemon", false, "print the daemon's version, too"))
        .arg(switch(
            "features",
            false,
            "print which features are in this build, or with --daemon in the daemon's",
        ))
        .arg(switch("json", false, "print JSON"))
        .arg(text("track", "", "with --upstream (not in this build)").hide(true))
        .arg(switch("upstream", false, "print the latest version there is (not in this build)").hide(true))
}

pub(crate) async fn run(run: &mut Run<'_, '_>, matches: &ArgMatches) -> Outcome {
    no_words(matches)?;
    if matches.on("upstream") {
        return Err(Stop::from("fetching latest version not supported in this build"));
    }
    if matches.on("features") {
        return features(run, matches.on("daemon"), matches.on("json")).await;
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

async fn features(run: &mut Run<'_, '_>, daemon: bool, json: bool) -> Outcome {
    let features = match daemon {
        true => run.client.features().await?,
        false => run.env.version.features.clone(),
    };
    let text = match json {
        true => format!("{}\n", to_go_json(&features, Indent::Tab)),
        false => version::features(&features),
    };
    run.console.say(&text);
    Ok(())
}
