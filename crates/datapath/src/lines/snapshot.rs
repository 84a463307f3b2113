//! What changes rarely and concerns all peers: published whole, loaded once a batch.

use crate::filter::Filter;
use crate::mac1::Mac1Check;
use crate::routes::Routes;
use keys::NodePublic;
use std::net::IpAddr;
use std::sync::Arc;

/// One version of it. No snapshot carries a counter or a session.
#[derive(Debug, Clone)]
pub struct Snapshot {
    /// Whose is which address.
    pub routes: Arc<Routes>,
    /// What may pass.
    pub filter: Arc<Filter>,
    /// Our own addresses; the first of each family is what masquerade addresses stand for.
    pub own: Box<[IpAddr]>,
    /// Our node key, which handshakes to us are marked with.
    pub key: NodePublic,
    /// What peers send to our own addresses is for the TUN, not for the control thread.
    pub tun: bool,
    /// False in every state but Running: nothing passes then, either way.
    pub running: bool,
}

impl Default for Snapshot {
    fn default() -> Self {
        Self {
            routes: Arc::default(),
            filter: Arc::default(),
            own: Box::default(),
            key: NodePublic::ZERO,
            tun: false,
            running: false,
        }
    }
}

/// A snapshot as a line keeps it.
#[derive(Debug)]
pub(super) struct InForce {
    pub(super) snapshot: Snapshot,
    pub(super) mac1: Mac1Check,
}

impl InForce {
    pub(super) fn new(snapshot: Snapshot) -> Self {
        let mac1 = Mac1Check::new(&snapshot.key);
        Self { snapshot, mac1 }
    }

    pub(super) fn is_own(&self, addr: IpAddr) -> bool {
        self.snapshot.own.contains(&addr)
    }

    /// Our own address in the family of `like`.
    pub(super) fn own(&self, like: IpAddr) -> Option<IpAddr> {
        self.snapshot.own.iter().copied().find(|own| own.is_ipv4() == like.is_ipv4())
    }
}
