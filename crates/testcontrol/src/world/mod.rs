//! What the server knows: nodes, logins under way, open map streams, faults to play.
//!
//! Owns: the one state that everything changes, its counts and its faults. Leaves out: what a node is ([`node`]), how one
//! comes in ([`login`]), what it is told ([`stream`]) and what a test may change about it ([`change`]).

mod change;
mod login;
mod node;
mod stream;

pub(crate) use login::Registration;
pub(crate) use node::Node;
pub use node::NodeView;

use crate::noise::Identity;
use crate::wireguard::WireguardPeer;
use crate::{Options, churn, json};
use login::Pending;
use serde_json::{Value, json};
use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, HashMap};
use std::net::SocketAddr;
use std::rc::Rc;
use stream::OpenStream;
use tokio::sync::Notify;

/// How often what happened.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// Connections to control, whatever came of them.
    pub connections: u32,
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

    pub(crate) fn connected(&self) {
        self.count(|c| c.connections += 1);
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
}
