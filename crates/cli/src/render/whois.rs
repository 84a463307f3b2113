//! What `whois` and `whoami` print.

use localapi::types::{Indent, WhoIs, to_go_json};

use super::plain::cell;
use super::table::Table;

/// Machine and user as lines of text.
pub(crate) fn text(who: &WhoIs) -> String {
    let mut rows = String::from("Machine:\n");
    if let Some(node) = &who.node {
        let list = |nets: &[ipnet::IpNet]| {
            let nets: Vec<String> = nets.iter().map(ToString::to_string).collect();
            format!("[{}]", nets.join(" "))
        };
        rows.push_str(&format!("  Name:\t{}\n", cell(node.name.strip_suffix('.').unwrap_or(&node.name))));
        rows.push_str(&format!("  ID:\t{}\n", cell(&node.stable_id)));
        rows.push_str(&format!("  Addresses:\t{}\n", list(&node.addresses)));
        // The first two are the node's own addresses.
        let routed = node.allowed_ips.as_deref().unwrap_or_default().get(2..).unwrap_or_default();
        if !routed.is_empty() {
            rows.push_str(&format!("  AllowedIPs:\t{}\n", list(routed)));
        }
    }
    let tags = who.node.as_ref().map(|node| node.tags.as_slice()).unwrap_or_default();
    if !tags.is_empty() {
        rows.push_str(&format!("  Tags:\t{}\n", cell(&tags.join(", "))));
    } else if let Some(user) = &who.user_profile {
        rows.push_str(&format!("User:\n  Name:\t{}\n  ID:\t{}\n", cell(&user.login_name), user.id));
    }
    let mut out = Table { min_width: 10, padding: 5 }.layout(&rows);
    if !who.cap_map.is_empty() {
        out.push_str("Capabilities:\n");
    }
    for (name, values) in &who.cap_map {
        let name = cell(name);
        match values.as_deref().unwrap_or_default() {
            [] => out.push_str(&format!("  - {name}\n")),
            values => {
                // The values line up with the name.
                let json = to_go_json(&values, Indent::TwoSpaces).replace('\n', "\n      ");
                out.push_str(&format!("  - {name}:\n      {json}\n"));
            }
        }
    }
    out
}
