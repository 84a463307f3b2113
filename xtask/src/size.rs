//! `cargo xtask size`: the shipped binary's bytes, raw and packed.

use crate::build;
use anyhow::Result;
use std::path::PathBuf;
use std::process::{Command, Stdio};

/// Builds for `target` and prints both sizes.
pub(crate) fn run(target: Option<&str>) -> Result<()> {
    let built = build::run(target)?;
    println!("raw    {:>9} bytes", std::fs::metadata(&built.path)?.len());
    match packed(&built.path)? {
        Some(bytes) => println!("packed {bytes:>9} bytes (upx --best --lzma)"),
        None => println!("packed: no upx in PATH or in the cross toolchain"),
    }
    Ok(())
}

/// Size after packing; `None` without a packer.
pub(crate) fn packed(binary: &std::path::Path) -> Result<Option<u64>> {
    let Some(upx) = upx() else { return Ok(None) };
    let copy = lab::target_dir().join("smalltail").join(".packed");
    if let Some(parent) = copy.parent() {
        std::fs::create_dir_all(parent)?;
    }
    std::fs::remove_file(&copy).ok();
    let status = Command::new(upx)
        .args(["--best", "--lzma", "-qqq", "-o"])
        .arg(&copy)
        .arg(binary)
        .stdout(Stdio::null())
        .status()?;
    anyhow::ensure!(status.success(), "upx ended with {status}");
    let bytes = std::fs::metadata(&copy)?.len();
    std::fs::remove_file(&copy)?;
    Ok(Some(bytes))
}

/// The packer of the cross toolchain (its version matters on 32-bit ARM), else one in PATH.
pub(crate) fn upx() -> Option<PathBuf> {
    let home = || Some(PathBuf::from(std::env::var_os("HOME")?).join(".local/share/cross"));
    let cross = std::env::var_os("CROSS_HOME").map(PathBuf::from).or_else(home)?.join("bin/upx");
    let works =
        |path: &PathBuf| Command::new(path).arg("--version").output().is_ok_and(|out| out.status.success());
    [cross, PathBuf::from("upx")].into_iter().find(works)
}
