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
    let relay = lab.relay()?;
    let mut headscale = lab.headscale_beside(&relay)?;
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

/// What a node did in a while of rest.
struct Idle {
    packets: u64,
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
    let mut nodes =
        [tunnelled(lab, &headscale, "one", Flavour::Ours)?, tunnelled(lab, &headscale, "go", Flavour::Go)?];
    let [one, go] = &nodes;
    one.wait_peer(go)?;
    echo(&one.host, addresses(go)?[0], Duration::from_secs(30))?;
    std::thread::sleep(settle);
    let writes = writes_below(&nodes[0])?;
    let before = nodes.each_mut().map(rest);
    std::thread::sleep(time);
    let after = nodes.each_mut().map(rest);
    let writes = events(&writes)?;
    let mut rates = Vec::new();
    for (node, (before, after)) in nodes.iter().zip(before.into_iter().zip(after)) {
        let (before, after) = (before?, after?);
        let packets = after.packets - before.packets;
        let wakes = after.wakes - before.wakes;
        let seconds = time.as_secs_f64();
        let line = format!(
            "{:.3} packets/s, {:.2} wake-ups/s in {time:?}",
            packets as f64 / seconds,
            wakes as f64 / seconds
        );
        number(&format!("idle with one peer, {:?}", node.flavour), line);
        rates.push((packets, wakes));
    }
    number("writes below the state directory, idle", writes);
    ensure!(writes == 0, "{writes} writes below the state directory while idle");
    let (ours, go) = (rates[0], rates[1]);
    ensure!(ours.0 <= go.0, "{} packets of ours, {} of Go's", ours.0, go.0);
    ensure!(ours.1 <= go.1, "{} wake-ups of ours, {} of Go's", ours.1, go.1);
    Ok(())
}

/// Counters of the uplink and of the daemon's threads.
fn rest(node: &mut Node) -> Result<Idle> {
    let tasks = format!("/proc/{}/task", node.daemon()?.id());
    let mut wakes = 0;
    for task in std::fs::read_dir(&tasks)? {
        let status = std::fs::read_to_string(task?.path().join("status"))?;
        let line = status.lines().find_map(|line| line.strip_prefix("voluntary_ctxt_switches:"));
        wakes += line.context("no count of switches")?.trim().parse::<u64>()?;
    }
    // The namespace's own view: eth0 is the uplink, and nothing else is counted on it.
    let text = node.host.run(&["ip", "-s", "-j", "link", "show", "dev", "eth0"])?;
    let link: serde_json::Value = serde_json::from_str(&text)?;
    let count = |way: &str| link[0]["stats64"][way]["packets"].as_u64();
    let packets = count("rx").zip(count("tx")).with_context(|| format!("no counters in {link}"))?;
    Ok(Idle { packets: packets.0 + packets.1, wakes })
}

/// Watches the state directory; whatever changes in it is an event of what this gives.
fn writes_below(node: &Node) -> Result<File> {
    use rustix::fs::inotify::{CreateFlags, WatchFlags, add_watch, init};
    let watch = init(CreateFlags::NONBLOCK | CreateFlags::CLOEXEC)?;
    let changes = WatchFlags::MODIFY
        | WatchFlags::ATTRIB
        | WatchFlags::CREATE
        | WatchFlags::DELETE
        | WatchFlags::MOVED_FROM
        | WatchFlags::MOVED_TO;
    add_watch(&watch, &node.state_dir, changes)?;
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
