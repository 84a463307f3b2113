//! What nodes with open UDP say to each other and to their servers when nobody says anything through them.
//!
//! Leaves out: wake-ups and writes (`soak`).

use crate::direct::Control;
use crate::number;
use crate::traffic::{addresses, echo};
use anyhow::{Context, Result, ensure};
use lab::{Flavour, Lab, Node};
use std::time::Duration;

/// Counts by what it is. TCP without content are acknowledgements and the probes of the servers' kernels.
const COUNTERS: &str = r#"table inet lab_chatter {
  counter disco { }
  counter stun { }
  counter tunnel { }
  counter content { }
  counter probes { }
  chain tally {
    meta l4proto udp @th,64,48 0x5453f09f92ac counter name disco return
    meta l4proto udp @th,96,32 0x2112a442 counter name stun return
    meta l4proto udp counter name tunnel return
    meta l4proto tcp meta nfproto ipv4 meta length gt 52 counter name content return
    meta l4proto tcp meta nfproto ipv6 meta length gt 72 counter name content return
    meta l4proto tcp counter name probes
  }
  chain input { type filter hook input priority 100; iifname "eth0" jump tally; }
  chain output { type filter hook output priority 100; oifname "eth0" jump tally; }
}"#;

const KINDS: [&str; 5] = ["disco", "stun", "tunnel", "content", "probes"];

/// A node at rest may say so much a second for each peer, acknowledgements included.
const GOAL: f64 = 0.15;

/// From here on the goal holds; before, what is left of a conversation counts.
const LONG: Duration = Duration::from_secs(600);

fn counts(node: &Node) -> Result<[u64; 5]> {
    let text = node.host.run(&["nft", "-j", "list", "counters"])?;
    let listed: serde_json::Value = serde_json::from_str(&text)?;
    let all: Vec<_> =
        listed["nftables"].as_array().into_iter().flatten().map(|entry| &entry["counter"]).collect();
    let mut found = [0; 5];
    for (place, name) in found.iter_mut().zip(KINDS) {
        let named = all.iter().find(|counter| counter["name"] == name);
        *place = named
            .and_then(|counter| counter["packets"].as_u64())
            .with_context(|| format!("no {name} in {text}"))?;
    }
    Ok(found)
}

/// A node of ours and one of Go's find a direct path to each other and then say nothing. After `settle` the packets of each
/// are counted for `time`.
///
/// # Errors
/// When ours says more than Go's, or more than the goal.
pub fn direct(lab: &Lab, settle: Duration, time: Duration) -> Result<()> {
    let headscale = lab.headscale()?;
    let mut nodes = Vec::new();
    for (name, flavour) in [("ours", Flavour::Ours), ("go", Flavour::Go)] {
        let mut node = lab.node(name, flavour)?;
        node.tun = "tailscale0".to_owned();
        node.start()?;
        node.join(&headscale)?;
        // The system asks for routers and neighbours by itself, into the tunnel as well.
        node.host.run(&["sysctl", "-qw", "net.ipv6.conf.tailscale0.router_solicitations=0"]).ok();
        nodes.push(node);
    }
    let [ours, go] = &nodes[..] else { unreachable!("two nodes") };
    ours.wait_peer(go)?;
    go.wait_peer(ours)?;
    echo(&ours.host, addresses(go)?[0], Duration::from_secs(30))?;
    std::thread::sleep(settle);
    nodes.iter().try_for_each(|node| node.host.run(&["nft", COUNTERS]).map(drop))?;
    let before = [counts(ours)?, counts(go)?];
    std::thread::sleep(time);
    let after = [counts(ours)?, counts(go)?];
    let mut said = [0; 2];
    for (n, whose) in ["ours", "Go's"].into_iter().enumerate() {
        let since: Vec<u64> = after[n].iter().zip(before[n]).map(|(after, before)| after - before).collect();
        // The probes are the servers', and the answers to what they send are one each.
        said[n] = since.iter().take(4).sum();
        let hour = |count: u64| count as f64 * 3600.0 / time.as_secs_f64();
        let each: Vec<_> =
            KINDS.iter().zip(&since).map(|(kind, count)| format!("{kind} {:.0}", hour(*count))).collect();
        number(&format!("packets an hour, one idle peer, direct, {whose}"), each.join(", "));
    }
    let [ours, go] = said;
    ensure!(ours <= go + 2, "{ours} packets of ours, {go} of Go's");
    let rate = ours as f64 / time.as_secs_f64();
    ensure!(time < LONG || rate <= GOAL, "{rate:.3} packets/s at rest");
    Ok(())
}

/// Two nodes of ours that have never said anything to anybody, one with a single peer, one with a hundred: what both say in
/// the same `time` after `settle`.
///
/// # Errors
/// When a hundred peers make more of it than one.
pub fn crowd(lab: &Lab, settle: Duration, time: Duration) -> Result<()> {
    let mut places = Vec::new();
    for (name, peers) in [("one", 1), ("hundred", 100)] {
        let control = Control::start_as(lab, &format!("control-{name}"), peers)?;
        let node = control.node(lab, name, Flavour::Ours, &[])?;
        places.push((peers, control, node));
    }
    std::thread::sleep(settle);
    places.iter().try_for_each(|(.., node)| node.host.run(&["nft", COUNTERS]).map(drop))?;
    std::thread::sleep(time);
    let mut said = Vec::new();
    for (peers, _, node) in &places {
        let counted = counts(node)?;
        let hour = |count: u64| count as f64 * 3600.0 / time.as_secs_f64();
        let each: Vec<_> =
            KINDS.iter().zip(counted).map(|(kind, count)| format!("{kind} {:.0}", hour(count))).collect();
        number(&format!("packets an hour, {peers} peers that were never spoken to"), each.join(", "));
        said.push(counted.iter().take(4).sum::<u64>());
    }
    ensure!(said[1] <= said[0] + 2, "{} packets with one peer, {} with a hundred", said[0], said[1]);
    Ok(())
}
