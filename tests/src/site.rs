//! A site: a node with a kernel interface that forwards, and one machine on a LAN behind it.
//!
//! Owns: the LAN's addresses (`10.77.N.0/24` and `fd77:N::/64`; the node is number 1, the machine number 2), advertising
//! and approving it. Leaves out: what traffic is to do.

use anyhow::{Context, Result};
use lab::{Flavour, Headscale, Host, Lab, Node, Refused};
use std::net::IpAddr;
use std::time::Duration;

/// A node and the machine behind it. The machine knows no way back to the tailnet unless it is told ([`Site::way_back`]).
#[derive(Debug)]
pub struct Site {
    /// The node.
    pub node: Node,
    /// The machine on its LAN, by `lan0`.
    pub machine: Host,
    number: u8,
}

/// Makes Go's node on this host speak to x_tables: it asks the program of this name, and the other one fails where
/// nf_tables is refused.
///
/// # Errors
/// When the names cannot be made.
pub fn legacy_programs(host: &Host) -> Result<()> {
    for program in ["iptables", "ip6tables"] {
        let name = host.etc().join("alternatives").join(program);
        std::fs::remove_file(&name).ok();
        std::os::unix::fs::symlink(format!("/usr/sbin/{program}-legacy"), name)?;
    }
    Ok(())
}

/// A joined node with a kernel interface, of either kind, with the packet filter that both find.
///
/// # Errors
/// When it does not start or join.
pub fn node(lab: &Lab, headscale: &Headscale, name: &str, flavour: Flavour) -> Result<Node> {
    node_without(None, lab, headscale, name, flavour)
}

/// As [`node`], on a kernel that lacks `lacks`.
///
/// # Errors
/// When it does not start or join.
pub fn node_without(
    lacks: Option<Vec<Refused>>,
    lab: &Lab,
    headscale: &Headscale,
    name: &str,
    flavour: Flavour,
) -> Result<Node> {
    let mut node = lab.node(name, flavour)?;
    node.tun = "tailscale0".to_owned();
    node.lacks = lacks;
    legacy_programs(&node.host)?;
    node.start()?;
    node.join(headscale)?;
    Ok(node)
}

/// Lets a host forward by both families.
///
/// # Errors
/// When the kernel refuses.
pub fn forwards(host: &Host) -> Result<()> {
    host.run(&["sysctl", "-qw", "net.ipv4.ip_forward=1", "net.ipv6.conf.all.forwarding=1"]).map(drop)
}

/// Has a kernel take policy rules and not follow them, as RouterOS's does.
///
/// # Errors
/// When it refuses.
pub fn follows_no_rules(host: &Host) -> Result<()> {
    for family in ["-4", "-6"] {
        host.run(&["ip", family, "rule", "add", "pref", "100", "lookup", "main"])?;
    }
    Ok(())
}

/// Changes a setting of a node.
///
/// # Errors
/// Names the setting.
pub fn set(node: &Node, setting: &str) -> Result<()> {
    node.tailscale(&["set", setting])?.ok().map(drop).with_context(|| setting.to_owned())
}

impl Site {
    /// Joined, with its LAN advertised and approved, and with those of others accepted.
    ///
    /// # Errors
    /// When something of that fails.
    pub fn new(
        lab: &Lab,
        headscale: &Headscale,
        of: (&str, Flavour),
        number: u8,
        environment: &[(&str, &str)],
    ) -> Result<Self> {
        let mut site = Self::prepared(lab, of, number)?;
        site.start(headscale, environment)?;
        Ok(site)
    }

    /// Starts what was prepared, and joins with a key of its own.
    ///
    /// # Errors
    /// When something of that fails.
    pub fn start(&mut self, headscale: &Headscale, environment: &[(&str, &str)]) -> Result<()> {
        let environment = environment.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        self.node.environment.extend(environment);
        self.node.start()?;
        self.join(headscale, &headscale.auth_key()?)
    }

    /// The hosts and the LAN, before the node is started.
    ///
    /// # Errors
    /// When a namespace, link or address cannot be made.
    pub fn prepared(lab: &Lab, (name, flavour): (&str, Flavour), number: u8) -> Result<Self> {
        let mut node = lab.node(name, flavour)?;
        let machine = lab.host(&format!("{name}-lan"))?;
        let inside = format!("ip link add lan0 type veth peer name lan0 netns {}", machine.namespace_name());
        node.host.run(&inside.split(' ').collect::<Vec<_>>())?;
        machine.run(&["ip", "link", "del", "eth0"])?;
        for (host, last) in [(&node.host, 1), (&machine, 2)] {
            host.run(&["ip", "addr", "add", &format!("10.77.{number}.{last}/24"), "dev", "lan0"])?;
            host.run(&["ip", "addr", "add", &format!("fd77:{number}::{last}/64"), "dev", "lan0", "nodad"])?;
            host.run(&["ip", "link", "set", "lan0", "up"])?;
        }
        forwards(&node.host)?;
        legacy_programs(&node.host)?;
        node.tun = "tailscale0".to_owned();
        Ok(Self { node, machine, number })
    }

    /// Joins the started node with `key`, and has its LAN approved.
    ///
    /// # Errors
    /// When something of that fails.
    pub fn join(&self, headscale: &Headscale, key: &str) -> Result<()> {
        self.node.up(headscale, key)?;
        self.node.wait_running()?;
        let lans = [format!("10.77.{}.0/24", self.number), format!("fd77:{}::/64", self.number)];
        set(&self.node, "--accept-routes")?;
        set(&self.node, &format!("--advertise-routes={}", lans.join(",")))?;
        headscale.approve_routes(&self.node.host.name, &lans)
    }

    /// The machine's address.
    pub fn machine_address(&self, v6: bool) -> IpAddr {
        let number = u16::from(self.number);
        if v6 { [0xfd77, number, 0, 0, 0, 0, 0, 2].into() } else { [10, 77, self.number, 2].into() }
    }

    /// The node's address on the LAN.
    pub fn node_address(&self, v6: bool) -> IpAddr {
        let number = u16::from(self.number);
        if v6 { [0xfd77, number, 0, 0, 0, 0, 0, 1].into() } else { [10, 77, self.number, 1].into() }
    }

    /// Tells the machine that the node leads everywhere.
    ///
    /// # Errors
    /// When it has a default route.
    pub fn way_back(&self) -> Result<()> {
        let number = self.number;
        self.machine.run(&["ip", "route", "add", "default", "via", &format!("10.77.{number}.1")])?;
        self.machine.run(&["ip", "-6", "route", "add", "default", "via", &format!("fd77:{number}::1")])?;
        Ok(())
    }

    /// Whether the machine answers `from`.
    pub fn answers(&self, from: &Host, v6: bool) -> bool {
        let address = self.machine_address(v6).to_string();
        from.run(&["ping", "-c", "1", "-W", "1", &address]).is_ok()
    }

    /// Waits until the machine answers `from`, or does not any more, by both families.
    ///
    /// # Errors
    /// When that takes more than 30 s.
    pub fn wait(&self, from: &Host, answers: bool) -> Result<()> {
        for v6 in [false, true] {
            let what = format!(
                "{} {} from {}",
                self.machine_address(v6),
                if answers { "to answer" } else { "to be silent" },
                from.name
            );
            lab::until(&what, Duration::from_secs(30), || {
                Ok((self.answers(from, v6) == answers).then_some(()))
            })?;
        }
        Ok(())
    }
}
