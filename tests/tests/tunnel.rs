//! The kernel's TUN: real programs of the hosts talk through the relay, and the namespace is left as it was found.

use anyhow::{Context, Result, ensure};
use blackbox::{EVERYTHING, complete, count, number, scenario};
use lab::{Flavour, Headscale, Host, Lab, Need, Node, Ping};
use std::io::{Read, Write};
use std::net::{IpAddr, Shutdown, TcpListener, TcpStream};
use std::time::Duration;

/// How long a stream may stand still.
const PATIENCE: Duration = Duration::from_secs(30);

/// A node with a kernel interface and UDP blocked that has joined.
fn tunnelled(lab: &Lab, headscale: &Headscale, name: &str, flavour: Flavour) -> Result<Node> {
    let mut node = lab.node(name, flavour)?;
    node.tun = "tailscale0".to_owned();
    node.host.block_udp()?;
    node.start()?;
    node.join(headscale).with_context(|| format!("{name} ({flavour:?}) joins"))?;
    Ok(node)
}

/// The `n`th block of a stream that repeats itself nowhere.
fn block(n: u64) -> [u8; 4096] {
    let mut state = n.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut bytes = [0; 4096];
    for chunk in bytes.chunks_exact_mut(8) {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        chunk.copy_from_slice(&state.to_le_bytes());
    }
    bytes
}

/// Sends `blocks` blocks from one host to an address of the other by TCP; every byte is compared. Gives the time from
/// connecting to the last byte.
fn transfer(from: &Host, to: &Host, address: IpAddr, blocks: u64) -> Result<Duration> {
    let listener = to.inside(|| TcpListener::bind((address, 0)))?.context("listen")?;
    let at = listener.local_addr()?;
    let started = lab::now();
    let mut out = from
        .inside(|| TcpStream::connect_timeout(&at, PATIENCE))?
        .with_context(|| format!("connect from {} to {at}", from.name))?;
    let (mut incoming, _) = listener.accept()?;
    out.set_write_timeout(Some(PATIENCE))?;
    incoming.set_read_timeout(Some(PATIENCE))?;
    std::thread::scope(|scope| {
        let sender = scope.spawn(move || -> Result<()> {
            for n in 0..blocks {
                out.write_all(&block(n)).with_context(|| format!("write block {n}"))?;
            }
            Ok(out.shutdown(Shutdown::Write)?)
        });
        let mut got = [0; 4096];
        for n in 0..blocks {
            incoming.read_exact(&mut got).with_context(|| format!("read block {n} of {blocks}"))?;
            ensure!(got == block(n), "block {n} is not what was sent");
        }
        ensure!(incoming.read(&mut got)? == 0, "more came than was sent");
        sender.join().map_err(|_| anyhow::anyhow!("the sender panicked"))?
    })?;
    Ok(started.elapsed())
}

fn addresses(node: &Node) -> Result<[IpAddr; 2]> {
    Ok([node.ipv4()?.parse()?, node.ipv6()?.parse()?])
}

#[test]
fn programs_of_three_hosts_talk_in_all_directions() {
    scenario(EVERYTHING, |lab| {
        let headscale = lab.headscale()?;
        let one = tunnelled(lab, &headscale, "one", Flavour::Ours)?;
        let two = tunnelled(lab, &headscale, "two", Flavour::Ours)?;
        let go = tunnelled(lab, &headscale, "go", Flavour::Go)?;
        let nodes = [&one, &two, &go];
        let pings = count(5, 100).to_string();
        let blocks = u64::from(count(16, 64)) << 8;
        for (from, to) in nodes.iter().flat_map(|from| nodes.map(|to| (*from, to))) {
            if from.host.name == to.host.name {
                continue;
            }
            from.wait_peer(to)?;
            for address in addresses(to)? {
                let names = format!("{} -> {} ({address})", from.host.name, to.host.name);
                let text = address.to_string();
                // The first packet may have to wait for a handshake with a peer that does not know us yet.
                lab::until(&format!("an echo {names}"), Duration::from_secs(20), || {
                    Ok(from.host.run(&["ping", "-c", "1", "-W", "1", &text]).ok())
                })?;
                let words = ["ping", "-c", &pings, "-i", "0.02", "-W", "5", &text];
                from.host.run(&words).with_context(|| format!("echoes {names}"))?;
                let took = transfer(&from.host, &to.host, address, blocks)
                    .with_context(|| format!("transfer {names}"))?;
                let rate = (blocks * 4096 * 8) as f64 / took.as_secs_f64() / 1e6;
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

/// What `ip` shows of addresses and routes, without what moves by itself.
fn dump(host: &Host) -> Result<String> {
    let mut text = String::new();
    for words in [
        &["ip", "-o", "addr", "show", "scope", "global"][..],
        &["ip", "route", "show", "table", "all"],
        &["ip", "-6", "route", "show", "table", "all"],
        &["ip", "rule"],
    ] {
        for line in host.run(words)?.lines() {
            // The number of an interface changes with every start, its name does not.
            let line = line.split_once(": ").filter(|(n, _)| n.parse::<u32>().is_ok()).map_or(line, |l| l.1);
            if !line.contains("fe80::") && !line.contains("ff00::") {
                text.push_str(line.trim_end());
                text.push('\n');
            }
        }
    }
    Ok(text)
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
        let address = peer.ipv4()?;
        for round in 0..count(2, 20) {
            node.start()?;
            let started = lab::now();
            lab::until("an echo after the start", Duration::from_secs(20), || {
                Ok(node.host.run(&["ping", "-c", "1", "-W", "0.1", &address]).ok())
            })?;
            number("start to first echo of a program", format!("{:?}", started.elapsed()));
            ensure!(dump(&node.host)? == running, "round {round}:\n{}", dump(&node.host)?);
            node.kill();
            lab::until("the kernel to remove the device", Duration::from_secs(5), || {
                Ok((dump(&node.host)? == before).then_some(()))
            })?;
        }
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
