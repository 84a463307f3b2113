//! Rules as settings and control want them. Leaves out: which rules, and how the kernel is told (`router`).

use crate::backend::RouterConfig;
use localapi::types::NetfilterMode;
use router::{Error, Firewall, Kind, Mode, Netfilter, cleanup_rules};

/// The name of the feature, if it is in this build.
pub const FEATURE: Option<&str> = Some("iptables");

/// Upstream's variable that says how the kernel is spoken to, whatever settings say.
const KIND: &str = "TS_DEBUG_FIREWALL_MODE";

/// The rules in force.
#[derive(Default)]
pub struct Rules {
    netfilter: Netfilter,
}

impl Rules {
    /// Brings the rules to `config`; what is not as it should be is returned.
    pub fn apply(&mut self, interface: &str, ipv6: bool, config: &RouterConfig) -> Vec<String> {
        let wish = &config.firewall;
        let forced = crate::flags::variable(KIND);
        let firewall = Firewall {
            mode: match wish.mode {
                NetfilterMode::Off => Mode::Off,
                NetfilterMode::NoDivert => Mode::NoDivert,
                NetfilterMode::On => Mode::On,
            },
            kind: kind(forced.as_deref().unwrap_or(&wish.kind)),
            interface: interface.to_owned(),
            addresses: config.addresses.iter().map(ipnet::IpNet::addr).collect(),
            ports: [wish.port; 2],
            ipv6,
            snat: wish.snat,
            stateful: wish.stateful,
            drop_cgnat: wish.drop_cgnat,
            connmark: wish.mode == NetfilterMode::On,
        };
        let before = self.netfilter.kind();
        let problems = self.netfilter.apply(&firewall);
        match self.netfilter.kind().filter(|kind| before != Some(*kind)) {
            Some(Kind::Legacy) => log::info!("packet filter: rules by x_tables"),
            Some(_) => log::info!("packet filter: rules by nf_tables"),
            None => {}
        }
        texts(problems)
    }

    /// The way to the kernel that is in use, in upstream's words; empty while none is.
    pub const fn name(&self) -> &'static str {
        self.netfilter.name()
    }

    /// How many tables have been changed so far.
    pub const fn changes(&self) -> u32 {
        self.netfilter.changes()
    }

    /// Removes them.
    pub fn close(self) -> Vec<String> {
        texts(self.netfilter.close())
    }
}

fn texts(problems: Vec<Error>) -> Vec<String> {
    problems.iter().map(ToString::to_string).collect()
}

fn kind(text: &str) -> Kind {
    match text {
        "iptables" => Kind::Legacy,
        "nftables" => Kind::NfTables,
        _ => Kind::Auto,
    }
}

/// Removes what former runs have left.
///
/// # Errors
/// What could not be removed.
pub fn cleanup() -> Result<(), String> {
    cleanup_rules().map_err(|error| error.to_string())
}
