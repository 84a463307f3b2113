//! `whois` and `whoami`: machine and user behind an address.

use clap::{ArgMatches, Command};
use localapi::Error;
use localapi::types::WhoIs;
use localapi::{Bytes, Method};

use super::Run;
use crate::args::{Matches, command, switch, text};
use crate::render::{json, whois};
use crate::stop::{Outcome, Stop};

pub(crate) fn define() -> Command {
    command(
        "whois",
        "tailscale whois [--json] ip[:port]",
        "Show the machine and user behind a Tailscale address",
    )
    .arg(switch("json", false, "print JSON"))
    .arg(text("proto", "", "protocol of the port: tcp or udp; empty for both"))
}

pub(crate) fn define_whoami() -> Command {
    command("whoami", "tailscale whoami [--json]", "Show the identity of this machine").arg(switch(
        "json",
        false,
        "print JSON",
    ))
}

pub(crate) async fn run(run: &mut Run<'_, '_>, matches: &ArgMatches) -> Outcome {
    match matches.rest().as_slice() {
        [] => Err(Stop::from("missing argument, expected one peer")),
        [addr] => show(run, matches.on("json"), matches.word("proto"), addr).await,
        _ => Err(Stop::from("too many arguments, expected at most one peer")),
    }
}

pub(crate) async fn run_whoami(run: &mut Run<'_, '_>, matches: &ArgMatches) -> Outcome {
    if !matches.rest().is_empty() {
        return Err(Stop::from("too many arguments, expected none"));
    }
    let status = run.client.status_without_peers().await?;
    let Some(ip) = status.tailscale_ips.first() else {
        return Err(Stop::Error(format!("no current Tailscale IP address; state: {}", status.backend_state)));
    };
    show(run, matches.on("json"), "", &ip.to_string()).await
}

async fn show(run: &mut Run<'_, '_>, as_json: bool, proto: &str, addr: &str) -> Outcome {
    let path = format!("whois?proto={}&addr={}", encode(proto), encode(addr));
    let body = match run.client.call(Method::GET, &path, 200, Bytes::new()).await {
        Err(Error::NotFound(_)) => return Err(Stop::from("peer not found")),
        body => String::from_utf8_lossy(&body?).into_owned(),
    };
    if as_json {
        run.console.say(&format!("{}\n", json::reindent(&body, "  ")));
        return Ok(());
    }
    let who: WhoIs = serde_json::from_slice(body.as_bytes())
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
