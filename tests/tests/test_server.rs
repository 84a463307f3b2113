//! The test server is one that tests may trust: the Go node and ours join it alike, and answer each other through it.
//! Everything is on the loopback of one lab host, because a Go node asks the internet behind a test's back.

use anyhow::{Context, Result, ensure};
use blackbox::scenario;
use lab::{Flavour, Need};
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;
use testcontrol::{Options, Server};

/// A daemon on this machine, without a network of its own.
struct Local {
    cli: PathBuf,
    socket: PathBuf,
    daemon: Child,
    _dir: tempfile::TempDir,
}

impl Local {
    fn start(flavour: Flavour) -> Result<Self> {
        let dir = tempfile::tempdir()?;
        let socket = dir.path().join("socket");
        let daemon = Command::new(flavour.daemon())
            .args(["--tun=userspace-networking", "--no-logs-no-support"])
            .arg(format!("--statedir={}", dir.path().display()))
            .arg(format!("--socket={}", socket.display()))
            .env("TS_LOGS_DIR", dir.path())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(std::fs::File::create(dir.path().join("log"))?)
            .spawn()
            .context("starting tailscaled")?;
        let node = Self { cli: flavour.cli(), socket, daemon, _dir: dir };
        lab::until("the daemon's socket", Duration::from_secs(20), || {
            Ok(node.socket.exists().then_some(()))
        })?;
        Ok(node)
    }

    fn tailscale(&self, args: &[&str]) -> Result<Output> {
        let socket = format!("--socket={}", self.socket.display());
        Command::new(&self.cli).arg(socket).args(args).output().context("starting tailscale")
    }

    fn join(&self, server: &Server, name: &str) -> Result<()> {
        let (url, key) = (format!("--login-server={}", server.url()), "--auth-key=tskey-auth-test");
        let up = self.tailscale(&["up", &url, key, &format!("--hostname={name}"), "--timeout=30s"])?;
        ensure!(up.status.success(), "{name}: {}", String::from_utf8_lossy(&up.stderr));
        Ok(())
    }

    fn answers(&self, kind: &str, address: &str) -> Result<bool> {
        Ok(self.tailscale(&["ping", kind, "-c", "1", "--timeout=5s", address])?.status.success())
    }
}

impl Drop for Local {
    fn drop(&mut self) {
        let _ = self.daemon.kill();
        let _ = self.daemon.wait();
    }
}

#[test]
fn go_and_ours_join_the_test_server_and_answer_each_other() {
    scenario(&[Need::Namespaces, Need::Go, Need::Ours], |lab| lab.host("all")?.inside(join_and_answer)?);
}

fn join_and_answer() -> Result<()> {
    let server = Server::start(Options::default())?;
    let (go, ours) = (Local::start(Flavour::Go)?, Local::start(Flavour::Ours)?);
    go.join(&server, "go")?;
    ours.join(&server, "ours")?;
    let address = |name: &str| {
        let nodes = server.nodes();
        nodes
            .into_iter()
            .find(|node| node.name == name)
            .map(|node| node.ip4.to_string())
            .context("no such node")
    };
    for (from, to) in [(&go, address("ours")?), (&ours, address("go")?)] {
        for kind in ["--tsmp", "--icmp"] {
            let what = format!("{kind} to {to}");
            lab::until(&what, Duration::from_secs(30), || Ok(from.answers(kind, &to)?.then_some(())))?;
        }
    }
    Ok(())
}
