//! Scenarios that take more than a minute each.

use anyhow::ensure;
use blackbox::{EVERYTHING, joined, number, ping_all, scenario};
use lab::Flavour;
use std::time::Duration;

/// How long a node has to stay connected without a single reconnect.
const SOAK: Duration = Duration::from_secs(3600);

#[test]
fn an_hour_idle_without_a_reconnect() {
    scenario(EVERYTHING, |lab| {
        let mut headscale = lab.headscale()?;
        let mut one = joined(lab, &headscale, "one", Flavour::Ours)?;
        let two = joined(lab, &headscale, "two", Flavour::Ours)?;
        let go = joined(lab, &headscale, "go", Flavour::Go)?;
        ping_all(&one, &two, 1)?;
        ping_all(&one, &go, 1)?;
        let connections = |node: &lab::Node| node.host.run(&["ss", "-tnH", "state", "established"]);
        let (before, started) = (ports(&connections(&one)?), lab::now());
        let first = one.daemon()?.resident_kib()?;
        lab::until("an hour", SOAK * 2, || Ok((started.elapsed() >= SOAK).then_some(())))?;
        let after = ports(&connections(&one)?);
        number(
            "memory before and after an hour",
            format!("{first} and {} KiB", one.daemon()?.resident_kib()?),
        );
        ensure!(before == after, "its connections were {before:?} and are {after:?}");
        ping_all(&one, &two, 10)?;
        ping_all(&one, &go, 10)?;
        headscale.stop();
        Ok(())
    });
}

/// Local ends of the connections: a new one means a reconnect.
fn ports(connections: &str) -> Vec<String> {
    let mut ports: Vec<_> =
        connections.lines().filter_map(|line| line.split_whitespace().nth(2)).map(str::to_owned).collect();
    ports.sort();
    ports
}
