//! The lab itself: a switch in a namespace of its own that stands for the internet, and what is plugged into it.
//!
//! Nothing is ever configured in the machine's own namespace: links are born inside the namespaces they join.

use crate::ca::Authority;
use crate::headscale::Headscale;
use crate::host::{Host, Namespace, ip};
use crate::node::Node;
use crate::programs::{self, Flavour};
use crate::relay::Relay;
use crate::router::{Nat, Router};
use anyhow::{Context, Result};
use std::cell::Cell;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::path::Path;
use std::sync::atomic::{AtomicU32, Ordering};
use tempfile::TempDir;

/// Every namespace of every lab starts with this, then the pid of the process that made it.
const PREFIX: &str = "stlab";

/// How much of each log is shown when a test fails.
const LOG_TAIL: usize = 60;

/// Last octet of headscale's address: fixed, so that every host knows it whatever is made first.
pub(crate) const HEADSCALE: u8 = 10;

/// Labs of this process so far.
static COUNT: AtomicU32 = AtomicU32::new(0);

/// A network of hosts. Make it first and drop it last.
#[derive(Debug)]
pub struct Lab {
    id: String,
    dir: TempDir,
    switch: Namespace,
    authority: Authority,
    /// Last address given out on the switch.
    last: Cell<u8>,
    /// Last LAN number given to a router.
    pub(crate) last_lan: Cell<u8>,
}

/// A bridge's hardware address. One without its own takes the lowest of its ports, and when a port comes or goes everybody
/// who sends by the bridge talks to nobody for half a minute.
const BRIDGE: &str = "02:00:00:00:00:01";

impl Lab {
    /// An empty internet: 203.0.113.0/24 and 2001:db8::/64. Its gateway addresses exist but lead nowhere, so that
    /// programs see a default route.
    ///
    /// # Errors
    /// When this process may not make namespaces.
    pub fn new() -> Result<Self> {
        programs::namespaces()?;
        sweep();
        let id = format!("{PREFIX}{}n{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let dir = tempfile::Builder::new().prefix(&id).tempdir().context("temporary directory")?;
        let switch = Namespace::new(format!("{id}-switch"))?;
        bridge(&switch, "br0")?;
        switch.ip(&["address", "add", "203.0.113.1/24", "dev", "br0"])?;
        switch.ip(&["address", "add", "2001:db8::1/64", "dev", "br0", "nodad"])?;
        let authority = Authority::new("lab root")?;
        std::fs::write(dir.path().join("root.pem"), authority.pem())?;
        Ok(Self { id, dir, switch, authority, last: Cell::new(HEADSCALE), last_lan: Cell::new(0) })
    }

    /// A host on the internet side.
    ///
    /// # Errors
    /// When a namespace or link cannot be made.
    pub fn host(&self, name: &str) -> Result<Host> {
        let number = self.last.get().checked_add(1).context("the lab's switch is full")?;
        self.last.set(number);
        self.host_at(name, number)
    }

    /// A host with a given last octet.
    pub(crate) fn host_at(&self, name: &str, number: u8) -> Result<Host> {
        let ipv4 = Ipv4Addr::new(203, 0, 113, number);
        let ipv6 = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, u16::from(number));
        let namespace = self.namespace(name)?;
        plug(&namespace, &self.switch, "br0", &format!("p{number}"))?;
        namespace.ip(&["address", "add", &format!("{ipv4}/24"), "dev", "eth0"])?;
        namespace.ip(&["address", "add", &format!("{ipv6}/64"), "dev", "eth0", "nodad"])?;
        namespace.ip(&["link", "set", "dev", "eth0", "up"])?;
        namespace.ip(&["route", "add", "default", "via", "203.0.113.1"])?;
        namespace.ip(&["-6", "route", "add", "default", "via", "2001:db8::1"])?;
        Host::new(namespace, name, self.dir(), ipv4, Some(ipv6))
    }

    /// A router with its WAN side on the internet and an empty LAN behind it.
    ///
    /// # Errors
    /// When a namespace, link or rule cannot be made.
    pub fn router(&self, name: &str, nat: Nat) -> Result<Router> {
        Router::new(self, name, nat)
    }

    /// Starts a headscale on the internet; `https://headscale.lab` in every host that knows it.
    ///
    /// # Errors
    /// When it does not come up.
    pub fn headscale(&self) -> Result<Headscale> {
        Headscale::start(self, &[], "")
    }

    /// Starts a relay on the internet; it is in the DERP map of [`Lab::headscale_beside`].
    ///
    /// # Errors
    /// When it does not come up.
    pub fn relay(&self) -> Result<Relay> {
        Relay::start(self, 0)
    }

    /// Starts that many relays, each a region of its own.
    ///
    /// # Errors
    /// When one does not come up.
    pub fn relays(&self, count: u8) -> Result<Vec<Relay>> {
        (0..count).map(|n| Relay::start(self, n)).collect()
    }

    /// Like [`Lab::headscale`], with these relays instead of its own.
    ///
    /// # Errors
    /// When it does not come up.
    pub fn headscale_beside(&self, relays: &[Relay]) -> Result<Headscale> {
        // As it comes: who hears of whom how soon is part of what is measured with it.
        Headscale::start(self, relays, crate::AS_IT_COMES)
    }

    /// Makes the internet know the way to a router's LAN and to its own address by IPv4.
    pub(crate) fn route(&self, words: &[&str]) -> Result<()> {
        for family in ["ipv4/ip_forward", "ipv6/conf/all/forwarding"] {
            self.switch.exec(&["sh", "-c", &format!("echo 1 >/proc/sys/net/{family}")])?;
        }
        self.switch.ip(words)
    }

    /// Like [`Lab::headscale`], with lines added to its configuration.
    ///
    /// # Errors
    /// When it does not come up.
    pub fn headscale_with(&self, configuration: &str) -> Result<Headscale> {
        Headscale::start(self, &[], configuration)
    }

    /// A node on the internet side, not started yet.
    ///
    /// # Errors
    /// When its host cannot be made.
    pub fn node(&self, name: &str, flavour: Flavour) -> Result<Node> {
        Ok(Node::new(self.host(name)?, flavour, &self.root_pem()))
    }

    /// A node on a host that exists already, such as one behind a router.
    pub fn node_on(&self, host: Host, flavour: Flavour) -> Node {
        Node::new(host, flavour, &self.root_pem())
    }

    /// The lab's certificate authority.
    pub fn authority(&self) -> &Authority {
        &self.authority
    }

    /// File with the authority's root certificate.
    pub fn root_pem(&self) -> std::path::PathBuf {
        self.dir().join("root.pem")
    }

    /// Directory of this lab: one subdirectory a host, and `logs`.
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// Packets for `address`, which lies outside of the lab's internet, go to the host that has `by`.
    pub(crate) fn leads_to(&self, address: Ipv4Addr, by: Ipv4Addr) -> Result<()> {
        self.switch.exec(&["sh", "-c", "echo 1 >/proc/sys/net/ipv4/ip_forward"])?;
        self.switch.ip(&["route", "add", &format!("{address}/32"), "via", &by.to_string(), "dev", "br0"])
    }

    /// A namespace of this lab.
    pub(crate) fn namespace(&self, name: &str) -> Result<Namespace> {
        Namespace::new(format!("{}-{name}", self.id))
    }

    /// The end of every log, for a person who looks at a failure.
    pub fn log_tails(&self) -> String {
        let mut files: Vec<_> = std::fs::read_dir(self.dir().join("logs"))
            .map(|entries| entries.filter_map(|entry| Some(entry.ok()?.path())).collect())
            .unwrap_or_default();
        files.sort();
        let mut text = String::new();
        for file in files {
            let content = std::fs::read(&file).unwrap_or_default();
            let content = crate::process::tail(&String::from_utf8_lossy(&content), LOG_TAIL);
            let name = file.file_stem().unwrap_or_default().to_string_lossy();
            text.push_str(&format!("--- {name}\n{content}\n"));
        }
        text
    }
}

impl Drop for Lab {
    #[allow(clippy::print_stderr)]
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("{}", self.log_tails());
        }
    }
}

/// Makes a bridge that forwards from the start.
pub(crate) fn bridge(inside: &Namespace, name: &str) -> Result<()> {
    let kind = ["type", "bridge", "forward_delay", "0", "mcast_snooping", "0"];
    inside.ip(&[&["link", "add", name, "up", "address", BRIDGE], &kind[..]].concat())?;
    // A cable is no packet filter; where the kernel has that part it looks at every frame.
    for family in ["iptables", "ip6tables", "arptables"] {
        inside.exec(&["sysctl", "-qw", &format!("net.bridge.bridge-nf-call-{family}=0")]).ok();
    }
    Ok(())
}

/// Puts a cable between `eth0` of `host` and a new port of the bridge `bridge` in `switch`.
pub(crate) fn plug(host: &Namespace, switch: &Namespace, bridge: &str, port: &str) -> Result<()> {
    ip(&[
        "link",
        "add",
        "eth0",
        "netns",
        &host.name,
        "type",
        "veth",
        "peer",
        "name",
        port,
        "netns",
        &switch.name,
    ])?;
    switch.ip(&["link", "set", "dev", port, "master", bridge])?;
    switch.ip(&["link", "set", "dev", port, "up"])
}

/// Removes namespaces and folders that a killed process left behind: those named after a pid that does not exist any
/// more. (The programs in them went with it, by their parent-death signal.)
fn sweep() {
    for name in left_behind(Path::new("/run/netns")) {
        ip(&["netns", "delete", &name]).ok();
    }
    let temporary = std::env::temp_dir();
    for name in left_behind(&temporary) {
        std::fs::remove_dir_all(temporary.join(name)).ok();
    }
}

/// Names in `dir` that belong to labs of processes that are gone.
fn left_behind(dir: &Path) -> Vec<String> {
    let names = std::fs::read_dir(dir).into_iter().flatten().flatten();
    let names = names.map(|entry| entry.file_name().to_string_lossy().into_owned());
    names.filter(|name| owner(name).is_some_and(|pid| !Path::new(&format!("/proc/{pid}")).exists())).collect()
}

/// The pid in a lab's name.
fn owner(name: &str) -> Option<u32> {
    name.strip_prefix(PREFIX)?.split('n').next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_labs_of_dead_processes_are_left_behind() {
        let dir = tempfile::tempdir().unwrap();
        let own = format!("{PREFIX}{}n0-switch", std::process::id());
        // Above the kernel's highest pid.
        let dead = format!("{PREFIX}4194305n3-one");
        for name in [own.as_str(), dead.as_str(), "stlabel", "other"] {
            std::fs::write(dir.path().join(name), "").unwrap();
        }
        assert_eq!(left_behind(dir.path()), [dead]);
    }
}
