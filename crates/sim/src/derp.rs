//! A DERP region: relays in order and without loss between the nodes connected to it, until it is out.

use crate::world::NodeIx;
use engine::time::Mono;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// A region.
#[derive(Debug)]
pub struct Region {
    /// Time from one node to another through it.
    pub latency: Duration,
    up: bool,
    /// Grows with every outage: what was underway is lost.
    era: u32,
    connected: BTreeSet<NodeIx>,
    last: BTreeMap<(NodeIx, NodeIx), Mono>,
    /// Packets that no connected node waited for, or that an outage took.
    pub dropped: u32,
}

impl Region {
    /// A region that works.
    pub fn new(latency: Duration) -> Self {
        let (connected, last) = (BTreeSet::new(), BTreeMap::new());
        Self { latency, up: true, era: 0, connected, last, dropped: 0 }
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

    /// When a packet arrives, and in which era it was sent.
    pub(crate) fn send(&mut self, from: NodeIx, to: Option<NodeIx>, now: Mono) -> Option<(Mono, u32)> {
        if self.up {
            self.connected.insert(from);
        }
        let Some(to) = to.filter(|to| self.up && self.connected.contains(to)) else {
            self.dropped += 1;
            return None;
        };
        let last = self.last.entry((from, to)).or_default();
        *last = (now + self.latency).max(*last);
        Some((*last, self.era))
    }

    /// Whether a packet sent in `era` still arrives.
    pub(crate) fn delivers(&mut self, era: u32, to: NodeIx) -> bool {
        let delivers = self.up && self.era == era && self.connected.contains(&to);
        self.dropped += u32::from(!delivers);
        delivers
    }
}
