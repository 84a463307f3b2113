//! Traffic to the internet goes through the node that the settings name, and nowhere else: while that node is unknown or
//! gone there is no way at all (feature reference §9.1).

#[path = "suggest.rs"]
mod suggestion;

pub use suggestion::suggest;

use localapi::types::{Addr, Prefs};
use netmap::{NetMap, Node};

/// The name of the feature, if it is in this build.
pub const FEATURE: Option<&str> = Some("useexitnode");

/// What stands for a choice that could not be made yet.
const PENDING: &str = "auto:any";

/// Whether traffic to the internet goes through another node, or waits for one.
pub fn in_use(prefs: &Prefs) -> bool {
    !prefs.exit_node_id.is_empty() || prefs.exit_node_ip.0.is_some() || !prefs.auto_exit_node.is_empty()
}

/// Whether `node` is the one.
pub fn carries(prefs: &Prefs, node: &Node) -> bool {
    !prefs.exit_node_id.is_empty() && *prefs.exit_node_id == *node.stable_id.0
}

/// Settles on a node: one given by its address becomes one by id as soon as it is known, and an automatic choice
/// stays while it is good. `suggested` is who would be chosen now.
pub fn settle(prefs: &mut Prefs, map: Option<&NetMap>, suggested: Option<&Node>) {
    if !prefs.auto_exit_node.is_empty() {
        prefs.exit_node_ip = Addr(None);
        let good = |map: &NetMap| map.peers().any(|node| carries(prefs, node) && suggestion::may_be(node));
        if !map.is_some_and(good) {
            let id = suggested.map(|node| node.stable_id.to_string());
            prefs.exit_node_id = id.unwrap_or_else(|| PENDING.to_owned());
        }
        return;
    }
    let Some(ip) = prefs.exit_node_ip.0 else { return };
    let found = map.and_then(|map| map.peers().find(|node| node.ips().any(|own| own == ip)));
    if let Some(node) = found {
        prefs.exit_node_id = node.stable_id.to_string();
        prefs.exit_node_ip = Addr(None);
    }
}

#[cfg(test)]
mod tests {
    use super::suggestion::tests::{exit, map_of};
    use super::*;

    #[test]
    fn an_address_becomes_an_id_once_it_is_known() {
        let map = map_of([exit(1, 1), exit(2, 1)]);
        let ip = map.peers().next().and_then(|node| node.ips().next());
        let mut prefs = Prefs { exit_node_ip: Addr(ip), ..Prefs::default() };
        settle(&mut prefs, None, None);
        assert!(in_use(&prefs) && prefs.exit_node_id.is_empty(), "unknown, and no way past it");
        settle(&mut prefs, Some(&map), None);
        assert_eq!((prefs.exit_node_id.as_str(), prefs.exit_node_ip), ("n1", Addr(None)));
        let carrying: Vec<_> = map.peers().filter(|node| carries(&prefs, node)).collect();
        assert!(carrying.len() == 1 && in_use(&prefs));
        assert!(!in_use(&Prefs::default()));
    }

    #[test]
    fn an_automatic_choice_stays_while_it_is_good() {
        let map = map_of([exit(1, 1), exit(2, 1)]);
        let second = map.peers().nth(1);
        let mut prefs = Prefs { auto_exit_node: "any".to_owned(), ..Prefs::default() };
        settle(&mut prefs, None, None);
        assert_eq!(prefs.exit_node_id, PENDING);
        assert!(in_use(&prefs) && !map.peers().any(|node| carries(&prefs, node)));
        settle(&mut prefs, Some(&map), second);
        assert_eq!(prefs.exit_node_id, "n2");
        settle(&mut prefs, Some(&map), map.peers().next());
        assert_eq!(prefs.exit_node_id, "n2");
        let gone = map_of([exit(1, 1), Node { online: Some(false), ..exit(2, 1) }]);
        settle(&mut prefs, Some(&gone), gone.peers().next());
        assert_eq!(prefs.exit_node_id, "n1");
    }
}
