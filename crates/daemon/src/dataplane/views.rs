//! What others are told of the packets: what was dropped, how a peer is reached.

use super::Dataplane;
use crate::backend::PeerView;
use engine::drop::DropReason;
use engine::lines::Path;
use engine::time::{Mono, Wall};
use keys::NodePublic;
use localapi::types::Time;
use netmap::NodeId;
use std::net::IpAddr;
use std::time::Duration;

/// A peer counts as active this long after something was sent to it.
const ACTIVE: Duration = Duration::from_secs(45);

impl Dataplane {
    /// Dropped packets by reason, those that happened.
    pub fn drops(&self) -> Vec<(&'static str, u32)> {
        let engine = self.engine.borrow();
        let counts = DropReason::ALL.iter().map(|reason| (reason.text(), engine.drops().get(*reason)));
        let relays = self.pool.borrow().as_ref().map(derp::Pool::stats).unwrap_or_default();
        let relays = [
            ("relay queue full", relays.dropped_full),
            ("relay rate limit", relays.dropped_limit),
            ("relay lost", relays.dropped_lost),
            ("relay unsendable", relays.dropped_unsendable),
        ];
        let relays = relays.map(|(text, count)| (text, u32::try_from(count).unwrap_or(u32::MAX)));
        counts.chain(relays).filter(|(_, count)| *count > 0).collect()
    }

    /// The peer whose packets may come from `addr`, its own or one behind it.
    pub fn peer_at(&self, addr: IpAddr) -> Option<NodeId> {
        self.engine.borrow().peer_at(addr)
    }

    /// What the engine knows of a peer.
    pub fn peer_view(&self, id: NodeId) -> PeerView {
        let (now, wall) = (self.clock.mono(), self.clock.wall());
        let view = self.engine.borrow_mut().peer_view(id, now);
        view.map_or_else(PeerView::default, |view| shown(&view, now, wall))
    }

    /// The same of all peers that have a session, by node key.
    pub fn live_views(&self) -> Vec<(NodePublic, PeerView)> {
        let (now, wall) = (self.clock.mono(), self.clock.wall());
        let live = self.engine.borrow_mut().live_views(now);
        live.into_iter().map(|(key, view)| (key, shown(&view, now, wall))).collect()
    }

    /// Bytes of all peers since the start, received and sent; see [`engine::Engine::passed`].
    pub fn passed(&self) -> (u64, u64) {
        self.engine.borrow().passed()
    }
}

fn shown(view: &engine::PeerView, now: Mono, wall: Wall) -> PeerView {
    let ago = |time: Duration| Time::from_unix_nanos(i128::from(wall.0) - time.as_nanos() as i128);
    PeerView {
        rx_bytes: view.rx_bytes,
        tx_bytes: view.tx_bytes,
        last_write: view.sent.map_or(Time::ZERO, |at| ago(now.since(at))),
        last_handshake: view.last_handshake.map_or(Time::ZERO, |at| ago(now.since(at))),
        active: view.sent.is_some_and(|at| now.since(at) < ACTIVE),
        direct: match view.path {
            Path::Udp(addr) if view.sent.is_some() => Some(addr),
            _ => None,
        },
        known: true,
    }
}
