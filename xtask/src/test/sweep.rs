//! What a night compiles and nobody waits for: the images of the other profiles for every target, and a binary for each
//! feature. It runs beside the scenarios that only wait, and below their priority.

use super::{Run, SOAK_NICE};
use crate::build::pack;
use crate::image;
use crate::libtest::{self, Beside};
use anyhow::{Context, Result};
use std::process::Command;

/// The file of scenarios that read every image there is.
pub(super) const SCENARIOS: &str = "image";

/// What was started.
pub(super) struct Sweep(Vec<(&'static str, Beside)>);

impl Run<'_> {
    /// Starts it.
    pub(super) fn sweep(&self) -> Result<Sweep> {
        let program = std::env::current_exe().context("this program")?;
        let dist = image::tests_dist().display().to_string();
        let start = |name: &'static str, words: &[&str]| {
            let mut command = Command::new("nice");
            command.args(["-n", SOAK_NICE]).arg(&program).args(words);
            command.current_dir(lab::workspace_root());
            let output = lab::target_dir().join("smalltail").join(format!("night-{name}.txt"));
            Beside::start(command, output).map(|started| (name, started))
        };
        let mut started = vec![start("features", &["features", "--measure", "--check"])?];
        // What is missing was said when the router's images were to be made.
        if pack::needed().is_ok() {
            started.push(start("images", &["image", "--all", "--profiles", "tiny,full", "--dist", &dist])?);
        }
        Ok(Sweep(started))
    }

    /// Waits for its end, and looks at the images.
    pub(super) fn swept(&mut self, sweep: Sweep) -> Result<()> {
        for (name, started) in sweep.0 {
            started.finish_whole(&format!("{name} of the night"), &mut self.tally)?;
        }
        let command = self.tests(&["test", "--package", "blackbox", "--test", SCENARIOS]);
        libtest::run(self.one_at_a_time(command), "black box: image", &mut self.tally)
    }
}
