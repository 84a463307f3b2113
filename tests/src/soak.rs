//! Scenarios with a short form in the ordinary run and a long one among the soaks.

use crate::number;
use crate::traffic::{addresses, echo, transfer, tunnelled};
use anyhow::{Context, Result, ensure};
use lab::{Flavour, Lab, Node};
use std::fs::File;
use std::time::Duration;

/// How often each pair of nodes begins a stream, unless the one before is still under way.
const EVERY: Duration = Duration::from_secs(1);

/// Streams in both families between neighbours for a while, every byte compared, each longer than the one before, from
/// a block to 8 MiB. Gives how many there were.
///
/// # Errors
/// When one breaks, or an echo after it is lost.
pub fn mixed(pairs: &[(&Node, &Node)], time: Duration) -> Result<u32> {
    for (from, to) in pairs {
        from.wait_peer(to)?;
        for address in addresses(to)? {
            echo(&from.host, address, Duration::from_secs(60))?;
        }
    }
    let started = lab::now();
    std::thread::scope(|scope| {
        let mut streams = Vec::new();
        for (from, to) in pairs {
            for address in addresses(to)? {
                streams.push(scope.spawn(move || -> Result<u32> {
                    let mut rounds = 0;
                    while started.elapsed() < time {
                        let next = lab::now() + EVERY;
                        transfer(&from.host, &to.host, address, 1 << (rounds % 12))?;
                        echo(&from.host, address, Duration::from_secs(30))?;
                        rounds += 1;
                        std::thread::sleep(next.saturating_duration_since(lab::now()));
                    }
                    Ok(rounds)
                }));
            }
        }
        let mut all = 0;
        for stream in streams {
            all += stream.join().map_err(|_| anyhow::anyhow!("a stream panicked"))??;
        }
        Ok(all)
    })
}

/// Control goes away for `time` while streams flow through a relay that stays. They go on, the nodes stay Running, and
/// a newcomer is heard of once control is back.
///
/// # Errors
/// Names what did not go on.
pub fn without_control(lab: &Lab, time: Duration) -> Result<()> {
    let relays = [lab.relay()?];
    let mut headscale = lab.headscale_beside(&relays)?;
    let mut one = tunnelled(lab, &headscale, "one", Flavour::Ours)?;
    let two = tunnelled(lab, &headscale, "two", Flavour::Ours)?;
    let go = tunnelled(lab, &headscale, "go", Flavour::Go)?;
    let pairs = [(&one, &two), (&two, &go), (&go, &one)];
    mixed(&pairs, Duration::ZERO)?;
    headscale.stop();
    let streams = mixed(&pairs, time).context("while control is away")?;
    number(&format!("streams in {time:?} without control"), streams);
    ensure!(streams > 0, "there was no traffic");
    for node in [&one, &two] {
        let status = node.status()?;
        ensure!(status["BackendState"] == "Running", "{} is {}", node.host.name, status["BackendState"]);
    }
    headscale.start_again()?;
    let back = lab::now();
    let late = tunnelled(lab, &headscale, "late", Flavour::Ours)?;
    one.wait_peer(&late).context("control is back")?;
    echo(&one.host, addresses(&late)?[0], Duration::from_secs(30))?;
    number("control's return to a newcomer's first echo", format!("{:?}", back.elapsed()));
    let lines = one.daemon()?.log_text().lines().count();
    number(&format!("log lines with {time:?} without control"), lines);
    Ok(())
}

/// Counts what passes the uplink once it is applied: TCP and UDP, and of that what has something in it, said or heard. An
/// empty TCP packet with a time stamp has 52 bytes by IPv4 and 72 by IPv6.
const COUNTERS: &str = r#"table inet lab_idle {
  counter whole { }
  counter said { }
  counter heard { }
  chain count {
    meta l4proto { tcp, udp } counter name whole
    meta l4proto udp goto content
    meta l4proto tcp meta nfproto ipv4 meta length gt 52 goto content
    meta l4proto tcp meta nfproto ipv6 meta length gt 72 goto content
  }
  chain content {
    oifname "eth0" counter name said return
    counter name heard
  }
  chain input { type filter hook input priority 100; iifname "eth0" jump count; }
  chain output { type filter hook output priority 100; oifname "eth0" jump count; }
}"#;

/// Packets a second of a node at rest, those with something in them and their acknowledgements.
const GOAL: f64 = 0.15;

/// From here on a rate means something.
const LONG: Duration = Duration::from_secs(300);

/// What a node has done.
#[derive(Clone, Copy)]
struct Done {
    packets: u64,
    /// Of these, said by the node, and not a mere acknowledgement or a probe of the server's kernel.
    said: u64,
    /// The same, said to it.
    heard: u64,
    wakes: u64,
}

/// Ours and Go's are each other's only peer and have nothing to say, with a kernel interface and only a relay between
/// them. After `settle` the packets of their uplinks and the wake-ups of their threads are counted for `time`, and what
/// is written below our state directory.
///
/// # Errors
/// When ours needs more than Go's, or writes.
pub fn idle(lab: &Lab, settle: Duration, time: Duration) -> Result<()> {
    let headscale = lab.headscale()?;
    let mut ours = tunnelled(lab, &headscale, "one", Flavour::Ours)?;
    let mut go = tunnelled(lab, &headscale, "go", Flavour::Go)?;
    ours.wait_peer(&go)?;
    echo(&ours.host, addresses(&go)?[0], Duration::from_secs(30))?;
    for node in [&ours, &go] {
        node.host.run(&["nft", COUNTERS])?;
    }
    std::thread::sleep(settle);
    let writes = writes_below(&ours)?;
    let before = (done(&mut ours)?, done(&mut go)?);
    std::thread::sleep(time);
    let after = (done(&mut ours)?, done(&mut go)?);
    let writes = events(&writes)?;
    let since = |before: Done, after: Done| Done {
        packets: after.packets - before.packets,
        said: after.said - before.said,
        heard: after.heard - before.heard,
        wakes: after.wakes - before.wakes,
    };
    let (ours, go) = (since(before.0, after.0), since(before.1, after.1));
    let rate = |count: u64| count as f64 / time.as_secs_f64();
    for (whose, done) in [("ours", ours), ("Go's", go)] {
        let (packets, wakes) = (rate(done.packets), rate(done.wakes));
        let (said, heard) = (rate(done.said), rate(done.heard));
        let line = format!("{packets:.3} packets/s, {said:.3} said, {heard:.3} heard, {wakes:.2} wake-ups/s");
        number(&format!("idle with one peer for {time:?}, {whose}"), line);
    }
    number("writes below the state directory, idle", writes);
    ensure!(writes == 0, "{writes} writes below the state directory while idle");
    // Probes come every 15 s on each connection, so a window may hold one more of each than another.
    ensure!(ours.packets <= go.packets + 4, "{} packets of ours, {} of Go's", ours.packets, go.packets);
    // What is heard are keep-alives of servers, which draw their intervals for each connection (`chatter`).
    ensure!(ours.said <= go.said, "{} with content of ours, {} of Go's", ours.said, go.said);
    ensure!(ours.wakes <= go.wakes, "{} wake-ups of ours, {} of Go's", ours.wakes, go.wakes);
    let rate = rate((ours.said + ours.heard) * 2);
    ensure!(time < LONG || rate <= GOAL, "{rate:.3} packets/s with content and acknowledged");
    Ok(())
}

/// What the uplink and the daemon's threads have counted so far.
fn done(node: &mut Node) -> Result<Done> {
    let tasks = format!("/proc/{}/task", node.daemon()?.id());
    let mut wakes = 0;
    for task in std::fs::read_dir(&tasks)? {
        let status = std::fs::read_to_string(task?.path().join("status"))?;
        let line = status.lines().find_map(|line| line.strip_prefix("voluntary_ctxt_switches:"));
        wakes += line.context("no count of switches")?.trim().parse::<u64>()?;
    }
    let text = node.host.run(&["nft", "-j", "list", "counters"])?;
    let listed: serde_json::Value = serde_json::from_str(&text)?;
    let count = |name: &str| {
        let all = listed["nftables"].as_array().into_iter().flatten().map(|entry| &entry["counter"]);
        let mut named = all.filter(|counter| counter["name"] == name);
        named.find_map(|counter| counter["packets"].as_u64()).with_context(|| format!("no {name} in {text}"))
    };
    Ok(Done { packets: count("whole")?, said: count("said")?, heard: count("heard")?, wakes })
}

/// Watches the state directory and all below it; whatever changes there is an event of what this gives.
fn writes_below(node: &Node) -> Result<File> {
    use rustix::fs::inotify::{CreateFlags, WatchFlags, add_watch, init};
    let watch = init(CreateFlags::NONBLOCK | CreateFlags::CLOEXEC)?;
    let changes = WatchFlags::MODIFY
        | WatchFlags::ATTRIB
        | WatchFlags::CREATE
        | WatchFlags::DELETE
        | WatchFlags::MOVED_FROM
        | WatchFlags::MOVED_TO;
    let mut folders = vec![node.state_dir.clone()];
    while let Some(folder) = folders.pop() {
        add_watch(&watch, &folder, changes)?;
        for entry in std::fs::read_dir(folder)? {
            let entry = entry?;
            if entry.file_type()?.is_dir() {
                folders.push(entry.path());
            }
        }
    }
    Ok(File::from(watch))
}

/// How many events there are.
fn events(watch: &File) -> Result<usize> {
    use std::io::Read;
    let mut bytes = [0; 4096];
    match (&*watch).read(&mut bytes) {
        // Each begins with 16 bytes, a name behind them or none.
        Ok(length) => Ok((length / 16).max(1)),
        Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => Ok(0),
        Err(error) => Err(error.into()),
    }
}
