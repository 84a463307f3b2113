//! Where programs are: the peers that `cargo xtask peers` installs, our own build, and what of it all is missing.

use anyhow::{Context, Result};
use std::path::{Path, PathBuf};
use std::process::Command;

/// Whose daemon or command line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flavour {
    /// The Go programs of the reference version.
    Go,
    /// The same version as routers run it today: one combined program, built without most features and packed.
    Incumbent,
    /// The binary of this workspace, as it ships.
    Ours,
    /// The quickly built one for this machine. It has feature `debug`, too, which what ships leaves out.
    OursDebug,
}

impl Flavour {
    /// Path of this flavour's `tailscaled`.
    pub fn daemon(self) -> PathBuf {
        self.dir().join("tailscaled")
    }

    /// Path of this flavour's `tailscale`.
    pub fn cli(self) -> PathBuf {
        self.dir().join("tailscale")
    }

    fn dir(self) -> PathBuf {
        match self {
            Self::Go => peers_dir(),
            Self::Incumbent => peers_dir().join("incumbent"),
            Self::Ours => ours_dir(),
            Self::OursDebug => debug_dir(),
        }
    }
}

/// Something a scenario cannot do without.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Need {
    /// Root, namespaces and the tools that set them up.
    Namespaces,
    /// Headscale.
    Headscale,
    /// The Go relay server.
    Derper,
    /// The Go `tailscaled` and `tailscale`.
    Go,
    /// The Go programs as [`Flavour::Incumbent`].
    Incumbent,
    /// Our own build.
    Ours,
    /// Our own build as [`Flavour::OursDebug`].
    OursDebug,
    /// WireGuard's own userspace program.
    WireguardGo,
    /// A port mapper for the lab's routers.
    Miniupnpd,
    /// A real name server.
    Unbound,
    /// The program that measures name servers.
    Dnsperf,
    /// The program that speaks to x_tables, and the one that speaks to nf_tables in its language.
    Iptables,
}

/// Root of this workspace.
pub fn workspace_root() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.ancestors().nth(2).unwrap_or(here).to_owned()
}

/// Cargo's target directory: `CARGO_TARGET_DIR`, else `target` in the workspace. Cargo's configuration may name another
/// one, so whoever calls cargo and wants its result here sets that variable for it.
pub fn target_dir() -> PathBuf {
    match std::env::var_os("CARGO_TARGET_DIR") {
        Some(dir) => workspace_root().join(dir),
        None => workspace_root().join("target"),
    }
}

/// Directory with the binary under test by its names `tailscaled` and `tailscale`: `SMALLTAIL_BIN_DIR`, else
/// `smalltail` in the target directory, where `cargo xtask build` puts it.
pub fn ours_dir() -> PathBuf {
    std::env::var_os("SMALLTAIL_BIN_DIR").map_or_else(|| target_dir().join("smalltail"), PathBuf::from)
}

/// Cargo's plain build of our binary for this machine.
pub fn debug_build() -> PathBuf {
    target_dir().join("debug").join("tailscale-combined")
}

/// The folder with its names.
fn debug_dir() -> PathBuf {
    target_dir().join("smalltail").join("debug")
}

/// Makes the names; they are links, so that the next build is meant by them, too.
fn name_debug_build() -> std::io::Result<()> {
    let dir = debug_dir();
    std::fs::create_dir_all(&dir)?;
    for name in ["tailscaled", "tailscale"] {
        match std::os::unix::fs::symlink(debug_build(), dir.join(name)) {
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {}
            result => result?,
        }
    }
    Ok(())
}

/// Directory of the installed peers: `PEERS_DIR`, else `smalltail/peers` in the user's cache directory.
pub fn peers_dir() -> PathBuf {
    if let Some(dir) = std::env::var_os("PEERS_DIR") {
        return PathBuf::from(dir);
    }
    let cache = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from).filter(|dir| dir.is_absolute());
    let home = || PathBuf::from(std::env::var_os("HOME").unwrap_or_else(|| "/".into())).join(".cache");
    cache.unwrap_or_else(home).join("smalltail").join("peers")
}

/// Debian's port mapper.
pub(crate) const MINIUPNPD: &str = "/usr/sbin/miniupnpd";

/// WireGuard's own userspace program.
pub fn wireguard_go() -> PathBuf {
    peers_dir().join("wireguard-go")
}

/// Why a scenario with these needs cannot run here; `None` when it can.
pub fn missing(needs: &[Need]) -> Option<String> {
    needs.iter().find_map(|need| match need {
        Need::Namespaces => namespaces().err().map(|error| format!("{error:#}")),
        Need::Headscale => absent(&peers_dir().join("headscale"), "cargo xtask peers"),
        Need::Derper => absent(&peers_dir().join("derper"), "cargo xtask peers"),
        Need::Go => absent(&Flavour::Go.daemon(), "cargo xtask peers")
            .or_else(|| absent(&Flavour::Go.cli(), "cargo xtask peers")),
        Need::Incumbent => absent(&Flavour::Incumbent.daemon(), "cargo xtask peers --incumbent"),
        Need::Miniupnpd => absent(Path::new(MINIUPNPD), "apt-get install miniupnpd-nftables"),
        Need::Dnsperf => absent(Path::new(crate::load::DNSPERF), "apt-get install dnsperf"),
        Need::Unbound => absent(Path::new("/usr/sbin/unbound"), "apt-get install unbound"),
        Need::Iptables => absent(Path::new("/usr/sbin/iptables-legacy"), "apt-get install iptables")
            .or_else(|| absent(Path::new("/usr/sbin/nft"), "apt-get install nftables")),
        Need::WireguardGo => absent(&wireguard_go(), "cargo xtask peers"),
        Need::OursDebug => absent(&debug_build(), "cargo build -p daemon")
            .or_else(|| name_debug_build().err().map(|error| format!("{}: {error}", debug_dir().display()))),
        Need::Ours => absent(&Flavour::Ours.daemon(), "cargo xtask build")
            .or_else(|| absent(&Flavour::Ours.cli(), "cargo xtask build")),
    })
}

fn absent(path: &Path, remedy: &str) -> Option<String> {
    (!path.exists()).then(|| format!("{} is missing: run `{remedy}`", path.display()))
}

/// Whether this process may make network namespaces.
///
/// # Errors
/// Names what is missing.
pub(crate) fn namespaces() -> Result<()> {
    anyhow::ensure!(rustix::process::geteuid().is_root(), "network namespaces need root");
    for (tool, package) in
        [("ip", "iproute2"), ("nft", "nftables"), ("unshare", "util-linux"), ("setpriv", "util-linux")]
    {
        Command::new(tool)
            .arg(if tool == "ip" { "-V" } else { "--version" })
            .output()
            .with_context(|| format!("`{tool}` is missing (package {package})"))?;
    }
    let probe = Command::new("unshare").args(["--net", "--mount", "--uts", "true"]).output()?;
    anyhow::ensure!(
        probe.status.success(),
        "this machine refuses namespaces: {}",
        String::from_utf8_lossy(&probe.stderr).trim()
    );
    Ok(())
}
