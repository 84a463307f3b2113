//! A process that runs beside the test: started in a host, its output in a log file, ended by its own pid.

use crate::refuse::{Refused, refuse};
use crate::wait;
use anyhow::{Context, Result, bail};
use rustix::process::{Pid, Signal};
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Sender, channel};
use std::time::{Duration, Instant};

/// A running program. Dropping it kills it and waits for its end.
#[derive(Debug)]
pub struct Process {
    child: Child,
    label: String,
    log: PathBuf,
    started: Instant,
    /// Ends the thread that started it, and with that what dies with its parent.
    keeper: Option<Sender<()>>,
}

impl Process {
    /// Starts `command`; both its outputs are appended to the file `log`.
    ///
    /// # Errors
    /// When the log cannot be opened or the program not started.
    pub fn spawn(mut command: Command, label: &str, log: &Path) -> Result<Self> {
        let out = File::options()
            .create(true)
            .append(true)
            .open(log)
            .with_context(|| format!("log file {}", log.display()))?;
        let started = wait::now();
        let child = command
            .stdin(Stdio::null())
            .stdout(out.try_clone()?)
            .stderr(out)
            .spawn()
            .with_context(|| format!("starting {label}"))?;
        Ok(Self { child, label: label.to_owned(), log: log.to_owned(), started, keeper: None })
    }

    /// As [`Process::spawn`], on a kernel that lacks `refused` as the program sees it.
    ///
    /// # Errors
    /// As there, and when this machine has no system call filters.
    pub fn spawn_without(refused: &[Refused], command: Command, label: &str, log: &Path) -> Result<Self> {
        if refused.is_empty() {
            return Self::spawn(command, label, log);
        }
        let (refused, label, log) = (refused.to_vec(), label.to_owned(), log.to_owned());
        let (started, wait) = channel();
        let (keeper, end) = channel();
        std::thread::spawn(move || {
            started.send(refuse(&refused).and_then(|()| Self::spawn(command, &label, &log))).ok();
            // The program ends with the thread that started it.
            end.recv().ok();
        });
        let mut process = wait.recv().context("the thread that starts the program")??;
        process.keeper = Some(keeper);
        Ok(process)
    }

    /// Process id. It stays ours until the end was waited for, so a signal never reaches a stranger.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// When it was started.
    pub fn started(&self) -> Instant {
        self.started
    }

    /// Whether it still runs.
    pub fn running(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    /// How it ended, when it did.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().ok().flatten()
    }

    /// Sends `signal`. A process that already ended is left alone.
    pub fn signal(&mut self, signal: Signal) {
        if self.running()
            && let Some(pid) = i32::try_from(self.id()).ok().and_then(Pid::from_raw)
        {
            rustix::process::kill_process(pid, signal).ok();
        }
    }

    /// SIGTERM, then waits for the end.
    ///
    /// # Errors
    /// When it is still there after `within` (it is killed then).
    pub fn stop(&mut self, within: Duration) -> Result<ExitStatus> {
        self.signal(Signal::TERM);
        match self.wait(within) {
            Ok(status) => Ok(status),
            Err(error) => {
                self.kill();
                Err(error.context("SIGTERM was not enough"))
            }
        }
    }

    /// Waits for the end.
    ///
    /// # Errors
    /// When it still runs after `within`.
    pub fn wait(&mut self, within: Duration) -> Result<ExitStatus> {
        let label = self.label.clone();
        wait::until(&format!("the end of {label}"), within, || Ok(self.child.try_wait()?))
    }

    /// SIGKILL, and waits for the end.
    pub fn kill(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }

    /// Everything it has written so far.
    pub fn log_text(&self) -> String {
        std::fs::read(&self.log).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default()
    }

    /// Fails with the end of its log when it does not run any more.
    ///
    /// # Errors
    /// When the process has ended.
    pub fn check(&mut self) -> Result<()> {
        if let Some(status) = self.ended() {
            bail!("{} ended with {status}:\n{}", self.label, tail(&self.log_text(), 20));
        }
        Ok(())
    }

    /// Resident memory now, in KiB, from the kernel's own count (`VmRSS`).
    ///
    /// # Errors
    /// When the process is gone.
    pub fn resident_kib(&self) -> Result<u64> {
        self.status_field("VmRSS")
    }

    /// Highest resident memory so far, in KiB (`VmHWM`).
    ///
    /// # Errors
    /// When the process is gone.
    pub fn peak_kib(&self) -> Result<u64> {
        self.status_field("VmHWM")
    }

    /// CPU time so far: [`cpu`].
    ///
    /// # Errors
    /// When the process is gone.
    pub fn cpu(&self) -> Result<Duration> {
        cpu(self.id())
    }

    fn status_field(&self, field: &str) -> Result<u64> {
        let path = format!("/proc/{}/status", self.id());
        let text = std::fs::read_to_string(&path).with_context(|| path.clone())?;
        text.lines()
            .filter_map(|line| line.split_once(':'))
            .find(|(name, _)| *name == field)
            .and_then(|(_, value)| value.split_whitespace().next()?.parse().ok())
            .with_context(|| format!("{field} in {path}"))
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}

/// The last `lines` lines of `text`.
pub(crate) fn tail(text: &str, lines: usize) -> String {
    let all: Vec<_> = text.lines().collect();
    all.get(all.len().saturating_sub(lines)..).unwrap_or(&[]).join("\n")
}

/// How long the threads of a process have had a processor so far, to the microsecond and better.
///
/// # Errors
/// When the process is gone.
pub fn cpu(process: u32) -> Result<Duration> {
    let mut nanos = 0;
    for thread in std::fs::read_dir(format!("/proc/{process}/task"))? {
        let text = std::fs::read_to_string(thread?.path().join("schedstat"))?;
        nanos += text.split_whitespace().next().context("an empty schedstat")?.parse::<u64>()?;
    }
    Ok(Duration::from_nanos(nanos))
}
