//! What a station lets in: as the rules that the engine compiles, and as a few lines that say the same without it.

use engine::filter::{Filter, FilterInput, local_set};
use engine::packet::{Parsed, proto};
use netmap::{FilterRule, IpNet, Node, PortRange, RuleDst, RuleSrc};
use std::net::IpAddr;

/// One thing that is allowed: TCP and UDP to these ports, ICMP too.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Allow {
    /// Who.
    pub from: IpNet,
    /// Which ports, inclusive.
    pub ports: PortRange,
}

/// A station's policy and preferences.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Policy {
    /// What is allowed to whom.
    pub allow: Vec<Allow>,
    /// Everything is refused.
    pub shields_up: bool,
    /// The user wants it up.
    pub running: bool,
}

impl Policy {
    /// Everybody may do everything.
    pub fn open() -> Self {
        let any = [IpAddr::from([0u8; 4]), IpAddr::from([0u8; 16])].map(|zero| IpNet::new_assert(zero, 0));
        let allow = any.map(|from| Allow { from, ports: PortRange::ALL }).to_vec();
        Self { allow, shields_up: false, running: true }
    }

    /// Nobody may do anything.
    pub const fn closed() -> Self {
        Self { allow: Vec::new(), shields_up: false, running: true }
    }

    /// As the engine has it.
    pub fn compile(&self, own: &Node) -> Filter {
        let rules: Vec<FilterRule> = self.allow.iter().map(Allow::rule).collect();
        let routes: Vec<IpNet> =
            own.allowed_ips.iter().filter(|net| !own.addresses.contains(net)).copied().collect();
        let local = local_set(&own.addresses, &routes, &[]);
        Filter::compile(&FilterInput {
            rules: &rules.iter().collect::<Vec<_>>(),
            local: &local,
            shields_up: self.shields_up,
            cap_holders: &|_, _| {},
        })
    }

    /// Whether a peer may begin a conversation with this packet.
    pub fn allows(&self, packet: &Parsed) -> bool {
        self.running
            && !self.shields_up
            && self.allow.iter().any(|allow| {
                let port =
                    matches!(packet.proto, proto::TCP | proto::UDP) && allow.ports.contains(packet.dst_port);
                allow.from.contains(&packet.src) && (port || packet.is_icmp())
            })
    }
}

impl Allow {
    fn rule(&self) -> FilterRule {
        FilterRule {
            srcs: [RuleSrc::Net(self.from)].into(),
            dsts: Box::new([RuleDst { net: RuleSrc::Any, ports: self.ports }]),
            ..FilterRule::default()
        }
    }
}
