//! What nodes with open UDP say to each other and to their servers when nobody says anything through them.
//!
//! Leaves out: wake-ups and writes (`soak`).

use crate::direct::Control;
use crate::number;
use crate::traffic::{addresses, echo};
use anyhow::{Context, Result, ensure};
use lab::{Flavour, Lab, Node};
use std::time::Duration;

/// Counts by what it is. TCP with content is counted by who says it; without, it is acknowledgements and the probes of the
/// servers' kernels.
const COUNTERS: &str = r#"table inet lab_chatter {
  counter disco { }
  counter stun { }
  counter tunnel { }
  counter said { }
  counter heard { }
  counter probes { }
  chain tally {
    meta l4proto udp @th,64,48 0x5453f09f92ac counter name disco return
    meta l4proto udp @th,96,32 0x2112a442 counter name stun return
    meta l4proto udp counter name tunnel return
    meta l4proto tcp meta nfproto ipv4 meta length gt 52 goto content
    meta l4proto tcp meta nfproto ipv6 meta length gt 72 goto content
    meta l4proto tcp counter name probes
  }
  chain content {
    oifname "eth0" counter name said return
    counter name heard
  }
  chain input { type filter hook input priority 100; iifname "eth0" jump tally; }
  chain output { type filter hook output priority 100; oifname "eth0" jump tally; }
}"#;

const KINDS: [&str; 6] = ["disco", "stun", "tunnel", "said", "heard", "probes"];
/// Which of these are a node's own doing. What it hears from servers it has not asked for are their keep-alives, and each
/// connection has an interval of its own, drawn by the server: 50 to 59 s of headscale, 60 to 65 s of a relay.
const OWN: usize = 4;

/// A node at rest may say so much a second for each peer, acknowledgements included.
const GOAL: f64 = 0.15;

/// From here on the goal holds; before, what is left of a conversation counts.
const LONG: Duration = Duration::from_secs(600);

/// Packets and bytes of each kind.
type Counts = [[u64; 2]; 6];

fn counts(node: &Node) -> Result<Counts> {
    let text = node.host.run(&["nft", "-j", "list", "counters"])?;
    let listed: serde_json::Value = serde_json::from_str(&text)?;
    let all: Vec<_> =
        listed["nftables"].as_array().into_iter().flatten().map(|entry| &entry["counter"]).collect();
    let mut found = [[0; 2]; 6];
    for (place, name) in found.iter_mut().zip(KINDS) {
        let named = all.iter().find(|counter| counter["name"] == name);
        let numbers =
            named.and_then(|counter| Some([counter["packets"].as_u64()?, counter["bytes"].as_u64()?]));
        *place = numbers.with_context(|| format!("no {name} in {text}"))?;
    }
    Ok(found)
}

/// Packets between two counts that are no mere probes of the servers' kernels.
struct Chatter {
    own: u64,
    /// With what servers say of themselves.
    all: u64,
}

/// Tells what was said between two counts, by the hour.
fn told(what: &str, [before, after]: [Counts; 2], time: Duration) -> Chatter {
    let since = |kind: usize, what: usize| after[kind][what] - before[kind][what];
    let hour = |count: u64| count as f64 * 3600.0 / time.as_secs_f64();
    let each: Vec<_> =
        KINDS.iter().enumerate().map(|(n, kind)| format!("{kind} {:.0}", hour(since(n, 0)))).collect();
    let bytes = hour((0..KINDS.len()).map(|n| since(n, 1)).sum());
    number(&format!("packets an hour, {what}"), format!("{}; {bytes:.0} bytes in all", each.join(", ")));
    let first = |kinds: usize| (0..kinds).map(|n| since(n, 0)).sum();
    Chatter { own: first(OWN), all: first(OWN + 1) }
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
    let said =
        |n: usize, whose| told(&format!("one idle peer, direct, {whose}"), [before[n], after[n]], time);
    let (ours, go) = (said(0, "ours"), said(1, "Go's"));
    ensure!(ours.own <= go.own, "{} packets of ours, {} of Go's", ours.own, go.own);
    let rate = ours.all as f64 / time.as_secs_f64();
    ensure!(time < LONG || rate <= GOAL, "{rate:.3} packets/s at rest");
    Ok(())
}

/// Nodes of ours and of Go's that have never said anything to anybody, with a single peer and with a hundred: what each says in
/// the same `time` after `settle`.
///
/// # Errors
/// When ours makes more of it than Go's with as many peers, or more with a hundred than with one.
pub fn crowd(lab: &Lab, settle: Duration, time: Duration) -> Result<()> {
    let mut places = Vec::new();
    for (name, peers) in [("one", 1), ("hundred", 100)] {
        for flavour in [Flavour::Ours, Flavour::Go] {
            let name = format!("{name}-{flavour:?}").to_lowercase();
            let control = Control::start_as(lab, &format!("control-{name}"), peers)?;
            let node = control.node(lab, &name, flavour, &[])?;
            places.push((peers, flavour, control, node));
        }
    }
    std::thread::sleep(settle);
    places.iter().try_for_each(|(.., node)| node.host.run(&["nft", COUNTERS]).map(drop))?;
    std::thread::sleep(time);
    let mut said = Vec::new();
    for (peers, flavour, _, node) in &places {
        let what = format!("{peers} peers that were never spoken to, {flavour:?}");
        said.push(told(&what, [Counts::default(), counts(node)?], time));
    }
    let [one, go_one, hundred, go_hundred] = &said[..] else { unreachable!("four places") };
    for (what, less, more) in [
        ("a hundred peers beside one", hundred, one),
        ("one peer, ours beside Go's", one, go_one),
        ("a hundred peers, ours beside Go's", hundred, go_hundred),
    ] {
        ensure!(less.own <= more.own, "{what}: {} packets of its own, {}", less.own, more.own);
        // The test server draws nothing: what is heard is compared as well.
        ensure!(less.all <= more.all + 2, "{what}: {} packets, {}", less.all, more.all);
    }
    Ok(())
}
