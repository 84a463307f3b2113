//! The C compiler that makes static musl programs for a target, as busybox's makefiles can use it.
//!
//! The same three places as for the node itself: `CC_<target>` of the environment, the toolchain `cross`, zig
//! (docs/DEVELOPMENT.md). Busybox talks to gcc and GNU ld, so a small script stands in front that leaves out, or says
//! differently, what zig does not know.

use crate::target::Target;
use anyhow::{Context, Result, bail};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

/// A compiler and its archiver, as words of a command.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Compiler {
    cc: Vec<String>,
    ar: Vec<String>,
}

/// The scripts that stand in front.
pub(super) struct Scripts {
    pub(super) cc: PathBuf,
    pub(super) ar: PathBuf,
}

impl Compiler {
    /// The first that is there.
    ///
    /// # Errors
    /// When none is; the message says what to install.
    pub(super) fn find(target: Target) -> Result<Self> {
        Self::among(target, |name| std::env::var(name).ok(), &cross_home(), zig())
    }

    fn among(
        target: Target,
        var: impl Fn(&str) -> Option<String>,
        cross: &Path,
        zig: Option<Vec<String>>,
    ) -> Result<Self> {
        let lower = target.triple().replace('-', "_");
        if let Some(cc) = var(&format!("CC_{lower}")) {
            let ar = var(&format!("AR_{lower}")).unwrap_or_else(|| "ar".to_owned());
            return Ok(Self { cc: vec![cc], ar: vec![ar] });
        }
        let bin = |name: &str| cross.join("bin").join(name);
        let (cc, ar) = (bin(&format!("{}-cc", target.triple())), bin("zar"));
        if cc.exists() && ar.exists() {
            let word = |path: PathBuf| vec![path.display().to_string()];
            return Ok(Self { cc: word(cc), ar: word(ar) });
        }
        let Some(zig) = zig else {
            bail!(
                "no C compiler for {}: set CC_{lower}, install the toolchain `cross` or `pip install ziglang==0.13.0` \
                 (docs/DEVELOPMENT.md)",
                target.short()
            )
        };
        let words =
            |tail: &[&str]| zig.iter().cloned().chain(tail.iter().map(|&word| word.to_owned())).collect();
        let cc = match target {
            Target::Amd64 => words(&["cc", "-target", "x86_64-linux-musl"]),
            Target::Arm64 => words(&["cc", "-target", "aarch64-linux-musl"]),
            Target::ArmV7 => {
                let machine = "-mcpu=generic+v7a+vfp3d16-vfp3-neon+thumb2";
                words(&["cc", "-target", "arm-linux-musleabihf", machine])
            }
            Target::ArmV5 => words(&["cc", "-target", "arm-linux-musleabi", "-mcpu=arm926ej_s"]),
        };
        Ok(Self { cc, ar: words(&["ar"]) })
    }

    /// Writes the scripts into `dir`.
    pub(super) fn scripts(&self, dir: &Path) -> Result<Scripts> {
        let scripts = Scripts { cc: dir.join("cc"), ar: dir.join("ar") };
        // Kbuild asks the preprocessor for a list of what a file includes, and the linker for a map to look at.
        let cc = format!(
            "#!/bin/sh\nfor word do\n  shift\n  case $word in\n    \
             -Wp,-MD,*) set -- \"$@\" -MD -MF \"${{word#-Wp,-MD,}}\" ;;\n    \
             -Wl,--warn-common|-Wl,--verbose|-Wl,-Map*) ;;\n    \
             *) set -- \"$@\" \"$word\" ;;\n  esac\ndone\nexec {} \"$@\"\n",
            quoted(&self.cc)
        );
        program(&scripts.cc, &cc)?;
        program(&scripts.ar, &format!("#!/bin/sh\nexec {} \"$@\"\n", quoted(&self.ar)))?;
        Ok(scripts)
    }
}

/// Where the toolchain `cross` is.
fn cross_home() -> PathBuf {
    let home = || PathBuf::from(std::env::var_os("HOME").unwrap_or_default()).join(".local/share/cross");
    std::env::var_os("CROSS_HOME").map_or_else(home, PathBuf::from)
}

/// A zig that runs.
fn zig() -> Option<Vec<String>> {
    let ways = [vec!["zig"], vec!["python3", "-m", "ziglang"]];
    let runs = |words: &Vec<&str>| {
        let (program, rest) = words.split_first()?;
        let output = Command::new(program).args(rest).arg("version").output().ok()?;
        output.status.success().then_some(())
    };
    ways.into_iter()
        .find(|words| runs(words).is_some())
        .map(|words| words.into_iter().map(str::to_owned).collect())
}

/// Words for a shell.
fn quoted(words: &[String]) -> String {
    words.iter().map(|word| format!("'{}'", word.replace('\'', "'\\''"))).collect::<Vec<_>>().join(" ")
}

fn program(path: &Path, text: &str) -> Result<()> {
    std::fs::write(path, text)
        .and_then(|()| std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755)))
        .with_context(|| path.display().to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(words: &[&str]) -> Vec<String> {
        words.iter().map(|&word| word.to_owned()).collect()
    }

    #[test]
    fn the_environment_comes_first_then_cross_then_zig() {
        let dir = tempfile::tempdir().unwrap();
        let zig = || Some(words(&["zig"]));
        let found = Compiler::among(Target::ArmV5, |_| None, dir.path(), zig()).unwrap();
        assert_eq!(found.cc, words(&["zig", "cc", "-target", "arm-linux-musleabi", "-mcpu=arm926ej_s"]));
        assert_eq!(found.ar, words(&["zig", "ar"]));

        std::fs::create_dir(dir.path().join("bin")).unwrap();
        for name in ["armv5te-unknown-linux-musleabi-cc", "zar"] {
            std::fs::write(dir.path().join("bin").join(name), "").unwrap();
        }
        let found = Compiler::among(Target::ArmV5, |_| None, dir.path(), zig()).unwrap();
        assert!(found.cc[0].ends_with("bin/armv5te-unknown-linux-musleabi-cc"), "{found:?}");

        let var = |name: &str| (name == "CC_armv5te_unknown_linux_musleabi").then(|| "mycc".to_owned());
        let found = Compiler::among(Target::ArmV5, var, dir.path(), zig()).unwrap();
        assert_eq!(found, Compiler { cc: words(&["mycc"]), ar: words(&["ar"]) });
    }

    #[test]
    fn without_any_the_message_says_what_to_install() {
        let dir = tempfile::tempdir().unwrap();
        let error = Compiler::among(Target::Arm64, |_| None, dir.path(), None).unwrap_err().to_string();
        for part in ["arm64", "CC_aarch64_unknown_linux_musl", "ziglang==0.13.0", "docs/DEVELOPMENT.md"] {
            assert!(error.contains(part), "{part}: {error}");
        }
    }

    #[test]
    fn the_script_says_to_zig_what_was_said_to_gcc() {
        let dir = tempfile::tempdir().unwrap();
        let compiler = Compiler { cc: words(&["echo", "it's"]), ar: words(&["echo"]) };
        let scripts = compiler.scripts(dir.path()).unwrap();
        let output = Command::new(&scripts.cc)
            .args(["-Wp,-MD,dir/.x.o.d", "-Os", "-Wl,-Map,x.map", "-Wl,--warn-common", "-DA=\"b c\"", "x.c"])
            .output()
            .unwrap();
        let said = String::from_utf8(output.stdout).unwrap();
        assert_eq!(said, "it's -MD -MF dir/.x.o.d -Os -DA=\"b c\" x.c\n");
    }
}
