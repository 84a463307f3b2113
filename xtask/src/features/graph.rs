//! The graph of features as `crates/daemon/Cargo.toml` tells it, and its closures.
//!
//! Cargo knows only what is written: `[features]` there has no planned ones, so that `cargo build --features dns` fails
//! by itself while `dns` is planned. `[package.metadata.features]` has all of them, with the reason of every edge.

use super::closure::{Closure, Reason};
use super::{Profile, Request};
use crate::metadata::cargo;
use anyhow::{Context, Result, bail, ensure};
use serde_json::{Map, Value};
use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// One feature.
#[derive(Debug, Clone, Default)]
pub(crate) struct Feature {
    /// What it is good for, a phrase.
    pub(crate) about: String,
    /// Not written yet: cargo does not know it.
    pub(crate) planned: bool,
    /// Other names for it.
    pub(crate) aliases: Vec<String>,
    /// What it cannot do without, and why.
    pub(crate) needs: BTreeMap<String, String>,
    /// Those of `needs` that upstream has without declaring them, or does not have.
    pub(crate) undeclared: BTreeSet<String>,
    /// Upstream has a tag of this name.
    pub(crate) upstream: bool,
}

/// All features, the profiles, and the rule of which one must be in.
#[derive(Debug, Clone, Default)]
pub(crate) struct Graph {
    pub(crate) features: BTreeMap<String, Feature>,
    /// Profiles by name.
    pub(crate) profiles: BTreeMap<String, Vec<String>>,
    /// One of these must be in a build.
    pub(crate) one_of: Vec<String>,
    /// What cargo itself knows: features and their edges to features.
    pub(crate) cargo: BTreeMap<String, BTreeSet<String>>,
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
        let packages = json["packages"].as_array().into_iter().flatten();
        let daemon = packages.into_iter().find(|package| package["name"] == "daemon");
        Self::parse(daemon.context("cargo metadata names no package daemon")?)
            .context("crates/daemon/Cargo.toml")
    }

    /// Reads a package as cargo describes it.
    ///
    /// # Errors
    /// When the graph is wrong: see [`Graph::check`].
    pub(crate) fn parse(package: &Value) -> Result<Self> {
        let mut graph = Self::default();
        for (name, edges) in object(&package["features"]) {
            let edges = strings(edges).into_iter().filter(|edge| !edge.contains([':', '/']));
            graph.cargo.insert(name.clone(), edges.collect());
        }
        let metadata = &package["metadata"];
        for (name, value) in object(&metadata["features"]) {
            let needs = object(&value["needs"]);
            let feature = Feature {
                about: value["about"].as_str().unwrap_or_default().to_owned(),
                planned: value["planned"] == true,
                aliases: strings(&value["aliases"]),
                needs: needs
                    .map(|(to, why)| (to.clone(), why.as_str().unwrap_or_default().to_owned()))
                    .collect(),
                undeclared: strings(&value["undeclared"]).into_iter().collect(),
                upstream: value["upstream"] != false,
            };
            graph.features.insert(name.clone(), feature);
        }
        for (name, list) in object(&metadata["profiles"]) {
            graph.profiles.insert(name.clone(), strings(list));
        }
        graph.one_of = strings(&metadata["one-of"]);
        graph.check()?;
        Ok(graph)
    }

    /// Everything that `request` brings along. What a build would refuse is in [`Closure::refusals`].
    ///
    /// # Errors
    /// An unknown name, and one removed that another needs.
    pub(crate) fn close(&self, request: &Request) -> Result<Closure> {
        let mut closure = Closure::default();
        let mut open: VecDeque<(String, Option<String>, String)> = VecDeque::new();
        let removed = request.remove.iter().map(|name| self.named(name)).collect::<Result<BTreeSet<_>>>()?;
        for name in &request.names {
            let feature = self.named(name)?;
            ensure!(!removed.contains(feature), "{feature} is asked for and removed: say one of both");
            let why = if feature == name { "asked for".to_owned() } else { format!("asked for as {name}") };
            open.push_back((feature.to_owned(), None, why));
            if self.features.get(feature).is_some_and(|feature| feature.planned) {
                closure.refusals.push(format!(
                    "{feature} is planned and not written yet; leave it out (cargo xtask features lists what there is)"
                ));
            }
        }
        let whole = request.names.is_empty().then_some(Profile::Router);
        if let Some(profile) = request.profile.or(whole) {
            for name in self.profiles.get(profile.name()).into_iter().flatten() {
                if !removed.contains(name.as_str()) {
                    open.push_back((name.clone(), None, format!("in profile {}", profile.name())));
                }
            }
        }
        let mut known = BTreeSet::new();
        while let Some((name, needed_by, why)) = open.pop_front() {
            if known.insert(name.clone()) {
                let needs = self.features.get(&name).into_iter().flat_map(|feature| &feature.needs);
                open.extend(needs.map(|(to, why)| (to.clone(), Some(name.clone()), why.clone())));
            }
            closure.reasons.push(Reason { feature: name, needed_by, why });
        }
        self.refuse_removal(&removed, &known)?;
        for name in &known {
            let planned = self.features.get(name).is_some_and(|feature| feature.planned);
            if planned { &mut closure.missing } else { &mut closure.built }.push(name.clone());
        }
        if !self.one_of.is_empty() && !self.one_of.iter().any(|one| closure.built.contains(one)) {
            let written =
                self.one_of.iter().filter(|one| !self.features.get(*one).is_some_and(|f| f.planned));
            let written: Vec<_> = written.map(String::as_str).collect();
            closure.refusals.push(format!(
                "nothing in this choice carries packets: it needs {}; add {}",
                self.one_of.join(" or "),
                written.join(" or ")
            ));
        }
        Ok(closure)
    }

    /// The feature of this name.
    ///
    /// # Errors
    /// When there is none.
    pub(crate) fn named(&self, name: &str) -> Result<&str> {
        match self.features.get_key_value(name) {
            Some((name, _)) => Ok(name),
            None => bail!("no feature {name:?}"),
        }
    }

    fn refuse_removal(&self, _removed: &BTreeSet<&str>, _known: &BTreeSet<String>) -> Result<()> {
        Ok(())
    }

    fn check(&self) -> Result<()> {
        Ok(())
    }
}

fn object(value: &Value) -> impl Iterator<Item = (&String, &Value)> {
    value.as_object().into_iter().flat_map(Map::iter)
}

fn strings(value: &Value) -> Vec<String> {
    value.as_array().into_iter().flatten().filter_map(|item| item.as_str().map(str::to_owned)).collect()
}
