//! Thousands of networks behind a node: how long it takes until the kernel has them all, beside Go's node in the same
//! run, and what one more costs.

use anyhow::{Context, Result, ensure};
use blackbox::site::{forwards, node, set};
use blackbox::{EVERYTHING, number, quiet_enough, scenario};
use lab::{Flavour, Headscale, Host, Lab, Node};
use std::time::Duration;

/// How many networks there are.
const MANY: u16 = 2000;

fn network(n: u16) -> String {
    format!("10.{}.{}.0/24", 128 + (n >> 8), n & 255)
}

/// One that forwards.
fn router(lab: &Lab, headscale: &Headscale, name: &str, flavour: Flavour) -> Result<Node> {
    let node = node(lab, headscale, name, flavour)?;
    forwards(&node.host)?;
    Ok(node)
}

/// Waits until the kernel has `count` of the networks.
fn routes(host: &Host, count: usize) -> Result<()> {
    lab::until(&format!("{count} routes at {}", host.name), Duration::from_secs(60), || {
        let all = host.run(&["ip", "-4", "route", "show", "table", "all", "dev", "tailscale0"])?;
        let here = all.lines().filter(|line| line.starts_with("10.")).count();
        ensure!(here == count, "{here}");
        Ok(Some(()))
    })
}

/// Seconds of the day at the head of a line of `ip -ts monitor`.
fn moment(line: &str) -> Option<f64> {
    let (_, clock) = line.strip_prefix('[')?.split_once(']')?.0.split_once('T')?;
    clock.split(':').try_fold(0.0, |sum, part| Some(sum * 60.0 + part.parse::<f64>().ok()?))
}

/// Has the networks accepted and gives the time from the first to the last one in the kernel, which is what the node
/// needs, whatever its command line and this test take.
fn accept(node: &Node) -> Result<f64> {
    let mut command = node.host.command("ip");
    command.args(["-rcvbuf", "33554432", "-ts", "-o", "monitor", "route"]);
    let monitor = node.host.spawn(command, "monitor")?;
    let before = monitor.log_text().len();
    let seen = || monitor.log_text().get(before..).unwrap_or_default().to_owned();
    lab::until("the monitor to see something", Duration::from_secs(10), || {
        for word in ["add", "del"] {
            node.host.run(&["ip", "route", word, "blackhole", "192.0.2.254"])?;
        }
        Ok(seen().contains("192.0.2.254").then_some(()))
    })?;
    set(node, "--accept-routes")?;
    routes(&node.host, usize::from(MANY))?;
    let moments =
        || -> Vec<f64> { seen().lines().filter(|line| line.contains("] 10.")).filter_map(moment).collect() };
    let all = lab::until("the monitor to see all", Duration::from_secs(10), || {
        let all = moments();
        ensure!(all.len() >= usize::from(MANY), "{} of them", all.len());
        Ok(Some(all))
    })?;
    let (first, last) = (all.first().context("none")?, all.last().context("none")?);
    Ok((last - first).rem_euclid(86400.0))
}

/// Messages to the kernel's routing that `body` makes a process in `host` send.
fn netlink_messages(host: &Host, pid: u32, body: impl FnOnce() -> Result<()>) -> Result<usize> {
    let file = host.dir.join("strace-of-netlink");
    let mut command = host.command("strace");
    command.args(["-f", "-yy", "-e", "trace=sendto,sendmsg,sendmmsg,write,writev", "-o"]);
    command.arg(&file).args(["-p", &pid.to_string()]);
    let mut strace = host.spawn(command, "strace")?;
    lab::until("strace", Duration::from_secs(10), || {
        strace.check()?;
        let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
        Ok(status.lines().any(|line| line.starts_with("TracerPid:") && !line.ends_with("\t0")).then_some(()))
    })?;
    let result = body();
    strace.stop(Duration::from_secs(5)).ok();
    result?;
    let text = std::fs::read_to_string(&file)?;
    let named = ["NETLINK:[", "TCP:[", "UNIX"].iter().any(|kind| text.contains(kind));
    ensure!(named, "strace does not name sockets:\n{text}");
    Ok(text.lines().filter(|line| line.contains("<NETLINK:[ROUTE") || line.contains("<NETLINK:[0")).count())
}

#[test]
fn two_thousand_networks() {
    scenario(EVERYTHING, |lab| {
        if !std::path::Path::new("/usr/bin/strace").exists() {
            blackbox::skip("no strace (apt-get install strace)");
            return Ok(());
        }
        let headscale = lab.headscale()?;
        let carrier = router(lab, &headscale, "carrier", Flavour::Ours)?;
        let mut ours = router(lab, &headscale, "ours", Flavour::Ours)?;
        let mut go = router(lab, &headscale, "go", Flavour::Go)?;
        let idle = [ours.daemon()?.resident_kib()?, go.daemon()?.resident_kib()?];
        let all: Vec<String> = (0..MANY).map(network).collect();
        let started = lab::now();
        set(&carrier, &format!("--advertise-routes={}", all.join(",")))?;
        headscale.approve_routes("carrier", &all)?;
        number("2000 routes advertised by ours and approved", format!("{:.1?}", started.elapsed()));
        for node in [&ours, &go] {
            let address = carrier.ipv4()?;
            lab::until("the peer to have its routes", Duration::from_secs(30), || {
                let peer = node.peer(&address)?.context("no such peer")?;
                let known = peer["PrimaryRoutes"].as_array().map_or(0, Vec::len);
                ensure!(known == usize::from(MANY), "{known}");
                Ok(Some(()))
            })?;
        }
        quiet_enough(|| {
            let mut took = [0.0; 2];
            for (took, node) in took.iter_mut().zip([&ours, &go]) {
                set(node, "--accept-routes=false")?;
                routes(&node.host, 0)?;
                *took = accept(node)?;
            }
            let [ours, go] = took;
            number("first to last of 2000 routes, ours and Go's", format!("{ours:.4} s and {go:.4} s"));
            Ok((ours * 2.0 > go).then(|| format!("{ours} s is more than half of Go's {go} s")))
        })?;
        let full = [ours.daemon()?.resident_kib()?, go.daemon()?.resident_kib()?];
        number(
            "resident with 2000 routes accepted, ours and Go's",
            format!("{full:?} KiB, before {idle:?} KiB"),
        );

        // One more: an addition and no look at all the others.
        let more: Vec<String> = (0..=MANY).map(network).collect();
        set(&carrier, &format!("--advertise-routes={}", more.join(",")))?;
        let pid = ours.daemon()?.id();
        let count = netlink_messages(&ours.host, pid, || {
            headscale.approve_routes("carrier", &more)?;
            routes(&ours.host, usize::from(MANY) + 1)
        })?;
        number("netlink messages for one route more", count);
        ensure!((1..=20).contains(&count), "{count} messages to netlink for one route");
        Ok(())
    });
}
