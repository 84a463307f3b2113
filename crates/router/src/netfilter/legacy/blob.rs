//! A table as the kernel hands it over: found to pieces, and put together again with our rules in it. Pure.
//!
//! Everything that is not ours is copied byte for byte; only the places that jumps lead to move. The bytes are the
//! kernel's and yet judged like anybody's: what contradicts itself is refused, never followed.

use super::abi::{COUNTERS, ERROR, EXTENSION, EXTENSION_NAME, HOOKS, INFO, NAME, STANDARD};
use super::encode::{self, family, put};
use crate::netfilter::rules::{Rule, Then, Wanted};
use rustix::io::Errno;

/// A table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Blob {
    pub(super) v6: bool,
    /// Bits of the hooks that the table has.
    pub(super) valid: u32,
    /// Where each hook's chain begins.
    pub(super) begins: [u32; HOOKS],
    /// Where its policy is, which ends it.
    pub(super) policies: [u32; HOOKS],
    pub(super) entries: Vec<u8>,
    /// How many those are.
    pub(super) count: u32,
}

/// An entry within a table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Item {
    pub(super) at: usize,
    pub(super) len: usize,
    /// Where its target begins, from `at`.
    pub(super) target: usize,
}

/// A table put together again.
#[derive(Debug)]
pub(super) struct Rebuilt {
    pub(super) blob: Blob,
    /// Of each entry, which of the old ones it was.
    pub(super) origins: Vec<Option<u32>>,
}

pub(super) fn word(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_ne_bytes(*bytes.get(at..)?.first_chunk()?))
}

fn half(bytes: &[u8], at: usize) -> Option<usize> {
    Some(usize::from(u16::from_ne_bytes(*bytes.get(at..)?.first_chunk()?)))
}

/// Text before its end mark.
fn text(bytes: &[u8]) -> &[u8] {
    bytes.split(|byte| *byte == 0).next().unwrap_or_default()
}

impl Item {
    pub(super) fn bytes(self, blob: &Blob) -> &[u8] {
        blob.entries.get(self.at..self.at + self.len).unwrap_or_default()
    }

    fn target_bytes(self, blob: &Blob) -> &[u8] {
        self.bytes(blob).get(self.target..).unwrap_or_default()
    }

    pub(super) fn target_name(self, blob: &Blob) -> &[u8] {
        text(self.target_bytes(blob).get(2..2 + EXTENSION_NAME).unwrap_or_default())
    }

    /// The chain that begins here.
    fn chain(self, blob: &Blob) -> Option<&[u8]> {
        (self.target_name(blob) == b"ERROR" && self.len - self.target >= ERROR)
            .then(|| text(self.target_bytes(blob).get(EXTENSION..).unwrap_or_default()))
    }

    /// Where a jump leads to.
    fn jump(self, blob: &Blob) -> Option<usize> {
        let target = self.target_bytes(blob);
        if !self.target_name(blob).is_empty() || target.len() < STANDARD {
            return None;
        }
        let verdict = word(target, EXTENSION)? as i32;
        usize::try_from(verdict).ok()
    }
}

impl Blob {
    /// Reads `struct ipt_getinfo`; the entries are still to be read, as many bytes as are returned.
    pub(super) fn from_info(v6: bool, info: &[u8; INFO]) -> Option<(Self, usize)> {
        let numbers = |from: usize| -> Option<[u32; HOOKS]> {
            let mut all = [0; HOOKS];
            for (n, place) in all.iter_mut().enumerate() {
                *place = word(info, from + 4 * n)?;
            }
            Some(all)
        };
        let blob = Self {
            v6,
            valid: word(info, NAME)?,
            begins: numbers(NAME + 4)?,
            policies: numbers(NAME + 24)?,
            entries: Vec::new(),
            count: word(info, NAME + 44)?,
        };
        Some((blob, word(info, NAME + 48)? as usize))
    }

    /// All entries in order; an error if they do not fill the table exactly.
    pub(super) fn items(&self) -> Result<Vec<Item>, Errno> {
        let layout = family(self.v6);
        let mut items = Vec::new();
        let mut at = 0;
        while at < self.entries.len() {
            let rest = self.entries.get(at..).unwrap_or_default();
            let target = half(rest, layout.offsets).ok_or(Errno::BADMSG)?;
            let len = half(rest, layout.offsets + 2).ok_or(Errno::BADMSG)?;
            if target < layout.entry || len < target + EXTENSION || len > rest.len() {
                return Err(Errno::BADMSG);
            }
            items.push(Item { at, len, target });
            at += len;
        }
        if items.len() == self.count as usize { Ok(items) } else { Err(Errno::BADMSG) }
    }

    /// Names and revisions of the matches of an entry.
    #[cfg(test)]
    pub(super) fn matches(&self, item: Item) -> Vec<(String, u8)> {
        let mut all = Vec::new();
        let mut at = family(self.v6).entry;
        while at < item.target {
            let bytes = &item.bytes(self)[at..];
            let name = String::from_utf8_lossy(text(&bytes[2..2 + EXTENSION_NAME])).into_owned();
            all.push((name, bytes[2 + EXTENSION_NAME]));
            at += half(bytes, 0).expect("size");
        }
        all
    }

    /// The hook whose chain begins at `at`.
    fn hook(&self, at: usize) -> Option<usize> {
        (0..HOOKS).find(|&hook| self.valid & (1 << hook) != 0 && self.begins.get(hook) == Some(&(at as u32)))
    }

    /// The same table but for what the kernel writes into entries.
    fn meaning(&self) -> Result<Vec<u8>, Errno> {
        let items = self.items()?;
        Ok(items.iter().flat_map(|item| encode::meaning(item.bytes(self), self.v6, false)).collect())
    }
}

/// A new table in the making.
struct Builder<'a> {
    old: &'a Blob,
    wanted: &'a Wanted<'a>,
    new: Rebuilt,
    /// Where old entries have gone.
    moved: Vec<(usize, usize)>,
    /// Jumps of ours to be led to their chain.
    open: Vec<(usize, &'static str)>,
    /// Where our chains' first rules are now, and were.
    chains: Vec<(&'static str, usize)>,
    old_chains: Vec<(&'static str, usize)>,
}

/// The table with what is `wanted` of ours, and nothing else of ours. `None`: it is that already.
pub(super) fn rebuild(old: &Blob, wanted: &Wanted<'_>) -> Result<Option<Rebuilt>, Errno> {
    let blob = Blob { entries: Vec::new(), count: 0, ..old.clone() };
    let mut builder = Builder {
        old,
        wanted,
        new: Rebuilt { blob, origins: Vec::new() },
        moved: Vec::new(),
        open: Vec::new(),
        chains: Vec::new(),
        old_chains: Vec::new(),
    };
    builder.run()?;
    let new = builder.new;
    if new.blob.meaning()? == old.meaning()? { Ok(None) } else { Ok(Some(new)) }
}

impl Builder<'_> {
    fn run(&mut self) -> Result<(), Errno> {
        let items = self.old.items()?;
        let (last, all) = items.split_last().ok_or(Errno::BADMSG)?;
        for item in all {
            if let Some(chain) = item.chain(self.old)
                && let Some(own) = self.own(chain)
            {
                self.old_chains.push((own, item.at + item.len));
            }
        }
        let ours = self.ours(all);
        let mut seen = Vec::new();
        let mut skipping = false;
        for (number, (item, (hook, own))) in all.iter().zip(&ours).enumerate() {
            if let Some(begun) = self.old.hook(item.at) {
                skipping = false;
                self.set(begun, true);
                let kept = ours.iter().any(|(_, own)| *own == Some(begun));
                for (at, _, rule) in self.wanted.table.hooks {
                    if *at == begun && self.wanted.hooks && !kept {
                        self.rule(rule);
                    }
                }
            } else if let Some(chain) = item.chain(self.old) {
                skipping = self.own(chain).is_some();
            }
            if let Some(hook) = hook.filter(|&hook| self.policy(hook) == Some(item.at)) {
                self.set(hook, false);
            }
            if let Some(own) = own {
                let first = !seen.contains(own);
                seen.push(*own);
                if !first || !self.wanted.hooks {
                    continue;
                }
            }
            if !skipping {
                self.keep(*item, number);
            }
        }
        self.own_chains(all, &ours);
        self.keep(*last, all.len());
        self.lead(&items);
        self.new.blob.count = self.new.origins.len() as u32;
        Ok(())
    }

    /// Of each entry: in which hook's chain it is, and if it is the rule that we put at the head of that.
    fn ours(&self, all: &[Item]) -> Vec<(Option<usize>, Option<usize>)> {
        let mut hook = None;
        let mut found = Vec::with_capacity(all.len());
        for item in all {
            if let Some(begun) = self.old.hook(item.at) {
                hook = Some(begun);
            }
            found.push((hook, hook.filter(|&hook| self.is_own_hook(*item, hook))));
            if hook.is_some_and(|hook| self.policy(hook) == Some(item.at)) {
                hook = None;
            }
        }
        found
    }

    fn own(&self, chain: &[u8]) -> Option<&'static str> {
        self.wanted.table.chains.iter().copied().find(|own| own.as_bytes() == chain)
    }

    fn policy(&self, hook: usize) -> Option<usize> {
        self.old.policies.get(hook).map(|at| *at as usize)
    }

    /// Notes that the chain of `hook` begins here, or has its policy here.
    fn set(&mut self, hook: usize, begins: bool) {
        let here = self.new.blob.entries.len() as u32;
        let blob = &mut self.new.blob;
        let place = if begins { &mut blob.begins } else { &mut blob.policies };
        if let Some(place) = place.get_mut(hook) {
            *place = here;
        }
    }

    /// Whether an entry is exactly the rule that we put at the head of the chain of `hook`.
    fn is_own_hook(&self, item: Item, hook: usize) -> bool {
        self.wanted.table.hooks.iter().filter(|(at, _, _)| *at == hook).any(|(_, _, rule)| {
            let mut jump = false;
            if let Then::Jump(chain) = rule.then {
                let old = self.old_chains.iter().find(|(name, _)| *name == chain);
                if old.is_none() || item.jump(self.old) != old.map(|(_, at)| *at) {
                    return false;
                }
                jump = true;
            }
            let ours = encode::entry(rule, self.old.v6, self.wanted.interface);
            encode::meaning(item.bytes(self.old), self.old.v6, jump) == ours
        })
    }

    fn add(&mut self, bytes: &[u8], origin: Option<u32>) {
        self.new.blob.entries.extend_from_slice(bytes);
        self.new.origins.push(origin);
    }

    fn rule(&mut self, rule: &Rule) {
        if let Then::Jump(chain) = rule.then {
            self.open.push((self.new.blob.entries.len(), chain));
        }
        self.add(&encode::entry(rule, self.old.v6, self.wanted.interface), None);
    }

    fn keep(&mut self, item: Item, number: usize) {
        self.moved.push((item.at, self.new.blob.entries.len()));
        self.add(item.bytes(self.old), Some(number as u32));
    }

    /// Our chains, behind all others. One that others jump to stays, empty, when it is not wanted any more.
    fn own_chains(&mut self, all: &[Item], ours: &[(Option<usize>, Option<usize>)]) {
        for &chain in self.wanted.table.chains {
            let old = self.old_chains.iter().find(|(name, _)| *name == chain).map(|(_, at)| *at);
            let others = all.iter().zip(ours).filter(|(_, (_, own))| own.is_none());
            let used = old.is_some() && others.map(|(item, _)| item.jump(self.old)).any(|jump| jump == old);
            if !self.wanted.chains && !used {
                continue;
            }
            self.add(&encode::head(self.old.v6, chain), None);
            self.chains.push((chain, self.new.blob.entries.len()));
            for (at, rule) in &self.wanted.rules {
                if *at == chain {
                    self.rule(rule);
                }
            }
            self.add(&encode::bare(self.old.v6, "", &encode::RETURN.to_ne_bytes()), None);
        }
    }

    /// Leads every jump to where its chain is now.
    fn lead(&mut self, items: &[Item]) {
        let verdict = family(self.old.v6).entry + EXTENSION;
        for (at, chain) in std::mem::take(&mut self.open) {
            let to = self.chains.iter().find(|(name, _)| *name == chain).map_or(0, |(_, at)| *at);
            put(&mut self.new.blob.entries, at + verdict, &(to as i32).to_ne_bytes());
        }
        for item in items {
            let (Some(to), Some(now)) = (item.jump(self.old), self.moved_to(item.at)) else { continue };
            let own = self.old_chains.iter().find(|(_, at)| *at == to).map(|(name, _)| *name);
            let new = if to == item.at + item.len {
                // No jump: on to the next rule.
                Some(now + item.len)
            } else if let Some(own) = own {
                self.chains.iter().find(|(name, _)| *name == own).map(|(_, at)| *at)
            } else {
                self.moved_to(to)
            };
            if let Some(new) = new {
                put(&mut self.new.blob.entries, now + item.target + EXTENSION, &(new as i32).to_ne_bytes());
            }
        }
    }

    fn moved_to(&self, at: usize) -> Option<usize> {
        let found = self.moved.binary_search_by_key(&at, |(old, _)| *old).ok()?;
        self.moved.get(found).map(|(_, new)| *new)
    }
}

/// What each entry's counter is to be, from what the old entries had: `struct xt_counters`, one for each.
pub(super) fn counters(rebuilt: &Rebuilt, old: &[u8]) -> Vec<u8> {
    let mut all = vec![0; rebuilt.origins.len() * COUNTERS];
    for (place, origin) in all.chunks_exact_mut(COUNTERS).zip(&rebuilt.origins) {
        let at = origin.map_or(old.len(), |origin| origin as usize * COUNTERS);
        if let Some(had) = old.get(at..at + COUNTERS) {
            place.copy_from_slice(had);
        }
    }
    all
}
