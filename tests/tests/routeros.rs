//! A container whose router owns the node's address, as RouterOS does with `TS_OWNER=routeros`: another namespace plays the
//! router, with what `docs/subnets.md` has it set up.

use anyhow::{Context, Result, ensure};
use blackbox::site::forwards;
use blackbox::{EVERYTHING, scenario};
use lab::{Flavour, Host, Nat};
use std::time::Duration;

/// Waits until `from` gets an answer from `to`.
fn reaches(from: &Host, to: &str) -> Result<()> {
    let what = format!("{} to reach {to}", from.name);
    lab::until(&what, Duration::from_secs(20), || {
        Ok(from.run(&["ping", "-n", "-c", "1", "-W", "1", to]).ok().map(drop))
    })
}

fn ip(host: &Host, words: &str) -> Result<String> {
    let words: Vec<&str> = std::iter::once("ip").chain(words.split(' ')).collect();
    host.run(&words)
}

#[test]
fn the_router_owns_the_address() {
    scenario(EVERYTHING, |lab| {
        let headscale = lab.headscale()?;
        let mut router = lab.router("routeros", Nat::Easy)?;
        router.add_ipv6(lab)?;
        let mut node = lab.node_on(router.host("container")?, Flavour::Ours);
        let (veth4, veth6) = (node.host.ipv4, node.host.ipv6.context("no IPv6")?);
        node.tun = "tailscale0".to_owned();
        node.environment.push(("TS_OWNER".to_owned(), "routeros".to_owned()));
        forwards(&node.host)?;
        // The LAN behind the router, and one machine that knows of nothing but the router.
        let (ros, machine) = (&router.wan, lab.host("machine")?);
        let lan = format!("link add lan1 type veth peer name lan1 netns {}", machine.namespace_name());
        ip(ros, &lan)?;
        ip(&machine, "link del eth0")?;
        for (host, last) in [(ros, 1), (&machine, 2)] {
            ip(host, &format!("addr add 10.88.0.{last}/24 dev lan1"))?;
            ip(host, &format!("addr add fd88::{last}/64 dev lan1 nodad"))?;
            ip(host, "link set lan1 up")?;
        }
        ip(&machine, "route add default via 10.88.0.1")?;
        ip(&machine, "route add default via fd88::1")?;

        node.start()?;
        node.join(&headscale)?;
        let lans = "10.88.0.0/24,fd88::/64";
        node.tailscale(&["set", &format!("--advertise-routes={lans}")])?.ok()?;
        lab::until("headscale to know the routes", Duration::from_secs(20), || {
            let known = headscale.node("container")?;
            Ok(known["available_routes"].as_array().is_some_and(|all| all.len() == 2).then_some(()))
        })?;
        let id = headscale.node("container")?["id"].to_string();
        headscale.cli(&[
            "nodes",
            "approve-routes",
            "--identifier",
            id.trim_matches('"'),
            "--routes",
            lans,
        ])?;
        let mut far = lab.node("far", Flavour::Go)?;
        far.tun = "tailscale0".to_owned();
        far.start()?;
        far.join(&headscale)?;
        far.tailscale(&["set", "--accept-routes"])?.ok()?;
        node.wait_peer(&far)?;

        // What docs/subnets.md tells to enter in RouterOS.
        let (own4, own6) = (node.ipv4()?, node.ipv6()?);
        ip(ros, &format!("addr add {own4}/32 dev lan0"))?;
        ip(ros, &format!("addr add {own6}/128 dev lan0 nodad"))?;
        ip(ros, &format!("route add 100.64.0.0/10 via {veth4} src {own4}"))?;
        ip(ros, &format!("route add fd7a:115c:a1e0::/48 via {veth6} src {own6}"))?;
        let translate = |program: &str, from: &str, to: &str| {
            let rule = ["-t", "nat", "-I", "POSTROUTING", "-o", "lan0", "-s", from, "-j", "SNAT", "--to", to];
            ros.run(&[&[program][..], &rule].concat())
        };
        translate("iptables-nft", "10.88.0.0/24", &own4)?;
        translate("ip6tables-nft", "fd88::/64", &own6)?;

        let (far4, far6) = (far.ipv4()?, far.ipv6()?);
        for to in [&own4, &own6] {
            reaches(&far.host, to).context("the router by the node's address")?;
        }
        for to in [&far4, &far6] {
            reaches(ros, to).context("the tailnet from the router")?;
            reaches(&machine, to).context("the tailnet from the LAN")?;
        }
        for to in ["10.88.0.2", "fd88::2"] {
            reaches(&far.host, to).context("the LAN from the tailnet")?;
        }
        // The container has neither the addresses nor rules.
        let there = ip(&node.host, "addr show dev tailscale0")?;
        ensure!(!there.contains(&own4) && !there.contains(&own6), "{there}");
        let rules =
            node.host.run(&["iptables-legacy-save"])? + &node.host.run(&["nft", "list", "ruleset"])?;
        ensure!(!rules.contains("ts-"), "{rules}");
        let status = node.status()?;
        ensure!(status["Health"].as_array().is_none_or(Vec::is_empty), "{}", status["Health"]);

        // Nothing of it stays.
        node.stop()?;
        let left = ip(&node.host, "route")? + &ip(&node.host, "-6 route")?;
        ensure!(!left.contains(&own4) && !left.contains(&own6), "{left}");
        Ok(())
    });
}
