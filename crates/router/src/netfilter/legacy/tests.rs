//! Tables built and found to pieces, without a kernel. Those of real kernels are in `tests/netfilter.rs`.

use super::abi::{ALIGN, EXTENSION};
use super::blob::{Blob, counters, rebuild};
use super::encode::{self, family};
use crate::netfilter::rules::{Firewall, Mode as On, TABLES, wanted};
use proptest::prelude::*;

/// An empty table, or one with entries before the policies and in a chain of its own.
fn table(v6: bool, hooks: &[usize], others: &[(usize, Vec<u8>)], chain: &[Vec<u8>]) -> Blob {
    let mut blob = Blob {
        v6,
        valid: hooks.iter().map(|hook| 1 << hook).sum(),
        begins: [0; 5],
        policies: [0; 5],
        entries: Vec::new(),
        count: 0,
    };
    let add = |blob: &mut Blob, bytes: &[u8]| {
        blob.entries.extend_from_slice(bytes);
        blob.count += 1;
    };
    for &hook in hooks {
        blob.begins[hook] = blob.entries.len() as u32;
        for (_, bytes) in others.iter().filter(|(at, _)| *at == hook) {
            add(&mut blob, bytes);
        }
        blob.policies[hook] = blob.entries.len() as u32;
        add(&mut blob, &encode::bare(v6, "", &encode::ACCEPT.to_ne_bytes()));
    }
    if !chain.is_empty() {
        add(&mut blob, &encode::head(v6, "foreign"));
        chain.iter().for_each(|bytes| add(&mut blob, bytes));
        add(&mut blob, &encode::bare(v6, "", &encode::RETURN.to_ne_bytes()));
    }
    add(&mut blob, &encode::head(v6, "ERROR"));
    blob
}

fn firewall() -> Firewall {
    Firewall {
        mode: On::On,
        interface: "tailscale0".to_owned(),
        addresses: vec!["100.64.0.7".parse().expect("address"), "fd7a::7".parse().expect("address")],
        ports: [41641, 41642],
        ipv6: true,
        snat: true,
        stateful: true,
        drop_cgnat: true,
        connmark: true,
        ..Firewall::default()
    }
}

const HOOKS: [&[usize]; 3] = [&[1, 2, 3], &[0, 1, 3, 4], &[0, 1, 2, 3, 4]];

#[test]
fn there_and_back() {
    for (table_of, hooks) in TABLES.iter().zip(HOOKS) {
        for v6 in [false, true] {
            let empty = table(v6, hooks, &[], &[]);
            let config = firewall();
            let on = wanted(&config, table_of, v6);
            let full = rebuild(&empty, &on).expect("parses").expect("changes").blob;
            assert!(full.count > empty.count);
            assert!(rebuild(&full, &on).expect("parses").is_none(), "{} twice", table_of.name);
            // Another configuration takes the place of this one, whoever made it.
            let other = Firewall { ports: [1, 2], snat: false, stateful: false, ..firewall() };
            let other = wanted(&other, table_of, v6);
            let changed =
                rebuild(&full, &other).expect("parses").map_or_else(|| full.clone(), |new| new.blob);
            let straight = rebuild(&empty, &other).expect("parses").expect("changes").blob;
            assert_eq!(changed, straight);
            let off = Firewall::default();
            let nothing = wanted(&off, table_of, v6);
            assert_eq!(rebuild(&changed, &nothing).expect("parses").expect("changes").blob, empty);
        }
    }
}

/// Nothing that RouterOS's kernel lacks (`mikrotik.md` §1.1): no comment, owner or old-style state.
#[test]
fn only_what_every_kernel_has() {
    for (table_of, hooks) in TABLES.iter().zip(HOOKS) {
        for v6 in [false, true] {
            let config = firewall();
            let full = rebuild(&table(v6, hooks, &[], &[]), &wanted(&config, table_of, v6));
            let full = full.expect("parses").expect("changes").blob;
            for item in full.items().expect("parses") {
                assert!(item.len % ALIGN == 0 && item.target % ALIGN == 0);
                for (name, revision) in full.matches(item) {
                    let known = ["udp.0", "mark.1", "conntrack.3", "connmark.1"];
                    assert!(
                        known.contains(&format!("{name}.{revision}").as_str()),
                        "match {name}.{revision}"
                    );
                }
                let target = String::from_utf8_lossy(item.target_name(&full)).into_owned();
                assert!(
                    ["", "ERROR", "MARK", "CONNMARK", "MASQUERADE"].contains(&&*target),
                    "target {target}"
                );
            }
        }
    }
}

#[test]
fn counters_go_with_their_entries() {
    let v6 = false;
    let foreign = encode::bare(v6, "", &(-1_i32).to_ne_bytes());
    let old = table(v6, HOOKS[0], &[(1, foreign.clone()), (2, foreign)], &[]);
    let had: Vec<u8> = (0..old.count as u8).flat_map(|n| [n + 1; 16]).collect();
    let config = firewall();
    let new = rebuild(&old, &wanted(&config, &TABLES[0], v6)).expect("parses").expect("changes");
    let got = counters(&new, &had);
    let kept: Vec<u8> = got.chunks(16).map(|c| c[0]).filter(|n| *n != 0).collect();
    assert_eq!(kept, [1, 2, 3, 4, 5, 6]);
    assert_eq!(got.len(), new.blob.count as usize * 16);
    // Without the room for them nothing is made up.
    assert!(counters(&new, &[]).iter().all(|byte| *byte == 0));
}

/// A foreign rule: some accept, some go on, some jump to the chain `foreign`, some to a chain of ours.
fn foreign() -> impl Strategy<Value = Vec<(usize, u8)>> {
    proptest::collection::vec((0_usize..4, 0_u8..4), 0..8)
}

proptest! {
    /// Foreign entries stay byte for byte but for where they jump to, which is where they jumped to before; and what
    /// was put in goes again without a trace.
    #[test]
    fn foreign_rules_stay(rules in foreign(), v6: bool, which in 0_usize..3, mode in 0..2) {
        let hooks = HOOKS[which];
        let layout = family(v6);
        let jump = |to: i32| encode::bare(v6, "", &to.to_ne_bytes());
        let others: Vec<(usize, Vec<u8>)> = rules.iter()
            .map(|(hook, kind)| (hooks[hook % hooks.len()], if *kind == 0 { jump(-2) } else { jump(0) })).collect();
        let mut old = table(v6, hooks, &others, &[jump(-1)]);
        let items = old.items().expect("parses");
        let chain = items[items.len() - 3].at as i32;
        // Verdicts, now that places are known.
        for item in items.iter().filter(|item| item.len == jump(0).len()) {
            let at = item.at + layout.entry + EXTENSION;
            if old.entries[at..at + 4] == [0; 4] {
                let to = if item.at % 3 == 0 { (item.at + item.len) as i32 } else { chain };
                old.entries[at..at + 4].copy_from_slice(&to.to_ne_bytes());
            }
        }
        let mut config = firewall();
        if mode == 1 {
            config.mode = On::NoDivert;
        }
        let on = wanted(&config, &TABLES[which], v6);
        let Some(full) = rebuild(&old, &on).expect("parses") else { return Ok(()) };
        let new_items = full.blob.items().expect("parses");
        let mut seen = 0;
        for (item, origin) in new_items.iter().zip(&full.origins) {
            let Some(origin) = origin else { continue };
            prop_assert_eq!(*origin, seen, "order");
            seen += 1;
            let was = items[*origin as usize];
            let (now, was) = (item.bytes(&full.blob), was.bytes(&old));
            prop_assert_eq!(encode::meaning(now, v6, true), encode::meaning(was, v6, true));
        }
        prop_assert_eq!(seen as usize, items.len());
        let off = Firewall::default();
        let back = rebuild(&full.blob, &wanted(&off, &TABLES[which], v6)).expect("parses").expect("changes");
        prop_assert_eq!(back.blob, old);
    }

    /// Bytes from a kernel that has lost its mind: no panic.
    #[test]
    fn any_bytes(bytes: Vec<u8>, count in 0_u32..5, v6: bool, begins: [u32; 5]) {
        let blob = Blob { v6, valid: 31, begins, policies: begins, entries: bytes, count };
        let config = firewall();
        let _ = rebuild(&blob, &wanted(&config, &TABLES[0], v6));
    }

    /// A good table with a byte changed: no panic.
    #[test]
    fn a_byte_changed(at: prop::sample::Index, byte: u8, v6: bool) {
        let config = firewall();
        let on = wanted(&config, &TABLES[0], v6);
        let mut blob = rebuild(&table(v6, HOOKS[0], &[], &[]), &on).expect("parses").expect("changes").blob;
        let at = at.index(blob.entries.len());
        blob.entries[at] = byte;
        let _ = rebuild(&blob, &on);
    }
}
