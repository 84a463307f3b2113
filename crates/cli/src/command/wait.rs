//! `wait`: returns when the node runs and its address can be bound.

use std::net::{IpAddr, UdpSocket};
use std::time::Duration;

use localapi::types::{State, mask};
use tokio::time::sleep;

use super::Run;
use crate::args::{Command, Matches, duration, quote_list};
use crate::stop::{Outcome, Stop};
use crate::wait::{Cut, Limit};

/// Pauses between attempts grow up to this.
const LONGEST_PAUSE: Duration = Duration::from_secs(2);

pub(super) static COMMAND: Command = Command {
    name: "wait",
    usage: "tailscale wait",
    about: "Wait until the node runs and its address can be bound",
    more: "With userspace networking there is no interface, so only the node is waited for.",
    flags: &[&[duration("timeout", "0s", "how long to wait; 0s waits for ever")]],
    run: Some(run),
    ..Command::PLAIN
};

fn run(run: &mut Run<'_, '_>, matches: &Matches) -> Outcome {
    match matches.rest().as_slice() {
        [] => {}
        words => return Err(Stop::Error(format!("unexpected arguments: {}", quote_list(words)))),
    }
    let mut limit = run.waiter.interruptible(Limit::after(matches.span("timeout")));
    run.waiter.within(&mut limit, ready(run)).unwrap_or_else(|cut| {
        Err(match cut {
            Cut::Interrupted => Stop::from("context canceled"),
            Cut::Late => Stop::Error(format!(
                "gave up after {}: the node is not ready; see \"tailscale status\"",
                matches.span("timeout")
            )),
        })
    })
}

async fn ready(run: &Run<'_, '_>) -> Outcome {
    let mut pause = Pause::default();
    while run.client.status_without_peers().await.is_err() {
        pause.next().await;
    }
    let mut bus = run.client.watch_bus(mask::INITIAL_STATE).await?;
    let (ip, tun) = loop {
        let Some(notify) = bus.next().await? else {
            return Err(Stop::from(
                "tailscaled closed the connection before the node was running; see its log",
            ));
        };
        if notify.state == Some(State::Running) {
            let status = run.client.status_without_peers().await?;
            if let Some(ip) = status.tailscale_ips.first() {
                break (*ip, status.tun);
            }
        }
    };
    let mut pause = Pause::default();
    while tun && !can_bind(ip) {
        pause.next().await;
    }
    Ok(())
}

/// Whether an interface has the address: that is when a socket can be bound to it.
fn can_bind(ip: IpAddr) -> bool {
    UdpSocket::bind((ip, 0)).is_ok()
}

#[derive(Default)]
struct Pause(Duration);

impl Pause {
    async fn next(&mut self) {
        self.0 = (self.0 * 2).clamp(Duration::from_millis(20), LONGEST_PAUSE);
        sleep(self.0).await;
    }
}
