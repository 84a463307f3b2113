//! A host that Go's node had and ours has next, and back: whatever the one before left, killed or stopped, each makes of it what
//! it always makes, and at the end there is nothing of either.

use anyhow::{Context, Result, ensure};
use blackbox::dump;
use blackbox::site::{Site, set};
use blackbox::world::{World, exit};
use blackbox::{EVERYTHING, scenario};
use lab::{Flavour, Host, Lab};
use std::time::Duration;

/// How many jumps of which kind there are, and upstream's policy rules.
fn traces(host: &Host) -> Result<[usize; 4]> {
    let mut text = host.run(&["iptables-legacy-save"])? + &host.run(&["ip6tables-legacy-save"])?;
    text += &host.run(&["nft", "list", "ruleset"])?;
    let count = |chain: &str| {
        text.matches(&format!("-j {chain}\n")).count() + text.matches(&format!("jump {chain}\n")).count()
    };
    let rules = host.run(&["ip", "rule"])? + &host.run(&["ip", "-6", "rule"])?;
    let rules = rules.lines().filter(|line| line.starts_with("52")).count();
    Ok([count("ts-input"), count("ts-forward"), count("ts-postrouting"), rules])
}

/// Without what upstream leaves for ever and nothing comes of: nf_tables' tables in which there is nothing, and a word in table
/// 52 about addresses that never come there.
fn without_remains(dump: &str) -> String {
    let (mut text, mut table, mut rules) = (String::new(), String::new(), 0);
    for line in dump.lines().filter(|line| line.trim() != "throw 127.0.0.0/8 table 52") {
        let words = line.trim();
        if words.starts_with("table ") && words.ends_with('{') {
            (table, rules) = (format!("{line}\n"), 0);
        } else if table.is_empty() {
            text += &format!("{line}\n");
        } else {
            let frame = ["chain ", "type ", "comment "].iter().any(|word| words.starts_with(word));
            rules += u32::from(!frame && !words.is_empty() && words != "}");
            table += &format!("{line}\n");
            if line.trim_end() == "}" {
                let all = std::mem::take(&mut table);
                text += if rules > 0 { &all } else { "" };
            }
        }
    }
    text
}

/// Rules about connections' marks as either node writes them: each keeps the other's, which it knows by their comments.
fn alike(rules: &str) -> String {
    let line = |line: &str| match line.contains("ct mark") {
        true => line.replace(",untracked", "").replace("counter packets bytes ", "") + "\n",
        false => format!("{line}\n"),
    };
    rules.lines().map(line).collect()
}

/// How one node of a kind after the other has the site, by the same filter: killed, and stopped.
fn taken_over(lab: &Lab, kind: &str, through: bool) -> Result<()> {
    let headscale = lab.headscale()?;
    let port = "--port=41641".to_owned();
    let mut site = Site::prepared(lab, ("site", Flavour::Go), 1)?;
    // Go's node sets these and leaves them set.
    site.node.host.run(&["sysctl", "-qw", "net.ipv4.conf.all.src_valid_mark=1"])?;
    let exit = through.then(|| exit(lab, &headscale, "exit", Flavour::Go)).transpose()?;
    let carrier = exit.as_ref().map_or(&site.node.host, |exit| &exit.host);
    let world = World::new(&lab.host("world")?, &[carrier], &[&site.node.host])?;
    let plain = |dump: String| if kind == "nftables" { without_remains(&dump) } else { dump };
    let everything = |host: &Host| Ok::<_, anyhow::Error>(plain(dump::everything(host)?));
    let before = everything(&site.node.host)?;
    site.node.arguments.push(port);
    if kind == "nftables" {
        site.node.lacks = Some(Vec::new());
    }
    // Each finds what the other left where it looks itself.
    let mode = ("TS_DEBUG_FIREWALL_MODE".to_owned(), kind.to_owned());
    site.node.environment.push(mode.clone());
    site.node.start()?;
    site.join(&headscale, &headscale.auth_key()?)?;
    let user = Site::new(lab, &headscale, ("user", Flavour::Go), 2, &[])?;
    if let Some(exit) = &exit {
        site.node.wait_peer(exit)?;
        let words = ["set", &format!("--exit-node={}", exit.ipv4()?), "--exit-node-allow-lan-access"];
        site.node.tailscale(&words)?.ok()?;
    }
    let works = |site: &Site| -> Result<()> {
        site.wait(&user.node.host, true)?;
        if let Some(exit) = &exit {
            world.sees(&site.node.host, Some(&exit.host))?;
            site.wait(&site.node.host, true).context("the LAN beside the exit node")?;
        }
        Ok(())
    };
    if through {
        works(&site)?;
        let table = site.node.host.run(&["ip", "route", "show", "table", "52"])?;
        ensure!(table.contains("throw") && table.contains("default"), "Go's own table: {table}");
    }
    let closes = |site: &Site| -> Result<()> {
        // Nobody's ways past the exit node are left where the LAN is to be shut.
        set(&site.node, "--exit-node-allow-lan-access=false")?;
        site.wait(&site.node.host, false)?;
        set(&site.node, "--exit-node-allow-lan-access=true")
    };
    let mut seen = Vec::new();
    let mut dumps = Vec::new();
    for flavour in [Flavour::Go, Flavour::Ours, Flavour::Go, Flavour::Ours] {
        // The first runs already.
        if !seen.is_empty() {
            site.node.kill();
            site.node.flavour = flavour;
            site.node.start()?;
            site.node.wait_running()?;
        }
        if through {
            closes(&site).with_context(|| format!("{flavour:?} after {seen:?}"))?;
        }
        works(&site).with_context(|| format!("{flavour:?} after {seen:?}"))?;
        seen.push(traces(&site.node.host)?);
        let dump = dump::routing(&site.node.host)? + &alike(&dump::rules(&site.node.host)?);
        dumps.push((flavour, plain(dump)));
    }
    // What leads beyond the tailnet goes by policy rules with either.
    ensure!(seen == [[2, 2, 2, 8]; 4], "{seen:?}");
    // Whatever was there before, each makes of it what it always makes.
    for flavour in [Flavour::Go, Flavour::Ours] {
        let mut all = dumps.iter().filter(|(of, _)| *of == flavour).map(|(_, dump)| dump);
        let first = all.next().context("no dump")?;
        for dump in all {
            ensure!(dump == first, "{flavour:?}:\n{}", dump::difference(first, dump));
        }
    }
    site.node.kill();
    let mut command = site.node.daemon_command();
    command.arg("--cleanup");
    site.node.host.outcome(command, Duration::from_secs(20))?.ok()?;
    let after = everything(&site.node.host)?;
    ensure!(after == before, "left by --cleanup:\n{}", dump::difference(&before, &after));
    // Ours after Go's that was killed, or stopped, by its own choice of filter and stopped in order: nothing of either is left.
    site.node.flavour = Flavour::Go;
    site.node.start()?;
    site.node.wait_running()?;
    works(&site)?;
    if kind == "iptables" {
        site.node.kill();
    } else {
        site.node.stop()?;
    }
    site.node.environment.retain(|one| *one != mode);
    site.node.flavour = Flavour::Ours;
    site.node.start()?;
    site.node.wait_running()?;
    works(&site).context("by its own choice")?;
    site.node.stop()?;
    let after = everything(&site.node.host)?;
    ensure!(after == before, "left by ours:\n{}", dump::difference(&before, &after));
    Ok(())
}

#[test]
fn what_a_killed_node_of_either_kind_left_is_taken_over() {
    scenario(EVERYTHING, |lab| taken_over(lab, "iptables", false));
}

#[test]
fn what_a_node_of_either_kind_left_in_nf_tables_is_taken_over_with_its_exit_node() {
    scenario(EVERYTHING, |lab| taken_over(lab, "nftables", true));
}
