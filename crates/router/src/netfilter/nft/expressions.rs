//! One rule as expressions of nf_tables.
//!
//! Rules are meant as upstream makes them (protocol reference §8.3); a counter stands before every verdict.

use crate::attributes::{Body, NESTED};
use crate::layout::MARK_MASK;
use crate::netfilter::rules::{FORWARDED_MARK, Mark, Rule, State, Then, Via};
use std::net::IpAddr;

/// `NFTA_LIST_ELEM`, `NFTA_EXPR_NAME`, `NFTA_EXPR_DATA`.
pub(super) const ELEMENT: u16 = 1;
pub(super) const NAME: u16 = 1;
pub(super) const DATA: u16 = 2;
/// `NFTA_IMMEDIATE_DATA`, `NFTA_DATA_VALUE`, `NFTA_DATA_VERDICT`; in a verdict its code and its chain.
pub(super) const IMMEDIATE_DATA: u16 = 2;
const VALUE: u16 = 1;
pub(super) const VERDICT: u16 = 2;
const CODE: u16 = 1;
pub(super) const CHAIN: u16 = 2;

/// The register that everything goes through.
const REGISTER: u32 = 1;
/// Keys of `meta` and `ct`.
const META_MARK: u32 = 3;
const META_INPUT: u32 = 6;
const META_OUTPUT: u32 = 7;
const META_PROTOCOL: u32 = 16;
const CT_STATE: u32 = 0;
const CT_MARK: u32 = 3;
/// What a load starts from.
const NETWORK: u32 = 1;
const TRANSPORT: u32 = 2;
/// Comparisons.
const EQUAL: u32 = 0;
const OTHER: u32 = 1;
/// States as bits: established, related, new, and not tracked at all, which counts as known.
const KNOWN: u32 = 2 | 4 | 64;
const NEW: u32 = 8;
/// Verdicts.
const DROP: i32 = 0;
const ACCEPT: i32 = 1;
const JUMP: i32 = -3;
const RETURN: i32 = -5;

/// Writes expressions into a list.
struct Expressions<'a>(&'a mut Body);

impl Expressions<'_> {
    /// An expression whose attributes are the numbers given.
    fn numbers(&mut self, name: &str, numbers: &[(u16, u32)]) {
        self.with(name, &mut |body| {
            for (kind, number) in numbers {
                body.add(*kind, &number.to_be_bytes());
            }
        });
    }

    fn with(&mut self, name: &str, write: &mut dyn FnMut(&mut Body)) {
        let element = self.0.open(ELEMENT | NESTED);
        self.0.add(NAME, &[name.as_bytes(), &[0]].concat());
        let data = self.0.open(DATA | NESTED);
        write(self.0);
        self.0.close(data);
        self.0.close(element);
    }

    fn compare(&mut self, how: u32, value: &[u8]) {
        self.with("cmp", &mut |body| {
            body.add(1, &REGISTER.to_be_bytes());
            body.add(2, &how.to_be_bytes());
            add_value(body, 3, value);
        });
    }

    /// Register := register and `mask`, exclusive or `xor`.
    fn bits(&mut self, mask: &[u8], xor: &[u8]) {
        self.with("bitwise", &mut |body| {
            for (kind, number) in [(1, REGISTER), (2, REGISTER), (3, mask.len() as u32)] {
                body.add(kind, &number.to_be_bytes());
            }
            add_value(body, 4, mask);
            add_value(body, 5, xor);
        });
    }

    fn bits32(&mut self, mask: u32, xor: u32) {
        self.bits(&mask.to_ne_bytes(), &xor.to_ne_bytes());
    }

    fn load(&mut self, what: &str, key: u32) {
        // `ct` and `meta` have destination and key in this order both.
        self.numbers(what, &[(1, REGISTER), (2, key)]);
    }

    fn interface(&mut self, key: u32, how: u32, name: &str) {
        let mut padded = [0; 16];
        padded.iter_mut().zip(name.bytes()).for_each(|(to, from)| *to = from);
        self.load("meta", key);
        self.compare(how, &padded);
    }

    fn payload(&mut self, base: u32, offset: u32, len: u32) {
        self.numbers("payload", &[(1, REGISTER), (2, base), (3, offset), (4, len)]);
    }

    fn verdict(&mut self, code: i32, chain: &str) {
        self.with("immediate", &mut |body| {
            body.add(1, &0_u32.to_be_bytes());
            let data = body.open(IMMEDIATE_DATA | NESTED);
            let verdict = body.open(VERDICT | NESTED);
            body.add(CODE, &code.to_be_bytes());
            if !chain.is_empty() {
                body.add(CHAIN, &[chain.as_bytes(), &[0]].concat());
            }
            body.close(verdict);
            body.close(data);
        });
    }
}

fn add_value(body: &mut Body, kind: u16, value: &[u8]) {
    let nest = body.open(kind | NESTED);
    body.add(VALUE, value);
    body.close(nest);
}

/// Writes the expressions of `rule`.
pub(super) fn write(body: &mut Body, rule: &Rule, interface: &str) {
    let mut list = Expressions(body);
    for (via, key) in [(rule.input, META_INPUT), (rule.output, META_OUTPUT)] {
        match via {
            Via::Any => {}
            Via::Loopback => list.interface(key, EQUAL, "lo"),
            Via::Tunnel => list.interface(key, EQUAL, interface),
            Via::Others => list.interface(key, OTHER, interface),
        }
    }
    if let Some(net) = rule.source {
        match (net.network(), net.netmask()) {
            (IpAddr::V4(addr), IpAddr::V4(mask)) => {
                list.payload(NETWORK, 12, 4);
                list.bits(&mask.octets(), &[0; 4]);
                list.compare(EQUAL, &addr.octets());
            }
            (IpAddr::V6(addr), IpAddr::V6(mask)) => {
                list.payload(NETWORK, 8, 16);
                list.bits(&mask.octets(), &[0; 16]);
                list.compare(EQUAL, &addr.octets());
            }
            _ => {}
        }
    }
    if rule.port != 0 {
        list.load("meta", META_PROTOCOL);
        list.compare(EQUAL, &[17]);
        list.payload(TRANSPORT, 2, 2);
        list.compare(EQUAL, &rule.port.to_be_bytes());
    }
    let (bits, how) = match rule.state {
        State::Any => (0, 0),
        State::Known => (KNOWN, OTHER),
        State::Unknown => (KNOWN, EQUAL),
        State::New => (NEW, OTHER),
    };
    if bits != 0 {
        list.load("ct", CT_STATE);
        list.bits32(bits, 0);
        list.compare(how, &[0; 4]);
    }
    let marks = [("meta", META_MARK, rule.mark != Mark::Any), ("ct", CT_MARK, rule.connection_marked)];
    for (what, key, _) in marks.iter().filter(|(_, _, asked)| *asked) {
        list.load(what, *key);
        list.bits32(MARK_MASK, 0);
        if rule.mark == Mark::Forwarded {
            list.compare(EQUAL, &FORWARDED_MARK.to_ne_bytes());
        } else {
            list.compare(OTHER, &[0; 4]);
        }
    }
    list.with("counter", &mut |_| {});
    match rule.then {
        Then::Accept => list.verdict(ACCEPT, ""),
        Then::Drop => list.verdict(DROP, ""),
        Then::Return => list.verdict(RETURN, ""),
        Then::Jump(chain) => list.verdict(JUMP, chain),
        Then::Masquerade => list.with("masq", &mut |_| {}),
        Then::Mark => {
            list.load("meta", META_MARK);
            list.bits32(!MARK_MASK, FORWARDED_MARK);
            list.numbers("meta", &[(2, META_MARK), (3, REGISTER)]);
        }
        Then::Restore => {
            list.load("ct", CT_MARK);
            list.bits32(MARK_MASK, 0);
            list.numbers("meta", &[(2, META_MARK), (3, REGISTER)]);
        }
        Then::Save => {
            list.load("meta", META_MARK);
            list.bits32(MARK_MASK, 0);
            list.numbers("ct", &[(2, CT_MARK), (4, REGISTER)]);
        }
    }
}
