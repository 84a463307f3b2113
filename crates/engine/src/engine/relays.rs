//! By which relay something is sent to a peer: by that of its home, or back by the one through which it was heard.
//!
//! Upstream's rule (protocol reference §2.3): if no connection to the peer's home is open, but one on which the peer was
//! heard, that one is taken and none is begun. It spares a connection for somebody who has come to us, and it is the
//! only way to a peer whose home cannot be reached from here or is another by now.
//!
//! Leaves out: the connections; their owner says which are open.

use super::Engine;
use super::peers::Peer;
use crate::slot::PeerSlot;
use keys::NodePublic;
use netmap::{RegionId, Set};

/// The relays whose connection is open.
#[derive(Debug, Default)]
pub(super) struct Relays(Set<RegionId>);

impl Relays {
    /// The relay by which something for `peer` goes now; none if there is none.
    pub(super) fn to(&self, peer: &Peer) -> RegionId {
        self.or_back(peer.relay(), peer)
    }

    /// `region`, or the way back if there is one and `region` is not open.
    fn or_back(&self, region: RegionId, peer: &Peer) -> RegionId {
        if self.0.contains(&region) || !self.0.contains(&peer.heard) { region } else { peer.heard }
    }
}

impl Engine {
    /// The connection to a relay is open from now on.
    pub fn relay_up(&mut self, region: RegionId) {
        self.relays.0.insert(region);
    }

    /// The connection to a relay has ended: who was heard on it may be anywhere by the time there is another.
    pub fn relay_down(&mut self, region: RegionId) {
        if self.relays.0.remove(&region) {
            self.peers.each(|peer| peer.unhear(region));
        }
    }

    /// A relay says that this node is not, or no longer, connected to it.
    pub fn peer_gone(&mut self, region: RegionId, node: &NodePublic) {
        let slot = self.tunnel.slot_of(node);
        if let Some(peer) = slot.and_then(|slot| self.peers.by_slot_mut(slot)) {
            peer.unhear(region);
        }
    }

    /// The next sealed datagram for a relay: its region, the node it is for, the bytes.
    pub fn next_derp(&mut self) -> Option<(u16, NodePublic, &[u8])> {
        let (region, node, bytes) = self.lines.next_derp()?;
        let mut region = RegionId(region);
        if !self.relays.0.contains(&region)
            && let Some(peer) = self.tunnel.slot_of(&node).and_then(|slot| self.peers.by_slot(slot))
        {
            region = self.relays.or_back(region, peer);
        }
        Some((region.0, node, bytes))
    }

    /// A peer was heard through `region`: the way back to it.
    pub(super) fn note_heard(&mut self, slot: PeerSlot, region: RegionId) {
        let Some(peer) = self.peers.by_slot_mut(slot) else { return };
        let before = peer.path();
        peer.heard = region;
        let after = peer.path();
        if before != after {
            self.lines.set_path(slot, after, peer.asleep());
        }
    }
}

impl Peer {
    /// There is no way back by this relay. A peer whose home is not known keeps it, for there is no other.
    fn unhear(&mut self, region: RegionId) {
        if self.heard == region && !self.config.home_derp.is_none() {
            self.heard = RegionId::NONE;
        }
    }
}
