//! The kernel's TUN: real programs of the hosts talk through the relay, and the namespace is left as it was found.

use anyhow::{Context, Result, ensure};
use blackbox::dump::routing as dump;
use blackbox::traffic::{BLOCK, addresses, echo, echoes, transfer, tunnelled};
use blackbox::{EVERYTHING, complete, count, number, quiet_enough, scenario};
use lab::{Flavour, Need, Ping};
use std::time::Duration;

#[test]
fn programs_of_three_hosts_talk_in_all_directions() {
    scenario(EVERYTHING, |lab| {
        let headscale = lab.headscale()?;
        let one = tunnelled(lab, &headscale, "one", Flavour::Ours)?;
        let two = tunnelled(lab, &headscale, "two", Flavour::Ours)?;
        let go = tunnelled(lab, &headscale, "go", Flavour::Go)?;
        let nodes = [&one, &two, &go];
        let blocks = u64::from(count(16, 64)) << 8;
        for (from, to) in nodes.iter().flat_map(|from| nodes.map(|to| (*from, to))) {
            if from.host.name == to.host.name {
                continue;
            }
            from.wait_peer(to)?;
            for address in addresses(to)? {
                let names = format!("{} -> {} ({address})", from.host.name, to.host.name);
                // The first packet may have to wait for a handshake with a peer that does not know us yet.
                echo(&from.host, address, Duration::from_secs(20))?;
                echoes(&from.host, address, count(5, 100), "56", "0.02").with_context(|| names.clone())?;
                let took = transfer(&from.host, &to.host, address, blocks)?;
                let rate = (blocks as usize * BLOCK * 8) as f64 / took.as_secs_f64() / 1e6;
                number(&format!("TCP over the relay, {names}"), format!("{rate:.0} Mbit/s"));
            }
        }
        // Pings of the nodes themselves still work where a kernel answers, and the kernel's still do meanwhile.
        for (from, to) in [(&one, &two), (&one, &go), (&go, &two)] {
            for kind in [Ping::Icmp, Ping::Tsmp] {
                complete(&from.ping(kind, &to.ipv4()?, 3)?)
                    .with_context(|| format!("{kind:?} {} -> {}", from.host.name, to.host.name))?;
            }
        }
        let status = one.status()?;
        ensure!(status["TUN"] == true, "TUN in {status}");
        Ok(())
    });
}

#[test]
fn the_namespace_is_as_it_was_after_every_kind_of_end() {
    scenario(EVERYTHING, |lab| {
        let headscale = lab.headscale()?;
        let peer = tunnelled(lab, &headscale, "peer", Flavour::Ours)?;
        let mut node = lab.node("one", Flavour::Ours)?;
        node.tun = "tailscale0".to_owned();
        node.host.block_udp()?;
        let before = dump(&node.host)?;
        node.start()?;
        node.join(&headscale)?;
        let running = dump(&node.host)?;
        for part in [node.ipv4()?, node.ipv6()?, "100.64.0.0/10 dev tailscale0".to_owned()] {
            ensure!(running.contains(&part), "no {part} in\n{running}");
        }
        ensure!(running.contains("fd7a:115c:a1e0::/48 dev tailscale0"), "{running}");
        let link = node.host.run(&["ip", "link", "show", "dev", "tailscale0"])?;
        ensure!(link.contains("mtu 1280"), "{link}");

        node.tailscale(&["down"])?.ok()?;
        lab::until("down to take the addresses away", Duration::from_secs(5), || {
            Ok((!dump(&node.host)?.contains("100.64")).then_some(()))
        })?;
        node.tailscale(&["up"])?.ok()?;
        lab::until("up to bring them back", Duration::from_secs(10), || {
            Ok((dump(&node.host)? == running).then_some(()))
        })?;

        node.stop()?;
        ensure!(dump(&node.host)? == before, "after a clean stop:\n{}", dump(&node.host)?);
        let [address, _] = addresses(&peer)?;
        for round in 0..count(2, 20) {
            node.start()?;
            let started = lab::now();
            echo(&node.host, address, Duration::from_secs(20))?;
            let took = started.elapsed();
            number("start to first echo of a program", format!("{took:?}"));
            // A peer that hears of the restart late must not end the session it has just made.
            ensure!(took <= Duration::from_secs(4), "{took:?}");
            ensure!(dump(&node.host)? == running, "round {round}:\n{}", dump(&node.host)?);
            node.kill();
            lab::until("the kernel to remove the device", Duration::from_secs(5), || {
                Ok((dump(&node.host)? == before).then_some(()))
            })?;
        }
        // Somebody removes the device, and what does not go with it goes all the same.
        node.environment.push(("TS_DEBUG_ROUTE_LAYOUT".to_owned(), "policy".to_owned()));
        node.start()?;
        node.wait_running()?;
        lab::until("the policy rules", Duration::from_secs(5), || {
            Ok(dump(&node.host)?.contains("lookup 52").then_some(()))
        })?;
        node.host.run(&["ip", "link", "del", "tailscale0"])?;
        node.daemon()?.wait(Duration::from_secs(5))?;
        ensure!(dump(&node.host)? == before, "after the device is gone:\n{}", dump(&node.host)?);
        node.environment.clear();
        node.arguments.push("--cleanup".to_owned());
        node.host.outcome(node.daemon_command(), Duration::from_secs(10))?.ok()?;
        ensure!(dump(&node.host)? == before, "after --cleanup:\n{}", dump(&node.host)?);
        Ok(())
    });
}

#[test]
fn without_a_device_there_is_one_line_that_says_what_to_do() {
    scenario(&[Need::Namespaces, Need::Ours], |lab| {
        let mut node = lab.node("one", Flavour::Ours)?;
        node.tun = "tailscale0".to_owned();
        node.prepare = Some("mount -t tmpfs none /dev/net".to_owned());
        let outcome = node.host.outcome(node.daemon_command(), Duration::from_secs(10))?;
        ensure!(outcome.code() == 1, "{outcome}");
        let lines: Vec<_> = outcome.stderr.lines().collect();
        let [line] = lines.as_slice() else { anyhow::bail!("not one line: {outcome}") };
        for part in ["/dev/net/tun", "--tun=userspace-networking"] {
            ensure!(line.contains(part), "no {part} in {line}");
        }
        // The next name in the list is tried.
        node.tun = "tailscale0,userspace-networking".to_owned();
        node.start()?;
        ensure!(node.status()?["TUN"] == false, "a list falls back");
        Ok(())
    });
}

#[test]
fn an_interface_somebody_removes_ends_the_daemon() {
    scenario(&[Need::Namespaces, Need::Ours], |lab| {
        let mut node = lab.node("one", Flavour::Ours)?;
        node.tun = "tailscale0".to_owned();
        node.start()?;
        node.host.run(&["ip", "link", "del", "tailscale0"])?;
        let daemon = node.daemon()?;
        let status = daemon.wait(Duration::from_secs(5))?;
        ensure!(status.code() == Some(1), "{status}");
        ensure!(daemon.log_text().contains("TUN interface"), "{}", daemon.log_text());
        Ok(())
    });
}

/// Packets one after the other, after so many of which the control thread reads the TUN itself.
const RELAYED: u32 = 60;

#[test]
fn an_interface_somebody_removes_ends_the_daemon_while_everything_goes_by_the_relay_too() {
    scenario(EVERYTHING, |lab| {
        let headscale = lab.headscale()?;
        let mut one = tunnelled(lab, &headscale, "one", Flavour::Ours)?;
        let two = tunnelled(lab, &headscale, "two", Flavour::Ours)?;
        one.wait_peer(&two)?;
        let [address, _] = addresses(&two)?;
        echo(&one.host, address, Duration::from_secs(20))?;
        echoes(&one.host, address, RELAYED, "56", "0.02")?;
        // Nothing that is still under way tells it.
        std::thread::sleep(Duration::from_secs(2));
        one.host.run(&["ip", "link", "del", "tailscale0"])?;
        let status = one.daemon()?.wait(Duration::from_secs(5))?;
        ensure!(status.code() == Some(1), "{status}");
        Ok(())
    });
}

#[test]
fn a_stream_outlives_the_relay() {
    scenario(EVERYTHING, |lab| {
        let mut headscale = lab.headscale()?;
        let one = tunnelled(lab, &headscale, "one", Flavour::Ours)?;
        let two = tunnelled(lab, &headscale, "two", Flavour::Ours)?;
        one.wait_peer(&two)?;
        let [address, _] = addresses(&two)?;
        echo(&one.host, address, Duration::from_secs(20))?;
        quiet_enough(|| {
            let mut slowest = Duration::ZERO;
            for _ in 0..count(2, 10) {
                std::thread::scope(|scope| -> Result<()> {
                    let stream = scope.spawn(|| transfer(&one.host, &two.host, address, 32 << 8));
                    // It has begun and is far from its end.
                    echo(&one.host, address, Duration::from_secs(5))?;
                    headscale.start_again()?;
                    let back = lab::now();
                    echo(&one.host, address, Duration::from_secs(20))?;
                    slowest = slowest.max(back.elapsed());
                    stream.join().map_err(|_| anyhow::anyhow!("the stream panicked"))??;
                    Ok(())
                })?;
            }
            number("relay's return to a program's first echo, slowest", format!("{slowest:?}"));
            let late = slowest > Duration::from_millis(1500);
            Ok(late.then(|| format!("{slowest:?} after the relay's return")))
        })
    });
}
