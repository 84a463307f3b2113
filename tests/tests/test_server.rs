//! The test server is one that tests may trust: the Go node and ours join it alike, and answer each other through it.
//! Everything is on the loopback of one lab host, because a Go node asks the internet behind a test's back.

use anyhow::{Context, Result, ensure};
use blackbox::{Local, scenario};
use lab::{Flavour, Need};
use std::time::Duration;
use testcontrol::{Options, Server};

fn join(node: &Local, server: &Server, name: &str) -> Result<()> {
    let (url, key) = (format!("--login-server={}", server.url()), "--auth-key=tskey-auth-test");
    node.said(&["up", &url, key, &format!("--hostname={name}"), "--timeout=30s"]).map(drop)
}

fn answers(node: &Local, kind: &str, address: &str) -> Result<bool> {
    Ok(node.tailscale(&["ping", kind, "-c", "1", "--timeout=5s", address])?.status.success())
}

#[test]
fn go_and_ours_join_the_test_server_and_answer_each_other() {
    scenario(&[Need::Namespaces, Need::Go, Need::Ours], |lab| lab.host("all")?.inside(join_and_answer)?);
}

fn join_and_answer() -> Result<()> {
    let server = Server::start(Options::default())?;
    let (go, ours) = (Local::start(Flavour::Go)?, Local::start(Flavour::Ours)?);
    join(&go, &server, "go")?;
    join(&ours, &server, "ours")?;
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
            lab::until(&what, Duration::from_secs(30), || Ok(answers(from, kind, &to)?.then_some(())))?;
        }
    }
    pings_of_control(&server)
}

/// Control has our node ping the Go node by its second address: what is told of that.
fn pings_of_control(server: &Server) -> Result<()> {
    let nodes = server.nodes();
    let node = |name: &str| nodes.iter().find(|node| node.name == name).context("no such node");
    let (ours, asked) = (node("ours")?, node("go")?.ip6.to_string());
    server.ping_answers();
    let url = format!("{}/ping-answer?by-address", server.url());
    let ping = serde_json::json!({"URL": url, "URLIsNoise": true, "Types": "TSMP,ICMP", "IP": asked});
    ensure!(server.send_map(&ours.key, serde_json::json!({"PingRequest": ping})), "no stream");
    let mut told = Vec::new();
    lab::until("both answers", Duration::from_secs(30), || {
        told.extend(server.ping_answers());
        Ok((told.len() == 2).then_some(()))
    })?;
    for (text, kind) in told.iter().zip(["TSMP", "ICMP"]) {
        let answer: serde_json::Value = serde_json::from_str(text)?;
        let port = answer["PeerAPIPort"].as_u64().context("no port")?;
        ensure!(answer["Type"] == kind && answer["NodeIP"] == asked, "{text}");
        ensure!((port != 0) == (kind == "TSMP"), "{text}");
        ensure!(answer["Err"].is_null() && answer["LatencySeconds"].as_f64() > Some(0.0), "{text}");
    }
    Ok(())
}
