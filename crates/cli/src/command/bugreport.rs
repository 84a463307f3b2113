//! `bugreport`: a marker in the daemon's log, to refer to.

use clap::{ArgMatches, Command};

use super::{Run, debug::lacking};
use crate::args::{Matches, command, switch};
use crate::stop::{Outcome, Stop};

pub(crate) fn define() -> Command {
    command(
        "bugreport",
        "tailscale bugreport [note]",
        "Mark this moment in the daemon's log and print the mark",
    )
    .arg(switch("diagnose", false, "have the daemon check more"))
    .arg(switch("record", false, "wait for Enter, then make a second mark"))
}

pub(crate) async fn run(run: &mut Run<'_, '_>, matches: &ArgMatches) -> Outcome {
    let words = matches.rest();
    let note = match words.as_slice() {
        [] => "",
        [note] => note,
        _ => return Err(Stop::from("unknown arguments; put the note in quotes")),
    };
    mark(run, matches, note).await?;
    if matches.on("record") {
        run.console.note("Recording started; reproduce the problem, then press Enter…\n");
        // Nothing else runs meanwhile.
        std::io::stdin().read_line(&mut String::new()).map_err(|error| format!("reading stdin: {error}"))?;
        mark(run, matches, note).await?;
    }
    Ok(())
}

async fn mark(run: &mut Run<'_, '_>, matches: &ArgMatches, note: &str) -> Outcome {
    let marker = run.client.bug_report(note, matches.on("diagnose")).await.map_err(lacking)?;
    run.console.say(&format!("{marker}\n"));
    Ok(())
}
