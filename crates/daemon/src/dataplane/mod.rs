//! The engine with the world around it: its packet threads, the UDP sockets, the relays, the pings somebody waits for.
//!
//! Owns: moving bytes and moments between engine, sockets, relays and packet threads, and what a look at the network
//! takes (`looks`). Decides nothing.
//! Leaves out: the decisions of the backend, and here: its turns (`pump`), where we are reached (`reached`), pings (`pings`).

mod bell;
mod endpoints;
mod lines;
mod looks;
mod pings;
mod port;
mod pump;
mod raw;
mod reached;
#[cfg(test)]
mod relay_tests;
mod relays;
mod serve;
mod sockets;
#[cfg(test)]
mod tests;
mod thread;
mod udp;
mod views;
mod worker;

pub use endpoints::Found;
pub use thread::two_threads;

use crate::clock::Clock;
use crate::parts::listenrawdisco::RawDisco;
use crate::parts::netstack::{self, Services};
use crate::parts::osrouter::Packets;
use engine::host::PingId;
use engine::lines::Limits;
use engine::time::Mono;
use engine::{DiscoPong, Engine, PeerConfig, PingOutcome, SelfConfig};
use keys::DiscoPrivate;
use netmap::{DerpMap, Map, NodeId};
use rand_core::RngCore as _;
use relays::RelaySink;
use sockets::Sockets;
use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use thread::PacketThreads;
use tokio::sync::{Notify, oneshot};

/// Peers forgotten before the packet threads are told: half of what is under way to them.
const AT_ONCE: usize = 64;

/// What packets travel by.
#[derive(Default)]
pub struct Ways {
    /// The TUN, if there is one.
    pub packets: Option<Packets>,
    /// Where UDP listens; 0 = any port.
    pub port: u16,
    /// A thread for each packet line, or one for both.
    pub two_threads: bool,
    /// Key of this run for finding paths.
    pub disco: DiscoPrivate,
    /// No direct paths.
    pub relay_only: bool,
    /// Endpoints that peers are to try, whatever is found out (`TS_DEBUG_PRETENDPOINT`).
    pub pretended: Vec<SocketAddr>,
}

/// Something the backend wants to know.
#[derive(Debug)]
pub enum News {
    /// So many peers have a session.
    LivePeers(usize),
    /// Something about a relay.
    Relay(derp::Event),
    /// Where we can be reached, best first.
    Endpoints(Vec<control::Endpoint>),
    /// The network has been looked at.
    Looked(Arc<engine::netcheck::Report>),
    /// The TUN has been taken away.
    TunGone,
}

/// Engine, sockets, relays and packet threads of a node; lives on the control thread.
pub struct Dataplane {
    engine: RefCell<Engine>,
    pool: RefCell<Option<derp::Pool>>,
    threads: PacketThreads,
    sockets: RefCell<Arc<Sockets>>,
    raw_disco: Option<RawDisco>,
    clock: Arc<Clock>,
    pings: RefCell<Map<PingId, oneshot::Sender<PingOutcome>>>,
    path_pings: RefCell<Map<u32, oneshot::Sender<DiscoPong>>>,
    pretended: Vec<SocketAddr>,
    /// Endpoints that the user knows of.
    fixed: RefCell<Vec<SocketAddr>>,
    /// The port that he asked for, and the one wanted now.
    wanted_port: (u16, Cell<u16>),
    found: RefCell<Found>,
    told_endpoints: RefCell<Vec<control::Endpoint>>,
    news: RefCell<VecDeque<News>>,
    /// There is news, or the engine's next timeout has changed.
    pub changed: Notify,
    map: RefCell<Rc<DerpMap>>,
    dialer: Rc<dyn dial::Dial>,
    /// Relays are asked without TLS, in tests.
    use_http: bool,
    looks: looks::Looks,
    /// What this machine reaches in this process, and who answers its questions.
    services: Services,
    asks: RefCell<Option<netstack::Ask>>,
    serving: Cell<bool>,
    /// Answers since the last turn of services.
    answers: Cell<u32>,
    busy: Cell<bool>,
    /// The engine's next timeout as the run loop was told last.
    due: Cell<Option<Mono>>,
}

impl Dataplane {
    /// Opens UDP and starts the packet threads.
    pub fn start(
        dialer: Rc<dyn dial::Dial>,
        options: derp::Options,
        clock: Arc<Clock>,
        seed: [u8; 32],
        ways: Ways,
    ) -> std::io::Result<Rc<Self>> {
        let mut limits = Limits::default();
        if let Some(packets) = &ways.packets {
            limits.mtu = packets.mtu() as u16;
        }
        let (mut engine, tx, rx) = Engine::new(seed, &limits);
        let mut looks_seed = [0; 32];
        rand_core::OsRng
            .try_fill_bytes(&mut looks_seed)
            .map_err(|error| std::io::Error::other(error.to_string()))?;
        let sockets = Arc::new(Sockets::open(ways.port));
        let (v4, v6) = sockets.families();
        engine.set_families(v4, v6);
        engine.set_disco_key(&ways.disco);
        if ways.relay_only {
            engine.set_relay_only();
        }
        let threads = PacketThreads::start(ways.two_threads, tx, rx, ways.packets, &sockets, &clock)?;
        let raw_disco = RawDisco::open(sockets.port());
        let plane = Rc::new(Self {
            engine: RefCell::new(engine),
            pool: RefCell::new(None),
            threads,
            sockets: RefCell::new(sockets),
            raw_disco,
            clock,
            pings: RefCell::default(),
            path_pings: RefCell::default(),
            pretended: ways.pretended,
            fixed: RefCell::default(),
            wanted_port: (ways.port, Cell::new(ways.port)),
            found: RefCell::default(),
            told_endpoints: RefCell::default(),
            news: RefCell::default(),
            changed: Notify::new(),
            map: RefCell::default(),
            dialer: Rc::clone(&dialer),
            use_http: options.use_http,
            looks: looks::Looks::new(looks_seed),
            services: Services::new(usize::from(limits.mtu), rand_core::OsRng.next_u64()),
            asks: RefCell::default(),
            serving: Cell::new(false),
            answers: Cell::new(0),
            busy: Cell::new(false),
            due: Cell::new(None),
        });
        let sink = Rc::new(RelaySink(Rc::downgrade(&plane)));
        let pool = derp::Pool::new(dialer, sink, Box::new(rand_core::OsRng), options);
        *plane.pool.borrow_mut() = Some(pool);
        Ok(plane)
    }

    fn tell(&self, news: News) {
        self.news.borrow_mut().push_back(news);
        self.changed.notify_one();
    }

    /// The next thing the backend wants to know.
    pub fn next_news(&self) -> Option<News> {
        self.news.borrow_mut().pop_front()
    }

    /// Puts our own configuration in force.
    pub fn configure(&self, config: SelfConfig) {
        if config.running {
            self.refresh_endpoints();
        }
        {
            let mut engine = self.engine.borrow_mut();
            engine.configure(config);
            engine.commit();
        }
        self.pump();
    }

    /// Adds or changes a peer; see [`Self::commit`].
    pub fn set_peer(&self, config: PeerConfig) {
        self.engine.borrow_mut().set_peer(config, self.clock.mono(), self.clock.wall());
    }

    /// Forgets a peer; see [`Self::commit`].
    pub fn remove_peer(&self, id: NodeId) {
        self.engine.borrow_mut().remove_peer(id);
    }

    /// Forgets peers that `keep` does not want; see [`Self::commit`].
    pub fn retain_peers(&self, keep: &dyn Fn(NodeId) -> bool) {
        let gone: Vec<NodeId> = self.engine.borrow().peer_ids().filter(|id| !keep(*id)).collect();
        for some in gone.chunks(AT_ONCE) {
            some.iter().for_each(|id| self.remove_peer(*id));
            // What the packet threads have not taken is kept until they have.
            self.pump();
        }
    }

    /// Puts changes of peers in force.
    pub fn commit(&self) {
        self.engine.borrow_mut().commit();
        self.pump();
    }

    /// Listens on this port from now on (0 = any), if another was wanted before. Sessions go on.
    fn rebind(&self, wanted: u16) {
        if self.wanted_port.1.get() == wanted {
            return;
        }
        let sockets = Arc::new(Sockets::open(wanted));
        let (v4, v6) = sockets.families();
        if !v4 && !v6 {
            // Tried again with the next settings; what there is goes on.
            return;
        }
        self.wanted_port.1.set(wanted);
        log::info!("UDP listens on port {} now", sockets.port());
        self.threads.use_sockets(&sockets);
        if let Some(raw) = &self.raw_disco {
            raw.listen_at(sockets.port());
        }
        *self.sockets.borrow_mut() = sockets;
        self.engine.borrow_mut().set_families(v4, v6);
        self.look_anew();
    }

    /// Whether peers can be reached by UDP over IPv4.
    pub fn has_udp4(&self) -> bool {
        self.sockets.borrow().families().0
    }

    /// Has the sockets there are leave by what `dial::set_uplinks` says now.
    pub fn mark_sockets(&self) {
        self.sockets.borrow().mark();
    }
}
