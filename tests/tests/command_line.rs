//! Both command lines against both daemons: the same commands work, and say the same.

use anyhow::{Context, Result, ensure};
use blackbox::{EVERYTHING, joined, scenario};
use lab::{Flavour, Lab, Need, Node, Outcome, Ping};
use serde_json::Value;
use std::collections::BTreeSet;
use std::process::Command;
use std::time::Duration;

/// Runs a command that must end well and gives what it printed.
fn said(node: &Node, cli: Flavour, words: &[&str]) -> Result<String> {
    Ok(node.tailscale_of(cli, words)?.ok()?.stdout)
}

fn json(node: &Node, cli: Flavour, words: &[&str]) -> Result<Value> {
    let outcome = node.tailscale_of(cli, words)?.ok()?;
    ensure!(outcome.stderr.is_empty(), "--json means nothing else on either stream: {outcome}");
    serde_json::from_str(&outcome.stdout).with_context(|| format!("no JSON: {outcome}"))
}

/// The life of a node, driven by `cli` against a daemon of `daemon`.
fn life(lab: &Lab, daemon: Flavour, cli: Flavour) -> Result<()> {
    let headscale = lab.headscale()?;
    let peer = joined(lab, &headscale, "peer", Flavour::Go)?;
    let mut node = lab.node("one", daemon)?;
    node.host.block_udp()?;
    node.start()?;

    let outcome = node.tailscale_of(cli, &["status"])?;
    ensure!(outcome.code() == 1 && outcome.stdout.contains("Logged out."), "before login: {outcome}");
    let server = format!("--login-server={}", headscale.url());
    let key = format!("--auth-key={}", headscale.auth_key()?);
    let outcome = node.tailscale_of(cli, &["up", &server, &key, "--timeout=40s"])?.ok()?;
    ensure!(outcome.stdout.is_empty() && outcome.stderr.is_empty(), "`up` with a key is silent: {outcome}");
    node.wait_running()?;
    node.wait_peer(&peer)?;
    said(&node, cli, &["wait", "--timeout=20s"])?;

    let status = json(&node, cli, &["status", "--json"])?;
    ensure!(status["BackendState"] == "Running" && status["TUN"] == false, "{status}");
    let (own, other) = (node.ipv4()?, peer.ipv4()?);
    let text = said(&node, cli, &["status"])?;
    ensure!(text.contains(&own) && text.contains(&other), "{text}");
    ensure!(said(&node, cli, &["ip", "-4"])?.trim() == own);
    ensure!(said(&node, cli, &["ip", "-4", "peer"])?.trim() == other);
    ensure!(said(&node, cli, &["ip"])?.lines().count() == 2);
    let whois = json(&node, cli, &["whois", "--json", &other])?;
    ensure!(whois["Node"]["Name"] == "peer.tail.lab.", "{whois}");
    ensure!(said(&node, cli, &["whois", &other])?.contains("peer.tail.lab"));
    let missing = node.tailscale_of(cli, &["whois", "100.127.255.254"])?;
    ensure!(missing.code() == 1 && missing.stderr.contains("peer not found"), "{missing}");
    let other_v6 = peer.ipv6()?;
    for kind in ["--tsmp", "--icmp"] {
        for address in [&other, &other_v6] {
            let line = lab::until("an answer", Duration::from_secs(30), || {
                let outcome = node.tailscale_of(cli, &["ping", kind, "-c", "1", address])?;
                Ok(outcome.stdout.contains("pong from peer").then_some(outcome.stdout))
            })?;
            // Whoever answers by TSMP says where its PeerAPI is.
            let told = line.split_once(&format!("({address}, ")).is_some();
            let bare = line.contains(&format!("({address})"));
            ensure!((told, bare) == (kind == "--tsmp", kind != "--tsmp"), "{kind} {address}: {line}");
        }
    }
    let relayed = said(&node, cli, &["ping", "--until-direct=false", "-c", "1", &other])?;
    ensure!(relayed.contains("via DERP(lab)"), "{relayed}");

    said(&node, cli, &["set", "--hostname=renamed"])?;
    lab::until("headscale to know the new name", Duration::from_secs(20), || {
        Ok(headscale.node("renamed").is_ok().then_some(()))
    })?;
    ensure!(said(&node, cli, &["get", "hostname"])?.trim() == "renamed");

    said(&node, cli, &["down"])?;
    let outcome = node.tailscale_of(cli, &["status"])?;
    ensure!(outcome.code() == 1 && outcome.stdout.contains("Tailscale is stopped."), "{outcome}");
    let again = node.tailscale_of(cli, &["down"])?.ok()?;
    ensure!(again.stderr.contains("Tailscale was already stopped."), "{again}");
    // What `up` would revert must be named.
    let revert = node.tailscale_of(cli, &["up", "--accept-dns=false", "--timeout=10s"])?;
    ensure!(revert.code() == 1 && revert.stderr.contains("--hostname=renamed"), "{revert}");
    // Without any flag nothing can be reverted.
    said(&node, cli, &["up"])?;
    node.wait_running()?;
    ensure!(node.ipv4()? == own, "another address after down and up");

    said(&node, cli, &["logout"])?;
    node.wait_state("NeedsLogin", Duration::from_secs(20))?;
    let outcome = node.tailscale_of(cli, &["status"])?;
    ensure!(outcome.code() == 1 && outcome.stdout.contains("Logged out."), "{outcome}");
    node.tailscale_of(cli, &["up", &server, &key, "--hostname=renamed", "--timeout=40s"])?.ok()?;
    node.wait_running()
}

#[test]
fn go_command_line_drives_our_daemon() {
    scenario(EVERYTHING, |lab| life(lab, Flavour::Ours, Flavour::Go));
}

#[test]
fn our_command_line_drives_the_go_daemon() {
    scenario(EVERYTHING, |lab| life(lab, Flavour::Go, Flavour::Ours));
}

#[test]
fn our_command_line_drives_our_daemon() {
    scenario(EVERYTHING, |lab| life(lab, Flavour::Ours, Flavour::Ours));
}

#[test]
fn profiles_are_listed_for_the_go_command_line() {
    scenario(EVERYTHING, |lab| {
        let headscale = lab.headscale()?;
        let node = joined(lab, &headscale, "one", Flavour::Ours)?;
        let list = said(&node, Flavour::Go, &["switch", "--list"])?;
        ensure!(list.lines().count() == 2 && list.contains('*'), "{list}");
        Ok(())
    });
}

/// The log's last word is the state that the node is in, and no note on what the daemon was asked for is missing.
#[test]
fn every_change_of_state_is_in_the_log() {
    scenario(&[Need::Namespaces, Need::Headscale, Need::Ours], |lab| {
        let headscale = lab.headscale()?;
        let mut node = lab.node("one", Flavour::Ours)?;
        node.arguments.extend(["--syslog", "--socks5-server=:1"].map(str::to_owned));
        node.start()?;
        node.join(&headscale)?;
        said(&node, Flavour::Ours, &["down"])?;
        said(&node, Flavour::Ours, &["up"])?;
        node.wait_running()?;
        let log = node.daemon()?.log_text();
        for part in ["-> Starting", "Starting -> Running", "-> Stopped", "--syslog", "--socks5-server"] {
            ensure!(log.contains(part), "no {part:?} in the log:\n{log}");
        }
        let last = log.lines().rfind(|line| line.contains("Switching ipn state")).unwrap_or_default();
        ensure!(last.contains("-> Running"), "the last word is {last:?}:\n{log}");
        ensure!(log.matches("Starting -> Running").count() == 2, "both times:\n{log}");
        Ok(())
    });
}

/// `tailscale version | true`, `tailscaled --help | head -1`: not a word about it.
#[test]
fn a_reader_that_leaves_is_no_fault() {
    if let Some(reason) = lab::missing(&[Need::Ours]) {
        return blackbox::skip(&reason);
    }
    for (face, words) in [("tailscale", "version"), ("tailscaled", "--help"), ("tailscaled", "--version")] {
        let (reader, writer) = std::io::pipe().expect("a pipe");
        drop(reader);
        let mut command = Command::new(lab::ours_dir().join(face));
        let output = command.arg(words).stdout(writer).output().expect("starts");
        assert!(output.status.code().is_some(), "{face} {words}: {}", output.status);
        assert_eq!(String::from_utf8_lossy(&output.stderr), "", "{face} {words}");
    }
}

#[test]
fn both_command_lines_print_the_same() {
    scenario(EVERYTHING, |lab| {
        let headscale = lab.headscale()?;
        let go = joined(lab, &headscale, "go", Flavour::Go)?;
        let ours = joined(lab, &headscale, "ours", Flavour::Ours)?;
        let mut differences = Vec::new();
        for (node, peer) in [(&go, &ours), (&ours, &go)] {
            node.wait_peer(peer)?;
            let address = peer.ipv4()?;
            // Later ones find a session that is there.
            for kind in [Ping::Disco, Ping::Tsmp] {
                node.wait_ping(kind, &address, Duration::from_secs(20))?;
            }
            let name = format!("{}.tail.lab", peer.host.name);
            let commands: [&[&str]; 27] = [
                &["status"],
                &["status", "--peers=false"],
                &["status", "--self=false", "--header"],
                &["ping", "--tsmp", "-c", "1", &address],
                &["ping", "--icmp", "-c", "1", &address],
                &["ping", "nobody"],
                &["switch", "--list"],
                &["dns", "status"],
                &["dns", "status", "--all"],
                &["dns", "status", "--json"],
                &["dns", "query", &name],
                &["dns", "query", "--json", &name, "aaaa"],
                &["exit-node", "list"],
                &["exit-node", "list", "--filter=Sweden"],
                &["exit-node", "suggest"],
                &["ip"],
                &["ip", "-6"],
                &["ip", "-4", "-6"],
                &["ip", "nobody"],
                &["whois", &address],
                &["whois", "--json", &address],
                &["get", "hostname"],
                &["get", "--json"],
                &["set"],
                &["up", "--no-such-flag"],
                &["nonsense"],
                &["down", "extra"],
            ];
            for words in commands {
                let [one, two] = [Flavour::Go, Flavour::Ours].map(|cli| node.tailscale_of(cli, words));
                let (one, two) = (one?, two?);
                if facts(words, &one) != facts(words, &two) {
                    differences.push(format!("daemon {:?}: Go {one}\n      ours {two}", node.flavour));
                }
            }
            let keys =
                |cli| -> Result<BTreeSet<String>> { Ok(shape(&json(node, cli, &["status", "--json"])?)) };
            ensure!(keys(Flavour::Go)? == keys(Flavour::Ours)?, "status --json differs in shape");
            let measured = |cli| -> Result<BTreeSet<String>> {
                let report = said(node, cli, &["netcheck", "--format=json"])?;
                let report: Value = serde_json::from_str(&report).context("netcheck")?;
                Ok(report.as_object().context("netcheck")?.keys().cloned().collect())
            };
            let (theirs, own) = (measured(Flavour::Go)?, measured(Flavour::Ours)?);
            ensure!(theirs == own, "netcheck: {:?}", theirs.symmetric_difference(&own).collect::<Vec<_>>());
        }
        ensure!(differences.is_empty(), "{} differences:\n{}", differences.len(), differences.join("\n"));
        Ok(())
    });
}

/// What has to be the same: the exit code and the results. Wording on standard error may be better than Go's.
fn facts(words: &[&str], outcome: &Outcome) -> (i32, String) {
    let of_line: fn(&str) -> Option<&str> = match words {
        // How long it took.
        ["ping", ..] => |line| Some(line.split_once(" in ").map_or(line, |(what, _)| what)),
        // Headings, labels and what stands in lists; the sentences between them are our own.
        ["dns", "status", all @ ..] if !all.contains(&"--json") => |line| {
            let label = line.starts_with("===") || line.ends_with(':') || line.starts_with("MagicDNS: ");
            let item = line.starts_with("  - ") || line.starts_with("Tailscale DNS: ");
            (label || item).then_some(line)
        },
        _ => |line| Some(line),
    };
    (outcome.code(), outcome.stdout.lines().filter_map(of_line).map(|line| format!("{line}\n")).collect())
}

/// Paths of all fields, list positions and keys of maps by node or user left out.
fn shape(value: &Value) -> BTreeSet<String> {
    fn walk(value: &Value, path: &str, into: &mut BTreeSet<String>) {
        into.insert(path.to_owned());
        match value {
            Value::Object(fields) => {
                for (name, field) in fields {
                    let named =
                        path.ends_with("/Peer") || path.ends_with("/User") || path.ends_with("/CapMap");
                    walk(field, &format!("{path}/{}", if named { "*" } else { name }), into);
                }
            }
            Value::Array(items) => items.iter().for_each(|item| walk(item, &format!("{path}/*"), into)),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
        }
    }
    let mut paths = BTreeSet::new();
    walk(value, "", &mut paths);
    paths
}

#[test]
fn our_daemons_status_has_the_fields_of_gos() {
    scenario(EVERYTHING, |lab| {
        let headscale = lab.headscale()?;
        let go = joined(lab, &headscale, "go", Flavour::Go)?;
        let ours = joined(lab, &headscale, "ours", Flavour::Ours)?;
        go.wait_peer(&ours)?;
        ours.wait_peer(&go)?;
        let [theirs, own] = [&go, &ours].map(|node| json(node, Flavour::Go, &["status", "--json"]));
        let (theirs, own) = (shape(&theirs?), shape(&own?));
        // Fields that the Go node fills from features that ours does not have in this build.
        let optional =
            ["Capabilities", "CapMap", "sshHostKeys", "PeerAPIURL", "Addrs", "ExtraRecords", "Health"];
        let missing: Vec<_> =
            theirs.difference(&own).filter(|path| !optional.iter().any(|name| path.contains(name))).collect();
        ensure!(missing.is_empty(), "fields that ours does not have: {missing:?}");
        Ok(())
    });
}
