//! `ping`: asks the daemon to ping a node, and says which way the answer came.

use std::net::IpAddr;
use std::time::Duration;

use localapi::types::{PingKind, PingResult};

use super::{Run, ip};
use crate::args::{Command, Flag, GoDuration, Matches, duration, int, switch};
use crate::render::status;
use crate::stop::{Outcome, Stop, connecting};
use crate::wait::Limit;

pub(super) static COMMAND: Command = Command {
    name: "ping",
    usage: "tailscale ping <hostname-or-IP>",
    about: "Ping a node inside the tailnet and see the way it takes",
    more: "The first answers usually come through a DERP relay, until a direct path is\n\
           found. Stops after 10 pings or at the first answer over a direct path.",
    flags: &[FLAGS],
    run: Some(run),
    ..Command::PLAIN
};

const FLAGS: &[Flag] = &[
    int("c", "10", "number of pings, 0 for no end"),
    switch("icmp", false, "ICMP inside WireGuard, answered by the peer's system"),
    switch("peerapi", false, "ask the peer's PeerAPI server"),
    int(
        "size",
        "0",
        "size of the message in bytes, 0 for the least (only without --tsmp, --icmp, --peerapi)",
    ),
    duration("timeout", "5s", "how long to wait for each answer"),
    switch("tsmp", false, "TSMP inside WireGuard, answered by the peer's tailscaled"),
    switch("until-direct", true, "stop when there is a direct path"),
    switch("verbose", false, "tell which address a name stands for"),
];

fn run(run: &mut Run<'_, '_>, matches: &Matches) -> Outcome {
    let status = run.status().map_err(connecting)?;
    if let Err(instead) = status::running(&status) {
        run.console.say(&format!("{instead}\n"));
        return Err(Stop::Quiet(1));
    }
    let words = matches.rest();
    let [target] = words.as_slice() else { return Err(Stop::from("usage: tailscale ping <hostname-or-IP>")) };
    if target.is_empty() {
        return Err(Stop::from("usage: tailscale ping <hostname-or-IP>"));
    }
    let (ip, own) = ip::resolve(&status, target)?;
    if own {
        run.console.say(&format!("{ip} is local Tailscale IP\n"));
        return Ok(());
    }
    if matches.on("verbose") && ip.to_string() != *target {
        run.console.note(&format!("lookup \"{target}\" => \"{ip}\"\n"));
    }
    drop(status);
    ping(run, matches, ip)
}

fn ping(run: &mut Run<'_, '_>, matches: &Matches, ip: IpAddr) -> Outcome {
    let kind = kind(matches);
    let until_direct = matches.on("until-direct");
    let count = matches.number("c");
    let size = usize::try_from(matches.number("size")).map_err(|_| "--size must not be negative")?;
    let patience = matches.span("timeout");
    let mut answered = false;
    let mut sent = 0i64;
    while !run.console.deaf() {
        sent = sent.saturating_add(1);
        let last = sent == count;
        let (exchange, read) = run.client.ping(ip, kind, size).apart();
        let answer = run.waiter.within(&mut Limit::after(patience), exchange.send());
        let Ok(answer) = answer else {
            run.console.say(&format!("ping \"{ip}\" timed out\n"));
            if last {
                return if answered { Ok(()) } else { Err(Stop::from("no reply")) };
            }
            continue;
        };
        let pong = read(exchange.path(), answer?)?;
        if !pong.err.is_empty() {
            if pong.is_local_ip {
                run.console.say(&format!("{}\n", pong.err));
                return Ok(());
            }
            return Err(Stop::Error(pong.err));
        }
        run.console.say(&line(&pong, kind));
        if kind != PingKind::Disco || (until_direct && !pong.endpoint.is_empty()) {
            return Ok(());
        }
        answered = true;
        std::thread::sleep(Duration::from_secs(1));
        if last {
            return if until_direct { Err(Stop::from("direct connection not established")) } else { Ok(()) };
        }
    }
    Ok(())
}

fn kind(matches: &Matches) -> PingKind {
    if matches.on("tsmp") {
        PingKind::Tsmp
    } else if matches.on("icmp") {
        PingKind::Icmp
    } else if matches.on("peerapi") {
        PingKind::PeerApi
    } else {
        PingKind::Disco
    }
}

/// The line for an answer.
fn line(pong: &PingResult, kind: PingKind) -> String {
    // To the millisecond; a float cast saturates, so nonsense from the daemon stays harmless.
    let millis = (pong.latency_seconds * 1e3).round() as i64;
    let latency = GoDuration(millis.saturating_mul(1_000_000));
    if kind == PingKind::PeerApi {
        return format!(
            "hit peerapi of {} ({}) at {} in {latency}\n",
            pong.node_ip, pong.node_name, pong.peer_api_url
        );
    }
    let via = if !pong.peer_relay.is_empty() {
        format!("peer-relay({})", pong.peer_relay)
    } else if pong.derp_region_id != 0 {
        format!("DERP({})", pong.derp_region_code)
    } else if !pong.endpoint.is_empty() {
        pong.endpoint.clone()
    } else {
        kind.name().to_owned()
    };
    let port = if pong.peer_api_port == 0 { String::new() } else { format!(", {}", pong.peer_api_port) };
    format!("pong from {} ({}{port}) via {via} in {latency}\n", pong.node_name, pong.node_ip)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_by_the_way_taken() {
        let pong = |change: &dyn Fn(&mut PingResult)| {
            let mut pong = PingResult {
                node_ip: "100.64.0.7".to_owned(),
                node_name: "box".to_owned(),
                latency_seconds: 0.0234,
                ..PingResult::default()
            };
            change(&mut pong);
            pong
        };
        let derp = pong(&|pong| {
            pong.derp_region_id = 1;
            pong.derp_region_code = "nyc".to_owned();
        });
        assert_eq!(line(&derp, PingKind::Disco), "pong from box (100.64.0.7) via DERP(nyc) in 23ms\n");
        let direct = pong(&|pong| pong.endpoint = "192.0.2.1:41641".to_owned());
        assert_eq!(
            line(&direct, PingKind::Disco),
            "pong from box (100.64.0.7) via 192.0.2.1:41641 in 23ms\n"
        );
        let tsmp = pong(&|pong| {
            pong.peer_api_port = 4321;
            pong.latency_seconds = 1.5;
        });
        assert_eq!(line(&tsmp, PingKind::Tsmp), "pong from box (100.64.0.7, 4321) via TSMP in 1.5s\n");
        let odd = pong(&|pong| pong.latency_seconds = f64::NAN);
        assert_eq!(line(&odd, PingKind::Icmp), "pong from box (100.64.0.7) via ICMP in 0s\n");
        let api = pong(&|pong| pong.peer_api_url = "http://100.64.0.7:1".to_owned());
        assert_eq!(
            line(&api, PingKind::PeerApi),
            "hit peerapi of 100.64.0.7 (box) at http://100.64.0.7:1 in 23ms\n"
        );
    }
}
