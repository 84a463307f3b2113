//! What a node finds out about the network around it, and tells: endpoints by STUN, addresses that change, ports that a
//! router forwards.

use anyhow::{Context, Result, ensure};
use blackbox::direct::Control;
use blackbox::scenario;
use lab::{Flavour, Headscale, Lab, Nat, Need, Node, Speaks, until};
use serde_json::json;
use std::time::Duration;

const NEEDS: &[Need] = &[Need::Namespaces, Need::Headscale, Need::Go, Need::Ours];
const WITH_MAPPER: &[Need] = &[Need::Namespaces, Need::Headscale, Need::Go, Need::Ours, Need::Miniupnpd];

/// How long an endpoint may take to arrive at a peer: the look, and headscale's batches.
const SOON: Duration = Duration::from_secs(15);

/// A Go node on the internet that hears of the others, whose tool shows what control tells; it needs no UDP itself.
fn witness(lab: &Lab, headscale: &Headscale) -> Result<Node> {
    blackbox::joined(lab, headscale, "witness", Flavour::Go)
}

/// The endpoints of the peer called `name` as `node` knows them from control.
fn endpoints(node: &Node, name: &str) -> Result<Vec<String>> {
    let text = node.tailscale(&["debug", "netmap"])?.ok()?.stdout;
    let map: serde_json::Value = serde_json::from_str(&text).context("debug netmap")?;
    let peers = map["Peers"].as_array().cloned().unwrap_or_default();
    let peer = peers.iter().find(|peer| peer["Hostinfo"]["Hostname"] == name || peer["ComputedName"] == name);
    let peer = peer.with_context(|| format!("no {name} among {peers:?}"))?;
    let all = peer["Endpoints"].as_array().cloned().unwrap_or_default();
    Ok(all.iter().filter_map(|at| at.as_str().map(str::to_owned)).collect())
}

/// Waits until the endpoints of `name` are as `fit` wants them.
fn wait_endpoints(node: &Node, name: &str, fit: impl Fn(&[String]) -> bool) -> Result<Vec<String>> {
    let mut last = Vec::new();
    let found = until(&format!("the endpoints of {name}"), SOON, || {
        last = endpoints(node, name)?;
        Ok(fit(&last).then(|| last.clone()))
    });
    found.with_context(|| format!("{name} was last at {last:?}"))
}

#[test]
fn a_node_behind_a_router_tells_where_the_world_sees_it() {
    scenario(NEEDS, |lab| {
        let headscale = lab.headscale()?;
        let witness = witness(lab, &headscale)?;
        let router = lab.router("router", Nat::Easy)?;
        let mut node = lab.node_on(router.host("inside")?, Flavour::Ours);
        node.arguments.push("--port=41641".to_owned());
        node.start()?;
        node.join(&headscale)?;
        witness.wait_peer(&node)?;
        let outside = format!("{}:41641", router.wan.ipv4);
        let inside = format!("{}:41641", node.host.ipv4);
        let all = wait_endpoints(&witness, "inside", |all| all.contains(&outside) && all.contains(&inside))?;
        ensure!(all.first() == Some(&outside), "what the world sees comes first: {all:?}");
        ensure!(!all.iter().any(|at| at.starts_with("100.") || at.starts_with("127.")), "{all:?}");
        Ok(())
    });
}

#[test]
fn a_changed_address_is_told() {
    scenario(NEEDS, |lab| {
        let headscale = lab.headscale()?;
        let witness = witness(lab, &headscale)?;
        let mut node = lab.node("roamer", Flavour::Ours)?;
        node.start()?;
        node.join(&headscale)?;
        witness.wait_peer(&node)?;
        let old = format!("{}:", node.host.ipv4);
        wait_endpoints(&witness, "roamer", |all| all.iter().any(|at| at.starts_with(&old)))?;
        node.host.run(&["ip", "address", "del", &format!("{}/24", node.host.ipv4), "dev", "eth0"])?;
        node.host.run(&["ip", "address", "add", "203.0.113.200/24", "dev", "eth0"])?;
        node.host.run(&["ip", "route", "add", "default", "via", "203.0.113.1"])?;
        wait_endpoints(&witness, "roamer", |all| {
            all.iter().any(|at| at.starts_with("203.0.113.200:"))
                && !all.iter().any(|at| at.starts_with(&old))
        })?;
        let log = node.daemon()?.log_text();
        ensure!(log.matches("the network has changed").count() <= 3, "a burst is one change:\n{log}");
        Ok(())
    });
}

#[test]
fn a_forwarded_port_is_told_and_given_back() {
    scenario(WITH_MAPPER, |lab| {
        let headscale = lab.headscale()?;
        let witness = witness(lab, &headscale)?;
        let router = lab.router("router", Nat::Hard)?;
        let mapper = router.port_mapper(lab, Speaks::Upnp)?;
        let mut node = lab.node_on(router.host("inside")?, Flavour::Ours);
        node.arguments.push("--port=41641".to_owned());
        node.start()?;
        node.join(&headscale)?;
        witness.wait_peer(&node)?;
        let outside = format!("{}:", mapper.external);
        let all = wait_endpoints(&witness, "inside", |all| all.iter().any(|at| at.starts_with(&outside)))
            .with_context(|| mapper.log())?;
        ensure!(
            all.first().is_some_and(|at| at.starts_with(&outside)),
            "a forwarded port comes first: {all:?}"
        );
        ensure!(router.forwarded()?.contains("41641"), "{}", router.forwarded()?);
        node.stop()?;
        ensure!(!router.forwarded()?.contains("41641"), "given back: {}", router.forwarded()?);
        Ok(())
    });
}

#[test]
fn another_network_is_no_reason_to_ask_control_where_nothing_is_to_be_taken_from_it() {
    scenario(&[Need::Namespaces, Need::Ours], |lab| {
        let control = Control::start(lab)?;
        let mut node = control.node(lab, "node", Flavour::Ours, &[])?;
        let key = control.view(&node)?.key;
        node.tailscale(&["set", "--sync=false"])?.ok()?;
        until("the stream to end", SOON, || {
            Ok((!control.server.send_map(&key, json!({"KeepAlive": true}))).then_some(()))
        })?;
        let asked = control.server.counts().maps;
        node.host.run(&["ip", "route", "replace", "default", "via", "203.0.113.9", "dev", "eth0"])?;
        until("the change to be noticed", SOON, || {
            Ok(node.daemon()?.log_text().contains("the network has changed").then_some(()))
        })?;
        // It would ask at once.
        std::thread::sleep(Duration::from_secs(2));
        let now = control.server.counts().maps;
        ensure!(now == asked, "{} requests for maps", now - asked);
        node.tailscale(&["set", "--sync"])?.ok()?;
        until("the stream to come back", SOON, || {
            Ok(control.server.send_map(&key, json!({"KeepAlive": true})).then_some(()))
        })
    });
}
