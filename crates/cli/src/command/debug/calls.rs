//! Commands that are one call each: pushes, and what is printed as the daemon says it.

use localapi::types::ErrorBody;
use localapi::{Bytes, Method};

use super::super::{Run, ip, lacking, no_words};
use crate::args::{Matches, quote};
use crate::render::{json, status};
use crate::stop::{Outcome, Stop, connecting};

/// What the components of Go's daemon are called that have a log level of their own.
const COMPONENTS: &str = "magicsock|sockstats|syspolicy";

/// Has the daemon do something; the action has the command's name, with two exceptions.
pub(super) fn act(run: &mut Run<'_, '_>, matches: &Matches) -> Outcome {
    no_words(matches)?;
    let action = match matches.command.name {
        "derp-set-on-demand" => "derp-set-homeless",
        "derp-unset-on-demand" => "derp-unset-homeless",
        name => name,
    };
    ask(run, action, "").map(drop)
}

/// What the action of the command's name gives.
pub(super) fn knobs(run: &mut Run<'_, '_>, matches: &Matches) -> Outcome {
    no_words(matches)?;
    let answer = ask(run, matches.command.name, "")?;
    print(run, &answer, "  ");
    Ok(())
}

/// Has the daemon do `action`.
pub(super) fn ask(run: &Run<'_, '_>, action: &str, body: &str) -> Result<Bytes, Stop> {
    let body = Bytes::copy_from_slice(body.as_bytes());
    run.wait(run.client.debug_action(action, body)).map_err(lacking)
}

pub(super) fn force_prefer_derp(run: &mut Run<'_, '_>, matches: &Matches) -> Outcome {
    let words = matches.rest();
    let region = match words.as_slice() {
        [region] => region.parse::<i64>().ok(),
        _ => None,
    };
    let region = region.ok_or("usage: tailscale debug force-prefer-derp <region-id>")?;
    ask(run, "force-prefer-derp", &region.to_string()).map(drop)
}

pub(super) fn state_dir(run: &mut Run<'_, '_>, matches: &Matches) -> Outcome {
    no_words(matches)?;
    let answer = ask(run, "statedir", "")?;
    match gojson::from_slice::<String>(&answer) {
        Ok(dir) if !dir.is_empty() => run.console.say(&format!("{dir}\n")),
        Ok(_) => return Err(Stop::from("the daemon has no state directory")),
        Err(error) => return Err(Stop::Error(format!("cannot read tailscaled's answer: {error}"))),
    }
    Ok(())
}

pub(super) fn derp(run: &mut Run<'_, '_>, matches: &Matches) -> Outcome {
    let words = matches.rest();
    let [region] = words.as_slice() else { return Err(Stop::from("usage: tailscale debug derp <region>")) };
    let answer = run.wait(run.client.test_derp_region(region)).map_err(lacking)?;
    print(run, &answer, " ");
    Ok(())
}

pub(super) fn metrics(run: &mut Run<'_, '_>, matches: &Matches) -> Outcome {
    no_words(matches)?;
    let text = run.wait(run.client.call(Method::GET, "metrics", 200, Bytes::new())).map_err(lacking)?;
    run.console.say_bytes(&text);
    Ok(())
}

pub(super) fn component_logs(run: &mut Run<'_, '_>, matches: &Matches) -> Outcome {
    let words = matches.rest();
    let [component] = words.as_slice() else {
        return Err(Stop::Error(format!("usage: tailscale debug component-logs [{COMPONENTS}]")));
    };
    let span = matches.span("for");
    let seconds = span.limit().map_or(0, |limit| limit.as_secs());
    let answer: ErrorBody = run.wait(run.client.log_component(component, seconds)).map_err(lacking)?;
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

pub(super) fn endpoint_changes(run: &mut Run<'_, '_>, matches: &Matches) -> Outcome {
    let status = run.status().map_err(connecting)?;
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
    let answer = run.wait(run.client.peer_endpoint_changes(ip)).map_err(lacking)?;
    print(run, &answer, "  ");
    Ok(())
}

pub(super) fn expire(run: &mut Run<'_, '_>, matches: &Matches) -> Outcome {
    no_words(matches)?;
    let span = matches.span("in");
    if span.0 == 0 {
        return Err(Stop::from("usage: tailscale debug set-expire --in=<duration>"));
    }
    let at = run.env.seconds().saturating_add(span.0 / 1_000_000_000);
    Ok(run.wait(run.client.set_expiry_sooner(at))?)
}

pub(super) fn print(run: &mut Run<'_, '_>, answer: &[u8], indent: &'static str) {
    run.console.say_json(&format!("{}\n", json::reindent(&String::from_utf8_lossy(answer), indent)));
}
