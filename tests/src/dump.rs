//! What a node may change of the machine it runs on, as text to be compared: addresses, routes, policy rules, rules of
//! both packet filters, and the kernel's settings.

use anyhow::Result;
use lab::Host;

/// Addresses, routes and policy rules, without what moves by itself.
///
/// # Errors
/// When `ip` fails.
pub fn routing(host: &Host) -> Result<String> {
    let mut text = String::new();
    for words in [
        &["ip", "-o", "addr", "show", "scope", "global"][..],
        &["ip", "route", "show", "table", "all"],
        &["ip", "-6", "route", "show", "table", "all"],
        &["ip", "rule"],
        &["ip", "-6", "rule"],
    ] {
        for line in host.run(words)?.lines() {
            // The number of an interface changes with every start, its name does not.
            let line = line.split_once(": ").filter(|(n, _)| n.parse::<u32>().is_ok()).map_or(line, |l| l.1);
            if !line.contains("fe80::") && !line.contains("ff00::") {
                text.push_str(line.trim_end());
                text.push('\n');
            }
        }
    }
    Ok(text)
}

/// Rules of both packet filters, without counters. Tables with nothing in them are left out: x_tables makes them when it
/// is asked for them, and keeps them.
///
/// # Errors
/// When a program fails.
pub fn rules(host: &Host) -> Result<String> {
    let mut text = String::new();
    for program in ["iptables-legacy-save", "ip6tables-legacy-save"] {
        let saved = host.run(&[program])?;
        for table in saved.split_inclusive("COMMIT\n") {
            let own_chain = |line: &str| line.starts_with(':') && line.contains(" - ");
            let changed_policy = |line: &str| line.starts_with(':') && line.contains(" DROP ");
            let something = |line: &str| line.starts_with('-') || own_chain(line) || changed_policy(line);
            if table.lines().any(something) {
                text += &format!("{program}\n");
                let lines = table.lines().filter(|line| !line.starts_with('#'));
                // A chain's line ends with the counters of its policy.
                lines.for_each(|line| text += &format!("{}\n", line.split(" [").next().unwrap_or(line)));
            }
        }
    }
    for line in host.run(&["nft", "list", "ruleset"])?.lines().filter(|line| !line.starts_with('#')) {
        let mut words = line.split(' ').peekable();
        while let Some(word) = words.next() {
            if words.peek().is_some_and(|_| word == "packets" || word == "bytes") {
                words.next();
            }
            text += word;
            text.push(' ');
        }
        text.push('\n');
    }
    Ok(text)
}

/// Settings of the kernel for all interfaces but those that come and go with a node.
///
/// # Errors
/// When `sysctl` fails.
pub fn settings(host: &Host) -> Result<String> {
    let all = host.run(&["sysctl", "-a", "--pattern", "^net[.](ipv4|ipv6|netfilter)[.]"])?;
    let moves = ["tailscale0", "conntrack_count", "random_write_wakeup", "stable_secret"];
    let lines = all.lines().filter(|line| !moves.iter().any(|word| line.contains(word)));
    Ok(lines.map(|line| format!("{line}\n")).collect())
}

/// All of it.
///
/// # Errors
/// When a program fails.
pub fn everything(host: &Host) -> Result<String> {
    Ok(routing(host)? + &rules(host)? + &settings(host)?)
}

/// The lines in which two dumps differ, for a person.
pub fn difference(before: &str, after: &str) -> String {
    let only = |sign: char, these: &str, those: &str| -> String {
        let those: std::collections::BTreeSet<_> = those.lines().collect();
        these.lines().filter(|line| !those.contains(line)).map(|line| format!("{sign} {line}\n")).collect()
    };
    only('-', before, after) + &only('+', after, before)
}
