//! What must not work, and how it is said: one clear error each, nothing lost.

use anyhow::{Result, ensure};
use blackbox::{EVERYTHING, joined, scenario};
use lab::{Authority, Flavour, Node, Outcome};
use std::time::Duration;

/// `up` must end with an error and the node must not run; gives what was said, health included.
fn refused(node: &Node, outcome: &Outcome) -> Result<String> {
    ensure!(outcome.code() == 1, "exit code 1 is Go's for a failed command: {outcome}");
    let status = node.status()?;
    ensure!(status["BackendState"] != "Running", "it must not run: {status}");
    Ok(format!("{}{} {}", outcome.stdout, outcome.stderr, status["Health"]).to_lowercase())
}

#[test]
fn wrong_and_expired_keys_are_told_and_the_node_stays_logged_out() {
    scenario(EVERYTHING, |lab| {
        let headscale = lab.headscale()?;
        let mut node = lab.node("one", Flavour::Ours)?;
        node.host.block_udp()?;
        node.start()?;
        let server = format!("--login-server={}", headscale.url());
        let wrong =
            "hskey-auth-000000000000-0000000000000000000000000000000000000000000000000000000000000000";
        for key in [wrong.to_owned(), headscale.expired_key()?] {
            let outcome = node.tailscale(&["up", &server, &format!("--auth-key={key}"), "--timeout=15s"])?;
            let said = refused(&node, &outcome)?;
            ensure!(said.contains("key"), "no word of the key: {said}");
            ensure!(!said.contains(&key), "the key itself was printed: {said}");
        }
        ensure!(headscale.nodes()?.is_empty(), "headscale has a node");
        node.join(&headscale)
    });
}

#[test]
fn an_unknown_authority_is_told() {
    scenario(EVERYTHING, |lab| {
        let mut headscale = lab.headscale()?;
        let stranger = Authority::new("another root")?;
        let mut node = lab.node("one", Flavour::Ours)?;
        let pem = node.host.dir.join("stranger.pem");
        std::fs::write(&pem, stranger.pem())?;
        node.environment = vec![("SSL_CERT_FILE".to_owned(), pem.display().to_string())];
        node.host.block_udp()?;
        node.start()?;
        let server = format!("--login-server={}", headscale.url());
        let key = format!("--auth-key={}", headscale.auth_key()?);
        // Signed by a root that this machine does not know, then by nobody.
        for by_nobody in [false, true] {
            if by_nobody {
                let itself = Authority::new("itself")?.as_server();
                headscale.stop();
                std::fs::write(headscale.host.dir.join("tls.pem"), itself.certificate_pem)?;
                std::fs::write(headscale.host.dir.join("tls.key"), itself.key_pem)?;
                headscale.start_again()?;
            }
            let outcome = node.tailscale(&["up", &server, &key, "--timeout=8s"])?;
            refused(&node, &outcome)?;
            let health = node.status()?["Health"].to_string();
            ensure!(
                health.contains("signed by no known authority"),
                "no word of the certificate, by nobody {by_nobody}: {health} {outcome}"
            );
        }
        Ok(())
    });
}

#[test]
fn a_server_url_with_the_wrong_scheme_is_refused() {
    scenario(EVERYTHING, |lab| {
        let headscale = lab.headscale()?;
        let mut node = lab.node("one", Flavour::Ours)?;
        node.host.block_udp()?;
        node.start()?;
        let key = format!("--auth-key={}", headscale.auth_key()?);
        for server in ["htps://headscale.lab", "ftp://headscale.lab", "http://headscale.lab:443"] {
            let server = format!("--login-server={server}");
            let outcome = node.tailscale(&["up", &server, &key, "--timeout=8s", "--reset"])?;
            refused(&node, &outcome)?;
        }
        let server = format!("--login-server={}", headscale.url());
        node.tailscale(&["up", &server, &key, "--timeout=30s", "--reset"])?.ok()?;
        node.wait_running()
    });
}

#[test]
fn a_second_daemon_is_refused_and_the_first_goes_on() {
    scenario(EVERYTHING, |lab| {
        let headscale = lab.headscale()?;
        let node = joined(lab, &headscale, "one", Flavour::Ours)?;
        let identity = node.identity()?;
        // The same socket; then another socket and the same state directory.
        for socket in [node.socket(), node.host.dir.join("other.sock")] {
            let mut second = node.host.command(node.flavour.daemon());
            second.arg("--statedir").arg(&node.state_dir).arg("--socket").arg(&socket);
            second.arg("--tun=userspace-networking");
            let outcome = node.host.outcome(second, Duration::from_secs(10))?;
            ensure!(outcome.code() == 1, "it must end with 1: {outcome}");
            let said = format!("{}{}", outcome.stdout, outcome.stderr);
            ensure!(said.trim().lines().count() <= 5, "more than one clear error: {said}");
            ensure!(said.contains(&*node.host.dir.to_string_lossy()), "it names neither path: {said}");
        }
        ensure!(node.identity()? == identity, "the first daemon changed");
        Ok(())
    });
}

#[test]
fn a_full_disk_is_told_and_nothing_is_lost_once_there_is_room() {
    scenario(EVERYTHING, |lab| {
        let headscale = lab.headscale()?;
        let mut node = lab.node("one", Flavour::Ours)?;
        node.prepare = Some("mkdir -p $STATE && mount -t tmpfs -o size=64k,mode=700 none $STATE".to_owned());
        node.host.block_udp()?;
        node.start()?;
        let ballast = node.state_dir.join("ballast");
        let ballast = node.seen_by_daemon(&ballast)?;
        ensure!(std::fs::write(&ballast, vec![0; 128 * 1024]).is_err(), "the disk does not fill up");
        let server = format!("--login-server={}", headscale.url());
        let key = format!("--auth-key={}", headscale.auth_key()?);
        let outcome = node.tailscale(&["up", &server, &key, "--timeout=10s"])?;
        let health = node.status()?["Health"].to_string().to_lowercase();
        ensure!(
            outcome.code() != 0 || health.contains("state"),
            "nobody says that the state cannot be written: {outcome} {health}"
        );
        node.daemon()?.check()?;
        std::fs::remove_file(ballast)?;
        node.tailscale(&["up", &server, &key, "--timeout=30s"])?.ok()?;
        node.wait_running()?;
        let state = node.state_file();
        let file = node.seen_by_daemon(&state)?;
        lab::until("the state to be written", Duration::from_secs(10), || {
            Ok(std::fs::read_to_string(&file).is_ok_and(|text| text.contains("_machinekey")).then_some(()))
        })
    });
}
