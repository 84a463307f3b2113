//! `netcheck`: what the network lets through and how far the relays are.

use std::net::{IpAddr, SocketAddr};

use clap::{ArgMatches, Command};
use localapi::types::Time;
use tokio::time::{Instant, sleep};

use super::{Run, no_words, up_wait::interrupted};
use crate::args::{Matches, command, duration, int, quote, switch, text};
use crate::netcheck::Netcheck;
use crate::stop::{Outcome, Stop};

pub(crate) fn define() -> Command {
    command(
        "netcheck",
        "tailscale netcheck",
        "Print what the network lets through and how far the relays are",
    )
    .before_help(
        "Asks the DERP servers of the tailnet by STUN; where UDP is blocked, by HTTPS.\n\
             Port mappers and captive portals are not looked for in this build.",
    )
    .arg(text("bind-address", "", "send from this address [default: any]"))
    .arg(int("bind-port", "0", "send from this UDP port; 0 = any"))
    .arg(duration("every", "0s", "report again and again, this far apart; 0s = once"))
    .arg(text("format", "", "\"json\", \"json-line\", or empty for people"))
    .arg(switch("verbose", false, "tell each step"))
}

/// How a report is printed.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Format {
    Text,
    Json,
    JsonLine,
}

pub(crate) async fn run(run: &mut Run<'_, '_>, matches: &ArgMatches) -> Outcome {
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
    let (mut netcheck, problem) = Netcheck::new(ip, port, run.env.dialer).await;
    if let Some(problem) = problem {
        run.console.note(&format!("netcheck: UDP test failure: {problem}\n"));
    }
    let map = run.client.derp_map().await?.filter(|map| !map.regions.is_empty());
    let map = map.ok_or("netcheck: tailscaled knows no DERP servers yet; log in first")?;
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
        let report = tokio::select! {
            report = netcheck.report(&map, now, verbose, &mut note) => report,
            () = interrupted() => return Err(Stop::from("context canceled")),
        };
        run.console.say(&match format {
            Format::Text => report.text(&map, verbose),
            Format::Json => report.json(true) + "\n",
            Format::JsonLine => report.json(false) + "\n",
        });
        let Some(pause) = matches.span("every").limit() else { return Ok(()) };
        tokio::select! {
            () = sleep(pause) => {}
            () = interrupted() => return Ok(()),
        }
    }
    Ok(())
}

/// Where to send from: the flags, or an environment variable of Go's tool.
fn source(run: &Run<'_, '_>, matches: &ArgMatches) -> Result<(Option<IpAddr>, u16), Stop> {
    let port = matches.number("bind-port");
    let port = u16::try_from(port).map_err(|_| format!("invalid bind port number: {port}"))?;
    if matches.given("bind-address") {
        let text = matches.word("bind-address");
        let ip = text.parse().map_err(|_| format!("invalid bind address: {}", quote(text)))?;
        return Ok((Some(ip), port));
    }
    match run.env.vars.get("TS_DEBUG_NETCHECK_UDP_BIND").filter(|text| !text.is_empty()) {
        Some(text) if !matches.given("bind-port") => {
            let place: SocketAddr = text
                .parse()
                .map_err(|_| format!("TS_DEBUG_NETCHECK_UDP_BIND: {} is no ip:port", quote(text)))?;
            Ok((Some(place.ip()), place.port()))
        }
        _ => Ok((None, port)),
    }
}
