//! `status`: what the node does and whom it can reach.

use clap::{ArgMatches, Command};
use localapi::types::Time;
use localapi::{Bytes, Method};
use serde::Deserialize;

use super::Run;
use crate::args::{Matches, command, switch, text};
use crate::render::json::{self, Members, Reindent};
use crate::render::status::{self, Show};
use crate::stop::{Outcome, Stop, connecting};

/// How our daemon begins the problems that concern a login.
const WHY_NOT_LOGGED_IN: [&str; 2] =
    ["You are logged out. The last login error was:", "Cannot reach the coordination server:"];

pub(crate) fn define() -> Command {
    command(
        "status",
        "tailscale status [--active] [--json]",
        "Show the state of the node and its connections",
    )
    .arg(switch("active", false, "only peers in use"))
    .arg(switch("browser", true, "with --web (not in this build)").hide(true))
    .arg(switch("header", false, "name the columns"))
    .arg(switch("json", false, "print the daemon's JSON (its format may change)"))
    .arg(text("listen", "127.0.0.1:8384", "with --web (not in this build)").hide(true))
    .arg(switch("peers", true, "show the peers"))
    .arg(switch("self", true, "show this node"))
    .arg(switch("web", false, "serve the status as a web page (not in this build)").hide(true))
}

pub(crate) async fn run(run: &mut Run<'_, '_>, matches: &ArgMatches) -> Outcome {
    if !matches.rest().is_empty() {
        return Err(Stop::from("unexpected non-flag arguments to 'tailscale status'"));
    }
    if matches.on("web") {
        return Err(Stop::from("--web: this build has no web interface; use --json"));
    }
    let peers = matches.on("peers");
    if matches.on("json") {
        return as_json(run, peers, matches.on("active")).await;
    }
    let status = if peers { run.client.status().await } else { run.client.status_without_peers().await };
    let status = status.map_err(connecting)?;
    if let Err(instead) = status::running(&status) {
        let health = status::health(&status);
        let telling = match &*status.backend_state {
            "NoState" => true,
            // More than Go says: why the login does not get on.
            "NeedsLogin" => status
                .health
                .iter()
                .flatten()
                .any(|problem| WHY_NOT_LOGGED_IN.iter().any(|beginning| problem.starts_with(beginning))),
            _ => false,
        };
        if telling && !health.is_empty() {
            run.console.say(&format!("{health}\n"));
        }
        run.console.say(&format!("{instead}\n"));
        return Err(Stop::Quiet(1));
    }
    let show =
        Show { active: matches.on("active"), own: matches.on("self"), peers, header: matches.on("header") };
    let now = run.env.now.duration_since(std::time::UNIX_EPOCH).map_or(0, |age| age.as_secs());
    let now = Time::from_unix(i64::try_from(now).unwrap_or(i64::MAX));
    run.console.say(&status::text(&status, show, now));
    Ok(())
}

/// The daemon's own JSON in another layout, passed on as it arrives: ten thousand peers are never held here.
async fn as_json(run: &mut Run<'_, '_>, peers: bool, active: bool) -> Outcome {
    let path = if peers { "status" } else { "status?peers=false" };
    if active {
        let body = run.client.call(Method::GET, path, 200, Bytes::new()).await.map_err(connecting)?;
        let body = only_active(&String::from_utf8_lossy(&body))?;
        run.console.say(&json::reindent(&body, "  "));
        return Ok(());
    }
    let mut stream = run.client.stream(Method::GET, path, Bytes::new()).await.map_err(connecting)?;
    let mut layout = Reindent::new("  ");
    while let Some(piece) = stream.next().await? {
        let mut out = Vec::with_capacity(piece.len());
        layout.push(&piece, &mut out);
        run.console.say_bytes(&out);
    }
    Ok(())
}

/// The status without the peers that are not in use, everything else as the daemon wrote it.
fn only_active(body: &str) -> Result<String, String> {
    #[derive(Deserialize)]
    struct Peer {
        #[serde(rename = "Active", default)]
        active: bool,
    }
    let fault =
        |error: serde_json::Error| format!("tailscaled's status is not the JSON it should be: {error}");
    let status = Members::parse(body).map_err(fault)?;
    Ok(status.rewrite(|name, value| {
        let peers = if name == "Peer" { Members::parse(value).ok() } else { None };
        Some(peers.map_or_else(
            || value.to_owned(),
            |peers| {
                peers.rewrite(|_, peer| {
                    let active =
                        serde_json::from_slice::<Peer>(peer.as_bytes()).is_ok_and(|peer| peer.active);
                    active.then(|| peer.to_owned())
                })
            },
        ))
    }))
}
