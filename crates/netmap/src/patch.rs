//! The patch of a peer: few fields that change often.

use crate::{CapMap, Endpoints, Map, Node, NodeId, Rare, RegionId, Timestamp};
use keys::{DiscoPublic, NodePublic};

/// A change to a few fields of one peer (`PeersChangedPatch`); `None` leaves a field alone.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct PeerPatch {
    /// Which peer.
    pub id: NodeId,
    /// New home region.
    pub home_derp: Option<RegionId>,
    /// New capability version.
    pub cap: Option<i32>,
    /// New capability map, whole.
    pub cap_map: Option<CapMap>,
    /// New endpoints, whole.
    pub endpoints: Option<Endpoints>,
    /// New node key: a new WireGuard peer.
    pub key: Option<NodePublic>,
    /// New disco key: the peer's process restarted.
    pub disco_key: Option<DiscoPublic>,
    /// Online or not.
    pub online: Option<bool>,
    /// Last seen at.
    pub last_seen: Option<Timestamp>,
    /// New key expiry.
    pub key_expiry: Option<Timestamp>,
}

impl PeerPatch {
    /// What makes `new` of `old`, as Go's `peerChangeDiff` finds it. `None` if more differs than a patch can tell: another
    /// field, or one that has become empty where an empty one means "leave alone" to those who read patches.
    pub fn between(old: &Node, new: &Node) -> Option<Self> {
        // All fields by name, so that a new one cannot be overlooked.
        let Node {
            id,
            stable_id,
            name,
            user,
            key,
            key_expiry,
            machine,
            disco_key,
            addresses,
            allowed_ips,
            endpoints,
            home_derp,
            hostinfo,
            created,
            cap,
            last_seen,
            online,
            machine_authorized,
            expired,
            wireguard_only,
            jailed,
            rare: _,
        } = new;
        let Rare { sharer, tags, primary_routes, cap_map, masq_v4, masq_v6, exit_node_dns } = new.rare();
        let rare = old.rare();
        let alike = old.id == *id
            && old.stable_id == *stable_id
            && old.name == *name
            && old.user == *user
            && old.machine == *machine
            && old.addresses == *addresses
            && old.allowed_ips == *allowed_ips
            && old.hostinfo == *hostinfo
            && old.created == *created
            && old.machine_authorized == *machine_authorized
            && old.expired == *expired
            && old.wireguard_only == *wireguard_only
            && old.jailed == *jailed
            && rare.sharer == *sharer
            && rare.tags == *tags
            && rare.primary_routes == *primary_routes
            && rare.masq_v4 == *masq_v4
            && rare.masq_v6 == *masq_v6
            && rare.exit_node_dns == *exit_node_dns;
        let patch = Self {
            id: *id,
            home_derp: other(&old.home_derp, home_derp),
            cap: other(&old.cap, cap),
            cap_map: other(&rare.cap_map, cap_map),
            endpoints: other(&old.endpoints, endpoints),
            key: other(&old.key, key),
            disco_key: other(&old.disco_key, disco_key),
            online: other(&old.online, online).flatten(),
            last_seen: other(&old.last_seen, last_seen),
            key_expiry: other(&old.key_expiry, key_expiry),
        };
        let emptied = patch.home_derp.is_some_and(RegionId::is_none)
            || patch.cap == Some(0)
            || patch.cap_map.as_ref().is_some_and(Map::is_empty)
            || patch.endpoints.as_ref().is_some_and(Endpoints::is_empty)
            || (old.online.is_some() && online.is_none());
        (alike && !emptied).then_some(patch)
    }

    /// Writes the given fields into `node`.
    pub fn apply(self, node: &mut Node) {
        fn set<T>(field: &mut T, value: Option<T>) {
            if let Some(value) = value {
                *field = value;
            }
        }
        set(&mut node.home_derp, self.home_derp);
        set(&mut node.cap, self.cap);
        if let Some(cap_map) = self.cap_map {
            node.rare = Rare { cap_map, ..node.rare().clone() }.boxed();
        }
        set(&mut node.endpoints, self.endpoints);
        set(&mut node.key, self.key);
        set(&mut node.disco_key, self.disco_key);
        set(&mut node.last_seen, self.last_seen);
        set(&mut node.key_expiry, self.key_expiry);
        if self.online.is_some() {
            node.online = self.online;
        }
    }
}

/// The new value, if it is another one.
fn other<T: PartialEq + Clone>(old: &T, new: &T) -> Option<T> {
    (old != new).then(|| new.clone())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{HostRest, Hostinfo, System, UserId};

    fn known() -> Node {
        let cap_map = [("a".into(), Box::default())].into();
        Node {
            id: NodeId(7),
            name: "a.b.".into(),
            endpoints: [([1, 2, 3, 4], 5).into()].into(),
            home_derp: RegionId(1),
            cap: 100,
            online: Some(true),
            last_seen: Timestamp::from_unix(5),
            rare: Rare { cap_map, ..Rare::default() }.boxed(),
            ..Node::default()
        }
    }

    /// Which patch makes the node that `change` makes of a known one.
    fn patched(change: impl FnOnce(&mut Node)) -> Option<PeerPatch> {
        let (mut node, mut new) = (known(), known());
        change(&mut new);
        let patch = PeerPatch::between(&node, &new)?;
        patch.clone().apply(&mut node);
        assert_eq!(node, new, "{patch:?}");
        Some(patch)
    }

    #[test]
    fn a_patch_says_exactly_what_differs() {
        let id = NodeId(7);
        let endpoints = || Endpoints::from([([5, 6, 7, 8], 9).into()]);
        let last_seen = Timestamp::from_unix(6);
        let patch = patched(|node| (node.endpoints, node.last_seen) = (endpoints(), last_seen));
        let (endpoints, last_seen) = (Some(endpoints()), Some(last_seen));
        assert_eq!(patch, Some(PeerPatch { id, endpoints, last_seen, ..PeerPatch::default() }));
        assert_eq!(patched(|_| ()), Some(PeerPatch { id, ..PeerPatch::default() }));
        // Online again: seen last is nothing any more, and a patch can tell that.
        let patch = patched(|node| (node.online, node.last_seen) = (Some(false), Timestamp::ZERO));
        assert_eq!(
            patch.map(|patch| (patch.online, patch.last_seen)),
            Some((Some(false), Some(Timestamp::ZERO)))
        );
        for change in [
            |node: &mut Node| node.home_derp = RegionId(2),
            |node: &mut Node| node.cap = 101,
            |node: &mut Node| node.key = NodePublic::from_bytes([3; 32]),
            |node: &mut Node| node.disco_key = DiscoPublic::from_bytes([3; 32]),
            |node: &mut Node| node.key_expiry = Timestamp::from_unix(9),
            |node: &mut Node| {
                let cap_map = [("b".into(), Box::default())].into();
                node.rare = Rare { cap_map, ..Rare::default() }.boxed();
            },
        ] {
            assert!(patched(change).is_some());
        }
    }

    #[test]
    fn what_a_patch_cannot_tell_wants_the_whole_node() {
        for change in [
            |node: &mut Node| node.name = "c.b.".into(),
            |node: &mut Node| node.allowed_ips = ["10.0.0.0/8".parse().expect("net")].into(),
            |node: &mut Node| node.expired = true,
            |node: &mut Node| {
                let system = System { os: "linux".into(), ..System::default() };
                node.hostinfo = Hostinfo::new("h".into(), Box::default(), system, HostRest::default());
            },
            |node: &mut Node| node.rare = Rare { sharer: UserId(3), ..node.rare().clone() }.boxed(),
            // Nothing where there was something.
            |node: &mut Node| node.rare = None,
            |node: &mut Node| node.endpoints = Endpoints::default(),
            |node: &mut Node| node.home_derp = RegionId::NONE,
            |node: &mut Node| node.cap = 0,
            |node: &mut Node| node.online = None,
        ] {
            assert_eq!(patched(change), None);
        }
    }
}
