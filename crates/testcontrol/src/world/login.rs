//! How a node comes in: registrations, logins that wait for somebody, what a map request says about its node.

use super::{Node, World};
use crate::json;
use serde_json::{Value, json};
use std::net::{Ipv4Addr, Ipv6Addr};
use tokio::sync::watch;

/// How a registration goes on.
pub(crate) enum Registration {
    Done(Value),
    Wait(String, watch::Receiver<bool>),
}

pub(super) struct Pending {
    approved: watch::Sender<bool>,
}

impl World {
    pub(crate) fn register(&self, asked: &Value, machine: &str) -> Registration {
        let key = asked["NodeKey"].as_str().unwrap_or("");
        let known = self.find(key);
        let expiry = asked["Expiry"].as_str().unwrap_or("");
        if expiry.starts_with("19") {
            if let Some(id) = known {
                self.remove_id(id);
            }
            return Registration::Done(
                json!({"User": json::user(), "Login": json::login(), "NodeKeyExpired": true}),
            );
        }
        if let Some(id) = known {
            let nodes = self.nodes.borrow();
            let node = &nodes[&id];
            if node.machine != machine {
                return refused("node exists with a different machine key");
            }
            if !node.expired {
                return Registration::Done(welcome(node.authorized));
            }
            if asked["Auth"].is_null() && asked["Followup"].as_str().unwrap_or("").is_empty() {
                return Registration::Done(json!({"NodeKeyExpired": true}));
            }
        }
        if let Some(auth_key) = asked["Auth"]["AuthKey"].as_str().filter(|k| !k.is_empty()) {
            if self.options.expired_keys.iter().any(|k| k == auth_key) {
                return refused("auth-key expired");
            }
            if !self.options.auth_keys.iter().any(|k| k == auth_key) {
                return refused("auth-key not found");
            }
            return Registration::Done(self.admit(asked, machine));
        }
        let followup = asked["Followup"].as_str().and_then(|url| url.rsplit('/').next()).unwrap_or("");
        if let Some(pending) = self.pending.borrow().get(followup) {
            return Registration::Wait(followup.to_owned(), pending.approved.subscribe());
        }
        let id = format!("login{:04}", self.number());
        self.pending.borrow_mut().insert(id.clone(), Pending { approved: watch::Sender::new(false) });
        Registration::Done(json!({"AuthURL": format!("http://{}/register/{id}", self.addrs[0])}))
    }

    pub(crate) fn finish_login(&self, id: &str, asked: &Value, machine: &str) -> Value {
        self.pending.borrow_mut().remove(id);
        self.admit(asked, machine)
    }

    pub(crate) fn approve_login(&self, id: &str) -> bool {
        self.pending.borrow().get(id).is_some_and(|pending| {
            pending.approved.send_replace(true);
            true
        })
    }

    /// Makes a node, or gives an existing one of the same machine its new key.
    fn admit(&self, asked: &Value, machine: &str) -> Value {
        let key = asked["NodeKey"].as_str().unwrap_or("").to_owned();
        let old = self.nodes.borrow().values().find(|n| n.machine == machine).map(|n| n.id);
        let id = old.unwrap_or_else(|| self.number() as i64);
        let host = asked["Hostinfo"]["Hostname"].as_str().unwrap_or("node");
        let mut nodes = self.nodes.borrow_mut();
        let taken = nodes.values().any(|n| n.name == host && n.id != id);
        let name = if taken { format!("{host}-{id}") } else { host.to_owned() };
        let [hi, lo] = (id as u16).to_be_bytes();
        let node = nodes.entry(id).or_insert_with(|| Node {
            id,
            name,
            key: String::new(),
            machine: machine.to_owned(),
            disco: Value::String(format!("discokey:{}", "0".repeat(64))),
            endpoints: Value::Null,
            hostinfo: Value::Null,
            home_derp: 0,
            version: 0,
            ip4: Ipv4Addr::new(100, 64, hi, lo),
            ip6: Ipv6Addr::new(0xfd7a, 0x115c, 0xa1e0, 0, 0, 0, 0, id as u16),
            key_expiry: "0001-01-01T00:00:00Z".to_owned(),
            authorized: !self.options.require_machine_auth,
            expired: false,
            attributes: Vec::new(),
            routes: Vec::new(),
            online: false,
            wireguard_only: None,
        });
        node.key = key;
        node.expired = false;
        node.hostinfo = asked["Hostinfo"].clone();
        node.version = asked["Version"].as_i64().unwrap_or(0);
        let answer = welcome(node.authorized);
        drop(nodes);
        self.tell_about(id);
        answer
    }

    /// The node that may ask for a map with this request.
    pub(crate) fn node_for_map(&self, asked: &Value, machine: &str) -> Option<i64> {
        self.count(|c| c.maps += 1);
        let id = self.find(asked["NodeKey"].as_str()?)?;
        (self.nodes.borrow()[&id].machine == machine).then_some(id)
    }

    /// Takes over what a map request says about its node, and tells the others if it matters to them.
    pub(crate) fn update_node(&self, id: i64, asked: &Value) {
        // A stream of a client that declares capability 68 or above says nothing about the node.
        if asked["Stream"] == json!(true) && asked["Version"].as_i64().unwrap_or(0) >= 68 {
            return;
        }
        let mut nodes = self.nodes.borrow_mut();
        let Some(node) = nodes.get_mut(&id) else { return };
        let before = (node.disco.clone(), node.endpoints.clone(), node.home_derp, node.hostinfo.clone());
        node.disco = asked["DiscoKey"].clone();
        node.endpoints = asked["Endpoints"].clone();
        if !asked["Hostinfo"].is_null() {
            node.hostinfo = asked["Hostinfo"].clone();
            node.home_derp = asked["Hostinfo"]["NetInfo"]["PreferredDERP"].as_i64().unwrap_or(node.home_derp);
        }
        let changed =
            before != (node.disco.clone(), node.endpoints.clone(), node.home_derp, node.hostinfo.clone());
        drop(nodes);
        if changed {
            self.tell_about(id);
        }
    }
}

fn refused(text: &str) -> Registration {
    Registration::Done(json!({"Error": text}))
}

fn welcome(authorized: bool) -> Value {
    json!({"User": json::user(), "Login": json::login(), "MachineAuthorized": authorized})
}
