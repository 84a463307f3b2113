//! `cargo xtask build`: the shipped binary, and beside each other the names it is called by.
//!
//! What ships is a static musl binary with a standard library built for size. That needs the toolchain named `cross`
//! (docs/DEVELOPMENT.md); where it is missing, the host's release build stands in and the command says so.

use crate::metadata::cargo;
use anyhow::{Context, Result, ensure};
use std::path::{Path, PathBuf};
use std::process::Command;

/// Cargo's name of the binary (Cargo refuses a dot) and the name it is installed under.
const BINARY: &str = "tailscale-combined";
const INSTALLED: &str = "tailscale.combined";

/// The names it is called by.
const FACES: [&str; 2] = ["tailscaled", "tailscale"];

/// Name of the rustup toolchain with the musl targets.
const TOOLCHAIN: &str = "cross";

/// Docker's names of the architectures and the targets that make their images.
const TARGETS: [(&str, &str); 4] = [
    ("amd64", "x86_64-unknown-linux-musl"),
    ("arm64", "aarch64-unknown-linux-musl"),
    ("armv7", "armv7-unknown-linux-musleabihf"),
    ("armv5", "armv5te-unknown-linux-musleabi"),
];

/// A finished binary.
pub(crate) struct Built {
    /// Where it is.
    pub(crate) path: PathBuf,
    /// In one phrase, what it is.
    pub(crate) what: String,
}

/// Builds for `target`, or for what tests want when there is none: amd64 musl, else the host.
pub(crate) fn run(target: Option<&str>) -> Result<Built> {
    let built = match target {
        None if cross_installed() && cfg!(target_arch = "x86_64") => {
            cross("amd64", "x86_64-unknown-linux-musl")?
        }
        None => {
            println!(
                "no toolchain `{TOOLCHAIN}` for amd64 musl here: building the host's release binary instead, \
                 which is not what ships (docs/DEVELOPMENT.md)"
            );
            host()?
        }
        Some("host") => host()?,
        Some(name) => {
            let known = TARGETS.iter().find(|(short, triple)| *short == name || *triple == name);
            let names: Vec<_> = TARGETS.iter().map(|(short, _)| *short).collect();
            let (short, triple) = known
                .with_context(|| format!("no target {name}: there are {} and host", names.join(", ")))?;
            ensure!(
                cross_installed(),
                "{short} needs the rustup toolchain `{TOOLCHAIN}` (docs/DEVELOPMENT.md)"
            );
            cross(short, triple)?
        }
    };
    // Only a binary that runs here may stand where tests look for it.
    if !matches!(target, Some(name) if name != "host" && !name.contains("amd64") && !name.contains("x86_64"))
    {
        install(&built.path, &lab::ours_dir())?;
    }
    println!(
        "built {}: {} ({} bytes)",
        built.path.display(),
        built.what,
        std::fs::metadata(&built.path)?.len()
    );
    Ok(built)
}

/// Whether rustup has the toolchain, and it runs: a link to a folder that is gone is listed all the same.
pub(crate) fn cross_installed() -> bool {
    let tried = Command::new("rustup").args(["run", TOOLCHAIN, "cargo", "--version"]).output();
    tried.is_ok_and(|output| output.status.success())
}

fn cross(short: &str, triple: &str) -> Result<Built> {
    let mut command = Command::new("rustup");
    command.args([
        "run",
        TOOLCHAIN,
        "cargo",
        "build",
        "--release",
        "--package",
        "daemon",
        "--target",
        triple,
    ]);
    // A panic must leave one line before it aborts, so this is plain `panic = "abort"`; `immediate-abort` would be
    // smaller and silent.
    command.args(["-Zbuild-std=std,panic_abort", "-Zbuild-std-features=optimize_for_size"]);
    // Nothing unwinds, so the tables for it (half a megabyte) stay out. The outliner, which ARM has anyway at this
    // level, takes 100 KB off the code and a quarter of a megabyte off resident memory; traffic costs no more.
    let flags =
        "-Crelocation-model=static -Cforce-unwind-tables=no -Cllvm-args=-enable-machine-outliner=always";
    command.env("RUSTFLAGS", flags);
    command.env_remove("CARGO").env_remove("RUSTC").env_remove("RUSTUP_TOOLCHAIN");
    command.current_dir(lab::workspace_root());
    ran(command)?;
    let path = lab::target_dir().join(triple).join("release").join(BINARY);
    Ok(Built { path, what: format!("{short}, static musl") })
}

fn host() -> Result<Built> {
    let mut command = cargo();
    command.args(["build", "--release", "--package", "daemon"]);
    ran(command)?;
    Ok(Built { path: lab::target_dir().join("release").join(BINARY), what: "host release build".to_owned() })
}

/// Copies the binary to `dir` and links its names to it. The copy is renamed into place: a running binary cannot be
/// overwritten.
pub(crate) fn install(binary: &Path, dir: &Path) -> Result<()> {
    std::fs::create_dir_all(dir).with_context(|| dir.display().to_string())?;
    let fresh = dir.join(".new");
    std::fs::copy(binary, &fresh).with_context(|| format!("copying {}", binary.display()))?;
    std::fs::rename(&fresh, dir.join(INSTALLED))?;
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

fn ran(mut command: Command) -> Result<()> {
    let status = command.status().context("starting cargo")?;
    ensure!(status.success(), "cargo ended with {status}");
    Ok(())
}
