//! The engine with the world around it: its packet threads, the UDP sockets, the relays, the pings somebody waits for.
//!
//! Owns: moving bytes and moments between engine, sockets, relays and packet threads, and what a look at the network
//! takes (`looks`). Decides nothing.
//! Leaves out: the decisions of the backend.

mod bell;
mod endpoints;
mod looks;
mod port;
mod raw;
mod relays;
mod serve;
mod sockets;
#[cfg(test)]
mod tests;
mod thread;
mod udp;

pub use endpoints::Found;
pub use thread::two_threads;

use crate::backend::PeerView;
use crate::clock::Clock;
use crate::parts::listenrawdisco::RawDisco;
use crate::parts::netstack::{self, Services};
use crate::parts::osrouter::Packets;
use engine::drop::DropReason;
use engine::host::{PingId, PingKind};
use engine::lines::{Limits, Path, demux};
use engine::time::Mono;
use engine::wireguard::Source;
use engine::{DiscoPong, Engine, Output, PeerConfig, PingOutcome, PingRequest, SelfConfig};
use keys::DiscoPrivate;
use localapi::types::Time;
use netmap::{DerpMap, Map, NodeId, RegionId};
use rand_core::RngCore as _;
use relays::RelaySink;
use sockets::Sockets;
use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;
use thread::PacketThreads;
use tokio::sync::{Notify, oneshot};

/// A peer counts as active this long after something was sent to it.
const ACTIVE: u32 = 45_000;

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
            busy: Cell::new(false),
            due: Cell::new(None),
        });
        let sink = Rc::new(RelaySink(Rc::downgrade(&plane)));
        let pool = derp::Pool::new(dialer, sink, Box::new(rand_core::OsRng), options);
        *plane.pool.borrow_mut() = Some(pool);
        Ok(plane)
    }

    /// Listens to the packet threads for as long as they run.
    pub async fn listen(self: Rc<Self>) {
        let mut told = false;
        while let Ok(()) = self.threads.woken().await {
            if self.threads.tun_is_gone() && !std::mem::replace(&mut told, true) {
                self.tell(News::TunGone);
            }
            loop {
                let more = self.engine.borrow_mut().handle_lines(self.clock.mono(), self.clock.wall());
                let more = self.serve() || more;
                self.pump();
                if !more {
                    break;
                }
                tokio::task::yield_now().await;
            }
        }
    }

    fn tell(&self, news: News) {
        self.news.borrow_mut().push_back(news);
        self.changed.notify_one();
    }

    /// The next thing the backend wants to know.
    pub fn next_news(&self) -> Option<News> {
        self.news.borrow_mut().pop_front()
    }

    /// Sends what the engine has to send and wakes the packet threads if they were given something.
    pub fn pump(&self) {
        // The pool never calls the sink from within a call, so this cannot nest; were it to, the outer call
        // does the work.
        if self.busy.replace(true) {
            return;
        }
        let mut refresh = false;
        let mut stun = Vec::new();
        let mut awake = false;
        let mut engine = self.engine.borrow_mut();
        let pool = self.pool.borrow();
        while let Some((region, peer, datagram)) = engine.next_derp() {
            if let Some(pool) = &*pool {
                pool.send(RegionId(region), &peer, datagram);
            }
        }
        while let Some(output) = engine.poll_output() {
            match output {
                Output::Transmit { to: Source::Derp { region, peer }, bytes } => {
                    if let Some(pool) = &*pool {
                        pool.send(RegionId(region), &peer, &bytes);
                    }
                }
                Output::Transmit { to: Source::Udp(to), bytes } => {
                    // Most of the addresses that path discovery tries lead nowhere; that is no loss.
                    let sent = self.sockets.borrow().send(to, &bytes);
                    if let Err(reason) = sent
                        && demux::kind(&bytes) != demux::Kind::Disco
                    {
                        engine.drops().count(reason);
                    }
                }
                Output::Ping(outcome) => {
                    let id = match &outcome {
                        PingOutcome::Answered(answer) => answer.id,
                        PingOutcome::TimedOut(id) => *id,
                    };
                    if let Some(waiter) = self.pings.borrow_mut().remove(&id) {
                        let _ = waiter.send(outcome);
                    }
                }
                Output::LivePeers(live) => {
                    awake |= live > 0;
                    self.tell(News::LivePeers(live));
                }
                Output::PathPing(pong) => {
                    if let Some(waiter) = self.path_pings.borrow_mut().remove(&pong.token) {
                        let _ = waiter.send(pong);
                    }
                }
                Output::RefreshEndpoints => refresh = true,
                Output::Stun { bytes, .. } => stun.push(bytes),
            }
        }
        let (tx, rx) = engine.take_wakes();
        self.threads.wake(tx, rx);
        self.busy.set(false);
        drop(engine);
        if !stun.is_empty() {
            self.take_stun(&stun);
        }
        if refresh {
            self.look_for_endpoints();
        } else if awake && self.looks.poll_timeout().is_none() {
            // The node has been idle.
            self.look();
        }
        let engine = self.engine.borrow();
        // The run loop has more to look at than fits between two batches of packets. A timeout that moved away wakes it
        // once in vain.
        let due = engine.poll_timeout().map(|(at, _)| at);
        let due = [due, self.services.poll_timeout(self.clock.mono())].into_iter().flatten().min();
        if due.is_some_and(|at| self.due.get().is_none_or(|told| at < told)) {
            self.due.set(due);
            self.changed.notify_one();
        }
    }

    /// When [`Self::handle_timeout`] is due.
    pub fn poll_timeout(&self) -> Option<Mono> {
        let engine = self.engine.borrow().poll_timeout().map(|(at, _)| at);
        let services = self.services.poll_timeout(self.clock.mono());
        let due = [engine, self.looks.poll_timeout(), services].into_iter().flatten().min();
        self.due.set(due);
        due
    }

    /// Runs all timers.
    pub fn handle_timeout(self: &Rc<Self>) {
        self.turn_services();
        self.time_looks(self.clock.mono());
        self.drive_looks();
        {
            let mut engine = self.engine.borrow_mut();
            engine.handle_timeout(self.clock.mono(), self.clock.wall());
            if engine.live_peers() > 0 {
                engine.gather_counters();
            }
        }
        self.pump();
    }

    /// Others have found out something about where we are reached.
    pub fn set_found(&self, found: Found) {
        *self.found.borrow_mut() = found;
        self.refresh_endpoints();
    }

    /// The user knows of these endpoints besides.
    pub fn set_static_endpoints(&self, fixed: &[SocketAddr]) {
        if *self.fixed.borrow() != fixed {
            *self.fixed.borrow_mut() = fixed.to_vec();
            self.refresh_endpoints();
        }
    }

    /// An address, a route or a link of this machine has changed, or it has slept: every direct path is doubted.
    pub fn network_changed(&self) {
        self.look_anew();
        self.check_relays();
    }

    /// What was known of the network is void. Our endpoints are found out first: peers are told where we are, and an address
    /// that is not among those any more is given up by them at once.
    fn look_anew(&self) {
        self.forget_looks();
        self.refresh_endpoints();
        self.engine.borrow_mut().handle_network_change(self.clock.mono());
        self.pump();
    }

    /// Looks where we can be reached and tells the engine, and the backend if it has changed.
    pub fn refresh_endpoints(&self) {
        let local = endpoints::local(self.sockets.borrow().families());
        let fixed = [&self.pretended[..], &self.fixed.borrow()].concat();
        let ports = (self.port(), self.wanted_port.1.get());
        let all = endpoints::list(&self.found.borrow(), &fixed, &local, ports);
        let addrs: Vec<_> = all.iter().map(|endpoint| endpoint.addr).collect();
        self.engine.borrow_mut().set_local_endpoints(&addrs, self.clock.mono());
        if *self.told_endpoints.borrow() != all {
            self.told_endpoints.borrow_mut().clone_from(&all);
            self.tell(News::Endpoints(all));
        }
        self.pump();
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
        gone.into_iter().for_each(|id| self.remove_peer(id));
    }

    /// Puts changes of peers in force.
    pub fn commit(&self) {
        self.engine.borrow_mut().commit();
        self.pump();
    }

    /// Listens on this port from now on (0 = any), if another was wanted before. Sessions go on.
    fn rebind(&self, wanted: u16) {
        if self.wanted_port.1.replace(wanted) == wanted {
            return;
        }
        let sockets = Arc::new(Sockets::open(wanted));
        let (v4, v6) = sockets.families();
        if !v4 && !v6 {
            return;
        }
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

    /// Dropped packets by reason, those that happened.
    pub fn drops(&self) -> Vec<(&'static str, u32)> {
        let engine = self.engine.borrow();
        let counts = DropReason::ALL.iter().map(|reason| (reason.text(), engine.drops().get(*reason)));
        let relays = self.pool.borrow().as_ref().map(derp::Pool::stats).unwrap_or_default();
        let relays = [
            ("relay queue full", relays.dropped_full),
            ("relay rate limit", relays.dropped_limit),
            ("relay lost", relays.dropped_lost),
            ("relay unsendable", relays.dropped_unsendable),
        ];
        let relays = relays.map(|(text, count)| (text, u32::try_from(count).unwrap_or(u32::MAX)));
        counts.chain(relays).filter(|(_, count)| *count > 0).collect()
    }

    /// What the engine knows of a peer.
    pub fn peer_view(&self, id: NodeId) -> PeerView {
        let (now, wall) = (self.clock.mono(), self.clock.wall());
        let Some(view) = self.engine.borrow_mut().peer_view(id, now) else { return PeerView::default() };
        let ago = |time: Duration| Time::from_unix_nanos(i128::from(wall.0) - time.as_nanos() as i128);
        PeerView {
            rx_bytes: view.rx_bytes,
            tx_bytes: view.tx_bytes,
            last_write: view.sent_ago.map_or(Time::ZERO, |ms| ago(Duration::from_millis(u64::from(ms)))),
            last_handshake: view.last_handshake.map_or(Time::ZERO, |at| ago(now.since(at))),
            active: view.sent_ago.is_some_and(|ms| ms < ACTIVE),
            direct: match view.path {
                Path::Udp(addr) if view.sent_ago.is_some() => Some(addr),
                _ => None,
            },
            known: true,
        }
    }

    /// Pings a peer by its direct paths and its relay; whichever answers first, `None` if none does in time.
    ///
    /// # Errors
    /// Why it could not be sent.
    pub async fn ping_paths(
        &self,
        id: NodeId,
        size: usize,
        timeout: Duration,
    ) -> Result<Option<DiscoPong>, String> {
        let started = self.engine.borrow_mut().start_path_ping(id, size, self.clock.mono());
        let token = started.map_err(|error| error.to_string())?;
        let (sender, answer) = oneshot::channel();
        self.path_pings.borrow_mut().insert(token, sender);
        let waiting = WaitingForPath { plane: self, id, token };
        self.pump();
        let outcome = tokio::time::timeout(timeout, answer).await;
        drop(waiting);
        Ok(outcome.ok().and_then(Result::ok))
    }

    /// Sends a ping and waits for its answer; `None` if there was none in time.
    ///
    /// # Errors
    /// Why it could not be sent.
    pub async fn ping(
        &self,
        kind: PingKind,
        dst: IpAddr,
        timeout: Duration,
    ) -> Result<Option<Duration>, String> {
        let payload: &[u8] = if kind == PingKind::Icmp { &[0x55; 56] } else { &[] };
        let outcome = self.ping_with(kind, dst, payload, timeout).await?;
        Ok(match outcome {
            Some(PingOutcome::Answered(answer)) => Some(answer.rtt),
            _ => None,
        })
    }

    /// As [`Self::ping`], with a payload of the caller's; the answer has it as it came back.
    ///
    /// # Errors
    /// Why it could not be sent.
    pub async fn ping_with(
        &self,
        kind: PingKind,
        dst: IpAddr,
        payload: &[u8],
        timeout: Duration,
    ) -> Result<Option<PingOutcome>, String> {
        let request = PingRequest { kind, dst, payload, timeout };
        let started = self.engine.borrow_mut().start_ping(&request, self.clock.mono());
        let id = started.map_err(|error| error.to_string())?;
        let (sender, answer) = oneshot::channel();
        self.pings.borrow_mut().insert(id, sender);
        let waiting = Waiting { plane: self, id };
        self.pump();
        let outcome = answer.await.ok();
        drop(waiting);
        Ok(outcome)
    }
}

/// Forgets a ping by path discovery when nobody waits for it any more.
struct WaitingForPath<'a> {
    plane: &'a Dataplane,
    id: NodeId,
    token: u32,
}

impl Drop for WaitingForPath<'_> {
    fn drop(&mut self) {
        self.plane.path_pings.borrow_mut().remove(&self.token);
        self.plane.engine.borrow_mut().cancel_path_ping(self.id, self.token);
    }
}

/// Forgets a ping when nobody waits for it any more.
struct Waiting<'a> {
    plane: &'a Dataplane,
    id: PingId,
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.plane.pings.borrow_mut().remove(&self.id);
        self.plane.engine.borrow_mut().cancel_ping(self.id);
    }
}
