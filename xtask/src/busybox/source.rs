//! Busybox's source: Debian's source package in one version, fetched, checked, unpacked and patched.
//!
//! Owns: where it comes from and that it is the right one. The files are kept in the user's cache, so the network is
//! needed once. Leaves out: building.

use super::cache;
use anyhow::{Context, Result, bail, ensure};
use std::path::{Path, PathBuf};
use std::process::Command;

/// Version of Debian's source package (that of Debian 13). A new one needs new sums in [`FILES`].
pub(crate) const VERSION: &str = "1:1.37.0-6";

/// The busybox in it.
pub(crate) const UPSTREAM: &str = "1.37.0";

/// Its files and their SHA-256, as the package's signed description (`.dsc`) has them.
pub(crate) const FILES: [(&str, &str); 2] = [
    ("busybox_1.37.0.orig.tar.bz2", "3311dff32e746499f4df0d5df04d7eb396382d7e108bb9250e7b519b837043a4"),
    ("busybox_1.37.0-6.debian.tar.xz", "10b2cd64b41c26ae134e1cd6135b68575bbe79356c20985f35e32f32a1746c34"),
];

/// Folder of the package below a Debian mirror.
const FOLDER: &str = "pool/main/b/busybox";

/// A mirror, and the archive that keeps every version for ever.
pub(crate) const MIRRORS: [&str; 2] =
    ["http://deb.debian.org/debian", "https://snapshot.debian.org/archive/debian/20250901T000000Z"];

/// Variable with a mirror that is asked first.
const MIRROR_VAR: &str = "DEBIAN_MIRROR";

/// Apt's own program for single files: it knows the machine's proxy.
const APT_HELPER: &str = "/usr/lib/apt/apt-helper";

/// Longest time for one file from one place.
const TIMEOUT_SECONDS: &str = "120";

/// Both files, checked.
///
/// # Errors
/// When one is nowhere to be had; the message names each place that was asked, and where to put the files by hand.
pub(super) fn files() -> Result<Vec<PathBuf>> {
    let dir = cache::root().join("source");
    std::fs::create_dir_all(&dir).with_context(|| dir.display().to_string())?;
    FILES.iter().map(|(name, sum)| file(&dir, name, sum, &mirrors())).collect()
}

/// Where to ask, in this order.
fn mirrors() -> Vec<String> {
    let told = std::env::var(MIRROR_VAR).ok().filter(|text| !text.is_empty());
    told.into_iter().chain(apt_mirror()).chain(MIRRORS.map(str::to_owned)).collect()
}

/// The mirror that this machine's apt uses for Debian, where it is one.
fn apt_mirror() -> Option<String> {
    let words = [
        "indextargets",
        "Created-By: Packages",
        "Origin: Debian",
        "Label: Debian",
        "--format",
        "$(REPO_URI)",
    ];
    let output = Command::new("apt-get").args(words).output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    let first = text.lines().find(|line| line.starts_with("http"))?;
    Some(first.trim_end_matches('/').to_owned())
}

/// One file: from the cache, else from the first place that has the right one.
fn file(dir: &Path, name: &str, sum: &str, mirrors: &[String]) -> Result<PathBuf> {
    let path = dir.join(name);
    if right(&path, sum) {
        return Ok(path);
    }
    let mut tried: Vec<String> = Vec::new();
    for mirror in mirrors {
        let url = format!("{}/{FOLDER}/{name}", mirror.trim_end_matches('/'));
        if tried.iter().any(|told| told.starts_with(&url)) {
            continue;
        }
        println!("busybox: fetching {url}");
        let part = dir.join(format!(".{name}.{}", std::process::id()));
        let fetched = fetch(&url, &part).and_then(|()| {
            ensure!(right(&part, sum), "what came is another file (its SHA-256 is not {sum})");
            std::fs::rename(&part, &path).with_context(|| path.display().to_string())
        });
        std::fs::remove_file(&part).ok();
        match fetched {
            Ok(()) => return Ok(path),
            Err(error) => tried.push(format!("{url}: {error:#}")),
        }
    }
    bail!(
        "no {name} to be had:\n  {}\nIs there a network? {MIRROR_VAR} names another Debian mirror, or put the file into {}",
        tried.join("\n  "),
        dir.display()
    )
}

fn right(path: &Path, sum: &str) -> bool {
    std::fs::read(path).is_ok_and(|bytes| cache::sha256(&bytes) == sum)
}

/// Asks apt, else curl.
fn fetch(url: &str, to: &Path) -> Result<()> {
    let mut command = if Path::new(APT_HELPER).exists() {
        let mut command = Command::new(APT_HELPER);
        let timeout = format!("Acquire::http::Timeout={TIMEOUT_SECONDS}");
        command.args(["-o", &timeout, "-o", "Acquire::Retries=0", "-o", "APT::Sandbox::User="]);
        command.args(["download-file", url]).arg(to);
        command
    } else {
        let mut command = Command::new("curl");
        command.args([
            "--fail",
            "--silent",
            "--show-error",
            "--location",
            "--max-time",
            TIMEOUT_SECONDS,
            "--output",
        ]);
        command.arg(to).arg(url);
        command
    };
    let program = command.get_program().to_string_lossy().into_owned();
    let output = command.output();
    let output = output.with_context(|| format!("{program} does not start: install apt or curl"))?;
    let said = String::from_utf8_lossy(&output.stderr);
    let reason = said.lines().map(str::trim).find(|line| line.starts_with("E:") || line.starts_with("curl:"));
    ensure!(output.status.success(), "{}", reason.unwrap_or("no answer"));
    Ok(())
}

/// Unpacks the source into the empty folder `dir` and applies Debian's patches.
pub(super) fn unpack(files: &[PathBuf], dir: &Path) -> Result<()> {
    let [upstream, debian] = files else { bail!("a source package has two files, not {}", files.len()) };
    std::fs::create_dir_all(dir).with_context(|| dir.display().to_string())?;
    tar(upstream, dir, &["--strip-components=1"])?;
    tar(debian, dir, &[])?;
    let patches = dir.join("debian/patches");
    let series = std::fs::read_to_string(patches.join("series")).context("debian/patches/series")?;
    for name in series.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#')) {
        let mut patch = Command::new("patch");
        patch.args(["--strip=1", "--silent", "--batch", "--no-backup-if-mismatch", "--input"]);
        patch.arg(patches.join(name)).current_dir(dir);
        cache::quietly(patch).with_context(|| format!("Debian's patch {name}"))?;
    }
    Ok(())
}

fn tar(archive: &Path, dir: &Path, words: &[&str]) -> Result<()> {
    let mut tar = Command::new("tar");
    tar.args(["--extract", "--no-same-owner", "--file"]).arg(archive).arg("--directory").arg(dir).args(words);
    cache::quietly(tar).with_context(|| archive.display().to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_names_agree_with_the_version() {
        let debian = VERSION.trim_start_matches("1:");
        assert!(FILES[0].0.contains(UPSTREAM) && FILES[1].0.contains(debian) && debian.starts_with(UPSTREAM));
        assert!(FILES.iter().all(|(_, sum)| sum.len() == 64));
    }

    #[test]
    fn a_file_in_the_cache_is_used_and_a_wrong_one_is_not() {
        let dir = tempfile::tempdir().unwrap();
        let sum = cache::sha256(b"busybox");
        std::fs::write(dir.path().join("x.tar"), "busybox").unwrap();
        assert_eq!(file(dir.path(), "x.tar", &sum, &[]).unwrap(), dir.path().join("x.tar"));
        std::fs::write(dir.path().join("x.tar"), "tampered").unwrap();
        let error = file(dir.path(), "x.tar", &sum, &[]).unwrap_err().to_string();
        assert!(error.contains("no x.tar to be had") && error.contains("DEBIAN_MIRROR"), "{error}");
        assert!(error.contains(&dir.path().display().to_string()), "{error}");
    }

    #[test]
    fn places_without_the_file_are_named_once_each_with_the_reason() {
        let dir = tempfile::tempdir().unwrap();
        // Nothing listens on port 1 of this machine.
        let mirror = "http://127.0.0.1:1/debian".to_owned();
        let mirrors = [mirror.clone(), format!("{mirror}/")];
        let error = file(dir.path(), "x.tar", "0", &mirrors).unwrap_err().to_string();
        let place = "\n  http://127.0.0.1:1/debian/pool/main/b/busybox/x.tar: ";
        assert_eq!(error.matches(place).count(), 1, "{error}");
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0, "no half file is left");
    }

    #[test]
    fn a_broken_archive_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let archive = dir.path().join("x.tar.bz2");
        std::fs::write(&archive, "no archive").unwrap();
        let error = unpack(&[archive.clone(), archive], &dir.path().join("to")).unwrap_err();
        assert!(format!("{error:#}").contains("x.tar.bz2"), "{error:#}");
    }
}
