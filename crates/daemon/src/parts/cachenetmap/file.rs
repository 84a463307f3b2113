//! The bytes of the file: a name and a version, whose map it is, everything of the tailnet, ourselves, the peers, and a
//! SHA-256 of all that. Each is a postcard value behind the last.
//!
//! What counts when two maps are compared (the substance) has a SHA-256 of its own, which is not written. A map is put
//! into bytes a few peers at a time, so that others have their turn. Leaves out: where the file is and when it is written.

use super::mirror::{Lasting, Passing};
use super::settings::Settings;
use keys::{DiscoPrivate, NodePublic};
use netmap::{Changes, NetMap, NodeId, RegionId, Timestamp};
use ring::digest::{Context, SHA256, digest};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

const NAME: &[u8] = b"smalltail netmap\n";

/// Of what follows. Another one is read by nobody: the next map of control replaces it.
const VERSION: u8 = 2;

/// A file larger than this is neither written nor read: some 16 000 peers.
pub(super) const MAX: usize = 4 << 20;

/// Peers in one step of [`Draft::step`].
const PEERS_A_STEP: usize = 64;

const SUM: usize = 32;

/// Whose map it is.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Owner {
    /// The control server.
    pub(super) server: String,
    node_key: [u8; 32],
}

impl Owner {
    pub(super) fn new(server: &str, key: &NodePublic) -> Self {
        Self { server: server.to_owned(), node_key: *key.as_bytes() }
    }
}

/// A SHA-256.
pub(super) type Sum = [u8; SUM];

/// What a file held.
pub(super) struct Found {
    pub(super) owner: Owner,
    pub(super) disco: DiscoPrivate,
    /// Our home region.
    pub(super) home: RegionId,
    /// When it was written.
    pub(super) written: Timestamp,
    pub(super) map: NetMap,
    /// Peers that control saw.
    pub(super) online: Vec<NodeId>,
    pub(super) substance: Sum,
}

/// Bytes being made of a map.
pub(super) struct Draft {
    bytes: Vec<u8>,
    substance: Context,
    last: NodeId,
    /// Nothing that could be read again.
    broken: bool,
}

impl Draft {
    /// Everything but the peers.
    pub(super) fn new(
        owner: &Owner,
        disco: &DiscoPrivate,
        home: RegionId,
        written: Timestamp,
        map: &NetMap,
    ) -> Self {
        let bytes = [NAME, &[VERSION]].concat();
        let last = NodeId(i64::MIN);
        let mut draft = Self { bytes, substance: Context::new(&SHA256), last, broken: false };
        draft.put(owner, true);
        draft.put(disco.as_bytes(), true);
        draft.put(&written.unix(), false);
        draft.put(&Settings::new(map), true);
        draft.put(&Lasting::of_self(&map.self_node, home), true);
        draft.put(&Passing::new(&map.self_node), false);
        draft
    }

    /// Takes some more peers; false when there are none left.
    pub(super) fn step(&mut self, map: &NetMap) -> bool {
        let mut taken = 0;
        for peer in map.peers_after(self.last).take(PEERS_A_STEP) {
            self.put(&Lasting::new(peer), true);
            self.put(&Passing::new(peer), false);
            self.last = peer.id;
            taken += 1;
        }
        taken > 0
    }

    /// The bytes, `None` if they are too many, and the sum of what counts.
    pub(super) fn finish(mut self) -> (Option<Vec<u8>>, Sum) {
        let sum = digest(&SHA256, &self.bytes);
        self.bytes.extend_from_slice(sum.as_ref());
        let good = !self.broken && self.bytes.len() <= MAX;
        (good.then_some(self.bytes), sum_of(self.substance))
    }

    fn put(&mut self, value: &impl Serialize, counts: bool) {
        match postcard::to_allocvec(value) {
            Ok(bytes) if self.bytes.len() <= MAX => {
                if counts {
                    self.substance.update(&bytes);
                }
                self.bytes.extend_from_slice(&bytes);
            }
            _ => self.broken = true,
        }
    }
}

/// Reads what [`Draft::finish`] made.
///
/// # Errors
/// What is wrong with it.
pub(super) fn read(bytes: &[u8]) -> Result<Found, &'static str> {
    let rest = bytes.strip_prefix(NAME).ok_or("it is not a network map of this program")?;
    let (version, _) = rest.split_first().ok_or(CUT)?;
    if *version != VERSION {
        return Err("another version of this program wrote it");
    }
    let (all, sum) = bytes.split_last_chunk::<SUM>().ok_or(CUT)?;
    if digest(&SHA256, all).as_ref() != sum {
        return Err(CUT);
    }
    let body = all.get(NAME.len() + 1..).ok_or(CUT)?;
    decode(body).ok_or("its sum is right and its content is not")
}

const CUT: &str = "it was cut short or has changed";

fn decode(body: &[u8]) -> Option<Found> {
    let mut reader = Reader { rest: body, substance: Context::new(&SHA256) };
    let owner: Owner = reader.take(true)?;
    let disco: [u8; 32] = reader.take(true)?;
    let written: i64 = reader.take(false)?;
    let mut map = NetMap::default();
    reader.take::<Settings>(true)?.put(&mut map)?;
    let own: Lasting = reader.take(true)?;
    map.self_node = own.node(reader.take(false)?)?;
    let home = map.self_node.home_derp;
    let mut online = Vec::new();
    let mut changes = Changes::default();
    while !reader.rest.is_empty() {
        let peer: Lasting = reader.take(true)?;
        let passing: Passing = reader.take(false)?;
        let seen = passing.online == Some(true);
        let node = peer.node(passing)?;
        online.extend(seen.then_some(node.id));
        map.upsert_peer(node, &mut changes);
    }
    let disco = DiscoPrivate::from_bytes(disco);
    let written = Timestamp::from_unix(written);
    Some(Found { owner, disco, home, written, map, online, substance: sum_of(reader.substance) })
}

struct Reader<'a> {
    rest: &'a [u8],
    substance: Context,
}

impl Reader<'_> {
    fn take<T: DeserializeOwned>(&mut self, counts: bool) -> Option<T> {
        let (value, rest) = postcard::take_from_bytes(self.rest).ok()?;
        let taken = self.rest.get(..self.rest.len() - rest.len())?;
        if counts {
            self.substance.update(taken);
        }
        self.rest = rest;
        Some(value)
    }
}

fn sum_of(context: Context) -> Sum {
    let mut sum = [0; SUM];
    sum.copy_from_slice(context.finish().as_ref());
    sum
}
