//! Direct paths between nodes of one network, with a real control server and relay: found at once whoever begins, left
//! for the relay and found again under a running TCP connection; heard of behind a packet filter.

use anyhow::{Context, Result, ensure};
use blackbox::conversation::{Conversation, STANDSTILL};
use blackbox::traffic::echo;
use blackbox::{EVERYTHING, count, number, scenario};
use lab::{Flavour, Headscale, Lab, Node};
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

/// In which two nodes of one network must have found each other.
const FOUND: Duration = Duration::from_secs(10);

/// In which a path that is blocked must have been left: the time it is trusted, and a little.
const LEFT: Duration = Duration::from_secs(12);

/// A node with a kernel interface whose UDP passes.
fn open(lab: &Lab, headscale: &Headscale, name: &str, flavour: Flavour) -> Result<Node> {
    let mut node = lab.node(name, flavour)?;
    node.tun = "tailscale0".to_owned();
    node.start()?;
    node.join(headscale).with_context(|| format!("{name} ({flavour:?}) joins"))?;
    Ok(node)
}

/// A node's addresses on the network between the nodes.
fn underlay(node: &Node) -> Vec<IpAddr> {
    let v6 = node.host.ipv6.map(IpAddr::V6);
    std::iter::once(IpAddr::V4(node.host.ipv4)).chain(v6).collect()
}

/// The address at which `from` reaches `to` directly, if it does.
fn direct(from: &Node, to: &str) -> Result<Option<SocketAddr>> {
    let peer = from.peer(to)?.context("no such peer")?;
    Ok(peer["CurAddr"].as_str().and_then(|at| at.parse().ok()))
}

/// Waits until `from` reaches `to` directly, at one of its own addresses.
fn wait_direct(from: &Node, to: &Node, within: Duration) -> Result<SocketAddr> {
    let (names, address) = (format!("{} -> {}", from.host.name, to.host.name), to.ipv4()?);
    let at = lab::until(&format!("a direct path {names}"), within, || direct(from, &address))?;
    ensure!(underlay(to).contains(&at.ip()), "{names} at {at}, which is none of {:?}", underlay(to));
    Ok(at)
}

#[test]
fn nodes_of_one_network_find_each_other_whoever_begins() {
    scenario(EVERYTHING, |lab| {
        let headscale = lab.headscale()?;
        let one = open(lab, &headscale, "one", Flavour::Ours)?;
        let two = open(lab, &headscale, "two", Flavour::Ours)?;
        let three = open(lab, &headscale, "three", Flavour::Ours)?;
        let go = open(lab, &headscale, "go", Flavour::Go)?;
        let other = open(lab, &headscale, "other", Flavour::Go)?;
        for (from, to) in [(&one, &two), (&three, &go), (&other, &three), (&go, &one)] {
            let names = format!("{} -> {}", from.host.name, to.host.name);
            from.wait_peer(to)?;
            let started = lab::now();
            echo(&from.host, to.ipv4()?.parse()?, Duration::from_secs(20))?;
            wait_direct(from, to, FOUND)?;
            number(&format!("first packet to direct path, {names}"), format!("{:.2?}", started.elapsed()));
            wait_direct(to, from, FOUND)?;
            // As the command line tells it, and as control has been told.
            let pong = from.tailscale(&["ping", "-c", "5", &to.ipv4()?])?.ok()?;
            let last = pong.stdout.lines().last().unwrap_or_default();
            let via = underlay(to).iter().any(|ip| last.contains(&ip.to_string()));
            ensure!(last.contains("pong from") && via, "{names}: {pong}");
        }
        let status = one.tailscale(&["status"])?;
        ensure!(status.stdout.contains("active; direct "), "{status}");
        Ok(())
    });
}

fn blocked_and_back(peer: Flavour) {
    scenario(EVERYTHING, |lab| {
        let headscale = lab.headscale()?;
        let ours = open(lab, &headscale, "ours", Flavour::Ours)?;
        let theirs = open(lab, &headscale, "theirs", peer)?;
        ours.wait_peer(&theirs)?;
        let address = theirs.ipv4()?;
        echo(&ours.host, address.parse()?, Duration::from_secs(20))?;
        wait_direct(&ours, &theirs, FOUND)?;
        Conversation::during(&ours, &theirs, |talk| {
            talk.goes_on(Duration::from_secs(5))?;
            // Once where the other end's datagrams vanish, once where our own system refuses ours.
            for (blocked, what) in [(&theirs, "lost on the way"), (&ours, "refused by our own system")] {
                blocked.host.block_udp()?;
                let began = lab::now();
                lab::until("the relay", LEFT, || Ok(direct(&ours, &address)?.is_none().then_some(())))?;
                number(
                    &format!("direct path left, UDP {what}, peer {peer:?}"),
                    format!("{:.1?}", began.elapsed()),
                );
                let stood = talk.goes_on(STANDSTILL)?;
                number(&format!("TCP goes on by the relay, peer {peer:?}, after"), format!("{stood:.1?}"));
                blocked.host.unblock_udp()?;
                let began = lab::now();
                wait_direct(&ours, &theirs, FOUND + FOUND)?;
                number(&format!("direct again, peer {peer:?}"), format!("{:.1?}", began.elapsed()));
                talk.goes_on(Duration::from_secs(10))?;
            }
            Ok(())
        })
    });
}

#[test]
fn a_connection_outlives_its_direct_path_between_two_of_ours() {
    blocked_and_back(Flavour::Ours);
}

#[test]
fn a_connection_outlives_its_direct_path_to_a_go_node() {
    blocked_and_back(Flavour::Go);
}

/// A packet filter that lets nothing through to where a node listens.
const DEAF: &str = r#"table inet lab_deaf {
  chain input { type filter hook input priority 0; iifname "eth0" udp dport 41641 drop; }
}"#;

/// Leaves IPv6 alone as a way to such a node.
const SIX: &str = r#"table inet lab_six {
  chain output { type filter hook output priority 0; meta nfproto ipv4 udp dport 41641 drop; }
}"#;

#[test]
fn disco_is_heard_before_the_packet_filter_where_that_is_wanted() {
    scenario(EVERYTHING, |lab| {
        let headscale = lab.headscale()?;
        let asker = open(lab, &headscale, "asker", Flavour::Ours)?;
        // By night Go's in the same place, for the number: it hears nothing here.
        let flavours = [Flavour::Ours, Flavour::Go];
        for flavour in flavours.into_iter().take(count(1, 2) as usize) {
            for raw in [false, true] {
                let mut node = lab.node(&format!("deaf-{flavour:?}-{raw}").to_lowercase(), flavour)?;
                node.tun = "tailscale0".to_owned();
                node.arguments.push("--port=41641".to_owned());
                node.environment.push(("TS_ENABLE_RAW_DISCO".to_owned(), raw.to_string()));
                node.host.run(&["nft", DEAF])?;
                node.start()?;
                node.join(&headscale)?;
                asker.wait_peer(&node)?;
                let mut heard = Vec::new();
                for only_six in [false, true] {
                    if only_six {
                        asker.host.run(&["nft", SIX])?;
                    }
                    // Only what has come back by itself says that it was heard: none of it opens the filter.
                    let hear = || -> Result<Option<bool>> {
                        let pong = asker.tailscale(&["ping", "-c", "3", &node.ipv4()?])?;
                        let mut via = underlay(&node).into_iter().filter(|ip| {
                            pong.stdout.contains(&format!("via {} in", SocketAddr::new(*ip, 41641)))
                        });
                        Ok(via.next().map(|ip| ip.is_ipv6()))
                    };
                    // The path by IPv4, if that was the better one, is believed in for a while yet.
                    heard.push(match raw && only_six {
                        true => lab::until("a pong by IPv6", LEFT, || Ok(hear()?.filter(|six| *six))).ok(),
                        false => hear()?,
                    });
                }
                asker.host.run(&["nft", "delete table inet lab_six"])?;
                number(
                    &format!("disco behind a packet filter, {flavour:?}, raw {raw}"),
                    format!("{heard:?}"),
                );
                let wanted =
                    if raw { heard[0].is_some() && heard[1] == Some(true) } else { heard == [None; 2] };
                let told = matches!(flavour, Flavour::Go);
                ensure!(wanted || told, "{flavour:?}, raw {raw}: heard by IPv6: {heard:?}");
                node.stop()?;
            }
        }
        Ok(())
    });
}
