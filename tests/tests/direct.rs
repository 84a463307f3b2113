//! Without a relay: peers that speak nothing but WireGuard, over both families, and a port that is flooded.

use anyhow::{Context, Result, ensure};
use blackbox::direct::{Control, PORT, WireguardGo, underlay, wait_direct};
use blackbox::traffic::{BLOCK, addresses, echo, echoes, transfer};
use blackbox::{complete, count, local_api, number, scenario};
use lab::{Flavour, Need, Node, Ping};
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;
use testcontrol::WireguardPeer;

const NEEDS: &[Need] = &[Need::Namespaces, Need::Ours];

/// Echoes and a stream whose every byte is compared.
fn exchange(what: &str, from: &lab::Host, to: &lab::Host, address: IpAddr) -> Result<()> {
    echo(from, address, Duration::from_secs(20))?;
    // More than a packet holds, so that fragments go through as well.
    for size in ["56", "1200", "4000"] {
        echoes(from, address, count(20, 200), size, "0.01").with_context(|| what.to_owned())?;
    }
    let blocks = u64::from(count(16, 256)) << 8;
    let took = transfer(from, to, address, blocks)?;
    let rate = (blocks as usize * BLOCK * 8) as f64 / took.as_secs_f64() / 1e6;
    number(&format!("TCP without a relay, {what}"), format!("{rate:.0} Mbit/s"));
    Ok(())
}

#[test]
fn two_of_ours_talk_over_either_family_with_one_thread_or_two() {
    scenario(NEEDS, |lab| {
        let control = Control::start(lab)?;
        let one = control.node(lab, "one", Flavour::Ours, &[("TS_PACKET_THREADS", "1")])?;
        let two = control.node(lab, "two", Flavour::Ours, &[("TS_PACKET_THREADS", "2")])?;
        for family in 0..2 {
            let to_one = control.show_at(&one, underlay(&one.host)?[family])?;
            let to_two = control.show_at(&two, underlay(&two.host)?[family])?;
            for (from, to, at) in [(&one, &two, to_two), (&two, &one, to_one)] {
                echo(&from.host, to.ipv4()?.parse()?, Duration::from_secs(20))?;
                wait_direct(from, &to.ipv4()?, at)?;
            }
            let relayed = control.relayed();
            for (from, to) in [(&one, &two), (&two, &one)] {
                for address in addresses(to)? {
                    let what = format!("{} -> {} over {}", from.host.name, address, to_one);
                    exchange(&what, &from.host, &to.host, address)?;
                }
                for kind in [Ping::Icmp, Ping::Tsmp] {
                    complete(&from.ping(kind, &to.ipv4()?, 3)?)?;
                }
            }
            ensure!(control.relayed() == relayed, "the relay has carried packets");
            wait_direct(&one, &two.ipv4()?, to_two)?;
        }
        Ok(())
    });
}

#[test]
fn a_peer_that_moves_is_followed_and_a_new_endpoint_is_in_force_at_once() {
    scenario(NEEDS, |lab| {
        let control = Control::start(lab)?;
        let one = control.node(lab, "one", Flavour::Ours, &[])?;
        let mut two = control.node(lab, "two", Flavour::Ours, &[])?;
        let to_one = control.show_at(&one, one.host.ipv4.into())?;
        let to_two = control.show_at(&two, two.host.ipv4.into())?;
        let (address, back) = (two.ipv4()?, one.ipv4()?);
        echo(&one.host, address.parse()?, Duration::from_secs(20))?;
        wait_direct(&one, &address, to_two)?;
        // It comes back on another port, which nobody tells; its first packet does.
        two.stop()?;
        two.arguments.retain(|argument| !argument.starts_with("--port"));
        two.arguments.push(format!("--port={}", PORT + 1));
        two.start()?;
        two.wait_running()?;
        echo(&two.host, back.parse()?, Duration::from_secs(20))?;
        wait_direct(&one, &address, SocketAddr::new(to_two.ip(), PORT + 1))?;
        wait_direct(&two, &back, to_one)?;
        echo(&one.host, address.parse()?, Duration::from_secs(5))
    });
}

#[test]
fn ours_and_wireguards_own_program() {
    scenario(&[Need::Namespaces, Need::Ours, Need::WireguardGo], |lab| {
        let control = Control::start(lab)?;
        let ours = control.node(lab, "ours", Flavour::Ours, &[])?;
        let theirs = WireguardGo::start(lab.host("theirs")?)?;
        let prefixes: Vec<_> = theirs
            .addresses
            .iter()
            .map(|ip| format!("{ip}/{}", if ip.is_ipv4() { 32 } else { 128 }))
            .collect();
        let [v4, v6] = underlay(&theirs.host)?.map(|ip| SocketAddr::new(ip, PORT));
        control.server.add_wireguard_peer(WireguardPeer {
            name: "theirs".to_owned(),
            key: theirs.key.public().to_string(),
            endpoints: vec![v4, v6],
            addresses: prefixes.clone(),
            allowed_ips: prefixes,
            resolvers: Vec::new(),
        });
        // Ours begins: it alone knows where the other is.
        theirs.knows(&control.view(&ours)?, None)?;
        let text = theirs.addresses[0].to_string();
        echo(&ours.host, theirs.addresses[0], Duration::from_secs(20))?;
        wait_direct(&ours, &text, v4)?;
        for address in theirs.addresses {
            exchange(&format!("ours -> wireguard-go {address}"), &ours.host, &theirs.host, address)?;
        }
        for address in addresses(&ours)? {
            exchange(&format!("wireguard-go -> ours {address}"), &theirs.host, &ours.host, address)?;
        }
        // The other begins, and by IPv6: ours answers where it was spoken to.
        let theirs = theirs.restart()?;
        theirs.knows(&control.view(&ours)?, Some(SocketAddr::new(underlay(&ours.host)?[1], PORT)))?;
        echo(&theirs.host, ours.ipv4()?.parse()?, Duration::from_secs(20))?;
        wait_direct(&ours, &text, v6)?;
        exchange("ours -> wireguard-go by IPv6", &ours.host, &theirs.host, theirs.addresses[0])?;
        let said = theirs.get()?;
        ensure!(
            said.contains("last_handshake_time_sec=") && !said.contains("last_handshake_time_sec=0\n"),
            "{said}"
        );
        Ok(())
    });
}

/// How long `status` takes: the median and the slowest of some.
fn status_times(node: &Node) -> Result<(Duration, Duration)> {
    let mut times = Vec::new();
    for _ in 0..count(60, 300) {
        let started = lab::now();
        local_api::body(&node.socket(), "GET status")?;
        times.push(started.elapsed());
    }
    times.sort();
    Ok((times[times.len() / 2], times[times.len() - 1]))
}

/// Sends what a port on the internet may get, as fast as one thread can, until told to end.
fn flood(to: SocketAddr, ready: &[u8], end: &AtomicBool, sent: &AtomicU64) -> Result<()> {
    let socket = UdpSocket::bind((if to.is_ipv4() { "0.0.0.0" } else { "::" }, 0))?;
    let mut kinds: Vec<Vec<u8>> = vec![Vec::new(), vec![0xff; 1400], ready.to_vec()];
    // Each kind of WireGuard message with nonsense in it, at its right length; disco; STUN.
    for (kind, length) in [(1, 148), (2, 92), (3, 64), (4, 32), (4, 1312)] {
        let mut message = vec![kind; length];
        message[1..4].fill(0);
        kinds.push(message);
    }
    // Of a different stranger each, as far as a table could tell; one as large as calls get.
    for (stranger, length) in [(7, 100), (8, 100), (9, 100), (10, 100), (11, 1300)] {
        kinds.push([b"TS\xf0\x9f\x92\xac".as_slice(), &vec![stranger; length]].concat());
    }
    kinds.push([[1, 1, 0, 0, 0x21, 0x12, 0xa4, 0x42].as_slice(), &[7; 40]].concat());
    for kind in kinds.iter().cycle() {
        if end.load(Ordering::Relaxed) {
            return Ok(());
        }
        // A full queue on the way is not this test's concern.
        if socket.send_to(kind, to).is_ok() {
            sent.fetch_add(1, Ordering::Relaxed);
        }
    }
    Ok(())
}

/// How much more a status may take with the port flooded and all of the daemon on one processor: it then shares that
/// with a packet thread that never rests.
const SLOWER: u32 = 60;

/// How much more memory a flooded node may need.
const MORE_KIB: u64 = 512;

#[test]
fn a_flooded_port_leaves_the_daemon_answering_and_its_memory_as_it_was() {
    scenario(NEEDS, |lab| {
        let control = Control::start(lab)?;
        for threads in ["1", "2"] {
            let mut node = lab.node(&format!("ours{threads}"), Flavour::Ours)?;
            node.tun = "tailscale0".to_owned();
            node.arguments.push(format!("--port={PORT}"));
            node.environment.push(("TS_PACKET_THREADS".to_owned(), threads.to_owned()));
            node.prepare = Some("taskset -p -c 0 $$ >/dev/null".to_owned());
            node.start()?;
            control.join(&node)?;
            let other = control.node(lab, &format!("other{threads}"), Flavour::Ours, &[])?;
            control.show_at(&other, other.host.ipv4.into())?;
            let to = control.show_at(&node, node.host.ipv4.into())?;
            echo(&other.host, node.ipv4()?.parse()?, Duration::from_secs(20))?;
            let (idle, idle_slowest) = status_times(&node)?;
            let before = node.daemon()?.resident_kib()?;
            let (end, sent) = (AtomicBool::new(false), AtomicU64::new(0));
            let source = lab.host(&format!("flood{threads}"))?;
            let measured = source.inside(|| {
                std::thread::scope(|scope| {
                    let flooding = scope.spawn(|| flood(to, &[4, 0, 0, 0], &end, &sent));
                    let started = lab::now();
                    let measured = status_times(&node);
                    let sent = sent.load(Ordering::Relaxed) as f64 / started.elapsed().as_secs_f64();
                    let memory = node.daemon().and_then(|daemon| daemon.resident_kib());
                    end.store(true, Ordering::Relaxed);
                    flooding.join().map_err(|_| anyhow::anyhow!("the flood panicked"))??;
                    Ok::<_, anyhow::Error>((measured?, memory?, sent))
                })
            })?;
            let ((busy, busy_slowest), memory, rate) = measured?;
            number(
                &format!("status with the port flooded, one processor, {threads} packet thread(s)"),
                format!(
                    "median {busy:?} (idle {idle:?}), slowest {busy_slowest:?} (idle {idle_slowest:?}), \
                     {rate:.0} datagrams/s, {before} -> {memory} KiB"
                ),
            );
            ensure!(busy <= idle * SLOWER, "a status took {busy:?} instead of {idle:?}");
            ensure!(rate >= 1000.0, "{rate:.0} datagrams a second are no flood");
            ensure!(memory <= before + MORE_KIB, "{before} KiB have become {memory}");
            echo(&other.host, node.ipv4()?.parse()?, Duration::from_secs(5)).context("after the flood")?;
        }
        Ok(())
    });
}

/// How long nonsense is sent whose numbers are told.
const FLOODED: Duration = Duration::from_secs(4);

/// Hundredths of a second that a process has computed.
fn ticks(process: u32) -> Result<u64> {
    let stat = std::fs::read_to_string(format!("/proc/{process}/stat"))?;
    let fields = stat.rsplit_once(") ").context("no name")?.1.split(' ').skip(11).take(2);
    fields.map(|field| Ok(field.parse::<u64>()?)).sum()
}

#[test]
fn what_comes_to_an_open_port_is_known_for_what_it_is() {
    scenario(&[Need::Namespaces, Need::OursDebug], |lab| {
        let control = Control::start(lab)?;
        // Drops are told by `debug`, which what ships leaves out.
        let mut node = lab.node("ours", Flavour::OursDebug)?;
        node.tun = "tailscale0".to_owned();
        node.arguments.push(format!("--port={PORT}"));
        node.start()?;
        control.join(&node)?;
        let to = control.show_at(&node, node.host.ipv4.into())?;
        let (end, sent) = (AtomicBool::new(false), AtomicU64::new(0));
        let daemon = node.daemon()?;
        let (before, id) = (daemon.resident_kib()?, daemon.id());
        lab.host("flood")?.inside(|| {
            std::thread::scope(|scope| {
                let flooding = scope.spawn(|| flood(to, &[4, 0, 0, 0], &end, &sent));
                let (started, worked) = (lab::now(), ticks(id)?);
                let told =
                    lab::until("every kind of datagram to be counted", Duration::from_secs(20), || {
                        let drops = local_api::body(&node.socket(), "POST debug?action=drops")?;
                        let reasons =
                            ["too short", "malformed", "bad mac1", "unknown session", "disco", "stun"];
                        Ok(reasons
                            .iter()
                            .all(|reason| drops.contains(&format!("\"{reason}\"")))
                            .then_some(()))
                    });
                std::thread::sleep(FLOODED.saturating_sub(started.elapsed()));
                let share = (ticks(id)? - worked) as f64 / started.elapsed().as_secs_f64();
                end.store(true, Ordering::Relaxed);
                flooding.join().map_err(|_| anyhow::anyhow!("the flood panicked"))??;
                let drops = local_api::body(&node.socket(), "POST debug?action=drops")?;
                let counts: Vec<&str> = drops.lines().map(str::trim).filter(|line| line.contains(':')).collect();
                let after = node.daemon()?.resident_kib()?;
                number(
                    "nonsense to an open port",
                    format!(
                        "{} datagrams in {:.1?}, {share:.0} % of a processor, {before} -> {after} KiB; dropped: {}",
                        sent.load(Ordering::Relaxed),
                        started.elapsed(),
                        counts.join(" ")
                    ),
                );
                ensure!(after <= before + MORE_KIB, "{before} KiB have become {after}");
                told
            })
        })?
    });
}
