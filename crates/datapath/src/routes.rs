//! Which peer an address belongs to: longest prefix first, the same table for outgoing packets and for the source
//! check of incoming ones.
//!
//! Single addresses (what nearly every peer has: one IPv4, one IPv6) lie in sorted arrays of 8 and 20 bytes an
//! entry; real prefixes lie in one sorted array a family, grouped by length. A table is built once, never changed,
//! and swapped whole.
//! Leaves out: which prefixes a peer may have (accept-routes, exit node): the caller gives only those in force.

use crate::slot::PeerSlot;
use ipnet::IpNet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// An address as big-endian words, so that 32-bit machines compare it word by word.
type Words = [u32; 4];

/// A table from destination to peer.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Routes {
    hosts4: Box<[(u32, PeerSlot)]>,
    hosts6: Box<[(Words, PeerSlot)]>,
    nets4: Box<[Net<u32>]>,
    nets6: Box<[Net<Words>]>,
    /// Where the prefixes of one length begin and end in `nets4`, longest first.
    lengths4: Box<[Group]>,
    lengths6: Box<[Group]>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Net<A> {
    bits: u8,
    addr: A,
    slot: PeerSlot,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Group {
    bits: u8,
    from: u32,
    to: u32,
}

/// Collects prefixes for [`Routes`]. The first of two equal prefixes wins: add peers by ascending NodeID (protocol
/// reference §6.2).
#[derive(Debug, Default)]
pub struct RoutesBuilder {
    hosts4: Vec<(u32, PeerSlot)>,
    hosts6: Vec<(Words, PeerSlot)>,
    nets4: Vec<Net<u32>>,
    nets6: Vec<Net<Words>>,
}

impl RoutesBuilder {
    /// An empty collection.
    pub fn new() -> Self {
        Self::default()
    }

    /// An empty collection with room for `peers` peers of one IPv4 and one IPv6 address.
    pub fn with_capacity(peers: usize) -> Self {
        Self { hosts4: Vec::with_capacity(peers), hosts6: Vec::with_capacity(peers), ..Self::default() }
    }

    /// Gives `net` to the peer unless an earlier call gave the very same prefix away. Host bits are ignored.
    pub fn add(&mut self, net: IpNet, slot: PeerSlot) {
        match net {
            IpNet::V4(net) if net.prefix_len() >= 32 => self.hosts4.push((u32::from(net.addr()), slot)),
            IpNet::V6(net) if net.prefix_len() >= 128 => self.hosts6.push((words(net.addr()), slot)),
            IpNet::V4(net) => {
                self.nets4.push(Net { bits: net.prefix_len(), addr: u32::from(net.network()), slot });
            }
            IpNet::V6(net) => {
                self.nets6.push(Net { bits: net.prefix_len(), addr: words(net.network()), slot });
            }
        }
    }

    /// The finished table.
    pub fn build(mut self) -> Routes {
        // Stable sorts keep the order of equal prefixes, and `dedup` keeps the first of them.
        self.hosts4.sort_by_key(|&(addr, _)| addr);
        self.hosts4.dedup_by_key(|&mut (addr, _)| addr);
        self.hosts6.sort_by_key(|&(addr, _)| addr);
        self.hosts6.dedup_by_key(|&mut (addr, _)| addr);
        let (nets4, lengths4) = grouped(self.nets4);
        let (nets6, lengths6) = grouped(self.nets6);
        Routes { hosts4: self.hosts4.into(), hosts6: self.hosts6.into(), nets4, nets6, lengths4, lengths6 }
    }
}

fn grouped<A: Ord + Copy>(mut nets: Vec<Net<A>>) -> (Box<[Net<A>]>, Box<[Group]>) {
    nets.sort_by_key(|net| (std::cmp::Reverse(net.bits), net.addr));
    nets.dedup_by_key(|net| (net.bits, net.addr));
    let mut groups: Vec<Group> = Vec::new();
    for (at, net) in nets.iter().enumerate() {
        let at = at as u32;
        match groups.last_mut() {
            Some(group) if group.bits == net.bits => group.to = at + 1,
            _ => groups.push(Group { bits: net.bits, from: at, to: at + 1 }),
        }
    }
    (nets.into(), groups.into())
}

impl Routes {
    /// The peer that has `addr`, by its longest prefix.
    pub fn lookup(&self, addr: IpAddr) -> Option<PeerSlot> {
        match addr {
            IpAddr::V4(addr) => self.lookup4(addr),
            IpAddr::V6(addr) => self.lookup6(addr),
        }
    }

    /// Whether packets of `addr` may come from the peer: its longest prefix must be the peer's.
    pub fn owns(&self, slot: PeerSlot, addr: IpAddr) -> bool {
        self.lookup(addr) == Some(slot)
    }

    /// Whether no address belongs to anyone.
    pub fn is_empty(&self) -> bool {
        self.hosts4.is_empty() && self.hosts6.is_empty() && self.nets4.is_empty() && self.nets6.is_empty()
    }

    /// Memory held, in bytes.
    pub fn heap_bytes(&self) -> usize {
        size_of_val(&*self.hosts4)
            + size_of_val(&*self.hosts6)
            + size_of_val(&*self.nets4)
            + size_of_val(&*self.nets6)
            + size_of_val(&*self.lengths4)
            + size_of_val(&*self.lengths6)
    }

    fn lookup4(&self, addr: Ipv4Addr) -> Option<PeerSlot> {
        let addr = u32::from(addr);
        exact(&self.hosts4, addr)
            .or_else(|| longest(&self.nets4, &self.lengths4, |bits| addr & mask(u32::from(bits))))
    }

    fn lookup6(&self, addr: Ipv6Addr) -> Option<PeerSlot> {
        let addr = words(addr);
        exact(&self.hosts6, addr).or_else(|| {
            longest(&self.nets6, &self.lengths6, |bits| {
                let bits = u32::from(bits);
                std::array::from_fn(|i| addr[i] & mask(bits.saturating_sub(32 * i as u32).min(32)))
            })
        })
    }
}

fn exact<A: Ord + Copy>(hosts: &[(A, PeerSlot)], addr: A) -> Option<PeerSlot> {
    let at = hosts.binary_search_by(|(other, _)| other.cmp(&addr)).ok()?;
    hosts.get(at).map(|&(_, slot)| slot)
}

fn longest<A: Ord + Copy>(nets: &[Net<A>], lengths: &[Group], masked: impl Fn(u8) -> A) -> Option<PeerSlot> {
    lengths.iter().find_map(|group| {
        let addr = masked(group.bits);
        let nets = nets.get(group.from as usize..group.to as usize)?;
        let at = nets.binary_search_by(|net| net.addr.cmp(&addr)).ok()?;
        nets.get(at).map(|net| net.slot)
    })
}

/// The upper `bits` of a word; `bits` ≤ 32.
const fn mask(bits: u32) -> u32 {
    match u32::MAX.checked_shl(32 - bits) {
        Some(mask) => mask,
        None => 0,
    }
}

fn words(addr: Ipv6Addr) -> Words {
    let bits = u128::from(addr);
    std::array::from_fn(|i| (bits >> (96 - 32 * i)) as u32)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn slot(n: u32) -> PeerSlot {
        PeerSlot::new(n, 1)
    }

    fn table(routes: &[(&str, u32)]) -> Routes {
        let mut builder = RoutesBuilder::new();
        for &(net, n) in routes {
            builder.add(net.parse().expect("prefix"), slot(n));
        }
        builder.build()
    }

    fn who(table: &Routes, addr: &str) -> Option<u32> {
        table.lookup(addr.parse().expect("address")).map(|slot| slot.index() as u32)
    }

    #[test]
    fn longest_prefix_wins() {
        let table = table(&[
            ("0.0.0.0/0", 1),
            ("10.0.0.0/8", 2),
            ("10.1.0.0/16", 3),
            ("10.1.2.3/32", 4),
            ("::/0", 1),
            ("fd7a:115c:a1e0::/48", 5),
            ("fd7a:115c:a1e0::7/128", 6),
            ("fd7a:115c:a1e0:b1a:0:7:a00:0/104", 7),
        ]);
        assert_eq!(who(&table, "8.8.8.8"), Some(1));
        assert_eq!(who(&table, "10.9.9.9"), Some(2));
        assert_eq!(who(&table, "10.1.9.9"), Some(3));
        assert_eq!(who(&table, "10.1.2.3"), Some(4));
        assert_eq!(who(&table, "2001:db8::1"), Some(1));
        assert_eq!(who(&table, "fd7a:115c:a1e0::1"), Some(5));
        assert_eq!(who(&table, "fd7a:115c:a1e0::7"), Some(6));
        assert_eq!(who(&table, "fd7a:115c:a1e0:b1a:0:7:a01:203"), Some(7));
        assert!(table.owns(slot(4), "10.1.2.3".parse().expect("address")));
        assert!(!table.owns(slot(3), "10.1.2.3".parse().expect("address")));
    }

    #[test]
    fn the_first_of_two_equal_prefixes_wins() {
        let table =
            table(&[("100.64.0.1/32", 9), ("100.64.0.1/32", 2), ("10.0.0.0/8", 4), ("10.0.0.9/8", 3)]);
        assert_eq!(who(&table, "100.64.0.1"), Some(9));
        assert_eq!(who(&table, "10.200.0.1"), Some(4));
    }

    #[test]
    fn nothing_matches_nothing() {
        let table = table(&[]);
        assert!(table.is_empty());
        assert_eq!(who(&table, "100.64.0.1"), None);
        assert_eq!(who(&table, "::1"), None);
    }

    #[test]
    fn ten_thousand_peers_fit() {
        let mut builder = RoutesBuilder::with_capacity(10_000);
        for n in 0..10_000u32 {
            let v4 = Ipv4Addr::from(0x6440_0000 + n * 7);
            let v6 = Ipv6Addr::from(0xfd7a_115c_a1e0_0000_0000_0000_0000_0000 + u128::from(n) * 977);
            builder.add(IpNet::from(IpAddr::V4(v4)), slot(n));
            builder.add(IpNet::from(IpAddr::V6(v6)), slot(n));
        }
        let table = builder.build();
        assert!(table.heap_bytes() <= 20_000 * 40, "{} bytes", table.heap_bytes());
        assert_eq!(table.lookup4(Ipv4Addr::from(0x6440_0000 + 7 * 4321)), Some(slot(4321)));
        assert_eq!(table.lookup4(Ipv4Addr::from(0x6440_0000 + 7 * 4321 + 1)), None);
    }

    fn any_net() -> impl Strategy<Value = IpNet> {
        // Few distinct bits, so that prefixes nest and collide.
        let v4 = (any::<[bool; 4]>(), 0u8..=32).prop_map(|(b, len)| {
            let addr = Ipv4Addr::from(b.map(|bit| u8::from(bit) * 0x81));
            IpNet::new(IpAddr::V4(addr), len).expect("length")
        });
        let v6 = (any::<[bool; 4]>(), 0u8..=128).prop_map(|(b, len)| {
            let mut octets = [0u8; 16];
            for (i, bit) in b.into_iter().enumerate() {
                octets[i * 5] = u8::from(bit) * 0x81;
            }
            IpNet::new(IpAddr::V6(octets.into()), len).expect("length")
        });
        prop_oneof![v4, v6]
    }

    proptest! {
        #[test]
        fn agrees_with_a_plain_search(
            nets in proptest::collection::vec(any_net(), 0..24),
            probes in proptest::collection::vec(any_net(), 1..16),
        ) {
            let mut builder = RoutesBuilder::new();
            for (n, net) in nets.iter().enumerate() {
                builder.add(*net, slot(n as u32));
            }
            let table = builder.build();
            for probe in probes {
                let mut best: Option<(u8, u32)> = None;
                for (n, net) in nets.iter().enumerate() {
                    if net.contains(&probe.addr()) && best.is_none_or(|(len, _)| net.prefix_len() > len) {
                        best = Some((net.prefix_len(), n as u32));
                    }
                }
                prop_assert_eq!(table.lookup(probe.addr()), best.map(|(_, n)| slot(n)));
            }
        }
    }
}
