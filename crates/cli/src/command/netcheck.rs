//! `netcheck`: what the network lets through and how far the relays are.

use std::net::{IpAddr, SocketAddr};

use localapi::types::Time;
use tokio::time::Instant;

use super::{Run, no_words};
use crate::args::{Command, Flag, Matches, duration, int, quote, switch, text};
use crate::netcheck::Netcheck;
use crate::stop::{Outcome, Stop};
use crate::wait::{Cut, Limit};

pub(super) static COMMAND: Command = Command {
    name: "netcheck",
    usage: "tailscale netcheck",
    about: "Print what the network lets through and how far the relays are",
    more: "Asks the DERP servers of the tailnet by STUN; where UDP is blocked, by HTTPS.\n\
           Port mappers and captive portals are not looked for in this build.",
    flags: &[FLAGS],
    run: Some(run),
    ..Command::PLAIN
};

const FLAGS: &[Flag] = &[
    text("bind-address", "", "send from this address [default: any]"),
    int("bind-port", "0", "send from this UDP port; 0 = any"),
    duration("every", "0s", "report again and again, this far apart; 0s = once"),
    text("format", "", "\"json\", \"json-line\", or empty for people"),
    switch("verbose", false, "tell each step"),
];

/// How a report is printed.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Format {
    Text,
    Json,
    JsonLine,
}

fn run(run: &mut Run<'_, '_>, matches: &Matches) -> Outcome {
    no_words(matches)?;
    let format = match matches.word("format") {
        "" => Format::Text,
        "json" => Format::Json,
        "json-line" => Format::JsonLine,
        other => {
            let known = "it is \"json\", \"json-line\" or empty";
            return Err(Stop::Error(format!("unknown output format {}: {known}", quote(other))));
        }
    };
    let verbose = matches.on("verbose");
    let (ip, port) = source(run, matches)?;
    let _inside = run.waiter.enter();
    let (mut netcheck, problem) = Netcheck::new(ip, port, run.env.dialer);
    if let Some(problem) = problem {
        run.console.note(&format!("netcheck: UDP test failure: {problem}\n"));
    }
    let map = run.wait(run.client.derp_map())?.filter(|map| !map.regions.is_empty());
    let map = map.ok_or("netcheck: tailscaled knows no DERP servers yet; log in first")?;
    let mut limit = run.waiter.interruptible(Limit::default());
    let start = Instant::now();
    let started = run.env.now.duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    while !run.console.deaf() {
        let now = started.saturating_add(start.elapsed());
        let now = Time::from_unix_nanos(i128::try_from(now.as_nanos()).unwrap_or(i128::MAX));
        let console = &mut *run.console;
        let mut note = |line: &str| {
            if verbose {
                console.note(&format!("netcheck: {line}\n"));
            }
        };
        let report = netcheck.report((run.waiter, &mut limit), &map, now, verbose, &mut note);
        let report = report.map_err(|_| "context canceled")?;
        match format {
            Format::Text => run.console.say(&report.text(&map, verbose)),
            Format::Json => run.console.say_json(&(report.json(true) + "\n")),
            Format::JsonLine => run.console.say_json(&(report.json(false) + "\n")),
        }
        let every = matches.span("every");
        if every.limit().is_none() || run.waiter.pause(every, &mut limit) == Cut::Interrupted {
            break;
        }
    }
    Ok(())
}

/// Where to send from: the flags, or an environment variable of Go's tool.
fn source(run: &Run<'_, '_>, matches: &Matches) -> Result<(Option<IpAddr>, u16), Stop> {
    let port = matches.number("bind-port");
    let port = u16::try_from(port).map_err(|_| format!("invalid bind port number: {port}"))?;
    if matches.given("bind-address") {
        let text = matches.word("bind-address");
        let ip = text.parse().map_err(|_| format!("invalid bind address: {}", quote(text)))?;
        return Ok((Some(ip), port));
    }
    match run.env.var("TS_DEBUG_NETCHECK_UDP_BIND") {
        text if !text.is_empty() && !matches.given("bind-port") => {
            let place: SocketAddr = text
                .parse()
                .map_err(|_| format!("TS_DEBUG_NETCHECK_UDP_BIND: {} is no ip:port", quote(text)))?;
            Ok((Some(place.ip()), place.port()))
        }
        _ => Ok((None, port)),
    }
}
