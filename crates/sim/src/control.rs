//! A stand-in for control: knows every node as the others should see it and tells them, late or not at all.

use crate::world::NodeIx;
use engine::time::Mono;
use netmap::{Node, NodeId};
use std::collections::BTreeMap;
use std::time::Duration;

/// What a node hears from control.
#[derive(Debug, Clone, PartialEq)]
pub enum News {
    /// The node itself and all its peers, as at the start of a map stream.
    Full {
        /// Itself.
        own: Box<Node>,
        /// All others in order of number.
        peers: Vec<Node>,
    },
    /// A peer that is new or changed.
    Peer(Box<Node>),
    /// A peer that is gone.
    Gone(NodeId),
}

/// The control server.
#[derive(Debug)]
pub struct Control {
    /// How long news takes.
    pub lag: Duration,
    lags: BTreeMap<NodeIx, Duration>,
    silent: bool,
    nodes: BTreeMap<NodeIx, Node>,
}

impl Default for Control {
    fn default() -> Self {
        Self { lag: Duration::from_millis(20), lags: BTreeMap::new(), silent: false, nodes: BTreeMap::new() }
    }
}

/// News on its way.
pub(crate) type Mail = (Mono, NodeIx, News);

impl Control {
    /// What control knows of a node.
    pub fn node(&self, ix: NodeIx) -> Option<&Node> {
        self.nodes.get(&ix)
    }

    /// Sets how long news takes to one node; `None`: as long as to the others.
    pub fn set_lag_of(&mut self, ix: NodeIx, lag: Option<Duration>) {
        match lag {
            Some(lag) => drop(self.lags.insert(ix, lag)),
            None => drop(self.lags.remove(&ix)),
        }
    }

    fn arrival(&self, to: NodeIx, now: Mono) -> Mono {
        now + self.lags.get(&to).copied().unwrap_or(self.lag)
    }

    /// The node joins or changes: it hears everything if it is new or `again` (its map stream restarted), the
    /// others hear of it.
    pub(crate) fn put(&mut self, ix: NodeIx, node: Node, again: bool, now: Mono) -> Vec<Mail> {
        let known = self.nodes.insert(ix, node.clone());
        if self.silent {
            return Vec::new();
        }
        let mut mail = Vec::new();
        if again || known.is_none() {
            mail.extend(self.full(ix).map(|news| (self.arrival(ix, now), ix, news)));
        }
        if known.as_ref() != Some(&node) {
            let others = self.nodes.keys().filter(|other| **other != ix);
            mail.extend(
                others.map(|other| (self.arrival(*other, now), *other, News::Peer(Box::new(node.clone())))),
            );
        }
        mail
    }

    /// The node leaves the tailnet.
    pub(crate) fn remove(&mut self, ix: NodeIx, now: Mono) -> Vec<Mail> {
        match self.nodes.remove(&ix) {
            Some(node) if !self.silent => self
                .nodes
                .keys()
                .map(|other| (self.arrival(*other, now), *other, News::Gone(node.id)))
                .collect(),
            _ => Vec::new(),
        }
    }

    /// Goes silent, or comes back: then every map stream restarts.
    pub(crate) fn set_silent(&mut self, silent: bool, now: Mono) -> Vec<Mail> {
        let back = self.silent && !silent;
        self.silent = silent;
        let nodes = self.nodes.keys().filter(|_| back);
        nodes.filter_map(|ix| Some((self.arrival(*ix, now), *ix, self.full(*ix)?))).collect()
    }

    fn full(&self, ix: NodeIx) -> Option<News> {
        let own = Box::new(self.nodes.get(&ix)?.clone());
        let peers = self.nodes.iter().filter(|(other, _)| **other != ix).map(|(_, node)| node.clone());
        Some(News::Full { own, peers: peers.collect() })
    }
}
