//! A direct path under a running TCP connection while the ground moves: another address, another router's address, a peer
//! that starts anew, a relay that is gone or that one side alone reaches. A Go node does the same in the same run.

use anyhow::{Context, Result, ensure};
use blackbox::conversation::{Conversation, STANDSTILL};
use blackbox::roaming::{AGAIN, compare, direct, open, readdress, wait_direct};
use blackbox::{count, number, scenario};
use lab::{Capture, Flavour, Host, Nat, Need, Node, Ping, Sent, until};
use std::time::Duration;

const NEEDS: &[Need] = &[Need::Namespaces, Need::Headscale, Need::Go, Need::Ours];
const WITH_RELAYS: &[Need] = &[Need::Namespaces, Need::Headscale, Need::Derper, Need::Go, Need::Ours];

/// What takes a minute is left to the night.
fn by_day() -> bool {
    count(0, 1) == 0
}

#[test]
fn a_connection_outlives_a_change_of_address() {
    scenario(NEEDS, |lab| {
        let anywhere = |name: &str| Ok((lab.host(&format!("roamer-{name}"))?, ()));
        compare(lab, ("after a change of address", 2), anywhere, |all| {
            let host = &all.node.host;
            let v6 = host.ipv6.context("no IPv6")?;
            host.run(&["ip", "address", "del", &format!("{v6}/64"), "dev", "eth0"])?;
            wait_direct(all.fixed, all.node, &|at| at.is_ipv4())?;
            all.talk.goes_on(STANDSTILL)?;
            readdress(host, all.free)?;
            Ok(Some(all.free))
        })
    });
}

#[test]
fn what_comes_and_goes_beside_the_way_out_costs_no_connection() {
    scenario(NEEDS, |lab| {
        let headscale = lab.headscale()?;
        let ours = open(lab, &headscale, lab.host("ours")?, Flavour::Ours)?;
        let host = &ours.host;
        // What it does of itself after the start.
        std::thread::sleep(Duration::from_secs(5));
        let mut opened = Vec::new();
        for address in ["fe80::77/64", "169.254.7.7/16", "10.99.0.1/24"] {
            let capture = Capture::new(host)?;
            host.run(&["ip", "link", "add", "guest0", "type", "veth", "peer", "name", "guest1"])?;
            host.run(&["ip", "address", "add", address, "dev", "guest0"])?;
            for end in ["guest0", "guest1"] {
                host.run(&["ip", "link", "set", end, "up"])?;
            }
            std::thread::sleep(Duration::from_secs(2));
            host.run(&["ip", "link", "del", "guest0"])?;
            std::thread::sleep(Duration::from_secs(2));
            // The first packet of a TCP connection.
            let first = |sent: &&Sent| {
                let flags = sent.bytes.get(if sent.to.is_ipv4() { 33 } else { 53 });
                sent.protocol == 6 && flags.is_some_and(|flags| flags & 0x12 == 2)
            };
            opened.push((address, capture.end().iter().filter(first).count()));
        }
        number("connections opened when other interfaces come and go", format!("{opened:?}"));
        ensure!(opened.iter().all(|(_, count)| *count == 0), "{opened:?}");
        Ok(())
    });
}

#[test]
fn a_connection_outlives_a_link_that_goes_down() {
    if by_day() {
        return;
    }
    scenario(NEEDS, |lab| {
        let anywhere = |name: &str| Ok((lab.host(name)?, ()));
        compare(lab, ("the link is up", 1), anywhere, |all| {
            let link = |way| all.node.host.run(&["ip", "link", "set", "dev", "eth0", way]);
            link("down")?;
            let left = || Ok(direct(all.fixed, all.node)?.is_none().then_some(()));
            until("the path to be left", AGAIN, left)?;
            link("up")?;
            Ok(None)
        })
    });
}

#[test]
fn a_connection_outlives_a_change_of_the_routers_address() {
    if by_day() {
        return;
    }
    scenario(NEEDS, |lab| {
        let behind = |name: &str| {
            let router = lab.router(&format!("router-{name}"), Nat::Easy)?;
            Ok((router.host(&format!("in-{name}"))?, router))
        };
        compare(lab, ("after a change of the router's address", 2), behind, |all| {
            // What was translated to the old address is forgotten with it.
            readdress(&all.place.wan, all.free)?;
            Ok(Some(all.free))
        })
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

/// Nothing at `relay` is reached from `host`, or it is again.
fn without(host: &Host, relay: &Host, blocked: bool) -> Result<()> {
    let word = if blocked { "add" } else { "del" };
    let v4 = format!("{}/32", relay.ipv4);
    let v6 = relay.ipv6.map(|ip| format!("{ip}/128"));
    for net in [Some(v4), v6].into_iter().flatten() {
        host.run(&["ip", "route", word, "blackhole", &net])?;
    }
    Ok(())
}

#[test]
fn who_calls_by_our_relay_is_answered_though_its_own_is_out_of_reach() {
    scenario(WITH_RELAYS, |lab| {
        let relays = lab.relays(2)?;
        let headscale = lab.headscale_beside(&relays)?;
        let mut nodes = Vec::new();
        for (name, other) in [("one", &relays[1]), ("two", &relays[0])] {
            let host = lab.host(name)?;
            host.block_udp()?;
            without(&host, &other.host, true)?;
            nodes.push(open(lab, &headscale, host, Flavour::Ours)?);
        }
        let [one, two] = &nodes[..] else { unreachable!("two nodes") };
        one.wait_peer(two)?;
        two.wait_peer(one)?;
        let homes = || -> Result<()> {
            for (node, relay) in nodes.iter().zip(&relays) {
                let (status, wanted) = (node.status()?, format!("apart{}", relay.region));
                ensure!(
                    status["Self"]["Relay"] == wanted,
                    "home is {}, not {wanted}",
                    status["Self"]["Relay"]
                );
            }
            Ok(())
        };
        until("each to have its own relay, and one to know", Duration::from_secs(20), || {
            homes()?;
            let known = one.peer(&two.ipv4()?)?.context("no such peer")?;
            Ok((known["Relay"] == format!("apart{}", relays[1].region)).then_some(()))
        })?;
        without(&two.host, &relays[0].host, false)?;
        two.wait_ping(Ping::Tsmp, &one.ipv4()?, Duration::from_secs(20))?;
        homes()?;
        Conversation::during(two, one, |talk| talk.goes_on(STANDSTILL).map(drop))
    });
}
