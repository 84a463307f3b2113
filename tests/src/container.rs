//! The router image as a container engine runs it: its root file system, read-only, with the binary as process 1 in
//! mount, process and network namespaces of its own.
//!
//! Leaves out: the engine. A shell of the lab mounts what engines mount (`/proc`, `/dev` with the TUN node, `/etc` with
//! names and resolvers, a tmpfs on `/run`, the state's folder) and becomes process 1.

use anyhow::{Context, Result, ensure};
use lab::{Flavour, Host, Lab, Outcome, Process};
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Name of the container's uplink: RouterOS names it like the veth.
pub const UPLINK: &str = "veth-ts.7";

/// How long a command in the container may take.
const COMMAND: Duration = Duration::from_secs(30);

/// What a container engine does before it starts process 1. `$1` is the root, `$2` the host's `/etc`, `$3` the state's
/// folder or nothing.
const ENGINE: &str = r#"
set -e
mount --make-rprivate /
mount --bind "$1" "$1"
mount -t proc proc "$1/proc"
mount -t tmpfs tmpfs "$1/dev"
mknod -m 666 "$1/dev/null" c 1 3
mknod -m 666 "$1/dev/random" c 1 8
mknod -m 666 "$1/dev/urandom" c 1 9
mount --bind "$2" "$1/etc"
mount -t tmpfs tmpfs "$1/run"
if [ -n "$3" ]; then mount --bind "$3" "$1/var/lib/tailscale"; fi
mount -o remount,bind,ro "$1"
root="$1"
shift 3
exec env -i "$@" "$(command -v chroot)" "$root" /usr/bin/containerboot
"#;

/// A container and the host whose network it has.
pub struct Container {
    /// The host; programs started on it share the container's network.
    pub host: Host,
    /// Its environment.
    pub environment: Vec<(String, String)>,
    /// The folder at `/var/lib/tailscale`; without one nothing persists.
    pub state: Option<PathBuf>,
    root: PathBuf,
    engine: Option<Process>,
}

impl Container {
    /// A container that was not started yet, with an uplink of its own name.
    ///
    /// # Errors
    /// When host or root file system cannot be made.
    pub fn new(lab: &Lab, name: &str) -> Result<Self> {
        let host = lab.host(name)?;
        rename_uplink(&host)?;
        std::fs::copy(lab.root_pem(), host.etc().join("root.pem"))?;
        let root = host.dir.join("root");
        assemble(&root)?;
        let state = host.dir.join("state");
        std::fs::create_dir(&state)?;
        let environment = vec![("SSL_CERT_FILE".to_owned(), "/etc/root.pem".to_owned())];
        Ok(Self { host, environment, state: Some(state), root, engine: None })
    }

    /// Sets a variable; an empty value is set, too.
    pub fn set(&mut self, name: &str, value: &str) {
        self.unset(name);
        self.environment.push((name.to_owned(), value.to_owned()));
    }

    /// Leaves a variable out.
    pub fn unset(&mut self, name: &str) {
        self.environment.retain(|(known, _)| known != name);
    }

    /// Starts it.
    ///
    /// # Errors
    /// When the engine cannot be started.
    pub fn start(&mut self) -> Result<()> {
        self.engine = None;
        let mut engine = self.host.command("unshare");
        engine.args(["--mount", "--pid", "--fork", "--kill-child=KILL", "sh", "-c", ENGINE, "sh"]);
        engine.arg(&self.root).arg(self.host.etc());
        engine.arg(self.state.as_deref().unwrap_or_else(|| Path::new("")));
        engine.args(self.environment.iter().map(|(name, value)| format!("{name}={value}")));
        self.engine = Some(self.host.spawn_without(&lab::everywhere()?, engine, "container")?);
        Ok(())
    }

    /// The log of process 1 and its children.
    ///
    /// # Errors
    /// When it was not started.
    pub fn log(&self) -> Result<String> {
        Ok(self.engine()?.log_text())
    }

    fn engine(&self) -> Result<&Process> {
        self.engine.as_ref().context("the container was not started")
    }

    /// Process 1, by its number outside.
    ///
    /// # Errors
    /// When it does not run.
    pub fn init(&self) -> Result<u32> {
        lab::until("process 1", Duration::from_secs(10), || {
            let Some(pid) = children(self.engine()?.id())?.first().copied() else { return Ok(None) };
            Ok((name(pid)? == "containerboot").then_some(pid))
        })
    }

    /// The daemon, by its number outside.
    ///
    /// # Errors
    /// When it does not run.
    pub fn daemon(&self) -> Result<u32> {
        let init = self.init()?;
        lab::until("the daemon", Duration::from_secs(10), || {
            Ok(children(init)?.into_iter().find(|pid| name(*pid).is_ok_and(|name| name == "tailscaled")))
        })
    }

    /// Children of process 1 that have ended and were not reaped.
    ///
    /// # Errors
    /// When it does not run.
    pub fn zombies(&self) -> Result<usize> {
        let children = children(self.init()?)?;
        let stat = |pid: &u32| std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        Ok(children.iter().filter(|pid| stat(pid).contains(") Z ")).count())
    }

    /// Sends process 1 a signal.
    ///
    /// # Errors
    /// When it does not run.
    pub fn signal(&self, signal: rustix::process::Signal) -> Result<()> {
        send(self.init()?, signal)
    }

    /// Waits for the end of process 1 and gives its status.
    ///
    /// # Errors
    /// When it still runs after `within`.
    pub fn wait(&mut self, within: Duration) -> Result<i32> {
        let engine = self.engine.as_mut().context("the container was not started")?;
        let status = engine.wait(within)?;
        Ok(status.code().unwrap_or(-1))
    }

    /// SIGTERM; gives the status and how long the end took.
    ///
    /// # Errors
    /// When it takes more than 10 s.
    pub fn stop(&mut self) -> Result<(i32, Duration)> {
        let started = lab::now();
        self.signal(rustix::process::Signal::TERM)?;
        let status = self.wait(Duration::from_secs(10))?;
        Ok((status, started.elapsed()))
    }

    /// Runs one of the image's programs beside process 1, with an empty environment, as `/container/shell … no-sh` does.
    ///
    /// # Errors
    /// When it cannot be run or does not end; another status than 0 is no error.
    pub fn run(&self, words: &[&str]) -> Result<Outcome> {
        self.run_with(&[], words)
    }

    fn run_with(&self, environment: &[(String, String)], words: &[&str]) -> Result<Outcome> {
        let mut command = self.host.command("env");
        command.arg("-i").args(environment.iter().map(|(name, value)| format!("{name}={value}")));
        command.arg("/usr/bin/nsenter").arg(format!("--target={}", self.init()?));
        command.args(["--mount", "--pid", "--root", "--wd=/", "--"]).args(words);
        self.host.outcome(command, COMMAND)
    }

    /// `containerboot healthcheck` with the container's environment, as engines run it: whether it says healthy, and its
    /// line.
    ///
    /// # Errors
    /// When it says more or less than one line, or contradicts its status.
    pub fn health(&self) -> Result<(bool, String)> {
        let outcome = self.run_with(&self.environment, &["/usr/bin/containerboot", "healthcheck"])?;
        let (code, said) = (outcome.code(), outcome.stdout.trim_end().to_owned());
        ensure!(said.lines().count() == 1 && outcome.stderr.is_empty(), "no single line: {outcome}");
        ensure!((code == 0) == said.starts_with("healthy: ") && code < 2, "status {code} for {said:?}");
        Ok((code == 0, said))
    }

    /// Waits until its health is so, and gives what it says.
    ///
    /// # Errors
    /// When that takes more than `within`.
    pub fn wait_health(&self, healthy: bool, saying: &str, within: Duration) -> Result<String> {
        lab::until(&format!("health with {saying:?}"), within, || {
            let (well, said) = self.health()?;
            ensure!(well == healthy && said.contains(saying), "it says {said:?}");
            Ok(Some(said))
        })
    }

    /// The address of the container in the tailnet, by family.
    ///
    /// # Errors
    /// When it has none.
    pub fn addresses(&self) -> Result<[std::net::IpAddr; 2]> {
        let of = |flag| -> Result<std::net::IpAddr> {
            Ok(self.run(&["/usr/bin/tailscale", "ip", flag])?.ok()?.stdout.trim().parse()?)
        };
        Ok([of("-4")?, of("-6")?])
    }
}

/// Sends a process a signal.
///
/// # Errors
/// When there is none.
pub fn send(pid: u32, signal: rustix::process::Signal) -> Result<()> {
    let pid = i32::try_from(pid).ok().and_then(rustix::process::Pid::from_raw).context("no process")?;
    Ok(rustix::process::kill_process(pid, signal)?)
}

fn children(pid: u32) -> Result<Vec<u32>> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children"))?;
    Ok(text.split_whitespace().filter_map(|word| word.parse().ok()).collect())
}

fn name(pid: u32) -> Result<String> {
    Ok(std::fs::read_to_string(format!("/proc/{pid}/comm"))?.trim().to_owned())
}

/// The image's root file system: the router image's where it was made of this binary, else the binary, the names it is
/// called by, and folders.
fn assemble(root: &Path) -> Result<()> {
    let binary = Flavour::Ours.daemon();
    let changed = |path: &Path| std::fs::metadata(path).and_then(|meta| meta.modified()).ok();
    let image = archive("router", "amd64");
    if image.exists() && changed(&image) >= changed(&binary) {
        return unpack(&image, root).with_context(|| image.display().to_string());
    }
    for folder in ["dev", "etc", "proc", "root", "run", "sys", "tmp", "usr/bin", "var/lib/tailscale"] {
        std::fs::create_dir_all(root.join(folder)).with_context(|| folder.to_owned())?;
    }
    std::fs::set_permissions(root.join("tmp"), std::fs::Permissions::from_mode(0o1777))?;
    symlink("/run", root.join("var/run"))?;
    std::fs::copy(Flavour::Ours.daemon(), root.join("usr/bin/tailscale.combined"))?;
    for face in ["containerboot", "tailscale", "tailscaled"] {
        symlink("tailscale.combined", root.join("usr/bin").join(face))?;
    }
    Ok(())
}

/// The folder that `cargo xtask test` makes images in: `SMALLTAIL_DIST`, else `smalltail/dist` in the target directory.
pub fn dist() -> PathBuf {
    std::env::var_os("SMALLTAIL_DIST").map_or_else(|| lab::target_dir().join("smalltail/dist"), PathBuf::from)
}

/// Where the archive of a flavour of image for `arch` is, once it was made.
pub fn archive(flavour: &str, arch: &str) -> PathBuf {
    dist().join(format!("smalltail-{}-{flavour}-{arch}.tar", env!("CARGO_PKG_VERSION")))
}

/// Unpacks a docker-archive of one layer.
fn unpack(image: &Path, root: &Path) -> Result<()> {
    for entry in tar::Archive::new(std::fs::File::open(image)?).entries()? {
        let entry = entry?;
        if entry.path()?.ends_with("layer.tar") {
            let mut layer = tar::Archive::new(entry);
            layer.set_preserve_permissions(true);
            return Ok(layer.unpack(root)?);
        }
    }
    anyhow::bail!("there is no layer")
}

/// Gives the uplink another name, which takes its addresses and routes from it for a moment.
fn rename_uplink(host: &Host) -> Result<()> {
    let ipv6 = host.ipv6.context("a host on the internet")?;
    let script = format!(
        "ip link set eth0 down && ip link set eth0 name {UPLINK} && ip link set {UPLINK} up && \
         ip address add {ipv6}/64 dev {UPLINK} nodad && ip route add default via 203.0.113.1 && \
         ip -6 route add default via 2001:db8::1"
    );
    host.run(&["sh", "-c", &script]).map(drop)
}
