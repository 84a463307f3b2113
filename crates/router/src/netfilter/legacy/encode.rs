//! One rule as the bytes of an entry.
//!
//! The matches and targets used here are all there are (`mikrotik.md` §1.1 names those that RouterOS's kernel has): udp,
//! mark, conntrack and connmark; verdicts, MARK, MASQUERADE and CONNMARK.

use super::abi::{
    ALIGN, CONNECTION_MARK, CONNECTION_MARK_WAY, CONNTRACK, CONNTRACK_FLAGS, COUNTERS, EXTENSION,
    EXTENSION_NAME, Family, HOOKS, MARK_INVERTED, NAT_RANGE, NOT_IN, STANDARD, V4, V6,
};
use crate::layout::MARK_MASK;
use crate::netfilter::rules::{FORWARDED_MARK, Mark, Rule, State, Then, Via};
use std::net::IpAddr;

/// `NF_ACCEPT`, `NF_DROP` and the return from a chain, as verdicts.
pub(super) const ACCEPT: i32 = -2;
const DROP: i32 = -1;
pub(super) const RETURN: i32 = -5;

/// States of connections, as bits: established 2, related 4, new 8.
const KNOWN: u16 = 2 | 4;
const NEW: u16 = 8;
/// `XT_CONNTRACK_STATE`.
const BY_STATE: u16 = 1;

/// The layout for a family.
pub(super) const fn family(v6: bool) -> &'static Family {
    if v6 { &V6 } else { &V4 }
}

/// Overwrites what is at `at`; beyond the end nothing.
pub(super) fn put(bytes: &mut [u8], at: usize, value: &[u8]) {
    if let Some(place) = bytes.get_mut(at..).and_then(|rest| rest.get_mut(..value.len())) {
        place.copy_from_slice(value);
    }
}

/// The entry for `rule`; a jump goes to offset 0 until the chain's place is known.
pub(super) fn entry(rule: &Rule, v6: bool, interface: &str) -> Vec<u8> {
    let layout = family(v6);
    let mut bytes = vec![0; layout.entry];
    for (via, name, mask) in [(rule.input, 0, 32), (rule.output, 16, 48)] {
        let device = match via {
            Via::Any => continue,
            Via::Loopback => "lo",
            Via::Tunnel | Via::Others => interface,
        };
        put(&mut bytes, layout.interfaces + name, device.as_bytes());
        // With the end mark, so that longer names are others.
        let len = device.len().saturating_add(1).min(16);
        put(&mut bytes, layout.interfaces + mask, [0xff; 16].get(..len).unwrap_or_default());
        if via == Via::Others {
            put(&mut bytes, layout.flags + 1, &[NOT_IN]);
        }
    }
    if let Some(net) = rule.source {
        let (address, mask) = (net.network(), net.netmask());
        for (at, addr) in [(0, address), (2 * layout.address, mask)] {
            match addr {
                IpAddr::V4(addr) => put(&mut bytes, at, &addr.octets()),
                IpAddr::V6(addr) => put(&mut bytes, at, &addr.octets()),
            }
        }
    }
    if rule.port != 0 {
        put(&mut bytes, layout.protocol, &17_u16.to_ne_bytes());
        put(&mut bytes, layout.flags, &[layout.has_protocol]);
        let words = [0, 0xffff, rule.port, rule.port, 0];
        extend(&mut bytes, "udp", 0, &words.map(u16::to_ne_bytes).concat());
    }
    match rule.state {
        State::Any => {}
        State::Known => extend(&mut bytes, "conntrack", 3, &states(KNOWN, false)),
        State::Unknown => extend(&mut bytes, "conntrack", 3, &states(KNOWN, true)),
        State::New => extend(&mut bytes, "conntrack", 3, &states(NEW, false)),
    }
    match rule.mark {
        Mark::Any => {}
        Mark::Forwarded => extend(&mut bytes, "mark", 1, &numbers(&[FORWARDED_MARK, MARK_MASK, 0])),
        Mark::Some => extend(&mut bytes, "mark", 1, &inverted(&numbers(&[0, MARK_MASK, 0]))),
    }
    if rule.connection_marked {
        extend(&mut bytes, "connmark", 1, &inverted(&numbers(&[0, MARK_MASK, 0])));
    }
    let target = bytes.len();
    match rule.then {
        Then::Accept => extend(&mut bytes, "", 0, &ACCEPT.to_ne_bytes()),
        Then::Drop => extend(&mut bytes, "", 0, &DROP.to_ne_bytes()),
        Then::Return => extend(&mut bytes, "", 0, &RETURN.to_ne_bytes()),
        Then::Jump(_) => extend(&mut bytes, "", 0, &[0; 4]),
        Then::Mark => extend(&mut bytes, "MARK", 2, &numbers(&[FORWARDED_MARK, MARK_MASK])),
        // A range of addresses, and none in it: the interface's own.
        Then::Masquerade if v6 => extend(&mut bytes, "MASQUERADE", 0, &[0; NAT_RANGE]),
        Then::Masquerade => extend(&mut bytes, "MASQUERADE", 0, &numbers(&[1, 0, 0, 0, 0])),
        Then::Restore => extend(&mut bytes, "CONNMARK", 2, &connection_mark(2)),
        Then::Save => extend(&mut bytes, "CONNMARK", 2, &connection_mark(1)),
    }
    finish(&mut bytes, v6, target);
    bytes
}

/// Writes where the target and the next entry begin.
fn finish(bytes: &mut [u8], v6: bool, target: usize) {
    let len = bytes.len();
    put(bytes, family(v6).offsets, &(target as u16).to_ne_bytes());
    put(bytes, family(v6).offsets + 2, &(len as u16).to_ne_bytes());
}

/// An entry for everything with one target.
pub(super) fn bare(v6: bool, name: &str, data: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0; family(v6).entry];
    extend(&mut bytes, name, 0, data);
    finish(&mut bytes, v6, family(v6).entry);
    bytes
}

/// The head of a chain.
pub(super) fn head(v6: bool, chain: &str) -> Vec<u8> {
    let mut name = [0; 30];
    put(&mut name, 0, chain.as_bytes());
    bare(v6, "ERROR", &name)
}

/// Adds a match or a target.
fn extend(bytes: &mut Vec<u8>, name: &str, revision: u8, data: &[u8]) {
    let (at, size) = (bytes.len(), (EXTENSION + data.len()).next_multiple_of(ALIGN));
    bytes.resize(at + size, 0);
    put(bytes, at, &(size as u16).to_ne_bytes());
    put(bytes, at + 2, name.as_bytes());
    put(bytes, at + 2 + EXTENSION_NAME, &[revision]);
    put(bytes, at + EXTENSION, data);
}

fn numbers(numbers: &[u32]) -> Vec<u8> {
    numbers.iter().flat_map(|number| number.to_ne_bytes()).collect()
}

/// `struct xt_mark_mtinfo1` and its like end with a byte that turns the answer round.
fn inverted(data: &[u8]) -> Vec<u8> {
    let mut data = data.to_vec();
    put(&mut data, MARK_INVERTED, &[1]);
    data
}

/// `struct xt_connmark_tginfo2`: marks, how far they are shifted, and which way they go.
fn connection_mark(way: u8) -> Vec<u8> {
    let mut data = numbers(&[0, MARK_MASK, MARK_MASK]);
    data.resize(CONNECTION_MARK, 0);
    put(&mut data, CONNECTION_MARK_WAY, &[way]);
    data
}

/// `struct xt_conntrack_mtinfo3`: addresses and times that are not asked for, flags, states, ports.
fn states(bits: u16, not: bool) -> Vec<u8> {
    let mut data = vec![0; CONNTRACK];
    let inverted = if not { BY_STATE } else { 0 };
    for (at, word) in CONNTRACK_FLAGS.into_iter().zip([BY_STATE, inverted, bits]) {
        put(&mut data, at, &word.to_ne_bytes());
    }
    data
}

/// An entry without what the kernel writes into it (counters, its notes) and, for a jump, without where to: what two
/// entries with the same meaning have in common.
pub(super) fn meaning(entry: &[u8], v6: bool, jump: bool) -> Vec<u8> {
    let layout = family(v6);
    let mut bytes = entry.to_vec();
    put(&mut bytes, layout.offsets - 4, &[0; 4]);
    put(&mut bytes, layout.offsets + 4, &[0; 4]);
    put(&mut bytes, layout.counters, &[0; COUNTERS]);
    if jump {
        put(&mut bytes, layout.entry + EXTENSION, &[0; 4]);
    }
    bytes
}

const _: () = assert!(EXTENSION + 4 <= STANDARD && HOOKS == 5);
