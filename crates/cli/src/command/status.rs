//! `status`: what the node does and whom it can reach.

use localapi::types::Time;
use localapi::{Bytes, Method};

use super::Run;
use crate::args::{Command, Flag, Matches, switch, text};
use crate::render::json::{self, Members, Reindent};
use crate::render::status::{self, Show};
use crate::stop::{Outcome, Stop, connecting};

/// How our daemon begins the problems that concern a login.
const WHY_NOT_LOGGED_IN: [&str; 2] =
    ["You are logged out. The last login error was:", "Cannot reach the coordination server:"];

pub(super) static COMMAND: Command = Command {
    name: "status",
    usage: "tailscale status [--active] [--json]",
    about: "Show the state of the node and its connections",
    flags: &[FLAGS],
    run: Some(run),
    ..Command::PLAIN
};

const FLAGS: &[Flag] = &[
    switch("active", false, "only peers in use"),
    switch("browser", true, "with --web (not in this build)").hidden(),
    switch("header", false, "name the columns"),
    switch("json", false, "print the daemon's JSON (its format may change)"),
    text("listen", "127.0.0.1:8384", "with --web (not in this build)").hidden(),
    switch("peers", true, "show the peers"),
    switch("self", true, "show this node"),
    switch("web", false, "serve the status as a web page (not in this build)").hidden(),
];

fn run(run: &mut Run<'_, '_>, matches: &Matches) -> Outcome {
    if !matches.rest().is_empty() {
        return Err(Stop::from("unexpected non-flag arguments to 'tailscale status'"));
    }
    if matches.on("web") {
        return Err(Stop::from("--web: this build has no web interface; use --json"));
    }
    let peers = matches.on("peers");
    if matches.on("json") {
        return as_json(run, peers, matches.on("active"));
    }
    let status = if peers { run.status() } else { run.own_status() }.map_err(connecting)?;
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
    let now = Time::from_unix(run.env.seconds());
    run.console.say(&status::text(&status, show, now));
    Ok(())
}

/// The daemon's own JSON in another layout, passed on as it arrives: ten thousand peers are never held here.
fn as_json(run: &mut Run<'_, '_>, peers: bool, active: bool) -> Outcome {
    let path = if peers { "status" } else { "status?peers=false" };
    if active {
        let body = run.wait(run.client.call(Method::GET, path, 200, Bytes::new())).map_err(connecting)?;
        let body = only_active(&String::from_utf8_lossy(&body))?;
        run.console.say_json(&json::reindent(&body, "  "));
        return Ok(());
    }
    let mut stream =
        run.waiter.wait(run.client.stream(Method::GET, path, Bytes::new())).map_err(connecting)?;
    let mut layout = Reindent::new("  ");
    while let Some(piece) = run.waiter.wait(stream.next())? {
        let mut out = Vec::with_capacity(piece.len());
        layout.push(&piece, &mut out);
        run.console.say_bytes(&out);
    }
    Ok(())
}

/// The status without the peers that are not in use, everything else as the daemon wrote it.
fn only_active(body: &str) -> Result<String, String> {
    gojson::object! {
        read
        struct Peer {
            active: bool => "Active",
        }
    }
    let fault = |error| format!("tailscaled's status is not the JSON it should be: {error}");
    let status = Members::parse(body).map_err(fault)?;
    Ok(status.rewrite(|name, value| {
        let peers = if name == "Peer" { Members::parse(value).ok() } else { None };
        Some(peers.map_or_else(
            || value.to_owned(),
            |peers| {
                peers.rewrite(|_, peer| {
                    let active = gojson::from_slice::<Peer>(peer.as_bytes()).is_ok_and(|peer| peer.active);
                    active.then(|| peer.to_owned())
                })
            },
        ))
    }))
}
