//! Which program this is today: `tailscaled`, `tailscale` or `containerboot`, told by the name it is called by.

use crate::containerboot::{self, Beside, Role};
use crate::flags::{self, Flags, Parsed, StatePlace, Surroundings};
use crate::parts::{self, allroots, dns, osrouter};
use crate::{clock, host, logging, node, version};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::rc::Rc;
use std::sync::Arc;
use tokio::sync::oneshot;

/// Runs the face that is asked for and returns the status to exit with.
pub fn run() -> ExitCode {
    let mut args = std::env::args_os().map(|arg| arg.to_string_lossy().into_owned());
    let name = args.next().unwrap_or_default();
    let args: Vec<String> = args.collect();
    let name = Path::new(&name).file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
    let told = flags::switched_on("TS_BE_CLI");
    if told || name == "tailscale" {
        return command_line(&args);
    }
    if name != "containerboot" {
        return daemon(&args, None);
    }
    match containerboot::start(&args) {
        Role::Done(status) => status,
        Role::Daemon(args, beside) => daemon(&args, Some(beside)),
        Role::CommandLine(args) => command_line(&args),
    }
}

fn command_line(args: &[String]) -> ExitCode {
    use std::io::IsTerminal as _;
    let clock = clock::Clock::new(None);
    let around = |name: &str| std::env::var(name).ok();
    let surroundings = Surroundings { var: &around, is_dir: &|path| path.is_dir(), uid: 0 };
    let env = cli::Env {
        commands: &parts::COMMANDS,
        vars: std::env::vars_os()
            .filter_map(|(k, v)| Some((k.into_string().ok()?, v.into_string().ok()?)))
            .collect(),
        uid: rustix::process::getuid().as_raw(),
        terminal: std::io::stdin().is_terminal() && std::io::stdout().is_terminal(),
        now: std::time::UNIX_EPOCH + std::time::Duration::from_nanos(clock.wall().0),
        patient: true,
        socket: containerboot::health::find_socket(flags::default_socket(&surroundings)),
        version: cli::VersionInfo {
            short: version::SHORT.to_owned(),
            long: version::LONG.to_owned(),
            commit: option_env!("SMALLTAIL_COMMIT").unwrap_or("").to_owned(),
            capability: u32::from(control::CAPABILITY_VERSION),
            features: parts::told(),
        },
        dialer,
    };
    let status = cli::run(args, &env, &mut std::io::stdout(), &mut std::io::stderr());
    ExitCode::from(u8::try_from(status).unwrap_or(1))
}

/// Opens connections for the command line, which trusts whom the daemon trusts.
fn dialer() -> Result<Rc<dyn dial::Dial>, String> {
    let extra_ca_file = flags::variable("SSL_CERT_FILE").into_iter().map(PathBuf::from).collect();
    let options =
        dial::Options { extra_ca_file, roots: allroots::roots(), wall: Arc::new(clock::Clock::new(None)) };
    Ok(Rc::new(dial::Dialer::new(options).map_err(|error| error.to_string())?))
}

fn daemon(args: &[String], beside: Option<Beside>) -> ExitCode {
    let var = |name: &str| std::env::var(name).ok();
    let around =
        Surroundings { var: &var, is_dir: &|path| path.is_dir(), uid: rustix::process::geteuid().as_raw() };
    match flags::parse(args, &around) {
        Parsed::Print(text) => {
            say(&mut std::io::stdout(), &text);
            ExitCode::SUCCESS
        }
        Parsed::Fail(text, status) => {
            say(&mut std::io::stderr(), &format!("{text}\n"));
            ExitCode::from(status)
        }
        Parsed::Run(flags) => serve(*flags, beside),
    }
}

fn serve(flags: Flags, beside: Option<Beside>) -> ExitCode {
    let changed = match &flags.state {
        StatePlace::File(path) => std::fs::metadata(path).and_then(|meta| meta.modified()).ok(),
        StatePlace::Memory => None,
    };
    let clock = Arc::new(clock::Clock::new(changed));
    logging::start(clock.clone(), flags.verbose);
    if flags.cleanup {
        return match dns::cleanup().and_then(|()| osrouter::cleanup(&flags.tun)) {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                log::error!("{error}");
                ExitCode::FAILURE
            }
        };
    }
    let interface = match osrouter::open(&flags.tun) {
        Ok(interface) => interface,
        Err(error) => {
            log::error!("{error}");
            return ExitCode::FAILURE;
        }
    };
    if let Some(why) = parts::carries_nothing(interface.is_some()) {
        log::warn!("{why}");
    }
    for note in &flags.notes {
        log::info!(target: logging::UNLIMITED, "{note}");
    }
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            log::error!("cannot start: {error}");
            return ExitCode::FAILURE;
        }
    };
    let mut facts = host::facts();
    facts.container |= beside.is_some();
    // A task like the others: what `block_on` itself waits for is polled whenever any of them has something to do.
    let ended = tokio::task::LocalSet::new().block_on(&runtime, async {
        let told = beside.map(|beside| {
            if let Some(at) = beside.health {
                dial::spawn(containerboot::health::serve(at, flags.socket.clone()));
            }
            Box::new(move |state| containerboot::init::tell(&beside.states, state)) as node::Told
        });
        let (ended, end) = oneshot::channel();
        dial::spawn(async move {
            let _ = ended.send(node::run(flags, clock, facts, interface, told).await);
        });
        end.await
    });
    match ended.unwrap_or_else(|gone| Err(gone.into())) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            log::error!(target: logging::UNLIMITED, "{error:#}");
            ExitCode::FAILURE
        }
    }
}

/// A reader that has gone away is no reason to fail.
fn say(to: &mut dyn std::io::Write, text: &str) {
    let _ = to.write_all(text.as_bytes());
    let _ = to.flush();
}
