//! `--advertise-routes`, `--advertise-exit-node`: from text to the sorted list of prefixes in prefs.

use std::net::{IpAddr, Ipv6Addr};

use ipnet::IpNet;

use crate::args::quote;

/// The prefixes to advertise for the comma list `routes` and the exit-node switch.
///
/// # Errors
/// One sentence, when a word is no prefix, has host bits set, is a wrong 4via6 route, or is only one of the two
/// default routes.
pub(crate) fn advertised(routes: &str, exit_node: bool) -> Result<Vec<IpNet>, String> {
    // Sorted by prefix length, then address.
    let mut out: Vec<IpNet> = Vec::new();
    let mut add = |net: IpNet| {
        let key = |net: &IpNet| (net.prefix_len(), net.addr());
        let at = out.iter().position(|other| key(other) >= key(&net)).unwrap_or(out.len());
        if out.get(at) != Some(&net) {
            out.insert(at, net);
        }
    };
    let (mut default4, mut default6) = (false, false);
    if !routes.is_empty() {
        for word in routes.split(',') {
            let net = prefix(word)?;
            match net {
                IpNet::V4(_) if net.prefix_len() == 0 => default4 = true,
                IpNet::V6(_) if net.prefix_len() == 0 => default6 = true,
                _ => {}
            }
            add(net);
        }
    }
    if default4 != default6 {
        let (have, family, want) =
            if default4 { ("0.0.0.0/0", "IPv6", "::/0") } else { ("::/0", "IPv4", "0.0.0.0/0") };
        return Err(format!(
            "{have} advertised without its {family} counterpart, please also advertise {want}"
        ));
    }
    if exit_node {
        for net in default_routes() {
            add(net);
        }
    }
    Ok(out)
}

fn prefix(word: &str) -> Result<IpNet, String> {
    let net: IpNet = word
        .parse()
        .ok()
        // "10.0.0.0/08" and the like are not Go's notation.
        .filter(|_| {
            word.split_once('/').is_some_and(|(_, bits)| bits.len() == 1 || !bits.starts_with(['0', '+']))
        })
        .ok_or_else(|| format!("{} is not a valid IP address or CIDR prefix", quote(word)))?;
    if net.trunc() != net {
        return Err(format!("{net} has non-address bits set; expected {}", net.trunc()));
    }
    if let IpAddr::V6(addr) = net.addr()
        && is_via(addr)
        && net.prefix_len() >= 64
    {
        if net.prefix_len() < 96 {
            return Err(format!("{net} 4-in-6 prefix must be at least a /96"));
        }
        let [_, _, _, _, high, low, _, _] = addr.segments();
        if high != 0 {
            return Err(format!(
                "route {net} contains invalid site ID {high:04x}{low:04x}; must be 0xffff or less"
            ));
        }
    }
    Ok(net)
}

/// Whether `addr` is in fd7a:115c:a1e0:b1a::/64, where 4via6 routes live.
fn is_via(addr: Ipv6Addr) -> bool {
    addr.segments().starts_with(&[0xfd7a, 0x115c, 0xa1e0, 0x0b1a])
}

/// `0.0.0.0/0` and `::/0`: together they mean "exit node".
pub(crate) fn default_routes() -> [IpNet; 2] {
    [IpNet::V4(ipnet::Ipv4Net::default()), IpNet::V6(ipnet::Ipv6Net::default())]
}

/// Whether `routes` has both default routes.
pub(crate) fn has_exit_node(routes: &[IpNet]) -> bool {
    default_routes().iter().all(|route| routes.contains(route))
}

/// `routes` as a comma list, the pair of default routes left out (one alone is shown: it is not an exit node).
pub(crate) fn listed(routes: &[IpNet]) -> String {
    let exit_node = has_exit_node(routes);
    let words: Vec<String> = routes
        .iter()
        .filter(|route| !exit_node || route.prefix_len() != 0)
        .map(ToString::to_string)
        .collect();
    words.join(",")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(routes: &str, exit_node: bool) -> String {
        match advertised(routes, exit_node) {
            Ok(nets) => nets.iter().map(ToString::to_string).collect::<Vec<_>>().join(" "),
            Err(message) => message,
        }
    }

    #[test]
    fn table() {
        for (routes, exit_node, want) in [
            ("", false, ""),
            ("", true, "0.0.0.0/0 ::/0"),
            (
                "192.168.2.0/24,10.0.0.0/8,192.168.1.0/24,10.0.0.0/8",
                false,
                "10.0.0.0/8 192.168.1.0/24 192.168.2.0/24",
            ),
            ("10.1.0.0/16", true, "0.0.0.0/0 ::/0 10.1.0.0/16"),
            ("::/0,0.0.0.0/0", false, "0.0.0.0/0 ::/0"),
            (
                "0.0.0.0/0",
                false,
                "0.0.0.0/0 advertised without its IPv6 counterpart, please also advertise ::/0",
            ),
            ("::/0", true, "::/0 advertised without its IPv4 counterpart, please also advertise 0.0.0.0/0"),
            ("10.0.0.1/24", false, "10.0.0.1/24 has non-address bits set; expected 10.0.0.0/24"),
            ("10.0.0.1", false, "\"10.0.0.1\" is not a valid IP address or CIDR prefix"),
            ("10.0.0.0/8, 11.0.0.0/8", false, "\" 11.0.0.0/8\" is not a valid IP address or CIDR prefix"),
            ("10.0.0.0/33", false, "\"10.0.0.0/33\" is not a valid IP address or CIDR prefix"),
            ("10.0.0.0/08", false, "\"10.0.0.0/08\" is not a valid IP address or CIDR prefix"),
            ("fd7a:115c:a1e0:b1a:0:7:a00:0/104", false, "fd7a:115c:a1e0:b1a:0:7:a00:0/104"),
            (
                "fd7a:115c:a1e0:b1a:1:7:a00:0/104",
                false,
                "route fd7a:115c:a1e0:b1a:1:7:a00:0/104 contains invalid site ID 00010007; must be 0xffff or less",
            ),
            (
                "fd7a:115c:a1e0:b1a::/64",
                false,
                "fd7a:115c:a1e0:b1a::/64 4-in-6 prefix must be at least a /96",
            ),
        ] {
            assert_eq!(shown(routes, exit_node), want, "{routes} {exit_node}");
        }
    }

    #[test]
    fn listing_hides_the_exit_node_pair() {
        let routes = advertised("10.0.0.0/8", true).unwrap();
        assert!(has_exit_node(&routes));
        assert_eq!(listed(&routes), "10.0.0.0/8");
        assert_eq!(listed(&routes[..1]), "0.0.0.0/0");
    }
}
