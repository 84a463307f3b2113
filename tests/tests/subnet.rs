//! Networks behind nodes: ours and Go's as subnet routers for each other, with the kernel's packet filter by either way and
//! without.

use anyhow::{Context, Result, ensure};
use blackbox::traffic::transfer;
use blackbox::{EVERYTHING, scenario};
use lab::{Flavour, Headscale, Host, Lab, Node, Refused, refuse};
use std::time::Duration;

/// A node with a kernel interface that forwards, and one machine on a LAN behind it that knows no way back to the tailnet.
struct Site {
    node: Node,
    machine: Host,
    lan: String,
}

impl Site {
    fn new(
        lab: &Lab,
        headscale: &Headscale,
        (name, flavour): (&str, Flavour),
        number: u8,
        environment: &[(&str, &str)],
    ) -> Result<Self> {
        let mut node = lab.node(name, flavour)?;
        let environment = environment.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        node.environment.extend(environment);
        let machine = lab.host(&format!("{name}-lan"))?;
        let inside = format!("ip link add lan0 type veth peer name lan0 netns {}", machine.namespace_name());
        node.host.run(&inside.split(' ').collect::<Vec<_>>())?;
        machine.run(&["ip", "link", "del", "eth0"])?;
        for (host, last) in [(&node.host, 1), (&machine, 2)] {
            host.run(&["ip", "addr", "add", &format!("10.77.{number}.{last}/24"), "dev", "lan0"])?;
            host.run(&["ip", "addr", "add", &format!("fd77:{number}::{last}/64"), "dev", "lan0", "nodad"])?;
            host.run(&["ip", "link", "set", "lan0", "up"])?;
        }
        for key in ["net.ipv4.ip_forward=1", "net.ipv6.conf.all.forwarding=1"] {
            node.host.run(&["sysctl", "-qw", key])?;
        }
        // Go's node asks the program of this name; the other one fails where nf_tables is refused.
        for program in ["iptables", "ip6tables"] {
            let name = node.host.etc().join("alternatives").join(program);
            std::fs::remove_file(&name).ok();
            std::os::unix::fs::symlink(format!("/usr/sbin/{program}-legacy"), name)?;
        }
        node.tun = "tailscale0".to_owned();
        node.start()?;
        node.join(headscale)?;
        let lans = [format!("10.77.{number}.0/24"), format!("fd77:{number}::/64")].join(",");
        node.tailscale(&["set", &format!("--advertise-routes={lans}"), "--accept-routes"])?.ok()?;
        lab::until("headscale to know the routes", Duration::from_secs(20), || {
            let known = headscale.node(name)?;
            Ok(known["available_routes"].as_array().is_some_and(|all| all.len() == 2).then_some(()))
        })?;
        let id = headscale.node(name)?["id"].to_string();
        let id = id.trim_matches('"');
        headscale.cli(&["nodes", "approve-routes", "--identifier", id, "--routes", &lans])?;
        Ok(Self { node, machine, lan: format!("77.{number}") })
    }

    /// Whether the machine answers `from`.
    fn answers(&self, from: &Host, v6: bool) -> bool {
        let address = self.machine_address(v6);
        from.run(&["ping", "-c", "1", "-W", "1", &address]).is_ok()
    }

    fn machine_address(&self, v6: bool) -> String {
        let number = self.lan.trim_start_matches("77.");
        if v6 { format!("fd77:{number}::2") } else { format!("10.{}.2", self.lan) }
    }

    fn wait(&self, from: &Host, answers: bool) -> Result<()> {
        for v6 in [false, true] {
            let what = format!(
                "{} {} from {}",
                self.machine_address(v6),
                if answers { "to answer" } else { "to be silent" },
                from.name
            );
            lab::until(&what, Duration::from_secs(30), || {
                Ok((self.answers(from, v6) == answers).then_some(()))
            })?;
        }
        Ok(())
    }
}

fn set(site: &Site, setting: &str) -> Result<()> {
    site.node.tailscale(&["set", setting])?.ok().map(drop).with_context(|| setting.to_owned())
}

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
        let address = to.machine_address(v6).parse()?;
        transfer(&from.machine, &to.machine, address, 64)?;
    }
    for machine in machines {
        let text = machine.run(&["nft", "list", "chain", "inet", "look", "in"])?;
        let counts = text.lines().filter_map(|line| line.split("counter packets ").nth(1)?.split(' ').next());
        let counts: Vec<bool> = counts.map(|count| count != "0").collect();
        ensure!(counts == [false, false, true, true], "segments that do not fit: {text}");
    }
    Ok(())
}

fn both_ways(lab: &Lab, environment: &[(&str, &str)]) -> Result<()> {
    let headscale = lab.headscale()?;
    let ours = Site::new(lab, &headscale, ("ours", Flavour::Ours), 1, environment)?;
    let go = Site::new(lab, &headscale, ("go", Flavour::Go), 2, &[])?;
    // The machines have no way to the tailnet's addresses: that they answer is translation at work.
    ours.wait(&go.node.host, true)?;
    go.wait(&ours.node.host, true)?;
    ensure!(has_rules(&ours.node.host)?, "answers without rules");
    set(&ours, "--snat-subnet-routes=false")?;
    ours.wait(&go.node.host, false)?;
    ours.machine.run(&["ip", "route", "add", "default", "via", "10.77.1.1"])?;
    ours.machine.run(&["ip", "-6", "route", "add", "default", "via", "fd77:1::1"])?;
    ours.wait(&go.node.host, true)?;
    // And from LAN to LAN.
    go.wait(&ours.machine, true)?;
    if environment.is_empty() {
        go.machine.run(&["ip", "route", "add", "default", "via", "10.77.2.1"])?;
        go.machine.run(&["ip", "-6", "route", "add", "default", "via", "fd77:2::1"])?;
        bulk(&ours, &go)?;
    }
    set(&ours, "--netfilter-mode=off")?;
    ensure!(!has_rules(&ours.node.host)?, "rules with --netfilter-mode=off");
    ours.wait(&go.node.host, true)?;
    set(&ours, "--netfilter-mode=on")?;
    set(&ours, "--snat-subnet-routes=true")?;
    ensure!(has_rules(&ours.node.host)?, "no rules with --netfilter-mode=on");
    set(&ours, "--accept-routes=false")?;
    go.wait(&ours.node.host, false)?;
    let mut node = ours.node;
    node.stop()?;
    ensure!(!has_rules(&node.host)?, "rules after the end");
    Ok(())
}

#[test]
fn lans_behind_ours_and_behind_go() {
    scenario(EVERYTHING, |lab| both_ways(lab, &[]));
}

#[test]
fn on_a_kernel_like_that_of_routeros() {
    scenario(EVERYTHING, |lab| {
        refuse(&[Refused::NfTables])?;
        both_ways(lab, &[("TS_DEBUG_ROUTE_LAYOUT", "policy")])
    });
}

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

#[test]
fn what_a_killed_node_of_either_kind_left_is_taken_over() {
    scenario(EVERYTHING, |lab| {
        let headscale = lab.headscale()?;
        let mut site = Site::new(lab, &headscale, ("site", Flavour::Go), 1, &[])?;
        let user = Site::new(lab, &headscale, ("user", Flavour::Go), 2, &[])?;
        let mut seen = Vec::new();
        for flavour in [Flavour::Go, Flavour::Ours, Flavour::Ours, Flavour::Go, Flavour::Ours] {
            site.node.kill();
            site.node.flavour = flavour;
            site.node.start()?;
            site.node.wait_running()?;
            site.wait(&user.node.host, true)?;
            seen.push(traces(&site.node.host)?);
        }
        let (go, ours) = ([2, 2, 2, 8], [2, 2, 2, 0]);
        ensure!(seen == [go, ours, ours, go, ours], "{seen:?}");
        site.node.kill();
        let mut command = site.node.daemon_command();
        command.arg("--cleanup");
        site.node.host.outcome(command, Duration::from_secs(20))?.ok()?;
        ensure!(traces(&site.node.host)? == [0; 4], "left: {:?}", traces(&site.node.host)?);
        Ok(())
    });
}
