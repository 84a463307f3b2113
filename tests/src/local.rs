//! A daemon on this machine, without a network of its own: the test server hears it on the loopback.

use anyhow::{Context, Result, ensure};
use lab::Flavour;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

/// How the two faces of a binary are started: the program and its first words.
#[derive(Debug, Clone)]
pub struct Program {
    /// For `tailscaled`.
    pub daemon: Vec<OsString>,
    /// For `tailscale`.
    pub cli: Vec<OsString>,
}

impl From<Flavour> for Program {
    fn from(flavour: Flavour) -> Self {
        Self { daemon: vec![flavour.daemon().into()], cli: vec![flavour.cli().into()] }
    }
}

/// A command of these words.
fn command(words: &[OsString]) -> Result<Command> {
    let (program, rest) = words.split_first().context("no program")?;
    let mut command = Command::new(program);
    command.args(rest);
    Ok(command)
}

/// A running daemon with a folder of its own; it is killed when this is dropped.
pub struct Local {
    cli: Vec<OsString>,
    socket: PathBuf,
    daemon: Child,
    dir: tempfile::TempDir,
}

impl Local {
    /// Starts a daemon of this flavour in a fresh folder.
    ///
    /// # Errors
    /// When it cannot be started or opens no socket.
    pub fn start(flavour: Flavour) -> Result<Self> {
        Self::start_in(flavour, tempfile::tempdir()?, &[])
    }

    /// The same in a folder that may hold something already, with further flags.
    ///
    /// # Errors
    /// When it cannot be started or opens no socket.
    pub fn start_in(flavour: Flavour, dir: tempfile::TempDir, flags: &[String]) -> Result<Self> {
        Self::start_program(flavour.into(), dir, flags)
    }

    /// The same with any program.
    ///
    /// # Errors
    /// When it cannot be started or opens no socket.
    pub fn start_program(program: Program, dir: tempfile::TempDir, flags: &[String]) -> Result<Self> {
        let socket = dir.path().join("socket");
        let daemon = command(&program.daemon)?
            .args(["--tun=userspace-networking", "--no-logs-no-support"])
            .arg(format!("--statedir={}", dir.path().display()))
            .arg(format!("--socket={}", socket.display()))
            .args(flags)
            .env("TS_LOGS_DIR", dir.path())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(std::fs::File::create(dir.path().join("log"))?)
            .spawn()
            .context("starting tailscaled")?;
        let node = Self { cli: program.cli, socket, daemon, dir };
        lab::until("the daemon's socket", Duration::from_secs(20), || {
            Ok(node.socket.exists().then_some(()))
        })?;
        Ok(node)
    }

    /// Its folder: state, log, socket.
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// Highest resident memory so far, in KiB (`VmHWM`).
    ///
    /// # Errors
    /// When the daemon is gone.
    pub fn peak_kib(&self) -> Result<u64> {
        let text = std::fs::read_to_string(format!("/proc/{}/status", self.daemon.id()))?;
        let peak = text.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        peak.and_then(|rest| rest.split_whitespace().next()?.parse().ok()).context("no VmHWM")
    }

    /// How long its threads have had a processor so far, to the microsecond and better.
    ///
    /// # Errors
    /// When the daemon is gone.
    pub fn cpu(&self) -> Result<Duration> {
        lab::cpu(self.daemon.id())
    }

    /// Runs its command line.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn tailscale(&self, args: &[&str]) -> Result<Output> {
        let socket = format!("--socket={}", self.socket.display());
        command(&self.cli)?.arg(socket).args(args).output().context("starting tailscale")
    }

    /// The same for a command that is to succeed; what it says.
    ///
    /// # Errors
    /// When it fails, with its words.
    pub fn said(&self, args: &[&str]) -> Result<String> {
        let output = self.tailscale(args)?;
        ensure!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }
}

impl Drop for Local {
    fn drop(&mut self) {
        let _ = self.daemon.kill();
        let _ = self.daemon.wait();
    }
}
