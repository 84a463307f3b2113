//! Joining a real headscale, and pings inside the tunnel through the relay with UDP blocked.

use anyhow::{Context, Result, ensure};
use blackbox::{EVERYTHING, count, interactive, joined, number, ping_all, scenario};
use lab::{Flavour, Lab, Ping};
use std::time::Duration;

#[test]
fn two_of_ours_and_a_go_node_answer_each_other() {
    scenario(EVERYTHING, |lab| {
        let headscale = lab.headscale()?;
        let one = joined(lab, &headscale, "one", Flavour::Ours)?;
        let two = joined(lab, &headscale, "two", Flavour::Ours)?;
        let go = joined(lab, &headscale, "go", Flavour::Go)?;
        let pings = count(10, 100);
        for (from, to) in [(&one, &two), (&two, &one), (&one, &go), (&go, &one)] {
            ping_all(from, to, pings)?;
        }
        Ok(())
    });
}

#[test]
fn status_shows_self_and_peers_as_headscale_knows_them() {
    scenario(EVERYTHING, |lab| {
        let headscale = lab.headscale()?;
        let one = joined(lab, &headscale, "one", Flavour::Ours)?;
        let go = joined(lab, &headscale, "go", Flavour::Go)?;
        one.wait_peer(&go)?;
        let status = one.status()?;
        ensure!(status["Self"]["HostName"] == "one", "own name: {}", status["Self"]);
        ensure!(status["Self"]["DNSName"] == "one.tail.lab.", "own DNS name: {}", status["Self"]);
        let known = headscale.node("one")?;
        let addresses = one.identity()?.1;
        for address in &addresses {
            ensure!(
                known["ip_addresses"].to_string().contains(address.as_str()),
                "{address} is not in {known}"
            );
        }
        ensure!(addresses.len() == 2, "one address of each family: {addresses:?}");
        let peer = one.peer(&go.ipv4()?)?.context("the peer has gone")?;
        ensure!(peer["HostName"] == "go" && peer["DNSName"] == "go.tail.lab.", "the peer: {peer}");
        lab::until("the peer to be online", Duration::from_secs(20), || {
            let peer = one.peer(&go.ipv4()?)?.context("the peer has gone")?;
            Ok((peer["Online"] == true).then_some(()))
        })?;
        let text = one.tailscale(&["status"])?.ok()?.stdout;
        for word in [one.ipv4()?, go.ipv4()?, "one".to_owned(), "go".to_owned(), "linux".to_owned()] {
            ensure!(text.contains(&word), "no {word} in:\n{text}");
        }
        Ok(())
    });
}

#[test]
fn a_peer_that_comes_later_and_goes_is_noticed() {
    scenario(EVERYTHING, |lab| {
        let headscale = lab.headscale()?;
        let one = joined(lab, &headscale, "one", Flavour::Ours)?;
        let late = joined(lab, &headscale, "late", Flavour::Ours)?;
        let address = late.ipv4()?;
        one.wait_peer(&late)?;
        one.wait_ping(Ping::Tsmp, &address, Duration::from_secs(10))?;
        late.tailscale(&["logout"])?.ok()?;
        lab::until("the peer to be gone or offline", Duration::from_secs(30), || {
            let peer = one.peer(&address)?;
            Ok(peer.is_none_or(|peer| peer["Online"] == false || peer["Expired"] == true).then_some(()))
        })
    });
}

#[test]
fn interactive_login_is_approved_on_headscale() {
    scenario(EVERYTHING, |lab| {
        let headscale = lab.headscale()?;
        for (name, cli) in [("one", Flavour::Ours), ("two", Flavour::Go)] {
            let mut node = lab.node(name, Flavour::Ours)?;
            node.host.block_udp()?;
            node.start()?;
            interactive(&node, &headscale, cli).with_context(|| format!("{cli:?} command line"))?;
        }
        Ok(())
    });
}

#[test]
fn from_up_to_the_first_answer_takes_at_most_two_seconds() {
    scenario(EVERYTHING, |lab| {
        let headscale = lab.headscale()?;
        let ours = joined(lab, &headscale, "ours", Flavour::Ours)?;
        let go = joined(lab, &headscale, "go", Flavour::Go)?;
        let key = headscale.auth_key()?;
        let mut took = Vec::new();
        for round in 0..20 {
            let peer = if round % 2 == 0 { &ours } else { &go };
            took.push(up_to_answer(lab, &headscale, &key, round, &peer.ipv4()?)?);
        }
        let mut sorted = took.clone();
        sorted.sort();
        let (half, most) = (sorted.get(sorted.len() / 2), sorted.last());
        number("up to first answer, median of 20", format!("{half:?}"));
        number("up to first answer, slowest of 20", format!("{most:?}"));
        let slow: Vec<_> = took.iter().filter(|took| **took > Duration::from_secs(2)).collect();
        ensure!(slow.is_empty(), "{} of 20 took more than 2 s: {slow:?}", slow.len());
        Ok(())
    });
}

fn up_to_answer(
    lab: &Lab,
    headscale: &lab::Headscale,
    key: &str,
    round: u32,
    peer: &str,
) -> Result<Duration> {
    let mut node = lab.node(&format!("n{round}"), Flavour::Ours)?;
    node.host.block_udp()?;
    node.start()?;
    let started = lab::now();
    node.up(headscale, key)?;
    node.wait_ping(Ping::Tsmp, peer, Duration::from_secs(20))?;
    Ok(started.elapsed())
}
