//! `debug?action=control-knobs`: the switches that control sets by attributes of our node, under upstream's names.
//!
//! Leaves out: obeying them, which is up to the part each belongs to; one of a part that is not in the build is shown
//! all the same.

use localapi::types::{Map, OptBool};
use netmap::Node;

/// Upstream's name and the attribute that turns it on (`tailcfg`).
const KNOBS: [(&str, &str); 15] = [
    ("CacheNetworkMaps", "cache-network-maps"),
    ("DisableCaptivePortalDetection", "disable-captive-portal-detection"),
    ("DisableDNSForwarderTCPRetries", "dns-forwarder-disable-tcp-retries"),
    ("DisableTUNTCPGRO", "disable-tun-tcp-gro"),
    ("DisableTUNUDPGRO", "disable-tun-udp-gro"),
    ("DisableUDPGRO", "disable-udp-gro"),
    ("DisableUDPGSO", "disable-udp-gso"),
    ("DisableUPnP", "debug-disable-upnp"),
    ("ForceBackgroundSTUN", "debug-always-stun"),
    ("LinuxForceIPTables", "linux-netfilter?v=iptables"),
    ("LinuxForceNfTables", "linux-netfilter?v=nftables"),
    ("NeverGSOEqualTail", "never-gso-equal-tail"),
    ("PeerMTUEnable", "peer-mtu-enable"),
    ("RandomizeClientPort", "randomize-client-port"),
    ("SilentDisco", "silent-disco"),
];

/// The switches as `node`, our own, has them.
pub(super) fn of(node: &Node) -> Map<&'static str, OptBool> {
    let mut knobs: Map<&str, OptBool> =
        KNOBS.iter().map(|(name, attribute)| (*name, node.has_cap(attribute).into())).collect();
    // The one with three states; empty means that the node chooses.
    let one_range = match (node.has_cap("one-cgnat?v=true"), node.has_cap("one-cgnat?v=false")) {
        (true, _) => OptBool::True,
        (false, true) => OptBool::False,
        (false, false) => OptBool::Unset,
    };
    knobs.insert("OneCGNAT", one_range);
    knobs
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attributes_turn_switches_on() {
        let mut node = Node::default();
        assert!(of(&node).values().all(|value| value.value() != Some(true)));
        for name in ["debug-disable-upnp", "one-cgnat?v=false", "unheard-of"] {
            let mut rare = node.rare().clone();
            rare.cap_map.insert(name.into(), Default::default());
            node.rare = rare.boxed();
        }
        let knobs = of(&node);
        assert_eq!(knobs["DisableUPnP"], OptBool::True);
        assert_eq!(knobs["OneCGNAT"], OptBool::False);
        assert_eq!(knobs["SilentDisco"], OptBool::False);
        assert_eq!(knobs.len(), KNOBS.len() + 1);
    }
}
