//! `metrics`: what the daemon counts for its users, in Prometheus' text format.

use std::io::Write as _;
use std::path::Path;

use super::{Run, lacking, no_words};
use crate::args::{Command, Matches};
use crate::stop::{Outcome, Stop};

pub(super) static COMMAND: Command = Command {
    name: "metrics",
    usage: "tailscale metrics [print]\n  tailscale metrics write <path>",
    about: "Print what the daemon counts, for Prometheus",
    commands: &[&PRINT, &WRITE],
    run: Some(run),
    ..Command::PLAIN
};

static PRINT: Command = Command {
    name: "print",
    usage: "tailscale metrics print",
    about: "Print the metrics",
    run: Some(print),
    ..Command::PLAIN
};

static WRITE: Command = Command {
    name: "write",
    usage: "tailscale metrics write <path>",
    about: "Write the metrics to a file",
    more: "The file is replaced as a whole, so a collector never reads half of it.",
    run: Some(write),
    ..Command::PLAIN
};

fn run(run: &mut Run<'_, '_>, matches: &Matches) -> Outcome {
    match matches.rest().first() {
        Some(word) => Err(Stop::Error(format!("tailscale metrics: unknown subcommand: {word}"))),
        None => print(run, matches),
    }
}

fn print(run: &mut Run<'_, '_>, matches: &Matches) -> Outcome {
    no_words(matches)?;
    let text = run.wait(run.client.user_metrics()).map_err(lacking)?;
    run.console.say_bytes(&text);
    Ok(())
}

fn write(run: &mut Run<'_, '_>, matches: &Matches) -> Outcome {
    let words = matches.rest();
    let [path] = words.as_slice() else { return Err(Stop::from("usage: tailscale metrics write <path>")) };
    let text = run.wait(run.client.user_metrics()).map_err(lacking)?;
    replace(Path::new(path), &text).map_err(|error| format!("cannot write {path}: {error}").into())
}

/// Puts `text` into a new file beside `path`, then in its place.
fn replace(path: &Path, text: &[u8]) -> std::io::Result<()> {
    let mut name = path.file_name().ok_or(std::io::ErrorKind::InvalidInput)?.to_owned();
    name.push(format!(".tmp{}", std::process::id()));
    let fresh = path.with_file_name(name);
    let written = std::fs::File::create(&fresh)
        .and_then(|mut file| file.write_all(text).and_then(|()| file.sync_all()))
        .and_then(|()| std::fs::rename(&fresh, path));
    if written.is_err() {
        let _ = std::fs::remove_file(&fresh);
    }
    written
}
