//! Networks behind nodes: ours and Go's as subnet routers for each other, with the kernel's packet filter by either way and
//! without.

use anyhow::{Context, Result, ensure};
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
    fn new(lab: &Lab, headscale: &Headscale, name: &str, flavour: Flavour, number: u8) -> Result<Self> {
        let mut node = lab.node(name, flavour)?;
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

fn both_ways(lab: &Lab) -> Result<()> {
    let headscale = lab.headscale()?;
    let ours = Site::new(lab, &headscale, "ours", Flavour::Ours, 1)?;
    let go = Site::new(lab, &headscale, "go", Flavour::Go, 2)?;
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
    ours.machine.run(&["ip", "link", "show", "lan0"])?;
    go.wait(&ours.machine, true)?;
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
    scenario(EVERYTHING, both_ways);
}

#[test]
fn on_a_kernel_like_that_of_routeros() {
    scenario(EVERYTHING, |lab| {
        refuse(&[Refused::NfTables])?;
        both_ways(lab)
    });
}
