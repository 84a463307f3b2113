//! The ordinary scenarios: first those that measure, one after the other, then the rest, a few files at a time. By night some
//! of them once more, on kernels without nf_tables.
//!
//! A scenario mostly waits: for a timer, a handshake, a node to be missed; it has the processor for an eighth of its time. A few
//! of them share two cores without harm as long as none compares times or costs.

use super::{Run, cargo_with};
use crate::libtest::{self, Beside};
use crate::metadata::cargo;
use anyhow::{Context, Result, ensure};
use serde_json::Value;
use std::process::Command;
use std::sync::Mutex;
use std::sync::mpsc::sync_channel;

/// Files of which a few may run at a time, the longest first. What stands here does not compare costs, and what it wants by some
/// moment it has on a busy machine as well; a file that is not named runs alone.
const TOGETHER: &[&str] = &[
    "state",
    "container_login",
    "dns_machine",
    "exit_node",
    "paths",
    "faults",
    "subnet",
    "takeover",
    "own_packets",
    "command_line",
    "container",
    "attributes",
    "dns",
    "exit_choice",
    "netfilter",
    "filtering",
    "killed",
    "lab_itself",
    "peerapi",
    "tunnel",
    "dns_control",
    "meddling",
    "clock",
    "surroundings",
    "local_api",
    "routeros",
    "refusals",
    "config_file",
    "image",
    "architectures",
    "test_server",
];

/// How many files run at a time. By night the soaks are there as well, and what compiles.
const fn lanes(nightly: bool) -> usize {
    if nightly { 2 } else { 3 }
}

/// Files whose nodes have a kernel interface, what passes it, and the packet filter.
const WITHOUT_NF_TABLES: [&str; 23] = [
    "acl",
    "attributes",
    "cached_map",
    "container",
    "container_login",
    "direct",
    "dns",
    "dns_control",
    "dns_machine",
    "exit_choice",
    "exit_node",
    "failover",
    "lan_to_lan",
    "many_routes",
    "meddling",
    "netfilter",
    "paths",
    "peerapi",
    "roaming",
    "routeros",
    "subnet",
    "takeover",
    "tunnel",
];

impl Run<'_> {
    /// Those that run alone.
    pub(super) fn black_box(&mut self) -> Result<()> {
        // Once for all, so that no file waits for another's compiler.
        let built = cargo_with(&["test", "--quiet", "--package", "blackbox", "--no-run"]).status()?;
        ensure!(built.success(), "the scenarios do not compile");
        let alone = alone(&cargo_metadata()?)?;
        let mut command = self.tests(&["test", "--package", "blackbox", "--no-fail-fast", "--lib"]);
        command.args(alone.iter().flat_map(|name| ["--test", name]));
        libtest::run(self.one_at_a_time(command), "black box", &mut self.tally)
    }

    /// Those that have to do with routes and the packet filter, with nf_tables refused to every node of ours as RouterOS's
    /// kernel does. Their counts are those of the day.
    pub(super) fn like_routeros(&mut self) -> Result<()> {
        let mut command = self.tests(&["test", "--package", "blackbox", "--no-fail-fast"]);
        command.args(WITHOUT_NF_TABLES.iter().flat_map(|name| ["--test", name]));
        command.env("SMALLTAIL_REFUSED", "nf_tables").env_remove("SMALLTAIL_NIGHTLY");
        libtest::run(self.one_at_a_time(command), "black box without nf_tables", &mut self.tally)
    }

    /// Within a file scenarios never overlap.
    pub(super) fn one_at_a_time(&self, mut command: Command) -> Command {
        command.args(["--", "--test-threads=1"]).args(self.filter);
        command
    }

    /// The files of [`TOGETHER`] in a few lanes; what each says is printed whole when it ends.
    pub(super) fn beside_each_other(&mut self) -> Result<()> {
        let lanes = lanes(self.nightly);
        // By night those of images wait until every image is made.
        let later = (self.nightly && self.filter.is_none()).then_some(super::sweep::SCENARIOS);
        let now = TOGETHER.iter().filter(|name| Some(**name) != later);
        let commands = now.map(|name| {
            let command = self.tests(&["test", "--package", "blackbox", "--test", name]);
            (*name, self.one_at_a_time(command))
        });
        let queue = Mutex::new(commands.collect::<Vec<_>>().into_iter());
        let place = lab::target_dir().join("smalltail");
        std::thread::scope(|scope| {
            let (sender, ended) = sync_channel(lanes);
            for _ in 0..lanes {
                let (sender, queue, place) = (sender.clone(), &queue, &place);
                scope.spawn(move || {
                    while let Some((name, command)) = queue.lock().ok().and_then(|mut queue| queue.next()) {
                        let run = Beside::start(command, place.join(format!("scenarios-{name}.txt")));
                        if sender.send((name, run.and_then(Beside::ended))).is_err() {
                            return;
                        }
                    }
                });
            }
            drop(sender);
            for (name, run) in ended {
                let part = format!("black box: {name}");
                match run.and_then(|run| run.finish(&part, &mut self.tally)) {
                    Ok(()) => {}
                    Err(error) => self.tally.fail(format!("{part}: {error:#}")),
                }
            }
        });
        Ok(())
    }
}

fn cargo_metadata() -> Result<Value> {
    let output = cargo().args(["metadata", "--no-deps", "--format-version=1"]).output()?;
    ensure!(output.status.success(), "cargo metadata: {}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).context("cargo metadata's JSON")
}

/// The files that run alone: those of the package that need no feature and are not in [`TOGETHER`].
fn alone(metadata: &Value) -> Result<Vec<String>> {
    let packages = metadata["packages"].as_array().into_iter().flatten();
    let package = packages.into_iter().find(|package| package["name"] == "blackbox");
    let targets = package.and_then(|package| package["targets"].as_array()).context("no package blackbox")?;
    let ordinary: Vec<_> = targets
        .iter()
        .filter(|target| target["kind"][0] == "test" && target["required-features"].is_null())
        .filter_map(|target| target["name"].as_str())
        .collect();
    for name in TOGETHER {
        ensure!(ordinary.contains(name), "there is no scenario file {name}");
    }
    Ok(ordinary.into_iter().filter(|name| !TOGETHER.contains(name)).map(str::to_owned).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Files whose nodes have no kernel interface, or no traffic through it, or whose scenarios choose kernels themselves.
    const ANY_KERNEL: [&str; 22] = [
        "architectures",
        "clock",
        "command_line",
        "config_file",
        "faults",
        "filtering",
        "footprint",
        "hostile",
        "image",
        "join",
        "killed",
        "lab_itself",
        "local_api",
        "many_peers",
        "nat",
        "own_packets",
        "refusals",
        "speed",
        "state",
        "steady",
        "surroundings",
        "test_server",
    ];

    #[test]
    fn a_file_is_run_without_nf_tables_or_named_as_one_that_need_not() {
        let ordinary = alone(&cargo_metadata().unwrap()).unwrap();
        for name in ordinary.iter().map(String::as_str).chain(TOGETHER.iter().copied()) {
            let named = [&WITHOUT_NF_TABLES[..], &ANY_KERNEL].map(|list| list.contains(&name));
            assert_eq!(named.iter().filter(|named| **named).count(), 1, "{name}");
        }
    }

    #[test]
    fn every_ordinary_file_runs_once() {
        let alone = alone(&cargo_metadata().unwrap()).unwrap();
        let files = std::fs::read_dir(lab::workspace_root().join("tests/tests")).unwrap();
        for file in files {
            let name = file.unwrap().path().file_stem().unwrap().to_string_lossy().into_owned();
            let by_night = ["boot", "names_load", "nightly", "previous"].contains(&name.as_str());
            let runs = [alone.contains(&name), TOGETHER.contains(&name.as_str())];
            assert_eq!(runs.iter().filter(|runs| **runs).count(), usize::from(!by_night), "{name}");
        }
    }
}
