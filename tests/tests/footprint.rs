//! Numbers of one idle node: memory, time to its socket, a quiet log.

use anyhow::{Result, ensure};
use blackbox::{EVERYTHING, count, joined, number, ping_all, scenario, shipped};
use lab::{Flavour, Node};
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// Goals of design §1, for the unpacked static binary.
const IDLE_KIB: u64 = 4096;
const TO_SOCKET: Duration = Duration::from_millis(20);

/// How long a start may take before it counts as failed.
const PATIENCE: Duration = Duration::from_secs(10);

#[test]
fn idle_memory_with_one_peer() {
    scenario(EVERYTHING, |lab| {
        let headscale = lab.headscale()?;
        let mut one = joined(lab, &headscale, "one", Flavour::Ours)?;
        let go = joined(lab, &headscale, "go", Flavour::Go)?;
        ping_all(&one, &go, 1)?;
        let rest = Duration::from_secs(u64::from(count(5, 60)));
        let started = lab::now();
        let mut idle = 0;
        lab::until("idle time", rest * 2, || {
            idle = one.daemon()?.resident_kib()?;
            Ok((started.elapsed() >= rest).then_some(()))
        })?;
        number("idle memory, 1 peer", format!("{idle} KiB"));
        number(
            "peak memory, 1 peer, login and status included",
            format!("{} KiB", one.daemon()?.peak_kib()?),
        );
        let mut go = go;
        number("idle memory of the Go node beside it", format!("{} KiB", go.daemon()?.resident_kib()?));
        if shipped()? {
            ensure!(idle <= IDLE_KIB, "{idle} KiB are more than {IDLE_KIB}");
        }
        Ok(())
    });
}

#[test]
fn exec_to_socket() {
    scenario(EVERYTHING, |lab| {
        for flavour in [Flavour::Go, Flavour::Ours] {
            let node = lab.node(if flavour == Flavour::Go { "go" } else { "ours" }, flavour)?;
            let (mut sockets, mut answers) = (Vec::new(), Vec::new());
            for _ in 0..11 {
                let (socket, answer) = node.host.inside(|| to_answer(&node))??;
                sockets.push(socket);
                answers.push(answer);
            }
            let half = report(&format!("exec to socket, {flavour:?}"), sockets);
            report(&format!("exec to first status answer, {flavour:?}"), answers);
            if flavour == Flavour::Ours && shipped()? {
                ensure!(half <= TO_SOCKET, "half of the starts took longer than {half:?}");
            }
        }
        Ok(())
    });
}

/// Records median and maximum, and gives the median.
fn report(what: &str, mut times: Vec<Duration>) -> Duration {
    times.sort();
    let (half, most) = (times[times.len() / 2], times[times.len() - 1]);
    number(what, format!("median {half:?}, slowest {most:?} of {}", times.len()));
    half
}

/// Starts the daemon without the wrapper, so that nothing but it is measured: the time until its socket takes a
/// connection, and until the first byte of an answer.
fn to_answer(node: &Node) -> Result<(Duration, Duration)> {
    std::fs::remove_file(node.socket()).ok();
    let mut command = Command::new(node.flavour.daemon());
    command.arg("--state=mem:").arg("--socket").arg(node.socket()).arg("--tun=userspace-networking");
    command.arg("--no-logs-no-support").env("TS_LOGS_DIR", &node.host.dir);
    command.current_dir(&node.host.dir).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let started = lab::now();
    let mut child = command.spawn()?;
    let times = first_answer(node, started);
    child.kill()?;
    child.wait()?;
    times
}

fn first_answer(node: &Node, started: Instant) -> Result<(Duration, Duration)> {
    let mut socket = loop {
        match UnixStream::connect(node.socket()) {
            Ok(socket) => break socket,
            Err(error) if started.elapsed() > PATIENCE => return Err(error.into()),
            Err(_) => std::thread::sleep(Duration::from_micros(200)),
        }
    };
    let connected = started.elapsed();
    socket.set_read_timeout(Some(PATIENCE))?;
    socket.write_all(b"GET /localapi/v0/status HTTP/1.1\r\nHost: local-tailscaled.sock\r\n\r\n")?;
    let mut answer = [0; 12];
    socket.read_exact(&mut answer)?;
    ensure!(&answer == b"HTTP/1.1 200", "the answer is {}", answer.escape_ascii());
    Ok((connected, started.elapsed()))
}

#[test]
fn a_steady_node_logs_next_to_nothing() {
    scenario(EVERYTHING, |lab| {
        let headscale = lab.headscale()?;
        let mut one = joined(lab, &headscale, "one", Flavour::Ours)?;
        let two = joined(lab, &headscale, "two", Flavour::Ours)?;
        ping_all(&one, &two, 1)?;
        let lines = |node: &mut Node| -> Result<usize> { Ok(node.daemon()?.log_text().lines().count()) };
        let (before, started) = (lines(&mut one)?, lab::now());
        let rest = Duration::from_secs(u64::from(count(20, 600)));
        lab::until("a quiet while", rest * 2, || Ok((started.elapsed() >= rest).then_some(())))?;
        let more = lines(&mut one)? - before;
        number("log lines of a steady node", format!("{more} in {rest:?}"));
        ensure!(more <= 2, "{more} lines in {rest:?}");
        Ok(())
    });
}
