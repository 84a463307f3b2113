//! `metrics`: what the daemon counts for its users, in Prometheus' text format.

use std::io::Write as _;
use std::path::Path;

use clap::{ArgMatches, Command};

use super::{Run, debug::lacking, no_words};
use crate::args::{Matches, command};
use crate::stop::{Outcome, Stop};

pub(crate) fn define() -> Command {
    command(
        "metrics",
        "tailscale metrics [print]\n  tailscale metrics write <path>",
        "Print what the daemon counts, for Prometheus",
    )
    .subcommand(command("print", "tailscale metrics print", "Print the metrics"))
    .subcommand(
        command("write", "tailscale metrics write <path>", "Write the metrics to a file")
            .before_help("The file is replaced as a whole, so a collector never reads half of it."),
    )
}

pub(crate) async fn run(run: &mut Run<'_, '_>, matches: &ArgMatches) -> Outcome {
    match matches.subcommand() {
        Some(("write", matches)) => {
            let words = matches.rest();
            let [path] = words.as_slice() else {
                return Err(Stop::from("usage: tailscale metrics write <path>"));
            };
            let text = run.client.user_metrics().await.map_err(lacking)?;
            replace(Path::new(path), &text).map_err(|error| format!("cannot write {path}: {error}").into())
        }
        Some((_, matches)) => {
            no_words(matches)?;
            print(run).await
        }
        None => match matches.rest().first() {
            Some(word) => Err(Stop::Error(format!("tailscale metrics: unknown subcommand: {word}"))),
            None => print(run).await,
        },
    }
}

async fn print(run: &mut Run<'_, '_>) -> Outcome {
    let text = run.client.user_metrics().await.map_err(lacking)?;
    run.console.say_bytes(&text);
    Ok(())
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
