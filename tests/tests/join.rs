//! Joining a real headscale, and pings inside the tunnel through the relay with UDP blocked.

use anyhow::{Context, Result, ensure};
use blackbox::{EVERYTHING, count, interactive, joined, number, ping_all, scenario};
use lab::{Flavour, Headscale, Lab, Ping};
use std::time::Duration;

/// Makes headscale answer as fast as it can.
const PROMPT: &str = "tuning:\n  node_store_batch_timeout: 20ms\n  batch_change_delay: 20ms\n";

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
fn from_up_to_the_first_answer_takes_at_most_a_second_of_ours() {
    scenario(EVERYTHING, |lab| {
        let headscale = lab.headscale_with(PROMPT)?;
        let times = joins(lab, &headscale, 20, "prompt control")?;
        let slow: Vec<_> = times.iter().filter(|took| **took > Duration::from_secs(1)).collect();
        ensure!(slow.is_empty(), "{} of 20 took more than 1 s: {slow:?}", slow.len());
        Ok(())
    });
}

#[test]
fn from_up_to_the_first_answer_with_headscale_as_it_comes() {
    scenario(EVERYTHING, |lab| {
        let mut times = joins(lab, &lab.headscale()?, count(8, 20), "headscale as it comes")?;
        times.sort();
        let (half, most) = (times[times.len() / 2], times[times.len() - 1]);
        // 1.5 to 2 s of it are headscale's, by where in its half second `up` comes.
        ensure!(half <= Duration::from_millis(2500), "half took more than {half:?}");
        ensure!(most <= Duration::from_secs(3), "the slowest took {most:?}");
        Ok(())
    });
}

/// Joins one fresh node after the other, each with UDP blocked, and gives the times from `up` to the first answer, by
/// turns of one of ours and of a Go node.
fn joins(lab: &Lab, headscale: &Headscale, rounds: u32, what: &str) -> Result<Vec<Duration>> {
    let ours = joined(lab, headscale, "ours", Flavour::Ours)?;
    let go = joined(lab, headscale, "go", Flavour::Go)?;
    let key = headscale.auth_key()?;
    let (mut ups, mut took) = (Vec::new(), Vec::new());
    for round in 0..rounds {
        let peer = if round % 2 == 0 { &ours } else { &go };
        let (up, answer) = up_to_answer(lab, headscale, &key, round, &peer.ipv4()?)?;
        ups.push(up);
        took.push(answer);
    }
    for (name, mut times) in [("up alone", ups), ("up to first answer", took.clone())] {
        times.sort();
        let (half, most) = (times[times.len() / 2], times[times.len() - 1]);
        number(&format!("{name}, {what}"), format!("median {half:?}, slowest {most:?} of {}", times.len()));
    }
    Ok(took)
}

fn up_to_answer(
    lab: &Lab,
    headscale: &Headscale,
    key: &str,
    round: u32,
    peer: &str,
) -> Result<(Duration, Duration)> {
    let mut node = lab.node(&format!("n{round}"), Flavour::Ours)?;
    node.host.block_udp()?;
    node.start()?;
    let started = lab::now();
    node.up(headscale, key)?;
    let up = started.elapsed();
    node.wait_ping(Ping::Tsmp, peer, Duration::from_secs(20))?;
    Ok((up, started.elapsed()))
}
