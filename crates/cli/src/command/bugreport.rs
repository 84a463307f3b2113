//! `bugreport`: a marker in the daemon's log, to refer to.

use super::{Run, lacking};
use crate::args::{Command, Flag, Matches, switch};
use crate::stop::{Outcome, Stop};

pub(super) static COMMAND: Command = Command {
    name: "bugreport",
    usage: "tailscale bugreport [note]",
    about: "Mark this moment in the daemon's log and print the mark",
    flags: &[FLAGS],
    run: Some(run),
    ..Command::PLAIN
};

const FLAGS: &[Flag] = &[
    switch("diagnose", false, "have the daemon check more"),
    switch("record", false, "wait for Enter, then make a second mark"),
];

fn run(run: &mut Run<'_, '_>, matches: &Matches) -> Outcome {
    let words = matches.rest();
    let note = match words.as_slice() {
        [] => "",
        [note] => note,
        _ => return Err(Stop::from("unknown arguments; put the note in quotes")),
    };
    mark(run, matches, note)?;
    if matches.on("record") {
        run.console.note("Recording started; reproduce the problem, then press Enter…\n");
        // Nothing else runs meanwhile.
        std::io::stdin().read_line(&mut String::new()).map_err(|error| format!("reading stdin: {error}"))?;
        mark(run, matches, note)?;
    }
    Ok(())
}

fn mark(run: &mut Run<'_, '_>, matches: &Matches, note: &str) -> Outcome {
    let marker = run.wait(run.client.bug_report(note, matches.on("diagnose"))).map_err(lacking)?;
    run.console.say(&format!("{marker}\n"));
    Ok(())
}
