//! Kernels for qemu that are like RouterOS's where this machine's own is not: pages of 64 KiB on arm64, 32-bit ARM, and a
//! packet filter without nf_tables on both. `cargo xtask test --nightly` boots the image on them.
//!
//! They are built from the distribution's kernel source, which takes ten minutes of a processor each, once. Leaves out: what is
//! booted on them (`tests/tests/boot.rs`).

use anyhow::{Context, Result, ensure};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// The source's version: one that the distribution keeps for years, and near enough to RouterOS's.
pub(super) const VERSION: &str = "6.1";

/// Options of both.
const COMMON: &str = include_str!("kernel.config");

/// One kernel.
#[derive(Clone, Copy)]
pub(super) struct Kernel {
    /// The kernel's name of the architecture.
    arch: &'static str,
    /// What the names of the cross compiler's programs begin with.
    tools: &'static str,
    /// Where the build leaves the kernel, as qemu takes it.
    image: &'static str,
    /// Options of its own, a line each.
    options: &'static str,
}

/// 64 KiB pages, as RouterOS has them on arm64.
pub(super) const ARM64: Kernel = Kernel {
    arch: "arm64",
    tools: "aarch64-linux-gnu-",
    image: "arch/arm64/boot/Image.gz",
    options: "CONFIG_64BIT=y\nCONFIG_ARM64_64K_PAGES=y\nCONFIG_ARM64_VA_BITS_42=y\n",
};

/// 32-bit ARM. musl calls what has times of 32 bits, as long as they fit.
pub(super) const ARM: Kernel = Kernel {
    arch: "arm",
    tools: "arm-linux-gnueabihf-",
    image: "arch/arm/boot/zImage",
    options: "CONFIG_MMU=y\nCONFIG_ARCH_MULTI_V7=y\nCONFIG_ARCH_VIRT=y\nCONFIG_AEABI=y\nCONFIG_VFP=y\nCONFIG_NEON=y\n\
              CONFIG_COMPAT_32BIT_TIME=y\n",
};

impl Kernel {
    /// Changes whenever it has to be built again.
    pub(super) fn stamp(self) -> String {
        format!("linux {VERSION} {}\n{}{COMMON}", self.arch, self.options)
    }

    /// Builds it into `dir` as `name`.
    ///
    /// # Errors
    /// Names what is missing, or the option that this source does not know.
    pub(super) fn install(self, name: &str, dir: &Path) -> Result<()> {
        let build = dir.join("build").join(name);
        fs::create_dir_all(&build)?;
        let tree = unpacked(&build)?;
        self.make(&tree, &["tinyconfig"])?;
        let config = tree.join(".config");
        let wanted = format!("{}{COMMON}", self.options);
        fs::write(&config, format!("{}\n{wanted}", fs::read_to_string(&config)?))?;
        self.make(&tree, &["olddefconfig"])?;
        let settled = fs::read_to_string(&config)?;
        let options = wanted.lines().filter(|line| line.starts_with("CONFIG_"));
        let lost: Vec<_> = options.filter(|option| !settled.lines().any(|line| line == *option)).collect();
        ensure!(lost.is_empty(), "the source of linux {VERSION} for {} does not take {lost:?}", self.arch);
        let target = Path::new(self.image).file_name().and_then(|name| name.to_str()).unwrap_or("all");
        self.make(&tree, &["-j2", target])?;
        fs::rename(tree.join(self.image), dir.join(name))?;
        // A gigabyte that nobody needs again.
        Ok(fs::remove_dir_all(&build)?)
    }

    fn make(self, tree: &Path, goals: &[&str]) -> Result<()> {
        let mut make = Command::new("make");
        make.current_dir(tree)
            .arg("--silent")
            .args(goals)
            .env("ARCH", self.arch)
            .env("CROSS_COMPILE", self.tools);
        let output = make.output().context("starting make")?;
        ensure!(
            output.status.success(),
            "make {} for {} ended with {}: {}",
            goals.join(" "),
            self.arch,
            output.status,
            String::from_utf8_lossy(&output.stderr)
        );
        Ok(())
    }

    /// What has to be installed first.
    pub(super) fn missing(self) -> Option<String> {
        let runs = |name: &str| {
            Command::new(name).arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status()
        };
        let compiler = format!("{}gcc", self.tools);
        let absent: Vec<_> = ["make", "flex", "bison", "bc", &compiler]
            .into_iter()
            .filter(|name| !runs(name).is_ok_and(|status| status.success()))
            .map(str::to_owned)
            .chain((!source().exists()).then(|| source().display().to_string()))
            .collect();
        (!absent.is_empty()).then(|| {
            format!(
                "missing: {} (packages make flex bison bc linux-source-{VERSION} gcc-aarch64-linux-gnu gcc-arm-linux-gnueabihf)",
                absent.join(", ")
            )
        })
    }
}

/// Where the distribution's package puts the source.
fn source() -> PathBuf {
    format!("/usr/src/linux-source-{VERSION}.tar.xz").into()
}

/// The source, unpacked anew.
fn unpacked(build: &Path) -> Result<PathBuf> {
    let tree = build.join(format!("linux-source-{VERSION}"));
    if tree.exists() {
        fs::remove_dir_all(&tree)?;
    }
    let status =
        Command::new("tar").arg("-C").arg(build).arg("-xf").arg(source()).status().context("starting tar")?;
    ensure!(status.success(), "tar ended with {status}");
    Ok(tree)
}
