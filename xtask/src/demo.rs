//! `cargo xtask demo`: two nodes of ours and a control, relay and STUN server on this machine, as an ordinary user,
//! with nothing installed but Rust.
//!
//! Owns: the story that is told, a line for each step, and what is measured. Leaves out: the server (`testcontrol`)
//! and everything that the nodes do.

use crate::build;
use crate::metadata::cargo;
use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use testcontrol::{Options, Server};

/// Pings of each kind.
const PINGS: usize = 200;
/// Carried in ICMP echoes.
const TRANSFER: usize = 16 << 20;
/// Packets that may still go through the relay when the path is direct: of the transfer they are a fiftieth.
const FEW: u32 = 500;
/// How long a daemon may take to answer its socket.
const SOCKET: Duration = Duration::from_secs(10);

/// Tells the story, with the quickly built binary or the release build.
pub(crate) fn run(release: bool) -> Result<()> {
    let mut story = Story { started: lab::now(), step: 0 };
    story.step("building the node (the first time takes a while)");
    let binary = binary(release)?;
    let dir = tempfile::Builder::new().prefix("smalltail-demo").tempdir()?;
    build::install(&binary, dir.path())?;

    let server = Server::start(Options::default())?;
    story.step(&format!("control, relay and STUN listen on loopback; control is {}", server.url()));
    let (mut alpha, beta) =
        (Node::start(dir.path(), "alpha", Paths::Relay)?, Node::start(dir.path(), "beta", Paths::Any)?);
    story.step("two nodes started, each with a state folder of its own");

    for node in [&alpha, &beta] {
        let began = lab::now();
        let login = format!("--login-server={}", server.url());
        let key = format!("--auth-key={}", Options::default().auth_keys[0]);
        node.cli(&["up", &login, &key, &format!("--hostname={}", node.name)])?;
        story.step(&format!(
            "{} has joined by auth key in {:.2} s",
            node.name,
            began.elapsed().as_secs_f64()
        ));
    }
    story.step("what alpha sees (tailscale status):");
    alpha.cli(&["status"])?.lines().for_each(|line| println!("            {line}"));

    let target = beta.cli(&["ip", "-4"])?.trim().to_owned();
    // A peer that has just joined is heard of a moment later; a ping before that is lost, as with every node.
    alpha.cli(&["ping", "--tsmp", "-c", "40", "--timeout=500ms", &target])?;
    for kind in ["TSMP", "ICMP"] {
        pings(&mut story, &alpha, &target, kind, "through the relay")?;
    }
    drop(alpha);
    alpha = Node::start(dir.path(), "alpha", Paths::Any)?;
    story.step("alpha starts again, this time direct paths are allowed (tailscale ping):");
    // It fails as long as it is starting, and when ten pings were relayed.
    let found = lab::until("a direct path", Duration::from_secs(30), || {
        Ok(alpha.cli(&["ping", "-c", "10", &target]).ok())
    })?;
    found.lines().for_each(|line| println!("            {line}"));
    for kind in ["TSMP", "ICMP"] {
        pings(&mut story, &alpha, &target, kind, "by the direct path")?;
    }
    let relayed = server.counts().relayed_packets;
    story.step(&format!("{} MiB of random data from alpha to beta and back in ICMP echoes", TRANSFER >> 20));
    transfer(&mut story, &alpha, &target)?;
    let counts = server.counts();
    let since = counts.relayed_packets.saturating_sub(relayed);
    story.step(&format!(
        "the relay has carried {} packets, {:.2} MiB, encrypted end to end; {since} of them since the path is direct",
        counts.relayed_packets,
        counts.relayed_bytes as f64 / f64::from(1 << 20),
    ));
    ensure!(since < FEW, "the data went through the relay, although the path was direct");
    Ok(())
}

/// Pings of one kind and what they took.
fn pings(story: &mut Story, from: &Node, target: &str, kind: &str, way: &str) -> Result<()> {
    let times = (0..PINGS).map(|_| from.ping(target, kind)).collect::<Result<Vec<f64>>>()?;
    story.step(&format!("{PINGS} of {PINGS} {kind} pings {way} answered: {}", summary(times)));
    Ok(())
}

/// Builds the daemon for this machine and gives the binary.
fn binary(release: bool) -> Result<PathBuf> {
    let mut command = cargo();
    command.args(["build", "--quiet", "--package", "daemon"]);
    if release {
        command.arg("--release");
    }
    let status = command.status().context("starting cargo")?;
    ensure!(status.success(), "cargo ended with {status}");
    let profile = if release { "release" } else { "debug" };
    Ok(lab::target_dir().join(profile).join("tailscale-combined"))
}

/// Sends the data and compares the checksums.
fn transfer(story: &mut Story, from: &Node, target: &str) -> Result<()> {
    let began = lab::now();
    let path = format!("debug?action=echo&ip={target}&bytes={TRANSFER}");
    let mut child = from.command(&["debug", "localapi", "POST", &path]).stdout(Stdio::piped()).spawn()?;
    let lines = BufReader::new(child.stdout.take().context("no output")?).lines();
    let mut last = Value::Null;
    for line in lines {
        last = serde_json::from_str(&line?).context("the node answered with something else than JSON")?;
        let done = last["Bytes"].as_u64().unwrap_or(0);
        if last["Sent"].is_null() && done > 0 {
            println!("            {:>5.1} MiB", done as f64 / f64::from(1 << 20));
        }
    }
    child.wait()?;
    if let Some(error) = last["Error"].as_str() {
        bail!("the transfer failed: {error}");
    }
    ensure!(last["Sent"].is_string() && last["Sent"] == last["Received"], "checksums differ: {last}");
    let seconds = began.elapsed().as_secs_f64();
    let checksum: String = last["Sent"].as_str().unwrap_or("").chars().take(16).collect();
    story.step(&format!(
        "checksums agree (SHA-256 {checksum}…); {seconds:.1} s, {:.0} Mbit/s each way, {} echoes sent again",
        (TRANSFER * 8) as f64 / seconds / 1e6,
        last["Again"],
    ));
    Ok(())
}

/// Median and slowest of the times, in milliseconds.
fn summary(mut times: Vec<f64>) -> String {
    times.sort_by(f64::total_cmp);
    let median = times.get(times.len() / 2).copied().unwrap_or(0.0);
    let most = times.last().copied().unwrap_or(0.0);
    format!("median {median:.2} ms, slowest {most:.2} ms")
}

/// Which ways a node may use.
#[derive(Clone, Copy, PartialEq)]
enum Paths {
    Relay,
    Any,
}

/// A daemon of ours as a child process.
struct Node {
    name: &'static str,
    dir: PathBuf,
    bin: PathBuf,
    child: Child,
}

impl Node {
    fn start(root: &Path, name: &'static str, paths: Paths) -> Result<Self> {
        let dir = root.join(name);
        std::fs::create_dir_all(&dir)?;
        let _ = std::fs::remove_file(dir.join("socket"));
        let log = std::fs::File::create(dir.join("log"))?;
        let child = Command::new(root.join("tailscaled"))
            .arg("--tun=userspace-networking")
            .env("TS_DEBUG_NEVER_DIRECT_UDP", if paths == Paths::Relay { "1" } else { "" })
            .arg(format!("--statedir={}", dir.display()))
            .arg(format!("--socket={}", dir.join("socket").display()))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .context("starting tailscaled")?;
        let mut node = Self { name, dir, bin: root.join("tailscale"), child };
        let began = lab::now();
        while !node.dir.join("socket").exists() {
            let ended = node.child.try_wait()?;
            ensure!(ended.is_none() && began.elapsed() < SOCKET, "{name} did not start:\n{}", node.log());
            std::thread::sleep(Duration::from_millis(5));
        }
        Ok(node)
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.dir.join("log")).unwrap_or_default()
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(&self.bin);
        command.arg(format!("--socket={}", self.dir.join("socket").display())).args(args);
        command
    }

    /// Runs `tailscale` against this node and gives what it prints.
    fn cli(&self, args: &[&str]) -> Result<String> {
        let output = self.command(args).output().context("starting tailscale")?;
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        ensure!(
            output.status.success(),
            "tailscale {} failed: {}\n{}",
            args.join(" "),
            text(&output.stderr),
            self.log()
        );
        Ok(text(&output.stdout))
    }

    /// One ping; its time in milliseconds.
    fn ping(&self, target: &str, kind: &str) -> Result<f64> {
        let answer = self.cli(&["debug", "localapi", "POST", &format!("ping?ip={target}&type={kind}")])?;
        let answer: Value =
            serde_json::from_str(&answer).context("ping answered with something else than JSON")?;
        ensure!(answer["Err"] == "", "{kind} ping to {target}: {}\n{}", answer["Err"], self.log());
        Ok(answer["LatencySeconds"].as_f64().unwrap_or(0.0) * 1e3)
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Numbered progress lines with the time since the start.
struct Story {
    started: Instant,
    step: u32,
}

impl Story {
    fn step(&mut self, what: &str) {
        self.step += 1;
        println!("[{:>5.1} s] {:>2}. {what}", self.started.elapsed().as_secs_f64(), self.step);
    }
}
