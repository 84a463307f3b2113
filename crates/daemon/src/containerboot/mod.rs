//! The container's entry point: process 1, the environment, health.
//!
//! One process stays as [`init`]; it forks the daemon, and for a moment the command line that carries the environment's
//! settings to it. Who decides what: `settings` and `variables` read the environment, `machine` prepares what is around,
//! `keeper` says who runs. Leaves out: daemon and command line, which are the other faces.

mod fork;
pub(crate) mod health;
pub(crate) mod init;
mod keeper;
mod machine;
mod settings;
mod variables;

use crate::clock::Clock;
use crate::flags::variable;
use crate::{logging, version};
use init::Become;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::process::ExitCode;

const HELP: &str = "\
Runs a Tailscale node in a container: prepares the machine, keeps tailscaled
running and brings the node up as the environment says.

USAGE
  containerboot              run; usually process 1
  containerboot healthcheck  say whether the node carries traffic: status 0 or 1
  containerboot --version

ENVIRONMENT
  TS_AUTHKEY                auth key, or file:PATH of one; used only where a login is needed
  TS_LOGIN_SERVER           control server [default: Tailscale's own]
  TS_HOSTNAME               name of the node [default: the container's]
  TS_ROUTES                 routes to advertise, comma-separated; empty for none
  TS_ACCEPT_DNS             use the tailnet's DNS settings [default: false]
  TS_DNS_LISTEN             answer names of the tailnet to a LAN at this address
  TS_DNS_ALLOW              networks answered there [default: the address's subnet]
  TS_EXTRA_ARGS             further flags of tailscale up
  TS_AUTH_ONCE              leave a node that is logged in as it is, but for
                            name, routes and DNS [default: false]
  TS_STATE_DIR              folder that must persist [default: /var/lib/tailscale]
  TS_SOCKET                 [default: /var/run/tailscale/tailscaled.sock]
  TS_OWNER                  routeros: RouterOS has the node's address, the container
                            only carries packets
  TS_USERSPACE              no kernel interface [default: false]
  TS_TAILSCALED_EXTRA_ARGS  further flags of tailscaled
  TS_ENABLE_HEALTH_CHECK    answer GET /healthz [default: false]
  TS_LOCAL_ADDR_PORT        where [default: [::]:9002]
";

/// What the other faces do for this one.
pub(crate) enum Role {
    /// Nothing: this is the status.
    Done(ExitCode),
    /// Be the daemon with these arguments.
    Daemon(Vec<String>, Beside),
    /// Be the command line.
    CommandLine(Vec<String>),
}

/// What the daemon does beside its work in a container.
pub(crate) struct Beside {
    /// Where its states are told.
    pub(crate) states: OwnedFd,
    /// Where health is told.
    pub(crate) health: Option<SocketAddr>,
}

/// Starts with the words after the program's name.
pub(crate) fn start(args: &[String]) -> Role {
    let words: Vec<&str> = args.iter().map(String::as_str).collect();
    let text = match words.as_slice() {
        [] => return boot(),
        ["healthcheck"] => return Role::Done(health::check(socket())),
        ["--help" | "-help" | "-h" | "help"] => HELP.to_owned(),
        ["--version" | "-version" | "version"] => {
            format!("{}\n  long version: {}\n", version::SHORT, version::LONG)
        }
        _ => {
            let near = cli::nearest(
                words.first().unwrap_or(&""),
                &mut ["healthcheck", "--help", "--version"].into_iter(),
            );
            let hint = near.map(|near| format!(" (did you mean {near}?)")).unwrap_or_default();
            complain(&format!(
                "containerboot: unknown argument {:?}{hint}; settings are in the environment, see containerboot --help\n",
                words.join(" ")
            ));
            return Role::Done(ExitCode::from(2));
        }
    };
    print(&text);
    Role::Done(ExitCode::SUCCESS)
}

fn boot() -> Role {
    let clock = Clock::new(None);
    // What is no text is kept as what it looks like, so that it is refused by its name.
    let vars: Vec<(String, String)> = std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.to_string_lossy().into_owned())))
        .collect();
    let uid = rustix::process::geteuid().as_raw();
    let mut plan = match settings::read(&vars, &|path| path.is_dir(), uid) {
        Ok(plan) => plan,
        Err(refusals) => {
            refusals.iter().for_each(|refusal| logging::boot(&clock, refusal));
            logging::boot(&clock, "not started: correct the environment and start the container again");
            return Role::Done(ExitCode::FAILURE);
        }
    };
    drop(vars);
    for note in std::mem::take(&mut plan.notes).into_iter().chain(machine::prepare(&mut plan)) {
        logging::boot(&clock, &note);
    }
    match init::run(&plan, &clock) {
        Ok(Become::Daemon(states)) => Role::Daemon(plan.daemon, Beside { states, health: plan.health }),
        Ok(Become::CommandLine(words)) => Role::CommandLine(words),
        Ok(Become::Ended(status)) => Role::Done(ExitCode::from(status)),
        Err(error) => {
            logging::boot(&clock, &format!("cannot go on: {error}"));
            Role::Done(ExitCode::FAILURE)
        }
    }
}

/// Where the daemon of this container listens.
fn socket() -> PathBuf {
    let found = variable("TS_SOCKET")
        .map_or_else(|| health::find_socket(PathBuf::from(settings::SOCKET)), PathBuf::from);
    let beside = variable("TS_STATE_DIR").map(|dir| machine::beside(&PathBuf::from(dir)));
    beside.filter(|path| !found.exists() && path.exists()).unwrap_or(found)
}

/// To standard output; a reader that has gone away is no reason to fail.
fn print(text: &str) {
    use std::io::Write as _;
    let _ = std::io::stdout().write_all(text.as_bytes());
}

fn complain(text: &str) {
    use std::io::Write as _;
    let _ = std::io::stderr().write_all(text.as_bytes());
}
