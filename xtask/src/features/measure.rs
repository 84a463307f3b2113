//! What each feature adds to the binary, measured on arm/v7: written by `cargo xtask features --measure`, compared by
//! the nightly run.

use super::{Closure, Graph, Request};
use crate::build::{self, Spec};
use crate::target::Target;
use anyhow::{Context, Result, ensure};
use std::collections::BTreeMap;
use std::path::PathBuf;

/// What is measured beside another feature, because without it a node carries nothing.
const BASE: &str = "osrouter";

/// A measurement may differ so much from what is recorded: alignment alone makes pages.
const SLACK: i64 = 8 << 10;

fn path() -> PathBuf {
    lab::workspace_root().join("docs").join("features.json")
}

/// Bytes by feature, as they were measured last. Features that were never measured are not in it.
///
/// # Errors
/// When the file cannot be read.
pub(super) fn recorded() -> Result<BTreeMap<String, i64>> {
    let text = std::fs::read_to_string(path()).with_context(|| path().display().to_string())?;
    serde_json::from_str(&text).with_context(|| path().display().to_string())
}

/// Builds a binary for each written feature.
///
/// # Errors
/// When one cannot be built.
pub(super) fn measured(graph: &Graph) -> Result<BTreeMap<String, i64>> {
    let nothing = bytes(&Closure::default())?;
    let base = bytes(&with(graph, &[BASE])?)?;
    let mut all = BTreeMap::from([(BASE.to_owned(), base - nothing)]);
    for name in graph.written().filter(|name| *name != BASE) {
        all.insert(name.to_owned(), bytes(&with(graph, &[BASE, name])?)? - base);
    }
    Ok(all)
}

fn with(graph: &Graph, names: &[&str]) -> Result<Closure> {
    graph.close(&Request {
        names: names.iter().map(|name| (*name).to_owned()).collect(),
        ..Request::default()
    })
}

/// What is measured of a choice. All are optimised in the same way, as what ships with `allroots`: a set without it ships
/// smaller, and the difference would be charged to that feature.
fn spec(closure: &Closure) -> Spec<'_> {
    Spec { target: Target::ArmV7, features: closure, small: false }
}

fn bytes(closure: &Closure) -> Result<i64> {
    let binary = build::binary(&spec(closure))?;
    Ok(i64::try_from(std::fs::metadata(&binary.raw)?.len())?)
}

/// Measures and writes down.
///
/// # Errors
/// When something cannot be built or written.
pub(super) fn write(graph: &Graph) -> Result<()> {
    keep(&measured(graph)?)
}

fn keep(bytes: &BTreeMap<String, i64>) -> Result<()> {
    let text = serde_json::to_string_pretty(bytes)?;
    std::fs::write(path(), text + "\n").with_context(|| path().display().to_string())
}

/// Measures and compares with what is written down. What was never measured is written down, to be committed.
///
/// # Errors
/// What differs, and how to put it right.
pub(crate) fn check() -> Result<()> {
    let graph = Graph::load()?;
    let (mut recorded, measured) = (recorded()?, measured(&graph)?);
    let differing = differing(&recorded, &measured);
    let before = recorded.len();
    for (name, bytes) in measured {
        println!("{name} adds {bytes} bytes on {}", Target::ArmV7.short());
        recorded.entry(name).or_insert(bytes);
    }
    if recorded.len() > before {
        keep(&recorded)?;
        super::docs::write(&graph)?;
        println!("docs/features.json and docs/features.md have what was not measured before: commit them");
    }
    let advice = "run `cargo xtask features --measure --docs` and commit both files";
    ensure!(differing.is_empty(), "{}\n{advice}", differing.join("\n"));
    Ok(())
}

/// A sentence for each feature that has become another size.
fn differing(recorded: &BTreeMap<String, i64>, measured: &BTreeMap<String, i64>) -> Vec<String> {
    let both = recorded.iter().filter_map(|(name, before)| Some((name, *before, *measured.get(name)?)));
    both.filter(|(_, before, now)| (before - now).abs() > SLACK)
        .map(|(name, before, now)| {
            format!("{name} adds {now} bytes on arm/v7, docs/features.json says {before}")
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_feature_is_charged_with_another_optimisation() {
        let graph = Graph::load().unwrap();
        let words = |names: &[&str]| spec(&with(&graph, names).unwrap()).optimisation();
        let base = words(&[BASE]);
        for name in graph.written() {
            assert_eq!(words(&[BASE, name]), base, "{name}");
        }
        assert_eq!(spec(&Closure::default()).optimisation(), base);
    }

    #[test]
    fn another_size_is_found_and_alignment_is_not() {
        let sizes =
            |list: &[(&str, i64)]| list.iter().map(|(name, size)| ((*name).to_owned(), *size)).collect();
        let recorded = sizes(&[("dns", 100_000), ("gro", 5000), ("old", 1)]);
        let measured = sizes(&[("dns", 120_000), ("gro", 6000), ("new", 9)]);
        let [sentence] = differing(&recorded, &measured).try_into().unwrap();
        assert_eq!(sentence, "dns adds 120000 bytes on arm/v7, docs/features.json says 100000");
    }
}
