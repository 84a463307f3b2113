//! What the lines know of each peer.
//!
//! Owns: the facts that control gives ([`PeerFacts`]), the lines' own entries made from them, the tables of entries.
//! An entry belongs to one line and is swapped singly. Leaves out: sessions of the receiving side (they are found by
//! index, not by peer).

use super::activity::PeerActivity;
use super::seal::SendSession;
use super::staging::Queue;
use crate::slot::PeerSlot;
use crate::time::Tick;
use keys::NodePublic;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;

/// How packets reach a peer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Path {
    /// Not at all: no home region and no endpoint is known.
    #[default]
    None,
    /// Through a relay.
    Derp {
        /// The relay's region.
        region: u16,
    },
    /// Directly.
    Udp(SocketAddr),
    /// Directly by a path that has not been confirmed of late, and through a relay: what arrives twice is dropped.
    Both {
        /// The address.
        addr: SocketAddr,
        /// The relay's region.
        region: u16,
    },
}

/// What control says about a peer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct PeerFacts {
    /// Its node key, to which relays deliver.
    pub key: NodePublic,
    /// How to reach it.
    pub path: Path,
    /// Its packets are judged as with shields up.
    pub jailed: bool,
    /// The IPv4 address by which it knows us, where that is not our own.
    pub masq_v4: Option<Ipv4Addr>,
    /// The IPv6 address by which it knows us, where that is not our own.
    pub masq_v6: Option<Ipv6Addr>,
    /// Its packets are followed: control is told the address they come from.
    pub roams: bool,
    /// Nobody looks after the path to it: control is told once when something is to be sent.
    pub asleep: bool,
}

impl PeerFacts {
    /// The addresses by which the peer knows us.
    pub(super) const fn masq(&self) -> Masq {
        Masq { v4: self.masq_v4, v6: self.masq_v6 }
    }
}

/// The addresses by which a peer knows us, where those are not our own.
#[derive(Debug, Clone, Copy)]
pub(super) struct Masq {
    v4: Option<Ipv4Addr>,
    v6: Option<Ipv6Addr>,
}

impl Masq {
    /// The one of the family of `like`.
    pub(super) fn known(self, like: IpAddr) -> Option<IpAddr> {
        match like {
            IpAddr::V4(_) => self.v4.map(IpAddr::V4),
            IpAddr::V6(_) => self.v6.map(IpAddr::V6),
        }
    }
}

/// tx's entry.
#[derive(Debug)]
pub(super) struct TxPeer {
    pub(super) slot: PeerSlot,
    pub(super) facts: PeerFacts,
    pub(super) activity: Arc<PeerActivity>,
    /// The one confirmed session.
    pub(super) session: Option<Box<SendSession>>,
    pub(super) staged: Queue,
    /// When control was asked for a session that has not come yet.
    pub(super) asked: Option<Tick>,
    /// Control has been told that the path leads nowhere.
    pub(super) failed: bool,
}

/// rx's entry.
#[derive(Debug)]
pub(super) struct RxPeer {
    pub(super) slot: PeerSlot,
    pub(super) jailed: bool,
    pub(super) masq: Masq,
    pub(super) activity: Arc<PeerActivity>,
    /// For one that roams: the address that control was told last. Apart, because hardly any peer does.
    pub(super) roams: Option<Box<Heard>>,
}

/// Where a peer was last heard.
#[derive(Debug, Default)]
pub(super) struct Heard(pub(super) Option<SocketAddr>);

/// Things that have a slot.
pub(super) trait Slotted {
    fn slot(&self) -> PeerSlot;
}

impl Slotted for TxPeer {
    fn slot(&self) -> PeerSlot {
        self.slot
    }
}

impl Slotted for RxPeer {
    fn slot(&self) -> PeerSlot {
        self.slot
    }
}

/// The memory of a [`PeerTable`].
pub(super) type Places<T> = Vec<Option<Box<T>>>;

/// Entries by slot. Never allocates: control sends larger memory before it sends a peer that needs it.
#[derive(Debug)]
pub(super) struct PeerTable<T>(Places<T>);

impl<T> Default for PeerTable<T> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<T: Slotted> PeerTable<T> {
    /// The entry of exactly this slot, generation included.
    pub(super) fn entry(&mut self, slot: PeerSlot) -> Option<&mut T> {
        self.0.get_mut(slot.index())?.as_deref_mut().filter(|peer| peer.slot() == slot)
    }

    /// Puts an entry at its place; returns what was there, or the entry itself if there is no such place.
    pub(super) fn insert(&mut self, peer: Box<T>) -> Option<Box<T>> {
        match self.0.get_mut(peer.slot().index()) {
            Some(place) => place.replace(peer),
            None => Some(peer),
        }
    }

    /// Takes the entry of exactly this slot out.
    pub(super) fn remove(&mut self, slot: PeerSlot) -> Option<Box<T>> {
        let place = self.0.get_mut(slot.index())?;
        if place.as_ref()?.slot() == slot { place.take() } else { None }
    }

    /// Takes whatever is at the slot's place out.
    pub(super) fn vacate(&mut self, slot: PeerSlot) -> Option<Box<T>> {
        self.0.get_mut(slot.index())?.take()
    }

    /// Moves into larger memory; returns the old.
    pub(super) fn grow(&mut self, mut larger: Places<T>) -> Places<T> {
        larger.clear();
        if larger.capacity() < self.0.len() {
            return larger;
        }
        larger.append(&mut self.0);
        let full = larger.capacity();
        larger.resize_with(full, || None);
        std::mem::replace(&mut self.0, larger)
    }
}
