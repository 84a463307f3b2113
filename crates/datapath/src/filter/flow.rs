//! UDP and SCTP flows that this node began: their replies pass whatever the rules say.
//!
//! [`FlowTable`] belongs to the rx line, [`Announcer`] to the tx line; between them goes a ring of [`FlowTuple`]s,
//! written before the packet is sent. Both are allocated once. Peers choose what is looked up, so places are found
//! by a keyed hash and compared whole.

use super::SipKey;
use crate::time::Tick;
use std::net::IpAddr;

/// How many flows a table keeps unless told otherwise.
pub const DEFAULT_FLOWS: usize = 512;

/// A flow as its inbound packets show it: `src` is the peer's side.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FlowTuple {
    /// Peer's address.
    pub src: IpAddr,
    /// Our address.
    pub dst: IpAddr,
    /// Peer's port.
    pub src_port: u16,
    /// Our port.
    pub dst_port: u16,
    /// IP protocol: UDP or SCTP.
    pub proto: u8,
}

impl FlowTuple {
    fn hash(&self, key: &SipKey) -> u64 {
        let wide = |ip: IpAddr| match ip {
            IpAddr::V4(ip) => u128::from(ip.to_bits()),
            IpAddr::V6(ip) => ip.to_bits(),
        };
        let (src, dst) = (wide(self.src), wide(self.dst));
        let rest = u64::from(self.src_port) << 32 | u64::from(self.dst_port) << 16 | u64::from(self.proto);
        key.hash(&[src as u64, (src >> 64) as u64, dst as u64, (dst >> 64) as u64, rest])
    }
}

/// "No entry" in the table's links.
const NIL: u16 = u16::MAX;

#[derive(Debug, Clone, Copy)]
struct Entry {
    flow: FlowTuple,
    bucket: u16,
    /// Next of the same bucket.
    chain: u16,
    newer: u16,
    older: u16,
}

/// The flows most recently used, at most as many as were asked for; the least recently used one makes room.
#[derive(Debug)]
pub struct FlowTable {
    key: SipKey,
    capacity: usize,
    entries: Vec<Entry>,
    buckets: Box<[u16]>,
    newest: u16,
    oldest: u16,
}

impl FlowTable {
    /// A table for up to `capacity` flows (1…65 534; others are clamped), with a random `seed`.
    pub fn new(capacity: usize, seed: [u8; 16]) -> Self {
        let capacity = capacity.clamp(1, usize::from(NIL) - 1);
        Self {
            key: SipKey::new(seed),
            capacity,
            entries: Vec::with_capacity(capacity),
            buckets: vec![NIL; capacity.next_power_of_two().min(1 << 15)].into_boxed_slice(),
            newest: NIL,
            oldest: NIL,
        }
    }

    /// Notes a flow that the tx line announced, as the most recently used.
    pub fn insert(&mut self, flow: FlowTuple) {
        let bucket = self.bucket(&flow);
        if let Some(at) = self.find(bucket, &flow) {
            self.touch(at);
            return;
        }
        let chain = self.buckets.get(usize::from(bucket)).copied().unwrap_or(NIL);
        let entry = Entry { flow, bucket, chain, newer: NIL, older: NIL };
        let at = if self.entries.len() < self.capacity {
            self.entries.push(entry);
            (self.entries.len() - 1) as u16
        } else {
            let at = self.oldest;
            self.unlink_age(at);
            self.unlink_chain(at);
            // The bucket's head may just have been the one that went.
            let chain = self.buckets.get(usize::from(bucket)).copied().unwrap_or(NIL);
            if let Some(place) = self.entries.get_mut(usize::from(at)) {
                *place = Entry { chain, ..entry };
            }
            at
        };
        if let Some(head) = self.buckets.get_mut(usize::from(bucket)) {
            *head = at;
        }
        self.link_newest(at);
    }

    /// Whether the flow of an inbound packet is known; if so, it becomes the most recently used.
    pub fn hit(&mut self, flow: &FlowTuple) -> bool {
        match self.find(self.bucket(flow), flow) {
            Some(at) => {
                self.touch(at);
                true
            }
            None => false,
        }
    }

    /// Forgets all flows.
    pub fn clear(&mut self) {
        self.entries.clear();
        self.buckets.fill(NIL);
        (self.newest, self.oldest) = (NIL, NIL);
    }

    /// How many flows are known.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// True while no flow is known.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    fn bucket(&self, flow: &FlowTuple) -> u16 {
        (flow.hash(&self.key) as usize & (self.buckets.len() - 1)) as u16
    }

    fn find(&self, bucket: u16, flow: &FlowTuple) -> Option<u16> {
        let mut at = self.buckets.get(usize::from(bucket)).copied()?;
        // NIL is beyond every table, so it ends the walk.
        while let Some(entry) = self.entries.get(usize::from(at)) {
            if entry.flow == *flow {
                return Some(at);
            }
            at = entry.chain;
        }
        None
    }

    fn touch(&mut self, at: u16) {
        if self.newest != at {
            self.unlink_age(at);
            self.link_newest(at);
        }
    }

    fn link_newest(&mut self, at: u16) {
        let before = self.newest;
        self.with(at, |entry| (entry.newer, entry.older) = (NIL, before));
        self.with(before, |entry| entry.newer = at);
        self.newest = at;
        if self.oldest == NIL {
            self.oldest = at;
        }
    }

    fn unlink_age(&mut self, at: u16) {
        let Some(&Entry { newer, older, .. }) = self.entries.get(usize::from(at)) else { return };
        self.with(newer, |entry| entry.older = older);
        self.with(older, |entry| entry.newer = newer);
        if self.newest == at {
            self.newest = older;
        }
        if self.oldest == at {
            self.oldest = newer;
        }
    }

    fn unlink_chain(&mut self, at: u16) {
        let Some(&Entry { bucket, chain, .. }) = self.entries.get(usize::from(at)) else { return };
        let Some(head) = self.buckets.get_mut(usize::from(bucket)) else { return };
        if *head == at {
            *head = chain;
            return;
        }
        let mut before = *head;
        while let Some(entry) = self.entries.get_mut(usize::from(before)) {
            if entry.chain == at {
                entry.chain = chain;
                return;
            }
            before = entry.chain;
        }
    }

    fn with(&mut self, at: u16, change: impl FnOnce(&mut Entry)) {
        if let Some(entry) = self.entries.get_mut(usize::from(at)) {
            change(entry);
        }
    }
}

/// How long the tx line trusts that the rx line still knows a flow, in milliseconds.
const REANNOUNCE: u32 = 1000;
/// Flows an [`Announcer`] remembers.
const REMEMBERED: usize = 64;

/// Spares the tx line from announcing a flow with every packet: it says when a tuple is due. A flow is due when it
/// is new here, a second after its last announcement, and when so many others have been announced since that the
/// rx line may have dropped it.
#[derive(Debug)]
pub struct Announcer {
    key: SipKey,
    /// By hash, no chains: a collision only makes a flow due again.
    recent: Box<[Option<(FlowTuple, Tick, u32)>]>,
    announced: u32,
    others: u32,
}

impl Announcer {
    /// For a [`FlowTable`] of `capacity`, with a random `seed`.
    pub fn new(capacity: usize, seed: [u8; 16]) -> Self {
        Self {
            key: SipKey::new(seed),
            recent: vec![None; REMEMBERED].into_boxed_slice(),
            announced: 0,
            others: (capacity / 2).min(1 << 16) as u32,
        }
    }

    /// True if `flow` must be announced now; the caller then does so before it sends the packet. If the ring is
    /// full the caller calls [`Self::forget`].
    pub fn due(&mut self, flow: &FlowTuple, now: Tick) -> bool {
        let at = flow.hash(&self.key) as usize % REMEMBERED;
        let Some(place) = self.recent.get_mut(at) else { return true };
        if let Some((known, when, count)) = place
            && known == flow
            && now.since(*when) < REANNOUNCE
            && self.announced.wrapping_sub(*count) < self.others
        {
            return false;
        }
        self.announced = self.announced.wrapping_add(1);
        *place = Some((*flow, now, self.announced));
        true
    }

    /// Takes back that `flow` was announced.
    pub fn forget(&mut self, flow: &FlowTuple) {
        let at = flow.hash(&self.key) as usize % REMEMBERED;
        if let Some(place) = self.recent.get_mut(at) {
            *place = None;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::net::Ipv4Addr;

    fn flow(n: u16) -> FlowTuple {
        FlowTuple {
            src: IpAddr::V4(Ipv4Addr::new(100, 64, 0, 9)),
            dst: IpAddr::V4(Ipv4Addr::new(100, 64, 0, 1)),
            src_port: 53,
            dst_port: n,
            proto: 17,
        }
    }

    #[test]
    fn least_recently_used_goes_first() {
        let mut table = FlowTable::new(3, [7; 16]);
        (1..=3).for_each(|n| table.insert(flow(n)));
        assert!(table.hit(&flow(1)), "1 is used again");
        table.insert(flow(4));
        assert!(!table.hit(&flow(2)), "2 made room");
        assert!(table.hit(&flow(1)) && table.hit(&flow(3)) && table.hit(&flow(4)));
        assert!(!table.hit(&FlowTuple { proto: 132, ..flow(1) }));
        assert!(!table.hit(&FlowTuple {
            src: IpAddr::V6(Ipv4Addr::new(100, 64, 0, 9).to_ipv6_compatible()),
            ..flow(1)
        }));
    }

    #[test]
    fn never_larger_than_asked_for() {
        let mut table = FlowTable::new(512, [1; 16]);
        let places = (table.entries.capacity(), table.buckets.len());
        for n in 0..60_000 {
            table.insert(flow(n));
        }
        assert_eq!(table.len(), 512);
        assert_eq!((table.entries.capacity(), table.buckets.len()), places);
        assert!((60_000 - 512..60_000).all(|n| table.hit(&flow(n))));
        assert!(!table.hit(&flow(60_000 - 513)));
    }

    #[test]
    fn announcements_are_spared_and_repeated() {
        let mut announcer = Announcer::new(512, [1; 16]);
        assert!(announcer.due(&flow(1), Tick(5)));
        assert!(!announcer.due(&flow(1), Tick(900)));
        assert!(announcer.due(&flow(1), Tick(1005)));
        announcer.forget(&flow(1));
        assert!(announcer.due(&flow(1), Tick(1006)));
        for n in 2..1000 {
            announcer.due(&flow(n), Tick(1007));
        }
        assert!(announcer.due(&flow(1), Tick(1008)), "too many others since");
    }

    proptest! {
        /// Against a list kept in order of use.
        #[test]
        fn as_a_plain_list(capacity in 1usize..9, steps in proptest::collection::vec((any::<bool>(), 0u16..14), 0..300)) {
            let mut table = FlowTable::new(capacity, [3; 16]);
            let mut list: Vec<u16> = Vec::new();
            for (insert, n) in steps {
                let known = list.iter().position(|&x| x == n);
                if insert {
                    table.insert(flow(n));
                } else {
                    prop_assert_eq!(table.hit(&flow(n)), known.is_some());
                }
                if let Some(at) = known {
                    list.remove(at);
                }
                if insert || known.is_some() {
                    list.push(n);
                }
                if list.len() > capacity {
                    list.remove(0);
                }
                prop_assert_eq!(table.len(), list.len());
            }
        }
    }
}
