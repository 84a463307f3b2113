//! nf_tables by netlink: our chains in the tables that `iptables-nft` uses too, changed in one transaction each.
//!
//! Owns: what differs, the transactions. Leaves out: what is there ([`there`]), the bytes of rules ([`expressions`]).
//!
//! A rule in a chain of ours carries a comment with a checksum of its expressions, because what the kernel shows of them
//! is not what it was given. Tables and chains that had to be made carry one too, and go again once they are empty.

mod expressions;
mod there;

use super::rules::{Rule, Then, Wanted};
use crate::attributes::{Body, NESTED};
use crate::netlink::{Message, Netlink};
use netlink_packet_core::{NLM_F_APPEND, NLM_F_CREATE};
use netlink_sys::protocols::NETLINK_NETFILTER;
use rustix::io::Errno;
use there::There;

const BEGIN: u16 = 16;
const END: u16 = 17;
/// `NFNL_SUBSYS_NFTABLES`.
const NF_TABLES: u16 = 10;
const NEW_TABLE: u16 = NF_TABLES << 8;
const GET_TABLE: u16 = NEW_TABLE + 1;
const DELETE_TABLE: u16 = NEW_TABLE + 2;
const NEW_CHAIN: u16 = NEW_TABLE + 3;
const GET_CHAIN: u16 = NEW_TABLE + 4;
const DELETE_CHAIN: u16 = NEW_TABLE + 5;
const NEW_RULE: u16 = NEW_TABLE + 6;
const GET_RULE: u16 = NEW_TABLE + 7;
const DELETE_RULE: u16 = NEW_TABLE + 8;
const GET_GENERATION: u16 = NEW_TABLE + 16;

/// `struct nfgenmsg`.
const HEADER: usize = 4;
/// The first attribute of all: the table; of the table itself its name.
const TABLE: u16 = 1;
const TABLE_DATA: u16 = 6;
const CHAIN_NAME: u16 = 3;
const CHAIN_HOOK: u16 = 4;
const CHAIN_POLICY: u16 = 5;
const CHAIN_TYPE: u16 = 7;
const CHAIN_DATA: u16 = 12;
const RULE_CHAIN: u16 = 2;
const RULE_HANDLE: u16 = 3;
const RULE_EXPRESSIONS: u16 = 4;
const RULE_DATA: u16 = 7;

/// What is written on tables and chains of the kernel's that we have made: a comment (kind 0) of nine bytes.
const MADE: &[u8] = b"\0\x0asmalltail\0";
/// What upstream writes on the two rules in `mangle`.
const RESTORE: &[u8] = b"ts-connmark-restore";
const SAVE: &[u8] = b"ts-connmark-save";

/// The kernel's nf_tables.
#[derive(Debug)]
pub(super) struct Nft {
    netlink: Netlink,
}

const fn family(v6: bool) -> u8 {
    if v6 { 10 } else { 2 }
}

/// The beginning of every message's body.
fn body(family: u8, table: &str) -> Body {
    let mut body = Body(vec![family, 0, 0, 0]);
    if !table.is_empty() {
        body.add(TABLE, &name(table));
    }
    body
}

fn name(text: &str) -> Vec<u8> {
    [text.as_bytes(), &[0]].concat()
}

fn bare(value: &[u8]) -> Vec<u8> {
    value.split(|byte| *byte == 0).next().unwrap_or_default().to_vec()
}

impl Nft {
    /// `None` where the kernel does not answer.
    pub(super) fn open() -> Option<Self> {
        let mut netlink = Netlink::open(NETLINK_NETFILTER).ok()?;
        netlink.request(GET_GENERATION, body(0, ""), &mut |_, _| {}).ok()?;
        Some(Self { netlink })
    }

    /// Whether there are rules, anybody's.
    pub(super) fn in_use(&mut self) -> bool {
        let mut any = false;
        self.netlink.dump(GET_RULE, body(0, ""), &mut |_, _| any = true).is_ok() && any
    }

    /// Brings one table to what is `wanted` of ours in it; whether that took a change.
    pub(super) fn apply(&mut self, wanted: &Wanted<'_>) -> Result<bool, Errno> {
        let there = There::look(&mut self.netlink, wanted)?;
        if wanted.is_nothing() {
            return self.remove(wanted, &there);
        }
        let mut messages = Vec::new();
        let mut add = |kind, flags, body| messages.push(Message { kind, flags, body });
        make(wanted, &there, &mut add);
        if wanted.chains && !there.has(wanted) {
            for chain in wanted.table.chains {
                let mut all = body(family(wanted.v6), wanted.table.name);
                if there.has_chain(chain) {
                    all.add(RULE_CHAIN, &name(chain));
                    add(DELETE_RULE, 0, all);
                }
            }
            for (chain, rule) in &wanted.rules {
                let (body, data) = written(wanted, chain, rule);
                add(NEW_RULE, NLM_F_CREATE | NLM_F_APPEND, with(body, RULE_DATA, &data));
            }
        }
        for (_, chain, rule) in wanted.table.hooks {
            let mut kept = !wanted.hooks;
            for found in there.rules.iter().filter(|found| found.is_hook(chain, rule)) {
                if std::mem::replace(&mut kept, true) {
                    add(DELETE_RULE, 0, found.named(wanted));
                }
            }
            if !kept {
                let (body, _) = written(wanted, chain, rule);
                let body = if matches!(rule.then, Then::Jump(_)) {
                    body
                } else {
                    with(body, RULE_DATA, if rule.then == Then::Save { SAVE } else { RESTORE })
                };
                add(NEW_RULE, NLM_F_CREATE, body);
            }
        }
        self.transact(messages)
    }

    /// Removes what is ours, and then what we made for it if nobody else uses that.
    fn remove(&mut self, wanted: &Wanted<'_>, there: &There) -> Result<bool, Errno> {
        if there.table.is_none() {
            return Ok(false);
        }
        let family = family(wanted.v6);
        let mut messages = Vec::new();
        for (_, chain, rule) in wanted.table.hooks {
            for found in there.rules.iter().filter(|found| found.is_hook(chain, rule)) {
                messages.push(Message { kind: DELETE_RULE, flags: 0, body: found.named(wanted) });
            }
        }
        let table = || body(family, wanted.table.name);
        let own = wanted.table.chains.iter().filter(|chain| there.has_chain(chain));
        for chain in own.clone() {
            let body = with(table(), RULE_CHAIN, &name(chain));
            messages.push(Message { kind: DELETE_RULE, flags: 0, body });
        }
        let changed = self.transact(messages)?;
        // One by one, as each may be in use by others: what is stays.
        let made = there.chains.iter().filter(|(_, made)| *made).map(|(chain, _)| chain.as_slice());
        for chain in own.map(|chain| chain.as_bytes()).chain(made) {
            let body = with(table(), CHAIN_NAME, &[chain, &[0]].concat());
            let alone = there.rules.iter().all(|found| found.chain != chain || found.is_ours(wanted));
            if alone {
                let _ = self.transact(vec![Message { kind: DELETE_CHAIN, flags: 0, body }]);
            }
        }
        if there.table == Some(true) {
            // The kernel would take a table's contents with it.
            let left = There::look(&mut self.netlink, wanted)?;
            if left.chains.is_empty() && left.rules.is_empty() && !self.has_sets(wanted) {
                let message = Message { kind: DELETE_TABLE, flags: 0, body: table() };
                let _ = self.transact(vec![message]);
            }
        }
        Ok(changed)
    }

    /// Whether somebody keeps sets or the like in a table.
    fn has_sets(&mut self, wanted: &Wanted<'_>) -> bool {
        let mut any = false;
        // NFT_MSG_GETSET, NFT_MSG_GETOBJ, NFT_MSG_GETFLOWTABLE.
        for kind in [10, 19, 23] {
            let request = body(family(wanted.v6), wanted.table.name);
            let asked = self.netlink.dump(NEW_TABLE + kind, request, &mut |_, _| any = true);
            any |= !matches!(asked, Ok(()) | Err(Errno::INVAL | Errno::OPNOTSUPP));
        }
        any
    }

    /// All of it or nothing; whether there was anything.
    fn transact(&mut self, messages: Vec<Message>) -> Result<bool, Errno> {
        if messages.is_empty() {
            return Ok(false);
        }
        // The last two bytes, in network order, say whose transaction it is.
        let edge = |kind| Message { kind, flags: 0, body: Body(vec![0, 0, 0, NF_TABLES as u8]) };
        let last = messages.len();
        let mut all = vec![edge(BEGIN)];
        all.extend(messages);
        all.push(edge(END));
        let mut outcome = Ok(());
        self.netlink.batch(&mut all, last, &mut |_, errno| {
            outcome = Err(errno);
            false
        })?;
        outcome.map(|()| true)
    }
}

/// Makes what is missing of tables and chains.
fn make(wanted: &Wanted<'_>, there: &There, add: &mut dyn FnMut(u16, u16, Body)) {
    let table = wanted.table;
    let about = || body(family(wanted.v6), table.name);
    if there.table.is_none() {
        add(NEW_TABLE, NLM_F_CREATE, with(about(), TABLE_DATA, MADE));
    }
    for (hook, chain, _) in table.hooks {
        if there.has_chain(chain) || !(wanted.hooks || wanted.chains) {
            continue;
        }
        let mut body = with(about(), CHAIN_NAME, &name(chain));
        let nest = body.open(CHAIN_HOOK | NESTED);
        body.add(1, &(*hook as u32).to_be_bytes());
        body.add(2, &priority(table.name).to_be_bytes());
        body.close(nest);
        // Accept.
        body.add(CHAIN_POLICY, &1_u32.to_be_bytes());
        let kind = match (table.name, *hook) {
            ("nat", _) => "nat",
            // What changes a mark here wants a new route.
            ("mangle", 3) => "route",
            _ => "filter",
        };
        body.add(CHAIN_TYPE, &name(kind));
        add(NEW_CHAIN, NLM_F_CREATE, with(body, CHAIN_DATA, MADE));
    }
    for chain in table.chains.iter().filter(|chain| wanted.chains && !there.has_chain(chain)) {
        add(NEW_CHAIN, NLM_F_CREATE, with(about(), CHAIN_NAME, &name(chain)));
    }
}

/// When the chains of a table are asked.
fn priority(table: &str) -> i32 {
    match table {
        "nat" => 100,
        "mangle" => -150,
        _ => 0,
    }
}

fn with(mut body: Body, kind: u16, value: &[u8]) -> Body {
    body.add(kind, value);
    body
}

/// A rule as a message's body, and the comment that tells it from others.
fn written(wanted: &Wanted<'_>, chain: &str, rule: &Rule) -> (Body, Vec<u8>) {
    let mut all = body(family(wanted.v6), wanted.table.name);
    all.add(RULE_CHAIN, &name(chain));
    let from = all.0.len();
    let list = all.open(RULE_EXPRESSIONS | NESTED);
    expressions::write(&mut all, rule, wanted.interface);
    all.close(list);
    // FNV-1a.
    let sum = all.0.get(from..).unwrap_or_default().iter();
    let sum = sum.fold(0x811c_9dc5_u32, |sum, byte| (sum ^ u32::from(*byte)).wrapping_mul(0x0100_0193));
    let text = name(&format!("ts {sum:08x}"));
    (all, [&[0, text.len() as u8], text.as_slice()].concat())
}
