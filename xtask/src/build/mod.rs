//! `cargo xtask build`: the shipped binary for each target, with exactly the features that were asked for, raw and
//! packed, and beside each other the names it is called by.
//!
//! Owns: the call of cargo and where its result is kept. Leaves out: what belongs to a feature (`features`), what builds
//! it (`toolchain`), cutting (`elf`) and packing (`pack`).

pub(crate) mod elf;
pub(crate) mod pack;
mod toolchain;

use crate::features::{self, Closure, Profile, Request};
use crate::metadata::cargo;
use crate::target::Target;
use anyhow::{Context, Result, bail};
use clap::{Arg, ArgAction, ArgMatches};
use std::path::{Path, PathBuf};
use std::process::Command;

/// Cargo's name of the binary (Cargo refuses a dot) and the name it is installed under.
const BINARY: &str = "tailscale-combined";
const INSTALLED: &str = "tailscale.combined";

/// The names it is called by.
const FACES: [&str; 2] = ["tailscaled", "tailscale"];

/// What the binary says about itself, beside its features: the commit, and its time in seconds since 1970, which is the
/// least its clock believes.
const COMMIT: &str = "SMALLTAIL_COMMIT";
const EPOCH: &str = "SOURCE_DATE_EPOCH";

/// What is built: a target, and the features it has.
pub(crate) struct Spec<'a> {
    pub(crate) target: Target,
    pub(crate) features: &'a Closure,
    /// Whether [`SMALLER`] are built small rather than fast.
    pub(crate) small: bool,
}

impl<'a> Spec<'a> {
    /// As it ships.
    pub(crate) fn shipped(target: Target, features: &'a Closure) -> Self {
        Self { target, features, small: ships_small(features) }
    }

    /// How cargo is told of another optimisation than the manifest's.
    pub(crate) fn optimisation(&self) -> Vec<String> {
        optimisation(self.small)
    }
}

/// A finished binary. `packed` is `raw` where no packer is there.
pub(crate) struct Binary {
    pub(crate) raw: PathBuf,
    pub(crate) packed: PathBuf,
    /// In one phrase, what it is.
    pub(crate) what: String,
}

/// Arguments of every command that builds for targets.
pub(crate) fn target_argument() -> Arg {
    Arg::new("target")
        .long("target")
        .value_name("TARGET")
        .action(ArgAction::Append)
        .help("amd64, arm64, arm/v7, arm/v5 (static musl), or host; may be given several times")
}

/// What was given by [`target_argument`].
pub(crate) fn targets(matches: &ArgMatches) -> Vec<String> {
    matches.get_many::<String>("target").into_iter().flatten().cloned().collect()
}

/// What is typed.
pub(crate) fn command() -> clap::Command {
    clap::Command::new("build")
        .about("Build the shipped binary with exactly the features asked for")
        .args(features::choice())
        .arg(target_argument())
}

/// Builds what was asked for; where no target is named, the shipped one that runs here, else the host's.
pub(crate) fn run(request: &Request, targets: &[String]) -> Result<()> {
    let closure = features::resolve(request)?;
    let here = default_target()?;
    let targets: Vec<&str> = if targets.is_empty() {
        vec![here.map_or(HOST, Target::short)]
    } else {
        targets.iter().map(String::as_str).collect()
    };
    for name in targets {
        let (raw, what) = if name == HOST {
            let raw = host(&closure)?;
            install(&raw, &lab::ours_dir())?;
            (raw, format!("{HOST} release build"))
        } else {
            let target = Target::parse(name)?;
            let binary = binary(&Spec::shipped(target, &closure))?;
            report("packed", &binary.packed)?;
            place(target, &binary)?;
            (binary.raw, binary.what)
        };
        report("built", &raw)?;
        println!("  {what}");
    }
    Ok(())
}

/// Puts a binary where tests look for it: under its names what runs here, in a folder of its target what does not.
fn place(target: Target, binary: &Binary) -> Result<()> {
    if target.native() {
        return install(&binary.raw, &lab::ours_dir());
    }
    let dir = lab::target_dir().join("smalltail").join(target.slug());
    std::fs::create_dir_all(&dir).with_context(|| dir.display().to_string())?;
    for (name, path) in [("raw", &binary.raw), ("packed", &binary.packed)] {
        write_program(&dir.join(name), &std::fs::read(path)?)?;
    }
    Ok(())
}

/// The name of the target that is this machine's own, with its own C library.
pub(crate) const HOST: &str = "host";

/// What the black box runs: profile `router` as it ships where this machine can build that, else the host's build; and for
/// the emulator ARMv5, at night every target. Gives what it built of the four.
pub(crate) fn for_tests(nightly: bool) -> Result<Vec<Target>> {
    let router = Request::from(Profile::Router);
    if shipped().is_err() {
        run(&router, &[])?;
        return Ok(Vec::new());
    }
    let here = Target::here();
    let all = Target::ALL.into_iter().filter(|&one| nightly || Some(one) == here || one == Target::ArmV5);
    let targets: Vec<_> = all.collect();
    let names: Vec<_> = targets.iter().map(|target| target.short().to_owned()).collect();
    run(&router, &names)?;
    Ok(targets)
}

/// Whether this machine can build what ships; the error says what is missing.
pub(crate) fn shipped() -> Result<()> {
    Target::ALL.into_iter().try_for_each(|target| toolchain::find(target).map(|_| ()))
}

/// The shipped target that runs on this machine, where its tools are there; says aloud what it is instead.
fn default_target() -> Result<Option<Target>> {
    let Some(target) = Target::here() else {
        println!("no shipped target runs on this machine: building the host's release binary instead");
        return Ok(None);
    };
    match toolchain::find(target) {
        Ok(_) => Ok(Some(target)),
        Err(missing) => {
            println!(
                "the host's release binary is built instead of the static one for {}, so it is not what ships: \
                 {missing:#} (docs/DEVELOPMENT.md)",
                target.short()
            );
            Ok(None)
        }
    }
}

/// Builds, cuts off what is not loaded, and packs. Kept below `target/smalltail/binaries`, one folder for each target and
/// set of features, with the symbols beside it.
///
/// # Errors
/// When the tools are missing (and how to get them), cargo fails, or the segments are not as RouterOS needs them.
pub(crate) fn binary(spec: &Spec<'_>) -> Result<Binary> {
    let Spec { target, features, .. } = spec;
    let toolchain = toolchain::find(*target)
        .with_context(|| format!("no tools for {} (docs/DEVELOPMENT.md)", target.short()))?;
    println!("{}: {}", target.short(), toolchain.said());
    if !features.missing.is_empty() {
        println!("{}: planned and therefore missing: {}", target.short(), features.missing.join(" "));
    }
    let mut command = toolchain.cargo(*target)?;
    command.args(spec.optimisation());
    told(&mut command, features);
    // The symbols are needed to say what is large and where something died; they are cut off below.
    command.env("CARGO_PROFILE_RELEASE_STRIP", "none");
    let dir = kept(spec)?;
    let symbols = dir.join("symbols");
    let raw = dir.join("raw");
    alone(&dir.with_file_name("lock"), || {
        ran(command)?;
        std::fs::copy(lab::target_dir().join(target.triple()).join("release").join(BINARY), &symbols)
            .context("cargo left no binary")?;
        let cut = elf::strip(&std::fs::read(&symbols)?).context("the linker's result")?;
        elf::check(&cut, *target)?;
        write_program(&raw, &cut)
    })?;
    let packed = pack::packed(&raw, &dir.join("packed"), *target)?;
    let what = format!(
        "{}, static musl, {}{}",
        target.short(),
        toolchain.said(),
        if packed == raw { ", not packed" } else { "" }
    );
    Ok(Binary { raw, packed, what })
}

/// Runs `body` while nobody else does who holds the same file: cargo leaves every set of features under one name, and its
/// own lock ends before that is copied.
fn alone<T>(lock: &Path, body: impl FnOnce() -> Result<T>) -> Result<T> {
    let file = std::fs::File::create(lock).with_context(|| lock.display().to_string())?;
    if file.try_lock().is_err() {
        println!("waiting for another build for this target");
        file.lock().with_context(|| lock.display().to_string())?;
    }
    body()
}

/// The unstripped twin of a binary made by [`binary`].
pub(crate) fn symbols(binary: &Binary) -> PathBuf {
    binary.raw.with_file_name("symbols")
}

/// The host's own release build, for machines without the tools.
fn host(closure: &Closure) -> Result<PathBuf> {
    let mut command = cargo();
    command.args(["build", "--release", "--package", "daemon"]);
    command.args(optimisation(ships_small(closure)));
    told(&mut command, closure);
    ran(command)?;
    Ok(lab::target_dir().join("release").join(BINARY))
}

/// A build without this is made where bytes count more than anything. What is built faster elsewhere is built small
/// there: a login among thousands takes a third longer, and relays some per cent more.
const ROOMY: &str = "allroots";
/// The packages that this is true of.
const SMALLER: [&str; 2] = ["gojson", "derp"];

fn ships_small(features: &Closure) -> bool {
    !features.built.iter().any(|feature| feature == ROOMY)
}

fn optimisation(small: bool) -> Vec<String> {
    let word = |package| format!("--config=profile.release.package.{package}.opt-level=\"z\"");
    if small { SMALLER.map(word).into() } else { Vec::new() }
}

/// Adds the features to a call of cargo, and what the binary shall know of itself.
fn told(command: &mut Command, closure: &Closure) {
    command.args(closure.cargo_words()).env(Closure::MISSING_VAR, closure.missing_value());
    for (name, format) in [(COMMIT, "%H"), (EPOCH, "%ct")] {
        if let Some(value) = last_commit(format) {
            command.env(name, value);
        }
    }
}

/// A fact about the last commit; none in a tree without git.
fn last_commit(format: &str) -> Option<String> {
    let mut git = Command::new("git");
    git.args(["log", "-1", &format!("--format={format}")]).current_dir(lab::workspace_root());
    let output = git.output().ok().filter(|output| output.status.success())?;
    String::from_utf8(output.stdout).ok().map(|text| text.trim().to_owned()).filter(|text| !text.is_empty())
}

/// Where the binary of a target and a set of features is kept: by the words for them, and where it does not ship so by that.
fn kept(spec: &Spec<'_>) -> Result<PathBuf> {
    let Spec { target, features, small } = spec;
    let mut words = if features.built.is_empty() { "bare".to_owned() } else { features.built.join("+") };
    if *small != ships_small(features) {
        words.push_str(if *small { "-small" } else { "-fast" });
    }
    let dir = lab::target_dir().join("smalltail").join("binaries").join(target.slug()).join(words);
    std::fs::create_dir_all(&dir).with_context(|| dir.display().to_string())?;
    Ok(dir)
}

/// Copies the binary to `dir` and links its names to it.
pub(crate) fn install(binary: &Path, dir: &Path) -> Result<()> {
    std::fs::create_dir_all(dir).with_context(|| dir.display().to_string())?;
    let bytes = std::fs::read(binary).with_context(|| binary.display().to_string())?;
    write_program(&dir.join(INSTALLED), &bytes)?;
    for face in FACES {
        let link = dir.join(face);
        if link.read_link().is_ok_and(|to| to == Path::new(INSTALLED)) {
            continue;
        }
        std::fs::remove_file(&link).ok();
        std::os::unix::fs::symlink(INSTALLED, &link).with_context(|| link.display().to_string())?;
    }
    Ok(())
}

/// Writes an executable file, renamed into place: a running program cannot be overwritten.
fn write_program(path: &Path, bytes: &[u8]) -> Result<()> {
    use std::os::unix::fs::PermissionsExt as _;
    let fresh = path.with_extension("new");
    std::fs::write(&fresh, bytes).with_context(|| fresh.display().to_string())?;
    std::fs::set_permissions(&fresh, std::fs::Permissions::from_mode(0o755))?;
    std::fs::rename(&fresh, path).with_context(|| path.display().to_string())
}

fn report(what: &str, path: &Path) -> Result<()> {
    println!("{what} {}: {} bytes", path.display(), std::fs::metadata(path)?.len());
    Ok(())
}

fn ran(mut command: Command) -> Result<()> {
    let status = command.status().context("starting cargo")?;
    if !status.success() {
        bail!("cargo ended with {status}");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_builds_for_a_target_at_a_time() {
        let dir = tempfile::tempdir().unwrap();
        let lock = dir.path().join("lock");
        let free = || std::fs::File::create(&lock).unwrap().try_lock().is_ok();
        alone(&lock, || {
            assert!(!free());
            Ok(())
        })
        .unwrap();
        assert!(free());
        alone::<()>(&lock, || bail!("cargo ended")).unwrap_err();
        assert!(free());
    }

    #[test]
    fn what_ships_without_all_authorities_is_built_small() {
        for (profile, small) in [(Profile::Router, false), (Profile::Tiny, true), (Profile::Full, false)] {
            let closure = features::resolve(&profile.into()).unwrap();
            let words = Spec::shipped(Target::ArmV7, &closure).optimisation();
            assert_eq!(words.len(), if small { SMALLER.len() } else { 0 }, "{}: {words:?}", profile.name());
        }
    }
}
