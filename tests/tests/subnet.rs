//! Networks behind nodes: ours and Go's as subnet routers for each other, with the kernel's packet filter by either way and
//! without.

use anyhow::{Result, ensure};
use blackbox::site::{Site, set};
use blackbox::traffic::{addresses, datagrams, transfer};
use blackbox::{EVERYTHING, local_api, scenario};
use lab::{Flavour, Host, Lab, Need, Node, Refused};
use std::time::Duration;

/// Whether there is a rule of ours in either of the kernel's filters.
fn has_rules(host: &Host) -> Result<bool> {
    let mut text = host.run(&["iptables-legacy-save"])? + &host.run(&["ip6tables-legacy-save"])?;
    text += &host.run(&["nft", "list", "ruleset"]).unwrap_or_default();
    Ok(text.contains("ts-forward"))
}

/// Counts the offers of TCP segments that do not fit into the tunnel, and those that do.
const WATCH: [&str; 6] = [
    "add table inet look",
    "add chain inet look in { type filter hook input priority 0; }",
    "add rule inet look in meta nfproto ipv4 tcp flags & (syn | rst) == syn tcp option maxseg size > 1240 counter",
    "add rule inet look in meta nfproto ipv6 tcp flags & (syn | rst) == syn tcp option maxseg size > 1220 counter",
    "add rule inet look in meta nfproto ipv4 tcp flags & (syn | rst) == syn tcp option maxseg size 1240 counter",
    "add rule inet look in meta nfproto ipv6 tcp flags & (syn | rst) == syn tcp option maxseg size 1220 counter",
];

/// From LAN to LAN, with 1500 bytes on both: whoever connects and whoever answers is offered no more than fits.
fn bulk(from: &Site, to: &Site) -> Result<()> {
    let machines = [&from.machine, &to.machine];
    for command in WATCH {
        for machine in machines {
            machine.run(&["nft", command])?;
        }
    }
    for v6 in [false, true] {
        transfer(&from.machine, &to.machine, to.machine_address(v6), 64)?;
    }
    for machine in machines {
        let text = machine.run(&["nft", "list", "chain", "inet", "look", "in"])?;
        let counts = text.lines().filter_map(|line| line.split("counter packets ").nth(1)?.split(' ').next());
        let counts: Vec<bool> = counts.map(|count| count != "0").collect();
        ensure!(counts == [false, false, true, true], "segments that do not fit: {text}");
    }
    Ok(())
}

fn both_ways(lab: &Lab, lacks: Option<Vec<Refused>>, environment: &[(&str, &str)]) -> Result<()> {
    let headscale = lab.headscale()?;
    let mut ours = Site::prepared(lab, ("ours", Flavour::Ours), 1)?;
    ours.node.lacks = lacks;
    ours.start(&headscale, environment)?;
    let go = Site::new(lab, &headscale, ("go", Flavour::Go), 2, &[])?;
    // The machines have no way to the tailnet's addresses: that they answer is translation at work.
    ours.wait(&go.node.host, true)?;
    go.wait(&ours.node.host, true)?;
    ensure!(has_rules(&ours.node.host)?, "answers without rules");
    let asked_by = |v6: bool| datagrams(&go.node.host, &ours.machine, ours.machine_address(v6));
    for v6 in [false, true] {
        let seen = asked_by(v6)?;
        ensure!(seen == ours.node_address(v6), "the LAN is asked by {seen}, not by the router");
    }
    set(&ours.node, "--snat-subnet-routes=false")?;
    ours.wait(&go.node.host, false)?;
    ours.way_back()?;
    ours.wait(&go.node.host, true)?;
    let theirs = addresses(&go.node)?;
    for v6 in [false, true] {
        let seen = asked_by(v6)?;
        ensure!(seen == theirs[usize::from(v6)], "without translation the LAN is asked by {seen}");
        let seen = datagrams(&ours.machine, &go.node.host, theirs[usize::from(v6)])?;
        ensure!(seen == ours.machine_address(v6), "the tailnet is asked by {seen}");
    }
    // And from LAN to LAN.
    go.wait(&ours.machine, true)?;
    if environment.is_empty() {
        go.way_back()?;
        bulk(&ours, &go)?;
    }
    set(&ours.node, "--netfilter-mode=off")?;
    ensure!(!has_rules(&ours.node.host)?, "rules with --netfilter-mode=off");
    ours.wait(&go.node.host, true)?;
    set(&ours.node, "--netfilter-mode=on")?;
    set(&ours.node, "--snat-subnet-routes=true")?;
    ensure!(has_rules(&ours.node.host)?, "no rules with --netfilter-mode=on");
    set(&ours.node, "--accept-routes=false")?;
    go.wait(&ours.node.host, false)?;
    let mut node = ours.node;
    node.stop()?;
    ensure!(!has_rules(&node.host)?, "rules after the end");
    Ok(())
}

#[test]
fn lans_behind_ours_and_behind_go() {
    scenario(EVERYTHING, |lab| both_ways(lab, None, &[]));
}

#[test]
fn on_a_kernel_like_that_of_routeros() {
    scenario(EVERYTHING, |lab| {
        both_ways(lab, Some(vec![Refused::NfTables]), &[("TS_DEBUG_ROUTE_LAYOUT", "policy")])
    });
}

/// Whether forwarding is complained of: at the end of `status`, and by LocalAPI's `check-ip-forwarding`, which the command
/// line asks when networks are advertised.
fn complaints(node: &Node) -> Result<[bool; 2]> {
    let status = node.tailscale(&["status"])?.ok()?.stdout;
    let answer = local_api::body(&node.socket(), "GET check-ip-forwarding")?;
    ensure!(answer.contains("Warning"), "{answer}");
    Ok([status, answer].map(|text| text.contains("ip_forward=1")))
}

#[test]
fn forwarding_switched_on_and_off_is_noticed() {
    scenario(&[Need::Namespaces, Need::Headscale, Need::Ours], |lab| {
        let headscale = lab.headscale()?;
        let mut node = lab.node("node", Flavour::Ours)?;
        node.tun = "tailscale0".to_owned();
        let switch = |host: &Host, on: bool| {
            host.run(&["sysctl", "-qw", &format!("net.ipv4.ip_forward={}", u8::from(on))])
        };
        switch(&node.host, false)?;
        node.start()?;
        node.join(&headscale)?;
        set(&node, "--advertise-routes=10.77.9.0/24")?;
        for (on, what) in [(false, "off"), (true, "switched on"), (false, "switched off again")] {
            switch(&node.host, on)?;
            lab::until(&format!("news of forwarding {what}"), Duration::from_secs(8), || {
                Ok((complaints(&node)? == [!on; 2]).then_some(()))
            })?;
        }
        Ok(())
    });
}
