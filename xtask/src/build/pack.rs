//! Packing by UPX, and by one version of it only.
//!
//! Owns: finding the packer, refusing others, which method is used, and what was packed earlier. Leaves out: whether an image carries the packed
//! binary (`image`), and the measurements that decided (docs/size.md).

use crate::image::digest::Digest;
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

/// Packs `raw`, a program for `target`, to `to`, unless that was made of the same bytes in the same way. Says so and gives
/// `raw` back where the packer is missing or another version.
///
/// # Errors
/// When the packer fails.
pub(crate) fn packed(raw: &Path, to: &Path, target: Target) -> Result<PathBuf> {
    packed_by(needed(), raw, to, method(target))
}

fn packed_by(packer: Result<PathBuf>, raw: &Path, to: &Path, flags: &[&str]) -> Result<PathBuf> {
    match packer {
        Ok(upx) => keep(&upx, raw, to, flags).map(|()| to.to_owned()),
        Err(missing) => {
            println!("not packed: {missing:#}");
            Ok(raw.to_owned())
        }
    }
}

/// Sees to it that `to` is `raw` packed by these flags. What was packed earlier is believed only where the stamp beside it
/// names these flags and the bytes of both files: a build may have ended at any moment, or have had no packer.
fn keep(upx: &Path, raw: &Path, to: &Path, flags: &[&str]) -> Result<()> {
    let beside = to.with_added_extension("stamp");
    let before = std::fs::read_to_string(&beside).unwrap_or_default();
    if to.is_file() && before == stamp(raw, to, flags)? {
        return Ok(());
    }
    // Clones share a cache and may pack the same at once, so each has a folder of its own.
    let place = to.parent().context("a packed program is in a folder")?;
    let work = tempfile::Builder::new().prefix(".packing-").tempdir_in(place);
    let work = work.with_context(|| place.display().to_string())?;
    let fresh = work.path().join("packed");
    pack(upx, raw, &fresh, flags)?;
    let note = work.path().join("stamp");
    std::fs::write(&note, stamp(raw, &fresh, flags)?).with_context(|| note.display().to_string())?;
    std::fs::rename(&fresh, to).with_context(|| to.display().to_string())?;
    std::fs::rename(&note, &beside).with_context(|| beside.display().to_string())
}

/// What decided about the bytes of a packed program, and these.
fn stamp(raw: &Path, packed: &Path, flags: &[&str]) -> Result<String> {
    let digest = |path: &Path| {
        let bytes = std::fs::read(path).with_context(|| path.display().to_string())?;
        anyhow::Ok(Digest::of(&bytes))
    };
    Ok(format!("upx {VERSION} {}\nof {}\nis {}\n", flags.join(" "), digest(raw)?, digest(packed)?))
}

/// Packs by these flags.
fn pack(upx: &Path, raw: &Path, to: &Path, flags: &[&str]) -> Result<()> {
    let output = Command::new(upx).args(flags).args(["-qqq", "-o"]).arg(to).arg(raw).output();
    let output = output.with_context(|| format!("starting {}", upx.display()))?;
    ensure!(output.status.success(), "upx: {}", String::from_utf8_lossy(&output.stderr).trim());
    Ok(())
}

/// The packer, for what cannot do without.
///
/// # Errors
/// When it is missing or another version: what to do.
pub(crate) fn needed() -> Result<PathBuf> {
    upx()?.with_context(|| {
        format!("there is no upx {VERSION} in PATH or in the cross toolchain (docs/DEVELOPMENT.md)")
    })
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
    use crate::build::elf;

    #[test]
    fn one_version_is_accepted() {
        assert!(checked("upx 4.2.4\nUCL data compression library 1.03\n").is_ok());
        for other in ["upx 4.2.2\n", "upx 5.0.1\n", "upx 4.2.40\n", ""] {
            let error = checked(other).unwrap_err().to_string();
            assert!(error.contains("only 4.2.4"), "{error}");
        }
    }

    /// A folder with a program that is called as the packer is, and the files that it is tried with. What it makes is
    /// `by`, its first flag, and the bytes of the program.
    struct Place(tempfile::TempDir);

    impl Place {
        fn new() -> Self {
            let place = Self(tempfile::tempdir().unwrap());
            place.upx("{ echo \"by $1\"; cat \"$5\"; } >\"$4\"");
            place
        }

        fn path(&self, name: &str) -> PathBuf {
            self.0.path().join(name)
        }

        /// Another body of the script. A shell writes it: what one thread has open for writing, no other can start.
        fn upx(&self, body: &str) {
            let words = ["-c", "printf '#!/bin/sh\n%s\n' \"$1\" >\"$2\" && chmod 755 \"$2\"", "sh", body];
            assert!(Command::new("sh").args(words).arg(self.path("upx")).status().unwrap().success());
        }

        /// Packs a program of these bytes by this flag; gives what is found in the packed one's place.
        fn kept(&self, raw: &str, flag: &str) -> Result<String> {
            std::fs::write(self.path("raw"), raw)?;
            keep(&self.path("upx"), &self.path("raw"), &self.path("packed"), &[flag])?;
            Ok(std::fs::read_to_string(self.path("packed"))?)
        }
    }

    #[test]
    fn only_what_was_packed_of_this_in_this_way_is_taken_again() {
        let place = Place::new();
        assert_eq!(place.kept("one", "-1").unwrap(), "by -1\none");
        assert_eq!(place.kept("two", "-1").unwrap(), "by -1\ntwo", "another program");
        assert_eq!(place.kept("two", "-9").unwrap(), "by -9\ntwo", "other flags");
        place.upx("exit 1");
        assert_eq!(place.kept("two", "-9").unwrap(), "by -9\ntwo", "the same");
        assert!(place.kept("three", "-9").is_err());
        let left = std::fs::read_dir(place.0.path()).unwrap().count();
        assert_eq!(left, ["raw", "upx", "packed", "packed.stamp"].len());
    }

    #[test]
    fn a_packer_that_cannot_be_taken_leaves_the_program_as_it_is() {
        let place = Place::new();
        place.kept("one", "-1").unwrap();
        let (raw, to) = (place.path("raw"), place.path("packed"));
        let by = |packer| packed_by(packer, &raw, &to, &["-1"]);
        assert_eq!(by(checked("upx 5.0.1").map(|()| place.path("upx"))).unwrap(), raw);
        assert_eq!(by(checked("upx 4.2.4").map(|()| place.path("upx"))).unwrap(), to);
        place.upx("exit 1");
        std::fs::write(&raw, "two").unwrap();
        assert!(by(Ok(place.path("upx"))).is_err());
    }

    #[test]
    fn what_a_killed_packer_left_is_no_program() {
        let place = Place::new();
        place.upx("printf half >\"$4\"; kill -9 $$");
        assert!(place.kept("one", "-1").is_err());
        assert!(!place.path("packed").exists());
        // Of a build that knew no stamps, or that ended between the two.
        std::fs::write(place.path("packed"), "half").unwrap();
        assert!(place.kept("one", "-1").is_err());
        let place = Place::new();
        assert_eq!(place.kept("one", "-1").unwrap(), "by -1\none");
        std::fs::write(place.path("packed"), "half").unwrap();
        assert_eq!(place.kept("one", "-1").unwrap(), "by -1\none");
    }

    /// The alignment of what [`program`] gives: RouterOS's pages on arm64.
    const PAGE: u64 = 0x1_0000;

    /// What [`program`] ends with.
    const STATUS: i32 = 7;

    /// A static program for a 64-bit target that only ends, of two segments and with room to be packed in.
    fn program(target: Target) -> Vec<u8> {
        // exit(STATUS), by the kernel's numbers: 93 on arm64, 60 on amd64.
        let (machine, code): (u16, &[u8]) = match target {
            Target::Arm64 => (183, &[0xe0, 0, 0x80, 0xd2, 0xa8, 0x0b, 0x80, 0xd2, 1, 0, 0, 0xd4]),
            Target::Amd64 => (62, &[0xbf, 7, 0, 0, 0, 0xb8, 0x3c, 0, 0, 0, 0x0f, 0x05]),
            other => panic!("{} has 32 bits", other.short()),
        };
        const AT: u64 = 0x40_0000;
        const HEADERS: u64 = 64 + 2 * 56;
        const BYTES: u64 = HEADERS + 20_000;
        let mut file = b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0\x02\0".to_vec();
        file.extend(machine.to_le_bytes());
        file.extend(1_u32.to_le_bytes());
        file.extend([AT + HEADERS, 64, 0].into_iter().flat_map(u64::to_le_bytes));
        file.extend([0; 4]);
        file.extend([64, 56, 2, 0, 0, 0].into_iter().flat_map(u16::to_le_bytes));
        let mut segment = |flags: u32, offset: u64, at: u64, bytes: u64| {
            file.extend([1, flags].into_iter().flat_map(u32::to_le_bytes));
            file.extend([offset, at, at, bytes, bytes, PAGE].into_iter().flat_map(u64::to_le_bytes));
        };
        // What is executed, and where data would be.
        segment(5, 0, AT, BYTES);
        segment(6, BYTES, AT + 0x10_0000 + BYTES, 0);
        file.extend(code);
        file.resize(usize::try_from(BYTES).unwrap(), 0);
        file
    }

    #[test]
    fn a_packed_program_keeps_its_alignment_and_runs() {
        use std::os::unix::fs::PermissionsExt as _;
        let upx = match needed() {
            Ok(upx) => upx,
            Err(missing) => return lab::skip(&format!("{missing:#}")),
        };
        for target in [Target::Arm64, Target::Amd64] {
            let dir = tempfile::tempdir().unwrap();
            let (raw, to) = (dir.path().join("raw"), dir.path().join("packed"));
            std::fs::write(&raw, program(target)).unwrap();
            std::fs::set_permissions(&raw, std::fs::Permissions::from_mode(0o755)).unwrap();
            pack(&upx, &raw, &to, method(target)).unwrap();
            let bytes = std::fs::read(&to).unwrap();
            assert!(bytes.windows(4).any(|word| word == b"UPX!") && bytes.len() < program(target).len());
            elf::check(&bytes, target).unwrap();
            let loaded = elf::segments(&bytes).unwrap().into_iter().filter(|segment| segment.kind == 1);
            assert_eq!(
                loaded.map(|segment| segment.align).collect::<Vec<_>>(),
                [PAGE, PAGE],
                "{}",
                target.short()
            );
            if target.native() {
                assert_eq!(Command::new(&to).status().unwrap().code(), Some(STATUS), "{}", target.short());
            }
        }
    }
}
