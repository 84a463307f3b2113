//! `cargo xtask demo`: two nodes of ours and a control, relay and STUN server on this machine, as an ordinary user,
//! with nothing installed but Rust.
//!
//! Owns: the story that is told, a line for each step, and what is measured. Leaves out: the server (`testcontrol`)
//! and everything that the nodes do.

use crate::build;
use crate::metadata::cargo;
use anyhow::{Context, Result, bail, ensure};
use std::path::PathBuf;
use std::time::Instant;

/// Tells the story, with the quickly built binary or the release build.
pub(crate) fn run(release: bool) -> Result<()> {
    let mut story = Story { started: lab::now(), step: 0 };
    story.step("building the node");
    let faces = binary(release)?;
    let dir = tempfile::Builder::new().prefix("smalltail-demo").tempdir()?;
    build::install(&faces, dir.path())?;
    story.step("starting control, relay and STUN on loopback");
    bail!("the demo's server is not wired yet")
}

/// Builds the daemon for this machine and gives the binary.
fn binary(release: bool) -> Result<PathBuf> {
    let mut command = cargo();
    command.args(["build", "--quiet", "--package", "daemon"]);
    if release {
        command.arg("--release");
    }
    let status = command.status().context("starting cargo")?;
    ensure!(status.success(), "cargo ended with {status}");
    let profile = if release { "release" } else { "debug" };
    Ok(lab::target_dir().join(profile).join("tailscale-combined"))
}

/// Numbered progress lines with the time since the start.
struct Story {
    started: Instant,
    step: u32,
}

impl Story {
    fn step(&mut self, what: &str) {
        self.step += 1;
        println!("[{:>5.1} s] {}. {what}", self.started.elapsed().as_secs_f64(), self.step);
    }
}
