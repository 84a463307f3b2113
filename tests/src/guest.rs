//! A machine of its own for an image: qemu with a kernel that is like RouterOS's, the image's files as its root, and a
//! script as process 1 that makes of it what a container engine would.
//!
//! Leaves out: how the kernels are built (`cargo xtask peers --kernels`) and the images.

use anyhow::{Context, Result, ensure};
use std::io::{Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

/// The host of the test, as the guest reaches it: qemu's own router.
pub const HOST: &str = "10.0.2.2";

/// The last line of every script. Process 1 ends after it, by which the kernel restarts the machine and qemu ends.
const END: &str = "the script has ended";

/// A kind of machine.
#[derive(Debug, Clone, Copy)]
pub struct Guest {
    /// The name of the image's target.
    pub arch: &'static str,
    /// The emulator with its processor: none that can more than the boards that the image is for.
    emulator: &'static [&'static str],
    kernel: &'static str,
}

/// 64-bit ARM with pages of 64 KiB.
pub const ARM64: Guest = Guest {
    arch: "arm64",
    emulator: &["qemu-system-aarch64", "-machine", "virt", "-cpu", "cortex-a57"],
    kernel: "linux-arm64",
};

/// 32-bit ARM.
pub const ARMV7: Guest = Guest {
    arch: "armv7",
    emulator: &["qemu-system-arm", "-machine", "virt", "-cpu", "cortex-a7"],
    kernel: "linux-arm",
};

impl Guest {
    fn kernel(&self) -> PathBuf {
        lab::peers_dir().join(self.kernel)
    }

    /// What has to be installed before such a machine can run here.
    pub fn missing(&self) -> Option<String> {
        let emulator = self.emulator.first()?;
        if Command::new(emulator).arg("--version").output().is_err() {
            return Some(format!("no {emulator} (package qemu-system-arm)"));
        }
        let absent = !self.kernel().exists();
        absent.then(|| format!("no {}: `cargo xtask peers --kernels` builds it", self.kernel().display()))
    }

    /// Boots it with the files of `archive` (what `cargo xtask image` makes) and 128 MB, runs `script` by the image's own
    /// shell once the network is up, and gives what its console said.
    ///
    /// # Errors
    /// When the archive has no layer, or the machine has not ended in `patience`.
    pub fn run(&self, archive: &Path, script: &str, patience: Duration) -> Result<String> {
        let dir = tempfile::tempdir()?;
        let root = dir.path().join("root.cpio");
        let init = format!("{PREPARE}{script}\necho {END}\n");
        std::fs::write(&root, initramfs(&layer(archive)?, init.as_bytes())?)?;
        let (emulator, words) = self.emulator.split_first().context("no emulator")?;
        let mut command = Command::new(emulator);
        command.args(words).args(["-m", "128", "-nographic", "-no-reboot", "-netdev", "user,id=uplink"]);
        command.args(["-device", "virtio-net-device,netdev=uplink", "-append"]);
        command.arg("console=ttyAMA0 panic=-1 quiet rdinit=/init");
        command.arg("-kernel").arg(self.kernel()).arg("-initrd").arg(&root);
        let outcome = lab::run(command, patience)?;
        ensure!(outcome.status.success(), "{emulator} ended with {}: {}", outcome.status, outcome.stderr);
        let said = outcome.stdout.replace('\r', "");
        let ended = said.split_once(END).map(|(before, _)| before.to_owned());
        ended.with_context(|| format!("the machine stopped before its script: {said}"))
    }
}

/// What an engine does before it starts process 1; then the network that qemu's user mode expects.
const PREPARE: &str = "#!/bin/sh
mkdir -p /proc /sys /dev /tmp /run
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs dev /dev
mkdir -p /dev/net
[ -e /dev/net/tun ] || mknod -m 600 /dev/net/tun c 10 200
ip link set lo up
ip link set eth0 up
ip addr add 10.0.2.15/24 dev eth0
ip route add default via 10.0.2.2
";

/// The tar of the only layer of a docker-archive.
fn layer(archive: &Path) -> Result<Vec<u8>> {
    let file = std::fs::File::open(archive).with_context(|| archive.display().to_string())?;
    for entry in tar::Archive::new(file).entries()? {
        let mut entry = entry?;
        if entry.path()?.to_string_lossy().ends_with("layer.tar") {
            let mut bytes = Vec::new();
            entry.read_to_end(&mut bytes)?;
            return Ok(bytes);
        }
    }
    anyhow::bail!("{} has no layer", archive.display())
}

/// The files of a tar as the kernel unpacks them at boot (cpio, "newc"), and `init`.
fn initramfs(tar: &[u8], init: &[u8]) -> Result<Vec<u8>> {
    let mut cpio = Cpio::default();
    for entry in tar::Archive::new(tar).entries()? {
        let mut entry = entry?;
        let name = entry.path()?.to_string_lossy().trim_matches('/').to_owned();
        let permissions = entry.header().mode()? & 0o7777;
        let kind = entry.header().entry_type();
        let mut data = Vec::new();
        let mode = match kind {
            tar::EntryType::Directory => 0o040_000,
            tar::EntryType::Symlink => {
                let link = entry.link_name()?.context("a link without a target")?;
                data.extend_from_slice(link.to_string_lossy().as_bytes());
                0o120_000
            }
            tar::EntryType::Link => {
                // Links of one name to another are not worth a table here: the same as a symlink from the root.
                let link = entry.link_name()?.context("a link without a target")?;
                data.push(b'/');
                data.extend_from_slice(link.to_string_lossy().as_bytes());
                0o120_000
            }
            _ => {
                entry.read_to_end(&mut data)?;
                0o100_000
            }
        };
        cpio.add(&name, mode | permissions, &data)?;
    }
    cpio.add("init", 0o100_755, init)?;
    cpio.add("TRAILER!!!", 0, &[])?;
    Ok(cpio.bytes)
}

/// An archive being written.
#[derive(Default)]
struct Cpio {
    bytes: Vec<u8>,
    entries: u32,
}

impl Cpio {
    fn add(&mut self, name: &str, mode: u32, data: &[u8]) -> Result<()> {
        self.entries += 1;
        // Number, mode, owner, group, links, time, size, four of devices, length of the name with its end, sum.
        let fields = [
            self.entries,
            mode,
            0,
            0,
            1,
            0,
            u32::try_from(data.len())?,
            0,
            0,
            0,
            0,
            u32::try_from(name.len() + 1)?,
            0,
        ];
        self.bytes.extend_from_slice(b"070701");
        for field in fields {
            write!(self.bytes, "{field:08x}")?;
        }
        self.bytes.extend_from_slice(name.as_bytes());
        self.bytes.push(0);
        self.pad();
        self.bytes.extend_from_slice(data);
        self.pad();
        Ok(())
    }

    fn pad(&mut self) {
        self.bytes.resize(self.bytes.len().next_multiple_of(4), 0);
    }
}
