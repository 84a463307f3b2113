//! Packing by UPX, and by one version of it only.
//!
//! Owns: finding the packer, refusing others, and which method is used. Leaves out: whether an image carries the packed
//! binary (`image`), and the measurements that decided (docs/size.md).

use crate::target::Target;
use anyhow::{Context, Result, bail, ensure};
use std::path::{Path, PathBuf};
use std::process::Command;

/// The one version: what others pack for 32-bit ARM crashes when the code happens to end at a page's end (UPX issue 18898),
/// and 5.x needs `memfd_create`, which old kernels lack.
const VERSION: &str = "4.2.4";

/// How binaries are packed: smallest on flash (docs/size.md has the time it takes to start).
///
/// Beside the byte before, ARM's code says by a byte's place in its word of four what it may be; amd64's does not.
const fn method(target: Target) -> &'static [&'static str] {
    match target {
        Target::Amd64 => &["--best", "--lzma", "--crp-lzma-lc=4"],
        Target::Arm64 | Target::ArmV7 | Target::ArmV5 => {
            &["--best", "--lzma", "--crp-lzma-lp=2", "--crp-lzma-lc=2"]
        }
    }
}

/// Packs `raw`, a program for `target`, to `to`, unless `fresh` is false and that is done already. Gives `raw` back where no packer is there.
///
/// # Errors
/// When the packer that is there is another version, or fails.
pub(crate) fn packed(raw: &Path, to: &Path, target: Target, fresh: bool) -> Result<PathBuf> {
    let Some(upx) = upx()? else {
        println!("no upx {VERSION} in PATH or in the cross toolchain: not packed");
        return Ok(raw.to_owned());
    };
    if fresh || !to.exists() {
        pack_by(&upx, raw, to, method(target))?;
    }
    Ok(to.to_owned())
}

/// Packs by these flags.
pub(crate) fn pack_by(upx: &Path, raw: &Path, to: &Path, flags: &[&str]) -> Result<()> {
    std::fs::remove_file(to).ok();
    let output = Command::new(upx).args(flags).args(["-qqq", "-o"]).arg(to).arg(raw).output();
    let output = output.with_context(|| format!("starting {}", upx.display()))?;
    ensure!(output.status.success(), "upx: {}", String::from_utf8_lossy(&output.stderr).trim());
    Ok(())
}

/// The packer of the cross toolchain, else the one in PATH; none where neither runs.
///
/// # Errors
/// When the first that runs is not the one version.
pub(crate) fn upx() -> Result<Option<PathBuf>> {
    let home = || Some(PathBuf::from(std::env::var_os("HOME")?).join(".local/share/cross"));
    let cross =
        std::env::var_os("CROSS_HOME").map(PathBuf::from).or_else(home).map(|dir| dir.join("bin/upx"));
    for path in cross.into_iter().chain([PathBuf::from("upx")]) {
        let Ok(output) = Command::new(&path).arg("--version").output() else { continue };
        if output.status.success() {
            let said = String::from_utf8_lossy(&output.stdout);
            checked(&said).with_context(|| path.display().to_string())?;
            return Ok(Some(path));
        }
    }
    Ok(None)
}

/// Reads what `upx --version` says in its first line.
fn checked(said: &str) -> Result<()> {
    let version = said.lines().next().unwrap_or("").trim_start_matches("upx ").trim();
    if version != VERSION {
        bail!(
            "this is upx {version}, and only {VERSION} makes binaries that run on every 32-bit ARM router: install it \
             or take it out of PATH (docs/DEVELOPMENT.md)"
        );
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_version_is_accepted() {
        assert!(checked("upx 4.2.4\nUCL data compression library 1.03\n").is_ok());
        for other in ["upx 4.2.2\n", "upx 5.0.1\n", "upx 4.2.40\n", ""] {
            let error = checked(other).unwrap_err().to_string();
            assert!(error.contains("only 4.2.4"), "{error}");
        }
    }

    #[test]
    fn a_packed_program_keeps_its_alignment_and_runs() {
        let Ok(Some(upx)) = upx() else { return };
        let dir = tempfile::tempdir().unwrap();
        let to = dir.path().join("packed");
        // A dynamic program of the host's may not be packable; an error must be one, not a panic.
        let tried = pack_by(&upx, Path::new("/bin/true"), &to, &["-1"]);
        assert_eq!(tried.is_ok(), to.exists());
    }
}
