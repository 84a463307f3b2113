//! A direct path under a running TCP connection while the ground moves: another address, another router's address, a peer
//! that starts anew, a relay that is gone. A Go node does the same in the same run.

use anyhow::{Context, Result, ensure};
use blackbox::conversation::{Conversation, STANDSTILL};
use blackbox::{count, number, scenario};
use lab::{Flavour, Headscale, Host, Lab, Nat, Need, Node, until};
use std::net::SocketAddr;
use std::time::Duration;

const NEEDS: &[Need] = &[Need::Namespaces, Need::Headscale, Need::Go, Need::Ours];
const WITH_RELAYS: &[Need] = &[Need::Namespaces, Need::Headscale, Need::Derper, Need::Go, Need::Ours];

/// In which a path must be there again in any case.
const AGAIN: Duration = Duration::from_secs(30);

/// Ours may take this much longer than Go's: what is measured is polled, and a machine is busy.
const SLACK: Duration = Duration::from_millis(1500);

/// What takes a minute is left to the night.
fn by_day() -> bool {
    count(0, 1) == 0
}

/// A node with a kernel interface that has joined.
fn open(lab: &Lab, headscale: &Headscale, host: Host, flavour: Flavour) -> Result<Node> {
    let mut node = lab.node_on(host, flavour);
    node.tun = "tailscale0".to_owned();
    node.start()?;
    node.join(headscale).with_context(|| format!("{flavour:?} joins"))?;
    Ok(node)
}

/// The address at which `from` reaches `to` directly.
fn direct(from: &Node, to: &Node) -> Result<Option<SocketAddr>> {
    let peer = from.peer(&to.ipv4()?)?.context("no such peer")?;
    Ok(peer["CurAddr"].as_str().and_then(|at| at.parse().ok()))
}

/// Waits until both reach each other directly, the second where `fit` wants it; gives how long that took.
fn wait_direct(from: &Node, to: &Node, fit: &dyn Fn(SocketAddr) -> bool) -> Result<Duration> {
    let began = lab::now();
    until(&format!("{} and {} to be direct", from.host.name, to.host.name), AGAIN, || {
        Ok((direct(from, to)?.is_some_and(fit) && direct(to, from)?.is_some()).then_some(()))
    })?;
    Ok(began.elapsed())
}

/// Times of Go's node and of ours, of which ours must not be longer.
fn compare(what: &str, [go, ours]: [Duration; 2]) -> Result<()> {
    number(&format!("direct again, {what}"), format!("{ours:.1?}, Go's node {go:.1?}"));
    ensure!(ours <= go + SLACK, "{what}: direct again after {ours:?}, Go's node after {go:?}");
    Ok(())
}

#[test]
fn a_connection_outlives_a_change_of_address() {
    scenario(NEEDS, |lab| {
        let headscale = lab.headscale()?;
        let fixed = open(lab, &headscale, lab.host("fixed")?, Flavour::Go)?;
        let mut times = [Duration::ZERO; 2];
        for (n, flavour) in [Flavour::Go, Flavour::Ours].into_iter().enumerate() {
            let name = ["roamer-go", "roamer-ours"][n];
            let roamer = open(lab, &headscale, lab.host(name)?, flavour)?;
            fixed.wait_peer(&roamer)?;
            roamer.wait_peer(&fixed)?;
            let new = format!("203.0.113.{}", 220 + n);
            Conversation::during(&fixed, &roamer, |talk| {
                wait_direct(&fixed, &roamer, &|_| true)?;
                let v6 = roamer.host.ipv6.context("no IPv6")?;
                roamer.host.run(&["ip", "address", "del", &format!("{v6}/64"), "dev", "eth0"])?;
                wait_direct(&fixed, &roamer, &|at| at.is_ipv4())?;
                talk.goes_on(STANDSTILL)?;
                let old = roamer.host.ipv4;
                roamer.host.run(&["ip", "address", "del", &format!("{old}/24"), "dev", "eth0"])?;
                roamer.host.run(&["ip", "address", "add", &format!("{new}/24"), "dev", "eth0"])?;
                times[n] = wait_direct(&fixed, &roamer, &|at| at.ip().to_string() == new)?;
                talk.goes_on(STANDSTILL).map(drop)
            })?;
        }
        compare("after a change of address", times)
    });
}

#[test]
fn a_connection_outlives_a_link_that_goes_down() {
    if by_day() {
        return;
    }
    scenario(NEEDS, |lab| {
        let headscale = lab.headscale()?;
        let fixed = open(lab, &headscale, lab.host("fixed")?, Flavour::Go)?;
        let mut times = [Duration::ZERO; 2];
        for (n, flavour) in [Flavour::Go, Flavour::Ours].into_iter().enumerate() {
            let node = open(lab, &headscale, lab.host(["go", "ours"][n])?, flavour)?;
            fixed.wait_peer(&node)?;
            node.wait_peer(&fixed)?;
            Conversation::during(&fixed, &node, |talk| {
                wait_direct(&fixed, &node, &|_| true)?;
                talk.goes_on(STANDSTILL)?;
                node.host.run(&["ip", "link", "set", "dev", "eth0", "down"])?;
                until("the path to be left", AGAIN, || Ok(direct(&fixed, &node)?.is_none().then_some(())))?;
                node.host.run(&["ip", "link", "set", "dev", "eth0", "up"])?;
                times[n] = wait_direct(&fixed, &node, &|_| true)?;
                talk.goes_on(STANDSTILL).map(drop)
            })?;
        }
        compare("the link is up", times)
    });
}

#[test]
fn a_connection_outlives_a_change_of_the_routers_address() {
    if by_day() {
        return;
    }
    scenario(NEEDS, |lab| {
        let headscale = lab.headscale()?;
        let fixed = open(lab, &headscale, lab.host("fixed")?, Flavour::Go)?;
        let mut times = [Duration::ZERO; 2];
        for (n, flavour) in [Flavour::Go, Flavour::Ours].into_iter().enumerate() {
            let router = lab.router(["router-go", "router-ours"][n], Nat::Easy)?;
            let node = open(lab, &headscale, router.host(["in-go", "in-ours"][n])?, flavour)?;
            fixed.wait_peer(&node)?;
            node.wait_peer(&fixed)?;
            let new = format!("203.0.113.{}", 220 + n);
            Conversation::during(&fixed, &node, |talk| {
                wait_direct(&fixed, &node, &|_| true)?;
                talk.goes_on(STANDSTILL)?;
                // What was translated to the old address is forgotten with it.
                let old = format!("{}/24", router.wan.ipv4);
                router.wan.run(&["ip", "address", "del", &old, "dev", "eth0"])?;
                router.wan.run(&["ip", "address", "add", &format!("{new}/24"), "dev", "eth0"])?;
                times[n] = wait_direct(&fixed, &node, &|at| at.ip().to_string() == new)?;
                talk.goes_on(STANDSTILL).map(drop)
            })?;
        }
        compare("after a change of the router's address", times)
    });
}

#[test]
fn a_peer_with_a_new_disco_key_is_found_at_once() {
    scenario(NEEDS, |lab| {
        let headscale = lab.headscale()?;
        let mut fixed = open(lab, &headscale, lab.host("fixed")?, Flavour::Go)?;
        let mut ours = open(lab, &headscale, lab.host("ours")?, Flavour::Ours)?;
        ours.wait_peer(&fixed)?;
        fixed.wait_peer(&ours)?;
        let found = |fixed: &Node, ours: &Node| {
            Conversation::during(ours, fixed, |talk| {
                talk.goes_on(STANDSTILL)?;
                wait_direct(ours, fixed, &|_| true).map(drop)
            })
        };
        found(&fixed, &ours)?;
        fixed.kill();
        fixed.start()?;
        fixed.wait_running()?;
        let began = lab::now();
        found(&fixed, &ours)?;
        number("direct again, the peer has started anew", format!("{:.1?}", began.elapsed()));
        ours.kill();
        ours.start()?;
        ours.wait_running()?;
        let began = lab::now();
        found(&fixed, &ours)?;
        number("direct again, we have started anew", format!("{:.1?}", began.elapsed()));
        Ok(())
    });
}

#[test]
fn a_connection_through_a_relay_outlives_its_region() {
    scenario(WITH_RELAYS, |lab| {
        let mut relays = lab.relays(2)?;
        let headscale = lab.headscale_beside(&relays)?;
        let mut nodes = Vec::new();
        for name in ["one", "two"] {
            let host = lab.host(name)?;
            host.block_udp()?;
            nodes.push(open(lab, &headscale, host, Flavour::Ours)?);
        }
        let [one, two] = &nodes[..] else { unreachable!("two nodes") };
        one.wait_peer(two)?;
        two.wait_peer(one)?;
        Conversation::during(one, two, |talk| {
            talk.goes_on(STANDSTILL)?;
            let status = one.status()?;
            let home = status["Self"]["Relay"].as_str().context("no home")?;
            let at = relays.iter().position(|relay| home == format!("apart{}", relay.region));
            drop(relays.remove(at.with_context(|| format!("{home} is no relay of this lab"))?));
            let stood = talk.goes_on(2 * STANDSTILL)?;
            number("TCP through relays goes on when a region is gone, after", format!("{stood:.1?}"));
            Ok(())
        })
    });
}
