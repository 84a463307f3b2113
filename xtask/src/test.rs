//! `cargo xtask test`: every part this machine can run, one after the other, to the end; then what failed, what was
//! skipped and why, and the three numbers. At night what only waits (the soaks) runs beside all of it, and what only
//! compiles beside the scenarios that wait.

mod black_box;
mod previous;
mod sweep;

use crate::libtest::{self, Beside};
use crate::metadata::cargo;
use crate::tally::Tally;
use crate::target::Target;
use crate::{build, busybox, demo, features, image, in_ci, size, tidy};
use anyhow::{Context, Result};
use std::path::PathBuf;
use std::process::{Command, ExitCode};

/// Runs it. With a filter only tests run, none of the checks of the tree.
pub(crate) fn run(nightly: bool, filter: Option<&str>) -> Result<ExitCode> {
    let notes = Notes::new()?;
    let mut run = Run { tally: Tally::default(), nightly, filter, notes };
    let mut soaks = None;
    if nightly {
        run.part("build", Run::build);
        run.part("soaks start", |run| {
            soaks = Some(run.soaks()?);
            Ok(())
        });
    }
    if filter.is_none() {
        run.part("format", |run| run.command("format", cargo_with(&["fmt", "--all", "--check"])));
        run.part("tidy", Run::tidy);
        run.part("clippy", |run| {
            let words = ["clippy", "--workspace", "--all-targets", "--quiet", "--", "-D", "warnings"];
            run.command("clippy", cargo_with(&words))
        });
    }
    run.part("units", Run::units);
    if !nightly {
        run.part("build", Run::build);
    }
    run.part("images", Run::images);
    run.part("black box", Run::black_box);
    let mut sweep = None;
    if nightly && filter.is_none() && build::shipped().is_ok() {
        run.part("images and features start", |run| {
            sweep = Some(run.sweep()?);
            Ok(())
        });
    }
    run.part("black box, a few at a time", Run::beside_each_other);
    if nightly {
        run.part("black box without nf_tables", Run::like_routeros);
        run.part("other kernels and commits, many queries", Run::elsewhere);
    }
    if filter.is_none() {
        run.part("demo", |run| {
            demo::run(false)?;
            run.tally.pass(1);
            Ok(())
        });
        run.part("features", |run| features::alone::checks(&mut run.tally));
        run.part("busybox", Run::busybox);
    }
    if nightly && filter.is_none() {
        run.part("packet line speed", |run| {
            let words = ["run", "--quiet", "--release", "--package", "datapath", "--example", "aead_ratio"];
            let mut command = cargo_with(&words);
            command.args(["--", "--check"]);
            run.command("packet line speed", command)
        });
    }
    if let Some(sweep) = sweep {
        run.part("waiting for images and features", |run| run.swept(sweep));
    }
    if let Some(soaks) = soaks {
        run.part("waiting for the soaks", |run| soaks.finish("soaks", &mut run.tally));
    }
    if let Some(filter) = filter
        && run.tally.tests() == 0
    {
        run.tally.fail(format!("no test has {filter:?} in its name"));
    }
    run.skipped();
    for line in run.notes.numbers() {
        println!("measured: {line}");
    }
    println!("{}", run.tally.summary());
    Ok(if run.tally.good(in_ci()) { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// How far the soaks stand back: about a tenth of a core each when the rest wants both.
const SOAK_NICE: &str = "10";

struct Run<'a> {
    tally: Tally,
    nightly: bool,
    filter: Option<&'a str>,
    notes: Notes,
}

impl Run<'_> {
    /// One part: a failure is remembered and the next part runs.
    fn part(&mut self, name: &str, body: impl FnOnce(&mut Self) -> Result<()>) {
        println!("== {name}");
        let started = lab::now();
        if let Err(error) = body(self) {
            println!("{name}: {error:#}");
            self.tally.fail(format!("{name}: {error:#}"));
        }
        self.tally.took(name, started.elapsed());
    }

    /// A command that passes or fails as a whole.
    fn command(&mut self, name: &str, mut command: Command) -> Result<()> {
        let status = command.status().with_context(|| format!("starting {name}"))?;
        if status.success() {
            self.tally.pass(1)
        } else {
            self.tally.fail(format!("{name}: {status}"))
        }
        Ok(())
    }

    /// What tests said that they skipped, units and scenarios: each begins with the test's name.
    fn skipped(&mut self) {
        for skip in self.notes.skips() {
            self.tally.pass_was_skip(skip);
        }
    }

    fn tidy(&mut self) -> Result<()> {
        for (name, problems) in tidy::checks()? {
            if problems.is_empty() {
                self.tally.pass(1);
            }
            for problem in problems {
                println!("tidy: {name}: {problem}");
                self.tally.fail(format!("tidy: {name}: {problem}"));
            }
        }
        Ok(())
    }

    fn units(&mut self) -> Result<()> {
        let mut command = self.tests(&["test", "--workspace", "--exclude", "blackbox", "--no-fail-fast"]);
        command.args(self.filter);
        libtest::run(command, "units", &mut self.tally)
    }

    fn build(&mut self) -> Result<()> {
        let targets = build::for_tests(self.nightly)?;
        self.tally.pass(1);
        if targets.is_empty() {
            self.tally.skip("sizes: what ships cannot be built here");
        } else {
            size::check(&targets)?;
            self.tally.pass(1);
        }
        // A scenario gives the daemon another clock, which the static binary does not take.
        self.command("the host's build", cargo_with(&["build", "--quiet", "--package", "daemon"]))
    }

    /// The images that scenarios read and run.
    fn images(&mut self) -> Result<()> {
        let nightly = self.nightly;
        self.images_by(build::shipped(), build::pack::needed(), || image::for_tests(nightly))
    }

    /// Makes them, where the static binaries can be built and packed. Elsewhere that is a skip, and so are the scenarios.
    fn images_by(
        &mut self,
        shipped: Result<()>,
        packer: Result<PathBuf>,
        make: impl FnOnce() -> Result<()>,
    ) -> Result<()> {
        if let Err(missing) = shipped.and(packer) {
            self.tally.skip(format!("images: {missing:#}"));
            return Ok(());
        }
        make()?;
        self.tally.pass(1);
        Ok(())
    }

    /// The image on kernels like RouterOS's, its state under the previous commit's program, and many queries.
    fn elsewhere(&mut self) -> Result<()> {
        let words = [
            "test",
            "--package",
            "blackbox",
            "--features",
            "nightly",
            "--test",
            "boot",
            "--test",
            "previous",
            "--test",
            "names_load",
        ];
        let mut command = self.tests(&words);
        match previous::build() {
            Ok(place) => {
                command.env("SMALLTAIL_PREVIOUS", place);
            }
            Err(error) => println!("the previous commit cannot be built: {error:#}"),
        }
        command.args(["--", "--test-threads=1"]).args(self.filter);
        libtest::run(command, "other kernels and commits, many queries", &mut self.tally)
    }

    /// Starts the scenarios that wait for an hour and measure no speed, all at once and below the priority of the
    /// rest, so that the scenarios that do measure are alone as far as the scheduler can help it.
    fn soaks(&self) -> Result<Beside> {
        let words = ["test", "--package", "blackbox", "--features", "nightly", "--test", "nightly"];
        let mut cargo = self.tests(&words);
        cargo.args(["--", "--test-threads=16"]).args(self.filter);
        let mut command = Command::new("nice");
        command.args(["-n", SOAK_NICE]).arg(cargo.get_program()).args(cargo.get_args());
        command.current_dir(lab::workspace_root());
        for (name, value) in cargo.get_envs() {
            value.map(|value| command.env(name, value));
        }
        Beside::start(command, self.notes.soaks.clone())
    }

    /// The shell of images answers on every processor. Building it takes a minute for each, so that is for the night;
    /// otherwise what an image has been made with is asked.
    fn busybox(&mut self) -> Result<()> {
        for target in Target::ALL {
            match busybox::test(target, self.nightly) {
                Ok(None) => {}
                Ok(Some(busybox::Tested::Passed(answers))) => {
                    println!("busybox for {}: {answers} answers are right", target.short());
                    self.tally.pass(1);
                }
                Ok(Some(busybox::Tested::Skipped(reason))) => self.tally.skip(format!("busybox: {reason}")),
                Err(error) => self.tally.fail(format!("busybox for {}: {error:#}", target.short())),
            }
        }
        Ok(())
    }

    fn tests(&self, words: &[&str]) -> Command {
        let mut command = cargo_with(words);
        command.env("SMALLTAIL_SKIPS", &self.notes.skips).env("SMALLTAIL_NUMBERS", &self.notes.numbers);
        if self.nightly {
            command.env("SMALLTAIL_NIGHTLY", "1").env("SMALLTAIL_SEEDS", "10000");
        }
        command
    }
}

fn cargo_with(words: &[&str]) -> Command {
    let mut command = cargo();
    command.args(words);
    command
}

/// The files in which tests say what they skipped and measured, and what the soaks print.
struct Notes {
    skips: PathBuf,
    numbers: PathBuf,
    soaks: PathBuf,
}

impl Notes {
    fn new() -> Result<Self> {
        let dir = lab::target_dir().join("smalltail");
        std::fs::create_dir_all(&dir).with_context(|| dir.display().to_string())?;
        let made = Self {
            skips: dir.join("skips.txt"),
            numbers: dir.join("numbers.txt"),
            soaks: dir.join("soaks.txt"),
        };
        for file in [&made.skips, &made.numbers] {
            std::fs::write(file, "").with_context(|| file.display().to_string())?;
        }
        Ok(made)
    }

    fn skips(&self) -> Vec<String> {
        lines(&self.skips)
    }

    fn numbers(&self) -> Vec<String> {
        lines(&self.numbers)
    }
}

fn lines(path: &PathBuf) -> Vec<String> {
    std::fs::read_to_string(path).unwrap_or_default().lines().map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use anyhow::{anyhow, bail};

    fn run_of_nothing() -> Run<'static> {
        let notes = Notes { skips: PathBuf::new(), numbers: PathBuf::new(), soaks: PathBuf::new() };
        Run { tally: Tally::default(), nightly: false, filter: None, notes }
    }

    #[test]
    fn images_without_what_makes_them_are_a_skip_by_name() {
        let (upx, zig) = (|| anyhow!("there is no upx"), || anyhow!("there is no zig"));
        for (shipped, packer, why) in [
            (Ok(()), Err(upx()), "there is no upx"),
            (Err(zig()), Ok(PathBuf::new()), "there is no zig"),
            (Err(zig()), Err(upx()), "there is no zig"),
        ] {
            let mut run = run_of_nothing();
            run.images_by(shipped, packer, || bail!("tried all the same")).unwrap();
            let said = run.tally.summary();
            assert!(said.contains(&format!("skipped: images: {why}\n")), "{said}");
            assert!(said.ends_with("0 passed, 0 failed, 1 skipped"), "{said}");
        }
        let mut run = run_of_nothing();
        run.images_by(Ok(()), Ok(PathBuf::new()), || Ok(())).unwrap();
        assert!(run.tally.summary().ends_with("1 passed, 0 failed, 0 skipped"));
    }

    #[test]
    fn a_skip_is_named_as_the_test_names_it() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "image::tests::writes: no root\n").unwrap();
        let mut run = run_of_nothing();
        run.notes.skips = file.path().to_owned();
        run.tally.pass(3);
        run.skipped();
        assert_eq!(
            run.tally.summary(),
            "skipped: image::tests::writes: no root\n2 passed, 0 failed, 1 skipped"
        );
    }
}
