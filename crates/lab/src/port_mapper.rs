//! A router that forwards ports on demand: miniupnpd, speaking one protocol alone.

use crate::network::Lab;
use crate::process::Process;
use crate::programs::MINIUPNPD;
use crate::router::Router;
use anyhow::{Context, Result};
use std::net::Ipv4Addr;

/// What the router may be asked by. The program itself cannot speak NAT-PMP without PCP or the other way round: a
/// packet filter drops the other version.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Speaks {
    /// NAT-PMP.
    Pmp,
    /// PCP.
    Pcp,
    /// UPnP-IGD.
    Upnp,
}

/// A running port mapper. Dropping it ends it; its rules go with the router.
#[derive(Debug)]
pub struct PortMapper {
    /// The router's address as the internet knows it: it forwards for none that is reserved for examples, which those of
    /// the lab are.
    pub external: Ipv4Addr,
    process: Process,
}

impl PortMapper {
    /// What the program has said so far.
    pub fn log(&self) -> String {
        self.process.log_text()
    }
}

/// The chains that the program fills, in the table it expects.
const CHAINS: &str = r#"table inet filter {
  chain miniupnpd { }
  chain prerouting_miniupnpd { }
  chain postrouting_miniupnpd { }
  chain forward { type filter hook forward priority 0; policy accept; jump miniupnpd; }
  chain prerouting { type nat hook prerouting priority -100; policy accept; jump prerouting_miniupnpd; }
  chain postrouting { type nat hook postrouting priority 100; policy accept; jump postrouting_miniupnpd; }
}"#;

impl Router {
    /// Lets hosts of the LAN ask for ports from now on.
    ///
    /// # Errors
    /// When miniupnpd is not installed or a rule cannot be made.
    pub fn port_mapper(&self, lab: &Lab, speaks: Speaks) -> Result<PortMapper> {
        let wan = &self.wan;
        let external = Ipv4Addr::new(198, 20, 0, *wan.ipv4.octets().last().unwrap_or(&1));
        lab.leads_to(external, wan.ipv4)?;
        wan.nft(CHAINS)?;
        let other = match speaks {
            Speaks::Pmp => Some(2),
            Speaks::Pcp => Some(0),
            Speaks::Upnp => None,
        };
        if let Some(version) = other {
            wan.nft(&format!(
                r#"table inet lab_speaks {{
                     chain input {{
                       type filter hook input priority -20
                       iifname "lan0" udp dport 5351 @th,64,8 {version} drop
                     }}
                   }}"#
            ))?;
        }
        let yes = |yes: bool| if yes { "yes" } else { "no" };
        let (upnp, pmp) = (yes(other.is_none()), yes(other.is_some()));
        let text = format!(
            "ext_ifname=eth0\next_ip={external}\nlistening_ip=lan0\nhttp_port=0\nenable_upnp={upnp}\nenable_natpmp={pmp}\n\
             secure_mode=no\nsystem_uptime=yes\nuuid=7d2c5b1e-0000-4000-8000-000000000000\nclean_ruleset_interval=0\n"
        );
        let path = wan.dir.join("miniupnpd.conf");
        std::fs::write(&path, text)?;
        let mut command = wan.command(MINIUPNPD);
        command.arg("-d").arg("-f").arg(&path).arg("-P").arg(wan.dir.join("miniupnpd.pid"));
        let process =
            wan.spawn(command, "miniupnpd").context("miniupnpd (apt install miniupnpd-nftables)")?;
        Ok(PortMapper { external, process })
    }

    /// Ports that are forwarded now, as nft shows the rules.
    ///
    /// # Errors
    /// When nft cannot be asked.
    pub fn forwarded(&self) -> Result<String> {
        self.wan.run(&["nft", "list", "chain", "inet", "filter", "prerouting_miniupnpd"])
    }
}
