//! The graph beside upstream's, as upstream's own tool tells it at the pinned version.
//!
//! Owns: asking `featuretags` (`cargo xtask peers` installs it) and the list of differences. A feature that upstream
//! gains, loses or rewires is a difference until somebody has decided what it means here.

use super::Graph;
use anyhow::{Context, Result, ensure};
use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::process::Command;

/// Always in here, and upstream's only tag that puts something in.
const CLI: &str = "cli";

/// What upstream has.
#[derive(Debug, Default)]
pub(super) struct Upstream {
    /// Names of all its features.
    pub(super) names: BTreeSet<String>,
    /// What some of them bring along by the edges it declares, themselves included.
    pub(super) closures: BTreeMap<String, BTreeSet<String>>,
}

/// Where the tool is.
pub(super) fn tool() -> PathBuf {
    lab::peers_dir().join("featuretags")
}

impl Upstream {
    /// Asks the tool for its list, and for what each feature of ours brings along.
    ///
    /// # Errors
    /// When it cannot be run or says something else than expected.
    pub(super) fn ask(graph: &Graph) -> Result<Self> {
        let names: BTreeSet<_> = run(&["--list"])?
            .lines()
            .filter_map(|line| Some(line.split_once(": ")?.0.trim().to_owned()))
            .collect();
        ensure!(names.len() > 50, "featuretags lists only {} features", names.len());
        let mut closures = BTreeMap::new();
        for name in graph.features.keys().filter(|name| names.contains(*name)) {
            let omitted = run(&["--min", &format!("--add={name}")])?;
            let omitted: BTreeSet<_> =
                omitted.trim().split(',').filter_map(|tag| tag.strip_prefix("ts_omit_")).collect();
            let kept = names.iter().filter(|other| *other != CLI && !omitted.contains(other.as_str()));
            closures.insert(name.clone(), kept.cloned().collect());
        }
        Ok(Self { names, closures })
    }
}

fn run(words: &[&str]) -> Result<String> {
    let output = Command::new(tool()).args(words).output().context("starting featuretags")?;
    ensure!(output.status.success(), "featuretags: {}", String::from_utf8_lossy(&output.stderr).trim());
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// What differs, a sentence each.
pub(super) fn differences(graph: &Graph, upstream: &Upstream) -> Vec<String> {
    let mut found = Vec::new();
    for (name, feature) in &graph.features {
        match (feature.upstream, upstream.names.contains(name)) {
            (true, false) => found.push(format!("upstream has no feature {name} (any more)")),
            (false, true) => {
                found.push(format!("upstream has a feature {name} now: drop `upstream = false`"))
            }
            _ => {}
        }
        let Some(theirs) = upstream.closures.get(name) else { continue };
        let theirs: BTreeSet<_> = theirs.iter().map(String::as_str).collect();
        let declared = graph.requires(name, |feature, to| !feature.undeclared.contains(to));
        if declared != theirs {
            found.push(format!(
                "{name}: upstream declares that it brings {theirs:?}, here `needs` without `undeclared` brings \
                 {declared:?}"
            ));
        }
    }
    let known = |name: &&String| {
        graph.features.contains_key(*name) || graph.absent.contains_key(*name) || *name == CLI
    };
    for name in upstream.names.iter().filter(|name| !known(name)) {
        found.push(format!(
            "upstream has {name}: make it a feature or say in [package.metadata.absent] why not"
        ));
    }
    for name in graph.absent.keys().filter(|name| !upstream.names.contains(*name)) {
        found.push(format!("{name} stands in [package.metadata.absent], and upstream has it no more"));
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn graph() -> Graph {
        let json = json!({ "features": {}, "metadata": {
            "features": {
                "base": { "about": "x", "planned": true },
                "own": { "about": "x", "planned": true, "upstream": false },
                "top": { "about": "x", "planned": true, "undeclared": ["own"],
                         "needs": { "base": "why", "own": "why" } },
            },
            "profiles": { "router": [], "tiny": [], "full": [] },
            "absent": { "gone": "why" },
        } });
        Graph::parse(&json).unwrap()
    }

    fn upstream(names: &[&str], top: &[&str]) -> Vec<String> {
        let set = |list: &[&str]| list.iter().map(|name| (*name).to_owned()).collect::<BTreeSet<_>>();
        let closures = [("base", set(&["base"])), ("top", set(top))];
        let closures = closures.map(|(name, closure)| (name.to_owned(), closure)).into();
        differences(&graph(), &Upstream { names: set(names), closures })
    }

    #[test]
    fn what_upstream_gains_loses_and_rewires_is_found() {
        let names = ["base", "cli", "gone", "top"];
        assert_eq!(upstream(&names, &["base", "top"]), [""; 0]);
        assert!(upstream(&["base", "cli", "gone", "new", "top"], &["base", "top"])[0].contains("has new"));
        assert!(upstream(&["cli", "gone", "top"], &["base", "top"])[0].contains("no feature base"));
        assert!(upstream(&["base", "cli", "top"], &["base", "top"])[0].contains("gone stands in"));
        assert!(upstream(&names, &["top"])[0].contains("top: upstream declares"));
        assert!(upstream(&names, &["base", "own", "top"])[0].contains("top: upstream declares"));
        let more = ["base", "cli", "gone", "own", "top"];
        assert!(upstream(&more, &["base", "top"])[0].contains("drop `upstream = false`"));
    }

    #[test]
    fn upstreams_own_tool_agrees() {
        // Where it is missing, `cargo xtask test` says so.
        if tool().exists() {
            let graph = Graph::load().unwrap();
            assert_eq!(differences(&graph, &Upstream::ask(&graph).unwrap()), [""; 0]);
        }
    }
}
