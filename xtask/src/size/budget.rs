//! The committed budget of bytes: a binary that grows by more than a hundredth is an error that names the crates that grew,
//! until the budget is raised with the reason.
//!
//! Owns: `xtask/size-budget.json` and the comparison. Leaves out: measuring.

use super::Measured;
use anyhow::{Context, Result, ensure};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::PathBuf;

/// Growth that passes, in parts of a hundred.
const SLACK: u64 = 1;

/// How many crates a message names.
const NAMED: usize = 3;

/// Crates below this are no cause of anything.
const LEAST: u64 = 2000;

/// The file.
#[derive(Debug, Default, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Budget {
    /// Why the figures are what they are: the last reason for which they were raised.
    pub(super) why: String,
    /// By profile and target: `router/armv5`.
    pub(super) binaries: BTreeMap<String, Allowed>,
}

/// What one binary may weigh.
#[derive(Debug, Default, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Allowed {
    /// Bytes unpacked.
    pub(super) raw: u64,
    /// Bytes on flash.
    pub(super) packed: u64,
    /// Bytes of the larger crates, unpacked.
    pub(super) crates: BTreeMap<String, u64>,
}

impl Budget {
    pub(super) fn path() -> PathBuf {
        lab::workspace_root().join("xtask/size-budget.json")
    }

    pub(super) fn load() -> Result<Self> {
        let text = std::fs::read(Self::path()).context("xtask/size-budget.json")?;
        serde_json::from_slice(&text).context("xtask/size-budget.json")
    }

    /// Writes it, with this reason.
    pub(super) fn save(&self) -> Result<()> {
        std::fs::write(Self::path(), self.text()?).context("xtask/size-budget.json")
    }

    /// The file's text. Without a packer nothing is known of packed bytes, and a budget of 0 would let all pass.
    fn text(&self) -> Result<String> {
        ensure!(!self.why.trim().is_empty(), "the budget is raised for a reason: --raise WHY");
        let unpacked = self.binaries.iter().find(|(_, allowed)| allowed.packed == 0);
        ensure!(unpacked.is_none(), "{} was not packed", unpacked.map_or("", |(name, _)| name));
        Ok(serde_json::to_string_pretty(self)? + "\n")
    }

    /// Takes over what was measured.
    pub(super) fn set(&mut self, measured: &Measured) {
        let large = measured.crates.iter().filter(|(_, bytes)| *bytes >= LEAST).cloned();
        let allowed =
            Allowed { raw: measured.raw, packed: measured.packed.unwrap_or(0), crates: large.collect() };
        self.binaries.insert(measured.name.clone(), allowed);
    }

    /// What is wrong with a binary, in one sentence; none where it is within its budget or has none.
    pub(super) fn problem(&self, measured: &Measured) -> Option<String> {
        let allowed = self.binaries.get(&measured.name)?;
        let over = |bytes: u64, allowed: u64| allowed > 0 && bytes * 100 > allowed * (100 + SLACK);
        let packed = measured.packed.unwrap_or(0);
        let (what, bytes, limit) = if over(packed, allowed.packed) {
            ("packed", packed, allowed.packed)
        } else if over(measured.raw, allowed.raw) {
            ("raw", measured.raw, allowed.raw)
        } else {
            return None;
        };
        let mut grown: Vec<(&str, u64)> = measured
            .crates
            .iter()
            .map(|(name, bytes)| {
                (name.as_str(), bytes.saturating_sub(*allowed.crates.get(name).unwrap_or(&0)))
            })
            .filter(|(_, more)| *more > 0)
            .collect();
        grown.sort_by_key(|(_, more)| std::cmp::Reverse(*more));
        let grown: Vec<_> =
            grown.iter().take(NAMED).map(|(name, more)| format!("{name} by {more}")).collect();
        Some(format!(
            "{} has {bytes} bytes {what}, its budget is {limit}; grown have {}. Make it smaller, or raise the budget in \
             the same commit: cargo xtask size --all --raise 'why'",
            measured.name,
            grown.join(", ")
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn measured(packed: u64, raw: u64, cli: u64) -> Measured {
        Measured {
            name: "router/armv5".to_owned(),
            raw,
            packed: Some(packed),
            crates: vec![("cli".to_owned(), cli), ("h2".to_owned(), 5000)],
            ..Measured::default()
        }
    }

    fn budget() -> Budget {
        let mut budget = Budget { why: "so".to_owned(), ..Budget::default() };
        budget.set(&measured(100_000, 250_000, 50_000));
        budget
    }

    #[test]
    fn a_hundredth_passes_and_more_names_the_crate() {
        assert_eq!(budget().problem(&measured(101_000, 252_500, 60_000)), None);
        let problem = budget().problem(&measured(101_001, 250_000, 57_000)).expect("too large");
        assert!(problem.contains("101001 bytes packed") && problem.contains("cli by 7000"), "{problem}");
        assert!(!problem.contains("h2"), "{problem}");
        let problem = budget().problem(&measured(100_000, 252_501, 50_001)).expect("too large");
        assert!(problem.contains("252501 bytes raw"), "{problem}");
    }

    #[test]
    fn what_has_no_budget_is_not_judged() {
        assert_eq!(Budget::default().problem(&measured(1, 1, 1)), None);
        assert!(Budget::default().save().is_err());
    }

    #[test]
    fn a_budget_without_packed_bytes_is_not_written() {
        let mut budget = budget();
        assert!(budget.text().unwrap().contains("\"packed\": 100000"));
        budget.set(&Measured { packed: None, ..measured(0, 250_000, 50_000) });
        assert_eq!(budget.text().unwrap_err().to_string(), "router/armv5 was not packed");
    }

    #[test]
    fn the_committed_file_is_read() {
        let budget = Budget::load().unwrap();
        assert!(!budget.why.is_empty());
        assert!(budget.binaries.keys().all(|name| name.split_once('/').is_some()));
    }
}
