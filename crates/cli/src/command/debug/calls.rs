//! Commands that are one call each: pushes, and what is printed as the daemon says it.

use clap::{ArgMatches, Command};
use localapi::types::ErrorBody;
use localapi::{Bytes, Error, Method};

use super::super::{Run, ip, no_words};
use crate::args::{Matches, command, duration, quote};
use crate::render::{json, status};
use crate::stop::{Outcome, Stop, connecting};

/// What the components of Go's daemon are called that have a log level of their own.
const COMPONENTS: &str = "magicsock|sockstats|syspolicy";

/// A command that only has the daemon do something.
struct Push {
    name: &'static str,
    usage: &'static str,
    action: &'static str,
    about: &'static str,
}

/// Its name is also the action, unless that is told.
macro_rules! push {
    ($name:literal, $about:literal) => {
        push!($name, $name, $about)
    };
    ($name:literal, $action:literal, $about:literal) => {
        Push { name: $name, usage: concat!("tailscale debug ", $name), action: $action, about: $about }
    };
}

const PUSHES: [Push; 10] = [
    push!("break-derp-conns", "Close the connections to DERP relays"),
    push!("break-tcp-conns", "Close all TCP connections of the daemon"),
    push!("clear-netmap-cache", "Remove network maps that were stored"),
    push!("derp-set-on-demand", "derp-set-homeless", "Have no home relay (others cannot reach this node)"),
    push!("derp-unset-on-demand", "derp-unset-homeless", "Have a home relay again"),
    push!("force-netmap-update", "Have the daemon go through the network map again"),
    push!("pick-new-derp", "Move to another home relay for a while"),
    push!("rebind", "Open the sockets anew, and see which connections still work"),
    push!("restun", "Measure the way to the relays anew"),
    push!("rotate-disco-key", "Make a new discovery key"),
];

pub(super) fn define() -> impl Iterator<Item = Command> {
    let pushes = PUSHES.iter().map(|push| command(push.name, push.usage, push.about));
    pushes.chain([
        command(
            "component-logs",
            "tailscale debug component-logs [magicsock|sockstats|syspolicy]",
            "Have one component log more for a while",
        )
        .arg(duration("for", "1h0m0s", "how long; 0s ends it")),
        command(
            "control-knobs",
            "tailscale debug control-knobs",
            "Print what control has switched on or off",
        ),
        command("derp", "tailscale debug derp <region>", "Have the daemon test a DERP region"),
        command(
            "force-prefer-derp",
            "tailscale debug force-prefer-derp <region-id>",
            "Prefer a DERP region as home, by its number; 0 ends it",
        ),
        command("metrics", "tailscale debug metrics", "Print what the daemon counts"),
        command(
            "peer-endpoint-changes",
            "tailscale debug peer-endpoint-changes <hostname-or-IP>",
            "Print how the ways to a peer have changed",
        ),
        command(
            "peer-relay-servers",
            "tailscale debug peer-relay-servers",
            "Print peers that may relay for us",
        ),
        command("set-expire", "tailscale debug set-expire --in=1m", "Let the node key expire sooner")
            .arg(duration("in", "0s", "from now on")),
        command("statedir", "tailscale debug statedir", "Print the daemon's state directory"),
    ])
}

/// Runs the command `name`; `None` if it is not one of these.
pub(super) async fn run(run: &mut Run<'_, '_>, name: &str, matches: &ArgMatches) -> Option<Outcome> {
    if let Some(push) = PUSHES.iter().find(|push| push.name == name) {
        return Some(act(run, push.action, matches).await);
    }
    Some(match name {
        "component-logs" => component_logs(run, matches).await,
        "control-knobs" | "peer-relay-servers" => knobs(run, name, matches).await,
        "derp" => derp(run, matches).await,
        "force-prefer-derp" => prefer(run, matches).await,
        "metrics" => metrics(run, matches).await,
        "peer-endpoint-changes" => endpoint_changes(run, matches).await,
        "set-expire" => expire(run, matches).await,
        "statedir" => state_dir(run, matches).await,
        _ => return None,
    })
}

async fn act(run: &mut Run<'_, '_>, action: &str, matches: &ArgMatches) -> Outcome {
    no_words(matches)?;
    run.client.debug_action(action, Bytes::new()).await.map_err(lacking).map(drop)
}

async fn knobs(run: &mut Run<'_, '_>, action: &str, matches: &ArgMatches) -> Outcome {
    no_words(matches)?;
    let answer = run.client.debug_action(action, Bytes::new()).await.map_err(lacking)?;
    print(run, &answer, "  ");
    Ok(())
}

async fn prefer(run: &mut Run<'_, '_>, matches: &ArgMatches) -> Outcome {
    let words = matches.rest();
    let region = match words.as_slice() {
        [region] => region.parse::<i64>().ok(),
        _ => None,
    };
    let region = region.ok_or("usage: tailscale debug force-prefer-derp <region-id>")?;
    run.client.debug_action("force-prefer-derp", region.to_string().into()).await.map_err(lacking).map(drop)
}

async fn state_dir(run: &mut Run<'_, '_>, matches: &ArgMatches) -> Outcome {
    no_words(matches)?;
    let answer = run.client.debug_action("statedir", Bytes::new()).await.map_err(lacking)?;
    match serde_json::from_slice::<String>(&answer) {
        Ok(dir) if !dir.is_empty() => run.console.say(&format!("{dir}\n")),
        Ok(_) => return Err(Stop::from("the daemon has no state directory")),
        Err(error) => return Err(Stop::Error(format!("cannot read tailscaled's answer: {error}"))),
    }
    Ok(())
}

async fn derp(run: &mut Run<'_, '_>, matches: &ArgMatches) -> Outcome {
    let words = matches.rest();
    let [region] = words.as_slice() else { return Err(Stop::from("usage: tailscale debug derp <region>")) };
    let answer = run.client.test_derp_region(region).await.map_err(lacking)?;
    print(run, &answer, " ");
    Ok(())
}

async fn metrics(run: &mut Run<'_, '_>, matches: &ArgMatches) -> Outcome {
    no_words(matches)?;
    let text = run.client.call(Method::GET, "metrics", 200, Bytes::new()).await.map_err(lacking)?;
    run.console.say_bytes(&text);
    Ok(())
}

async fn component_logs(run: &mut Run<'_, '_>, matches: &ArgMatches) -> Outcome {
    let words = matches.rest();
    let [component] = words.as_slice() else {
        return Err(Stop::Error(format!("usage: tailscale debug component-logs [{COMPONENTS}]")));
    };
    let span = matches.span("for");
    let seconds = span.limit().map_or(0, |limit| limit.as_secs());
    let answer: ErrorBody = run.client.log_component(component, seconds).await.map_err(lacking)?;
    if !answer.error.is_empty() {
        return Err(Stop::Error(answer.error));
    }
    let name = quote(component);
    run.console.say(&match span.limit() {
        None => format!("Disabled debug logs for component {name}\n"),
        Some(_) => format!("Enabled debug logs for component {name} for {span}\n"),
    });
    Ok(())
}

async fn endpoint_changes(run: &mut Run<'_, '_>, matches: &ArgMatches) -> Outcome {
    let status = run.client.status().await.map_err(connecting)?;
    if let Err(instead) = status::running(&status) {
        run.console.say(&format!("{instead}\n"));
        return Err(Stop::Quiet(1));
    }
    let words = matches.rest();
    let [target] = words.as_slice() else {
        return Err(Stop::from("usage: tailscale debug peer-endpoint-changes <hostname-or-IP>"));
    };
    let (ip, own) = ip::resolve(&status, target)?;
    if own {
        run.console.say(&format!("{ip} is local Tailscale IP\n"));
        return Ok(());
    }
    let answer = run.client.peer_endpoint_changes(ip).await.map_err(lacking)?;
    print(run, &answer, "  ");
    Ok(())
}

async fn expire(run: &mut Run<'_, '_>, matches: &ArgMatches) -> Outcome {
    no_words(matches)?;
    let span = matches.span("in");
    if span.0 == 0 {
        return Err(Stop::from("usage: tailscale debug set-expire --in=<duration>"));
    }
    let now = run.env.now.duration_since(std::time::UNIX_EPOCH).unwrap_or_default().as_secs();
    let at = i64::try_from(now).unwrap_or(i64::MAX).saturating_add(span.0 / 1_000_000_000);
    run.client.set_expiry_sooner(at).await?;
    Ok(())
}

fn print(run: &mut Run<'_, '_>, answer: &[u8], indent: &'static str) {
    run.console.say(&format!("{}\n", json::reindent(&String::from_utf8_lossy(answer), indent)));
}

/// A daemon may have been built without it.
pub(in crate::command) fn lacking(error: Error) -> Stop {
    match error {
        Error::NotFound(text) if text.ends_with("404 page not found") => {
            Stop::from("this tailscaled cannot do that: the part is not in its build")
        }
        error => error.into(),
    }
}
