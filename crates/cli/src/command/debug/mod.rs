//! `debug`: the daemon's own words, for people who look for a fault.

mod calls;
mod table;

use std::io::Read as _;

use localapi::types::ReloadConfigResponse;
use localapi::types::mask::NO_NETMAP;
use localapi::{Bytes, Method};

pub(super) use table::{ALWAYS, COMMAND};

use super::{Run, no_words};
use crate::args::Matches;
use crate::stop::{Outcome, Stop};
use crate::wait::Limit;
use calls::{ask, print};
use table::WATCH_BITS;

/// A request body from standard input is no longer than this.
const BODY_LIMIT: u64 = 1 << 20;

fn prefs(run: &mut Run<'_, '_>, matches: &Matches) -> Outcome {
    no_words(matches)?;
    if matches.on("pretty") {
        return Err(Stop::from("--pretty is not in this build"));
    }
    let body = run.wait(run.client.call(Method::GET, "prefs", 200, Bytes::new()))?;
    print(run, &body, "\t");
    Ok(())
}

/// Without a map, as Go's tool, one without regions.
fn derp_map(run: &mut Run<'_, '_>, matches: &Matches) -> Outcome {
    no_words(matches)?;
    let body = run.wait(run.client.call(Method::GET, "derpmap", 200, Bytes::new()))?;
    let body = if body.trim_ascii() == b"null" { Bytes::from_static(b"{\"Regions\":null}") } else { body };
    print(run, &body, "\t");
    Ok(())
}

fn netmap(run: &mut Run<'_, '_>, matches: &Matches) -> Outcome {
    no_words(matches)?;
    let body = ask(run, "current-netmap", "")?;
    print(run, &body, "\t");
    Ok(())
}

fn reload_config(run: &mut Run<'_, '_>, matches: &Matches) -> Outcome {
    no_words(matches)?;
    let body = run.wait(run.client.call(Method::POST, "reload-config", 200, Bytes::new()))?;
    if body.is_empty() {
        // Go's daemon says nothing when the file is wrong.
        return Err(Stop::from("the configuration file was not taken; see the daemon's log"));
    }
    let answer: ReloadConfigResponse =
        gojson::from_slice(&body).map_err(|error| format!("cannot read tailscaled's answer: {error}"))?;
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

fn watch(run: &mut Run<'_, '_>, matches: &Matches) -> Outcome {
    no_words(matches)?;
    let chosen = WATCH_BITS.iter().filter(|(flag, _)| matches.on(flag));
    let bits = chosen.fold(NO_NETMAP, |all, (_, bits)| all | bits);
    let mut limit = run.waiter.interruptible(Limit::default());
    let mut bus = run.waiter.wait(run.client.watch_bus(bits))?;
    run.console.note("Connected.\n");
    let mut left = matches.number("count");
    while !run.console.deaf() {
        let Ok(message) = run.waiter.within(&mut limit, bus.next_line()) else { return Ok(()) };
        let Some(message) = message? else { return Err(Stop::from("tailscaled closed the connection")) };
        print(run, &message, "\t");
        left -= 1;
        if left == 0 {
            return Ok(());
        }
    }
    Ok(())
}

fn localapi(run: &mut Run<'_, '_>, matches: &Matches) -> Outcome {
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
    let answer = run.waiter.wait(run.client.raw(method, &path, Bytes::from(body.unwrap_or_default())))?;
    let fine = (200..300).contains(&answer.status);
    if matches.on("v") {
        run.console.say_bytes(&answer.head());
    } else if !fine {
        run.console.note(&format!("# Response status {}\n", answer.status_text()));
    }
    run.console.say_bytes(&answer.body);
    if fine { Ok(()) } else { Err(Stop::Error(answer.status_text())) }
}
