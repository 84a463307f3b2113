//! `whois` and `whoami`: machine and user behind an address.

use localapi::Error;
use localapi::types::WhoIs;
use localapi::{Bytes, Method};

use super::Run;
use crate::args::{Command, Flag, Matches, switch, text};
use crate::render::{json, whois};
use crate::stop::{Outcome, Stop};

pub(super) static COMMAND: Command = Command {
    name: "whois",
    usage: "tailscale whois [--json] ip[:port]",
    about: "Show the machine and user behind a Tailscale address",
    flags: &[&[JSON, text("proto", "", "protocol of the port: tcp or udp; empty for both")]],
    run: Some(run),
    ..Command::PLAIN
};

pub(super) static WHOAMI: Command = Command {
    name: "whoami",
    usage: "tailscale whoami [--json]",
    about: "Show the identity of this machine",
    flags: &[&[JSON]],
    run: Some(whoami),
    ..Command::PLAIN
};

const JSON: Flag = switch("json", false, "print JSON");

fn run(run: &mut Run<'_, '_>, matches: &Matches) -> Outcome {
    match matches.rest().as_slice() {
        [] => Err(Stop::from("missing argument, expected one peer")),
        [addr] => show(run, matches.on("json"), matches.word("proto"), addr),
        _ => Err(Stop::from("too many arguments, expected at most one peer")),
    }
}

fn whoami(run: &mut Run<'_, '_>, matches: &Matches) -> Outcome {
    if !matches.rest().is_empty() {
        return Err(Stop::from("too many arguments, expected none"));
    }
    let status = run.own_status()?;
    let Some(ip) = status.tailscale_ips.first() else {
        return Err(Stop::Error(format!("no current Tailscale IP address; state: {}", status.backend_state)));
    };
    show(run, matches.on("json"), "", &ip.to_string())
}

fn show(run: &mut Run<'_, '_>, as_json: bool, proto: &str, addr: &str) -> Outcome {
    let path = format!("whois?proto={}&addr={}", encode(proto), encode(addr));
    let body = match run.wait(run.client.call(Method::GET, &path, 200, Bytes::new())) {
        Err(Error::NotFound(_)) => return Err(Stop::from("peer not found")),
        body => String::from_utf8_lossy(&body?).into_owned(),
    };
    if as_json {
        run.console.say_json(&format!("{}\n", json::reindent(&body, "  ")));
        return Ok(());
    }
    let who: WhoIs = gojson::from_slice(body.as_bytes())
        .map_err(|error| format!("cannot read tailscaled's answer to whois: {error}"))?;
    run.console.say(&whois::text(&who));
    Ok(())
}

/// `text` as a query value.
fn encode(text: &str) -> String {
    text.bytes()
        .map(|byte| match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                char::from(byte).to_string()
            }
            byte => format!("%{byte:02X}"),
        })
        .collect()
}
