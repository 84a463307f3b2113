//! `--exit-node`: from an address or a name to the address that the daemon is given.

use std::net::IpAddr;

use localapi::types::{Prefs, Status};

use crate::args::quote;
use crate::render::names::base_name;

/// What `--exit-node` was given.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Choice {
    /// `auto:EXPRESSION`: the daemon chooses.
    Auto(String),
    /// This address.
    Ip(IpAddr),
}

/// Reads a non-empty `--exit-node` value against the daemon's status.
///
/// # Errors
/// One sentence: no such node, ours, not an exit node, or a name that cannot be looked up yet.
pub(crate) fn choose(arg: &str, status: &Status) -> Result<Choice, String> {
    if let Some(expression) = arg.strip_prefix("auto:").filter(|expression| !expression.is_empty()) {
        return Ok(Choice::Auto(expression.to_owned()));
    }
    let local = || {
        format!(
            "cannot use {arg} as an exit node as it is a local IP address to this machine; did you mean --advertise-exit-node?"
        )
    };
    if let Ok(ip) = arg.parse::<IpAddr>() {
        if status.tailscale_ips.contains(&ip) {
            return Err(local());
        }
        // Only a running daemon knows every node.
        if status.backend_state == "Running" {
            let node = status.peer.values().find(|peer| peer.tailscale_ips.contains(&ip));
            let node = node.ok_or_else(|| format!("no node found in netmap with IP {ip}"))?;
            if !node.exit_node_option {
                return Err(format!("node {ip} is not advertising an exit node"));
            }
        }
        return Ok(Choice::Ip(ip));
    }
    if status.peer.is_empty() {
        return Err("cannot resolve exit node by hostname while Tailscale is starting up; \
                    please use its Tailscale IP address instead"
            .to_owned());
    }
    let mut found = None;
    for peer in status.peer.values() {
        let full = peer.dns_name.as_str();
        let names = [base_name(full, &status.magic_dns_suffix), full, full.strip_suffix('.').unwrap_or(full)];
        if !names.iter().any(|name| name.eq_ignore_ascii_case(arg)) {
            continue;
        }
        if found.is_some() {
            return Err(format!("ambiguous exit node name {}", quote(arg)));
        }
        let Some(ip) = peer.tailscale_ips.first() else {
            return Err(format!("node {} has no Tailscale IP?", quote(arg)));
        };
        if !peer.exit_node_option {
            return Err(format!("node {} is not advertising an exit node", quote(arg)));
        }
        found = Some(*ip);
    }
    match found {
        None => Err(format!("invalid value {} for --exit-node; must be IP or peer hostname", quote(arg))),
        Some(ip) if status.tailscale_ips.contains(&ip) => Err(local()),
        Some(ip) => Ok(Choice::Ip(ip)),
    }
}

/// The address of the exit node that `prefs` chose, found through `status` where they name it by id.
pub(crate) fn current(prefs: &Prefs, status: &Status) -> Option<IpAddr> {
    if prefs.exit_node_ip.0.is_some() {
        return prefs.exit_node_ip.0;
    }
    if prefs.exit_node_id.is_empty() {
        return None;
    }
    let node = status.peer.values().find(|peer| peer.id == prefs.exit_node_id)?;
    node.tailscale_ips.first().copied()
}
