//! What compiles and links for the musl targets on this machine: found, not asked for, and said aloud.
//!
//! Two ways, in this order. The rustup toolchain `cross` brings the standard library's source, a C compiler and a linker
//! with it. Plain rustup has either the source (component `rust-src`, a nightly) and needs zig as C compiler and linker,
//! or a finished standard library (`rustup target add`) and needs a C compiler; that binary is larger.
//! Leaves out: installing any of them (docs/DEVELOPMENT.md says how).

use crate::target::Target;
use anyhow::{Context, Result, bail};
use std::path::{Path, PathBuf};
use std::process::Command;

/// Name of the rustup toolchain that brings everything.
const CROSS: &str = "cross";

/// The plain ones that are tried, in this order.
const PLAIN: [&str; 2] = ["nightly", "stable"];

/// Where statically linked code stands is known; nothing unwinds, so the tables for it (half a megabyte) stay out.
const FLAGS: &str = "-Crelocation-model=static -Cforce-unwind-tables=no";

/// Pieces of code that occur twice become functions. On 64-bit targets that takes 100 KB off the code and more off resident
/// memory; traffic costs no more. On 32-bit ARM what is left packs worse than what was taken away (docs/size.md).
const OUTLINED: &str = "-Cllvm-args=-enable-machine-outliner=always";

/// A panic stops the program at once, without a line and the code that would write it (docs/size.md has the bytes, and
/// docs/DEVELOPMENT.md how to find the place), nor is the place passed around. Needs the standard library from source.
/// What derives `Debug` shows its name only: no message of ours is made of more (docs/DEVELOPMENT.md).
const SILENT: &str = "-Zunstable-options -Cpanic=immediate-abort -Zlocation-detail=none -Zfmt-debug=shallow";

/// The same for C: on 32-bit ARM a single table links the whole unwinder, and with it what formats its complaints.
const C_FLAGS: &str = "-fno-unwind-tables -fno-asynchronous-unwind-tables -fno-exceptions";

/// What Rust's linker does for size: functions of the same code become one, and such as are alike stand side by side, where
/// the packer sees it (docs/size.md).
const LINKED: [&str; 3] = ["--icf=all", "--bp-compression-sort=both", "-O2"];

/// A way to build.
pub(super) struct Toolchain {
    /// As rustup knows it.
    name: &'static str,
    /// Where the standard library comes from.
    library: Library,
    compiler: Compiler,
}

enum Library {
    /// Built with our flags.
    Source,
    /// As it was shipped.
    Finished,
}

/// What compiles C and links.
enum Compiler {
    /// The toolchain has set it, or the caller by `CC_<target>` and `CARGO_TARGET_<TARGET>_LINKER`.
    Set,
    /// A zig command in front of which nothing has to be set.
    Zig(Vec<String>),
    /// A C compiler for musl by this name; Rust's own linker links.
    Gcc(String),
}

impl Toolchain {
    /// In one phrase, for people.
    pub(super) fn said(&self) -> String {
        let library = match self.library {
            Library::Source => "standard library from source",
            Library::Finished => "finished standard library, so larger than what ships",
        };
        let compiler = match &self.compiler {
            Compiler::Set if self.name == CROSS => "its own C compiler".to_owned(),
            Compiler::Set => "C compiler from the environment".to_owned(),
            Compiler::Zig(words) => words.join(" "),
            Compiler::Gcc(name) => name.clone(),
        };
        format!("toolchain `{}`, {library}, {compiler}", self.name)
    }

    /// A call of cargo that builds the daemon for `target`, without its features.
    pub(super) fn cargo(&self, target: Target) -> Result<Command> {
        let mut command = Command::new("rustup");
        command.args(["run", self.name, "cargo", "build", "--release", "--package", "daemon"]);
        command.args(["--target", target.triple()]);
        let mut flags = FLAGS.to_owned();
        if matches!(target, Target::Amd64 | Target::Arm64) {
            flags = format!("{flags} {OUTLINED}");
        }
        match self.library {
            Library::Source => {
                command.args(["-Zbuild-std=std,panic_abort", "-Zbuild-std-features=optimize_for_size"]);
                flags = format!("{flags} {SILENT}");
            }
            Library::Finished => {}
        }
        let triple = target.triple();
        let lower = triple.replace('-', "_");
        let linker = format!("CARGO_TARGET_{}_LINKER", lower.to_uppercase());
        // What links against zig's libc; else Rust's own linker does, with its own.
        let by_zig = match &self.compiler {
            Compiler::Set => self.set_linker(&linker, triple),
            Compiler::Zig(words) => {
                let wrapper = wrapper(target, words)?;
                command.env(format!("CC_{lower}"), &wrapper.compiler);
                command.env(format!("AR_{lower}"), &wrapper.archiver);
                matches!(self.library, Library::Source).then_some(wrapper.compiler)
            }
            Compiler::Gcc(name) => {
                command.env(format!("CC_{lower}"), name);
                None
            }
        };
        match (&self.compiler, by_zig) {
            (_, Some(compiler)) => {
                command.env(linker, self.relinker(target, &compiler)?.unwrap_or(compiler));
            }
            // Whoever sets a linker that we do not know gets that.
            (Compiler::Set, None) => {}
            (_, None) => {
                command.env(linker, "rust-lld");
                flags.extend(LINKED.map(|word| format!(" -Clink-arg={word}")));
            }
        }
        let own = format!("CFLAGS_{lower}");
        let wanted = std::env::var(&own).unwrap_or_default();
        command.env(own, format!("{C_FLAGS} {wanted}").trim_end());
        command.env("RUSTFLAGS", flags);
        command.env_remove("CARGO").env_remove("RUSTC").env_remove("RUSTUP_TOOLCHAIN");
        command.current_dir(lab::workspace_root()).env("CARGO_TARGET_DIR", lab::target_dir());
        Ok(command)
    }
}

impl Toolchain {
    /// The linker that came with the toolchain; none where the environment names another.
    fn set_linker(&self, variable: &str, triple: &str) -> Option<PathBuf> {
        let own = sysroot(self.name)?.with_file_name("bin").join(format!("{triple}-cc"));
        (std::env::var_os(variable).is_none() && own.is_file()).then_some(own)
    }

    /// Writes the program that links in `compiler`'s place. Zig knows where its libc is, but its linker lacks what
    /// [`LINKED`] asks for, and it takes no such words; so it links, says how, and Rust's own linker does the same again.
    /// The result of a compiler that says nothing is left as it is. `None` where that cannot be done; it costs a few KiB.
    fn relinker(&self, target: Target, compiler: &Path) -> Result<Option<PathBuf>> {
        let dir = sysroot(self.name).context("rustc does not say where it is installed")?.join("lib/rustlib");
        let hosts = std::fs::read_dir(&dir).with_context(|| dir.display().to_string())?;
        let mut linkers = hosts.flatten().map(|host| host.path().join("bin/rust-lld"));
        let Some(lld) = linkers.find(|path| path.is_file()) else {
            println!("toolchain `{}` has no rust-lld below {}: linked once only", self.name, dir.display());
            return Ok(None);
        };
        // What a compiler says of its words cannot be taken apart when there are spaces in them.
        if [lld.as_path(), compiler].iter().any(|path| path.to_string_lossy().contains(char::is_whitespace)) {
            println!("there is a space in {} or in {}: linked once only", lld.display(), compiler.display());
            return Ok(None);
        }
        let script = format!(
            "#!/bin/sh\n# Written by `cargo xtask build`: zig links and says how, Rust's linker does it again, smaller.\n\
             said=$(ZIG_VERBOSE_LINK=1 '{}' \"$@\" 2>&1) || {{ printf '%s\\n' \"$said\" >&2; exit 1; }}\n\
             words=$(printf '%s\\n' \"$said\" | sed -n 's/^ld\\.lld //p' | tail -n 1)\n\
             [ -n \"$words\" ] || exit 0\n\
             exec '{}' -flavor gnu $words {}\n",
            compiler.display(),
            lld.display(),
            LINKED.join(" ")
        );
        let path = tools()?.join(format!("{}-link", target.slug()));
        super::write_program(&path, script.as_bytes())?;
        Ok(Some(path))
    }
}

/// The folder of the programs that are written here.
fn tools() -> Result<PathBuf> {
    let dir = lab::target_dir().join("smalltail").join("zig");
    std::fs::create_dir_all(&dir).with_context(|| dir.display().to_string())?;
    Ok(dir)
}

/// The first way that is complete for `target`.
///
/// # Errors
/// Says what is missing of the nearest way, and how to get it.
pub(super) fn find(target: Target) -> Result<Toolchain> {
    // A link to a folder that is gone is listed all the same, so it is run.
    if sysroot(CROSS).is_some_and(|dir| has_source(&dir)) {
        return Ok(Toolchain { name: CROSS, library: Library::Source, compiler: Compiler::Set });
    }
    let mut missing = None;
    for name in PLAIN {
        let Some(dir) = sysroot(name) else { continue };
        let library = if has_source(&dir) && name != "stable" {
            Library::Source
        } else if dir.join("lib/rustlib").join(target.triple()).join("lib").is_dir() {
            Library::Finished
        } else {
            continue;
        };
        match compiler(target, &library) {
            Ok(compiler) => return Ok(Toolchain { name, library, compiler }),
            Err(error) => missing = Some(error),
        }
    }
    Err(missing.unwrap_or_else(|| {
        anyhow::anyhow!(
            "rustup has neither a toolchain `{CROSS}`, nor the standard library's source (`rustup toolchain install \
             nightly -c rust-src`), nor a finished one for this target (`rustup target add {}`)",
            target.triple()
        )
    }))
}

/// Where a toolchain that runs is installed.
fn sysroot(name: &str) -> Option<PathBuf> {
    let output = Command::new("rustup").args(["run", name, "rustc", "--print", "sysroot"]).output().ok()?;
    let path = String::from_utf8(output.stdout).ok()?;
    output.status.success().then(|| PathBuf::from(path.trim()))
}

fn has_source(sysroot: &Path) -> bool {
    sysroot.join("lib/rustlib/src/rust/library/std/Cargo.toml").is_file()
}

/// A C compiler for `target`, and a linker where the standard library brings no C library.
fn compiler(target: Target, library: &Library) -> Result<Compiler> {
    let lower = target.triple().replace('-', "_");
    let set = |name: String| std::env::var_os(name).is_some();
    if set(format!("CC_{lower}")) && set(format!("CARGO_TARGET_{}_LINKER", lower.to_uppercase())) {
        return Ok(Compiler::Set);
    }
    for words in [&["zig"][..], &["python3", "-m", "ziglang"]] {
        if answers(words, "version").is_some_and(|version| version.trim() == ZIG) {
            return Ok(Compiler::Zig(words.iter().map(|&word| word.to_owned()).collect()));
        }
    }
    if matches!(library, Library::Finished) {
        for name in musl_compilers(target) {
            if answers(&[name], "--version").is_some() {
                return Ok(Compiler::Gcc((*name).to_owned()));
            }
        }
        bail!(
            "no C compiler for {}: install zig {ZIG} (`pip install ziglang=={ZIG}`) or one of {}",
            target.triple(),
            musl_compilers(target).join(", ")
        );
    }
    bail!(
        "no C compiler and linker for {}: install zig {ZIG} (`pip install ziglang=={ZIG}`)",
        target.triple()
    )
}

/// The version of zig whose musl has its own memory allocator and copying: later ones are larger, and C programs do not
/// link for ARMv5.
const ZIG: &str = "0.13.0";

/// Names that musl-cross-make and distributions give to their compilers.
fn musl_compilers(target: Target) -> &'static [&'static str] {
    match target {
        Target::Amd64 => &["x86_64-linux-musl-gcc", "musl-gcc"],
        Target::Arm64 => &["aarch64-linux-musl-gcc"],
        Target::ArmV7 => &["armv7l-linux-musleabihf-gcc", "arm-linux-musleabihf-gcc"],
        Target::ArmV5 => &["armv5l-linux-musleabi-gcc", "arm-linux-musleabi-gcc"],
    }
}

/// What a program prints when it is asked for its version; none where it does not run.
fn answers(words: &[&str], argument: &str) -> Option<String> {
    let (program, rest) = words.split_first()?;
    let output = Command::new(program).args(rest).arg(argument).output().ok()?;
    output.status.success().then(|| String::from_utf8_lossy(&output.stdout).into_owned())
}

struct Wrapper {
    compiler: PathBuf,
    archiver: PathBuf,
}

/// Writes the two programs that cargo needs in zig's place: `zig cc` is two words and wants a target, and does not know some
/// words that Rust and `cc` say to gcc.
fn wrapper(target: Target, zig: &[String]) -> Result<Wrapper> {
    let (machine, processor) = match target {
        Target::Amd64 => ("x86_64-linux-musl", ""),
        Target::Arm64 => ("aarch64-linux-musl", ""),
        Target::ArmV7 => ("arm-linux-musleabihf", "-mcpu=generic+v7a+vfp3d16-vfp3-neon+thumb2"),
        Target::ArmV5 => ("arm-linux-musleabi", "-mcpu=arm926ej_s"),
    };
    let dir = tools()?;
    let zig = zig.join(" ");
    let compiler = dir.join(format!("{}-cc", target.slug()));
    let script = format!(
        "#!/bin/sh\n# Written by `cargo xtask build`: zig as a C compiler and linker.\n\
         for word do\n  shift\n  case $word in\n    \
         --target=*|-march=*|-m64|-mfloat-abi=*|-mfpu=*) ;;\n    \
         -lgcc|-lgcc_s|-lgcc_eh|*crt1.o|*crti.o|*crtn.o|*crtbegin*.o|*crtend*.o) ;;\n    \
         -Wl,--warn-common|-Wl,--verbose) ;;\n    \
         *) set -- \"$@\" \"$word\" ;;\n  esac\ndone\n\
         exec {zig} cc -target {machine} {processor} \"$@\"\n"
    );
    super::write_program(&compiler, script.as_bytes())?;
    let archiver = dir.join("ar");
    super::write_program(&archiver, format!("#!/bin/sh\nexec {zig} ar \"$@\"\n").as_bytes())?;
    Ok(Wrapper { compiler, archiver })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cargo_builds_where_we_look() {
        let compiler = Compiler::Gcc("musl-gcc".to_owned());
        let toolchain = Toolchain { name: CROSS, library: Library::Finished, compiler };
        let command = toolchain.cargo(Target::Amd64).unwrap();
        let dir = command.get_envs().find(|(name, _)| *name == "CARGO_TARGET_DIR").and_then(|(_, dir)| dir);
        assert_eq!(dir, Some(lab::target_dir().as_os_str()));
    }
}
