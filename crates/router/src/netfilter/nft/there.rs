//! What is in a table of nf_tables, ours and other people's.

use super::{
    CHAIN_DATA, CHAIN_NAME, GET_CHAIN, GET_RULE, GET_TABLE, HEADER, MADE, RESTORE, RULE_CHAIN, RULE_DATA,
    RULE_EXPRESSIONS, RULE_HANDLE, SAVE, TABLE, TABLE_DATA, bare, body, expressions, family, written,
};
use crate::attributes::{Body, attributes};
use crate::netfilter::rules::{Rule, Then, Wanted};
use crate::netlink::Netlink;
use rustix::io::Errno;

/// What there is in one table, ours and other people's.
#[derive(Debug, Default)]
pub(super) struct There {
    /// The table, and whether we have made it.
    pub(super) table: Option<bool>,
    /// Chains, and whether we have made them.
    pub(super) chains: Vec<(Vec<u8>, bool)>,
    pub(super) rules: Vec<Found>,
}

/// A rule that is there.
#[derive(Debug, Default)]
pub(super) struct Found {
    pub(super) chain: Vec<u8>,
    pub(super) handle: Vec<u8>,
    pub(super) data: Vec<u8>,
    /// The chain it jumps to, if it does nothing else.
    pub(super) jump: Option<Vec<u8>>,
}

impl There {
    /// What the table holds.
    pub(super) fn look(netlink: &mut Netlink, wanted: &Wanted<'_>) -> Result<Self, Errno> {
        let (mut there, table) = (Self::default(), wanted.table.name.as_bytes());
        let family = family(wanted.v6);
        netlink.dump(GET_TABLE, body(family, ""), &mut |_, payload| {
            let (mut found, mut made) = (false, false);
            attributes(payload, HEADER, &mut |kind, value| match kind {
                TABLE => found = bare(value) == table,
                TABLE_DATA => made = value == MADE,
                _ => {}
            });
            if found {
                there.table = Some(made);
            }
        })?;
        if there.table.is_none() {
            return Ok(there);
        }
        netlink.dump(GET_CHAIN, body(family, ""), &mut |_, payload| {
            let (mut found, mut chain, mut made) = (false, Vec::new(), false);
            attributes(payload, HEADER, &mut |kind, value| match kind {
                TABLE => found = bare(value) == table,
                CHAIN_NAME => chain = bare(value),
                CHAIN_DATA => made = value == MADE,
                _ => {}
            });
            if found {
                there.chains.push((chain, made));
            }
        })?;
        netlink.dump(GET_RULE, body(family, wanted.table.name), &mut |_, payload| {
            let (mut found, mut rule) = (false, Found::default());
            attributes(payload, HEADER, &mut |kind, value| match kind {
                TABLE => found = bare(value) == table,
                RULE_CHAIN => rule.chain = bare(value),
                RULE_HANDLE => rule.handle = value.to_vec(),
                RULE_DATA => rule.data = value.to_vec(),
                RULE_EXPRESSIONS => rule.jump = lone_jump(value),
                _ => {}
            });
            if found {
                there.rules.push(rule);
            }
        })?;
        Ok(there)
    }

    pub(super) fn has_chain(&self, chain: &str) -> bool {
        self.chains.iter().any(|(there, _)| there == chain.as_bytes())
    }

    /// Whether our chains hold exactly the rules wanted.
    pub(super) fn has(&self, wanted: &Wanted<'_>) -> bool {
        wanted.table.chains.iter().all(|chain| {
            let there = self.rules.iter().filter(|found| found.chain == chain.as_bytes());
            let rules = wanted.rules.iter().filter(|(at, _)| at == chain);
            let rules = rules.map(|(_, rule)| written(wanted, chain, rule).1);
            self.has_chain(chain) && there.map(|found| found.data.clone()).eq(rules)
        })
    }
}

impl Found {
    /// Whether this is the rule that we put at the head of `chain`.
    pub(super) fn is_hook(&self, chain: &str, rule: &Rule) -> bool {
        self.chain == chain.as_bytes()
            && match rule.then {
                Then::Jump(to) => self.jump.as_deref() == Some(to.as_bytes()),
                Then::Save => self.data == SAVE,
                _ => self.data == RESTORE,
            }
    }

    pub(super) fn is_ours(&self, wanted: &Wanted<'_>) -> bool {
        wanted.table.chains.iter().any(|chain| chain.as_bytes() == self.chain)
            || wanted.table.hooks.iter().any(|(_, chain, rule)| self.is_hook(chain, rule))
    }

    /// A message's body that names this rule.
    pub(super) fn named(&self, wanted: &Wanted<'_>) -> Body {
        let mut named = body(family(wanted.v6), wanted.table.name);
        named.add(RULE_CHAIN, &[self.chain.as_slice(), &[0]].concat());
        named.add(RULE_HANDLE, &self.handle);
        named
    }
}

/// The chain that a list of expressions jumps to, if it does nothing else but count.
fn lone_jump(expressions: &[u8]) -> Option<Vec<u8>> {
    let (mut jump, mut others) = (None, false);
    attributes(expressions, 0, &mut |_, expression| {
        let (mut kind, mut data) = (Vec::new(), Vec::new());
        attributes(expression, 0, &mut |attribute, value| match attribute {
            expressions::NAME => kind = bare(value),
            expressions::DATA => data = value.to_vec(),
            _ => {}
        });
        match kind.as_slice() {
            b"counter" => {}
            b"immediate" => jump = verdict_chain(&data),
            _ => others = true,
        }
    });
    jump.filter(|_| !others)
}

fn verdict_chain(immediate: &[u8]) -> Option<Vec<u8>> {
    let mut chain = None;
    attributes(immediate, 0, &mut |kind, data| {
        if kind == expressions::IMMEDIATE_DATA {
            attributes(data, 0, &mut |kind, verdict| {
                if kind == expressions::VERDICT {
                    attributes(verdict, 0, &mut |kind, value| {
                        if kind == expressions::CHAIN {
                            chain = Some(bare(value));
                        }
                    });
                }
            });
        }
    });
    chain
}
