//! What the machine and its processes have used: CPU, peak memory, system calls, all read from outside.

use super::stop;
use anyhow::{Context, Result};
use lab::{Outcome, Process};
use std::process::Command;
use std::time::{Duration, Instant};

/// Linux counts CPU time for programs in hundredths of a second on every architecture we know.
const TICKS_PER_SECOND: f64 = 100.0;

/// CPU time up to a moment, in seconds.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Usage {
    at: Instant,
    daemons: f64,
    relay: f64,
    own: f64,
    machine: f64,
}

/// CPU time between two moments, in seconds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Spent {
    pub(crate) wall: f64,
    pub(crate) daemons: f64,
    pub(crate) relay: f64,
    /// What is neither ours, the daemons' nor the relay's: other people's work and the kernel's own.
    pub(crate) other: f64,
}

impl Usage {
    /// Now, of the daemons with these ids and the relay server.
    pub(crate) fn now(daemons: &[u32], relay: Option<u32>) -> Result<Self> {
        let all =
            |ids: &[u32]| ids.iter().map(|id| process_cpu(&format!("/proc/{id}/stat"))).sum::<Result<f64>>();
        Ok(Self {
            at: lab::now(),
            daemons: all(daemons)?,
            relay: all(relay.as_slice())?,
            own: process_cpu("/proc/self/stat")?,
            machine: machine_cpu(&std::fs::read_to_string("/proc/stat")?).context("/proc/stat")?,
        })
    }

    /// What has been spent since `earlier`.
    pub(crate) fn since(&self, earlier: &Self) -> Spent {
        let daemons = self.daemons - earlier.daemons;
        let relay = self.relay - earlier.relay;
        let known = daemons + relay + self.own - earlier.own;
        Spent {
            wall: self.at.duration_since(earlier.at).as_secs_f64(),
            daemons,
            relay,
            other: (self.machine - earlier.machine - known).max(0.0),
        }
    }
}

fn process_cpu(path: &str) -> Result<f64> {
    let text = std::fs::read_to_string(path).with_context(|| path.to_owned())?;
    parse_process(&text).with_context(|| format!("{path}: {text}"))
}

/// User and system time of a line of `/proc/PID/stat`. The program's name may contain anything, also brackets.
fn parse_process(line: &str) -> Option<f64> {
    let mut fields = line.rsplit_once(')')?.1.split_whitespace().skip(11);
    let mut next = || fields.next()?.parse::<f64>().ok();
    Some((next()? + next()?) / TICKS_PER_SECOND)
}

/// Time of all processors that was neither idle nor waited for a disk.
fn machine_cpu(text: &str) -> Option<f64> {
    let fields = text.lines().next()?.strip_prefix("cpu ")?;
    let ticks: Vec<f64> = fields.split_whitespace().map_while(|field| field.parse().ok()).collect();
    let [user, nice, system, _idle, _wait, irq, softirq, rest @ ..] = ticks.as_slice() else { return None };
    let steal = rest.first().unwrap_or(&0.0);
    Some((user + nice + system + irq + softirq + steal) / TICKS_PER_SECOND)
}

/// Forgets the highest memory so far, so that the next reading is of one test.
pub(crate) fn forget_peak(id: u32) {
    // Writing 5 to this file resets VmHWM (proc(5)). Where that is refused, the peak stays that of the whole life.
    std::fs::write(format!("/proc/{id}/clear_refs"), "5").ok();
}

/// What can count system calls here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Counter {
    Perf,
    /// Slows its victim, which then batches differently: an estimate.
    Strace,
}

impl Counter {
    /// The best one that works.
    pub(crate) fn find() -> Option<Self> {
        let works = |counter: &Self| {
            let mut command = match counter {
                Self::Perf => perf(),
                Self::Strace => strace(),
            };
            command.arg("true");
            lab::run(command, Duration::from_secs(10)).and_then(Outcome::ok).is_ok()
        };
        [Self::Perf, Self::Strace].into_iter().find(works)
    }

    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Perf => "perf",
            Self::Strace => "strace",
        }
    }

    /// System calls of these processes while this runs for `time`.
    pub(crate) fn count(self, ids: &[u32], time: Duration) -> Result<f64> {
        let ids: Vec<_> = ids.iter().map(u32::to_string).collect();
        let patience = time + Duration::from_secs(20);
        match self {
            Self::Perf => {
                let mut command = perf();
                command.args(["-p", &ids.join(","), "--", "sleep", &time.as_secs_f64().to_string()]);
                let outcome = lab::run(command, patience)?.ok()?;
                parse_perf(&outcome.stderr).with_context(|| outcome.to_string())
            }
            Self::Strace => {
                let file = tempfile::NamedTempFile::new()?;
                let mut command = strace();
                command.args(ids.iter().flat_map(|id| ["-p", id]));
                let mut process = Process::spawn(command, "strace", file.path())?;
                let waited = stop::pause(time);
                process.stop(patience)?;
                waited?;
                parse_strace(&process.log_text()).with_context(|| process.log_text())
            }
        }
    }
}

fn perf() -> Command {
    let mut command = Command::new("perf");
    command.args(["stat", "-x", ",", "-e", "raw_syscalls:sys_enter"]);
    command
}

fn strace() -> Command {
    let mut command = Command::new("strace");
    command.args(["-q", "-c", "-f"]);
    command
}

/// `COUNT,,raw_syscalls:sys_enter,…`
fn parse_perf(text: &str) -> Option<f64> {
    let line = text.lines().find(|line| line.contains("raw_syscalls:sys_enter"))?;
    line.split(',').next()?.trim().parse().ok()
}

/// The fourth column of the line `100.00 … total`.
fn parse_strace(text: &str) -> Option<f64> {
    let line = text.lines().rev().find(|line| line.trim_end().ends_with(" total"))?;
    line.split_whitespace().nth(3)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_cpu_time() {
        let line = "7 (a) b (c)) S 1 7 7 0 -1 4194560 1 2 3 4 150 50 9 9 20 0 1 0 5 6 7";
        assert_eq!(parse_process(line), Some(2.0));
        assert_eq!(parse_process("7 (a) S 1"), None);
        assert_eq!(machine_cpu("cpu  100 0 100 9999 50 10 20 70 0 0\ncpu0 1"), Some(3.0));
        assert_eq!(machine_cpu("cpu  1 2"), None);
        let (before, mut after) = (Usage::now(&[std::process::id()], None).unwrap(), 0);
        while Usage::now(&[std::process::id()], None).unwrap().since(&before).daemons < 0.02 {
            after += 1;
        }
        assert!(after > 0);
    }

    #[test]
    fn reads_what_counters_print() {
        assert_eq!(parse_perf("123,,raw_syscalls:sys_enter,5,100.00,,\n"), Some(123.0));
        assert_eq!(parse_perf("<not counted>,,raw_syscalls:sys_enter,0,,,\n"), None);
        let table = "% time seconds usecs/call calls errors syscall\n 50.00 0.1 1 30 futex\n\
                     100.00 0.2 1 42 2 total\n";
        assert_eq!(parse_strace(table), Some(42.0));
        assert_eq!(parse_strace(""), None);
    }
}
