//! NAT routers: a WAN side on the lab's internet, a bridge for the LAN, masquerade by nft.

use crate::host::{Host, Namespace};
use crate::network::{Lab, plug};
use anyhow::{Context, Result};
use std::cell::Cell;
use std::net::Ipv4Addr;
use std::path::PathBuf;

/// How a router picks the outer port of a flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Nat {
    /// The inner port is kept: one mapping, whatever the destination.
    Easy,
    /// A random port for each destination.
    Hard,
}

/// A router; hosts behind it are made with [`Router::host`]. IPv4 only.
#[derive(Debug)]
pub struct Router {
    /// The router itself, as a host on the internet.
    pub wan: Host,
    lan: u8,
    last: Cell<u8>,
    dir: PathBuf,
    prefix: String,
}

impl Router {
    pub(crate) fn new(lab: &Lab, name: &str, nat: Nat) -> Result<Self> {
        let lan = lab.last_lan.get().checked_add(1).context("no LAN number is left")?;
        lab.last_lan.set(lan);
        let wan = lab.host(name)?;
        let inside = &wan.namespace;
        inside.ip(&["link", "add", "lan0", "type", "bridge", "forward_delay", "0"])?;
        inside.ip(&["address", "add", &format!("192.168.{lan}.1/24"), "dev", "lan0"])?;
        inside.ip(&["link", "set", "dev", "lan0", "up"])?;
        inside.exec(&["sh", "-c", "echo 1 >/proc/sys/net/ipv4/ip_forward"])?;
        let how = match nat {
            Nat::Easy => "",
            Nat::Hard => " fully-random",
        };
        // New inbound on the WAN address is dropped: else conntrack takes the port pair for the router's own and
        // the outer port changes, which makes an easy NAT hard. A forwarded port
        // lets everybody in.
        wan.nft(&format!(
            r#"table ip lab_nat {{
                 chain post {{ type nat hook postrouting priority 100; oifname "eth0" masquerade{how}; }}
                 chain input {{ type filter hook input priority 0; iifname "eth0" ct state new drop; }}
                 chain forward {{
                   type filter hook forward priority 0
                   iifname "eth0" ct state new ct status dnat accept
                   iifname "eth0" ct state new drop
                 }}
               }}"#
        ))?;
        let prefix = wan.namespace.name.clone();
        Ok(Self { wan, lan, last: Cell::new(9), dir: lab.dir().to_owned(), prefix })
    }

    /// A host on this router's LAN.
    ///
    /// # Errors
    /// When a namespace or link cannot be made.
    pub fn host(&self, name: &str) -> Result<Host> {
        let number = self.last.get().checked_add(1).context("the router's LAN is full")?;
        self.last.set(number);
        let ipv4 = Ipv4Addr::new(192, 168, self.lan, number);
        let namespace = Namespace::new(format!("{}-{name}", self.prefix))?;
        plug(&namespace, &self.wan.namespace, "lan0", &format!("p{number}"))?;
        namespace.ip(&["address", "add", &format!("{ipv4}/24"), "dev", "eth0"])?;
        namespace.ip(&["link", "set", "dev", "eth0", "up"])?;
        namespace.ip(&["route", "add", "default", "via", &format!("192.168.{}.1", self.lan)])?;
        Host::new(namespace, name, &self.dir, ipv4, None)
    }
}
