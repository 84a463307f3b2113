//! Frame of the black-box tests: a scenario gets a fresh lab, is skipped with a reason where this machine cannot
//! run it, and shows every log of the lab when it fails.
//!
//! `cargo xtask test` reads what is skipped and what was measured from the files that `SMALLTAIL_SKIPS` and
//! `SMALLTAIL_NUMBERS` name; without them both are only printed.

pub mod chatter;
pub mod container;
pub mod conversation;
pub mod direct;
pub mod dump;
pub mod flows;
pub mod foreign;
pub mod fuzz;
pub mod guest;
pub mod leak;
mod local;
pub mod local_api;
pub mod names;
pub mod natlab;
pub mod odd;
pub mod roaming;
pub mod site;
pub mod soak;
pub mod traffic;
pub mod upstreams;
pub mod world;

pub use local::{Local, Program};

use anyhow::{Context, Result, ensure};
pub use lab::skip;
use lab::{Flavour, Headscale, Lab, Need, Node, Ping, Pings};
use std::time::Duration;

/// What most scenarios need.
pub const EVERYTHING: &[Need] = &[Need::Namespaces, Need::Headscale, Need::Go, Need::Ours];

/// What a scenario needs in which control goes away and the relay stays.
pub const OUTAGE: &[Need] = &[Need::Namespaces, Need::Headscale, Need::Derper, Need::Go, Need::Ours];

/// What a scenario without our own binary needs.
pub const GO_ONLY: &[Need] = &[Need::Namespaces, Need::Headscale, Need::Go];

/// Runs `body` in a fresh lab, or skips it when something of `needs` is missing.
///
/// # Panics
/// When `body` fails; the lab's logs follow the message.
#[allow(clippy::panic)]
pub fn scenario(needs: &[Need], body: impl FnOnce(&Lab) -> Result<()>) {
    if let Some(reason) = lab::missing(needs) {
        return skip(&reason);
    }
    let name = lab::test_name();
    // The lab lives until the panic, so that it can show its logs.
    let mut lab = None;
    if let Err(error) = Lab::new().context("no lab").and_then(|new| body(lab.insert(new))) {
        panic!("{name}: {error:#}");
    }
}

/// Records a measured number for the summary of `cargo xtask test`.
#[allow(clippy::print_stdout)]
pub fn number(what: &str, value: impl std::fmt::Display) {
    lab::report("SMALLTAIL_NUMBERS", &format!("{what}: {value}"));
    println!("measured {what}: {value}");
}

/// Whether the binary under test is the static one that the goals are for.
///
/// # Errors
/// When it cannot be read.
pub fn shipped() -> Result<bool> {
    let bytes = std::fs::read(Flavour::Ours.daemon())?;
    Ok(!bytes.windows(8).any(|window| window == b"ld-linux"))
}

/// `ordinary`, or `nightly` in a nightly run.
pub fn count(ordinary: u32, nightly: u32) -> u32 {
    if std::env::var_os("SMALLTAIL_NIGHTLY").is_some_and(|value| value == "1") { nightly } else { ordinary }
}

/// How often [`quiet_enough`] looks.
const LOOKS: u32 = 3;

/// A comparison of cost or time that must hold once in three looks: whatever else the machine does only ever adds to
/// what is measured. A look gives what was too much, if anything.
///
/// # Errors
/// Those of a look, at once; what was too much in the last one.
pub fn quiet_enough(mut look: impl FnMut() -> Result<Option<String>>) -> Result<()> {
    for _ in 1..LOOKS {
        if look()?.is_none() {
            return Ok(());
        }
    }
    look()?.map_or(Ok(()), |too_much| anyhow::bail!("{too_much}, also in {LOOKS} looks"))
}

/// A started node with UDP blocked that has joined `headscale`.
///
/// # Errors
/// When it does not start or join.
pub fn joined(lab: &Lab, headscale: &Headscale, name: &str, flavour: Flavour) -> Result<Node> {
    let mut node = lab.node(name, flavour)?;
    node.host.block_udp()?;
    node.start()?;
    node.join(headscale).with_context(|| format!("{name} ({flavour:?}) joins"))?;
    Ok(node)
}

/// Pings both addresses of `to` with TSMP and ICMP, `count` times each, and wants every answer.
///
/// The first ping to a fresh peer may be lost whoever asks, so one answer is awaited before it counts.
///
/// # Errors
/// Names the kind, the address and what the command line said.
pub fn ping_all(from: &Node, to: &Node, count: u32) -> Result<()> {
    from.wait_peer(to)?;
    for address in [to.ipv4()?, to.ipv6()?] {
        for kind in [Ping::Tsmp, Ping::Icmp] {
            from.wait_ping(kind, &address, Duration::from_secs(30))?;
            complete(&from.ping(kind, &address, count)?)
                .with_context(|| format!("{kind:?} {} -> {} ({address})", from.host.name, to.host.name))?;
        }
    }
    Ok(())
}

/// Wants an answer to every ping.
///
/// # Errors
/// Names how many are missing and the first failure.
pub fn complete(pings: &Pings) -> Result<()> {
    let first = pings.failures.first().map_or("", String::as_str);
    ensure!(pings.replies == pings.sent, "{} of {} pings answered; {first}", pings.replies, pings.sent);
    Ok(())
}

/// Logs `node` in by the command line of `cli`: reads the URL that `up` prints, approves it on headscale, and wants
/// `up` to end well.
///
/// # Errors
/// When no URL comes, it is not approved or `up` fails.
pub fn interactive(node: &Node, headscale: &Headscale, cli: Flavour) -> Result<()> {
    let server = format!("--login-server={}", headscale.url());
    let command = node.cli_command(cli, &["up", &server, "--timeout=60s"]);
    let mut up = node.host.spawn(command, "up")?;
    let url = lab::until("the login URL", Duration::from_secs(30), || {
        if let Some(status) = up.ended() {
            anyhow::bail!("`up` ended with {status}: {}", up.log_text());
        }
        Ok(up
            .log_text()
            .split_whitespace()
            .find(|word| word.starts_with(&headscale.url()))
            .map(str::to_owned))
    })?;
    headscale.approve(&url)?;
    let status = up.wait(Duration::from_secs(60))?;
    let said = up.log_text();
    ensure!(status.success(), "`up` ended with {status}: {said}");
    ensure!(said.matches(&url).count() == 1, "the URL must be printed once: {said}");
    ensure!(said.contains("Success."), "no Success. in: {said}");
    node.wait_running()
}
