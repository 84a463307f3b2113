//! What `status` prints: a row a node, and what is wrong.

use localapi::types::{PeerStatus, State, Status, Time};

use super::plain::cell;
use super::{names, table};
use crate::args::quote;

/// Names of Mullvad's exit nodes end so; `status` leaves them out because there are hundreds.
const MULLVAD: &str = "mullvad.ts.net.";

/// What to show.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Show {
    /// Only peers in use.
    pub(crate) active: bool,
    /// The node itself.
    pub(crate) own: bool,
    /// The peers.
    pub(crate) peers: bool,
    /// Names of the columns.
    pub(crate) header: bool,
}

/// Whether the node runs or starts; if not, the sentence that says what it does instead.
pub(crate) fn running(status: &Status) -> Result<(), String> {
    match State::from_name(&status.backend_state) {
        Some(State::Running | State::Starting) => Ok(()),
        Some(State::Stopped) => Err("Tailscale is stopped.".to_owned()),
        Some(State::NeedsLogin) if status.auth_url.is_empty() => Err("Logged out.".to_owned()),
        Some(State::NeedsLogin) => Err(format!("Logged out.\nLog in at: {}", status.auth_url)),
        Some(State::NeedsMachineAuth) => Err("Machine is not yet approved by tailnet admin.".to_owned()),
        _ => Err(format!("unexpected state: {}", status.backend_state)),
    }
}

/// The list of problems; empty when there is none.
pub(crate) fn health(status: &Status) -> String {
    let problems = status.health.as_deref().unwrap_or_default();
    let mut out = String::new();
    for (at, problem) in problems.iter().enumerate() {
        if at == 0 {
            out.push_str("# Health check:\n");
        }
        out.push_str(&format!("#     - {problem}\n"));
    }
    out
}

/// The whole text of a running node.
pub(crate) fn text(status: &Status, show: Show, now: Time) -> String {
    let mut rows = String::new();
    if show.header {
        rows.push_str("IP\tHostname\tOwner\tOS\tStatus\t\n--\t--------\t-----\t--\t------\t\n");
    }
    if let Some(own) = status.self_.as_deref().filter(|_| show.own) {
        row(&mut rows, status, own, now);
    }
    let mut left_out = false;
    if show.peers {
        for peer in sorted(status) {
            if peer.sharee_node {
                continue;
            }
            if peer.exit_node_option && !peer.exit_node && peer.dns_name.ends_with(MULLVAD) {
                left_out = true;
            } else if peer.active || !show.active {
                row(&mut rows, status, peer, now);
            }
        }
    }
    let mut out = if rows.is_empty() { String::new() } else { table::TIGHT.layout(&rows) };
    if left_out {
        out.push_str(
            "\n# To see the full list of exit nodes, including location-based exit nodes, run `tailscale exit-node list`  \n",
        );
    }
    let health = health(status);
    if !health.is_empty() {
        out.push('\n');
        out.push_str(&health);
    }
    out
}

/// By DNS name, host name, first address, key.
fn sorted(status: &Status) -> Vec<&PeerStatus> {
    let mut peers: Vec<&PeerStatus> = status.peer.values().collect();
    peers.sort_by(|a, b| {
        let addresses = match (a.tailscale_ips.first(), b.tailscale_ips.first()) {
            (Some(a), Some(b)) => a.cmp(b),
            _ => std::cmp::Ordering::Equal,
        };
        a.dns_name.cmp(&b.dns_name).then_with(|| a.host_name.cmp(&b.host_name)).then(addresses)
    });
    peers
}

fn row(rows: &mut String, status: &Status, node: &PeerStatus, now: Time) {
    let ip = node.tailscale_ips.first().map(ToString::to_string).unwrap_or_default();
    rows.push_str(&format!(
        "{ip}\t{}\t{}\t{}\t{}\t\n",
        cell(&display_name(status, node)),
        cell(&owner(status, node)),
        cell(&node.os),
        cell(&state(node, now))
    ));
}

/// The MagicDNS base name, or the host name in parentheses where there is none.
pub(crate) fn display_name(status: &Status, node: &PeerStatus) -> String {
    let base = names::base_name(&node.dns_name, &status.magic_dns_suffix);
    if base.is_empty() {
        return format!("({})", quote(&names::sanitized(&node.host_name)));
    }
    match names::to_unicode(base) {
        Some(unicode) if base.starts_with("xn-") => format!("{base} ({unicode})"),
        _ => base.to_owned(),
    }
}

/// The login name up to its `@`, of who shared the node where it was shared.
fn owner(status: &Status, node: &PeerStatus) -> String {
    let id = if node.alt_sharer_user_id == 0 { node.user_id } else { node.alt_sharer_user_id };
    if id == 0 {
        return "-".to_owned();
    }
    let Some(user) = status.user.get(&id) else { return format!("userid:{id}") };
    match user.login_name.split_once('@') {
        Some((name, _)) => format!("{name}@"),
        None => user.login_name.clone(),
    }
}

fn state(node: &PeerStatus, now: Time) -> String {
    let traffic = node.tx_bytes != 0 || node.rx_bytes != 0;
    let offline =
        if node.online { String::new() } else { format!("; offline{}", last_seen(node.last_seen, now)) };
    let mut out = if node.active {
        let role = match node {
            node if node.exit_node => "exit node; ",
            node if node.exit_node_option => "offers exit node; ",
            _ => "",
        };
        let path = if !node.relay.is_empty() && node.cur_addr.is_empty() && node.peer_relay.is_empty() {
            format!("relay {}", quote(&node.relay))
        } else if !node.cur_addr.is_empty() {
            format!("direct {}", node.cur_addr)
        } else if !node.peer_relay.is_empty() {
            format!("peer-relay {}", node.peer_relay)
        } else {
            String::new()
        };
        format!("active; {role}{path}{offline}")
    } else if node.exit_node {
        format!("idle; exit node{offline}")
    } else if node.exit_node_option {
        format!("idle; offers exit node{offline}")
    } else if traffic {
        format!("idle{offline}")
    } else if !node.online {
        format!("offline{}", last_seen(node.last_seen, now))
    } else {
        "-".to_owned()
    };
    if traffic {
        out.push_str(&format!(", tx {} rx {}", node.tx_bytes, node.rx_bytes));
    }
    out
}

/// What an exit node is to us.
pub(crate) fn exit_state(node: &PeerStatus, now: Time) -> String {
    let seen = last_seen(node.last_seen, now);
    match (node.exit_node, node.online) {
        (true, true) => "selected".to_owned(),
        (true, false) => format!("selected but offline{seen}"),
        (false, false) => format!("offline{seen}"),
        (false, true) => "-".to_owned(),
    }
}

fn last_seen(at: Time, now: Time) -> String {
    if at.is_zero() {
        return String::new();
    }
    let minutes = (now.unix().saturating_sub(at.unix()) / 60).max(1);
    match minutes {
        0..60 => format!(", last seen {minutes}m ago"),
        60..1440 => format!(", last seen {}h ago", minutes / 60),
        _ => format!(", last seen {}d ago", minutes / 1440),
    }
}

#[cfg(test)]
mod tests;
