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
pub(crate) mod up_kept;
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

/// Which commands there are.
pub struct Commands {
    list: [&'static Command; 20],
    /// How many of them; the rest of the list stands there twice.
    count: usize,
}

/// The optional parts of the node that have commands of their own.
#[derive(Clone, Copy, Debug)]
pub struct Parts {
    /// Most of `debug`.
    pub debug: bool,
    /// `dns`.
    pub dns: bool,
    /// `exit-node`.
    pub exit_node: bool,
}

impl Parts {
    /// The commands of a build with these parts. What a constant leaves out is not in the binary.
    pub const fn commands(self) -> Commands {
        let debug = if self.debug { &debug::COMMAND } else { &debug::ALWAYS };
        let all = [
            Some(&up::COMMAND),
            Some(&down::COMMAND),
            Some(&set::COMMAND),
            Some(&get::COMMAND),
            Some(&login::COMMAND),
            Some(&logout::COMMAND),
            Some(&switch::COMMAND),
            Some(&netcheck::COMMAND),
            Some(&ip::COMMAND),
            if self.dns { Some(&dns::COMMAND) } else { None },
            Some(&status::COMMAND),
            Some(&metrics::COMMAND),
            Some(&ping::COMMAND),
            if self.exit_node { Some(&exit_node::COMMAND) } else { None },
            Some(&version::COMMAND),
            Some(&whois::COMMAND),
            Some(&whois::WHOAMI),
            Some(&wait::COMMAND),
            Some(&bugreport::COMMAND),
            Some(debug),
        ];
        let mut some = Commands { list: [debug; 20], count: 0 };
        let mut at = 0;
        while at < all.len() {
            if let Some(command) = all[at] {
                some.list[some.count] = command;
                some.count += 1;
            }
            at += 1;
        }
        some
    }
}

impl Command {
    /// `tailscale` itself, with these commands.
    pub const fn root(below: &'static Commands) -> Self {
        Self { commands: below.list.split_at(below.count).0, ..ROOT }
    }
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

/// The command line with everything.
pub static ALL_COMMANDS: Command =
    Command::root(&const { Parts { debug: true, dns: true, exit_node: true }.commands() });

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
