//! NAT routers: a WAN side on the lab's internet or in another router's LAN, a bridge for the LAN, translation by nft.

use crate::host::{Host, Namespace};
use crate::network::{Lab, bridge, plug};
use anyhow::{Context, Result};
use std::cell::Cell;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::path::PathBuf;

/// How a router translates IPv4. Mapping and filtering as in RFC 4787.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Nat {
    /// The inner port is kept: one mapping, whatever the destination; only who was written to may answer.
    Easy,
    /// A random port for each destination.
    Hard,
    /// The inner port is kept, and an address that was written to may answer from any port.
    AddressFiltering,
    /// The outer address belongs to the first host behind it: all that comes in is for that one.
    OneToOne,
}

/// A router; hosts behind it are made with [`Router::host`].
#[derive(Debug)]
pub struct Router {
    /// The router itself, as a host on the network above.
    pub wan: Host,
    lan: u8,
    /// Whether its LAN has IPv6, and IPv4.
    ipv6: bool,
    last: Cell<u8>,
    dir: PathBuf,
    prefix: String,
}

/// Number of the first host on a LAN, less one.
const LAST: u8 = 9;

impl Router {
    pub(crate) fn new(lab: &Lab, name: &str, nat: Nat) -> Result<Self> {
        Self::with_wan(lab, lab.host(name)?, nat)
    }

    /// A router whose WAN side is on this one's LAN: double NAT.
    ///
    /// # Errors
    /// When a namespace, link or rule cannot be made.
    pub fn inner(&self, lab: &Lab, name: &str, nat: Nat) -> Result<Self> {
        Self::with_wan(lab, self.host(name)?, nat)
    }

    fn with_wan(lab: &Lab, wan: Host, nat: Nat) -> Result<Self> {
        let lan = lab.last_lan.get().checked_add(1).context("no LAN number is left")?;
        lab.last_lan.set(lan);
        let inside = &wan.namespace;
        bridge(inside, "lan0")?;
        inside.ip(&["address", "add", &format!("192.168.{lan}.1/24"), "dev", "lan0"])?;
        inside.exec(&["sh", "-c", "echo 1 >/proc/sys/net/ipv4/ip_forward"])?;
        wan.nft(&rules(nat, Ipv4Addr::new(192, 168, lan, LAST + 1)))?;
        let prefix = wan.namespace.name.clone();
        Ok(Self { wan, lan, ipv6: false, last: Cell::new(LAST), dir: lab.dir().to_owned(), prefix })
    }

    /// Gives the LAN IPv6 without translation, behind a firewall that lets in answers only. Hosts made from now on have
    /// an address.
    ///
    /// # Errors
    /// When an address, route or rule is refused.
    pub fn add_ipv6(&mut self, lab: &Lab) -> Result<()> {
        let wan = self.wan.ipv6.context("the router has no IPv6 itself")?;
        let inside = &self.wan.namespace;
        let address = |number: u8| Ipv6Addr::from(self.v6(number));
        inside.exec(&["sh", "-c", "echo 1 >/proc/sys/net/ipv6/conf/all/forwarding"])?;
        inside.ip(&["address", "add", &format!("{}/64", address(1)), "dev", "lan0", "nodad"])?;
        self.wan.nft(
            r#"table ip6 lab_wall {
                 chain forward { type filter hook forward priority 0; iifname "eth0" ct state new drop; }
               }"#,
        )?;
        let net = format!("{}/64", address(0));
        lab.route(&["-6", "route", "add", &net, "via", &wan.to_string(), "dev", "br0"])?;
        self.ipv6 = true;
        Ok(())
    }

    const fn v6(&self, number: u8) -> [u8; 16] {
        [0x20, 0x01, 0x0d, 0xb8, 0, self.lan, 0, 0, 0, 0, 0, 0, 0, 0, 0, number]
    }

    /// A host on this router's LAN.
    ///
    /// # Errors
    /// When a namespace or link cannot be made.
    pub fn host(&self, name: &str) -> Result<Host> {
        self.host_with(name, true)
    }

    /// A host on this router's LAN that has IPv6 alone.
    ///
    /// # Errors
    /// When a namespace or link cannot be made, or the LAN has no IPv6.
    pub fn host_without_ipv4(&self, name: &str) -> Result<Host> {
        anyhow::ensure!(self.ipv6, "the LAN of {} has no IPv6", self.wan.name);
        let host = self.host_with(name, false)?;
        host.knows(&crate::headscale::ADDRESS6.to_string(), crate::headscale::NAME)?;
        Ok(host)
    }

    fn host_with(&self, name: &str, v4: bool) -> Result<Host> {
        let number = self.last.get().checked_add(1).context("the router's LAN is full")?;
        self.last.set(number);
        let namespace = Namespace::new(format!("{}-{name}", self.prefix))?;
        plug(&namespace, &self.wan.namespace, "lan0", &format!("p{number}"))?;
        let ipv4 = if v4 { Ipv4Addr::new(192, 168, self.lan, number) } else { Ipv4Addr::UNSPECIFIED };
        if v4 {
            namespace.ip(&["address", "add", &format!("{ipv4}/24"), "dev", "eth0"])?;
        }
        let ipv6 = self.ipv6.then(|| Ipv6Addr::from(self.v6(number)));
        if let Some(ipv6) = ipv6 {
            namespace.ip(&["address", "add", &format!("{ipv6}/64"), "dev", "eth0", "nodad"])?;
        }
        namespace.ip(&["link", "set", "dev", "eth0", "up"])?;
        if v4 {
            namespace.ip(&["route", "add", "default", "via", &format!("192.168.{}.1", self.lan)])?;
        }
        if ipv6.is_some() {
            let via = Ipv6Addr::from(self.v6(1)).to_string();
            namespace.ip(&["-6", "route", "add", "default", "via", &via])?;
        }
        Host::new(namespace, name, &self.dir, ipv4, ipv6)
    }
}

/// The rules of a NAT; `first` is the first host behind it.
///
/// New inbound on the WAN address is dropped: else conntrack takes the port pair for the router's own and the outer port
/// changes, which makes an easy NAT hard. A forwarded port lets everybody in.
fn rules(nat: Nat, first: Ipv4Addr) -> String {
    let how = if nat == Nat::Hard { " fully-random" } else { "" };
    let (outbound, inbound) = match nat {
        Nat::Easy | Nat::Hard => (String::new(), String::new()),
        // Whoever was written to is remembered with the port that was used, and whose that is.
        Nat::AddressFiltering => (
            r#"oifname "eth0" meta l4proto udp update @written { ip daddr . udp sport : ip saddr }"#
                .to_owned(),
            r#"iifname "eth0" meta l4proto udp dnat to ip saddr . udp dport map @written"#.to_owned(),
        ),
        Nat::OneToOne => (String::new(), format!(r#"iifname "eth0" dnat to {first}"#)),
    };
    format!(
        r#"table ip lab_nat {{
             map written {{ type ipv4_addr . inet_service : ipv4_addr; size 1024; timeout 60s; flags timeout; }}
             chain pre {{ type nat hook prerouting priority -100; {inbound}; }}
             chain post {{ type nat hook postrouting priority 100; oifname "eth0" masquerade{how}; }}
             chain input {{ type filter hook input priority 0; iifname "eth0" ct state new drop; }}
             chain forward {{
               type filter hook forward priority 0
               {outbound}
               iifname "eth0" ct state new ct status dnat accept
               iifname "eth0" ct state new drop
             }}
           }}"#
    )
}
