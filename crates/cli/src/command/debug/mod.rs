//! `debug`: the daemon's own words, for people who look for a fault.

mod calls;

use std::io::Read as _;

use clap::{ArgMatches, Command};
use localapi::types::{ReloadConfigResponse, mask};
use localapi::{Bytes, Method};

pub(super) use calls::lacking;

use super::{Run, no_words, up_wait::interrupted};
use crate::args::{Matches, command, group, int, switch};
use crate::render::json;
use crate::stop::{Outcome, Stop};

/// A request body from standard input is no longer than this.
const BODY_LIMIT: u64 = 1 << 20;

pub(crate) fn define() -> Command {
    let watch =
        WATCH.iter().fold(
            command("watch-ipn", "tailscale debug watch-ipn", "Print the messages of the daemon's bus")
                .arg(int("count", "0", "stop after this many messages, 0 for no end")),
            |command, (flag, default, _, help)| command.arg(switch(flag, *default, help)),
        );
    let own = [
        command("derp-map", "tailscale debug derp-map", "Print the DERP map"),
        command(
            "localapi",
            "tailscale debug localapi [<method>] <path> [<body> | \"-\"]",
            "Make a LocalAPI request",
        )
        .arg(switch("v", false, "print status and headers, too")),
        command("netmap", "tailscale debug netmap", "Print the network map"),
        command("prefs", "tailscale debug prefs", "Print the preferences")
            .arg(switch("pretty", false, "in one line (not in this build)").hide(true)),
        command("reload-config", "tailscale debug reload-config", "Have the configuration file read again"),
        watch,
    ];
    let mut all: Vec<Command> = calls::define().chain(own).collect();
    all.sort_by(|a, b| a.get_name().cmp(b.get_name()));
    group("debug", "tailscale debug <subcommand>", "Look inside the daemon").hide(true).subcommands(all)
}

/// Flags of `watch-ipn`: name, default, bits of the mask, help.
const WATCH: [(&str, bool, u64, &str); 12] = [
    ("engine-updates", false, mask::WATCH_ENGINE_UPDATES, "ask the engine every 2 s"),
    ("health-actions", false, mask::HEALTH_ACTIONS, "keep what to do about a problem apart from its text"),
    ("initial", false, mask::INITIAL_STATE | mask::INITIAL_PREFS, "begin with state and preferences"),
    ("initial-client-version", false, mask::INITIAL_CLIENT_VERSION, "begin with the newest version known"),
    ("initial-drive-shares", false, mask::INITIAL_DRIVE_SHARES, "begin with Taildrive shares"),
    ("initial-health", false, mask::INITIAL_HEALTH_STATE, "begin with the health"),
    ("initial-outgoing-files", false, mask::INITIAL_OUTGOING_FILES, "begin with Taildrop transfers"),
    ("initial-status", false, mask::INITIAL_STATUS, "begin with the whole status"),
    (
        "initial-suggested-exit-node",
        false,
        mask::INITIAL_SUGGESTED_EXIT_NODE,
        "begin with the suggested exit node",
    ),
    ("peer-changes", true, mask::PEER_CHANGES, "peers that come, change or go"),
    ("peer-patches", true, mask::PEER_PATCHES, "small changes of peers"),
    ("peer-wireguard-state", false, mask::PEER_WIREGUARD_STATE, "states of WireGuard sessions"),
];

pub(crate) async fn run(run: &mut Run<'_, '_>, matches: &ArgMatches) -> Outcome {
    match matches.subcommand() {
        Some(("localapi", matches)) => localapi(run, matches).await,
        Some((name, matches)) => {
            if let Some(done) = calls::run(run, name, matches).await {
                return done;
            }
            no_words(matches)?;
            match name {
                "prefs" if matches.on("pretty") => Err(Stop::from("--pretty is not in this build")),
                "netmap" => netmap(run).await,
                "prefs" => show(run, "prefs").await,
                "derp-map" => derp_map(run).await,
                "reload-config" => reload_config(run).await,
                _ => watch(run, matches).await,
            }
        }
        None => Err(Stop::Help(vec!["debug".to_owned()])),
    }
}

async fn show(run: &mut Run<'_, '_>, path: &str) -> Outcome {
    let body = run.client.call(Method::GET, path, 200, Bytes::new()).await?;
    run.console.say(&format!("{}\n", json::reindent(&String::from_utf8_lossy(&body), "\t")));
    Ok(())
}

/// Without a map, as Go's tool, one without regions.
async fn derp_map(run: &mut Run<'_, '_>) -> Outcome {
    let body = run.client.call(Method::GET, "derpmap", 200, Bytes::new()).await?;
    let body = if body.trim_ascii() == b"null" { Bytes::from_static(b"{\"Regions\":null}") } else { body };
    run.console.say(&format!("{}\n", json::reindent(&String::from_utf8_lossy(&body), "\t")));
    Ok(())
}

async fn netmap(run: &mut Run<'_, '_>) -> Outcome {
    let body = run.client.debug_action("current-netmap", Bytes::new()).await.map_err(lacking)?;
    run.console.say(&format!("{}\n", json::reindent(&String::from_utf8_lossy(&body), "\t")));
    Ok(())
}

async fn reload_config(run: &mut Run<'_, '_>) -> Outcome {
    let body = run.client.call(Method::POST, "reload-config", 200, Bytes::new()).await?;
    if body.is_empty() {
        // Go's daemon says nothing when the file is wrong.
        return Err(Stop::from("the configuration file was not taken; see the daemon's log"));
    }
    let answer: ReloadConfigResponse =
        serde_json::from_slice(&body).map_err(|error| format!("cannot read tailscaled's answer: {error}"))?;
    if !answer.err.is_empty() {
        return Err(Stop::Error(answer.err));
    }
    if answer.reloaded {
        run.console.say("config reloaded\n");
        return Ok(());
    }
    run.console.say("config mode not in use\n");
    Err(Stop::Quiet(1))
}

async fn watch(run: &mut Run<'_, '_>, matches: &ArgMatches) -> Outcome {
    let bits = WATCH
        .iter()
        .filter(|(flag, ..)| matches.on(flag))
        .fold(mask::NO_NETMAP, |all, (_, _, bits, _)| all | bits);
    let mut bus = run.client.watch_bus(bits).await?;
    run.console.note("Connected.\n");
    let mut left = matches.number("count");
    while !run.console.deaf() {
        let message = tokio::select! {
            message = bus.next_line() => message?,
            () = interrupted() => return Ok(()),
        };
        let Some(message) = message else { return Err(Stop::from("tailscaled closed the connection")) };
        run.console.say(&format!("{}\n", json::reindent(&String::from_utf8_lossy(&message), "\t")));
        left -= 1;
        if left == 0 {
            return Ok(());
        }
    }
    Ok(())
}

async fn localapi(run: &mut Run<'_, '_>, matches: &ArgMatches) -> Outcome {
    let words = matches.rest();
    let mut words = words.into_iter().peekable();
    let is_method = |word: &&str| !word.is_empty() && word.bytes().all(|byte| byte.is_ascii_uppercase());
    let method = words.next_if(is_method);
    let Some(path) = words.next() else {
        let missing = if method.is_some() {
            "expected at least one argument after method"
        } else {
            "expected at least one argument"
        };
        return Err(Stop::from(missing));
    };
    let method = method.unwrap_or("GET");
    let path = match path {
        path if path.starts_with("/localapi/") => path.to_owned(),
        path if path.contains('/') => format!("/localapi/{path}"),
        path => format!("/localapi/v0/{path}"),
    };
    let body = match words.next() {
        Some("-") => {
            run.console.note("# reading request body from stdin...\n");
            let mut body = String::new();
            let read = std::io::stdin().lock().take(BODY_LIMIT).read_to_string(&mut body);
            read.map_err(|error| format!("reading stdin: {error}"))?;
            Some(body)
        }
        Some(body) => Some(body.to_owned()),
        None => None,
    };
    run.console.note(&format!("# doing request {method} {path}\n"));
    let method =
        Method::from_bytes(method.as_bytes()).map_err(|_| format!("{method} is not an HTTP method"))?;
    let answer = run.client.raw(method, &path, Bytes::from(body.unwrap_or_default())).await?;
    let fine = (200..300).contains(&answer.status);
    if matches.on("v") {
        run.console.say_bytes(&answer.head());
    } else if !fine {
        run.console.note(&format!("# Response status {}\n", answer.status_text()));
    }
    run.console.say_bytes(&answer.body);
    if fine { Ok(()) } else { Err(Stop::Error(answer.status_text())) }
}
