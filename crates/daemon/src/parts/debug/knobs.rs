//! `debug?action=control-knobs`: the switches that control sets by attributes of our node, under upstream's names.
//!
//! Leaves out: obeying them, which is up to the part each belongs to; one of a part that is not in the build is shown
//! all the same, those that no part obeys are not.

use localapi::types::Map;
use netmap::Node;

/// Upstream's name and the attribute that turns it on (`tailcfg`).
const KNOBS: [(&str, &str); 7] = [
    ("DisableDNSForwarderTCPRetries", "dns-forwarder-disable-tcp-retries"),
    ("DisableUPnP", "debug-disable-upnp"),
    ("ForceBackgroundSTUN", "debug-always-stun"),
    ("LinuxForceIPTables", "linux-netfilter?v=iptables"),
    ("LinuxForceNfTables", "linux-netfilter?v=nftables"),
    ("RandomizeClientPort", "randomize-client-port"),
    ("SilentDisco", "silent-disco"),
];

/// The switches as `node`, our own, has them.
pub(super) fn of(node: &Node) -> Map<&'static str, bool> {
    KNOBS.iter().map(|(name, attribute)| (*name, node.has_cap(attribute))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    #[test]
    fn attributes_turn_switches_on() {
        let mut node = Node::default();
        assert!(of(&node).values().all(|on| !on));
        for name in ["debug-disable-upnp", "unheard-of"] {
            let mut rare = node.rare().clone();
            rare.cap_map.insert(name.into(), Default::default());
            node.rare = rare.boxed();
        }
        let knobs = of(&node);
        assert!(knobs["DisableUPnP"] && !knobs["SilentDisco"]);
        assert_eq!(knobs.len(), KNOBS.len());
    }

    /// How often `text` stands in the sources below `folder`, but for this one.
    fn count(folder: &Path, text: &str) -> usize {
        let entries =
            std::fs::read_dir(folder).expect("a folder").map(|entry| entry.expect("an entry").path());
        let one = |path: std::path::PathBuf| match path.is_dir() {
            true => count(&path, text),
            false if path.ends_with("knobs.rs") => 0,
            false => std::fs::read_to_string(path).unwrap_or_default().matches(text).count(),
        };
        entries.map(one).sum()
    }

    #[test]
    fn every_switch_is_obeyed_somewhere() {
        let sources = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
        for (name, attribute) in KNOBS {
            assert!(count(&sources, &format!("\"{attribute}\"")) > 0, "{name} is shown and does nothing");
        }
    }
}
