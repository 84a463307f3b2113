//! A host: one network namespace with one uplink, and an `/etc` and a host name of its own.
//!
//! Daemons rewrite `/etc/resolv.conf` by renaming and keep a backup beside it, so a bind-mounted file would not do:
//! every program of a host sees a directory of its own as `/etc`.

use crate::command::{Outcome, run};
use crate::process::Process;
use crate::refuse::Refused;
use anyhow::{Context, Result, bail};
use std::ffi::OsStr;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

/// The last word of the wrapper that every command in a host starts with; the rest is the command itself.
pub(crate) const END_OF_WRAPPER: &str = "in-host";

/// Sets the host name, puts the host's own `/etc` in place and becomes the command.
const ENTER: &str =
    r#"printf %s "$1" >/proc/sys/kernel/hostname && mount --bind "$2" /etc && shift 3 && exec "$@""#;

/// Files of the machine's `/etc` that programs need to start.
const COPIED: [&str; 8] =
    ["ld.so.cache", "alternatives", "passwd", "group", "protocols", "services", "localtime", "iproute2"];

/// How long a command of the lab's own may take.
const QUICK: Duration = Duration::from_secs(20);

/// One machine of the lab. Dropping it removes its namespace; processes in it are owned by whoever started them.
#[derive(Debug)]
pub struct Host {
    /// Short name, as in `/etc/hostname`.
    pub name: String,
    /// Its address on the uplink.
    pub ipv4: Ipv4Addr,
    /// Its IPv6 address on the uplink; `None` behind the lab's routers.
    pub ipv6: Option<Ipv6Addr>,
    /// Directory for whatever runs here.
    pub dir: PathBuf,
    pub(crate) namespace: Namespace,
    logs: PathBuf,
    etc: PathBuf,
}

impl Host {
    pub(crate) fn new(
        namespace: Namespace,
        name: &str,
        lab_dir: &Path,
        ipv4: Ipv4Addr,
        ipv6: Option<Ipv6Addr>,
    ) -> Result<Self> {
        let dir = lab_dir.join(name);
        let etc = dir.join("etc");
        let logs = lab_dir.join("logs");
        std::fs::create_dir_all(&etc).with_context(|| etc.display().to_string())?;
        std::fs::create_dir_all(&logs)?;
        for file in COPIED {
            let source = Path::new("/etc").join(file);
            if source.exists() {
                let mut copy = Command::new("cp");
                copy.arg("-a").arg(&source).arg(&etc);
                run(copy, QUICK)?.ok()?;
            }
        }
        std::fs::write(etc.join("hostname"), format!("{name}\n"))?;
        std::fs::write(etc.join("nsswitch.conf"), "passwd: files\ngroup: files\nhosts: files dns\n")?;
        // Without it glibc stops at a name's first line and knows but one of its addresses.
        std::fs::write(etc.join("host.conf"), "multi on\n")?;
        std::fs::write(etc.join("resolv.conf"), "nameserver 127.0.0.1\n")?;
        let hosts = format!(
            "127.0.0.1 localhost\n::1 localhost\n127.0.1.1 {name}\n{} {}\n",
            crate::headscale::ADDRESS,
            crate::headscale::NAME
        );
        std::fs::write(etc.join("hosts"), hosts)?;
        Ok(Self { name: name.to_owned(), ipv4, ipv6, dir, namespace, logs, etc })
    }

    /// Name of this host's namespace, as `ip netns` lists it.
    pub fn namespace_name(&self) -> &str {
        &self.namespace.name
    }

    /// `program` to be run in this host; add arguments and environment to what is returned.
    pub fn command(&self, program: impl AsRef<OsStr>) -> Command {
        let mut command = Command::new("ip");
        command
            .args(["netns", "exec", &self.namespace.name])
            .args(["unshare", "--uts", "setpriv", "--pdeathsig", "KILL", "sh", "-c", ENTER, "sh"])
            .arg(&self.name)
            .arg(&self.etc)
            .arg(END_OF_WRAPPER)
            .arg(program)
            .env_remove("SSL_CERT_FILE")
            // Each is a machine of its own, and so is its lock of x_tables.
            .env("XTABLES_LOCKFILE", self.dir.join("xtables.lock"))
            .current_dir(&self.dir);
        command
    }

    /// Runs `body` on a thread of its own whose network is this host's; what it starts inherits that, without the
    /// wrapper of [`Host::command`].
    ///
    /// # Errors
    /// When the namespace cannot be entered.
    pub fn inside<T: Send>(&self, body: impl FnOnce() -> T + Send) -> Result<T> {
        let path = Path::new("/run/netns").join(&self.namespace.name);
        let file = std::fs::File::open(&path).with_context(|| path.display().to_string())?;
        let result = std::thread::scope(|scope| {
            let thread = scope.spawn(|| {
                rustix::thread::move_into_link_name_space(
                    std::os::fd::AsFd::as_fd(&file),
                    Some(rustix::thread::LinkNameSpaceType::Network),
                )
                .map(|()| body())
            });
            thread.join()
        });
        match result {
            Ok(entered) => entered.with_context(|| format!("entering {}", path.display())),
            Err(panic) => std::panic::resume_unwind(panic),
        }
    }

    /// Runs `words` in this host to a successful end and gives its standard output.
    ///
    /// # Errors
    /// When it cannot run, takes more than 20 s or ends with another code than 0.
    pub fn run(&self, words: &[&str]) -> Result<String> {
        let Some((program, arguments)) = words.split_first() else { bail!("no command for {}", self.name) };
        let mut command = self.command(program);
        command.args(arguments);
        Ok(run(command, QUICK)?.ok()?.stdout)
    }

    /// Runs `command` (made by [`Host::command`]) for at most `within`, whatever its exit code.
    ///
    /// # Errors
    /// When it cannot be started or does not end in time.
    pub fn outcome(&self, command: Command, within: Duration) -> Result<Outcome> {
        run(command, within).with_context(|| format!("in {}", self.name))
    }

    /// Starts a program that stays; its output goes to a log named after host and `label`.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn spawn(&self, command: Command, label: &str) -> Result<Process> {
        let label = format!("{}-{label}", self.name);
        Process::spawn(command, &label, &self.logs.join(format!("{label}.log")))
    }

    /// As [`Host::spawn`], on a kernel that lacks `refused` as the program sees it.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn spawn_without(&self, refused: &[Refused], command: Command, label: &str) -> Result<Process> {
        let label = format!("{}-{label}", self.name);
        Process::spawn_without(refused, command, &label, &self.logs.join(format!("{label}.log")))
    }

    /// Adds a line to this host's `/etc/hosts`.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn knows(&self, address: &str, name: &str) -> Result<()> {
        let path = self.etc.join("hosts");
        let text = std::fs::read_to_string(&path)?;
        Ok(std::fs::write(path, format!("{text}{address} {name}\n"))?)
    }

    /// This host's own `/etc`, as it looks from outside.
    pub fn etc(&self) -> &Path {
        &self.etc
    }

    /// Drops all UDP of this host's uplink but DNS, in both directions: what is left to a node is its relay. Inside
    /// the tunnel UDP passes.
    ///
    /// # Errors
    /// When nft refuses.
    pub fn block_udp(&self) -> Result<()> {
        self.nft(
            r#"table inet lab_udp {
                 chain input {
                   type filter hook input priority 0
                   iifname "eth0" meta l4proto udp udp dport != 53 udp sport != 53 drop
                 }
                 chain output {
                   type filter hook output priority 0
                   oifname "eth0" meta l4proto udp udp dport != 53 udp sport != 53 drop
                 }
               }"#,
        )
    }

    /// Lets through what web browsers need and nothing else: TCP to ports 80 and 443.
    ///
    /// # Errors
    /// When nft refuses.
    pub fn only_web(&self) -> Result<()> {
        self.nft(
            r#"table inet lab_web {
                 chain input {
                   type filter hook input priority 0
                   iifname "eth0" ct state established accept
                   iifname "eth0" meta l4proto { tcp, udp } drop
                 }
                 chain output {
                   type filter hook output priority 0
                   oifname "eth0" tcp dport { 80, 443 } accept
                   oifname "eth0" meta l4proto { tcp, udp } drop
                 }
               }"#,
        )
    }

    /// Lets UDP through again.
    ///
    /// # Errors
    /// When it was not blocked.
    pub fn unblock_udp(&self) -> Result<()> {
        self.nft("delete table inet lab_udp")
    }

    /// Cuts this host off without taking the link down, or connects it again.
    ///
    /// # Errors
    /// When nft refuses.
    pub fn cut(&self, cut: bool) -> Result<()> {
        if !cut {
            return self.nft("delete table inet lab_cut");
        }
        self.nft(
            r#"table inet lab_cut {
                 chain input { type filter hook input priority -10; iifname != "lo" drop; }
                 chain output { type filter hook output priority -10; oifname != "lo" drop; }
               }"#,
        )
    }

    /// Applies an nft ruleset in this host.
    pub(crate) fn nft(&self, rules: &str) -> Result<()> {
        self.namespace.exec(&["nft", rules]).with_context(|| format!("nft in {}", self.name))
    }
}

/// A named network namespace that exists as long as this value.
#[derive(Debug)]
pub(crate) struct Namespace {
    pub(crate) name: String,
}

/// No waiting for somebody else with the same link-local address, in which a router cannot ask for its neighbours; and no
/// short ways to routers that will be gone: a host that was told one keeps it for a minute.
const IPV6_AT_ONCE: &str = "for of in all default; do cd /proc/sys/net/ipv6/conf/$of || exit 0; \
    echo 0 >accept_dad; echo 0 >accept_redirects; done";

impl Namespace {
    /// Makes it, with loopback up.
    pub(crate) fn new(name: String) -> Result<Self> {
        ip(&["netns", "add", &name])?;
        let made = Self { name };
        made.ip(&["link", "set", "dev", "lo", "up"])?;
        made.exec(&["sh", "-c", IPV6_AT_ONCE])?;
        Ok(made)
    }

    /// Runs `ip` inside.
    pub(crate) fn ip(&self, words: &[&str]) -> Result<()> {
        let mut all = vec!["-n", self.name.as_str()];
        all.extend_from_slice(words);
        ip(&all)
    }

    /// Runs another program inside, with the machine's own `/etc`.
    pub(crate) fn exec(&self, words: &[&str]) -> Result<()> {
        let mut all = vec!["netns", "exec", self.name.as_str()];
        all.extend_from_slice(words);
        ip(&all)
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        ip(&["netns", "delete", &self.name]).ok();
    }
}

/// Runs `ip` with `words`.
pub(crate) fn ip(words: &[&str]) -> Result<()> {
    let mut command = Command::new("ip");
    command.args(words);
    run(command, QUICK)?.ok().map(drop)
}
