//! The crates that are linked into the node, and the licence files they bring.

use crate::features::Closure;
use crate::metadata::cargo;
use crate::target::Target;
use anyhow::{Context, Result, ensure};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::{Display, Formatter};
use std::path::{Path, PathBuf};

/// How files with licences begin, in capitals.
const NAMES: [&str; 4] = ["LICENSE", "LICENCE", "COPYING", "COPYRIGHT"];

/// The file that the Apache licence wants passed on where it is there.
const NOTICE: &str = "NOTICE";

/// A crate of somebody else's.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Crate {
    pub(super) name: String,
    pub(super) version: String,
    /// SPDX expression.
    pub(super) licence: String,
    /// Where its source is.
    dir: PathBuf,
}

impl Display for Crate {
    fn fmt(&self, f: &mut Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {}", self.name, self.version)
    }
}

impl Crate {
    /// What is in its licence files, by their names.
    pub(super) fn texts(&self) -> Result<Vec<String>> {
        self.files(&NAMES)
    }

    /// What the Apache licence wants passed on besides its text.
    pub(super) fn notice(&self) -> Result<Option<String>> {
        Ok(self.files(&[NOTICE])?.into_iter().next())
    }

    fn files(&self, names: &[&str]) -> Result<Vec<String>> {
        let entries = std::fs::read_dir(&self.dir).with_context(|| self.dir.display().to_string())?;
        let mut paths = BTreeSet::new();
        for entry in entries {
            let entry = entry?;
            let name = entry.file_name().to_string_lossy().to_uppercase();
            if names.iter().any(|begin| name.starts_with(begin)) && entry.path().is_file() {
                paths.insert(entry.path());
            }
        }
        paths
            .iter()
            .map(|path| std::fs::read_to_string(path).with_context(|| path.display().to_string()))
            .collect()
    }
}

/// Everything that is linked for any of the four targets, sorted. One list for all four: the differences are a crate or
/// two.
///
/// # Errors
/// When cargo cannot tell.
pub(super) fn linked(features: &Closure) -> Result<Vec<Crate>> {
    let mut tree = cargo();
    tree.args([
        "tree",
        "--locked",
        "--package",
        "daemon",
        "--edges",
        "normal,no-proc-macro",
        "--prefix",
        "none",
    ]);
    tree.args(["--no-dedupe", "--format", "{p}"]).args(features.cargo_words());
    for target in Target::ALL {
        tree.args(["--target", target.triple()]);
    }
    let output = tree.output().context("starting cargo tree")?;
    ensure!(output.status.success(), "cargo tree: {}", String::from_utf8_lossy(&output.stderr).trim());
    let named = named(&String::from_utf8_lossy(&output.stdout));
    ensure!(!named.is_empty(), "cargo tree names no crate");

    let known = available()?;
    let found = named
        .into_iter()
        .map(|id| known.get(&id).cloned().with_context(|| format!("{id:?} is not in cargo metadata")));
    found.collect()
}

/// Every package that is built for one of the four targets. To list all others, too, cargo would fetch what no build
/// here needs.
fn available() -> Result<BTreeMap<(String, String), Crate>> {
    let mut metadata = cargo();
    metadata.args(["metadata", "--locked", "--format-version=1"]);
    for target in Target::ALL {
        metadata.args(["--filter-platform", target.triple()]);
    }
    let output = metadata.output().context("starting cargo metadata")?;
    ensure!(output.status.success(), "cargo metadata: {}", String::from_utf8_lossy(&output.stderr).trim());
    Ok(known(&serde_json::from_slice(&output.stdout).context("cargo metadata's JSON")?))
}

/// Names and versions from the tree; ours, which have a path behind them, are left out.
fn named(tree: &str) -> BTreeSet<(String, String)> {
    let others = tree.lines().filter_map(|line| {
        let mut words = line.split_whitespace();
        let (name, version) = (words.next()?, words.next()?.strip_prefix('v')?);
        words.next().is_none().then(|| (name.to_owned(), version.to_owned()))
    });
    others.collect()
}

/// Every package that has a licence named, by name and version.
fn known(metadata: &Value) -> BTreeMap<(String, String), Crate> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let packages = metadata["packages"].as_array().into_iter().flatten().map(|package| {
        let manifest = text(&package["manifest_path"]);
        let found = Crate {
            name: text(&package["name"]),
            version: text(&package["version"]),
            licence: text(&package["license"]),
            dir: Path::new(&manifest).parent().map(Path::to_owned).unwrap_or_default(),
        };
        ((found.name.clone(), found.version.clone()), found)
    });
    packages.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tree_is_read_without_our_own() {
        let tree =
            "daemon v0.1.0 (/some/where/crates/daemon)\ntokio v1.54.1\nbytes v1.12.1\ntokio v1.54.1\n\n";
        let names: Vec<_> =
            named(tree).into_iter().map(|(name, version)| format!("{name} {version}")).collect();
        assert_eq!(names, ["bytes 1.12.1", "tokio 1.54.1"]);
    }

    #[test]
    fn sources_for_other_systems_are_not_asked_for() {
        let available = available().unwrap();
        let names: BTreeSet<_> = available.keys().map(|(name, _)| name.as_str()).collect();
        assert!(names.contains("tokio") && names.contains("rustix"), "{names:?}");
        assert!(!names.iter().any(|name| name.starts_with("windows")), "{names:?}");
    }

    #[test]
    fn licence_files_are_found_by_their_names() {
        let dir = tempfile::tempdir().unwrap();
        for (name, text) in
            [("LICENSE-MIT", "2"), ("COPYING", "1"), ("license.txt", "3"), ("README.md", "no")]
        {
            std::fs::write(dir.path().join(name), text).unwrap();
        }
        std::fs::create_dir(dir.path().join("LICENSES")).unwrap();
        let manifest = dir.path().join("Cargo.toml").display().to_string();
        let json = serde_json::json!({"packages": [
            {"name": "a", "version": "1", "license": "MIT", "manifest_path": manifest}
        ]});
        let known = known(&json);
        let one = known.get(&("a".to_owned(), "1".to_owned())).unwrap();
        assert_eq!((one.to_string().as_str(), one.licence.as_str()), ("a 1", "MIT"));
        assert_eq!(one.texts().unwrap(), ["1", "2", "3"]);
        assert_eq!(one.notice().unwrap(), None);
        std::fs::write(dir.path().join("NOTICE"), "thanks").unwrap();
        assert_eq!(one.notice().unwrap().as_deref(), Some("thanks"));
    }
}
