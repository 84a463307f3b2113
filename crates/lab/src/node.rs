//! A Tailscale node under test: a host, a daemon of either flavour, and command lines of either flavour against it.

use crate::command::Outcome;
use crate::headscale::Headscale;
use crate::host::Host;
use crate::process::Process;
use crate::programs::Flavour;
use crate::refuse::{Refused, everywhere};
use crate::wait::until;
use anyhow::{Context, Result, bail};
use serde_json::Value;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

/// How long the daemon may take to open its socket.
const START: Duration = Duration::from_secs(20);

/// How long a command line may take unless the caller says otherwise.
const COMMAND: Duration = Duration::from_secs(60);

/// How long one ping may take. The first one to a fresh peer often times out, whoever asks.
const PING: Duration = Duration::from_secs(5);

/// Which kind of `tailscale ping`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ping {
    /// Inside the tunnel, answered by the other daemon.
    Tsmp,
    /// Inside the tunnel, answered by the other IP stack.
    Icmp,
    /// Path discovery, outside the tunnel.
    Disco,
}

/// What a row of pings brought.
#[derive(Clone, Debug, Default)]
pub struct Pings {
    /// How many were sent.
    pub sent: u32,
    /// How many were answered.
    pub replies: u32,
    /// What the command line said to those that were not.
    pub failures: Vec<String>,
}

/// A node. Dropping it kills its daemon and removes its host.
#[derive(Debug)]
pub struct Node {
    daemon: Option<Process>,
    /// The machine it runs on.
    pub host: Host,
    /// Whose daemon [`Node::start`] starts and whose command line [`Node::tailscale`] uses.
    pub flavour: Flavour,
    /// `--tun` of the daemon.
    pub tun: String,
    /// Further arguments of the daemon.
    pub arguments: Vec<String>,
    /// Environment of the daemon; `SSL_CERT_FILE` is the lab's root.
    pub environment: Vec<(String, String)>,
    /// `--statedir` of the daemon.
    pub state_dir: PathBuf,
    /// Shell commands before the daemon, in the same mount namespace; `$STATE` is the state directory.
    pub prepare: Option<String>,
    /// What its kernel lacks; `None` = what [`everywhere`] says, and nothing for Go's.
    pub lacks: Option<Vec<Refused>>,
}

impl Node {
    pub(crate) fn new(host: Host, flavour: Flavour, root_pem: &Path) -> Self {
        let state_dir = host.dir.join("state");
        let environment = vec![("SSL_CERT_FILE".to_owned(), root_pem.display().to_string())];
        Self {
            daemon: None,
            host,
            flavour,
            tun: "userspace-networking".to_owned(),
            arguments: vec!["--no-logs-no-support".to_owned()],
            environment,
            state_dir,
            prepare: None,
            lacks: None,
        }
    }

    /// The daemon's socket.
    pub fn socket(&self) -> PathBuf {
        self.host.dir.join("tailscaled.sock")
    }

    /// The daemon's state file.
    pub fn state_file(&self) -> PathBuf {
        self.state_dir.join("tailscaled.state")
    }

    /// The daemon's command, as [`Node::start`] runs it.
    pub fn daemon_command(&self) -> Command {
        let mut command = match &self.prepare {
            None => self.host.command(self.flavour.daemon()),
            Some(script) => {
                let mut shell = self.host.command("sh");
                shell.args(["-c", &format!("{script} && exec \"$@\""), "sh"]).arg(self.flavour.daemon());
                shell.env("STATE", &self.state_dir);
                shell
            }
        };
        command.arg("--statedir").arg(&self.state_dir).arg("--socket").arg(self.socket());
        command.arg(format!("--tun={}", self.tun)).args(&self.arguments);
        // Go keeps a log identity beside the machine's own state directory otherwise.
        command.env("TS_LOGS_DIR", &self.host.dir);
        command.envs(self.environment.iter().map(|(name, value)| (name, value)));
        command
    }

    /// Starts the daemon, waits until its socket answers, and gives the time that took (wrapper included).
    ///
    /// # Errors
    /// When it ends or does not open its socket; the message has the end of its log.
    pub fn start(&mut self) -> Result<Duration> {
        self.kill();
        std::fs::remove_file(self.socket()).ok();
        let refused = match &self.lacks {
            Some(refused) => refused.clone(),
            None if self.flavour == Flavour::Go => Vec::new(),
            None => everywhere()?,
        };
        let mut process = self.host.spawn_without(&refused, self.daemon_command(), "tailscaled")?;
        let socket = self.socket();
        let answered = until("the daemon's socket", START, || {
            process.check()?;
            Ok(UnixStream::connect(&socket).is_ok().then(crate::wait::now))
        });
        let started = process.started();
        self.daemon = Some(process);
        Ok(answered?.duration_since(started))
    }

    /// A path as the daemon sees it, reachable from here while it runs.
    ///
    /// # Errors
    /// When it was not started.
    pub fn seen_by_daemon(&mut self, path: &Path) -> Result<PathBuf> {
        let root = PathBuf::from(format!("/proc/{}/root", self.daemon()?.id()));
        Ok(root.join(path.strip_prefix("/").unwrap_or(path)))
    }

    /// The running daemon.
    ///
    /// # Errors
    /// When it was not started.
    pub fn daemon(&mut self) -> Result<&mut Process> {
        let name = &self.host.name;
        self.daemon.as_mut().with_context(|| format!("{name}'s daemon was not started"))
    }

    /// SIGTERM, and waits for a clean end.
    ///
    /// # Errors
    /// When it needs more than 15 s or ends with another status than 0.
    pub fn stop(&mut self) -> Result<()> {
        let Some(mut daemon) = self.daemon.take() else { return Ok(()) };
        let status = daemon.stop(Duration::from_secs(15))?;
        if !status.success() {
            bail!("{}'s daemon ended with {status} after SIGTERM", self.host.name);
        }
        Ok(())
    }

    /// SIGKILL.
    pub fn kill(&mut self) {
        self.daemon = None;
    }

    /// Runs this flavour's `tailscale` with `words`.
    ///
    /// # Errors
    /// When it does not end within a minute; a non-zero exit is not an error.
    pub fn tailscale(&self, words: &[&str]) -> Result<Outcome> {
        self.tailscale_of(self.flavour, words)
    }

    /// Runs the `tailscale` of `flavour` against this node's daemon.
    ///
    /// # Errors
    /// When it does not end within a minute; a non-zero exit is not an error.
    pub fn tailscale_of(&self, flavour: Flavour, words: &[&str]) -> Result<Outcome> {
        self.host.outcome(self.cli_command(flavour, words), COMMAND)
    }

    /// The command behind [`Node::tailscale_of`], to be started beside the test.
    pub fn cli_command(&self, flavour: Flavour, words: &[&str]) -> Command {
        let mut command = self.host.command(flavour.cli());
        command.arg(format!("--socket={}", self.socket().display())).args(words);
        command
    }

    /// `up` with an auth key of `headscale`, and waits for Running.
    ///
    /// # Errors
    /// When `up` fails or Running does not come.
    pub fn join(&self, headscale: &Headscale) -> Result<()> {
        let key = headscale.auth_key()?;
        self.up(headscale, &key)?;
        self.wait_running()
    }

    /// `up --login-server … --auth-key KEY`.
    ///
    /// # Errors
    /// When `up` ends with another code than 0.
    pub fn up(&self, headscale: &Headscale, key: &str) -> Result<Outcome> {
        let server = format!("--login-server={}", headscale.url());
        self.tailscale(&["up", &server, &format!("--auth-key={key}"), "--timeout=40s"])?.ok()
    }

    /// `status --json`, parsed.
    ///
    /// # Errors
    /// When the command fails or prints something else.
    pub fn status(&self) -> Result<Value> {
        let outcome = self.tailscale(&["status", "--json"])?.ok()?;
        serde_json::from_str(&outcome.stdout).with_context(|| format!("no JSON from {outcome}"))
    }

    /// `BackendState` of the status.
    ///
    /// # Errors
    /// When the status cannot be had.
    pub fn state(&self) -> Result<String> {
        Ok(self.status()?["BackendState"].as_str().unwrap_or_default().to_owned())
    }

    /// Waits for `BackendState`.
    ///
    /// # Errors
    /// When it does not come within `within`.
    pub fn wait_state(&self, state: &str, within: Duration) -> Result<()> {
        let what = format!("{} to be {state}", self.host.name);
        until(&what, within, || {
            let now = self.state()?;
            if now == state { Ok(Some(())) } else { bail!("it is {now}") }
        })
    }

    /// Waits until Running.
    ///
    /// # Errors
    /// When that takes more than 30 s.
    pub fn wait_running(&self) -> Result<()> {
        self.wait_state("Running", Duration::from_secs(30))
    }

    /// Waits until `self` has `other` in its list of peers.
    ///
    /// # Errors
    /// When that takes more than 30 s.
    pub fn wait_peer(&self, other: &Self) -> Result<()> {
        let address = other.ipv4()?;
        until(&format!("{} to see {}", self.host.name, other.host.name), Duration::from_secs(30), || {
            Ok(self.peer(&address)?.map(drop))
        })
    }

    /// The entry of a peer in the status, by one of its addresses.
    ///
    /// # Errors
    /// When the status cannot be had.
    pub fn peer(&self, address: &str) -> Result<Option<Value>> {
        let status = self.status()?;
        let peers = status["Peer"].as_object();
        let found = peers.into_iter().flatten().find(|(_, peer)| {
            peer["TailscaleIPs"].as_array().is_some_and(|ips| ips.iter().any(|ip| ip == address))
        });
        Ok(found.map(|(_, peer)| peer.clone()))
    }

    /// Its IPv4 address in the tailnet.
    ///
    /// # Errors
    /// When it has none yet.
    pub fn ipv4(&self) -> Result<String> {
        self.address(|ip| ip.contains('.'))
    }

    /// Its IPv6 address in the tailnet.
    ///
    /// # Errors
    /// When it has none yet.
    pub fn ipv6(&self) -> Result<String> {
        self.address(|ip| ip.contains(':'))
    }

    fn address(&self, wanted: impl Fn(&str) -> bool) -> Result<String> {
        let status = self.status()?;
        let ips = status["TailscaleIPs"].as_array();
        let found = ips.into_iter().flatten().filter_map(Value::as_str).find(|ip| wanted(ip));
        found.map(ToOwned::to_owned).with_context(|| format!("{} has no such address", self.host.name))
    }

    /// Who it is: its node key and addresses.
    ///
    /// # Errors
    /// When the status cannot be had.
    pub fn identity(&self) -> Result<(String, Vec<String>)> {
        let status = self.status()?;
        let key = status["Self"]["PublicKey"].as_str().context("no PublicKey")?.to_owned();
        let ips = status["TailscaleIPs"].as_array();
        let mut ips: Vec<_> =
            ips.into_iter().flatten().filter_map(Value::as_str).map(ToOwned::to_owned).collect();
        ips.sort();
        Ok((key, ips))
    }

    /// One `tailscale ping` of this flavour's command line.
    ///
    /// # Errors
    /// When the command does not end in time.
    pub fn ping_once(&self, kind: Ping, address: &str) -> Result<Outcome> {
        let timeout = format!("--timeout={}s", PING.as_secs());
        let mut words = vec!["ping", "-c", "1", &timeout];
        match kind {
            Ping::Tsmp => words.push("--tsmp"),
            Ping::Icmp => words.push("--icmp"),
            Ping::Disco => words.push("--until-direct=false"),
        }
        words.push(address);
        self.tailscale(&words)
    }

    /// `count` pings, one after the other. The command line stops after one answer, so each is a command.
    ///
    /// # Errors
    /// When a command does not end in time; a ping that is not answered is counted, not an error.
    pub fn ping(&self, kind: Ping, address: &str, count: u32) -> Result<Pings> {
        let mut result = Pings::default();
        for _ in 0..count {
            let outcome = self.ping_once(kind, address)?;
            result.sent += 1;
            if outcome.code() == 0 && outcome.stdout.contains("pong from") {
                result.replies += 1;
            } else {
                result.failures.push(outcome.to_string());
            }
        }
        Ok(result)
    }

    /// Pings until the first answer.
    ///
    /// # Errors
    /// When there is none within `within`.
    pub fn wait_ping(&self, kind: Ping, address: &str, within: Duration) -> Result<()> {
        until(&format!("a {kind:?} answer from {address}"), within, || {
            let pings = self.ping(kind, address, 1)?;
            match pings.failures.first() {
                None => Ok(Some(())),
                Some(failure) => bail!("{failure}"),
            }
        })
    }
}
