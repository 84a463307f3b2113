//! Which rules there are to be, as values that know no kernel interface. Pure.
//!
//! Chains, their names, places and rules are upstream's (protocol reference §8.2), so that a node of ours and one of
//! theirs find and replace each other's leavings. They use only what every kernel with netfilter has, RouterOS's
//! included: no comments, owners or old-style states.

use crate::layout::MARK_MASK;
use ipnet::{IpNet, Ipv4Net};
use std::net::{IpAddr, Ipv4Addr};

/// The mark of packets that have come out of the tunnel to be forwarded.
pub const FORWARDED_MARK: u32 = 0x0004_0000;

/// How much is done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Mode {
    /// Chains, and jumps to them.
    On,
    /// Chains only; whoever runs the firewall jumps to them.
    NoDivert,
    /// Nothing.
    #[default]
    Off,
}

/// What the rules depend on, whole.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Firewall {
    /// How much is done.
    pub mode: Mode,
    /// How the kernel is spoken to.
    pub kind: super::Kind,
    /// The tunnel's interface.
    pub interface: String,
    /// This node's own addresses in the tunnel.
    pub addresses: Vec<IpAddr>,
    /// UDP ports that peers reach us at by IPv4 and by IPv6; 0 = none.
    pub ports: [u16; 2],
    /// IPv6 is in use.
    pub ipv6: bool,
    /// What comes out of the tunnel and is forwarded gets the address of this machine.
    pub snat: bool,
    /// Forwarding into the tunnel only what belongs to connections that exist.
    pub stateful: bool,
    /// Packets with addresses of 100.64.0.0/10 that do not come out of the tunnel are dropped.
    pub drop_cgnat: bool,
    /// Marks are kept with connections, so that a strict reverse path filter lets answers pass.
    pub connmark: bool,
}

/// Interfaces.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Via {
    Any,
    Tunnel,
    /// Every one but the tunnel.
    Others,
    Loopback,
}

/// States of connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum State {
    Any,
    /// Of a connection that exists, or about one.
    Known,
    Unknown,
    New,
}

/// What is asked of a packet's mark, under [`MARK_MASK`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mark {
    Any,
    Forwarded,
    /// Other than 0.
    Some,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Then {
    Accept,
    Drop,
    Return,
    Jump(&'static str),
    /// Sets [`FORWARDED_MARK`] and goes on.
    Mark,
    Masquerade,
    /// From the connection's mark to the packet's, and the other way.
    Restore,
    Save,
}

/// One rule: everything asked for must hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Rule {
    pub(crate) input: Via,
    pub(crate) output: Via,
    pub(crate) source: Option<IpNet>,
    /// To this UDP port; 0 = whatever.
    pub(crate) port: u16,
    pub(crate) state: State,
    pub(crate) mark: Mark,
    /// The connection has a mark.
    pub(crate) connection_marked: bool,
    pub(crate) then: Then,
}

/// For everything.
const fn always(then: Then) -> Rule {
    Rule {
        input: Via::Any,
        output: Via::Any,
        source: None,
        port: 0,
        state: State::Any,
        mark: Mark::Any,
        connection_marked: false,
        then,
    }
}

/// A table of the kernel's and what of ours may be in it.
#[derive(Debug)]
pub(crate) struct Table {
    pub(crate) name: &'static str,
    pub(crate) chains: &'static [&'static str],
    /// Rules at the head of the kernel's own chains: number of the hook, the chain's name, the rule.
    pub(crate) hooks: &'static [(usize, &'static str, Rule)],
}

pub(crate) const INPUT: &str = "ts-input";
pub(crate) const FORWARD: &str = "ts-forward";
pub(crate) const POSTROUTING: &str = "ts-postrouting";

const RESTORE: Rule = Rule { state: State::Known, connection_marked: true, ..always(Then::Restore) };
const SAVE: Rule = Rule { state: State::New, mark: Mark::Some, ..always(Then::Save) };

/// All tables that rules of ours are in.
pub(crate) static TABLES: [Table; 3] = [
    Table {
        name: "filter",
        chains: &[INPUT, FORWARD],
        hooks: &[(1, "INPUT", always(Then::Jump(INPUT))), (2, "FORWARD", always(Then::Jump(FORWARD)))],
    },
    Table {
        name: "nat",
        chains: &[POSTROUTING],
        hooks: &[(4, "POSTROUTING", always(Then::Jump(POSTROUTING)))],
    },
    Table { name: "mangle", chains: &[], hooks: &[(0, "PREROUTING", RESTORE), (3, "OUTPUT", SAVE)] },
];

/// What is to be in one table for one family.
#[derive(Debug)]
pub(crate) struct Wanted<'a> {
    pub(crate) table: &'static Table,
    pub(crate) v6: bool,
    pub(crate) interface: &'a str,
    /// The table's chains exist.
    pub(crate) chains: bool,
    /// So do its rules at the head of the kernel's chains.
    pub(crate) hooks: bool,
    pub(crate) rules: Vec<(&'static str, Rule)>,
}

impl Wanted<'_> {
    /// Nothing of ours is to be there.
    pub(crate) const fn is_nothing(&self) -> bool {
        !self.chains && !self.hooks
    }

    /// Leaves out what needs connections to be tracked; whether there was something.
    pub(crate) fn without_states(&mut self) -> bool {
        let before = self.rules.len();
        self.rules.retain(|(_, rule)| rule.state == State::Any);
        before != self.rules.len()
    }
}

/// What `firewall` asks for in `table`.
pub(crate) fn wanted<'a>(firewall: &'a Firewall, table: &'static Table, v6: bool) -> Wanted<'a> {
    let on = firewall.mode != Mode::Off && (firewall.ipv6 || !v6);
    let mangle = table.chains.is_empty();
    let mut rules = Vec::new();
    if on {
        for &chain in table.chains {
            let mut add = |rule| rules.push((chain, rule));
            match chain {
                INPUT => input(firewall, v6, &mut add),
                FORWARD => forward(firewall, v6, &mut add),
                _ if firewall.snat => add(Rule { mark: Mark::Forwarded, ..always(Then::Masquerade) }),
                _ => {}
            }
        }
    }
    Wanted {
        table,
        v6,
        interface: &firewall.interface,
        chains: on && !mangle,
        hooks: on && firewall.mode == Mode::On && (firewall.connmark || !mangle),
        rules,
    }
}

const fn range(addr: [u8; 4], len: u8) -> Option<IpNet> {
    Some(IpNet::V4(Ipv4Net::new_assert(Ipv4Addr::new(addr[0], addr[1], addr[2], addr[3]), len)))
}

/// Where addresses of nodes are, and those of them that a guest of ChromeOS has.
const CGNAT: Option<IpNet> = range([100, 64, 0, 0], 10);
const CHROME_OS: Option<IpNet> = range([100, 115, 92, 0], 23);

fn input(firewall: &Firewall, v6: bool, add: &mut dyn FnMut(Rule)) {
    for addr in firewall.addresses.iter().filter(|addr| addr.is_ipv6() == v6) {
        add(Rule { input: Via::Loopback, source: Some((*addr).into()), ..always(Then::Accept) });
    }
    add(Rule { input: Via::Tunnel, ..always(Then::Accept) });
    let port = firewall.ports[usize::from(v6)];
    if port != 0 {
        add(Rule { port, ..always(Then::Accept) });
    }
    if v6 {
        return;
    }
    // Last, as upstream has it: what a network that is 100.64.0.0/10 itself sends to the port gets in. That does not make it a
    // path: the engine passes disco from there over (docs/compatibility.md).
    let from = |source, then| Rule { input: Via::Others, source, ..always(then) };
    if firewall.drop_cgnat {
        add(from(CHROME_OS, Then::Return));
        add(from(CGNAT, Then::Drop));
    } else {
        add(from(CGNAT, Then::Return));
    }
}

fn forward(firewall: &Firewall, v6: bool, add: &mut dyn FnMut(Rule)) {
    add(Rule { input: Via::Tunnel, ..always(Then::Mark) });
    add(Rule { mark: Mark::Forwarded, ..always(Then::Accept) });
    let into = |then| Rule { output: Via::Tunnel, ..always(then) };
    if !v6 {
        add(Rule { source: CGNAT, ..into(Then::Drop) });
    }
    if firewall.stateful {
        add(Rule { state: State::Unknown, ..into(Then::Drop) });
    }
    add(into(Then::Accept));
}

/// The bits of [`FORWARDED_MARK`] lie where ours are.
const _: () = assert!(FORWARDED_MARK & !MARK_MASK == 0);
