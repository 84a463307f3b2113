//! Two nodes of ours that lead to the same network: headscale asks both whether they live, and when one does not answer any
//! more its peers go by the other.

use anyhow::{Context, Result, ensure};
use blackbox::site::{forwards, node, set};
use blackbox::traffic::datagrams;
use blackbox::{EVERYTHING, number, scenario};
use lab::{Flavour, Headscale, Host, Lab, Node, until};
use std::net::IpAddr;
use std::time::Duration;

/// As often as headscale can be told to ask, and no more patience than it must have.
const OFTEN: &str = "node:\n  routes:\n    ha:\n      probe_interval: 3s\n      probe_timeout: 2s\n";

/// More than two of these intervals.
const WHILE: Duration = Duration::from_secs(7);

/// How long it may take until peers go by the other; headscale decides after two intervals.
const PATIENCE: Duration = Duration::from_secs(30);

/// The network that both lead to.
const LANS: [&str; 2] = ["10.77.1.0/24", "fd77:1::/64"];

/// The machine on it.
const MACHINE: [&str; 2] = ["10.77.1.2", "fd77:1::2"];

fn run(host: &Host, words: &str) -> Result<()> {
    host.run(&words.split(' ').collect::<Vec<_>>()).map(drop).with_context(|| words.to_owned())
}

/// A machine on a LAN without anything on it.
fn machine(lab: &Lab) -> Result<Host> {
    let machine = lab.host("machine")?;
    run(&machine, "ip link del eth0")?;
    run(&machine, "ip link add lan0 up address 02:00:00:00:00:02 type bridge forward_delay 0")?;
    for (address, length) in MACHINE.iter().zip(["24", "64 nodad"]) {
        run(&machine, &format!("ip addr add {address}/{length} dev lan0"))?;
    }
    Ok(machine)
}

/// A node with `number` on the machine's LAN, which it leads to.
fn leads(lab: &Lab, headscale: &Headscale, machine: &Host, name: &str, number: u8) -> Result<Node> {
    let node = node(lab, headscale, name, Flavour::Ours)?;
    let netns = machine.namespace_name();
    run(&node.host, &format!("ip link add lan0 type veth peer name p{number} netns {netns}"))?;
    run(machine, &format!("ip link set p{number} master lan0 up"))?;
    run(&node.host, &format!("ip addr add 10.77.1.{number}/24 dev lan0"))?;
    run(&node.host, &format!("ip addr add fd77:1::{number}/64 dev lan0 nodad"))?;
    run(&node.host, "ip link set lan0 up")?;
    forwards(&node.host)?;
    set(&node, &format!("--advertise-routes={}", LANS.join(",")))?;
    // The other one's network is its own.
    set(&node, "--accept-routes")?;
    headscale.approve_routes(name, &LANS)?;
    Ok(node)
}

/// By which of the nodes the machine is reached now, as its last octet says.
fn way(user: &Node, machine: &Host) -> Result<u8> {
    let mut seen = Vec::new();
    for address in MACHINE {
        seen.push(match datagrams(&user.host, machine, address.parse()?)? {
            IpAddr::V4(by) => by.octets()[3],
            IpAddr::V6(by) => by.octets()[15],
        });
    }
    ensure!(seen[0] == seen[1], "IPv4 and IPv6 go different ways: {seen:?}");
    Ok(seen[0])
}

#[test]
fn a_network_that_two_lead_to_outlives_one_of_them() {
    scenario(EVERYTHING, |lab| {
        let headscale = lab.headscale_with(OFTEN)?;
        let machine = machine(lab)?;
        let one = leads(lab, &headscale, &machine, "one", 1)?;
        let two = leads(lab, &headscale, &machine, "two", 3)?;
        let user = node(lab, &headscale, "user", Flavour::Go)?;
        set(&user, "--accept-routes")?;
        for node in [&one, &two] {
            user.wait_peer(node)?;
        }
        let first = until("a way to the machine", PATIENCE, || way(&user, &machine).map(Some))?;

        // While both are well nothing changes, whoever is asked.
        let log = lab.dir().join("logs").join("headscale-serve.log");
        let said = |word: &str| Ok::<_, anyhow::Error>(std::fs::read_to_string(&log)?.matches(word).count());
        let started = lab::now();
        while started.elapsed() < WHILE {
            let by = way(&user, &machine)?;
            ensure!(by == first, "the way has changed from {first} to {by}");
            std::thread::sleep(Duration::from_millis(100));
        }
        ensure!(said("HA probe")? == 0, "headscale complains while both are well");
        for node in [&one, &two] {
            let health = node.status()?["Health"].to_string();
            ensure!(
                !health.contains("10.77.1.") && !health.contains("fd77:1:"),
                "{}: {health}",
                node.host.name
            );
        }

        let (gone, other) = if first == 1 { (&one, 3) } else { (&two, 1) };
        run(&gone.host, "ip link set eth0 down")?;
        let started = lab::now();
        until("the other way to the machine", PATIENCE, || {
            Ok((way(&user, &machine)? == other).then_some(()))
        })?;
        number("a network by another node after its first is cut off", format!("{:.1?}", started.elapsed()));
        ensure!(said("HA probe: node did not respond")? > 0, "it was not by asking that headscale knew");
        let started = lab::now();
        while started.elapsed() < Duration::from_secs(3) {
            ensure!(way(&user, &machine)? == other, "and back");
        }
        Ok(())
    });
}
