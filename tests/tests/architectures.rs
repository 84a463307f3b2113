//! What ships for other machines runs: each binary, raw and packed, is started under qemu's user emulation with the oldest
//! processor that it is made for, joins the test server and shows its peers.
//!
//! An ordinary run does so for ARMv5, a nightly one for every target. qemu has no TUN for its guests, so the nodes carry
//! no packets of the system; and it is lenient about page sizes, which `xtask/src/build/elf.rs` is not.

use anyhow::{Context, Result, ensure};
use blackbox::{Local, Program, count, number, skip};
use std::ffi::OsString;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;
use testcontrol::{Options, Server};

/// A target by the name of its folder, and what runs its programs here.
struct Machine {
    name: &'static str,
    emulator: &'static [&'static str],
}

const ARMV5: Machine = Machine { name: "armv5", emulator: &["qemu-arm-static", "-cpu", "arm926"] };
const ARMV7: Machine = Machine { name: "armv7", emulator: &["qemu-arm-static", "-cpu", "cortex-a7"] };
const ARM64: Machine = Machine { name: "arm64", emulator: &["qemu-aarch64-static", "-cpu", "cortex-a53"] };

impl Machine {
    /// Where `cargo xtask build` leaves the binaries that do not run here.
    fn binary(&self, form: &str) -> PathBuf {
        lab::target_dir().join("smalltail").join(self.name).join(form)
    }

    /// The emulator tells the program its name, by which it chooses its face.
    fn program(&self, form: &str) -> Program {
        let words = |face: &str| -> Vec<OsString> {
            let emulator = self.emulator.iter().map(OsString::from);
            emulator.chain(["-0".into(), face.into(), self.binary(form).into()]).collect()
        };
        Program { daemon: words("tailscaled"), cli: words("tailscale") }
    }

    /// Why this machine cannot be tried here.
    fn missing(&self) -> Option<String> {
        let emulator = self.emulator.first()?;
        if Command::new(emulator).arg("--version").output().is_err() {
            return Some(format!("no {emulator} (package qemu-user-static)"));
        }
        let absent = ["raw", "packed"].into_iter().find(|form| !self.binary(form).exists())?;
        Some(format!("no {absent} binary for {0}: `cargo xtask build --target {0}` makes it", self.name))
    }
}

#[test]
fn binaries_for_other_machines_join_and_show_their_peers() {
    let machines = [ARMV5, ARMV7, ARM64];
    for machine in machines.iter().take(count(1, 3) as usize) {
        match machine.missing() {
            Some(reason) => skip(&reason),
            None => joins(machine).with_context(|| machine.name.to_owned()).expect("it joins"),
        }
    }
}

fn joins(machine: &Machine) -> Result<()> {
    let server = Server::start(Options::default())?;
    let mut nodes = Vec::new();
    for form in ["raw", "packed"] {
        let started = lab::now();
        let node = Local::start_program(machine.program(form), tempfile::tempdir()?, &[])?;
        number(
            &format!("{} {form}, emulated: exec to socket", machine.name),
            format!("{:?}", started.elapsed()),
        );
        let (url, name) = (format!("--login-server={}", server.url()), format!("--hostname={form}"));
        node.said(&["up", &url, "--auth-key=tskey-auth-test", &name, "--timeout=60s"])?;
        nodes.push(node);
    }
    for (node, peer) in nodes.iter().zip(["packed", "raw"]) {
        let mut said = String::new();
        let shown = lab::until("the peer in `status`", Duration::from_secs(30), || {
            said = node.said(&["status"])?;
            Ok(said.lines().any(|line| line.split_whitespace().nth(1) == Some(peer)).then_some(()))
        });
        shown.with_context(|| said)?;
    }
    ensure!(server.nodes().len() == 2, "{:?}", server.nodes());
    Ok(())
}
