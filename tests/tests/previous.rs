//! What an update of the image does to the state: a folder goes from the previous commit's program to this one's and back
//! (somebody takes an update back), and stays one node all the time. `cargo xtask test --nightly` builds the former.

use anyhow::{Context, Result, ensure};
use blackbox::{Local, Program, skip};
use lab::Flavour;
use std::path::{Path, PathBuf};
use std::time::Duration;
use testcontrol::{Options, Server};

#[test]
fn a_state_directory_goes_to_the_previous_commit_and_back() {
    let Some(previous) = std::env::var_os("SMALLTAIL_PREVIOUS").map(PathBuf::from) else {
        return skip("no program of the previous commit (no history?)");
    };
    moved(&previous).expect("the node stays the same");
}

fn moved(previous: &Path) -> Result<()> {
    let server = Server::start(Options::default())?;
    let state = tempfile::tempdir()?;
    let flag = [format!("--state={}", state.path().join("tailscaled.state").display())];
    let old = Program {
        daemon: vec![previous.join("tailscaled").into()],
        cli: vec![previous.join("tailscale").into()],
    };
    let first = Local::start_program(old.clone(), tempfile::tempdir()?, &flag)?;
    let url = format!("--login-server={}", server.url());
    first.said(&["up", &url, "--auth-key=tskey-auth-test", "--hostname=kept", "--timeout=30s"])?;
    let identity = identity(&first)?;
    drop(first);
    for program in [Program::from(Flavour::Ours), old, Program::from(Flavour::Ours)] {
        let name = format!("{:?}", program.daemon);
        let node = Local::start_program(program, tempfile::tempdir()?, &flag)?;
        lab::until("running without a login", Duration::from_secs(20), || {
            Ok(node.said(&["status"]).is_ok().then_some(()))
        })
        .with_context(|| name.clone())?;
        let now = self::identity(&node)?;
        ensure!(now == identity, "{name} is {now:?}, and {identity:?} was left to it");
    }
    ensure!(server.nodes().len() == 1, "{:?}", server.nodes());
    Ok(())
}

/// Node key, name and addresses.
fn identity(node: &Local) -> Result<(String, String, String)> {
    let status: serde_json::Value = serde_json::from_str(&node.said(&["status", "--json"])?)?;
    let text = |field: &str| status["Self"][field].to_string();
    Ok((text("PublicKey"), text("HostName"), text("TailscaleIPs")))
}
