//! A control server that misbehaves: what runs goes on, nobody hammers, and the node is back once control is well.

use anyhow::{Context, Result, ensure};
use blackbox::{Local, number, scenario};
use lab::{Flavour, Need};
use serde_json::{Value, json};
use std::time::Duration;
use testcontrol::{Faults, Options, Server};

const OURS: &[Need] = &[Need::Namespaces, Need::Ours];

/// How long control is ill.
const ILL: Duration = Duration::from_secs(5);
/// How often a node may try meanwhile: Go's own waits grow from about a tenth of a second.
const TRIES: u32 = 12;
/// What each may dial for one try.
const DIALS: u32 = 3;

/// A node of ours that has joined, and what control knows it by.
struct Joined {
    node: Local,
    key: String,
}

impl Joined {
    fn new(server: &Server) -> Result<Self> {
        let node = Local::start(Flavour::Ours)?;
        log_in(&node, "up", server)?;
        let key = own(&node)?["PublicKey"].as_str().context("no key")?.to_owned();
        let key = server.nodes().into_iter().map(|node| node.key).find(|known| *known == key);
        Ok(Self { node, key: key.context("control does not know the node")? })
    }

    fn state(&self) -> Result<String> {
        let status = self.node.said(&["status", "--json", "--peers=false"])?;
        let status: Value = serde_json::from_str(&status)?;
        Ok(status["BackendState"].as_str().context("no state")?.to_owned())
    }

    fn wait_state(&self, state: &str) -> Result<()> {
        lab::until(state, Duration::from_secs(30), || {
            let now = self.state()?;
            ensure!(now == state, "it is {now}");
            Ok(Some(()))
        })
    }

    /// A packet of the tunnel goes there and back.
    fn reaches(&self, other: &Self) -> Result<()> {
        let address = own(&other.node)?["TailscaleIPs"][0].as_str().context("no address")?.to_owned();
        let said = self.node.said(&["ping", "--tsmp", "--c=3", "--timeout=5s", &address])?;
        ensure!(said.contains("pong"), "{said}");
        Ok(())
    }

    /// Whether the node listens to control.
    fn listens(&self, server: &Server) -> bool {
        server.send_map(&self.key, json!({"KeepAlive": true}))
    }

    fn waits_until_it_listens(&self, server: &Server, ill: &str) -> Result<()> {
        let started = lab::now();
        lab::until("the node to listen to control", Duration::from_secs(60), || {
            Ok(self.listens(server).then_some(()))
        })?;
        number(&format!("back after control was well again ({ill})"), format!("{:.1?}", started.elapsed()));
        Ok(())
    }
}

/// `up` or `login` there.
fn log_in(node: &Local, command: &str, server: &Server) -> Result<()> {
    let url = format!("--login-server={}", server.url());
    node.said(&[command, &url, "--auth-key=tskey-auth-test", "--timeout=60s"]).map(drop)
}

/// A server and two nodes that reach each other.
fn pair() -> Result<(Server, Joined, Joined)> {
    let server = Server::start(Options::default())?;
    let (one, two) = (Joined::new(&server)?, Joined::new(&server)?);
    one.reaches(&two)?;
    Ok((server, one, two))
}

/// Server and nodes hear each other on the loopback.
fn on_one_host(body: impl FnOnce() -> Result<()> + Send) {
    scenario(OURS, |lab| lab.host("all")?.inside(body)?);
}

fn own(node: &Local) -> Result<Value> {
    let status: Value = serde_json::from_str(&node.said(&["status", "--json", "--peers=false"])?)?;
    Ok(status["Self"].clone())
}

#[test]
fn what_runs_goes_on_while_control_is_ill() {
    let fine = Faults::default();
    let kinds = [
        ("refuses", Faults { refuse: true, ..fine }),
        ("says nothing", Faults { stall: true, ..fine }),
        ("talks nonsense", Faults { garbage: true, ..fine }),
        ("cuts its messages", Faults { cut_mid_message: true, ..fine }),
    ];
    on_one_host(|| {
        let (server, one, two) = pair()?;
        for (ill, faults) in kinds {
            let before = server.counts();
            server.set_faults(faults);
            lab::until("the stream to end", Duration::from_secs(10), || {
                Ok((!one.listens(&server)).then_some(()))
            })?;
            let started = lab::now();
            while started.elapsed() < ILL {
                one.reaches(&two).with_context(|| format!("while control {ill}"))?;
                ensure!(one.state()? == "Running", "{} while control {ill}", one.state()?);
            }
            let after = server.counts();
            let tries = after.registers + after.maps - before.registers - before.maps;
            // Of two nodes.
            ensure!(tries <= 2 * TRIES, "{tries} requests in {ILL:?} while control {ill}");
            // Most kinds end a connection before its first request.
            let dials = after.connections - before.connections;
            number(&format!("connections of two nodes while control {ill}"), dials);
            ensure!(dials <= 2 * TRIES * DIALS, "{dials} connections in {ILL:?} while control {ill}");
            server.set_faults(fine);
            one.waits_until_it_listens(&server, ill)?;
            two.waits_until_it_listens(&server, ill)?;
            one.reaches(&two)?;
        }
        Ok(())
    });
}

#[test]
fn a_login_that_is_told_to_wait_waits() {
    on_one_host(|| {
        let server = Server::start(Options::default())?;
        let patience = 2;
        server.set_faults(Faults { too_many: Some(patience), ..Faults::default() });
        let started = lab::now();
        let node = Local::start(Flavour::Ours)?;
        log_in(&node, "up", &server)?;
        let (took, registers) = (started.elapsed(), server.counts().registers);
        ensure!(took >= Duration::from_secs(patience.into()), "not asked to wait, or it did not: {took:?}");
        ensure!(registers == 2, "{registers} registrations for one that was to wait");
        Ok(())
    });
}

#[test]
fn relays_that_hang_up_are_connected_again() {
    on_one_host(|| {
        let (server, one, two) = pair()?;
        for _ in 0..5 {
            let before = server.counts().derp_connects;
            server.set_faults(Faults { kick_derp: true, ..Faults::default() });
            server.set_faults(Faults::default());
            lab::until("both to connect again", Duration::from_secs(20), || {
                Ok((server.counts().derp_connects >= before + 2).then_some(()))
            })?;
            one.reaches(&two)?;
        }
        Ok(())
    });
}

#[test]
fn a_key_that_control_calls_expired_is_good_again_when_it_says_so_and_a_removed_node_can_come_back() {
    on_one_host(|| {
        let (server, one, two) = pair()?;
        server.set_expired(&one.key, true);
        one.wait_state("NeedsLogin").context("expired")?;
        server.set_expired(&one.key, false);
        one.wait_state("Running").context("renewed")?;
        one.reaches(&two)?;
        server.remove(&two.key);
        // Like Go's node it goes on with the last map, and says where to log in.
        lab::until("a request to log in", Duration::from_secs(30), || {
            let said = two.node.said(&["status", "--json", "--peers=false"])?;
            Ok(said.contains("asks for a new login of this node").then_some(()))
        })?;
        log_in(&two.node, "up", &server)?;
        two.wait_state("Running")?;
        lab::until("a packet to pass", Duration::from_secs(30), || Ok(one.reaches(&two).ok()))
    });
}

#[test]
fn after_a_switch_from_a_tailnet_of_thousands_to_a_small_one_packets_pass() {
    on_one_host(|| {
        let large = Server::start(Options { phantom_peers: 3000, ..Options::default() })?;
        let small = Server::start(Options::default())?;
        let (one, two) = (Joined::new(&large)?, Joined::new(&small)?);
        let neighbour = Joined::new(&large)?;
        lab::until("the neighbour", Duration::from_secs(30), || Ok(one.reaches(&neighbour).ok()))?;
        log_in(&one.node, "login", &small)?;
        one.wait_state("Running")?;
        lab::until("a packet to pass", Duration::from_secs(30), || Ok(one.reaches(&two).ok()))?;
        let profiles = one.node.said(&["switch", "--list"])?;
        let others = profiles.lines().skip(1).filter(|line| !line.trim_end().ends_with('*'));
        let id = others.filter_map(|line| line.split_whitespace().next()).next();
        one.node.said(&["switch", id.with_context(|| profiles.clone())?])?;
        one.wait_state("Running")?;
        lab::until("the neighbour again", Duration::from_secs(30), || Ok(one.reaches(&neighbour).ok()))
    });
}
