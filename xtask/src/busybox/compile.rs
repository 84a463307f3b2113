//! Builds busybox for one target: a fresh copy of the source, its configuration, its makefiles.

use super::applets::Table;
use super::compiler::{Compiler, Scripts};
use super::config::Config;
use super::{cache, kconfig, source};
use crate::target::Target;
use anyhow::{Context, Result, bail, ensure};
use std::fs::File;
use std::io::{BufRead as _, BufReader, IsTerminal as _, Write as _};
use std::path::Path;
use std::process::{Command, Stdio};

/// Programs of the build machine, with the Debian packages that have them.
const TOOLS: [(&str, &str); 6] = [
    ("make", "make"),
    ("gcc", "gcc"),
    ("tar", "tar"),
    ("bzip2", "bzip2"),
    ("xz", "xz-utils"),
    ("patch", "patch"),
];

/// Empty answers for busybox's `oldconfig`, which asks about some hundred options: each takes what busybox prefers.
const ANSWERS: usize = 10_000;

/// What remains of a build.
pub(super) const BINARY: &str = "busybox";
pub(super) const CONFIGURATION: &str = "config";

/// Optimised as one program when it is linked: 6 % fewer bytes.
pub(super) const LINK_TIME: &str = "-flto";

/// The compiler's flags besides busybox's own.
pub(super) fn cflags(target: Target) -> String {
    // Busybox declares its globals as constant pointers and writes them once; clang believes the declaration and
    // compiles awk so that it crashes on ARM. Empty, the macro declares them as what they are.
    let constants = "-DBB_GLOBAL_CONST=";
    match target {
        // Half the width of its other instructions: a fifth of the bytes.
        Target::ArmV7 => format!("{constants} {LINK_TIME} -mthumb"),
        Target::Amd64 | Target::Arm64 | Target::ArmV5 => format!("{constants} {LINK_TIME}"),
    }
}

/// Checks that everything is here that building takes.
pub(super) fn tools() -> Result<()> {
    missing(&TOOLS)
}

fn missing(tools: &[(&str, &str)]) -> Result<()> {
    let starts = |name: &str| {
        let tried = Command::new(name).arg("--version").stdin(Stdio::null()).output();
        tried.is_ok()
    };
    let packages: Vec<_> =
        tools.iter().filter(|(name, _)| !starts(name)).map(|(_, package)| *package).collect();
    ensure!(
        packages.is_empty(),
        "building busybox takes {0}: on Debian `apt-get install {0}`",
        packages.join(" ")
    );
    Ok(())
}

/// Builds in the empty folder `work`; the results are left in `out`.
pub(super) fn build(target: Target, config: &Config, work: &Path, out: &Path) -> Result<()> {
    tools()?;
    let compiler = Compiler::find(target)?;
    let tree = work.join("source");
    source::unpack(&source::files()?, &tree)?;
    let table = Table::scan(&tree)?;
    let wanted = kconfig::wanted(config, &table, &cflags(target))?;
    let scripts = compiler.scripts(work)?;

    let make = Make { tree: &tree, scripts: &scripts };
    make.run(&["defconfig"], Stdio::null())?;
    let path = tree.join(".config");
    let base = std::fs::read_to_string(&path).context("busybox's .config")?;
    std::fs::write(&path, kconfig::written(&base, &wanted)).context("busybox's .config")?;
    let answers = work.join("answers");
    std::fs::write(&answers, "\n".repeat(ANSWERS)).context("answers for oldconfig")?;
    make.run(&["oldconfig"], Stdio::from(File::open(&answers)?))?;
    kconfig::check(&std::fs::read_to_string(&path)?, &wanted)?;
    make.compile(&work.join("log"))?;

    std::fs::create_dir_all(out).with_context(|| out.display().to_string())?;
    std::fs::copy(tree.join(BINARY), out.join(BINARY)).context("busybox's binary")?;
    std::fs::copy(&path, out.join(CONFIGURATION)).context("busybox's configuration")?;
    Ok(())
}

/// Busybox's makefiles in one folder.
struct Make<'a> {
    tree: &'a Path,
    scripts: &'a Scripts,
}

impl Make<'_> {
    fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new("make");
        command.current_dir(self.tree).args(words).arg("HOSTCC=gcc").arg("SKIP_STRIP=y");
        command.arg(format!("CC={}", self.scripts.cc.display()));
        command.arg(format!("AR={}", self.scripts.ar.display()));
        // The same bytes at any time and in any language; nothing of a make above this one.
        command.env("KCONFIG_NOTIMESTAMP", "1").env("LC_ALL", "C");
        for name in
            ["MAKEFLAGS", "MFLAGS", "MAKELEVEL", "CFLAGS", "CPPFLAGS", "LDFLAGS", "CROSS_COMPILE", "ARCH"]
        {
            command.env_remove(name);
        }
        command
    }

    fn run(&self, words: &[&str], input: Stdio) -> Result<()> {
        let mut command = self.command(words);
        command.stdin(input);
        cache::quietly(command).with_context(|| format!("busybox's {}", words.join(" ")))
    }

    /// The long part. Everything it says is in the file `log`; a terminal is told how far it is.
    fn compile(&self, log: &Path) -> Result<()> {
        let threads = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        let mut written = File::create(log).with_context(|| log.display().to_string())?;
        let mut command = self.command(&[&format!("--jobs={threads}"), BINARY]);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(written.try_clone()?);
        let mut child = command.spawn().context("starting make")?;
        let Some(said) = child.stdout.take() else { bail!("make has no output") };
        let told = std::io::stdout().is_terminal();
        let mut compiled = 0;
        for line in BufReader::new(said).split(b'\n') {
            let line = line.context("reading what make says")?;
            written.write_all(&line).and_then(|()| written.write_all(b"\n")).context("make's log")?;
            compiled += usize::from(line.starts_with(b"  CC "));
            if told {
                print!("\rbusybox: {compiled} files compiled ");
                std::io::stdout().flush().ok();
            }
        }
        if told {
            print!("\r\x1b[K");
        }
        let status = child.wait().context("waiting for make")?;
        if !status.success() {
            let said = std::fs::read(log).unwrap_or_default();
            bail!("busybox's make ended with {status}:\n{}", cache::last_lines(&said));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn missing_tools_are_named_together() {
        let tools = [("sh", "dash"), ("no-such-tool", "this"), ("nor-this-one", "that")];
        let error = missing(&tools).unwrap_err().to_string();
        assert_eq!(error, "building busybox takes this that: on Debian `apt-get install this that`");
        missing(&tools[..1]).unwrap();
    }

    #[test]
    fn a_failing_make_shows_its_last_words() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(
            dir.path().join("Makefile"),
            "busybox:\n\t@echo '  CC      ls.o'\n\t@echo broken here >&2; exit 1\n",
        )
        .unwrap();
        let scripts = Scripts { cc: "cc".into(), ar: "ar".into() };
        let make = Make { tree: dir.path(), scripts: &scripts };
        let error = make.compile(&dir.path().join("log")).unwrap_err().to_string();
        assert!(error.contains("broken here") && error.contains("CC      ls.o"), "{error}");
    }
}
