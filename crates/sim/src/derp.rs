//! A DERP region: relays between the nodes connected to it until it is out; in order and without loss unless told
//! otherwise. A real relay drops what its queues cannot hold, so the engine may rely on neither.

use crate::link::{Link, LinkStats, Path};
use crate::world::NodeIx;
use engine::time::Mono;
use rand_chacha::ChaCha8Rng;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// A region.
#[derive(Debug)]
pub struct Region {
    /// How it treats datagrams from one node to another.
    pub link: Link,
    up: bool,
    /// Grows with every outage: what was underway is lost.
    era: u32,
    connected: BTreeSet<NodeIx>,
    paths: BTreeMap<(NodeIx, NodeIx), Path>,
    /// Packets that no connected node waited for, or that an outage took.
    pub dropped: u32,
}

impl Region {
    /// A region that works.
    pub fn new(latency: Duration) -> Self {
        let link = Link { latency, mtu: 1 << 16, ..Link::default() };
        let (connected, paths) = (BTreeSet::new(), BTreeMap::new());
        Self { link, up: true, era: 0, connected, paths, dropped: 0 }
    }

    /// What it did between two nodes so far, in one direction.
    pub fn stats(&self, from: NodeIx, to: NodeIx) -> LinkStats {
        self.paths.get(&(from, to)).map(|path| path.stats).unwrap_or_default()
    }

    /// Whether it works.
    pub const fn is_up(&self) -> bool {
        self.up
    }

    /// Ends or begins an outage. Connections break when it begins and come back by themselves afterwards.
    pub fn set_up(&mut self, up: bool) {
        if self.up && !up {
            self.era = self.era.wrapping_add(1);
        }
        self.up = up;
    }

    pub(crate) fn connect(&mut self, node: NodeIx) {
        self.connected.insert(node);
    }

    pub(crate) fn disconnect(&mut self, node: NodeIx) {
        self.connected.remove(&node);
    }

    /// When a packet arrives (once, twice or not at all), and in which era it was sent.
    pub(crate) fn send(
        &mut self,
        from: NodeIx,
        to: Option<NodeIx>,
        len: usize,
        now: Mono,
        rng: &mut ChaCha8Rng,
    ) -> ([Option<Mono>; 2], u32) {
        if self.up {
            self.connected.insert(from);
        }
        let Some(to) = to.filter(|to| self.up && self.connected.contains(to)) else {
            self.dropped += 1;
            return ([None, None], self.era);
        };
        let path = self.paths.entry((from, to)).or_default();
        path.link = self.link;
        (path.send(len, now, rng), self.era)
    }

    /// Whether a packet sent in `era` still arrives.
    pub(crate) fn delivers(&mut self, era: u32, to: NodeIx) -> bool {
        let delivers = self.up && self.era == era && self.connected.contains(&to);
        self.dropped += u32::from(!delivers);
        delivers
    }
}
