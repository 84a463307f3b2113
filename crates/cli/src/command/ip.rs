//! `ip`: addresses of this node, a peer or a service.

use std::net::{IpAddr, ToSocketAddrs as _};

use localapi::Error;
use localapi::types::Status;

use super::Run;
use crate::args::{Command, Flag, Matches, quote, switch, text};
use crate::render::status::display_name;
use crate::stop::{Outcome, Stop};

pub(super) static COMMAND: Command = Command {
    name: "ip",
    usage: "tailscale ip [-1] [-4] [-6] [peer, service or address]",
    about: "Show Tailscale addresses",
    flags: &[FLAGS],
    run: Some(run),
    ..Command::PLAIN
};

const FLAGS: &[Flag] = &[
    switch("1", false, "only one address"),
    switch("4", false, "only the IPv4 address"),
    switch("6", false, "only the IPv6 address"),
    text("assert", "", "fail unless this is an address of the node"),
];

fn run(run: &mut Run<'_, '_>, matches: &Matches) -> Outcome {
    let words = matches.rest();
    if words.len() > 1 {
        return Err(Stop::from("too many arguments, expected at most one peer"));
    }
    let (one, v4, v6) = (matches.on("1"), matches.on("4"), matches.on("6"));
    if [one, v4, v6].into_iter().filter(|on| *on).count() > 1 {
        return Err(Stop::from("tailscale ip -1, -4, and -6 are mutually exclusive"));
    }
    let status = run.status()?;
    let mut ips = status.tailscale_ips.clone();
    let assert = matches.word("assert");
    if !assert.is_empty() {
        let shown: Vec<String> = ips.iter().map(ToString::to_string).collect();
        if shown.iter().any(|ip| ip == assert) {
            return Ok(());
        }
        return Err(Stop::Error(format!(
            "assertion failed: IP {} not found among [{}]",
            quote(assert),
            shown.join(" ")
        )));
    }
    if let Some(of) = words.first().filter(|word| !word.is_empty()) {
        let (ip, _) = resolve(&status, of)?;
        ips = match node_addresses(&status, ip) {
            Some(ips) => ips,
            None => {
                service_addresses(run, ip)?.ok_or_else(|| format!("no peer or service found with IP {ip}"))?
            }
        };
    }
    if ips.is_empty() {
        return Err(Stop::Error(format!("no current Tailscale IPs; state: {}", status.backend_state)));
    }
    if one {
        ips.truncate(1);
    }
    ips.retain(|ip| if ip.is_ipv4() { !v6 } else { !v4 });
    if ips.is_empty() {
        return Err(Stop::Error(format!("no Tailscale IPv{} address", if v4 { 4 } else { 6 })));
    }
    let lines: String = ips.iter().map(|ip| format!("{ip}\n")).collect();
    run.console.say(&lines);
    Ok(())
}

fn node_addresses(status: &Status, ip: IpAddr) -> Option<Vec<IpAddr>> {
    let nodes = status.peer.values().chain(status.self_.as_deref());
    nodes.into_iter().find(|node| node.tailscale_ips.contains(&ip)).map(|node| node.tailscale_ips.clone())
}

fn service_addresses(run: &Run<'_, '_>, ip: IpAddr) -> Result<Option<Vec<IpAddr>>, Stop> {
    let services = match run.wait(run.client.services()) {
        Ok(services) => services,
        // A daemon without services, or without a network map.
        Err(Error::NotFound(_) | Error::Http { status: 503, .. }) => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    Ok(services.into_values().map(|service| service.addrs).find(|addrs| addrs.contains(&ip)))
}

/// The address meant by `word`: itself, a node's name, or what DNS says. The flag tells that it is our own.
///
/// # Errors
/// When nobody knows the name.
pub(super) fn resolve(status: &Status, word: &str) -> Result<(IpAddr, bool), String> {
    if let Ok(ip) = word.parse() {
        return Ok((ip, false));
    }
    // Names are shown with and without the dot at the end.
    let whole = |name: &str| name.strip_suffix('.').unwrap_or(name).to_ascii_lowercase();
    let wanted = whole(word);
    let peers = status.peer.values().map(|peer| (peer, false));
    let own = status.self_.as_deref().map(|own| (own, true));
    for (node, own) in peers.chain(own) {
        if word.eq_ignore_ascii_case(&display_name(status, node))
            || (!wanted.is_empty() && wanted == whole(&node.dns_name))
        {
            match node.tailscale_ips.first() {
                Some(ip) => return Ok((*ip, own)),
                None if own => {}
                None => return Err("node found but lacks an IP".to_owned()),
            }
        }
    }
    // Blocking is fine: nothing else runs meanwhile.
    let mut found = (word, 0)
        .to_socket_addrs()
        .map_err(|error| format!("error looking up IP of {}: {error}", quote(word)))?;
    found.next().map(|addr| (addr.ip(), false)).ok_or_else(|| format!("no IPs found for {}", quote(word)))
}
