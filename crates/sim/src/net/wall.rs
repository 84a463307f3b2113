//! One stateful firewall for IPv6: nothing is translated, and what nobody inside has asked for stays out.

use super::nat::{Seen, seen};
use super::plan::Firewall;
use engine::time::Mono;
use std::collections::BTreeMap;
use std::net::SocketAddr;

/// A firewall at work.
#[derive(Debug)]
pub(super) struct Wall {
    firewall: Firewall,
    permits: BTreeMap<(SocketAddr, Seen), Mono>,
}

impl Wall {
    pub(super) const fn new(firewall: Firewall) -> Self {
        Self { firewall, permits: BTreeMap::new() }
    }

    pub(super) fn forget(&mut self) {
        self.permits.clear();
    }

    pub(super) fn outbound(&mut self, inner: SocketAddr, to: SocketAddr, now: Mono) {
        self.permits.retain(|_, until| *until > now);
        if let Some(by) = self.firewall.filtering {
            self.permits.insert((inner, seen(by, to)), now + self.firewall.lifetime);
        }
    }

    pub(super) fn inbound(&mut self, from: SocketAddr, inner: SocketAddr, now: Mono) -> bool {
        self.permits.retain(|_, until| *until > now);
        let Some(by) = self.firewall.filtering else { return true };
        let Some(permit) = self.permits.get_mut(&(inner, seen(by, from))) else { return false };
        *permit = now + self.firewall.lifetime;
        true
    }
}
