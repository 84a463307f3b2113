//! The network map and how messages of the map stream change it.
//!
//! Peers arrive one at a time while a message is still being received, so a full list is taken in place: each
//! peer is marked with the number of the message, and at the end the unmarked ones are dropped. What a message
//! changed is collected in [`Changes`], so that effectors need not compare ten thousand peers.

use crate::host::Systems;
use crate::{
    ClientVersion, DerpMap, DerpMapDelta, DisplayMessage, DnsConfig, FilterRule, Map, Node, NodeId,
    PeerPatch, Set, Timestamp, UserId, UserProfile,
};

/// Whole peers of one message that are told as patches: more are no cheaper that way, and a patch takes more memory than
/// a number.
const MADE_PATCHES: usize = 128;

/// What control decided, as of the last message.
#[derive(Debug, Default)]
pub struct NetMap {
    /// Ourselves.
    pub self_node: Node,
    /// Name of the tailnet.
    pub domain: Box<str>,
    /// Relay regions.
    pub derp_map: DerpMap,
    /// DNS settings.
    pub dns: DnsConfig,
    /// Filter rules by chunk name; the effective filter is their concatenation in name order.
    /// `None` until the first one came: then nothing is allowed.
    pub packet_filters: Option<Map<Box<str>, Vec<FilterRule>>>,
    /// Users by number.
    pub users: Map<UserId, UserProfile>,
    /// Legacy health messages of control.
    pub health: Vec<Box<str>>,
    /// Messages of control by id.
    pub display_messages: Map<Box<str>, DisplayMessage>,
    /// What control knows of newer versions.
    pub client_version: Option<ClientVersion>,
    /// Control says that Tailnet Lock is on (a head is set): this node does not verify signatures.
    pub tailnet_lock: bool,
    peers: Map<NodeId, Box<Peer>>,
    systems: Systems,
    epoch: u32,
}

/// A peer in a box of its own, so that one that comes between others moves pointers only.
#[derive(Debug)]
struct Peer {
    /// The number of the message that last named it.
    mark: u32,
    node: Node,
}

/// Everything of one message but the nodes, which have been applied while they arrived.
#[derive(Debug, Default)]
pub struct Delta {
    /// Ourselves anew.
    pub self_node: Option<Node>,
    /// The message carried a full, non-empty list of peers.
    pub full_peers: bool,
    /// Peers that are gone.
    pub peers_removed: Vec<NodeId>,
    /// Small changes.
    pub patches: Vec<PeerPatch>,
    /// true: last seen now; false: unknown.
    pub seen_change: Vec<(NodeId, bool)>,
    /// Online or not.
    pub online_change: Vec<(NodeId, bool)>,
    /// DERP map delta.
    pub derp_map: Option<DerpMapDelta>,
    /// DNS settings anew.
    pub dns: Option<DnsConfig>,
    /// Name of the tailnet.
    pub domain: Option<Box<str>>,
    /// `"*": null` came: forget all chunks first.
    pub clear_packet_filters: bool,
    /// Chunks: `None` deletes. In the order of their names none makes room for the next.
    pub packet_filters: Vec<(Box<str>, Option<Vec<FilterRule>>)>,
    /// Users to add or replace.
    pub users: Vec<UserProfile>,
    /// Health messages anew.
    pub health: Option<Vec<Box<str>>>,
    /// `"*": null` came: forget all messages first.
    pub clear_display_messages: bool,
    /// Messages: `None` deletes. In order, as chunks.
    pub display_messages: Vec<(Box<str>, Option<DisplayMessage>)>,
    /// Versions.
    pub client_version: Option<ClientVersion>,
    /// Tailnet Lock on or off.
    pub tailnet_lock: Option<bool>,
}

/// What one message changed.
#[derive(Debug, Default, PartialEq)]
pub struct Changes {
    /// Our own node.
    pub self_node: bool,
    /// Peers that are new, or differ in more than a patch could tell.
    pub changed: Set<NodeId>,
    /// Peers that are gone.
    pub removed: Set<NodeId>,
    /// Patches that were applied to other peers than those: of control, or made of whole peers that differ in no more.
    pub patches: Vec<PeerPatch>,
    /// DERP map.
    pub derp_map: bool,
    /// DNS settings.
    pub dns: bool,
    /// Filter rules.
    pub packet_filters: bool,
    /// Users.
    pub users: Vec<UserId>,
    /// Health or display messages, versions, Tailnet Lock, tailnet name.
    pub messages: bool,
    /// The message carried a full map (list of peers or our own node).
    pub full: bool,
}

impl Changes {
    /// Peers that are there now and were not so before: new, replaced or patched. One may come several times.
    pub fn present(&self) -> impl Iterator<Item = NodeId> {
        self.changed.iter().copied().chain(self.patches.iter().map(|patch| patch.id))
    }

    /// Those and the peers that are gone.
    pub fn touched(&self) -> impl Iterator<Item = NodeId> {
        self.present().chain(self.removed.iter().copied())
    }

    /// Peers have come, been replaced or gone: more than patches.
    pub fn has_whole_peers(&self) -> bool {
        !self.changed.is_empty() || !self.removed.is_empty()
    }

    /// Peers that have some node capability, or their addresses, may be others now.
    pub fn concerns_capabilities(&self) -> bool {
        self.has_whole_peers() || self.patches.iter().any(|patch| patch.cap_map.is_some())
    }
}

impl NetMap {
    /// Peers in order of number.
    pub fn peers(&self) -> impl Iterator<Item = &Node> {
        self.peers.values().map(|peer| &peer.node)
    }

    /// Peers in order of number, from the first whose number is above `after`.
    pub fn peers_after(&self, after: NodeId) -> impl Iterator<Item = &Node> {
        self.peers.after(&after).map(|(_, peer)| &peer.node)
    }

    /// How many peers there are.
    pub fn peer_count(&self) -> usize {
        self.peers.len()
    }

    /// The peer numbered `id`.
    pub fn peer(&self, id: NodeId) -> Option<&Node> {
        self.peers.get(&id).map(|peer| &peer.node)
    }

    /// A user's profile.
    pub fn user(&self, id: UserId) -> Option<&UserProfile> {
        self.users.get(&id)
    }

    /// All filter rules in force, in order; nothing until the first filter came.
    pub fn filter_rules(&self) -> impl Iterator<Item = &FilterRule> {
        self.packet_filters.iter().flat_map(|chunks| chunks.values()).flatten()
    }

    /// A map stream begins: its first message is a full snapshot, so chunked state starts over when it arrives.
    pub fn begin_stream(&mut self) {
        self.epoch = self.epoch.wrapping_add(1);
    }

    /// Takes one peer of a message (of `Peers` or `PeersChanged`), noting it in `changes` if it differs: as a patch, if
    /// one tells all of it.
    pub fn upsert_peer(&mut self, mut node: Node, changes: &mut Changes) {
        let (mark, id) = (self.epoch, node.id);
        self.systems.share(&mut node.hostinfo);
        match self.peers.get_mut(&id) {
            Some(peer) => {
                peer.mark = mark;
                if peer.node != node {
                    let few = changes.patches.len() < MADE_PATCHES && !changes.changed.contains(&id);
                    let patch = few.then(|| PeerPatch::between(&peer.node, &node)).flatten();
                    peer.node = node;
                    match patch {
                        Some(patch) => changes.patches.push(patch),
                        None => drop(changes.changed.insert(id)),
                    }
                }
            }
            None => {
                self.peers.insert(id, Box::new(Peer { mark, node }));
                changes.changed.insert(id);
            }
        }
        changes.removed.remove(&id);
    }

    /// Applies the rest of a message. `first` is true for the first non-keepalive message of a stream;
    /// `now` is the moment that "seen" stands for.
    pub fn apply(&mut self, delta: Delta, first: bool, now: Timestamp, changes: &mut Changes) {
        changes.full |= first || delta.full_peers || delta.self_node.is_some();
        if let Some(node) = delta.self_node
            && node != self.self_node
        {
            self.self_node = node;
            changes.self_node = true;
        }
        if delta.full_peers || first {
            let epoch = self.epoch;
            self.keep_peers(&|peer: &Peer| peer.mark == epoch, changes);
        } else if !delta.peers_removed.is_empty() {
            // Marked with the number of a message to come, and taken out at once, whatever their order.
            let gone = self.epoch.wrapping_add(1);
            for id in delta.peers_removed {
                // One that this very message brings is there.
                if let Some(peer) = self.peers.get_mut(&id).filter(|peer| peer.mark != self.epoch) {
                    peer.mark = gone;
                }
            }
            self.keep_peers(&|peer: &Peer| peer.mark != gone, changes);
        }
        // A message that was cut off may have patched what has been replaced or is gone now.
        let (changed, removed) = (&changes.changed, &changes.removed);
        changes.patches.retain(|patch| !changed.contains(&patch.id) && !removed.contains(&patch.id));
        if !delta.full_peers {
            let seen = delta.seen_change.into_iter().map(|(id, seen)| PeerPatch {
                id,
                last_seen: Some(if seen { now } else { Timestamp::ZERO }),
                ..PeerPatch::default()
            });
            let online = delta.online_change.into_iter().map(|(id, online)| PeerPatch {
                id,
                online: Some(online),
                ..PeerPatch::default()
            });
            for patch in seen.chain(online).chain(delta.patches) {
                self.patch_peer(patch, changes);
            }
        }
        if let Some(map) = delta.derp_map {
            self.derp_map.apply(map);
            changes.derp_map = true;
        }
        if let Some(dns) = delta.dns
            && dns != self.dns
        {
            self.dns = dns;
            changes.dns = true;
        }
        if let Some(domain) = delta.domain
            && domain != self.domain
        {
            self.domain = domain;
            changes.messages = true;
        }
        self.apply_filters(delta.clear_packet_filters, delta.packet_filters, changes);
        // In order, so that none has to make room for the next. Of two with one number the later one counts.
        let mut users = delta.users;
        users.sort_by_key(|user| user.id);
        if first {
            let named: Set<UserId> = users.iter().map(|user| user.id).collect();
            self.users.retain(|id, _| named.contains(id));
        }
        for user in users {
            if self.users.get(&user.id) != Some(&user) {
                changes.users.push(user.id);
                self.users.insert(user.id, user);
            }
        }
        if let Some(health) = delta.health {
            self.health = health;
            changes.messages = true;
        }
        if delta.clear_display_messages {
            self.display_messages.clear();
            changes.messages = true;
        }
        for (id, message) in delta.display_messages {
            changes.messages = true;
            match message {
                Some(message) => drop(self.display_messages.insert(id, message)),
                None => drop(self.display_messages.remove(&id)),
            }
        }
        if delta.client_version.is_some() {
            self.client_version = delta.client_version;
            changes.messages = true;
        }
        if let Some(on) = delta.tailnet_lock {
            changes.messages |= self.tailnet_lock != on;
            self.tailnet_lock = on;
        }
        self.epoch = self.epoch.wrapping_add(1);
    }

    fn keep_peers(&mut self, keep: &dyn Fn(&Peer) -> bool, changes: &mut Changes) {
        self.peers.retain(|id, peer| {
            let keep = keep(peer);
            if !keep {
                changes.removed.insert(*id);
            }
            keep
        });
        changes.changed.retain(|id| !changes.removed.contains(id));
    }

    fn patch_peer(&mut self, patch: PeerPatch, changes: &mut Changes) {
        if let Some(peer) = self.peers.get_mut(&patch.id) {
            if !changes.changed.contains(&patch.id) {
                changes.patches.push(patch.clone());
            }
            patch.apply(&mut peer.node);
        }
    }

    fn apply_filters(
        &mut self,
        clear: bool,
        chunks: Vec<(Box<str>, Option<Vec<FilterRule>>)>,
        changes: &mut Changes,
    ) {
        if !clear && chunks.is_empty() {
            return;
        }
        changes.packet_filters |= self.packet_filters.is_none();
        let filters = self.packet_filters.get_or_insert_default();
        let before = if clear { std::mem::take(filters) } else { Map::new() };
        for (name, rules) in chunks {
            changes.packet_filters |= !clear && filters.get(&name) != rules.as_ref();
            match rules {
                Some(rules) => drop(filters.insert(name, rules)),
                None => drop(filters.remove(&name)),
            }
        }
        changes.packet_filters |= clear && *filters != before;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(id: i64, name: &str) -> Node {
        Node { id: NodeId(id), name: name.into(), ..Node::default() }
    }

    fn message(map: &mut NetMap, peers: Vec<Node>, delta: Delta, first: bool) -> Changes {
        let mut changes = Changes::default();
        for peer in peers {
            map.upsert_peer(peer, &mut changes);
        }
        map.apply(delta, first, Timestamp::from_unix(7), &mut changes);
        changes
    }

    fn ids(map: &NetMap) -> Vec<i64> {
        map.peers().map(|n| n.id.0).collect()
    }

    #[test]
    fn a_peer_is_small() {
        // What a heap of size classes (musl's) takes for it, on a 64-bit machine.
        assert!(size_of::<Peer>() + size_of::<u32>() <= 320, "{}", size_of::<Peer>());
    }

    #[test]
    fn a_full_list_replaces_in_place() {
        let mut map = NetMap::default();
        map.begin_stream();
        let full = || Delta { full_peers: true, ..Delta::default() };
        message(&mut map, vec![node(1, "a"), node(2, "b")], full(), true);
        let changes = message(&mut map, vec![node(2, "b"), node(3, "c")], full(), false);
        assert_eq!(ids(&map), [2, 3]);
        assert_eq!(changes.changed, Set::from([NodeId(3)]), "an equal peer is no change");
        assert_eq!(changes.removed, Set::from([NodeId(1)]));
    }

    #[test]
    fn absent_peers_mean_none_only_in_the_first_message() {
        let mut map = NetMap::default();
        map.begin_stream();
        message(&mut map, vec![node(1, "a")], Delta { full_peers: true, ..Delta::default() }, true);
        message(&mut map, vec![], Delta::default(), false);
        assert_eq!(ids(&map), [1]);
        map.begin_stream();
        let changes = message(&mut map, vec![], Delta::default(), true);
        assert_eq!(ids(&map), [0; 0]);
        assert_eq!(changes.removed.len(), 1);
    }

    #[test]
    fn deltas() {
        let mut map = NetMap::default();
        message(
            &mut map,
            vec![node(1, "a"), node(2, "b")],
            Delta { full_peers: true, ..Delta::default() },
            true,
        );
        let delta = Delta {
            peers_removed: vec![NodeId(1), NodeId(99)],
            seen_change: vec![(NodeId(2), true)],
            online_change: vec![(NodeId(2), true), (NodeId(98), true)],
            patches: vec![PeerPatch { id: NodeId(2), cap: Some(119), ..PeerPatch::default() }],
            ..Delta::default()
        };
        let changes = message(&mut map, vec![node(3, "c")], delta, false);
        assert_eq!(ids(&map), [2, 3]);
        let two = map.peer(NodeId(2)).expect("peer 2");
        assert_eq!((two.cap, two.online, two.last_seen), (119, Some(true), Timestamp::from_unix(7)));
        assert_eq!(changes.changed, Set::from([NodeId(3)]));
        assert_eq!(changes.patches.len(), 3);
        assert_eq!(changes.touched().collect::<Set<_>>(), Set::from([1, 2, 3].map(NodeId)));
    }

    #[test]
    fn peers_go_in_any_order_and_once() {
        let mut map = NetMap::default();
        message(&mut map, (1..=6).map(|id| node(id, "x")).collect(), Delta::default(), true);
        let gone = |ids: &[i64]| ids.iter().map(|id| NodeId(*id)).collect::<Vec<_>>();
        // 7 came with a message that was cut off, and is named; 2 is what this message brings.
        let mut changes = Changes::default();
        map.upsert_peer(node(7, "x"), &mut changes);
        map.begin_stream();
        map.upsert_peer(node(2, "y"), &mut changes);
        let delta = Delta { peers_removed: gone(&[7, 5, 99, 2, 5, 1, -1, 99]), ..Delta::default() };
        map.apply(delta, false, Timestamp::from_unix(7), &mut changes);
        assert_eq!(ids(&map), [2, 3, 4, 6]);
        assert_eq!(
            (changes.changed, changes.removed),
            (Set::from([NodeId(2)]), Set::from([1, 5, 7].map(NodeId)))
        );
        // One that is back goes again, and one that is gone does not.
        message(&mut map, vec![node(5, "x")], Delta::default(), false);
        let delta = Delta { peers_removed: gone(&[1, 5]), ..Delta::default() };
        assert_eq!(message(&mut map, vec![], delta, false).removed, Set::from([NodeId(5)]));
        // Beside a full list it is not looked at.
        let delta = Delta { peers_removed: gone(&[3]), full_peers: true, ..Delta::default() };
        message(&mut map, [2, 3].map(|id| node(id, "z")).into(), delta, false);
        assert_eq!(ids(&map), [2, 3]);
    }

    #[test]
    #[expect(clippy::disallowed_methods, reason = "it is about real time")]
    fn peers_that_go_by_the_thousand_go_at_once() {
        const COUNT: i64 = 40_000;
        let took = |delta: fn() -> Delta| {
            let times = (0..3).map(|_| {
                let mut map = NetMap::default();
                message(&mut map, (1..=COUNT).map(|id| node(id, "x")).collect(), Delta::default(), true);
                let (delta, start) = (delta(), std::time::Instant::now());
                let changes = message(&mut map, vec![], delta, false);
                assert_eq!((changes.removed.len(), map.peers().count()), (COUNT as usize, 0));
                start.elapsed()
            });
            times.min().expect("some")
        };
        let all = took(|| Delta { full_peers: true, ..Delta::default() });
        let up = took(|| Delta { peers_removed: (1..=COUNT).map(NodeId).collect(), ..Delta::default() });
        let down =
            took(|| Delta { peers_removed: (1..=COUNT).rev().map(NodeId).collect(), ..Delta::default() });
        assert!(up < all * 10 && down < all * 10, "{all:?} left out, {up:?} and {down:?} named");
    }

    #[test]
    fn a_patch_of_a_new_peer_is_part_of_it() {
        let mut map = NetMap::default();
        let delta = Delta { online_change: vec![(NodeId(4), true)], ..Delta::default() };
        let changes = message(&mut map, vec![node(4, "d")], delta, false);
        assert_eq!(map.peer(NodeId(4)).and_then(|peer| peer.online), Some(true));
        assert_eq!((changes.changed, changes.patches), (Set::from([NodeId(4)]), vec![]));
    }

    #[test]
    fn a_known_peer_whose_fields_a_patch_can_tell_is_patched() {
        let mut map = NetMap::default();
        message(&mut map, vec![node(1, "a"), node(2, "b")], Delta::default(), true);
        let seen = |id, name, at| Node { last_seen: Timestamp::from_unix(at), ..node(id, name) };
        let changes = message(&mut map, vec![seen(1, "a", 5), seen(2, "c", 5)], Delta::default(), false);
        let last_seen = Some(Timestamp::from_unix(5));
        assert_eq!(changes.patches, [PeerPatch { id: NodeId(1), last_seen, ..PeerPatch::default() }]);
        assert_eq!(changes.changed, Set::from([NodeId(2)]));
        // Brought, and gone by the same message: it is there. And patched besides: both are told.
        let online_change = vec![(NodeId(1), true)];
        let delta = Delta { peers_removed: vec![NodeId(1)], online_change, ..Delta::default() };
        let changes = message(&mut map, vec![seen(1, "a", 6)], delta, false);
        assert_eq!((ids(&map), changes.patches.len(), changes.has_whole_peers()), (vec![1, 2], 2, false));
        assert_eq!(
            map.peer(NodeId(1)).map(|peer| (peer.online, peer.last_seen.unix())),
            Some((Some(true), 6))
        );
        // Many at once.
        let many = |at| (1..=300).map(|id| seen(id, "x", at)).collect::<Vec<_>>();
        message(&mut map, many(7), Delta::default(), false);
        let changes = message(&mut map, many(8), Delta::default(), false);
        assert_eq!((changes.patches.len(), changes.changed.len()), (MADE_PATCHES, 300 - MADE_PATCHES));
    }

    #[test]
    fn patches_of_a_message_that_was_cut_off_do_not_outlive_their_peer() {
        let seen = |id, name, at| Node { last_seen: Timestamp::from_unix(at), ..node(id, name) };
        let mut map = NetMap::default();
        message(&mut map, vec![node(1, "a"), node(2, "b"), node(3, "c")], Delta::default(), true);
        let mut changes = Changes::default();
        (1..=3).zip(["a", "b", "c"]).for_each(|(id, name)| map.upsert_peer(seen(id, name, 5), &mut changes));
        assert_eq!(changes.patches.len(), 3);
        map.begin_stream();
        map.upsert_peer(seen(1, "a", 5), &mut changes);
        map.upsert_peer(seen(2, "new", 5), &mut changes);
        map.apply(Delta::default(), true, Timestamp::from_unix(7), &mut changes);
        assert_eq!(changes.patches.iter().map(|patch| patch.id.0).collect::<Vec<_>>(), [1]);
        assert_eq!((changes.changed, changes.removed), (Set::from([NodeId(2)]), Set::from([NodeId(3)])));
    }

    #[test]
    fn users_that_a_new_stream_leaves_out_are_forgotten() {
        let user = |id| UserProfile { id: UserId(id), ..UserProfile::default() };
        let users =
            |ids: &[i64]| Delta { users: ids.iter().map(|id| user(*id)).collect(), ..Delta::default() };
        let mut map = NetMap::default();
        let changes = message(&mut map, vec![], users(&[2, 1]), true);
        assert_eq!(changes.users, [1, 2].map(UserId), "in order, so that none makes room for the next");
        message(&mut map, vec![], users(&[3]), false);
        let changes = message(&mut map, vec![], users(&[2, 3]), true);
        assert!(changes.users.is_empty(), "they are as they were");
        assert_eq!(map.users.keys().copied().collect::<Vec<_>>(), [2, 3].map(UserId));
    }

    #[test]
    fn filter_chunks() {
        let mut map = NetMap::default();
        assert!(map.packet_filters.is_none());
        let rule = FilterRule { protos: Box::new([6]), ..FilterRule::default() };
        let set =
            |name: &str, rules| Delta { packet_filters: vec![(name.into(), rules)], ..Delta::default() };
        message(&mut map, vec![], set("b", Some(vec![rule.clone()])), false);
        message(&mut map, vec![], set("a", Some(vec![])), false);
        assert_eq!(map.filter_rules().count(), 1);
        message(&mut map, vec![], set("b", None), false);
        assert_eq!(map.filter_rules().count(), 0);
        let clear = || Delta { clear_packet_filters: true, ..set("c", Some(vec![rule.clone()])) };
        assert!(message(&mut map, vec![], clear(), false).packet_filters);
        assert_eq!(map.packet_filters.as_ref().map(|f| f.len()), Some(1));
        // What is in force already is no change.
        assert!(!message(&mut map, vec![], clear(), true).packet_filters);
        assert!(!message(&mut map, vec![], set("c", Some(vec![rule.clone()])), false).packet_filters);
        assert!(!message(&mut map, vec![], set("gone", None), false).packet_filters);
        assert!(message(&mut map, vec![], set("c", None), false).packet_filters);
    }
}
