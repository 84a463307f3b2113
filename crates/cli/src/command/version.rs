//! `version`: ours, and the daemon's with `--daemon`; with `--features` what is in the build.

use localapi::types::{Indent, to_go_json};

use super::{Run, no_words};
use crate::args::{Command, Flag, Matches, switch, text};
use crate::render::version;
use crate::stop::{Outcome, Stop};

pub(super) static COMMAND: Command = Command {
    name: "version",
    usage: "tailscale version [flags]",
    about: "Print the version",
    flags: &[FLAGS],
    run: Some(run),
    ..Command::PLAIN
};

const FLAGS: &[Flag] = &[
    switch("daemon", false, "print the daemon's version, too"),
    switch("features", false, "print which features are in this build, or with --daemon in the daemon's"),
    switch("json", false, "print JSON"),
    text("track", "", "with --upstream (not in this build)").hidden(),
    switch("upstream", false, "print the latest version there is (not in this build)").hidden(),
];

fn run(run: &mut Run<'_, '_>, matches: &Matches) -> Outcome {
    no_words(matches)?;
    if matches.on("upstream") {
        return Err(Stop::from("fetching latest version not supported in this build"));
    }
    if matches.on("features") {
        return features(run, matches.on("daemon"), matches.on("json"));
    }
    let daemon = match matches.on("daemon") {
        true => Some(run.own_status()?.version),
        false => None,
    };
    let own = &run.env.version;
    match (matches.on("json"), daemon) {
        (true, daemon) => run.console.say_json(&version::as_json(own, daemon.as_deref())),
        (false, Some(daemon)) => {
            run.console.say(&format!("Client: {}\nDaemon: {daemon}\n", version::text(own)));
        }
        (false, None) => run.console.say(&format!("{}\n", version::text(own))),
    }
    Ok(())
}

fn features(run: &mut Run<'_, '_>, daemon: bool, json: bool) -> Outcome {
    let features = match daemon {
        true => run.wait(run.client.features())?,
        false => run.env.version.features.clone(),
    };
    match json {
        true => run.console.say_json(&format!("{}\n", to_go_json(&features, Indent::Tab))),
        false => run.console.say(&version::features(&features)),
    }
    Ok(())
}
