//! What others remove of ours in the kernel is put back, soon and without a fight.

use anyhow::{Context as _, Result, ensure};
use blackbox::{EVERYTHING, scenario};
use lab::{Flavour, Host, Need, Node};
use std::fmt::Write as _;
use std::time::Duration;

/// Addresses, routes, rules and chains of ours on this host.
fn ours(host: &Host) -> Result<String> {
    let mut text = String::new();
    for words in [
        "ip -br addr show dev tailscale0",
        "ip route show table all dev tailscale0",
        "ip -6 route show table all dev tailscale0",
        "ip rule",
        "ip -6 rule",
        "iptables-legacy-save",
        "ip6tables-legacy-save",
        "nft list ruleset",
    ] {
        let lines = host.run(&words.split(' ').collect::<Vec<_>>())?;
        // Counters, comments with the time of day, and what the kernel makes itself for a link.
        let addresses = words.contains("addr");
        let made = |word: &&str| word.starts_with("fe80") || word.starts_with("ff00");
        let kept = |line: &&str| {
            !line.starts_with(['#', ':']) && (addresses || !line.split_whitespace().any(|word| made(&word)))
        };
        for line in lines.lines().filter(kept) {
            let mut counts = false;
            for word in line.split_whitespace().filter(|word| !made(word)) {
                counts |= word == "packets";
                let number = counts && word.parse::<u64>().is_ok();
                write!(text, "{} ", if number { "n" } else { word })?;
            }
            text.push('\n');
        }
    }
    Ok(text)
}

/// What somebody does, and whether the kernel tells of it.
const BY_X_TABLES: &[(&str, bool)] = &[
    (
        "ip route flush table 52; ip -6 route flush table 52; ip rule del pref 5270; ip -6 rule del pref 5210",
        true,
    ),
    ("ip addr flush dev tailscale0", true),
    ("ip link set tailscale0 down", true),
    ("iptables-legacy -F; iptables-legacy -t nat -F; ip6tables-legacy -F", false),
];
const BY_NF_TABLES: &[(&str, bool)] = &[("nft flush ruleset", false)];

fn put_back(lab: &lab::Lab, filter: &str, deeds: &[(&str, bool)]) -> Result<Node> {
    let headscale = lab.headscale()?;
    let mut node: Node = lab.node("node", Flavour::Ours)?;
    node.tun = "tailscale0".to_owned();
    // The filter is chosen here.
    node.lacks = Some(Vec::new());
    for (name, value) in [("TS_DEBUG_ROUTE_LAYOUT", "policy"), ("TS_DEBUG_FIREWALL_MODE", filter)] {
        node.environment.push((name.to_owned(), value.to_owned()));
    }
    node.start()?;
    node.join(&headscale)?;
    let before = lab::until("rules and routes", Duration::from_secs(20), || {
        let there = ours(&node.host)?;
        Ok((there.contains("ts-postrouting") && there.contains("5270:")).then_some(there))
    })?;
    for (deed, told) in deeds {
        node.host.run(&["sh", "-c", deed])?;
        if !told {
            ensure!(ours(&node.host)? != before, "{deed} removed nothing");
            // Any other change makes the node look: as when a firewall is loaded anew.
            node.host.run(&["ip", "addr", "add", "10.99.0.1/32", "dev", "lo"])?;
        }
        let back = lab::until(&format!("what `{deed}` removed"), Duration::from_secs(15), || {
            Ok((ours(&node.host)? == before).then_some(()))
        });
        back.with_context(|| format!("before:\n{before}\nnow:\n{}", ours(&node.host).unwrap_or_default()))?;
        if !told {
            node.host.run(&["ip", "addr", "del", "10.99.0.1/32", "dev", "lo"])?;
        }
    }
    Ok(node)
}

#[test]
fn by_x_tables() {
    scenario(EVERYTHING, |lab| {
        let node = put_back(lab, "iptables", BY_X_TABLES)?;
        // Somebody who goes on is not followed at every step.
        let began = lab::now();
        let mut times = 0;
        while began.elapsed() < Duration::from_secs(9) {
            if node.host.run(&["ip", "rule", "del", "pref", "5270"]).is_ok() {
                times += 1;
            }
            std::thread::sleep(Duration::from_millis(200));
        }
        ensure!((1..=4).contains(&times), "put back {times} times in 9 s");
        Ok(())
    });
}

#[test]
fn by_nf_tables() {
    scenario(EVERYTHING, |lab| put_back(lab, "nftables", BY_NF_TABLES).map(drop));
}

#[test]
fn the_lock_of_the_packet_filter_is_held_at_the_start() {
    scenario(&[Need::Namespaces, Need::Headscale, Need::Iptables, Need::Ours], |lab| {
        let headscale = lab.headscale()?;
        let mut node = lab.node("node", Flavour::Ours)?;
        node.tun = "tailscale0".to_owned();
        let folder = tempfile::tempdir()?;
        let path = folder.path().join("xtables.lock");
        let lock = std::fs::File::create(&path)?;
        lock.lock()?;
        for (name, value) in [
            ("TS_DEBUG_FIREWALL_MODE", "iptables".to_owned()),
            ("XTABLES_LOCKFILE", path.display().to_string()),
        ] {
            node.environment.push((name.to_owned(), value));
        }
        node.start()?;
        node.join(&headscale)?;
        let refused =
            || Ok::<_, anyhow::Error>(node.status()?["Health"].to_string().contains("rules of table"));
        lab::until("health to tell of the lock", Duration::from_secs(8), || Ok(refused()?.then_some(())))?;
        std::thread::sleep(Duration::from_secs(2));
        let without = ours(&node.host)?;
        ensure!(!without.contains("ts-"), "rules without the lock:\n{without}");
        lock.unlock()?;
        lab::until("the rules", Duration::from_secs(10), || {
            Ok((ours(&node.host)?.contains("-A ts-postrouting") && !refused()?).then_some(()))
        })
    });
}
