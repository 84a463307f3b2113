//! What a test changes about a node or a peer, and who is told of it.

use super::World;
use crate::wireguard::WireguardPeer;
use serde_json::json;
use std::net::SocketAddr;

impl World {
    pub(crate) fn authorize(&self, key: &str) {
        let Some(id) = self.find(key) else { return };
        if let Some(node) = self.nodes.borrow_mut().get_mut(&id) {
            node.authorized = true;
        }
        let first = self.first_message(id);
        if let Some(stream) = self.streams.borrow().get(&id) {
            let _ = stream.sender.try_send(first);
        }
        self.tell_about(id);
    }

    pub(crate) fn set_attributes(&self, key: &str, attributes: Vec<String>) {
        let Some(id) = self.find(key) else { return };
        if let Some(node) = self.nodes.borrow_mut().get_mut(&id) {
            node.attributes = attributes;
        }
        self.tell_self(id);
        // Peers see some of them, too.
        self.tell_about(id);
    }

    pub(crate) fn set_routes(&self, key: &str, routes: Vec<String>) {
        let Some(id) = self.find(key) else { return };
        if let Some(node) = self.nodes.borrow_mut().get_mut(&id) {
            node.routes = routes;
        }
        self.tell_about(id);
    }

    pub(crate) fn set_expired(&self, key: &str, expired: bool) {
        let Some(id) = self.find(key) else { return };
        if let Some(node) = self.nodes.borrow_mut().get_mut(&id) {
            node.expired = expired;
            node.key_expiry =
                if expired { "2026-01-01T00:00:00Z" } else { "0001-01-01T00:00:00Z" }.to_owned();
        }
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
        let Some(id) = self.find(key) else { return };
        if let Some(node) = self.nodes.borrow_mut().get_mut(&id) {
            node.wireguard_only = endpoints;
        }
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
