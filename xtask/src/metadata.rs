//! Cargo as a tool: its command, and the questions that `cargo metadata` answers.

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;

/// The cargo that runs this program, in the workspace root. It builds where [`lab::target_dir`] says, also where the
/// user's configuration names another folder.
pub(crate) fn cargo() -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.current_dir(lab::workspace_root()).env("CARGO_TARGET_DIR", lab::target_dir());
    command
}

/// One package of the dependency graph.
#[derive(Debug)]
pub(crate) struct Package {
    pub(crate) name: String,
    pub(crate) version: String,
    /// SPDX expression.
    pub(crate) licence: Option<String>,
    /// Whether it is a member of this workspace.
    pub(crate) ours: bool,
    /// Ids of what it needs to run, not to test or to build.
    needs: Vec<String>,
}

/// The graph as it is built for Linux.
#[derive(Debug)]
pub(crate) struct Metadata {
    packages: BTreeMap<String, Package>,
}

impl Metadata {
    /// Asks cargo.
    pub(crate) fn load() -> Result<Self> {
        let output = cargo()
            .args(["metadata", "--format-version=1", "--filter-platform=x86_64-unknown-linux-gnu"])
            .output()
            .context("starting cargo metadata")?;
        ensure!(output.status.success(), "cargo metadata: {}", String::from_utf8_lossy(&output.stderr));
        Self::parse(&serde_json::from_slice(&output.stdout).context("cargo metadata's JSON")?)
    }

    fn parse(json: &Value) -> Result<Self> {
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let list = |value: &Value| value.as_array().cloned().unwrap_or_default();
        let members: BTreeSet<_> = list(&json["workspace_members"]).iter().map(text).collect();
        let mut packages = BTreeMap::new();
        for package in list(&json["packages"]) {
            let id = text(&package["id"]);
            let ours = members.contains(&id);
            let found = Package {
                name: text(&package["name"]),
                version: text(&package["version"]),
                licence: package["license"].as_str().map(str::to_owned),
                ours,
                needs: Vec::new(),
            };
            packages.insert(id, found);
        }
        let mut used = BTreeSet::new();
        for node in list(&json["resolve"]["nodes"]) {
            let id = text(&node["id"]);
            let needs = list(&node["deps"]).into_iter().filter(|dep| {
                dep["dep_kinds"]
                    .as_array()
                    .is_some_and(|kinds| kinds.iter().any(|kind| kind["kind"].is_null()))
            });
            let needs: Vec<_> = needs.map(|dep| text(&dep["pkg"])).collect();
            if let Some(package) = packages.get_mut(&id) {
                package.needs = needs;
            }
            used.insert(id);
        }
        packages.retain(|id, _| used.contains(id));
        ensure!(!packages.is_empty(), "cargo metadata names no packages");
        Ok(Self { packages })
    }

    /// Every package of the graph.
    pub(crate) fn packages(&self) -> impl Iterator<Item = &Package> {
        self.packages.values()
    }

    /// Names of everything that runs inside the workspace member `name`, itself included.
    pub(crate) fn closure(&self, name: &str) -> BTreeSet<&str> {
        let mut names = BTreeSet::new();
        let mut seen = BTreeSet::new();
        let mut open: Vec<_> = self.packages.iter().filter(|(_, p)| p.ours && p.name == name).collect();
        while let Some((id, package)) = open.pop() {
            if seen.insert(id) {
                names.insert(package.name.as_str());
                open.extend(package.needs.iter().filter_map(|id| self.packages.get_key_value(id)));
            }
        }
        names
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cargo_builds_where_we_look() {
        let command = cargo();
        let dir = command.get_envs().find(|(name, _)| *name == "CARGO_TARGET_DIR").and_then(|(_, dir)| dir);
        assert_eq!(dir, Some(lab::target_dir().as_os_str()));
    }

    #[test]
    fn closure_follows_what_runs_and_not_what_tests() {
        let json = serde_json::json!({
            "workspace_members": ["a", "daemon"],
            "packages": [
                {"id": "a", "name": "a", "version": "1"},
                {"id": "daemon", "name": "daemon", "version": "1"},
                {"id": "b", "name": "b", "version": "1", "license": "MIT"},
                {"id": "t", "name": "t", "version": "1", "license": "MIT"},
                {"id": "unused", "name": "unused", "version": "1"},
            ],
            "resolve": {"nodes": [
                {"id": "a", "deps": [
                    {"pkg": "b", "dep_kinds": [{"kind": null}]},
                    {"pkg": "t", "dep_kinds": [{"kind": "dev"}]},
                ]},
                {"id": "b", "deps": []}, {"id": "t", "deps": []}, {"id": "daemon", "deps": []},
            ]},
        });
        let metadata = Metadata::parse(&json).unwrap();
        assert_eq!(metadata.closure("a").into_iter().collect::<Vec<_>>(), ["a", "b"]);
        assert_eq!(metadata.packages().count(), 4);
    }
}
