//! What the server knows: nodes, logins under way, open map streams, faults to play. (long: one state that everything changes)

use crate::noise::Identity;
use crate::wireguard::WireguardPeer;
use crate::{Options, churn, json};
use serde_json::{Value, json};
use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, HashMap};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::rc::Rc;
use tokio::sync::{Notify, mpsc, watch};
use tokio::time::{Instant, sleep_until};

/// A registered node.
pub(crate) struct Node {
    pub(crate) id: i64,
    pub(crate) name: String,
    pub(crate) key: String,
    pub(crate) machine: String,
    pub(crate) disco: Value,
    pub(crate) endpoints: Value,
    pub(crate) hostinfo: Value,
    pub(crate) home_derp: i64,
    pub(crate) version: i64,
    pub(crate) ip4: Ipv4Addr,
    pub(crate) ip6: Ipv6Addr,
    pub(crate) key_expiry: String,
    pub(crate) authorized: bool,
    pub(crate) expired: bool,
    /// Attributes that it has itself.
    pub(crate) attributes: Vec<String>,
    /// Routes of others that lead through it.
    pub(crate) routes: Vec<String>,
    pub(crate) online: bool,
    /// Where it is reached if its peers are told that it speaks nothing but WireGuard.
    pub(crate) wireguard_only: Option<Vec<SocketAddr>>,
}

/// A node as tests see it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeView {
    /// Number.
    pub id: i64,
    /// `nodekey:…`.
    pub key: String,
    /// `mkey:…`.
    pub machine: String,
    /// Host name.
    pub name: String,
    /// IPv4 address.
    pub ip4: Ipv4Addr,
    /// IPv6 address.
    pub ip6: Ipv6Addr,
    /// It has a map stream open.
    pub online: bool,
    /// Home region; 0 = none reported.
    pub home_derp: i64,
    /// `FirewallMode` of its `NetInfo`.
    pub firewall: String,
}

/// How often what happened.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// Registrations.
    pub registers: u32,
    /// Map requests, streams and updates.
    pub maps: u32,
    /// Streams opened.
    pub streams: u32,
    /// HEAD pings answered.
    pub head_pings: u32,
    /// DERP connections made.
    pub derp_connects: u32,
    /// Packets relayed.
    pub relayed_packets: u32,
    /// Bytes relayed.
    pub relayed_bytes: u64,
    /// Changes of phantom peers sent.
    pub churned: u64,
}

/// Ways to misbehave.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Faults {
    /// Close every new control connection at once, and those that exist.
    pub refuse: bool,
    /// Accept control connections and say nothing.
    pub stall: bool,
    /// Answer with nonsense.
    pub garbage: bool,
    /// Cut map messages in half.
    pub cut_mid_message: bool,
    /// Answer the next registrations with 429 and this Retry-After in seconds.
    pub too_many: Option<u32>,
    /// Close every DERP connection.
    pub kick_derp: bool,
}

/// How a registration goes on.
pub(crate) enum Registration {
    Done(Value),
    Wait(String, watch::Receiver<bool>),
}

struct Pending {
    approved: watch::Sender<bool>,
}

struct OpenStream {
    number: u64,
    sender: mpsc::Sender<Value>,
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

/// Everything the server knows.
pub(crate) struct World {
    pub(crate) identity: Identity,
    options: Options,
    addrs: [SocketAddr; 3],
    nodes: RefCell<BTreeMap<i64, Node>>,
    wireguard: RefCell<Vec<WireguardPeer>>,
    pending: RefCell<HashMap<String, Pending>>,
    streams: RefCell<HashMap<i64, OpenStream>>,
    faults: Cell<Faults>,
    counts: Cell<Counts>,
    ping_answers: RefCell<Vec<String>>,
    next: Cell<u64>,
    /// Counts up when the churn of peers is to end.
    churn: Cell<u64>,
    kick_derp: Rc<Notify>,
    kick_control: Rc<Notify>,
}

impl World {
    pub(crate) fn new(options: Options, addrs: [SocketAddr; 3]) -> Self {
        Self {
            identity: Identity::generate().expect("key generation needs only randomness"),
            options,
            addrs,
            nodes: RefCell::default(),
            wireguard: RefCell::default(),
            pending: RefCell::default(),
            streams: RefCell::default(),
            faults: Cell::default(),
            counts: Cell::default(),
            ping_answers: RefCell::default(),
            next: Cell::new(1),
            churn: Cell::new(0),
            kick_derp: Rc::default(),
            kick_control: Rc::default(),
        }
    }

    fn number(&self) -> u64 {
        self.next.replace(self.next.get() + 1)
    }

    fn count(&self, change: impl FnOnce(&mut Counts)) {
        let mut counts = self.counts.get();
        change(&mut counts);
        self.counts.set(counts);
    }

    pub(crate) fn key_json(&self) -> String {
        let public = json::hex(&self.identity.public);
        json!({"legacyPublicKey": format!("mkey:{}", "0".repeat(64)), "publicKey": format!("mkey:{public}")})
            .to_string()
    }

    pub(crate) fn counts(&self) -> Counts {
        self.counts.get()
    }

    pub(crate) fn faults(&self) -> Faults {
        self.faults.get()
    }

    pub(crate) fn set_faults(&self, faults: Faults) {
        self.faults.set(faults);
        if faults.refuse || faults.stall || faults.garbage || faults.cut_mid_message {
            self.kick_control.notify_waiters();
        }
        if faults.kick_derp {
            self.kick_derp.notify_waiters();
        }
    }

    pub(crate) fn derp_kicked(&self) -> impl Future<Output = ()> + use<> {
        let kick = self.kick_derp.clone();
        async move { kick.notified().await }
    }

    pub(crate) fn control_kicked(&self) -> impl Future<Output = ()> + use<> {
        let kick = self.kick_control.clone();
        async move { kick.notified().await }
    }

    pub(crate) fn derp_connected(&self, up: bool) {
        if up {
            self.count(|c| c.derp_connects += 1);
        }
    }

    pub(crate) fn relayed(&self, bytes: usize) {
        self.count(|c| {
            c.relayed_packets += 1;
            c.relayed_bytes += bytes as u64;
        });
    }

    pub(crate) fn note_head_ping(&self) {
        self.count(|c| c.head_pings += 1);
    }

    pub(crate) fn note_ping_answer(&self, body: String) {
        self.ping_answers.borrow_mut().push(body);
    }

    pub(crate) fn take_ping_answers(&self) -> Vec<String> {
        self.ping_answers.take()
    }

    /// Counts a registration; `Some(seconds)` if it is to be refused for now.
    pub(crate) fn count_register(&self) -> Option<u32> {
        self.count(|c| c.registers += 1);
        let mut faults = self.faults.get();
        let seconds = faults.too_many.take();
        self.faults.set(faults);
        seconds
    }

    fn find(&self, key: &str) -> Option<i64> {
        self.nodes.borrow().values().find(|n| n.key == key).map(|n| n.id)
    }

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

    fn first_message(&self, id: i64) -> Value {
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
    fn tell_about(&self, id: i64) {
        let nodes = self.nodes.borrow();
        let Some(node) = nodes.get(&id).filter(|n| n.authorized) else { return };
        let message = json!({"PeersChanged": [json::node(node, false)], "UserProfiles": [json::user()]});
        drop(nodes);
        self.broadcast(id, &message);
    }

    fn broadcast(&self, except: i64, message: &Value) {
        for (id, stream) in self.streams.borrow().iter() {
            if *id != except && self.nodes.borrow().get(id).is_some_and(|n| n.authorized) {
                let _ = stream.sender.try_send(message.clone());
            }
        }
    }

    fn tell_self(&self, id: i64) {
        if let (Some(stream), Some(node)) = (self.streams.borrow().get(&id), self.nodes.borrow().get(&id)) {
            let _ = stream.sender.try_send(json!({"Node": json::node(node, true)}));
        }
    }

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

    fn remove_id(&self, id: i64) {
        self.nodes.borrow_mut().remove(&id);
        self.streams.borrow_mut().remove(&id);
        self.broadcast(id, &json!({"PeersRemoved": [id]}));
    }

    /// Starts the churn of peers anew, or ends it.
    pub(crate) fn churn(self: &Rc<Self>, peers: u32, per_second: u32) {
        self.churn.set(self.churn.get() + 1);
        if peers > 0 && per_second > 0 {
            tokio::task::spawn_local(churn::run(self.clone(), self.churn.get(), peers, per_second));
        }
    }

    pub(crate) fn churn_generation(&self) -> u64 {
        self.churn.get()
    }

    /// Sends a change of a phantom peer to everybody. A stream that is behind misses it.
    pub(crate) fn churned(&self, change: &Value) {
        self.count(|c| c.churned += 1);
        self.broadcast(0, change);
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

    pub(crate) fn views(&self) -> Vec<NodeView> {
        let nodes = self.nodes.borrow();
        let view = |n: &Node| NodeView {
            id: n.id,
            key: n.key.clone(),
            machine: n.machine.clone(),
            name: n.name.clone(),
            ip4: n.ip4,
            ip6: n.ip6,
            online: n.online,
            home_derp: n.home_derp,
            firewall: n.hostinfo["NetInfo"]["FirewallMode"].as_str().unwrap_or_default().to_owned(),
        };
        nodes.values().map(view).collect()
    }
}

fn refused(text: &str) -> Registration {
    Registration::Done(json!({"Error": text}))
}

fn welcome(authorized: bool) -> Value {
    json!({"User": json::user(), "Login": json::login(), "MachineAuthorized": authorized})
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
