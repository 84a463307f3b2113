//! The `tailscale` command line: arguments, commands and rendering.
//!
//! Owns: tables of commands and flags read in Go's syntax, one file per command, and every line that a
//! person or a script reads. Talks to any daemon with Tailscale's LocalAPI, ours or Go's.
//! Leaves out: the LocalAPI itself (`localapi`), the process around it (arguments, environment, streams, clock and
//! versions are handed in by `daemon`, so that everything here can be tested).

mod args;
mod command;
mod console;
mod netcheck;
mod prefs;
mod render;
mod stop;
mod wait;

use localapi::types::OptionalFeatures;
use std::io::Write;
use std::path::PathBuf;
use std::rc::Rc;
use std::time::SystemTime;

pub use args::{Command, nearest, parse_bool};
pub use command::{ALL_COMMANDS, Commands, Parts};
pub use prefs::names::check_hostname;

use args::Typed;
use console::Console;
use stop::Stop;
use wait::Waiter;

/// What a process knows about itself.
#[derive(Clone)]
pub struct Env {
    /// [`ALL_COMMANDS`] or those that this build has.
    pub commands: &'static Command,
    /// Environment variables; `USER`, `SSH_CLIENT` and `TS_DEBUG_NETCHECK_UDP_BIND` are read.
    pub vars: Vec<(String, String)>,
    /// Real user id, for the hint about `sudo`.
    pub uid: u32,
    /// Standard input and output are both a terminal, so a question can be asked.
    pub terminal: bool,
    /// Wall time at start, for "last seen 5m ago".
    pub now: SystemTime,
    /// Wait a moment for a daemon that is only just being started.
    pub patient: bool,
    /// The daemon's socket unless `--socket` says otherwise.
    pub socket: PathBuf,
    /// What `version` prints.
    pub version: VersionInfo,
    /// Makes what opens connections to relays, for `netcheck`.
    pub dialer: fn() -> Result<Rc<dyn dial::Dial>, String>,
}

impl Env {
    /// Seconds since 1970.
    fn seconds(&self) -> i64 {
        let age = self.now.duration_since(std::time::UNIX_EPOCH).map_or(0, |age| age.as_secs());
        i64::try_from(age).unwrap_or(i64::MAX)
    }

    /// The environment variable `name`; of one that is not set, nothing.
    fn var(&self, name: &str) -> &str {
        self.vars.iter().find(|(known, _)| known == name).map_or("", |(_, value)| value)
    }
}

/// The versions of this program.
#[derive(Clone, Debug, Default)]
pub struct VersionInfo {
    /// Upstream version we are compatible with, e.g. `1.102.5`.
    pub short: String,
    /// `short` plus what tells builds apart.
    pub long: String,
    /// Commit this was built from; may be empty.
    pub commit: String,
    /// Capability version we declare to control.
    pub capability: u32,
    /// Which features of the node are in this build.
    pub features: OptionalFeatures,
}

/// Checks a list of routes as `--advertise-routes` takes it.
///
/// # Errors
/// One sentence that names the word that is no route.
pub fn check_routes(list: &str) -> Result<(), String> {
    prefs::routes::advertised(list, false).map(drop)
}

/// Runs one command line. `args` are the words after the program name; the result is the exit status: 0 fine, 1
/// failed, 2 wrong flags.
///
/// Makes its own single-threaded runtime: not to be called from inside another.
pub fn run(args: &[String], env: &Env, out: &mut dyn Write, err: &mut dyn Write) -> i32 {
    let mut console = Console::new(out, err);
    let socket = env.socket.to_string_lossy();
    let typed = match args::read(env.commands, &socket, args) {
        Ok(Typed::Run(typed)) => typed,
        Ok(Typed::Help(text)) => {
            console.note(&text);
            return console.finish(0);
        }
        Err(error) => {
            match asked_up_for_json(args) {
                true => console.say_json(&render::json::error(&args::mask_given(args, &error.message))),
                false => {
                    let message = args::mask_given(args, &error.message);
                    console.note(&format!("{message}\n{}", error.usage));
                }
            }
            return console.finish(error.status);
        }
    };
    let waiter = match Waiter::new() {
        Ok(waiter) => waiter,
        Err(error) => {
            console.note(&format!("cannot start: {error}\n"));
            return console.finish(1);
        }
    };
    let status = match command::dispatch(&typed, env, &mut console, &waiter) {
        Ok(()) => 0,
        Err(Stop::Quiet(status)) => status,
        Err(Stop::Help) => {
            let command = typed.last().map_or(env.commands, |matches| matches.command);
            console.note(&args::usage(command, &socket));
            0
        }
        Err(Stop::Error(message)) => {
            let newline = if message.ends_with('\n') { "" } else { "\n" };
            console.note(&format!("{message}{newline}"));
            1
        }
        Err(Stop::Denied(message)) => {
            let hint = if env.uid == 0 { String::new() } else { sudo_hint(args) };
            console.note(&format!("{message}{hint}\n"));
            1
        }
    };
    console.finish(status)
}

/// Whether it was `up --json`, as far as a refused command line can be read: nothing but JSON is said then.
fn asked_up_for_json(args: &[String]) -> bool {
    let mut words = args.iter().map(String::as_str).take_while(|word| *word != "--");
    let command = loop {
        match words.next() {
            Some("--socket" | "-socket") => drop(words.next()),
            Some(flag) if flag.starts_with('-') => {}
            word => break word,
        }
    };
    command == Some("up")
        && words.any(|word| ["--json", "-json", "--json=true", "-json=true"].contains(&word))
}

fn sudo_hint(args: &[String]) -> String {
    format!(
        "\n\nUse 'sudo tailscale {}'.\nTo not require root, use 'sudo tailscale set --operator=$USER' once.",
        args::mask_given(args, &args.join(" "))
    )
}
