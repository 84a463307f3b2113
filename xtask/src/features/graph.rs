//! The graph of features as `crates/daemon/Cargo.toml` tells it, and what must hold of it.
//!
//! Cargo knows only what is written: `[features]` there has no planned ones, so that `cargo build --features dns` fails
//! by itself while `dns` is planned. `[package.metadata.features]` has all of them, with the reason of every edge.
//! Leaves out: what follows from the graph (`closure`), spellings (`names`).

use super::Profile;
use crate::metadata::cargo;
use anyhow::{Context, Result, bail, ensure};
use serde_json::{Map, Value};
use std::collections::{BTreeMap, BTreeSet};

/// One feature.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Feature {
    /// What it is good for, a phrase.
    pub(crate) about: String,
    /// Not written yet: cargo does not know it.
    pub(crate) planned: bool,
    /// Other names for it.
    pub(crate) aliases: Vec<String>,
    /// What it cannot do without, and why.
    pub(crate) needs: BTreeMap<String, String>,
    /// Those of `needs` that upstream does not declare.
    pub(crate) undeclared: BTreeSet<String>,
    /// Upstream has a tag of this name.
    pub(crate) upstream: bool,
}

/// All features, the profiles, and the rule of which one must be in.
#[derive(Debug, Clone, Default)]
pub(crate) struct Graph {
    /// Ours, written and planned.
    pub(crate) features: BTreeMap<String, Feature>,
    /// Profiles by name.
    pub(crate) profiles: BTreeMap<String, Vec<String>>,
    /// One of these must be in a build.
    pub(crate) one_of: Vec<String>,
    /// Upstream's that this product leaves out, and why.
    pub(crate) absent: BTreeMap<String, String>,
    /// What a plain cargo build has.
    pub(crate) default: BTreeSet<String>,
    /// What cargo itself knows: features and their edges to features.
    pub(crate) cargo: BTreeMap<String, BTreeSet<String>>,
    /// Optional dependencies that each feature of cargo's turns on.
    pub(crate) crates: BTreeMap<String, BTreeSet<String>>,
}

impl Graph {
    /// Asks cargo.
    ///
    /// # Errors
    /// When cargo cannot be asked, or the graph is wrong.
    pub(crate) fn load() -> Result<Self> {
        let output = cargo()
            .args(["metadata", "--no-deps", "--offline", "--format-version=1"])
            .output()
            .context("starting cargo metadata")?;
        ensure!(output.status.success(), "cargo metadata: {}", String::from_utf8_lossy(&output.stderr));
        let json: Value = serde_json::from_slice(&output.stdout).context("cargo metadata's JSON")?;
        let mut packages = json["packages"].as_array().into_iter().flatten();
        let daemon = packages.find(|package| package["name"] == "daemon");
        Self::parse(daemon.context("cargo metadata names no package daemon")?)
            .context("the features in crates/daemon/Cargo.toml")
    }

    /// Reads a package as cargo describes it.
    ///
    /// # Errors
    /// When the graph is wrong.
    pub(crate) fn parse(package: &Value) -> Result<Self> {
        let mut graph = Self::default();
        for (name, edges) in object(&package["features"]) {
            let (outward, edges): (Vec<_>, Vec<_>) =
                strings(edges).into_iter().partition(|edge| edge.contains([':', '/']));
            if name == "default" {
                graph.default = edges.into_iter().collect();
                continue;
            }
            let crates = outward.iter().filter_map(|edge| edge.strip_prefix("dep:")).map(str::to_owned);
            graph.crates.insert(name.clone(), crates.collect());
            graph.cargo.insert(name.clone(), edges.into_iter().collect());
        }
        let metadata = &package["metadata"];
        for (name, value) in object(&metadata["features"]) {
            let feature = Feature {
                about: text(&value["about"]),
                planned: value["planned"] == true,
                aliases: strings(&value["aliases"]),
                needs: object(&value["needs"]).map(|(to, why)| (to.clone(), text(why))).collect(),
                undeclared: strings(&value["undeclared"]).into_iter().collect(),
                upstream: value["upstream"] != false,
            };
            graph.features.insert(name.clone(), feature);
        }
        for (name, list) in object(&metadata["profiles"]) {
            graph.profiles.insert(name.clone(), strings(list));
        }
        graph.one_of = strings(&metadata["one-of"]);
        graph.absent = object(&metadata["absent"]).map(|(name, why)| (name.clone(), text(why))).collect();
        graph.check()?;
        Ok(graph)
    }

    /// Whether the feature is not written yet.
    pub(crate) fn is_planned(&self, name: &str) -> bool {
        self.features.get(name).is_some_and(|feature| feature.planned)
    }

    /// Those that are written.
    pub(crate) fn written(&self) -> impl Iterator<Item = &str> {
        self.features.iter().filter(|(_, feature)| !feature.planned).map(|(name, _)| name.as_str())
    }

    /// Everything that `name` needs, itself included, by the edges that `follow` takes.
    pub(crate) fn requires<'a>(
        &'a self,
        name: &'a str,
        follow: impl Fn(&Feature, &str) -> bool,
    ) -> BTreeSet<&'a str> {
        let mut known = BTreeSet::new();
        let mut open = vec![name];
        while let Some(name) = open.pop() {
            if known.insert(name)
                && let Some(feature) = self.features.get(name)
            {
                open.extend(feature.needs.keys().map(String::as_str).filter(|to| follow(feature, to)));
            }
        }
        known
    }

    fn check(&self) -> Result<()> {
        for (name, feature) in &self.features {
            ensure!(!feature.about.is_empty(), "{name} has no `about`");
            for (to, why) in &feature.needs {
                ensure!(self.features.contains_key(to), "{name} needs {to}, which is no feature");
                ensure!(!why.is_empty(), "{name} needs {to} without a reason");
            }
            let strange = feature.undeclared.iter().find(|to| !feature.needs.contains_key(*to));
            ensure!(strange.is_none(), "{name} does not need what it calls undeclared: {strange:?}");
            self.check_cargo(name, feature)?;
        }
        let unknown = self.cargo.keys().find(|name| !self.features.contains_key(*name));
        ensure!(unknown.is_none(), "[features] has {unknown:?}, [package.metadata.features] has not");
        let strange = self.default.iter().find(|name| !self.cargo.contains_key(*name));
        ensure!(strange.is_none(), "`default` has {strange:?}, which cargo does not know");
        for profile in Profile::ALL {
            let Some(list) = self.profiles.get(profile.name()) else {
                bail!("no profile {} in [package.metadata.profiles]", profile.name())
            };
            for name in list {
                ensure!(
                    self.features.contains_key(name),
                    "profile {} has {name}, which is no feature",
                    profile.name()
                );
                // What comes in by an edge is not listed silently: a profile says all of it.
                let forgotten =
                    self.requires(name, |_, _| true).into_iter().find(|need| !list.iter().any(|l| l == need));
                ensure!(
                    forgotten.is_none(),
                    "profile {} has {name} but not {forgotten:?}, which it needs",
                    profile.name()
                );
            }
        }
        for name in &self.one_of {
            ensure!(self.features.contains_key(name), "one-of has {name}, which is no feature");
        }
        for (name, why) in &self.absent {
            ensure!(!self.features.contains_key(name), "{name} is a feature and absent");
            ensure!(!why.is_empty(), "{name} is absent without a reason");
        }
        self.check_acyclic()?;
        super::names::check(self)
    }

    /// Cargo has the written ones, with the edges among them.
    fn check_cargo(&self, name: &str, feature: &Feature) -> Result<()> {
        let Some(edges) = self.cargo.get(name) else {
            ensure!(feature.planned, "{name} is not planned, and [features] does not have it");
            return Ok(());
        };
        ensure!(!feature.planned, "{name} is planned, but [features] has it: which of both is it?");
        let expected: BTreeSet<_> = feature.needs.keys().filter(|to| !self.is_planned(to)).cloned().collect();
        ensure!(*edges == expected, "{name} needs {expected:?}, but [features] says {edges:?}");
        Ok(())
    }

    fn check_acyclic(&self) -> Result<()> {
        let mut finished = BTreeSet::new();
        for start in self.features.keys() {
            let mut path = vec![start.as_str()];
            self.walk(&mut path, &mut finished)?;
        }
        Ok(())
    }

    /// Goes to the end of every way from the last of `path`.
    fn walk<'a>(&'a self, path: &mut Vec<&'a str>, finished: &mut BTreeSet<&'a str>) -> Result<()> {
        let Some(here) = path.last().copied().filter(|here| !finished.contains(here)) else { return Ok(()) };
        for to in self.features.get(here).into_iter().flat_map(|feature| feature.needs.keys()) {
            if let Some(at) = path.iter().position(|before| before == to) {
                let round = path.get(at..).unwrap_or_default().join(" needs ");
                bail!("the features go round in a circle: {round} needs {to}");
            }
            path.push(to);
            self.walk(path, finished)?;
            path.pop();
        }
        finished.insert(here);
        Ok(())
    }
}

fn object(value: &Value) -> impl Iterator<Item = (&String, &Value)> {
    value.as_object().into_iter().flat_map(Map::iter)
}

fn strings(value: &Value) -> Vec<String> {
    value.as_array().into_iter().flatten().filter_map(|item| item.as_str().map(str::to_owned)).collect()
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}
