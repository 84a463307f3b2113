//! Whether a finished busybox does what it is for: run on this machine, or by qemu's user mode.
//!
//! Owns: the questions asked of it. Every link must answer as its applet, and a few must compute the right thing.
//! Leaves out: when this runs (`cargo xtask busybox --check`, `cargo xtask test`).

use super::{build, build_raw, links};
use crate::build::elf;
use crate::target::Target;
use anyhow::{Context, Result, bail, ensure};
use std::io::Write as _;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Applets that take `--help` for an argument like any other, as their standard wants it.
const TAKE_IT: [&str; 5] = ["[", "echo", "false", "test", "true"];

/// Second names of an applet that is explained under its first.
const UNEXPLAINED: [&str; 2] = ["egrep", "fgrep"];

/// An applet with its words, what goes into it and what must come out. The first is the one that a compiler once broke.
/// The shell starts only what it has built in: under qemu's user mode it cannot start itself again.
const RUNS: [(&str, &[&str], &str, &str); 6] = [
    (
        "/usr/bin/awk",
        &["{ n[$1] += $2 } END { printf \"%d %s\\n\", n[\"a\"], toupper(\"x\") }"],
        "a 1\nb 5\na 2\n",
        "3 X\n",
    ),
    ("/bin/sed", &["s/b\\(.\\)/\\1b/"], "abc\nxby\n", "acb\nxyb\n"),
    ("/usr/bin/sort", &["-r"], "a\nc\nb\n", "c\nb\na\n"),
    ("/bin/date", &["-u", "-d", "@0", "+%Y"], "", "1970\n"),
    (
        "/bin/ash",
        &["-c", "echo --help; true --help && ! false --help && test -d / && echo ok"],
        "",
        "--help\nok\n",
    ),
    (
        "/bin/sh",
        &["-c", "i=0; while [ $i -lt 3 ]; do i=$((i+1)); printf '%03d ' $i; done"],
        "",
        "001 002 003 ",
    ),
];

/// How programs of a target run here: the words in front of them. None where they cannot.
pub(super) fn runner(target: Target) -> Option<Vec<String>> {
    if target.native() {
        return Some(Vec::new());
    }
    // The processors of the routers in question, so that an instruction they lack is noticed.
    let (emulator, processor) = match target {
        Target::Amd64 => ("qemu-x86_64", "max"),
        Target::Arm64 => ("qemu-aarch64", "cortex-a53"),
        Target::ArmV7 => ("qemu-arm", "cortex-a7"),
        Target::ArmV5 => ("qemu-arm", "arm926"),
    };
    // The full path: what runs has another PATH.
    let path = |name: &str| {
        let found = Command::new("sh").args(["-c", "command -v \"$0\"", name]).output().ok()?;
        let path = String::from_utf8(found.stdout).ok()?;
        found.status.success().then(|| path.trim().to_owned())
    };
    let name = path(&format!("{emulator}-static")).or_else(|| path(emulator))?;
    Some(vec![name, "-cpu".to_owned(), processor.to_owned()])
}

/// Asks everything of the busybox for `target`, raw and packed. Gives the number of answers.
///
/// # Errors
/// The first wrong answer, or that it cannot be built.
pub(super) fn check(target: Target, runner: &[String]) -> Result<usize> {
    let (raw, packed) = (build_raw(target)?, build(target)?);
    let bytes = std::fs::read(&raw).with_context(|| raw.display().to_string())?;
    elf::check(&bytes, target).with_context(|| raw.display().to_string())?;
    let links = links()?;
    let raw = Asked::new(&raw, &links, runner)?;
    for link in &links {
        raw.help(link)?;
    }
    let packed = Asked::new(&packed, &links, runner)?;
    for (link, words, input, answer) in RUNS {
        for asked in [&raw, &packed] {
            asked.answers(link, words, input, answer)?;
        }
    }
    Ok(links.len() + 2 * RUNS.len())
}

/// A busybox with its links, as in an image.
struct Asked<'a> {
    root: tempfile::TempDir,
    runner: &'a [String],
}

impl<'a> Asked<'a> {
    fn new(binary: &Path, links: &[String], runner: &'a [String]) -> Result<Self> {
        let asked = Self { root: tempfile::tempdir().context("a folder for links")?, runner };
        let place = asked.path("/bin/busybox");
        let dir = |path: &Path| path.parent().map_or(Ok(()), std::fs::create_dir_all);
        dir(&place)?;
        std::fs::copy(binary, &place).with_context(|| binary.display().to_string())?;
        for link in links {
            let path = asked.path(link);
            dir(&path)?;
            symlink(&place, &path).with_context(|| path.display().to_string())?;
        }
        Ok(asked)
    }

    fn path(&self, link: &str) -> PathBuf {
        self.root.path().join(link.trim_start_matches('/'))
    }

    /// Runs what is behind a link; gives status and both outputs.
    fn run(&self, link: &str, words: &[&str], input: &str) -> Result<(bool, String)> {
        let path = self.path(link);
        let mut command = match self.runner.split_first() {
            Some((emulator, rest)) => {
                let mut command = Command::new(emulator);
                command.args(rest).arg(&path);
                command
            }
            None => Command::new(&path),
        };
        command.args(words).env_clear().env("PATH", "/nowhere").current_dir(self.root.path());
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().with_context(|| format!("starting {link}"))?;
        if let Some(mut stdin) = child.stdin.take() {
            // Who does not read its input may be gone already.
            stdin.write_all(input.as_bytes()).ok();
        }
        let output = child.wait_with_output().with_context(|| link.to_owned())?;
        let text = [output.stdout, output.stderr].concat();
        Ok((output.status.success(), String::from_utf8_lossy(&text).into_owned()))
    }

    fn help(&self, link: &str) -> Result<()> {
        let name = link.rsplit('/').next().unwrap_or(link);
        let (_, said) = self.run(link, &["--help"], "")?;
        let fine = match name {
            name if TAKE_IT.contains(&name) => !said.contains("applet not found"),
            name if UNEXPLAINED.contains(&name) => said.contains("No help available"),
            name => said.contains(&format!("Usage: {name}")),
        };
        ensure!(fine, "{link} --help does not answer as {name}: {}", said.trim());
        Ok(())
    }

    fn answers(&self, link: &str, words: &[&str], input: &str, answer: &str) -> Result<()> {
        let (fine, said) = self.run(link, words, input)?;
        if !fine || said != answer {
            bail!("{link} {words:?} answers {said:?} instead of {answer:?}");
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt as _;

    #[test]
    fn this_machine_runs_its_own_programs() {
        let here = Target::here().unwrap();
        assert_eq!(runner(here), Some(Vec::new()));
    }

    #[test]
    fn wrong_answers_are_noticed() {
        let dir = tempfile::tempdir().unwrap();
        let fake = dir.path().join("busybox");
        // Says that it is ls whatever it is called.
        std::fs::write(&fake, "#!/bin/sh\necho 'Usage: ls [-l]'\n").unwrap();
        std::fs::set_permissions(&fake, std::fs::Permissions::from_mode(0o755)).unwrap();
        let links = ["/bin/ls", "/bin/ash", "/usr/bin/id"].map(str::to_owned);
        let asked = Asked::new(&fake, &links, &[]).unwrap();
        asked.help("/bin/ls").unwrap();
        let error = asked.help("/usr/bin/id").unwrap_err().to_string();
        assert!(error.starts_with("/usr/bin/id --help does not answer as id: Usage: ls"), "{error}");
        asked.answers("/bin/ash", &[], "", "Usage: ls [-l]\n").unwrap();
        let error = asked.answers("/bin/ash", &[], "", "else").unwrap_err().to_string();
        assert!(error.contains("instead of \"else\""), "{error}");
    }
}
