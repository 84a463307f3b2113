//! A direct path under a running TCP connection while something changes below it, for ours and for Go's node in the same run.
//!
//! Leaves out: what changes (`tests/roaming.rs`), the connection itself (`conversation`).

use crate::conversation::{Conversation, STANDSTILL};
use crate::number;
use anyhow::{Context, Result, ensure};
use lab::{Flavour, Headscale, Host, Lab, Node, until};
use rustix::process::{Pid, Signal, kill_process};
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

/// In which a path must be there again in any case.
pub const AGAIN: Duration = Duration::from_secs(30);

/// Ours may take this much longer than Go's: what is measured is polled, and a machine is busy.
const SLACK: Duration = Duration::from_millis(1500);

/// A node with a kernel interface that has joined.
///
/// # Errors
/// When it does not start or join.
pub fn open(lab: &Lab, headscale: &Headscale, host: Host, flavour: Flavour) -> Result<Node> {
    let mut node = lab.node_on(host, flavour);
    node.tun = "tailscale0".to_owned();
    node.start()?;
    node.join(headscale).with_context(|| format!("{flavour:?} joins"))?;
    Ok(node)
}

/// The address at which `from` reaches `to` directly.
///
/// # Errors
/// When it does not know it.
pub fn direct(from: &Node, to: &Node) -> Result<Option<SocketAddr>> {
    let peer = from.peer(&to.ipv4()?)?.context("no such peer")?;
    Ok(peer["CurAddr"].as_str().and_then(|at| at.parse().ok()))
}

/// Waits until both reach each other directly, the second where `fit` wants it; gives how long that took.
///
/// # Errors
/// When it does not come to that.
pub fn wait_direct(from: &Node, to: &Node, fit: &dyn Fn(SocketAddr) -> bool) -> Result<Duration> {
    let began = lab::now();
    until(&format!("{} and {} to be direct", from.host.name, to.host.name), AGAIN, || {
        Ok((direct(from, to)?.is_some_and(fit) && direct(to, from)?.is_some()).then_some(()))
    })?;
    Ok(began.elapsed())
}

/// Who talks to whom while something changes.
pub struct Suffering<'a, T> {
    /// A Go node that stays where it is.
    pub fixed: &'a Node,
    /// To which it happens.
    pub node: &'a Node,
    /// What else is at its place.
    pub place: &'a T,
    /// Goes on.
    pub talk: &'a Conversation,
    /// An address of the lab's internet that nobody has.
    pub free: IpAddr,
}

/// A node of Go's and one of ours, one after the other, talk to a Go node from a place of their own. `change` makes
/// something change, and says at which address the node is to be found then, if that is another. Until both send directly
/// again ours may take the `share`th part of Go's time.
///
/// # Errors
/// When the connection breaks, or ours takes longer.
pub fn compare<T>(
    lab: &Lab,
    (what, share): (&str, u32),
    place: impl Fn(&str) -> Result<(Host, T)>,
    change: impl Fn(&Suffering<'_, T>) -> Result<Option<IpAddr>>,
) -> Result<()> {
    let headscale = lab.headscale()?;
    let fixed = open(lab, &headscale, lab.host("fixed")?, Flavour::Go)?;
    let mut times = [Duration::ZERO; 2];
    for (n, flavour) in [Flavour::Go, Flavour::Ours].into_iter().enumerate() {
        let (host, place) = place(["go", "ours"][n])?;
        let node = open(lab, &headscale, host, flavour)?;
        fixed.wait_peer(&node)?;
        node.wait_peer(&fixed)?;
        let free = IpAddr::from([203, 0, 113, 220 + n as u8]);
        Conversation::during(&fixed, &node, |talk| {
            wait_direct(&fixed, &node, &|_| true)?;
            talk.goes_on(STANDSTILL)?;
            let new = change(&Suffering { fixed: &fixed, node: &node, place: &place, talk, free })?;
            times[n] = wait_direct(&fixed, &node, &|at| new.is_none_or(|new| at.ip() == new))?;
            talk.goes_on(STANDSTILL).map(drop)
        })?;
    }
    let [go, ours] = times;
    number(&format!("direct again, {what}"), format!("{ours:.1?}, Go's node {go:.1?}"));
    ensure!(ours <= go / share + SLACK, "{what}: direct again after {ours:?}, Go's node after {go:?}");
    Ok(())
}

/// Gives a host another address of the lab's internet instead of the one it has.
///
/// # Errors
/// When the system refuses.
pub fn readdress(host: &Host, new: IpAddr) -> Result<()> {
    host.run(&["ip", "address", "del", &format!("{}/24", host.ipv4), "dev", "eth0"])?;
    host.run(&["ip", "address", "add", &format!("{new}/24"), "dev", "eth0"]).map(drop)
}

/// Control answers nobody for `time`, though its connections stay. A TCP connection goes on by a direct path; in the middle
/// the node's address changes, which its peer learns through a relay.
///
/// # Errors
/// When the connection stands still, or the path is not found again.
pub fn without_a_word_of_control(lab: &Lab, time: Duration) -> Result<()> {
    let relays = [lab.relay()?];
    let headscale = lab.headscale_beside(&relays)?;
    let control = Pid::from_raw(headscale.id().cast_signed()).context("no process")?;
    for (n, flavour) in [Flavour::Go, Flavour::Ours].into_iter().enumerate() {
        let fixed = open(lab, &headscale, lab.host(["fixed-go", "fixed-ours"][n])?, flavour)?;
        let node = open(lab, &headscale, lab.host(["near-go", "near-ours"][n])?, Flavour::Ours)?;
        fixed.wait_peer(&node)?;
        node.wait_peer(&fixed)?;
        let new = IpAddr::from([203, 0, 113, 220 + n as u8]);
        let talked = Conversation::during(&fixed, &node, |talk| {
            wait_direct(&fixed, &node, &|_| true)?;
            kill_process(control, Signal::STOP)?;
            let began = lab::now();
            let (mut longest, mut again) = (Duration::ZERO, None);
            while began.elapsed() < time {
                longest = longest.max(talk.goes_on(STANDSTILL)?);
                if again.is_none() && began.elapsed() >= time / 2 {
                    ensure!(direct(&fixed, &node)?.is_some(), "no longer direct without control");
                    let v6 = node.host.ipv6.context("no IPv6")?;
                    node.host.run(&["ip", "address", "del", &format!("{v6}/64"), "dev", "eth0"])?;
                    readdress(&node.host, new)?;
                    again = Some(wait_direct(&fixed, &node, &|at| at.ip() == new)?);
                }
                std::thread::sleep(Duration::from_secs(1));
            }
            let what = format!("{time:?} without a word of control, peer {flavour:?}");
            number(
                &what,
                format!("longest standstill {longest:.1?}, direct again {:.1?}", again.unwrap_or_default()),
            );
            Ok(())
        });
        // Whatever came of it: what is stopped cannot be ended.
        kill_process(control, Signal::CONT)?;
        talked?;
        let state = node.state()?;
        ensure!(state == "Running", "it is {state}");
    }
    Ok(())
}
