//! A node that a file sets up instead of `tailscale up`, and what control may ask of it.

use anyhow::{Context, Result, ensure};
use blackbox::{Local, scenario};
use lab::{Flavour, Need};
use std::fs;
use std::path::Path;
use std::time::Duration;
use testcontrol::{Options, Server};

const PATIENCE: Duration = Duration::from_secs(30);

/// Starts a node over a file that says `members` besides where to log in, and waits until it runs.
fn configured(flavour: Flavour, server: &Server, members: &str) -> Result<Local> {
    let dir = tempfile::tempdir()?;
    fs::write(dir.path().join("key"), "tskey-auth-test\n")?;
    write(dir.path(), server, members)?;
    let flag = format!("--config={}", dir.path().join("config.json").display());
    let node = Local::start_in(flavour, dir, &[flag])?;
    lab::until("the node runs", PATIENCE, || Ok(state(&node)?.contains("\"Running\"").then_some(())))?;
    Ok(node)
}

fn state(node: &Local) -> Result<String> {
    node.said(&["status", "--json", "--peers=false"])
}

fn write(dir: &Path, server: &Server, members: &str) -> Result<()> {
    let (url, key) = (server.url(), dir.join("key"));
    let text =
        format!(r#"{{"version":"alpha0","ServerURL":"{url}","AuthKey":"file:{}"{members}}}"#, key.display());
    Ok(fs::write(dir.join("config.json"), text)?)
}

#[test]
fn a_file_sets_up_go_and_ours_alike() {
    scenario(&[Need::Namespaces, Need::Go, Need::Ours], |lab| lab.host("all")?.inside(set_up)?);
}

fn set_up() -> Result<()> {
    let server = Server::start(Options::default())?;
    for flavour in [Flavour::Go, Flavour::Ours] {
        let node = configured(flavour, &server, r#","Hostname":"first""#)?;
        for refused in [&["set", "--hostname=x"][..], &["down"], &["logout"]] {
            let output = node.tailscale(refused)?;
            let said = String::from_utf8_lossy(&output.stderr).into_owned();
            ensure!(
                !output.status.success() && said.contains("config file is locked"),
                "{flavour:?} {refused:?}: {said}"
            );
        }
        write(node.dir(), &server, r#","Hostname":"second","acceptRoutes":true"#)?;
        ensure!(node.said(&["debug", "reload-config"])?.contains("config reloaded"), "{flavour:?} reloads");
        let prefs = node.said(&["debug", "prefs"])?;
        ensure!(prefs.contains("\"second\"") && prefs.contains("\"RouteAll\": true"), "{flavour:?}: {prefs}");
        write(node.dir(), &server, r#","Hostnme":"third""#)?;
        ensure!(!node.tailscale(&["debug", "reload-config"])?.status.success(), "{flavour:?}: a wrong file");
        ensure!(state(&node)?.contains("\"Running\""), "{flavour:?} goes on with the last one");
    }
    Ok(())
}

#[test]
fn what_control_may_ask_of_a_node_while_peers_come_and_go() {
    scenario(&[Need::Namespaces, Need::OursDebug], |lab| lab.host("all")?.inside(ask)?);
}

fn ask() -> Result<()> {
    let server = Server::start(Options { phantom_peers: 50, ..Options::default() })?;
    let node = configured(Flavour::OursDebug, &server, r#","Hostname":"asked","Locked":false"#)?;
    server.churn(100, 400);
    let key = server.nodes().first().context("the node has registered")?.key.clone();
    let exchange = |request: &str| -> Result<String> {
        server.ping_answers();
        let (head, body) = request.split_once('\n').unwrap_or((request, ""));
        let text = format!("{head}\r\nContent-Length: {}\r\n\r\n{body}", body.len());
        ensure!(server.c2n(&key, &text), "the node has a map stream");
        let said = || Ok(server.ping_answers().into_iter().next());
        lab::until(request, PATIENCE, said)
    };
    let cases = [
        // By this it is seen to be alive where two lead to the same network.
        ("POST /echo HTTP/1.1\nstill here?", "200 OK", "\r\n\r\nstill here?"),
        ("GET /echo HTTP/1.1", "200 OK", ""),
        ("GET /debug/prefs HTTP/1.1", "200 OK", "\"Hostname\":\"asked\""),
        ("GET /debug/health HTTP/1.1", "200 OK", "\"Warnings\""),
        ("GET /debug/netmap HTTP/1.1", "200 OK", "{\"current\":{"),
        (
            "POST /debug/netmap HTTP/1.1\n{\"candidate\":{\"Domain\":\"cand\",\"Node\":{\"ID\":1},\"Peers\":[{\"ID\":77,\"Name\":\"p77.\"}]},\"omitFields\":[\"DNS\"]}",
            "200 OK",
            "\"Domain\":\"cand\"",
        ),
        (
            "POST /debug/netmap HTTP/1.1\n{\"candidate\":{\"Peers\":[{]}}",
            "400",
            "failed to decode request body",
        ),
        ("POST /debug/netmap HTTP/1.1\n{\"candidate\":[]}", "400", "failed to convert candidate"),
        ("POST /debug/component-logging HTTP/1.1", "200 OK", "\"Error\""),
        ("POST /update HTTP/1.1", "200 OK", "does not update itself"),
        ("GET /netfilter-kind HTTP/1.1", "405", "bad method"),
        ("POST /netfilter-kind?kind=ipfw HTTP/1.1", "400", "kind must be"),
        ("POST /netfilter-kind?kind=nftables HTTP/1.1", "204", ""),
        ("GET /debug/prefs HTTP/1.1", "200 OK", "\"NetfilterKind\":\"nftables\""),
        ("GET /nothing HTTP/1.1", "400", "unknown c2n path"),
    ];
    for (request, status, text) in cases {
        let answer = exchange(request)?;
        ensure!(answer.starts_with(&format!("HTTP/1.1 {status}")), "{request}: {answer}");
        ensure!(answer.contains(text), "{request}: {answer}");
    }
    let expire = "set-expiry-sooner?expiry=1900000000";
    ensure!(node.said(&["debug", "localapi", "POST", expire])?.contains("done"), "the key expires sooner");
    lab::until("peers change", PATIENCE, || Ok((server.counts().churned > 400).then_some(())))?;
    server.churn(0, 0);
    ensure!(state(&node)?.contains("\"Running\""), "it has lived through all that");
    Ok(())
}
