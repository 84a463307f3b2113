//! A build with feature `cachenetmap`: a node that starts carries packets by the map of its last run, whatever control does.
//!
//! What ships lacks the feature, so this is the host's plain build.

use anyhow::{Context, Result, ensure};
use blackbox::traffic::{addresses, echo, tunnelled};
use blackbox::{number, scenario};
use lab::{Flavour, Lab, Need, Node};
use std::net::IpAddr;
use std::os::unix::fs::MetadataExt;
use std::time::{Duration, SystemTime};

const NEEDS: &[Need] = &[Need::Namespaces, Need::Headscale, Need::Derper, Need::Go, Need::OursDebug];

/// How long anything may take that the machine does in a moment when nobody disturbs it.
const PATIENCE: Duration = Duration::from_secs(30);

/// A node that UDP reaches.
fn open(lab: &Lab, headscale: &lab::Headscale, name: &str, flavour: Flavour) -> Result<Node> {
    let mut node = lab.node(name, flavour)?;
    node.tun = "tailscale0".to_owned();
    node.start()?;
    node.join(headscale).with_context(|| format!("{name} joins"))?;
    Ok(node)
}

/// When the map was written, and which file it is: another one after each write.
fn stamp(node: &Node) -> Result<(SystemTime, u64)> {
    let file = node.state_dir.join("tailscaled.state.netmap");
    let about = std::fs::metadata(&file).with_context(|| file.display().to_string())?;
    ensure!(about.mode() & 0o777 == 0o600, "its mode is {:o}", about.mode());
    Ok((about.modified()?, about.ino()))
}

/// From the start of the daemon to the first echo of `to`.
fn first_echo(node: &mut Node, to: IpAddr) -> Result<Duration> {
    let started = lab::now();
    node.start()?;
    echo(&node.host, to, PATIENCE)?;
    Ok(started.elapsed())
}

fn direct(node: &Node, to: IpAddr) -> Result<()> {
    let to = to.to_string();
    lab::until("a direct path", PATIENCE, || {
        let told = node.tailscale(&["ping", "-c", "5", "--timeout=1s", &to])?.stdout;
        Ok(told.lines().any(|line| line.contains(" via ") && !line.contains("DERP(")).then_some(()))
    })
}

#[test]
fn the_map_of_the_last_run_carries_until_control_answers() {
    scenario(NEEDS, |lab| {
        let relays = [lab.relay()?];
        let mut headscale = lab.headscale_beside(&relays)?;
        let mut one = open(lab, &headscale, "one", Flavour::OursDebug)?;
        let go = open(lab, &headscale, "go", Flavour::Go)?;
        let far = tunnelled(lab, &headscale, "far", Flavour::OursDebug)?;
        let gone = tunnelled(lab, &headscale, "gone", Flavour::OursDebug)?;
        let (to_go, to_far, to_gone) = (addresses(&go)?[0], addresses(&far)?[0], addresses(&gone)?[0]);
        for to in [to_go, to_far, to_gone] {
            echo(&one.host, to, PATIENCE)?;
        }
        one.stop()?;
        let written = stamp(&one)?;

        // Nothing that counts has changed: nothing is written, however often the node starts.
        let (mut with, mut without) = (Vec::new(), Vec::new());
        for _ in 0..3 {
            with.push(first_echo(&mut one, to_go)?);
            one.wait_running()?;
            one.stop()?;
            ensure!(stamp(&one)? == written, "the map was written although nothing has changed");
        }

        headscale.stop();
        with.push(first_echo(&mut one, to_go).context("control is away")?);
        for (to, name) in [(to_far, "by relay"), (to_gone, "the other by relay")] {
            echo(&one.host, to, PATIENCE).with_context(|| format!("control is away, {name}"))?;
        }
        direct(&one, to_go).context("control is away")?;
        let status = one.status()?;
        ensure!(status["BackendState"] == "Running", "it is {}", status["BackendState"]);
        lab::until("word of it in health", PATIENCE, || {
            let health = one.status()?["Health"].to_string();
            Ok(health.contains("Cannot reach the coordination server").then_some(()))
        })?;
        // The other way: somebody who had a session with the process before this one.
        one.kill();
        one.start()?;
        let started = lab::now();
        echo(&far.host, addresses_of(&status)?, PATIENCE).context("who spoke to it before")?;
        number("start without control to a peer's first echo", format!("{:?}", started.elapsed()));
        one.stop()?;
        ensure!(stamp(&one)? == written, "the map was written although control was away");

        // Somebody is thrown out while this node is off.
        headscale.start_again()?;
        drop(gone);
        let number_of_gone = headscale.node("gone")?["id"].to_string().replace('"', "");
        headscale.cli(&["nodes", "delete", "--identifier", &number_of_gone])?;
        one.start()?;
        lab::until("the peer that is gone to go", PATIENCE, || {
            one.tailscale(&["status", "--json"])?;
            Ok(one.peer(&to_gone.to_string())?.is_none().then_some(()))
        })?;
        echo(&one.host, to_far, PATIENCE)?;
        one.stop()?;
        ensure!(stamp(&one)? != written, "the map has one peer less and was not written");

        // Beside a node that waits for control. Its switch removes the file as well.
        one.environment.push(("TS_USE_CACHED_NETMAP".to_owned(), "false".to_owned()));
        for _ in 0..3 {
            without.push(first_echo(&mut one, to_go)?);
            one.stop()?;
            ensure!(stamp(&one).is_err(), "the map is kept although that is switched off");
        }
        with.sort();
        without.sort();
        number("start to first echo", format!("with the last map {with:?}, without {without:?}"));
        ensure!(with[1] < without[0], "the last map is no help: {with:?}, without {without:?}");
        Ok(())
    });
}

/// The address of the node itself.
fn addresses_of(status: &serde_json::Value) -> Result<IpAddr> {
    Ok(status["Self"]["TailscaleIPs"][0].as_str().context("no address")?.parse()?)
}
