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

fn bytes(closure: &Closure) -> Result<i64> {
    let binary = build::binary(&Spec { target: Target::ArmV7, features: closure })?;
    Ok(i64::try_from(std::fs::metadata(&binary.raw)?.len())?)
}

/// Measures and writes down.
///
/// # Errors
/// When something cannot be built or written.
pub(super) fn write(graph: &Graph) -> Result<()> {
    let text = serde_json::to_string_pretty(&measured(graph)?)?;
    std::fs::write(path(), text + "\n").with_context(|| path().display().to_string())
}

/// Measures and compares with what is written down.
///
/// # Errors
/// What differs, and how to put it right.
pub(crate) fn check() -> Result<()> {
    let graph = Graph::load()?;
    let (recorded, measured) = (recorded()?, measured(&graph)?);
    let differing = measured.iter().filter(|(name, bytes)| {
        recorded.get(*name).is_none_or(|recorded| (recorded - **bytes).abs() > SLACK)
    });
    let differing: Vec<_> = differing
        .map(|(name, bytes)| match recorded.get(name) {
            Some(recorded) => {
                format!("{name} adds {bytes} bytes on arm/v7, docs/features.json says {recorded}")
            }
            None => format!("{name} adds {bytes} bytes on arm/v7, docs/features.json does not have it"),
        })
        .collect();
    ensure!(
        differing.is_empty(),
        "{}\nrun `cargo xtask features --measure --docs` and commit both files",
        differing.join("\n")
    );
    Ok(())
}
