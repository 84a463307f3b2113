//! The previous commit's program, for the test that state survives an update in both directions.

use crate::metadata::cargo;
use anyhow::{Context, Result, ensure};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Builds it for this machine below the target folder and gives the folder that has it under both names.
///
/// # Errors
/// Without git or its history, and when that commit does not build.
pub(super) fn build() -> Result<PathBuf> {
    let place = lab::target_dir().join("smalltail/previous");
    let source = place.join("source");
    if source.exists() {
        fs::remove_dir_all(&source)?;
    }
    fs::create_dir_all(&source)?;
    unpack(&source)?;
    let mut build = cargo();
    build.current_dir(&source).args(["build", "--quiet", "--package", "daemon"]);
    build.env("CARGO_TARGET_DIR", place.join("target"));
    let status = build.status().context("starting cargo")?;
    ensure!(status.success(), "cargo ended with {status}");
    for name in ["tailscaled", "tailscale"] {
        let link = place.join(name);
        fs::remove_file(&link).ok();
        std::os::unix::fs::symlink("target/debug/tailscale-combined", link)?;
    }
    Ok(place)
}

/// The files of the commit before this one.
fn unpack(source: &Path) -> Result<()> {
    let mut git = Command::new("git")
        .current_dir(lab::workspace_root())
        .args(["archive", "HEAD^"])
        .stdout(Stdio::piped())
        .spawn()
        .context("starting git")?;
    let archive = git.stdout.take().context("git says nothing")?;
    let untarred = Command::new("tar").arg("-C").arg(source).arg("-x").stdin(archive).status();
    let status = git.wait()?;
    ensure!(status.success(), "git archive HEAD^ ended with {status}");
    ensure!(untarred.context("starting tar")?.success(), "tar cannot read what git wrote");
    Ok(())
}
