//! What survives: restarts, kills, a broken state file, a change of daemon, and control being away.

use anyhow::{Context, Result, ensure};
use blackbox::{EVERYTHING, count, joined, number, ping_all, scenario};
use lab::{Flavour, Host, Lab, Node, Ping};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::time::Duration;

/// How long a Go node may have no ear for one that has started anew, whoever that is: once in some fifty restarts of ours or of
/// another Go node it takes no handshake for a quarter of a minute after it has heard of the new disco key.
const DEAF: Duration = Duration::from_secs(45);

#[test]
fn restart_keeps_the_identity_and_answers_again() {
    scenario(EVERYTHING, |lab| {
        let headscale = lab.headscale()?;
        let peer = joined(lab, &headscale, "peer", Flavour::Go)?;
        let mut nodes = [("ours", Flavour::Ours), ("Go", Flavour::Go)]
            .map(|(name, flavour)| {
                joined(lab, &headscale, name, flavour).map(|node| (name, node, Vec::new()))
            })
            .into_iter()
            .collect::<Result<Vec<_>>>()?;
        let at = peer.ipv4()?;
        for round in 0..count(4, 20) {
            // By turns, so that what else the machine does hits both alike.
            for (name, node, times) in &mut nodes {
                let identity = node.identity()?;
                if round % 2 == 0 {
                    node.stop()?
                } else {
                    node.kill()
                }
                let started = lab::now();
                node.start()?;
                node.wait_ping(Ping::Icmp, &at, DEAF)?;
                times.push(started.elapsed());
                ensure!(node.identity()? == identity, "{name}: another identity after restart {round}");
            }
        }
        let [ours, go] = [0, 1].map(|which| {
            let (name, _, times) = &mut nodes[which];
            times.sort();
            let (median, slowest) = (times[times.len() / 2], times[times.len() - 1]);
            number(
                "restart to first answer of a Go peer",
                format!("{name}: median {median:?}, slowest {slowest:?}"),
            );
            median
        });
        ensure!(ours < go, "a restart takes {ours:?}, of Go's node {go:?}");
        ensure!(headscale.nodes()?.len() == 3, "headscale has more nodes than there are");
        Ok(())
    });
}

#[test]
fn a_state_directory_goes_from_go_to_ours_and_back() {
    scenario(EVERYTHING, |lab| {
        let headscale = lab.headscale()?;
        let peer = joined(lab, &headscale, "peer", Flavour::Ours)?;
        let mut node = joined(lab, &headscale, "one", Flavour::Go)?;
        let identity = node.identity()?;
        for flavour in [Flavour::Ours, Flavour::Go, Flavour::Ours] {
            node.stop()?;
            node.flavour = flavour;
            node.start()?;
            node.wait_running().with_context(|| format!("with {flavour:?}"))?;
            ensure!(node.identity()? == identity, "another identity with {flavour:?}");
            ping_all(&node, &peer, 1).with_context(|| format!("with {flavour:?}"))?;
        }
        ensure!(headscale.nodes()?.len() == 2, "headscale has more nodes than there are");
        Ok(())
    });
}

#[test]
fn the_state_file_is_gos_and_private() {
    scenario(EVERYTHING, |lab| {
        use std::os::unix::fs::PermissionsExt;
        let headscale = lab.headscale()?;
        let one = joined(lab, &headscale, "one", Flavour::Ours)?;
        let mode = |path: &Path| -> Result<u32> { Ok(std::fs::metadata(path)?.permissions().mode() & 0o777) };
        ensure!(mode(&one.state_file())? == 0o600, "the file's mode is {:o}", mode(&one.state_file())?);
        ensure!(mode(&one.state_dir)? == 0o700, "the directory's mode is {:o}", mode(&one.state_dir)?);
        let state: serde_json::Value = serde_json::from_str(&std::fs::read_to_string(one.state_file())?)?;
        for key in ["_machinekey", "_profiles", "_current-profile"] {
            ensure!(state[key].is_string(), "no {key} in the state file");
        }
        Ok(())
    });
}

#[test]
fn nothing_is_written_while_nothing_changes() {
    scenario(EVERYTHING, |lab| {
        let headscale = lab.headscale()?;
        let one = joined(lab, &headscale, "one", Flavour::Ours)?;
        let stamp = || -> Result<_> {
            let metadata = std::fs::metadata(one.state_file())?;
            Ok((metadata.modified()?, std::os::unix::fs::MetadataExt::ino(&metadata)))
        };
        let (before, started) = (stamp()?, lab::now());
        one.tailscale(&["set", "--accept-dns=true"])?.ok()?;
        lab::until("ten quiet seconds", Duration::from_secs(20), || {
            ensure!(stamp()? == before, "the state file was written");
            Ok((started.elapsed() > Duration::from_secs(10)).then_some(()))
        })
    });
}

#[test]
fn kills_at_any_moment_never_change_the_identity() {
    scenario(EVERYTHING, |lab| kills(lab, count(10, 100)));
}

/// Kills the daemon `rounds` times, every second time while a command makes it write its state.
fn kills(lab: &Lab, rounds: u32) -> Result<()> {
    let headscale = lab.headscale()?;
    let mut one = joined(lab, &headscale, "one", Flavour::Ours)?;
    let identity = one.identity()?;
    for round in 0..rounds {
        let writer = if round % 2 == 0 {
            None
        } else {
            let words = ["set", &format!("--hostname=name{round}")];
            Some(one.host.spawn(one.cli_command(one.flavour, &words), "set")?)
        };
        // Moments spread over the first tenths of a second, the same ones in every run.
        let moment = Duration::from_millis(u64::from(round * 37 % 400));
        let started = lab::now();
        lab::until("the moment", moment, || Ok((started.elapsed() >= moment).then_some(()))).ok();
        one.kill();
        drop(writer);
        one.start().with_context(|| format!("round {round}"))?;
        if round % 3 == 0 {
            one.wait_running().with_context(|| format!("round {round}"))?;
            ensure!(one.identity()? == identity, "another identity after kill {round}");
        }
    }
    one.wait_running()?;
    ensure!(one.identity()? == identity, "another identity after {rounds} kills");
    ensure!(headscale.nodes()?.len() == 1, "headscale has more nodes than there are");
    Ok(())
}

/// Daemons that start from cut files at the same time.
const LANES: u64 = 6;

#[test]
fn a_truncated_state_file_never_makes_a_new_identity() {
    scenario(EVERYTHING, |lab| {
        let headscale = lab.headscale()?;
        let mut nodes = Vec::new();
        for lane in 0..LANES {
            let node = joined(lab, &headscale, &format!("lane{lane}"), Flavour::Ours)?;
            // Two more writes, so that whatever is kept as the last good copy knows the identity.
            node.tailscale(&["set", "--hostname=first"])?.ok()?;
            node.tailscale(&["set", "--hostname=second"])?.ok()?;
            nodes.push(node);
        }
        let cuts = std::thread::scope(|scope| -> Result<u64> {
            let lanes: Vec<_> =
                nodes.iter_mut().zip(0..).map(|(node, lane)| scope.spawn(move || cut(node, lane))).collect();
            let mut cuts = 0;
            for lane in lanes {
                cuts += lane.join().map_err(|_| anyhow::anyhow!("a lane panicked"))??;
            }
            Ok(cuts)
        })?;
        number("starts from a cut state file", cuts);
        ensure!(headscale.nodes()?.len() == nodes.len(), "headscale has more nodes than there are");
        Ok(())
    });
}

/// Starts the node from its state file cut to every length (in an ordinary run to a few) that is this lane's turn, so
/// that the lanes together have tried them all. Gives how many.
fn cut(node: &mut Node, lane: u64) -> Result<u64> {
    let identity = node.identity()?;
    node.stop()?;
    let good = node.host.dir.join("good");
    copy(&node.state_dir, &good)?;
    let length = std::fs::metadata(node.state_file())?.len();
    let steps = u64::from(count(12, u32::try_from(length)?));
    let mut cuts = 0;
    for step in (lane..steps).step_by(usize::try_from(LANES)?) {
        let kept = length * step / steps;
        copy(&good, &node.state_dir)?;
        std::fs::File::options().write(true).open(node.state_file())?.set_len(kept)?;
        node.start().with_context(|| format!("state cut to {kept} of {length} bytes"))?;
        settled(node, &identity).with_context(|| format!("state cut to {kept} of {length} bytes"))?;
        node.kill();
        cuts += 1;
    }
    Ok(cuts)
}

/// Waits until it runs as before: the copy beside the file makes every cut good. Its command line is asked without the
/// host's wrapper, which six lanes would keep the machine busy with.
fn settled(node: &Node, identity: &(String, Vec<String>)) -> Result<()> {
    lab::until("Running as before", Duration::from_secs(30), || {
        let mut command = std::process::Command::new(node.flavour.cli());
        command.arg(format!("--socket={}", node.socket().display())).args([
            "status",
            "--json",
            "--peers=false",
        ]);
        let status = lab::run(command, Duration::from_secs(10))?.ok()?.stdout;
        let status: serde_json::Value = serde_json::from_str(&status)?;
        Ok((status["BackendState"] == "Running").then_some(()))
    })?;
    ensure!(&node.identity()? == identity, "another identity");
    Ok(())
}

/// Replaces the directory `to` with a copy of `from`.
fn copy(from: &Path, to: &Path) -> Result<()> {
    if to.exists() {
        std::fs::remove_dir_all(to)?;
    }
    let mut command = std::process::Command::new("cp");
    command.arg("-a").arg(from).arg(to);
    lab::run(command, Duration::from_secs(10))?.ok().map(drop)
}

#[test]
fn control_may_be_away_at_boot_and_come_back() {
    scenario(EVERYTHING, |lab| {
        let mut headscale = lab.headscale()?;
        let mut one = joined(lab, &headscale, "one", Flavour::Ours)?;
        let identity = one.identity()?;
        one.stop()?;
        headscale.stop();
        one.start()?;
        told_away(&one, Duration::from_secs(3))?;
        headscale.start_again()?;
        let back = lab::now();
        one.wait_running()?;
        let took = back.elapsed();
        number("control's return to Running", format!("{took:?}"));
        ensure!(took <= Duration::from_secs(5), "Running {took:?} after control's return");
        ensure!(one.identity()? == identity, "another identity");
        Ok(())
    });
}

/// Waits until the status says that control is away. That it has just started is said at the same time, and is not enough.
fn told_away(node: &Node, within: Duration) -> Result<()> {
    lab::until("status to say that control is away", within, || {
        let status = node.status()?;
        ensure!(status["BackendState"] != "Running", "it cannot run");
        let mut health = status["Health"].as_array().into_iter().flatten().filter_map(|text| text.as_str());
        Ok(health.any(|text| text.contains("Cannot reach the coordination server")).then_some(()))
    })
}

/// Takes connections to control on `host` and says nothing on them, as a firewall does that answers in a dead server's
/// place, while `body` runs and until there is one. The connections stay open, in what this gives.
fn silence(host: &Host, body: impl FnOnce() -> Result<()>) -> Result<Vec<TcpStream>> {
    let listeners = host.inside(|| -> Result<_> {
        Ok([TcpListener::bind("0.0.0.0:443")?, TcpListener::bind("0.0.0.0:80")?])
    })??;
    let mut taken = Vec::new();
    body()?;
    lab::until("a connection to control", Duration::from_secs(20), || {
        for listener in &listeners {
            listener.set_nonblocking(true)?;
            taken.extend(std::iter::from_fn(|| listener.accept().ok().map(|(stream, _)| stream)));
        }
        Ok((!taken.is_empty()).then_some(()))
    })?;
    Ok(taken)
}

#[test]
fn a_silent_control_connection_at_boot_is_not_waited_for() {
    scenario(EVERYTHING, |lab| {
        let mut headscale = lab.headscale()?;
        let mut one = joined(lab, &headscale, "one", Flavour::Ours)?;
        one.stop()?;
        headscale.stop();
        let silent = silence(&headscale.host, || one.start().map(drop))?;
        // Silence is told after 2.5 s, so that these are 3 s from the start.
        told_away(&one, Duration::from_secs(4))?;
        headscale.start_again()?;
        let back = lab::now();
        one.wait_running()?;
        let took = back.elapsed();
        number(
            &format!("control's return to Running past {} silent connections", silent.len()),
            format!("{took:?}"),
        );
        ensure!(took <= Duration::from_secs(5), "Running {took:?} after control's return");
        Ok(())
    });
}

#[test]
fn the_relay_comes_back_after_an_outage() {
    scenario(EVERYTHING, |lab| {
        let mut headscale = lab.headscale()?;
        let one = joined(lab, &headscale, "one", Flavour::Ours)?;
        let two = joined(lab, &headscale, "two", Flavour::Ours)?;
        ping_all(&one, &two, 1)?;
        headscale.start_again()?;
        let back = lab::now();
        one.wait_ping(Ping::Tsmp, &two.ipv4()?, Duration::from_secs(60))?;
        number("relay's return to first answer", format!("{:?}", back.elapsed()));
        Ok(())
    });
}
