//! The soaks: scenarios that wait for many minutes and measure no speed. `cargo xtask test --nightly` runs them all at
//! once, beside everything else and with a low priority, so none of them may expect a quick machine.

use anyhow::ensure;
use blackbox::traffic::tunnelled;
use blackbox::{EVERYTHING, OUTAGE, chatter, fuzz, joined, number, ping_all, roaming, scenario, soak};
use lab::{Flavour, Need};
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
        let lines = one.daemon()?.log_text().lines().count();
        lab::until("an hour", SOAK * 2, || Ok((started.elapsed() >= SOAK).then_some(())))?;
        let after = ports(&connections(&one)?);
        number(
            "memory before and after an hour",
            format!("{first} and {} KiB", one.daemon()?.resident_kib()?),
        );
        ensure!(before.len() >= 2, "control and relay are not both among {before:?}");
        ensure!(before == after, "its connections were {before:?} and are {after:?}");
        let lines = one.daemon()?.log_text().lines().count() - lines;
        number("log lines in an idle hour", lines);
        ensure!(lines <= 10, "{lines} lines in an hour: {}", one.daemon()?.log_text());
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

#[test]
fn ten_minutes_of_questions_and_answers_with_anything_changed() {
    scenario(&[Need::Namespaces, Need::Ours], |lab| fuzz::names(lab, Duration::from_secs(600)));
}

/// How long mixed traffic has to flow.
const MIXED: Duration = Duration::from_secs(1800);

#[test]
fn half_an_hour_of_mixed_traffic() {
    scenario(EVERYTHING, |lab| {
        let headscale = lab.headscale()?;
        let mut one = tunnelled(lab, &headscale, "one", Flavour::Ours)?;
        let mut two = tunnelled(lab, &headscale, "two", Flavour::Ours)?;
        let go = tunnelled(lab, &headscale, "go", Flavour::Go)?;
        let streams = soak::mixed(&[(&one, &two), (&two, &go), (&go, &one)], MIXED)?;
        number("streams in half an hour", streams);
        for node in [&mut one, &mut two] {
            number("peak memory under traffic", format!("{} KiB", node.daemon()?.peak_kib()?));
        }
        Ok(())
    });
}

#[test]
fn ten_minutes_without_control_while_traffic_flows() {
    scenario(OUTAGE, |lab| soak::without_control(lab, Duration::from_secs(600)));
}

#[test]
fn five_minutes_without_a_word_of_control() {
    scenario(OUTAGE, |lab| roaming::without_a_word_of_control(lab, Duration::from_secs(300)));
}

/// After three minutes the session is over.
#[test]
fn an_hour_at_rest_with_a_direct_path() {
    scenario(EVERYTHING, |lab| chatter::direct(lab, Duration::from_secs(200), Duration::from_secs(3600)));
}

#[test]
fn an_hour_at_rest_with_one_peer_and_with_a_hundred() {
    let needs = &[Need::Namespaces, Need::Go, Need::Ours];
    scenario(needs, |lab| chatter::crowd(lab, Duration::from_secs(120), Duration::from_secs(3600)));
}

/// Go's node is at rest some minutes after its last packet.
#[test]
fn an_idle_node_needs_no_more_than_gos_in_the_same_minutes() {
    scenario(EVERYTHING, |lab| soak::idle(lab, Duration::from_secs(360), Duration::from_secs(900)));
}
