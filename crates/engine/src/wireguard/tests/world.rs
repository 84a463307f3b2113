//! Two nodes, a wire with a latency, and a clock that jumps from event to event.

use super::super::hand_line::HandLine;
use super::super::timers::REJECT_AFTER_TIME;
use super::super::{Action, Activity, Source, Tunnel};
use crate::drop::DropReason;
use crate::slot::PeerSlot;
use crate::time::{Mono, Wall};
use keys::{NodePrivate, NodePublic};
use std::collections::BTreeMap;
use std::time::Duration;

/// What was sent: when (ms), by which node, the type of the message, its bytes.
pub(super) struct SentMessage {
    pub(super) at: u64,
    pub(super) from: usize,
    pub(super) bytes: Vec<u8>,
}

pub(super) struct Node {
    pub(super) tunnel: Tunnel,
    pub(super) line: HandLine,
    /// When each session was made: like the real lines, these use none for longer than 180 s.
    born: BTreeMap<u32, Mono>,
    pub(super) activity: Activity,
    pub(super) staged: Vec<Vec<u8>>,
    /// Payloads that arrived, keepalives left out.
    pub(super) got: Vec<Vec<u8>>,
    pub(super) gave_up: usize,
    pub(super) established: Vec<u64>,
    pub(super) refused: Vec<DropReason>,
}

/// Decides what the wire does with a message: true loses it.
type Lose = Box<dyn FnMut(&SentMessage) -> bool>;

pub(super) struct World {
    pub(super) nodes: [Node; 2],
    pub(super) now: Mono,
    /// Wall clock of each node, in nanoseconds ahead of `now`.
    pub(super) wall: [u64; 2],
    pub(super) latency: Duration,
    pub(super) lose: Lose,
    pub(super) sent: Vec<SentMessage>,
    wire: BTreeMap<(Mono, u64), (usize, Vec<u8>)>,
    serial: u64,
}

/// The one peer of each node.
pub(super) const PEER: PeerSlot = PeerSlot::new(3, 1);
/// 2026 in nanoseconds.
pub(super) const TODAY: u64 = 1_780_000_000_000_000_000;

pub(super) fn private(fill: u8) -> NodePrivate {
    NodePrivate::from_bytes([fill; 32])
}

pub(super) fn source(node: usize) -> Source {
    Source::Udp(([192, 0, 2, node as u8], 41641).into())
}

fn node(seed: u8, key: &NodePrivate, peer: NodePublic) -> Node {
    let mut tunnel = Tunnel::new([seed; 32]);
    tunnel.set_private_key(key);
    tunnel.add_peer(PEER, peer);
    Node {
        tunnel,
        line: HandLine::default(),
        born: BTreeMap::new(),
        activity: Activity::default(),
        staged: Vec::new(),
        got: Vec::new(),
        gave_up: 0,
        established: Vec::new(),
        refused: Vec::new(),
    }
}

impl Node {
    fn is_old(&self, local: u32, now: Mono) -> bool {
        now.since(self.born[&local]) >= REJECT_AFTER_TIME
    }
}

impl World {
    pub(super) fn new() -> Self {
        Self::with_keys(&private(0x48), &private(0x50))
    }

    pub(super) fn with_keys(a: &NodePrivate, b: &NodePrivate) -> Self {
        Self {
            nodes: [node(1, a, b.public()), node(2, b, a.public())],
            now: Mono::from_millis(1000),
            wall: [TODAY; 2],
            latency: Duration::from_millis(20),
            lose: Box::new(|_| false),
            sent: Vec::new(),
            wire: BTreeMap::new(),
            serial: 0,
        }
    }

    pub(super) fn ms(&self) -> u64 {
        self.now.as_nanos() / 1_000_000
    }

    pub(super) fn wall_of(&self, node: usize) -> Wall {
        Wall(self.wall[node] + self.now.as_nanos())
    }

    /// The host of `node` sends a packet to the other.
    pub(super) fn send(&mut self, node: usize, plain: &[u8]) {
        if !self.seal(node, plain) {
            let n = &mut self.nodes[node];
            n.staged.push(plain.to_vec());
            n.tunnel.want_session(PEER, self.now, Wall(self.wall[node] + self.now.as_nanos()));
            self.settle(node);
        }
    }

    fn seal(&mut self, node: usize, plain: &[u8]) -> bool {
        let n = &mut self.nodes[node];
        if n.line.tx.is_none_or(|local| n.is_old(local, self.now)) {
            return false;
        }
        let Some(packet) = n.line.seal(plain) else { return false };
        n.activity.sent = Some(self.now.tick());
        if !plain.is_empty() {
            n.activity.sent_data = Some(self.now.tick());
        }
        self.put(node, packet);
        true
    }

    /// Puts a message of `from` on the wire.
    pub(super) fn put(&mut self, from: usize, bytes: Vec<u8>) {
        let message = SentMessage { at: self.ms(), from, bytes };
        let lost = (self.lose)(&message);
        if !lost {
            self.serial += 1;
            self.wire.insert((self.now + self.latency, self.serial), (1 - from, message.bytes.clone()));
        }
        self.sent.push(message);
    }

    /// Carries out what the node's tunnel wants.
    pub(super) fn settle(&mut self, node: usize) {
        while let Some(action) = self.nodes[node].tunnel.poll_action() {
            let n = &mut self.nodes[node];
            match action {
                Action::Transmit { bytes, .. } => self.put(node, bytes.into_vec()),
                Action::Install(keys) => {
                    n.born.insert(keys.local, self.now);
                    assert_eq!(keys.born, self.now.tick());
                    n.line.install(keys.local, keys.remote, &keys.send, &keys.recv, keys.initiator);
                    if keys.initiator {
                        self.flush(node);
                    }
                }
                Action::Confirm { local, .. } => {
                    n.line.confirm(local);
                    self.flush(node);
                }
                Action::Hold { local, .. } => n.line.hold(local),
                Action::Retire { local, .. } => n.line.retire(local),
                Action::Keepalive { .. } => {
                    self.seal(node, &[]);
                }
                Action::Established { at, .. } => n.established.push(at.as_nanos() / 1_000_000),
                Action::GaveUp { .. } => {
                    n.gave_up += 1;
                    n.staged.clear();
                }
            }
        }
    }

    fn flush(&mut self, node: usize) {
        for plain in std::mem::take(&mut self.nodes[node].staged) {
            self.seal(node, &plain);
        }
    }

    /// A message arrives at `node`.
    pub(super) fn arrive(&mut self, node: usize, bytes: &[u8]) {
        let n = &mut self.nodes[node];
        if bytes.first() == Some(&4) {
            if let Ok(opened) = n.line.open(bytes)
                && !n.is_old(opened.local, self.now)
            {
                n.activity.received = Some(self.now.tick());
                if opened.first {
                    n.tunnel.first_data(opened.local, self.now);
                }
                if !opened.plain.is_empty() {
                    n.activity.received_data = Some(self.now.tick());
                    n.got.push(opened.plain);
                }
            }
        } else if let Err(why) = n.tunnel.handle_message(source(1 - node), bytes, self.now) {
            n.refused.push(why);
        }
        self.settle(node);
    }

    /// Lets time pass until `ms` milliseconds after now.
    pub(super) fn run(&mut self, ms: u64) {
        let end = self.now + Duration::from_millis(ms);
        let mut steps = 0;
        loop {
            let timers = self.nodes.iter().filter_map(|n| n.tunnel.poll_timeout()).map(|(at, _)| at);
            let wire = self.wire.keys().next().map(|(at, _)| *at);
            let Some(next) = timers.chain(wire).min().filter(|at| *at <= end) else { break };
            self.now = self.now.max(next);
            if wire.is_some_and(|at| at <= self.now)
                && let Some((_, (to, bytes))) = self.wire.pop_first()
            {
                self.arrive(to, &bytes);
            }
            for node in 0..2 {
                let wall = self.wall_of(node);
                let n = &mut self.nodes[node];
                let activity = n.activity;
                n.tunnel.handle_timeout(self.now, wall, &mut |slot| {
                    assert_eq!(slot, PEER);
                    activity
                });
                self.settle(node);
                let due = self.nodes[node].tunnel.poll_timeout();
                assert!(due.is_none_or(|(at, _)| at > self.now), "{due:?} at {:?}", self.now);
            }
            steps += 1;
            assert!(steps < 200_000, "time stands still");
        }
        self.now = end;
    }

    /// Times (ms) at which `from` sent messages of this type, since `since`.
    pub(super) fn times(&self, from: usize, kind: u8, since: u64) -> Vec<u64> {
        self.sent
            .iter()
            .filter(|m| m.from == from && m.bytes[0] == kind && m.at >= since)
            .map(|m| m.at)
            .collect()
    }

    /// A packet each way arrives; panics if not.
    pub(super) fn both_ways(&mut self) {
        for node in 0..2 {
            let text = format!("probe {} from {node}", self.ms()).into_bytes();
            self.send(node, &text);
            self.run(500);
            let got = self.nodes[1 - node].got.last().expect("something arrived");
            assert!(got.starts_with(&text), "from {node} at {}", self.ms());
        }
    }
}
