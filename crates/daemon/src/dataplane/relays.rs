//! The relays of the dataplane: which are connected, and what they deliver.
//!
//! Leaves out: the connections (crate `derp`).

use super::{Dataplane, News};
use crate::backend::RelayConfig;
use engine::wireguard::Source;
use keys::NodePublic;
use netmap::RegionId;
use std::rc::Rc;

/// Hands what relays deliver to the dataplane, which holds the relays itself.
pub(super) struct RelaySink(pub(super) std::rc::Weak<Dataplane>);

impl derp::Sink for RelaySink {
    fn packet(&self, region: RegionId, src: &NodePublic, payload: &[u8]) {
        if let Some(plane) = self.0.upgrade() {
            let from = Source::Derp { region: region.0, peer: *src };
            plane.engine.borrow_mut().handle_datagram(from, payload, plane.clock.mono());
        }
    }

    fn flush(&self) {
        if let Some(plane) = self.0.upgrade() {
            plane.pump();
        }
    }

    fn event(&self, event: derp::Event) {
        if let Some(plane) = self.0.upgrade() {
            match &event {
                derp::Event::FrameAt { region } => plane.looks.heard_relay(*region, plane.clock.mono()),
                derp::Event::Connected { region, .. } => plane.engine.borrow_mut().relay_up(*region),
                derp::Event::Disconnected { region, home, error } => {
                    plane.engine.borrow_mut().relay_down(*region);
                    if *home && !error.is_empty() {
                        plane.looks.home_lost(plane.clock.mono());
                    }
                }
                derp::Event::PeerGone { region, peer, .. } => {
                    // Nobody else cares.
                    return plane.engine.borrow_mut().peer_gone(*region, peer);
                }
                derp::Event::Health { .. } => {}
            }
            plane.tell(News::Relay(event));
        }
    }
}

impl Dataplane {
    /// Connects to the relays as configured.
    pub fn relays(&self, config: &RelayConfig<'_>) {
        self.rebind(if config.random_port { 0 } else { self.wanted_port.0 });
        self.set_looks(config);
        // The map is shared with the connections, so it is copied only when it has changed.
        if **self.map.borrow() != *config.map {
            *self.map.borrow_mut() = Rc::new(config.map.clone());
        }
        let map = self.map.borrow().clone();
        if let Some(pool) = &*self.pool.borrow() {
            pool.apply(derp::Config {
                key: config.key.clone(),
                map,
                home: config.home,
                paused: config.paused,
            });
        }
    }

    /// Has every relay prove that it is still there; one that is not is connected anew.
    pub fn check_relays(&self) {
        if let Some(pool) = &*self.pool.borrow() {
            pool.check();
        }
    }

    /// Closes the connections to all relays. Home comes back with the next [`Self::relays`].
    pub fn close_relays(&self) {
        if let Some(pool) = &*self.pool.borrow() {
            pool.close_all();
        }
    }

    /// How many relays are connected.
    pub fn connected_relays(&self) -> usize {
        self.pool.borrow().as_ref().map_or(0, |pool| pool.stats().connected.len())
    }
}
