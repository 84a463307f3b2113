//! The commands, one file each: their tables, what they ask the daemon, what they print.

mod bugreport;
mod debug;
mod dns;
mod down;
mod exit_node;
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

use localapi::Error;
use localapi::client::{Call, Client};
use localapi::types::{Prefs, Status};

use crate::Env;
use crate::args::{Command, Flag, Matches, quote_list, text};
use crate::console::Console;
use crate::stop::{Outcome, Stop};
use crate::wait::Waiter;

/// What runs a command.
pub(crate) type Handler = fn(&mut Run<'_, '_>, &Matches) -> Outcome;

/// Everything a command works with.
pub(crate) struct Run<'c, 'w> {
    /// The process.
    pub(crate) env: &'c Env,
    /// The daemon at the other end of the socket.
    pub(crate) client: Client,
    /// The streams.
    pub(crate) console: &'c mut Console<'w>,
    /// The event loop.
    pub(crate) waiter: &'c Waiter,
}

impl Run<'_, '_> {
    /// The answer to a call.
    pub(crate) fn wait<T>(&self, call: Call<'_, T>) -> Result<T, Error> {
        let (exchange, read) = call.apart();
        read(exchange.path(), self.waiter.body(&exchange)?)
    }

    /// The daemon's status with all peers.
    pub(crate) fn status(&self) -> Result<Status, Error> {
        self.wait(self.client.status())
    }

    /// The daemon's status without peers.
    pub(crate) fn own_status(&self) -> Result<Status, Error> {
        self.wait(self.client.status_without_peers())
    }

    /// The daemon's settings.
    pub(crate) fn prefs(&self) -> Result<Prefs, Error> {
        self.wait(self.client.prefs())
    }
}

const USUAL: [&Command; 19] = [
    &up::COMMAND,
    &down::COMMAND,
    &set::COMMAND,
    &get::COMMAND,
    &login::COMMAND,
    &logout::COMMAND,
    &switch::COMMAND,
    &netcheck::COMMAND,
    &ip::COMMAND,
    &dns::COMMAND,
    &status::COMMAND,
    &metrics::COMMAND,
    &ping::COMMAND,
    &exit_node::COMMAND,
    &version::COMMAND,
    &whois::COMMAND,
    &whois::WHOAMI,
    &wait::COMMAND,
    &bugreport::COMMAND,
];

/// All of them, and a `debug`.
const fn with(debug: &'static Command) -> [&'static Command; 20] {
    let mut all = [debug; 20];
    all.split_at_mut(19).0.copy_from_slice(&USUAL);
    all
}

const ROOT: Command = Command {
    name: "tailscale",
    usage: "tailscale [flags] <subcommand> [command flags]",
    about: "Your private network, made of WireGuard.",
    more: "For help on a command, add --help after it: \"tailscale status --help\".",
    flags: &[FLAGS],
    ..Command::PLAIN
};

const FLAGS: &[Flag] = &[text("socket", "", "path of tailscaled's socket")];

/// The command line for a build without feature `debug`.
pub static USUAL_COMMANDS: Command = Command { commands: &const { with(&debug::ALWAYS) }, ..ROOT };

/// The command line with all of `debug`.
pub static ALL_COMMANDS: Command = Command { commands: &const { with(&debug::COMMAND) }, ..ROOT };

/// Runs the command that was typed: `typed` is what it and those above it were given.
pub(crate) fn dispatch(typed: &[Matches], env: &Env, console: &mut Console<'_>, waiter: &Waiter) -> Outcome {
    let (Some(root), Some(matches)) = (typed.first(), typed.last()) else { return Err(Stop::Help) };
    let socket = match root.word("socket") {
        "" => env.socket.clone(),
        socket => socket.into(),
    };
    let client = Client::new(socket);
    let client = if env.patient { client.patient() } else { client };
    let Some(command) = matches.command.run else { return Err(Stop::Help) };
    command(&mut Run { env, client, console, waiter }, matches)
}

/// Refuses words where a command takes none.
fn no_words(matches: &Matches) -> Outcome {
    match matches.rest().as_slice() {
        [] => Ok(()),
        words => Err(Stop::Error(format!("too many non-flag arguments: {}", quote_list(words)))),
    }
}

/// For commands of a part that a daemon may have been built without.
fn lacking(error: Error) -> Stop {
    match error {
        Error::NotFound(text) if text.ends_with("404 page not found") => {
            Stop::from("this tailscaled cannot do that: the part is not in its build")
        }
        error => error.into(),
    }
}
