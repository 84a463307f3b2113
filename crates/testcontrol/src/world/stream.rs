//! What nodes are told: their map streams, the first message of each, and news of the others.

use super::World;
use crate::{churn, json};
use serde_json::{Value, json};
use std::rc::Rc;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until};

pub(super) struct OpenStream {
    number: u64,
    pub(super) sender: mpsc::Sender<Value>,
}

/// The messages of one map stream: the first whole, then changes, with keep-alives between.
pub(crate) struct Messages {
    pub(crate) number: u64,
    first: Option<Value>,
    changes: mpsc::Receiver<Value>,
    every: std::time::Duration,
    due: Instant,
}

impl Messages {
    pub(crate) async fn next(&mut self) -> Option<Value> {
        if let Some(first) = self.first.take() {
            return Some(first);
        }
        let message = tokio::select! {
            change = self.changes.recv() => change,
            () = sleep_until(self.due) => Some(json!({"KeepAlive": true})),
        };
        self.due = Instant::now() + self.every;
        message
    }
}

/// Marks the node offline when its stream ends.
pub(crate) struct StreamGuard {
    world: Rc<World>,
    node: i64,
    number: u64,
}

impl Drop for StreamGuard {
    fn drop(&mut self) {
        self.world.close_stream(self.node, self.number);
    }
}

impl World {
    pub(crate) fn open_stream(&self, id: i64) -> Messages {
        self.count(|c| c.streams += 1);
        let (sender, changes) = mpsc::channel(256);
        let number = self.number();
        self.streams.borrow_mut().insert(id, OpenStream { number, sender });
        if let Some(node) = self.nodes.borrow_mut().get_mut(&id) {
            node.online = true;
        }
        self.tell_about(id);
        let every = self.options.keep_alive;
        Messages { number, first: Some(self.first_message(id)), changes, every, due: Instant::now() + every }
    }

    pub(crate) fn stream_guard(self: &Rc<Self>, node: i64, number: u64) -> StreamGuard {
        StreamGuard { world: self.clone(), node, number }
    }

    fn close_stream(&self, id: i64, number: u64) {
        let mut streams = self.streams.borrow_mut();
        if streams.get(&id).is_none_or(|stream| stream.number != number) {
            return;
        }
        streams.remove(&id);
        drop(streams);
        if let Some(node) = self.nodes.borrow_mut().get_mut(&id) {
            node.online = false;
        }
        self.broadcast(id, &json!({"OnlineChange": {id.to_string(): false}}));
    }

    pub(super) fn first_message(&self, id: i64) -> Value {
        let nodes = self.nodes.borrow();
        let authorized = nodes[&id].authorized;
        let mut peers: Vec<Value> = Vec::new();
        if authorized {
            peers.extend(nodes.values().filter(|n| n.id != id && n.authorized).map(|n| json::node(n, false)));
            peers.extend((0..self.options.phantom_peers).map(churn::phantom));
            peers.extend(self.wireguard.borrow().iter().enumerate().map(|(n, peer)| peer.json(n)));
        }
        json!({
            "Node": json::node(&nodes[&id], true),
            "Peers": peers,
            "DERPMap": json::derp_map(self.addrs[1], self.addrs[2]),
            "Domain": json::DOMAIN,
            "DNSConfig": {"Proxied": true, "Domains": [json::SUFFIX]},
            "PacketFilters": {"base": json::packet_filter()},
            "UserProfiles": [json::user()],
            "ControlTime": rfc3339_now(),
        })
    }

    /// Sends node `id` to all others that may see it.
    pub(super) fn tell_about(&self, id: i64) {
        let nodes = self.nodes.borrow();
        let Some(node) = nodes.get(&id).filter(|n| n.authorized) else { return };
        let message = json!({"PeersChanged": [json::node(node, false)], "UserProfiles": [json::user()]});
        drop(nodes);
        self.broadcast(id, &message);
    }

    pub(super) fn broadcast(&self, except: i64, message: &Value) {
        for (id, stream) in self.streams.borrow().iter() {
            if *id != except && self.nodes.borrow().get(id).is_some_and(|n| n.authorized) {
                let _ = stream.sender.try_send(message.clone());
            }
        }
    }

    pub(super) fn tell_self(&self, id: i64) {
        if let (Some(stream), Some(node)) = (self.streams.borrow().get(&id), self.nodes.borrow().get(&id)) {
            let _ = stream.sender.try_send(json!({"Node": json::node(node, true)}));
        }
    }

    pub(crate) fn send_raw(&self, key: &str, message: Value) -> bool {
        let Some(id) = self.find(key) else { return false };
        self.streams.borrow().get(&id).is_some_and(|stream| stream.sender.try_send(message).is_ok())
    }

    pub(crate) fn send_c2n(&self, key: &str, payload: &str) -> bool {
        // Clients answer no URL twice in a row.
        let url = format!("http://{}/ping-answer?{}", self.addrs[0], self.number());
        let ping = json!({"URL": url, "URLIsNoise": true, "Types": "c2n", "Payload": payload});
        self.send_raw(key, json!({"PingRequest": ping}))
    }
}

/// The moment in RFC 3339, from days since 1970 by the usual civil calendar arithmetic.
fn rfc3339_now() -> String {
    #[expect(clippy::disallowed_methods, reason = "a control server tells the time")]
    let now =
        std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default().as_secs();
    let (days, rest) = (now / 86_400 + 719_468, now % 86_400);
    let era = days / 146_097;
    let of_era = days % 146_097;
    let year_of_era = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let day_of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted + 2) / 5 + 1;
    let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
    let year = year_of_era + era * 400 + u64::from(month <= 2);
    format!("{year:04}-{month:02}-{day:02}T{:02}:{:02}:{:02}Z", rest / 3600, rest / 60 % 60, rest % 60)
}
