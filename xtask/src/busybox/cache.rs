//! What has been made once: where it is kept and by what name it is found again.
//!
//! Everything is in `smalltail/busybox` of the user's cache, so every clone and worktree shares it. A name is made of
//! all that decides about the bytes; what is there under a name is complete, because it is renamed into place last. The
//! packed binary comes into that folder later, in the same way, with a stamp that says what it was packed of (`pack`).

use super::config::Config;
use super::{compile, source};
use crate::target::Target;
use anyhow::{Context, Result, bail, ensure};
use sha2::{Digest as _, Sha256};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Raised when this code begins to build the same input differently.
const REVISION: u32 = 1;

/// Digits of a key: enough that no two are alike.
const DIGITS: usize = 16;

/// The folder.
pub(super) fn root() -> PathBuf {
    let cache = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from).filter(|dir| dir.is_absolute());
    let home = || PathBuf::from(std::env::var_os("HOME").unwrap_or_else(|| "/".into())).join(".cache");
    cache.unwrap_or_else(home).join("smalltail").join("busybox")
}

/// Name of what `config` makes for `target`.
pub(super) fn key(config: &Config, target: Target) -> String {
    let sums = source::FILES.map(|(_, sum)| sum).join(" ");
    let fixed = super::kconfig::FIXED.map(|((name, value), _)| format!("{name}={value}")).join(" ");
    let parts = [
        REVISION.to_string(),
        source::VERSION.to_owned(),
        sums,
        target.triple().to_owned(),
        compile::cflags(target),
        fixed,
        config.canonical(),
    ];
    let digest = sha256(parts.join("\n").as_bytes());
    format!("{}-{}", target.slug(), digest.get(..DIGITS).unwrap_or(&digest))
}

/// In hexadecimal digits.
pub(super) fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Runs a program that has nothing to say unless it fails.
///
/// # Errors
/// With what it said last. A program that is not there is named with the package that has it.
pub(super) fn quietly(mut command: Command) -> Result<()> {
    let program = command.get_program().to_string_lossy().into_owned();
    let output = match command.output() {
        Ok(output) => output,
        Err(error) if error.kind() == ErrorKind::NotFound => {
            bail!("{program} is not installed: on Debian `apt-get install {program}`")
        }
        Err(error) => return Err(error).context(program),
    };
    let said = [output.stdout, output.stderr].concat();
    ensure!(output.status.success(), "{program} ended with {}: {}", output.status, last_lines(&said));
    Ok(())
}

/// The end of what a program said.
pub(super) fn last_lines(said: &[u8]) -> String {
    const LINES: usize = 12;
    let text = String::from_utf8_lossy(said);
    let lines: Vec<_> = text.lines().filter(|line| !line.trim().is_empty()).collect();
    lines.get(lines.len().saturating_sub(LINES)..).unwrap_or_default().join("\n")
}

/// Puts the finished folder `made` into its place. Somebody else may have been quicker: theirs is as good.
pub(super) fn keep(made: &Path, place: &Path) -> Result<()> {
    match std::fs::rename(made, place) {
        Err(_) if place.is_dir() => Ok(()),
        other => other.with_context(|| place.display().to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn a_key_depends_on_meaning_and_target() {
        let config = |text: &str| Config::parse(text).unwrap();
        let keys: BTreeSet<_> = Target::ALL.map(|target| key(&config("ls cat"), target)).into();
        assert_eq!(keys.len(), 4);
        let one = key(&config("ls cat"), Target::ArmV5);
        assert!(one.starts_with("armv5-") && one.len() == "armv5-".len() + DIGITS, "{one}");
        assert_eq!(one, key(&config("# other words\ncat\nls"), Target::ArmV5));
        assert_ne!(one, key(&config("ls"), Target::ArmV5));
        assert_ne!(one, key(&config("ls cat\nCONFIG_FEATURE_IPV6=y"), Target::ArmV5));
    }

    #[test]
    fn a_program_that_fails_says_why() {
        let mut shell = Command::new("sh");
        shell.args(["-c", "echo first; echo last >&2; exit 3"]);
        let error = quietly(shell).unwrap_err().to_string();
        assert!(error.contains("exit status: 3") && error.ends_with("first\nlast"), "{error}");
        let error = quietly(Command::new("no-such-program")).unwrap_err().to_string();
        assert!(error.contains("apt-get install no-such-program"), "{error}");
    }

    #[test]
    fn the_quicker_of_two_wins() {
        let dir = tempfile::tempdir().unwrap();
        let path = |name: &str| dir.path().join(name);
        for name in ["one", "two"] {
            std::fs::create_dir(path(name)).unwrap();
            std::fs::write(path(name).join("busybox"), name).unwrap();
        }
        keep(&path("one"), &path("place")).unwrap();
        keep(&path("two"), &path("place")).unwrap();
        assert_eq!(std::fs::read_to_string(path("place").join("busybox")).unwrap(), "one");
        assert!(keep(&path("missing"), &path("elsewhere")).is_err());
    }
}
