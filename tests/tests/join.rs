//! Joining a real headscale, and pings inside the tunnel through the relay with UDP blocked.

use anyhow::{Context, Result, ensure};
use blackbox::{EVERYTHING, count, interactive, joined, number, ping_all, scenario};
use lab::{AS_IT_COMES, Flavour, Headscale, Lab, PROMPT, Ping};
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

/// Headscale gathers changes for half a second before it stores them, and a join waits for that four times, the first
/// time for a part of it; it tells peers of a newcomer after 0.8 s. With both short what is left is our own time.
#[test]
fn from_up_to_the_first_answer_with_prompt_control() {
    scenario(EVERYTHING, |lab| quicker_than_go(lab, &lab.headscale_with(PROMPT)?, "prompt control", 5));
}

#[test]
fn from_up_to_the_first_answer_with_headscale_as_it_comes() {
    scenario(EVERYTHING, |lab| {
        quicker_than_go(lab, &lab.headscale_with(AS_IT_COMES)?, "headscale as it comes", 2)
    });
}

/// Joins fresh nodes with UDP blocked, by turns ours and Go's, and compares the times from `up` to the first answer of
/// a peer. Moments are measured and printed; what is wanted is that ours is so many times as fast in the same run.
fn quicker_than_go(lab: &Lab, headscale: &Headscale, what: &str, times: u32) -> Result<()> {
    let to = joined(lab, headscale, "peer", Flavour::Go)?;
    let peer = to.ipv4()?;
    let key = headscale.auth_key()?;
    let (mut ours, mut go) = (Vec::new(), Vec::new());
    for round in 0..count(6, 20) {
        ours.push(up_to_answer(lab, headscale, &key, &format!("ours{round}"), Flavour::Ours, &peer)?);
        if round % 3 == 0 {
            go.push(up_to_answer(lab, headscale, &key, &format!("go{round}"), Flavour::Go, &peer)?);
        }
    }
    let within = ours.iter().filter(|took| **took <= Duration::from_secs(2)).count();
    for (whose, took) in [("ours", &mut ours), ("Go", &mut go)] {
        took.sort();
        let (half, most) = (took[took.len() / 2], took[took.len() - 1]);
        let line = format!("median {half:?}, slowest {most:?} of {}", took.len());
        number(&format!("up to first answer, {what}, {whose}"), line);
    }
    number(&format!("up to first answer within 2 s, {what}"), format!("{within} of {}", ours.len()));
    let (ours, go) = (ours[ours.len() / 2], go[go.len() / 2]);
    ensure!(ours * times <= go, "half of ours took {ours:?}, half of Go's {go:?}: not {times} times as long");
    Ok(())
}

fn up_to_answer(
    lab: &Lab,
    headscale: &Headscale,
    key: &str,
    name: &str,
    flavour: Flavour,
    peer: &str,
) -> Result<Duration> {
    let mut node = lab.node(name, flavour)?;
    node.host.block_udp()?;
    node.start()?;
    let started = lab::now();
    node.up(headscale, key)?;
    node.wait_ping(Ping::Tsmp, peer, Duration::from_secs(30))?;
    Ok(started.elapsed())
}
