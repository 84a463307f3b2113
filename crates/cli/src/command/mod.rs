//! The commands, one file each: its flags, what it asks the daemon, what it prints.

mod bugreport;
mod debug;
mod down;
mod get;
mod ip;
mod login;
mod logout;
mod metrics;
mod netcheck;
mod ping;
mod risk;
mod set;
mod status;
mod switch;
mod up;
mod up_wait;
mod version;
mod wait;
mod whois;

use clap::{ArgMatches, Command};
use localapi::client::Client;

use crate::Env;
use crate::args::{Matches, group, quote_list, text};
use crate::console::Console;
use crate::stop::{Outcome, Stop};

/// Everything a command works with.
pub(crate) struct Run<'c, 'w> {
    /// The process.
    pub(crate) env: &'c Env,
    /// The daemon at the other end of the socket.
    pub(crate) client: Client,
    /// The streams.
    pub(crate) console: &'c mut Console<'w>,
}

const ABOUT_HELP: &str = "For help on a command, add --help after it: \"tailscale status --help\".";

/// The command tree.
pub(crate) fn root(env: &Env) -> Command {
    let socket = format!("path of tailscaled's socket [default: {}]", env.socket.display());
    group(
        "tailscale",
        "tailscale [flags] <subcommand> [command flags]",
        "Your private network, made of WireGuard.",
    )
    .before_help(ABOUT_HELP)
    .arg(text("socket", "", "").help(socket))
    .subcommands([
        up::define(),
        down::define(),
        set::define(),
        get::define(),
        login::define(),
        logout::define(),
        switch::define(),
        netcheck::define(),
        ip::define(),
        status::define(),
        metrics::define(),
        ping::define(),
        version::define(),
        whois::define(),
        whois::define_whoami(),
        wait::define(),
        bugreport::define(),
        debug::define(),
    ])
}

/// Runs the command that was typed.
pub(crate) async fn dispatch(
    root: &Command,
    matches: &ArgMatches,
    env: &Env,
    console: &mut Console<'_>,
) -> Outcome {
    let Some((name, matches_of)) = matches.subcommand() else { return Err(Stop::Help(Vec::new())) };
    let socket = match matches.word("socket") {
        "" => env.socket.clone(),
        socket => socket.into(),
    };
    let client = Client::new(socket);
    let client = if env.patient { client.patient() } else { client };
    let run = &mut Run { env, client, console };
    match name {
        "up" => up::run(run, root, matches_of).await,
        "login" => login::run(run, root, matches_of).await,
        "down" => down::run(run, matches_of).await,
        "set" => set::run(run, root, matches_of).await,
        "get" => get::run(run, matches_of).await,
        "logout" => logout::run(run, matches_of).await,
        "switch" => switch::run(run, matches_of).await,
        "netcheck" => netcheck::run(run, matches_of).await,
        "ip" => ip::run(run, matches_of).await,
        "status" => status::run(run, matches_of).await,
        "metrics" => metrics::run(run, matches_of).await,
        "ping" => ping::run(run, matches_of).await,
        "version" => version::run(run, matches_of).await,
        "whois" => whois::run(run, matches_of).await,
        "whoami" => whois::run_whoami(run, matches_of).await,
        "wait" => wait::run(run, matches_of).await,
        "bugreport" => bugreport::run(run, matches_of).await,
        "debug" => debug::run(run, matches_of).await,
        // clap lets only defined names through.
        other => Err(Stop::Error(format!("tailscale: unknown subcommand: {other}"))),
    }
}

/// Refuses words where a command takes none.
fn no_words(matches: &ArgMatches) -> Outcome {
    match matches.rest().as_slice() {
        [] => Ok(()),
        words => Err(Stop::Error(format!("too many non-flag arguments: {}", quote_list(words)))),
    }
}

/// Names of all flags of the command `name`, sorted.
fn flag_names(root: &Command, name: &str) -> Vec<String> {
    let command = root.find_subcommand(name);
    let mut names: Vec<String> = command
        .into_iter()
        .flat_map(Command::get_arguments)
        .filter_map(|arg| arg.get_long())
        .map(str::to_owned)
        .collect();
    names.sort();
    names
}
