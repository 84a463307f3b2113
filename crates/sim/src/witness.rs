//! Watches what a station puts on the wire and into its machine, and panics when that can never be right.
//!
//! Owns the promises that hold at every moment whatever the network does: no (key, counter) twice, no key older than
//! 180 s in use, nothing but to known peers and only while running, no packet delivered twice, handshakes and wake-ups
//! at a bounded rate. What holds only in the end (a ping is answered) is for scenarios to say.

use engine::lines::demux::{self, Kind};
use engine::time::Mono;
use keys::NodePublic;
use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::time::Duration;

/// A session is not used any more after this (WireGuard paper §6.1).
const REJECT_AFTER: Duration = Duration::from_secs(180);
/// Initiations to one peer in any minute. The early retries and the steady ones make 16, and news of the peer or its
/// address may begin a row anew.
const INITIATIONS: usize = 60;
/// Disco messages to one address in any minute: a heartbeat is 20, with answers to the other's 40. While there is no path,
/// twelve rounds a minute go to all addresses; where a router hairpins, lets everybody in and gives each destination another
/// port, a dozen or two of the addresses by which a peer knows us lead to us, and each ping is answered.
const DISCOS: usize = 480;
/// Counters that are remembered for each session: what goes by two ways at once has one counter.
const COUNTERS: usize = 512;
/// Wake-ups by timers in any minute.
const TIMEOUTS: usize = 600;

/// To whom a datagram goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum To {
    /// Through a relay.
    Peer(NodePublic),
    /// Directly.
    Address(SocketAddr),
}

/// What a datagram is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shape {
    /// Handshake, first message.
    Initiation,
    /// Handshake, second message.
    Response,
    /// Cookie reply.
    Cookie,
    /// A data message without content.
    Keepalive,
    /// A data message.
    Data {
        /// Whose session, by the receiver's index.
        receiver: u32,
        /// Nonce.
        counter: u64,
        /// Bytes of content, padding included.
        len: usize,
    },
    /// Path finding.
    Disco,
    /// A question to a STUN server, or its answer.
    Stun,
    /// Nothing that a node sends today.
    Other,
}

impl Shape {
    /// The shape of a datagram.
    pub fn of(bytes: &[u8]) -> Self {
        if bytes.starts_with(b"TS\xf0\x9f\x92\xac") {
            return Self::Disco;
        }
        if bytes.get(4..8) == Some(&[0x21, 0x12, 0xa4, 0x42]) {
            return Self::Stun;
        }
        match (demux::kind(bytes), bytes.first()) {
            (Kind::Handshake, Some(1)) => Self::Initiation,
            (Kind::Handshake, Some(2)) => Self::Response,
            (Kind::Handshake, _) => Self::Cookie,
            (Kind::Data, _) if bytes.len() == 32 => Self::Keepalive,
            (Kind::Data, _) => {
                let (receiver, counter) = Self::nonce(bytes);
                Self::Data { receiver, counter, len: bytes.len() - 32 }
            }
            _ => Self::Other,
        }
    }

    fn nonce(bytes: &[u8]) -> (u32, u64) {
        let mut receiver = [0; 4];
        let mut counter = [0; 8];
        receiver.copy_from_slice(&bytes[4..8]);
        counter.copy_from_slice(&bytes[8..16]);
        (u32::from_le_bytes(receiver), u64::from_le_bytes(counter))
    }
}

/// How many datagrams of each shape were sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Sent {
    /// First messages of handshakes.
    pub initiations: u32,
    /// Second messages.
    pub responses: u32,
    /// Cookie replies.
    pub cookies: u32,
    /// Data messages without content.
    pub keepalives: u32,
    /// Data messages with content.
    pub data: u32,
    /// Path finding.
    pub discos: u32,
}

impl Sent {
    /// All.
    pub const fn total(self) -> u32 {
        self.initiations + self.responses + self.cookies + self.keepalives + self.data + self.discos
    }
}

/// Moments in the last minute.
#[derive(Debug, Default)]
struct Minute(VecDeque<Mono>);

impl Minute {
    fn count(&mut self, now: Mono) -> usize {
        self.0.retain(|at| now.since(*at) < Duration::from_secs(60));
        self.0.push_back(now);
        self.0.len()
    }
}

/// The witness of one station.
#[derive(Debug, Default)]
pub struct Witness {
    /// What was sent.
    pub sent: Sent,
    /// By receiver index: when the first data message went out, and what the last counters were used for. (Two peers
    /// choose the same index once in four billion times.)
    keys: BTreeMap<u32, (Mono, BTreeMap<u64, Vec<u8>>)>,
    initiations: BTreeMap<To, Minute>,
    discos: BTreeMap<To, Minute>,
    timeouts: Minute,
}

impl Witness {
    /// The station sends a datagram; `known`: `to` is a peer and the station is running.
    ///
    /// # Panics
    /// When it must not.
    pub fn sends(&mut self, to: To, known: bool, bytes: &[u8], now: Mono) {
        let shape = Shape::of(bytes);
        match shape {
            Shape::Initiation => {
                self.sent.initiations += 1;
                let count = self.initiations.entry(to).or_default().count(now);
                assert!(count <= INITIATIONS, "{count} initiations to one peer within a minute");
            }
            Shape::Response => self.sent.responses += 1,
            Shape::Cookie => self.sent.cookies += 1,
            Shape::Keepalive => self.sent.keepalives += 1,
            Shape::Data { .. } => self.sent.data += 1,
            Shape::Disco => {
                self.sent.discos += 1;
                let count = self.discos.entry(to).or_default().count(now);
                assert!(count <= DISCOS, "{count} disco messages to {to:?} within a minute");
            }
            Shape::Stun => panic!("the engine does not speak STUN"),
            Shape::Other => panic!("sends something that is no WireGuard message: {bytes:02x?}"),
        }
        if matches!(shape, Shape::Keepalive | Shape::Data { .. }) {
            assert!(known, "sends {shape:?} to a stranger, or while it is not running");
            let (receiver, counter) = Shape::nonce(bytes);
            let (first, used) = self.keys.entry(receiver).or_insert((now, BTreeMap::new()));
            assert!(now.since(*first) <= REJECT_AFTER, "session {receiver:08x} is too old to be used");
            let newest = used.last_key_value().map(|(counter, _)| *counter);
            match used.get(&counter) {
                Some(before) => {
                    assert_eq!(before, bytes, "counter {counter} again on session {receiver:08x}")
                }
                None => {
                    assert!(newest < Some(counter), "counter {counter} after {newest:?} on {receiver:08x}");
                    used.insert(counter, bytes.to_vec());
                }
            }
            if used.len() > COUNTERS {
                used.pop_first();
            }
        }
    }

    /// A timer wakes the station.
    ///
    /// # Panics
    /// When that happens so often that a small machine would do little else.
    pub fn wakes(&mut self, now: Mono) {
        let count = self.timeouts.count(now);
        assert!(count <= TIMEOUTS, "{count} wake-ups by timers within a minute");
    }

    /// How many sessions it has sent data on.
    pub fn sessions(&self) -> usize {
        self.keys.len()
    }
}
