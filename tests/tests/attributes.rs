//! What control sets by attributes of a node while it runs: no heartbeats, another UDP port.

use anyhow::{Context, Result, ensure};
use blackbox::conversation::Conversation;
use blackbox::direct::{Control, PORT};
use blackbox::traffic::echo;
use blackbox::{number, quiet_enough, scenario};
use lab::{Flavour, Need, Node, until};
use std::net::{SocketAddr, UdpSocket};
use std::time::Duration;

const NEEDS: &[Need] = &[Need::Namespaces, Need::Ours];

/// In which a path is found.
const SOON: Duration = Duration::from_secs(15);

/// Counts disco in both directions, by its first six bytes.
const COUNTER: &str = r#"table inet lab_disco {
  counter disco { }
  chain input { type filter hook input priority 100; meta l4proto udp @th,64,48 0x5453f09f92ac counter name disco; }
  chain output { type filter hook output priority 100; meta l4proto udp @th,64,48 0x5453f09f92ac counter name disco; }
}"#;

fn discos(node: &Node) -> Result<u64> {
    let text = node.host.run(&["nft", "-j", "list", "counters"])?;
    let listed: serde_json::Value = serde_json::from_str(&text)?;
    let all = listed["nftables"].as_array().into_iter().flatten();
    all.filter_map(|entry| entry["counter"]["packets"].as_u64()).next().context("no counter")
}

/// The address at which `from` reaches `to` directly.
fn direct(from: &Node, to: &Node) -> Result<Option<SocketAddr>> {
    let peer = from.peer(&to.ipv4()?)?.context("no such peer")?;
    Ok(peer["CurAddr"].as_str().and_then(|at| at.parse().ok()))
}

fn wait_direct(from: &Node, to: &Node) -> Result<SocketAddr> {
    until(&format!("a direct path {} -> {}", from.host.name, to.host.name), SOON, || direct(from, to))
}

#[test]
fn a_silent_node_sends_no_heartbeats_and_keeps_its_path() {
    scenario(NEEDS, |lab| {
        const WINDOW: Duration = Duration::from_secs(14);
        let control = Control::start(lab)?;
        let one = control.node(lab, "one", Flavour::Ours, &[])?;
        let two = control.node(lab, "two", Flavour::Ours, &[])?;
        one.wait_peer(&two)?;
        one.host.run(&["nft", COUNTER])?;
        Conversation::during(&one, &two, |talk| {
            wait_direct(&one, &two)?;
            let count = || -> Result<u64> {
                let before = discos(&one)?;
                std::thread::sleep(WINDOW);
                Ok(discos(&one)? - before)
            };
            let usual = count()?;
            for node in [&one, &two] {
                control.server.set_attributes(&control.view(node)?.key, &["silent-disco"]);
            }
            std::thread::sleep(Duration::from_secs(4));
            ensure!(usual >= 12, "{usual} messages: nothing is measured");
            // A machine that stands still for a second makes a path look dead, and that is asked about.
            quiet_enough(|| {
                let silent = count()?;
                number("disco in 14 s of talk", format!("{usual}, by silent nodes {silent}"));
                let many = silent > usual / 6;
                Ok(many.then(|| format!("{silent} messages of silent nodes, {usual} of others")))
            })?;
            ensure!(direct(&one, &two)?.is_some() && direct(&two, &one)?.is_some(), "it has lost the path");
            // Nothing tells it that the path is dead but that nothing comes.
            two.host.block_udp()?;
            until("the relay", SOON, || Ok(direct(&one, &two)?.is_none().then_some(())))?;
            talk.goes_on(SOON)?;
            two.host.unblock_udp()?;
            wait_direct(&one, &two)?;
            talk.goes_on(SOON).map(drop)
        })
    });
}

#[test]
fn a_port_by_chance_is_taken_while_a_connection_goes_on_and_given_up_again() {
    scenario(NEEDS, |lab| {
        let control = Control::start(lab)?;
        let one = control.node(lab, "one", Flavour::Ours, &[("TS_PACKET_THREADS", "1")])?;
        let two = control.node(lab, "two", Flavour::Ours, &[("TS_PACKET_THREADS", "2")])?;
        one.wait_peer(&two)?;
        Conversation::during(&one, &two, |talk| {
            for (node, other) in [(&one, &two), (&two, &one)] {
                let port = |fit: &dyn Fn(u16) -> bool| {
                    until(&format!("{} to be reached at another port", node.host.name), SOON, || {
                        Ok(direct(other, node)?.filter(|at| fit(at.port())))
                    })
                };
                port(&|port| port == PORT)?;
                let key = control.view(node)?.key;
                control.server.set_attributes(&key, &["randomize-client-port"]);
                port(&|port| port != PORT)?;
                talk.goes_on(SOON)?;
                control.server.set_attributes(&key, &[]);
                port(&|port| port == PORT)?;
                talk.goes_on(SOON)?;
                // Somebody else has taken it in the meantime.
                control.server.set_attributes(&key, &["randomize-client-port"]);
                port(&|port| port != PORT)?;
                let taken = node.host.inside(|| UdpSocket::bind(("0.0.0.0", PORT)))??;
                control.server.set_attributes(&key, &[]);
                std::thread::sleep(Duration::from_secs(1));
                port(&|port| port != PORT)?;
                talk.goes_on(SOON)?;
                drop(taken);
            }
            let sockets = one.host.run(&["ss", "-Hlun"])?;
            ensure!(sockets.lines().count() <= 2, "the old ones are closed: {sockets}");
            echo(&one.host, two.ipv4()?.parse()?, SOON)
        })
    });
}

/// What leaves the machine with the mark of tunnels, and without.
const MARKS: &str = r#"table inet lab_marks {
  counter marked { }
  counter bare { }
  chain output {
    type filter hook output priority 100
    oifname != "eth0" return
    meta l4proto { tcp, udp } meta mark 0x80000 counter name marked return
    tcp flags & rst == rst return
    meta l4proto { tcp, udp } counter name bare
  }
}"#;

#[test]
fn what_carries_the_tunnel_is_marked() {
    scenario(NEEDS, |lab| {
        let control = Control::start(lab)?;
        let two = control.node(lab, "two", Flavour::Ours, &[])?;
        let mut one = lab.node("one", Flavour::Ours)?;
        one.tun = "tailscale0".to_owned();
        one.host.run(&["nft", MARKS])?;
        one.start()?;
        control.join(&one)?;
        one.wait_peer(&two)?;
        echo(&one.host, two.ipv4()?.parse()?, SOON)?;
        wait_direct(&one, &two)?;
        let text = one.host.run(&["nft", "-j", "list", "counters"])?;
        let listed: serde_json::Value = serde_json::from_str(&text)?;
        let count = |name: &str| {
            let all = listed["nftables"].as_array().into_iter().flatten().map(|entry| &entry["counter"]);
            all.filter(|counter| counter["name"] == name).find_map(|counter| counter["packets"].as_u64())
        };
        let (marked, bare) = (count("marked").context("none")?, count("bare").context("none")?);
        ensure!(marked > 30 && bare == 0, "{marked} packets with the mark, {bare} without");
        Ok(())
    });
}
