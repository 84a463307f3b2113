//! The lab proves itself with Go nodes alone: when these fail, no other result means anything.

use anyhow::{Result, ensure};
use blackbox::{GO_ONLY, joined, ping_all, scenario};
use lab::load::{Datagrams, Streams, ping_pong};
use lab::{Flavour, Lab, Nat, Need, Ping};
use std::time::Duration;

#[test]
fn go_nodes_reach_each_other_through_the_relay_with_udp_blocked() {
    scenario(GO_ONLY, |lab| {
        let headscale = lab.headscale()?;
        let one = joined(lab, &headscale, "one", Flavour::Go)?;
        let two = joined(lab, &headscale, "two", Flavour::Go)?;
        ping_all(&one, &two, 3)?;
        let disco = one.ping_once(Ping::Disco, &two.ipv4()?)?.ok()?;
        ensure!(disco.stdout.contains("via DERP(lab)"), "not through the relay: {disco}");
        Ok(())
    });
}

#[test]
fn go_nodes_behind_easy_nats_find_a_direct_path_when_udp_passes() {
    scenario(GO_ONLY, |lab| {
        let headscale = lab.headscale()?;
        let left = lab.router("left", Nat::Easy)?;
        let right = lab.router("right", Nat::Easy)?;
        let mut one = lab.node_on(left.host("one")?, Flavour::Go);
        let mut two = lab.node_on(right.host("two")?, Flavour::Go);
        for node in [&mut one, &mut two] {
            node.start()?;
            node.join(&headscale)?;
        }
        one.wait_peer(&two)?;
        let address = two.ipv4()?;
        lab::until("a direct path", Duration::from_secs(60), || {
            let outcome = one.tailscale(&["ping", "-c", "3", "--timeout=2s", &address])?;
            Ok((outcome.code() == 0).then_some(()))
        })
    });
}

#[test]
fn interactive_login_is_approved_by_headscales_command_line() {
    scenario(GO_ONLY, |lab| {
        let headscale = lab.headscale()?;
        let mut node = lab.node("one", Flavour::Go)?;
        node.host.block_udp()?;
        node.start()?;
        blackbox::interactive(&node, &headscale, Flavour::Go)
    });
}

#[test]
fn nothing_is_left_when_a_lab_is_dropped() {
    scenario(&[Need::Namespaces], |first| {
        let before = namespaces(&first.dir().file_name().unwrap_or_default().to_string_lossy());
        let lab = Lab::new()?;
        let host = lab.host("alone")?;
        let mut sleeper = host.command("sleep");
        sleeper.arg("1000");
        let process = host.spawn(sleeper, "sleep")?;
        let (pid, dir) = (process.id(), lab.dir().to_owned());
        drop((process, host, lab));
        ensure!(!std::path::Path::new(&format!("/proc/{pid}")).exists(), "the process is still there");
        ensure!(!dir.exists(), "{} is still there", dir.display());
        ensure!(namespaces(&first.dir().file_name().unwrap_or_default().to_string_lossy()) == before);
        Ok(())
    });
}

#[test]
fn hosts_reach_each_other_over_both_families_and_udp_can_be_blocked() {
    scenario(&[Need::Namespaces], |lab| -> Result<()> {
        let (one, two) = (lab.host("one")?, lab.host("two")?);
        let v6 = two.ipv6.map(|ip| ip.to_string()).unwrap_or_default();
        for address in [two.ipv4.to_string(), v6] {
            one.run(&["ping", "-c", "1", "-W", "5", &address])?;
        }
        let udp = format!("exec 3<>/dev/udp/{}/9 && echo x >&3 && sleep 0.1 && echo x >&3", two.ipv4);
        ensure!(one.run(&["bash", "-c", &udp]).is_err(), "an open path must bring the ICMP refusal");
        one.block_udp()?;
        ensure!(one.run(&["bash", "-c", &udp]).is_err(), "nft drops locally sent UDP with EPERM");
        one.run(&["ping", "-c", "1", "-W", "5", &two.ipv4.to_string()])?;
        one.unblock_udp()
    });
}

/// Namespaces of this process's labs.
fn namespaces(lab: &str) -> Vec<String> {
    let own = lab.split('n').next().unwrap_or_default().to_owned();
    let mut names: Vec<_> = std::fs::read_dir("/run/netns")
        .map(|entries| {
            entries.flatten().map(|entry| entry.file_name().to_string_lossy().into_owned()).collect()
        })
        .unwrap_or_default();
    names.retain(|name| name.starts_with(&own));
    names.sort();
    names
}

#[test]
fn load_is_counted_where_it_arrives() {
    scenario(&[Need::Namespaces], |lab| {
        let (from, to) = (lab.host("from")?, lab.host("to")?);
        let address = to.ipv4.into();
        for reverse in [false, true] {
            let streams = Streams::open(&from, &to, address, 2, reverse)?;
            lab::until("a megabyte", Duration::from_secs(20), || {
                Ok((streams.bytes() >= 1 << 20).then_some(()))
            })?;
            streams.check()?;
            ensure!((500..=1460).contains(&streams.segment()), "segments of {} bytes", streams.segment());
        }
        ensure!(!ping_pong(&from, &to, address, Duration::from_millis(100))?.times.is_empty(), "no echo");
        let datagrams = Datagrams::open(&from, &to, address, 200)?;
        let time = Duration::from_millis(300);
        let probe = datagrams.run(1000.0, time)?;
        ensure!(probe.received > 0 && probe.sent <= 301 && probe.seconds >= 0.3, "{probe:?}");
        // Nothing that is still under way is counted for the next probe.
        to.cut(true)?;
        let probe = datagrams.run(1000.0, time)?;
        ensure!(probe.received == 0 && probe.loss() == 1.0, "{probe:?} through a cut cable");
        Ok(())
    });
}
