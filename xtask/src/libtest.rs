//! Runs `cargo test …` with its output passed through line by line, and counts what it reports.

use crate::tally::Tally;
use anyhow::{Context, Result};
use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};

/// What the lines of one `cargo test` said.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    passed: usize,
    failed: usize,
    /// Tests that libtest was told to leave out in the source.
    ignored: usize,
    failures: Vec<String>,
}

impl Counts {
    /// Takes one line of output.
    fn line(&mut self, line: &str) {
        if let Some(name) = line.strip_prefix("test ").and_then(|rest| rest.strip_suffix(" ... FAILED")) {
            self.failures.push(name.to_owned());
        }
        let Some(result) = line.strip_prefix("test result: ") else { return };
        for field in result.split(['.', ';']) {
            let mut words = field.split_whitespace();
            let (Some(Ok(count)), Some(kind)) = (words.next().map(str::parse::<usize>), words.next()) else {
                continue;
            };
            match kind {
                "passed" => self.passed += count,
                "failed" => self.failed += count,
                "ignored" => self.ignored += count,
                _ => {}
            }
        }
    }

    /// Adds what was counted, and the program's own end, to `tally`.
    fn enter(&self, status: ExitStatus, part: &str, tally: &mut Tally) {
        tally.pass(self.passed);
        tally.found(self.passed + self.failed + self.ignored);
        // A name may be hidden by what the test printed on its line: the count is what holds.
        for at in 0..self.failed {
            let name = self.failures.get(at).map_or("a test whose name is above", String::as_str);
            tally.fail(format!("{part}: {name}"));
        }
        for _ in 0..self.ignored {
            tally.skip(format!("{part}: a test marked as ignored"));
        }
        if !status.success() && self.failed == 0 {
            tally.fail(format!("{part}: cargo ended with {status} outside any test"));
        }
    }
}

/// Runs `command` to its end and adds its tests to `tally`. `part` names what failed outside any test, such as a
/// build error or a test program that crashed.
pub(crate) fn run(mut command: Command, part: &str, tally: &mut Tally) -> Result<()> {
    let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().context("starting cargo")?;
    let mut counts = Counts::default();
    if let Some(stdout) = child.stdout.take() {
        for line in BufReader::new(stdout).lines() {
            let line = line.context("reading cargo's output")?;
            println!("{line}");
            counts.line(&line);
        }
    }
    counts.enter(child.wait()?, part, tally);
    Ok(())
}

/// A `cargo test …` that runs beside everything else, with its output in a file.
#[derive(Debug)]
pub(crate) struct Beside {
    child: Child,
    output: PathBuf,
}

impl Beside {
    /// Starts `command`; both its outputs go to the file `output`.
    pub(crate) fn start(mut command: Command, output: PathBuf) -> Result<Self> {
        let file = std::fs::File::create(&output).with_context(|| output.display().to_string())?;
        command.stdin(Stdio::null()).stdout(file.try_clone()?).stderr(file);
        Ok(Self { child: command.spawn().context("starting cargo")?, output })
    }

    /// Waits for its end and leaves the rest to [`Beside::finish`].
    pub(crate) fn ended(mut self) -> Result<Self> {
        self.child.wait()?;
        Ok(self)
    }

    /// Waits for its end, prints what it wrote and adds its tests to `tally`.
    pub(crate) fn finish(mut self, part: &str, tally: &mut Tally) -> Result<()> {
        let status = self.child.wait()?;
        let bytes = std::fs::read(&self.output).with_context(|| self.output.display().to_string())?;
        let mut counts = Counts::default();
        for line in String::from_utf8_lossy(&bytes).lines() {
            println!("{line}");
            counts.line(line);
        }
        counts.enter(status, part, tally);
        Ok(())
    }

    /// The same for a command that passes or fails as a whole.
    pub(crate) fn finish_whole(self, part: &str, tally: &mut Tally) -> Result<()> {
        let before = tally.failed();
        self.finish(part, tally)?;
        if tally.failed() == before {
            tally.pass(1);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_what_libtest_prints() {
        let mut counts = Counts::default();
        for line in [
            "running 3 tests",
            "test one ... ok",
            "test two::three ... FAILED",
            "test result: FAILED. 1 passed; 1 failed; 1 ignored; 0 measured; 0 filtered out; finished in 0.01s",
            "test result: ok. 40 passed; 0 failed; 0 ignored; 0 measured; 7 filtered out; finished in 1.50s",
        ] {
            counts.line(line);
        }
        let failures = vec!["two::three".to_owned()];
        assert_eq!(counts, Counts { passed: 41, failed: 1, ignored: 1, failures });
    }
    #[test]
    fn what_ran_beside_is_counted_and_its_failure_is_a_failure() {
        let said = [
            "test result: ok. 2 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out; finished in 1.00s",
            "test soak ... FAILED",
            "test result: FAILED. 2 passed; 1 failed; 0 ignored; 0 measured; 0 filtered out; finished in 1.00s",
        ];
        for (line, ends, last) in [
            (said[0], 0, "2 passed, 0 failed, 0 skipped"),
            (said[0], 101, "2 passed, 1 failed, 0 skipped"),
            (&said[1..].join("\n"), 101, "2 passed, 1 failed, 0 skipped"),
        ] {
            let dir = tempfile::tempdir().unwrap();
            let mut command = Command::new("sh");
            command.args(["-c", "echo \"$1\"; exit $2", "sh", line, &ends.to_string()]);
            let mut tally = Tally::default();
            let beside = Beside::start(command, dir.path().join("output")).unwrap();
            beside.finish("soak", &mut tally).unwrap();
            assert_eq!(tally.summary().lines().last(), Some(last), "{line}");
        }
    }
}
