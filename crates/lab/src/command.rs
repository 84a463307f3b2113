//! Running a command to its end with a deadline, so that a hanging program fails a test instead of stopping it.

use crate::wait;
use anyhow::{Context, Result, bail};
use std::io::{Read, Seek};
use std::process::{Command, ExitStatus, Stdio};
use std::time::Duration;

/// What a finished command left behind.
#[derive(Debug)]
pub struct Outcome {
    /// The command line, for messages.
    pub line: String,
    /// How it ended.
    pub status: ExitStatus,
    /// Everything it wrote to standard output.
    pub stdout: String,
    /// Everything it wrote to standard error.
    pub stderr: String,
    /// Wall time from start to end.
    pub took: Duration,
}

impl Outcome {
    /// Exit code; 128 + signal when a signal ended it.
    pub fn code(&self) -> i32 {
        use std::os::unix::process::ExitStatusExt;
        self.status.code().unwrap_or_else(|| 128 + self.status.signal().unwrap_or(0))
    }

    /// The outcome itself when the exit code is 0.
    ///
    /// # Errors
    /// Names the command, its exit code and both outputs.
    pub fn ok(self) -> Result<Self> {
        if self.code() != 0 {
            bail!("{self}");
        }
        Ok(self)
    }
}

impl std::fmt::Display for Outcome {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "`{}` ended with {} after {:?}", self.line, self.code(), self.took)?;
        for (name, text) in [("stdout", &self.stdout), ("stderr", &self.stderr)] {
            if !text.trim().is_empty() {
                write!(f, "\n{name}: {}", text.trim_end())?;
            }
        }
        Ok(())
    }
}

/// Runs `command` for at most `within`, both outputs captured, with nothing on standard input.
///
/// # Errors
/// When it cannot be started or does not end in time (it is killed then). A non-zero exit is not an error here.
pub fn run(mut command: Command, within: Duration) -> Result<Outcome> {
    let line = line_of(&command);
    let mut stdout = tempfile::tempfile().context("temporary file for output")?;
    let mut stderr = tempfile::tempfile().context("temporary file for output")?;
    let started = wait::now();
    let mut child = command
        .stdin(Stdio::null())
        .stdout(stdout.try_clone()?)
        .stderr(stderr.try_clone()?)
        .spawn()
        .with_context(|| format!("starting `{line}`"))?;
    let mut pause = Duration::from_millis(1);
    let status = loop {
        if let Some(status) = child.try_wait()? {
            break Some(status);
        }
        if started.elapsed() >= within {
            child.kill().ok();
            child.wait()?;
            break None;
        }
        std::thread::sleep(pause);
        pause = (pause * 2).min(Duration::from_millis(20));
    };
    let took = started.elapsed();
    let text = |file: &mut std::fs::File| -> Result<String> {
        let mut bytes = Vec::new();
        file.rewind()?;
        file.read_to_end(&mut bytes)?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    };
    let (stdout, stderr) = (text(&mut stdout)?, text(&mut stderr)?);
    match status {
        Some(status) => Ok(Outcome { line, status, stdout, stderr, took }),
        None => bail!("`{line}` did not end within {within:?}\nstdout: {stdout}\nstderr: {stderr}"),
    }
}

/// The command as a person would type it, without the namespace wrapper before it.
fn line_of(command: &Command) -> String {
    let words: Vec<_> = std::iter::once(command.get_program())
        .chain(command.get_args())
        .map(|word| word.to_string_lossy().into_owned())
        .collect();
    let own = words.iter().position(|word| word == crate::host::END_OF_WRAPPER).map_or(0, |at| at + 1);
    words.get(own..).unwrap_or(&words).join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn captures_both_outputs_and_the_exit_code() {
        let mut command = Command::new("sh");
        command.args(["-c", "echo out; echo err >&2; exit 3"]);
        let outcome = run(command, Duration::from_secs(10)).unwrap();
        assert_eq!((outcome.code(), outcome.stdout.as_str(), outcome.stderr.as_str()), (3, "out\n", "err\n"));
        assert!(outcome.ok().is_err());
    }

    #[test]
    fn kills_what_does_not_end() {
        let mut command = Command::new("sleep");
        command.arg("60");
        let error = run(command, Duration::from_millis(50)).unwrap_err();
        assert!(error.to_string().contains("did not end"), "{error}");
    }
}
