//! Developer commands: `cargo xtask demo | test | peers | lab | features | build | size | image | publish | bench |
//! busybox | third-party | tidy`.
//!
//! Owns: what a person or CI types. Each command is one file. There is no check that exists only in CI: `.ci/run`
//! calls `peers` and `test` and nothing else. Leaves out: everything that ships.
#![allow(clippy::print_stdout, clippy::print_stderr)]

mod bench;
mod build;
mod busybox;
mod demo;
// Some of it only the commands that build need.
#[allow(dead_code)]
mod features;
mod image;
mod interactive;
mod libtest;
mod metadata;
mod peers;
mod publish;
mod size;
mod tally;
mod target;
mod test;
mod third_party;
mod tidy;

use anyhow::Result;
use clap::{Arg, ArgAction, Command};
use features::Request;
use std::any::Any;
use std::process::ExitCode;

fn arguments() -> Command {
    Command::new("cargo xtask")
        .about("Developer commands of smalltail")
        .subcommand_required(true)
        .arg_required_else_help(true)
        .subcommand(
            Command::new("demo").about("Two nodes on this machine, no root and no network needed").arg(
                Arg::new("release")
                    .long("release")
                    .action(ArgAction::SetTrue)
                    .help("drive the release build instead of the quickly built one"),
            ),
        )
        .subcommand(
            Command::new("test")
                .about("Everything this machine can run; what it cannot is named with the reason")
                .arg(
                    Arg::new("nightly")
                        .long("nightly")
                        .action(ArgAction::SetTrue)
                        .help("also what takes more than a minute each"),
                )
                .arg(Arg::new("filter").value_name("FILTER").help("only tests whose name contains this")),
        )
        .subcommand(
            Command::new("peers")
                .about("Install headscale and the Go programs that tests talk to")
                .arg(
                    Arg::new("incumbent").long("incumbent").action(ArgAction::SetTrue).help(
                        "also the Go node as images for routers have it: stripped and packed, for `bench`",
                    ),
                )
                .arg(
                    Arg::new("kernels")
                        .long("kernels")
                        .action(ArgAction::SetTrue)
                        .help("also kernels like RouterOS's, on which `test --nightly` boots the image"),
                ),
        )
        .subcommand(Command::new("lab").about("Headscale, a Go node and two of ours to play with (root)"))
        .subcommand(build::command())
        .subcommand(size::command())
        .subcommand(image::command())
        .subcommand(publish::command())
        .subcommand(busybox::command())
        .subcommand(third_party::command())
        .subcommand(bench::command())
        .subcommand(features::command())
        .subcommand(Command::new("tidy").about("Checks of the tree itself"))
}

fn main() -> ExitCode {
    let usual = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        if !closed_pipe(panic.payload()) {
            usual(panic);
        }
    }));
    match std::panic::catch_unwind(run) {
        Ok(Ok(code)) => code,
        Ok(Err(error)) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
        // What a shell says of a program that SIGPIPE ended.
        Err(panic) if closed_pipe(&*panic) => ExitCode::from(141),
        Err(panic) => std::panic::resume_unwind(panic),
    }
}

/// Whether `println!` panicked because whoever reads us has had enough, as in `cargo xtask features | head`. It is the
/// only word we get of it; unwinding ends what was started and is no error worth a line.
fn closed_pipe(payload: &dyn Any) -> bool {
    let text = payload.downcast_ref::<String>().map(String::as_str).unwrap_or_default();
    text.starts_with("failed printing to std") && text.contains("Broken pipe")
}

fn run() -> Result<ExitCode> {
    let matches = arguments().get_matches();
    match matches.subcommand() {
        Some(("demo", matches)) => demo::run(matches.get_flag("release")).map(|()| ExitCode::SUCCESS),
        Some(("test", matches)) => {
            test::run(matches.get_flag("nightly"), matches.get_one::<String>("filter").map(String::as_str))
        }
        Some(("peers", matches)) => {
            peers::run(matches.get_flag("incumbent"), matches.get_flag("kernels")).map(|()| ExitCode::SUCCESS)
        }
        Some(("lab", _)) => interactive::run().map(|()| ExitCode::SUCCESS),
        Some(("build", matches)) => {
            build::run(&Request::read(matches)?, &build::targets(matches)).map(|()| ExitCode::SUCCESS)
        }
        Some(("size", matches)) => size::run(matches),
        Some(("image", matches)) => image::run(matches).map(|()| ExitCode::SUCCESS),
        Some(("publish", matches)) => publish::run(matches).map(|()| ExitCode::SUCCESS),
        Some(("busybox", matches)) => busybox::run(matches).map(|()| ExitCode::SUCCESS),
        Some(("third-party", matches)) => third_party::run(matches).map(|()| ExitCode::SUCCESS),
        Some(("bench", matches)) => bench::run(matches),
        Some(("features", matches)) => features::run(matches),
        Some(("tidy", _)) => tidy::run(),
        _ => Ok(ExitCode::FAILURE),
    }
}

/// Whether a skip is a failure here.
fn in_ci() -> bool {
    std::env::var_os("CI").is_some_and(|value| value == "true")
}

#[cfg(test)]
mod tests {
    #[test]
    fn arguments_are_consistent() {
        super::arguments().debug_assert();
    }

    #[test]
    fn only_a_closed_pipe_is_no_fault() {
        let payload = |text: &str| -> Box<dyn std::any::Any> { Box::new(text.to_owned()) };
        let closed = "failed printing to stdout: Broken pipe (os error 32)";
        assert!(super::closed_pipe(&*payload(closed)));
        assert!(!super::closed_pipe(&*payload(
            "failed printing to stdout: No space left on device (os error 28)"
        )));
        assert!(!super::closed_pipe(&*payload("Broken pipe")));
    }
}
