//! The command line of `tailscaled`, in Go's syntax: one dash or two, `--flag=value` or `--flag value`.
//!
//! Owns: parsing, defaults, and one sentence for every flag of the Go daemon that this build does not have.
//! Leaves out: acting on them.

use crate::config;
use crate::parts::dns::{self, Listen};
use cli::{nearest, parse_bool};
use std::path::{Path, PathBuf};

/// What was asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Flags {
    /// Where state lives.
    pub state: StatePlace,
    /// Folder for everything else that is kept, if there is one.
    pub var_root: Option<PathBuf>,
    /// LocalAPI socket.
    pub socket: PathBuf,
    /// UDP port; 0 = any.
    pub port: u16,
    /// TUN devices to try in order.
    pub tun: Vec<String>,
    /// Log verbosity.
    pub verbose: u8,
    /// Remove what a former run left in the system, then exit.
    pub cleanup: bool,
    /// The configuration file, if there is one.
    pub config: Option<config::Place>,
    /// PEM files of further CA roots.
    pub ca_files: Vec<PathBuf>,
    /// Where a LAN may ask for names of the tailnet, if anywhere.
    pub dns_listen: Option<Listen>,
    /// Things worth a line in the log: flags that are accepted and do nothing here.
    pub notes: Vec<String>,
}

/// Where state lives.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StatePlace {
    /// `mem:`: nowhere; the node is ephemeral.
    Memory,
    /// In this file.
    File(PathBuf),
}

/// What the command line leads to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Parsed {
    /// Run the daemon.
    Run(Box<Flags>),
    /// Print this on standard output and exit with status 0.
    Print(String),
    /// Print this on standard error and exit with this status.
    Fail(String, u8),
}

/// What the process finds around it.
pub struct Surroundings<'a> {
    /// Environment variables.
    pub var: &'a dyn Fn(&str) -> Option<String>,
    /// Whether a path exists and is a folder.
    pub is_dir: &'a dyn Fn(&Path) -> bool,
    /// Effective user.
    pub uid: u32,
}

struct Spec {
    name: &'static str,
    value: &'static str,
    about: &'static str,
}

const FLAGS: &[Spec] = &[
    Spec {
        name: "ca-file",
        value: "path",
        about: "PEM file of further CA roots to trust for control and DERP; may be given more than once (so may SSL_CERT_FILE)",
    },
    Spec { name: "cleanup", value: "", about: "clean up system state and exit" },
    Spec {
        name: "config",
        value: "path",
        about: "JSON file with settings (alpha0); with 'optional:' before the path the node also starts without the file",
    },
    Spec {
        name: "dns-allow",
        value: "networks",
        about: "comma-separated networks that --dns-listen answers (default: the subnet of its address)",
    },
    Spec {
        name: "dns-listen",
        value: "address[:port]",
        about: "answer DNS for a LAN at this address of this machine: names of the tailnet and split DNS only",
    },
    Spec { name: "features", value: "", about: "print which features are in this build and exit" },
    Spec {
        name: "no-logs-no-support",
        value: "",
        about: "accepted for compatibility: this node never uploads logs",
    },
    Spec {
        name: "port",
        value: "port",
        about: "UDP port to listen on for WireGuard and peer-to-peer traffic; 0 means automatically select (default $PORT or 0)",
    },
    Spec {
        name: "socket",
        value: "path",
        about: "path of the LocalAPI unix socket (default /var/run/tailscale/tailscaled.sock)",
    },
    Spec {
        name: "state",
        value: "path",
        about: "absolute path of the state file, or 'mem:' to store nothing and register as an ephemeral node (default <statedir>/tailscaled.state)",
    },
    Spec {
        name: "statedir",
        value: "path",
        about: "folder for state; derived from --state when possible (default /var/lib/tailscale)",
    },
    Spec {
        name: "tun",
        value: "name",
        about: "tunnel interface, or \"userspace-networking\" to use none; a comma-separated list is tried in order (default tailscale0)",
    },
    Spec {
        name: "verbose",
        value: "level",
        about: "log verbosity; 0 is default, 1 and 2 show more (default $TS_LOG_VERBOSITY or 0)",
    },
    Spec { name: "version", value: "", about: "print version information and exit" },
];

/// Flags of the Go daemon for what no build of this one has. `true`: takes a value.
/// The node starts without them and says so, since service files carry them.
const ACCEPTED: &[(&str, bool)] = &[
    ("debug", true),
    ("socks5-server", true),
    ("outbound-http-proxy-listen", true),
    ("syspolicy-file", true),
    ("hardware-attestation", false),
    ("syslog", false),
];

/// Flags whose absence would change what the user relies on: refused.
const REFUSED: &[(&str, &str)] = &[
    ("bird-socket", "this build has no BIRD integration; leave the flag out"),
    (
        "encrypt-state",
        "this build cannot encrypt the state file; leave the flag out or give --encrypt-state=false",
    ),
];

const DEFAULT_DIR: &str = "/var/lib/tailscale";

/// Reads the arguments after the program's name.
pub fn parse(args: &[String], around: &Surroundings<'_>) -> Parsed {
    match Raw::read(args).and_then(|raw| raw.resolve(around)) {
        Ok(parsed) => parsed,
        Err(Refusal { text, status }) => Parsed::Fail(text, status),
    }
}

struct Refusal {
    text: String,
    status: u8,
}

/// A flag the parser does not understand, with Go's status for that.
fn misuse(text: String) -> Refusal {
    Refusal { text: format!("{text}\nRun `tailscaled --help` for the list of flags."), status: 2 }
}

#[derive(Default)]
struct Raw {
    values: Vec<(&'static str, String)>,
    notes: Vec<String>,
    help: bool,
}

impl Raw {
    fn read(args: &[String]) -> Result<Self, Refusal> {
        let mut raw = Self::default();
        let mut args = args.iter();
        while let Some(arg) = args.next() {
            let Some(flag) =
                arg.strip_prefix("--").or_else(|| arg.strip_prefix('-')).filter(|f| !f.is_empty())
            else {
                return Err(Refusal {
                    text: format!("tailscaled does not take non-flag arguments: {arg:?}"),
                    status: 1,
                });
            };
            let (name, inline) = match flag.split_once('=') {
                Some((name, value)) => (name, Some(value.to_owned())),
                None => (flag, None),
            };
            raw.take(name, inline, &mut args)?;
        }
        Ok(raw)
    }

    fn take(
        &mut self,
        name: &str,
        inline: Option<String>,
        rest: &mut std::slice::Iter<'_, String>,
    ) -> Result<(), Refusal> {
        let mut value = |wanted: bool| match (inline.clone(), wanted) {
            (Some(value), _) => Ok(value),
            (None, false) => Ok("true".to_owned()),
            (None, true) => {
                rest.next().cloned().ok_or_else(|| misuse(format!("flag needs an argument: -{name}")))
            }
        };
        if name == "help" || name == "h" {
            self.help = true;
        } else if let Some(spec) = FLAGS.iter().find(|spec| spec.name == name) {
            let value = value(!spec.value.is_empty())?;
            if spec.value.is_empty() && parse_bool(&value).is_err() {
                return Err(misuse(format!(
                    "invalid boolean value {value:?} for -{name}: give true or false"
                )));
            }
            self.values.push((spec.name, value));
        } else if let Some((_, takes_value)) = ACCEPTED.iter().find(|(accepted, _)| *accepted == name) {
            let value = value(*takes_value)?;
            if !value.is_empty() && parse_bool(&value) != Ok(false) {
                self.notes.push(format!("--{name} has no effect: this build has nothing of the kind"));
            }
        } else if let Some((_, why)) = REFUSED.iter().find(|(refused, _)| *refused == name) {
            if name != "encrypt-state" || inline.as_deref().map(parse_bool) != Some(Ok(false)) {
                return Err(Refusal { text: format!("--{name}: {why}"), status: 1 });
            }
        } else {
            let near = nearest(name, &mut FLAGS.iter().map(|spec| spec.name));
            let hint = near.map(|n| format!(" (did you mean --{n}?)")).unwrap_or_default();
            return Err(misuse(format!("flag provided but not defined: -{name}{hint}")));
        }
        Ok(())
    }

    fn value(&self, name: &str) -> Option<&str> {
        self.values.iter().rev().find(|(n, _)| *n == name).map(|(_, value)| value.as_str())
    }

    fn on(&self, name: &str) -> bool {
        self.value(name).map(parse_bool) == Some(Ok(true))
    }

    fn resolve(mut self, around: &Surroundings<'_>) -> Result<Parsed, Refusal> {
        if self.help {
            return Ok(Parsed::Print(help()));
        }
        if self.on("version") {
            return Ok(Parsed::Print(format!(
                "{}\n  long version: {}\n",
                crate::version::SHORT,
                crate::version::LONG
            )));
        }
        if self.on("features") {
            return Ok(Parsed::Print(features()));
        }
        let number = |name: &str, var: &str| {
            let text = self.value(name).map(str::to_owned).or_else(|| (around.var)(var));
            text.as_deref().and_then(meant).map_or(Ok(0), |text| {
                text.parse().map_err(|_| {
                    misuse(format!("invalid value {text:?} for -{name}: give a number from 0 to 65535"))
                })
            })
        };
        let port: u16 = number("port", "PORT")?;
        let verbose: u16 = number("verbose", "TS_LOG_VERBOSITY")?;
        let (state, var_root) = self.places(around)?;
        let socket = self.value("socket").map_or_else(|| default_socket(around), PathBuf::from);
        if socket.as_os_str().is_empty() {
            return Err(Refusal { text: "--socket must not be empty".to_owned(), status: 1 });
        }
        let config = config::Place::new(self.value("config").unwrap_or(""))
            .map_err(|why| Refusal { text: format!("--config: {why}"), status: 1 })?;
        let word = |name: &str| self.value(name).unwrap_or("").trim();
        let dns_listen = Listen::parse(word("dns-listen"), word("dns-allow"))
            .map_err(|text| Refusal { text, status: 1 })?;
        if dns_listen.is_some() && dns::FEATURE.is_none() {
            let text = "--dns-listen: this build answers no DNS: it lacks feature dns; leave the flag out"
                .to_owned();
            return Err(Refusal { text, status: 1 });
        }
        let files = self.values.iter().filter(|(name, _)| *name == "ca-file").map(|(_, path)| path.clone());
        let ca_files =
            files.chain((around.var)("SSL_CERT_FILE")).filter_map(|p| meant(&p).map(PathBuf::from));
        let tun = self.value("tun").unwrap_or("tailscale0").split(',').map(str::to_owned);
        Ok(Parsed::Run(Box::new(Flags {
            state,
            var_root,
            socket,
            port,
            tun: tun.collect(),
            verbose: u8::try_from(verbose).unwrap_or(u8::MAX),
            cleanup: self.on("cleanup"),
            config,
            ca_files: ca_files.collect(),
            dns_listen,
            notes: std::mem::take(&mut self.notes),
        })))
    }

    fn places(&self, around: &Surroundings<'_>) -> Result<(StatePlace, Option<PathBuf>), Refusal> {
        let dir = self.value("statedir").filter(|d| !d.is_empty()).map(PathBuf::from);
        let state = self.value("state").filter(|s| !s.is_empty());
        if let Some(kind) = state.and_then(|s| s.split_once(':')).map(|(kind, _)| kind)
            && ["kube", "arn", "tpmseal"].contains(&kind)
        {
            let text = format!("--state={kind}:… is not in this build; give a file path or mem:");
            return Err(Refusal { text, status: 1 });
        }
        if state.is_some_and(|s| s == "mem:") {
            return Ok((StatePlace::Memory, dir));
        }
        let file = match (state, &dir) {
            (Some(path), _) => PathBuf::from(path),
            (None, Some(dir)) => dir.join("tailscaled.state"),
            (None, None) => default_state_dir(around)
                .ok_or_else(|| Refusal {
                    text: "--statedir (or at least --state) is required: there is no /var/lib here"
                        .to_owned(),
                    status: 1,
                })?
                .join("tailscaled.state"),
        };
        // As upstream: a folder is derived from --state only if it is plainly ours.
        let derived = || {
            let parent = file.parent().filter(|_| file.is_absolute())?;
            let ours = parent.file_name()?.to_str()?.eq_ignore_ascii_case("tailscale");
            ours.then(|| parent.to_owned())
        };
        let var_root = dir.or_else(derived);
        Ok((StatePlace::File(file), var_root))
    }
}

/// Where the LocalAPI socket is unless a flag says otherwise.
pub fn default_socket(around: &Surroundings<'_>) -> PathBuf {
    let run_dir = (around.is_dir)(Path::new("/var/run"));
    PathBuf::from(if run_dir { "/var/run/tailscale/tailscaled.sock" } else { "tailscaled.sock" })
}

fn default_state_dir(around: &Surroundings<'_>) -> Option<PathBuf> {
    if around.uid == 0 {
        return (around.is_dir)(Path::new("/var/lib")).then(|| PathBuf::from(DEFAULT_DIR));
    }
    let data = (around.var)("XDG_DATA_HOME").filter(|d| !d.is_empty()).map(PathBuf::from);
    let home = || (around.var)("HOME").filter(|h| !h.is_empty()).map(|h| Path::new(&h).join(".local/share"));
    data.or_else(home).map(|d| d.join("tailscale"))
}

/// An environment variable without the white space around it, which files with lines of Windows and web forms leave there.
/// `None` if nothing else is in it, and if it is no text.
pub fn variable(name: &str) -> Option<String> {
    meant(&std::env::var(name).ok()?).map(str::to_owned)
}

fn meant(value: &str) -> Option<&str> {
    Some(value.trim()).filter(|value| !value.is_empty())
}

/// Whether an environment variable says yes, as Go's switches do.
pub fn switched_on(name: &str) -> bool {
    variable(name).is_some_and(|value| parse_bool(&value) == Ok(true))
}

/// A name a line, as `tailscale version --features` prints them.
fn features() -> String {
    let built = crate::parts::built().into_iter().map(|name| format!("{name}\n"));
    let missing = crate::parts::missing().into_iter().map(|name| format!("{name} (not written yet)\n"));
    built.chain(missing).collect()
}

fn help() -> String {
    let mut text = "Usage of tailscaled:\n".to_owned();
    for spec in FLAGS {
        let value = if spec.value.is_empty() { String::new() } else { format!(" {}", spec.value) };
        text.push_str(&format!("  --{}{value}\n    \t{}\n", spec.name, spec.about));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(args: &[&str], vars: &[(&str, &str)]) -> Parsed {
        let args: Vec<String> = args.iter().map(|a| (*a).to_owned()).collect();
        let vars: Vec<(String, String)> =
            vars.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        let var = |name: &str| vars.iter().find(|(k, _)| k == name).map(|(_, v)| v.clone());
        parse(&args, &Surroundings { var: &var, is_dir: &|p| p != Path::new("/nowhere"), uid: 0 })
    }

    fn flags(args: &[&str], vars: &[(&str, &str)]) -> Flags {
        match run(args, vars) {
            Parsed::Run(flags) => *flags,
            other => panic!("{args:?}: {other:?}"),
        }
    }

    fn failure(args: &[&str]) -> (String, u8) {
        match run(args, &[]) {
            Parsed::Fail(text, status) => (text, status),
            other => panic!("{args:?}: {other:?}"),
        }
    }

    #[test]
    fn defaults() {
        let flags = flags(&[], &[]);
        assert_eq!(flags.state, StatePlace::File("/var/lib/tailscale/tailscaled.state".into()));
        assert_eq!(flags.var_root.as_deref(), Some(Path::new("/var/lib/tailscale")));
        assert_eq!(flags.socket, Path::new("/var/run/tailscale/tailscaled.sock"));
        assert_eq!((flags.port, flags.verbose, flags.tun), (0, 0, vec!["tailscale0".to_owned()]));
    }

    #[test]
    fn gos_spellings() {
        let flags = flags(
            &["-state", "/x/s", "--tun=userspace-networking", "-verbose=2", "--port", "41641", "-cleanup"],
            &[("SSL_CERT_FILE", "/ca.pem")],
        );
        assert_eq!(flags.state, StatePlace::File("/x/s".into()));
        assert_eq!(flags.var_root, None);
        assert_eq!((flags.verbose, flags.port, flags.cleanup), (2, 41641, true));
        assert_eq!(flags.ca_files, [Path::new("/ca.pem")]);
    }

    #[test]
    fn environment_is_the_default() {
        assert_eq!(flags(&[], &[("PORT", "7"), ("TS_LOG_VERBOSITY", "1")]).port, 7);
        assert_eq!(flags(&["--port=8"], &[("PORT", "7")]).port, 8);
        let spaced =
            flags(&[], &[("PORT", "7 "), ("TS_LOG_VERBOSITY", "1\r"), ("SSL_CERT_FILE", " /c.pem\r\n")]);
        assert_eq!((spaced.port, spaced.verbose, spaced.ca_files.as_slice()), (7, 1, &["/c.pem".into()][..]));
        assert_eq!(
            flags(&[], &[("PORT", " "), ("SSL_CERT_FILE", "\r")]).ca_files,
            [""; 0].map(PathBuf::from)
        );
    }

    #[test]
    fn foreign_flags_have_their_sentence() {
        assert_eq!(flags(&["--socks5-server=localhost:0", "--debug", "x:1"], &[]).notes.len(), 2);
        // Whatever is in the build.
        assert!(flags(&["--debug=:1"], &[]).notes.iter().all(|note| !note.contains("feature")));
        assert_eq!(flags(&["--socks5-server="], &[]).notes.len(), 0);
        assert_eq!(failure(&["--encrypt-state"]).1, 1);
        assert_eq!(flags(&["--encrypt-state=false"], &[]).notes.len(), 0);
        assert_eq!(failure(&["--state=kube:x"]).1, 1);
        assert_eq!(failure(&["--config=vm:user-data"]).1, 1);
    }

    #[test]
    fn features_are_printed() {
        let Parsed::Print(text) = run(&["--features"], &[]) else { panic!("printed") };
        let built: Vec<_> = text.lines().filter(|line| !line.contains(' ')).collect();
        assert_eq!(built, crate::parts::built());
    }

    #[test]
    fn mistakes() {
        assert!(failure(&["--statdir=/x"]).0.contains("did you mean --statedir?"));
        assert_eq!(failure(&["--statdir=/x"]).1, 2);
        assert_eq!(failure(&["--port=x"]).1, 2);
        assert_eq!(failure(&["--port"]).1, 2);
        assert_eq!(failure(&["up"]).1, 1);
        assert_eq!(failure(&["--cleanup=maybe"]).1, 2);
        assert_eq!(failure(&["--socket="]).1, 1);
    }
}
