//! What a test changes about a node or a peer, and who is told of it.

use super::{Node, World};
use crate::wireguard::WireguardPeer;
use serde_json::json;
use std::net::SocketAddr;

impl World {
    /// Changes the node with this key, and gives its number: whom to tell is the caller's to know.
    fn change(&self, key: &str, change: impl FnOnce(&mut Node)) -> Option<i64> {
        let id = self.find(key)?;
        self.nodes.borrow_mut().get_mut(&id).map(change)?;
        Some(id)
    }

    pub(crate) fn authorize(&self, key: &str) {
        let Some(id) = self.change(key, |node| node.authorized = true) else { return };
        let first = self.first_message(id);
        if let Some(stream) = self.streams.borrow().get(&id) {
            let _ = stream.sender.try_send(first);
        }
        self.tell_about(id);
    }

    pub(crate) fn set_attributes(&self, key: &str, attributes: Vec<String>) {
        let Some(id) = self.change(key, |node| node.attributes = attributes) else { return };
        self.tell_self(id);
        // Peers see some of them, too.
        self.tell_about(id);
    }

    pub(crate) fn set_routes(&self, key: &str, routes: Vec<String>) {
        let Some(id) = self.change(key, |node| node.routes = routes) else { return };
        self.tell_about(id);
    }

    pub(crate) fn set_expired(&self, key: &str, expired: bool) {
        let expiry = if expired { "2026-01-01T00:00:00Z" } else { "0001-01-01T00:00:00Z" };
        let change = |node: &mut Node| (node.expired, node.key_expiry) = (expired, expiry.to_owned());
        let Some(id) = self.change(key, change) else { return };
        self.tell_self(id);
        self.tell_about(id);
    }

    /// Adds a peer that is no node of this server, and tells everybody.
    pub(crate) fn add_wireguard_peer(&self, peer: WireguardPeer) {
        let mut peers = self.wireguard.borrow_mut();
        let message = json!({"PeersChanged": [peer.json(peers.len())]});
        peers.push(peer);
        drop(peers);
        self.broadcast(0, &message);
    }

    /// Tells everybody that a node speaks nothing but WireGuard, or all that it speaks.
    pub(crate) fn set_wireguard_only(&self, key: &str, endpoints: Option<Vec<SocketAddr>>) {
        let Some(id) = self.change(key, |node| node.wireguard_only = endpoints) else { return };
        self.tell_about(id);
    }

    pub(crate) fn remove(&self, key: &str) {
        if let Some(id) = self.find(key) {
            self.remove_id(id);
        }
    }

    pub(super) fn remove_id(&self, id: i64) {
        self.nodes.borrow_mut().remove(&id);
        self.streams.borrow_mut().remove(&id);
        self.broadcast(id, &json!({"PeersRemoved": [id]}));
    }
}
