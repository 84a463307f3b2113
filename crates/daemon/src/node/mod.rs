//! The run loop: what happens is given to the backend, what it decides is carried out.
//!
//! Owns: start and end of the daemon, the order of effects, timers, signals.
//! Leaves out: deciding (`backend`), packets (`dataplane`), answering the LocalAPI (`api`).

mod control;
mod kernel;
mod mending;

use crate::api::Api;
use crate::backend::HostFacts;
use crate::backend::{Backend, Command, Effect, Input, Moment, Reply, Setup};
use crate::clock::Clock;
use crate::config;
use crate::dataplane::{self, Dataplane, News, Ways};
use crate::flags::{Flags, StatePlace};
use crate::network::{self, Heard, Monitor};
use crate::parts::dns::{self, Dns};
use crate::parts::osrouter::{Interface, Packets};
use crate::parts::peerapiserver::PeerApi;
use crate::parts::portmapper::PortMapper;
use crate::parts::{ipnbus, netstack, unixsocketidentity};
use crate::state::{DirLock, Store, StoreError};
use anyhow::{Context as _, Result};
use control::ControlTask;
use keys::DiscoPrivate;
use localapi::types::{Notify, State, mask};
use mending::Mending;
use rand_core::RngCore as _;
use std::cell::{OnceCell, RefCell};
use std::path::Path;
use std::rc::Rc;
use std::sync::Arc;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;

/// Commands of the LocalAPI that may wait for the run loop.
const INPUTS: usize = 64;

/// How long an ephemeral node may take to say goodbye.
const GOODBYE: std::time::Duration = std::time::Duration::from_secs(5);

/// The same when control was not to be reached before.
const GOODBYE_IN_VAIN: std::time::Duration = std::time::Duration::from_millis(700);

/// What the run loop shares with the LocalAPI, all on one thread. The LocalAPI only reads it; what it wants
/// changed goes through `inputs`.
pub struct Shared {
    /// The state machine.
    pub backend: RefCell<Backend>,
    /// The engine and its surroundings.
    pub plane: Rc<Dataplane>,
    /// Who watches.
    pub bus: RefCell<ipnbus::Bus>,
    /// Answers names.
    pub dns: Dns,
    /// Both clocks.
    pub clock: Arc<Clock>,
    /// The way into the run loop.
    pub inputs: mpsc::Sender<Input>,
    /// The configuration file, if one is in force.
    pub config: OnceCell<config::Place>,
}

impl Shared {
    /// Now.
    pub fn now(&self) -> Moment {
        Moment { mono: self.clock.mono(), wall: self.clock.timestamp() }
    }
}

/// The run loop's own things.
struct Node {
    shared: Rc<Shared>,
    store: Store,
    dialer: Rc<dyn dial::Dial>,
    control: Option<ControlTask>,
    interface: Option<Interface>,
    peerapi: PeerApi,
    /// What could not be set there.
    problems: Vec<String>,
    /// What keeps this machine from forwarding packets.
    not_forwarding: Option<String>,
    /// None at the end.
    port_mapper: Option<PortMapper>,
    monitor: Option<Monitor>,
    mending: Mending,
    /// The network as it was last looked at.
    network: network::State,
    /// How the clocks stood to each other.
    clocks: Option<u64>,
    force_noise_443: bool,
    told: Option<Told>,
}

/// Is told every state that the node enters.
pub type Told = Box<dyn Fn(State)>;

/// Signals that end the daemon.
struct Ends {
    terminate: Signal,
    interrupt: Signal,
}

impl Ends {
    fn new() -> Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate()).context("listen to SIGTERM")?,
            interrupt: signal(SignalKind::interrupt()).context("listen to SIGINT")?,
        })
    }

    async fn come(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}

/// Runs the daemon until a signal ends it.
///
/// # Errors
/// What kept it from starting; one sentence that says what to do.
pub async fn run(
    flags: Flags,
    clock: Arc<Clock>,
    host: HostFacts,
    interface: Option<(Interface, Packets)>,
    told: Option<Told>,
) -> Result<()> {
    // Begins as Go's first line does: whoever reads logs looks for it to see a restart.
    log::info!(
        "Program starting: smalltail {}; features: {}",
        crate::version::LONG,
        crate::parts::built().join(" ")
    );
    let mut ends = Ends::new()?;
    let listener = localapi::server::listen(&flags.socket, unixsocketidentity::SOCKET_MODE).await?;
    let ended = run_behind(listener, &flags, clock, host, (interface, told), &mut ends).await;
    let _ = std::fs::remove_file(&flags.socket);
    ended
}

/// The daemon behind its socket.
async fn run_behind(
    listener: tokio::net::UnixListener,
    flags: &Flags,
    clock: Arc<Clock>,
    host: HostFacts,
    (interface, told): (Option<(Interface, Packets)>, Option<Told>),
    ends: &mut Ends,
) -> Result<()> {
    let config =
        flags.config.as_ref().map(config::Place::read).transpose().map_err(anyhow::Error::msg)?.flatten();
    let (store, problem, _lock) = open_store(flags)?;
    let (inputs, mut inbox) = mpsc::channel(INPUTS);
    let mut node = Node::new(flags, clock, host, interface, store, problem, inputs)?;
    node.told = told;
    if let (Some(config), Some(place)) = (config, &flags.config) {
        node.configure(config, place.clone()).await?;
    }
    let shared = node.shared.clone();
    let handler = Rc::new(Api::new(shared.clone()));
    let limits = localapi::server::Limits::new(u32::from(::control::CAPABILITY_VERSION));
    let serving = dial::spawn(localapi::server::serve(listener, handler, limits));
    let listening = dial::spawn(shared.plane.clone().listen());
    let looking = dial::spawn(shared.plane.clone().look_around());
    let hearing = shared.plane.hears_raw_disco().then(|| dial::spawn(shared.plane.clone().hear_raw_disco()));
    let ended = node.live(&mut inbox, ends).await;
    serving.abort();
    listening.abort();
    looking.abort();
    if let Some(hearing) = hearing {
        hearing.abort();
    }
    // However it ended; once more does nothing.
    shared.dns.close();
    ended
}

/// The store; if it cannot be used, one in memory and the reason, so that the daemon can say so.
fn open_store(flags: &Flags) -> Result<(Store, Option<String>, Option<DirLock>)> {
    let StatePlace::File(path) = &flags.state else { return Ok((Store::memory(), None, None)) };
    let dir = path.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or_else(|| Path::new("."));
    let opened = Store::open_locked(path, dir);
    match opened {
        Ok((store, lock)) => {
            if let Some(warning) = store.warning() {
                log::warn!("{warning}");
            }
            Ok((store, None, lock))
        }
        Err(error @ StoreError::Locked { .. }) => Err(error.into()),
        Err(error) => Ok((Store::memory(), Some(error.to_string()), None)),
    }
}

impl Node {
    fn new(
        flags: &Flags,
        clock: Arc<Clock>,
        host: HostFacts,
        interface: Option<(Interface, Packets)>,
        store: Store,
        store_problem: Option<String>,
        inputs: mpsc::Sender<Input>,
    ) -> Result<Self> {
        let options = dial::Options { extra_ca_file: flags.ca_files.clone(), wall: clock.clone() };
        let dialer: Rc<dyn dial::Dial> = Rc::new(dial::Dialer::new(options)?);
        let mut seed = [0; 32];
        rand_core::OsRng
            .try_fill_bytes(&mut seed)
            .map_err(|error| anyhow::anyhow!("no randomness from the system: {error}"))?;
        let relays = derp::Options { use_http: crate::flags::switched_on("TS_DEBUG_USE_DERP_HTTP") };
        let (interface, packets) = interface.unzip();
        let threads = std::env::var("TS_PACKET_THREADS").ok();
        let disco = DiscoPrivate::generate(&mut rand_core::OsRng);
        let pretended = std::env::var("TS_DEBUG_PRETENDPOINT").unwrap_or_default();
        let ways = Ways {
            packets,
            port: flags.port,
            two_threads: dataplane::two_threads(threads.as_deref()),
            disco: disco.clone(),
            relay_only: crate::flags::switched_on("TS_DEBUG_NEVER_DIRECT_UDP"),
            pretended: pretended.split(',').filter_map(|at| at.trim().parse().ok()).collect(),
        };
        let plane = Dataplane::start(dialer.clone(), relays, clock.clone(), seed, ways)
            .context("start the packet threads")?;
        let setup = Setup {
            disco: disco.public(),
            host,
            ephemeral: flags.state == StatePlace::Memory,
            tun: interface.is_some(),
            store_problem,
            rng: Box::new(rand_core::OsRng),
        };
        let (backend, problems) = Backend::new(setup, &store);
        for problem in problems {
            log::error!("{problem}");
        }
        let dns = Dns::start(dns::Setup {
            clock: clock.clone(),
            inputs: inputs.clone(),
            interface: interface.is_some(),
            quad100: interface.is_some() && netstack::FEATURE.is_some(),
            listen: flags.dns_listen.clone(),
        });
        let asked = dns.clone();
        plane.set_ask(Rc::new(move |query, stream, reply| {
            asked.ask(query, stream, dns::Asker::Machine, reply);
        }));
        let shared = Rc::new(Shared {
            dns,
            backend: RefCell::new(backend),
            plane,
            bus: RefCell::default(),
            clock,
            inputs,
            config: OnceCell::new(),
        });
        let force_noise_443 = crate::flags::switched_on("TS_FORCE_NOISE_443");
        let inputs = shared.inputs.clone();
        let port_mapper = PortMapper::start(dialer.clone(), move |mapping| {
            let inputs = inputs.clone();
            dial::spawn(async move { drop(inputs.send(Input::PortMapping(mapping)).await) });
        });
        let own = interface.as_ref().map(Interface::name);
        let network = network::State::read(own);
        let monitor = Monitor::open(own.zip(interface.as_ref().map(Interface::port)));
        let monitor = monitor
            .inspect_err(|error| log::warn!("changes of the network are noticed late: no netlink ({error})"));
        Ok(Self {
            shared,
            store,
            dialer,
            control: None,
            interface,
            peerapi: PeerApi::default(),
            problems: Vec::new(),
            not_forwarding: None,
            port_mapper: Some(port_mapper),
            monitor: monitor.ok(),
            mending: Mending::default(),
            network,
            clocks: None,
            force_noise_443,
            told: None,
        })
    }

    /// Puts in force what the configuration file says, before anything starts.
    async fn configure(&mut self, config: config::Config, place: config::Place) -> Result<()> {
        let _ = self.shared.config.set(place);
        let (sender, mut answer) = oneshot::channel();
        let reply = Reply::new(move |result| drop(sender.send(result)));
        self.take(Input::Command(Command::SetConfig(Box::new(config), reply))).await;
        answer.try_recv()?.map_err(|error: String| {
            anyhow::anyhow!("the configuration file asks for what cannot be: {error}")
        })
    }

    async fn live(mut self, inbox: &mut mpsc::Receiver<Input>, ends: &mut Ends) -> Result<()> {
        // Control is told with the first message.
        self.shared.plane.refresh_endpoints();
        while let Some(News::Endpoints(all)) = self.shared.plane.next_news() {
            self.take(Input::Endpoints(all)).await;
        }
        self.take(Input::Interfaces(self.network.networks())).await;
        self.take(Input::Start).await;
        loop {
            while let Some(news) = self.shared.plane.next_news() {
                match news {
                    News::LivePeers(live) => self.take(Input::LivePeers(live)).await,
                    News::Relay(event) => self.take(Input::Relay(event)).await,
                    News::Looked(report) => {
                        if let Some(port_mapper) = &mut self.port_mapper {
                            port_mapper.look();
                        }
                        self.take(Input::Looked(report)).await;
                    }
                    News::Endpoints(all) => self.take(Input::Endpoints(all)).await,
                    // Whoever looks after this process starts it anew, and with it the interface.
                    News::TunGone => {
                        anyhow::bail!("somebody has removed the TUN interface; start the daemon anew")
                    }
                }
            }
            if self.shared.clock.jumped(&mut self.clocks) {
                log::info!("the clock has jumped: this machine was asleep, or somebody has set it");
                self.network_changed();
            }
            if self.mending.is_time(self.shared.now().mono) {
                self.mend().await;
            }
            let due = self.next_timeout();
            tokio::select! {
                event = ControlTask::next(&mut self.control) => self.control_event(event).await,
                Some(input) = inbox.recv() => self.take(input).await,
                () = self.shared.plane.changed.notified() => {}
                () = sleep_until(due) => self.timeout().await,
                heard = changed(&mut self.monitor) => self.kernel_told(heard).await,
                () = ends.come() => break,
            }
        }
        log::info!("stopping");
        // First, so that programs see at once that there is no way any more, and whom to ask instead.
        self.shared.dns.close();
        if let Some(interface) = self.interface.take() {
            interface.close();
        }
        let port_mapper = self.port_mapper.take();
        let giving_back = async {
            if let Some(port_mapper) = port_mapper {
                port_mapper.close().await;
            }
        };
        tokio::join!(self.goodbye(), giving_back);
        Ok(())
    }

    /// The kernel has told of a change, or tells of none any more.
    async fn kernel_told(&mut self, heard: std::io::Result<Heard>) {
        match heard {
            Ok(heard) => {
                // Where one thing was changed another may have been: a firewall is loaded anew when a link comes up.
                self.mending.hear();
                if !heard.network {
                    return;
                }
            }
            Err(error) => {
                log::warn!("changes of the network are noticed late from now on: {error}");
                self.monitor = None;
                return;
            }
        }
        let network = network::State::read(self.interface.as_ref().map(Interface::name));
        if network != self.network {
            log::info!("the network has changed");
            let lost = network.has_lost_of(&self.network);
            self.network = network;
            // Connections would be asked first whether they are alive, and those that are not yet wait before they try again.
            if lost || self.shared.plane.connected_relays() == 0 {
                self.shared.plane.close_relays();
                self.shared.plane.relays(&self.shared.backend.borrow().relay_config());
            }
            self.network_changed();
            self.take(Input::Interfaces(self.network.networks())).await;
        }
    }

    fn network_changed(&mut self) {
        self.shared.plane.network_changed();
        let active = !self.shared.backend.borrow().relay_config().paused;
        if let Some(control) = &mut self.control {
            // A connection from an address that is gone would be noticed only when something has waited in vain for it.
            for command in [true, false].into_iter().filter(|_| active).map(::control::Command::Pause) {
                control.send(command);
            }
            control.send(::control::Command::Wake);
        }
        if let Some(port_mapper) = &mut self.port_mapper {
            port_mapper.network_changed();
        }
    }

    fn next_timeout(&self) -> Option<Instant> {
        let backend = self.shared.backend.borrow().poll_timeout(self.shared.now());
        // Nobody removes what is not there.
        let mending = self.mending.due().filter(|_| self.interface.is_some());
        let at = [self.shared.plane.poll_timeout(), backend, mending];
        at.into_iter().flatten().min().map(|at| self.shared.clock.instant(at).into())
    }

    async fn timeout(&mut self) {
        let now = self.shared.now();
        if self.shared.plane.poll_timeout().is_some_and(|at| at <= now.mono) {
            self.shared.plane.handle_timeout();
        }
        let due = self.shared.backend.borrow().poll_timeout(now).is_some_and(|at| at <= now.mono);
        if due {
            self.take(Input::Timeout).await;
        }
    }

    /// Gives the backend one input and carries out everything that follows.
    async fn take(&mut self, input: Input) {
        if let Input::Command(Command::SetConfig(config, _)) = &input {
            self.shared.plane.set_static_endpoints(&config.static_endpoints);
        }
        let now = self.shared.now();
        let watched = self.shared.bus.borrow().wants(mask::PEER_CHANGES | mask::PEER_PATCHES);
        {
            let mut backend = self.shared.backend.borrow_mut();
            backend.set_peers_watched(watched);
            backend.handle(input, &self.store, now);
        }
        loop {
            let effect = self.shared.backend.borrow_mut().poll_effect();
            let Some(effect) = effect else { return };
            self.carry_out(effect).await;
        }
    }

    async fn carry_out(&mut self, effect: Effect) {
        let shared = self.shared.clone();
        match effect {
            Effect::Save(changes) => {
                self.store.set_time(shared.clock.system_time());
                let result = self.store.write(changes).map_err(|error| error.to_string());
                shared.backend.borrow_mut().handle(Input::Saved(result), &self.store, shared.now());
            }
            Effect::StartControl(start) => {
                self.control = Some(ControlTask::start(*start, self.dialer.clone(), self.force_noise_443));
            }
            Effect::Control(command) => {
                if let Some(control) = &mut self.control {
                    control.send(command);
                }
            }
            Effect::StopControl => self.control = None,
            Effect::ExpireSooner(at, reply) => self.expire_sooner(at, reply),
            Effect::Logout => self.log_out(),
            Effect::ControlTime(at) => {
                if let Some(off) = shared.clock.set_control_time(at) {
                    log::info!("the clock of this machine is off by {off} s; using control's time");
                }
            }
            Effect::Configure => {
                let config = shared.backend.borrow().self_config();
                shared.plane.configure(config);
            }
            Effect::Router => self.set_up_kernel(),
            Effect::Dns => shared.dns.apply(&shared.backend.borrow(), shared.now()),
            Effect::SyncPeers(peers) => self.sync_peers(peers).await,
            Effect::Relays => {
                {
                    let backend = shared.backend.borrow();
                    let config = backend.relay_config();
                    shared.plane.relays(&config);
                    if let Some(port_mapper) = &mut self.port_mapper {
                        let port = if config.paused || !config.udp { 0 } else { shared.plane.port() };
                        port_mapper.want(port, config.upnp);
                    }
                }
                let input = Input::Udp4(shared.plane.has_udp4());
                shared.backend.borrow_mut().handle(input, &self.store, shared.now());
            }
            Effect::Look => shared.plane.look(),
            Effect::PortMapping(at) => shared.plane.set_port_mapping(at.map(std::net::SocketAddr::V4)),
            Effect::Notify(notify) => {
                if let (Some(told), Some(state)) = (&self.told, notify.state) {
                    told(state);
                }
                publish(&shared, *notify);
            }
        }
    }

    fn log_out(&mut self) {
        let waiting = self.control.as_mut().map(ControlTask::log_out);
        let inputs = self.shared.inputs.clone();
        dial::spawn(async move {
            let result = match waiting {
                Some(answer) => match answer.await {
                    Ok(result) => result.map_err(|error| error.to_string()),
                    Err(_) => Err("the control client has ended".to_owned()),
                },
                None => Ok(()),
            };
            let _ = inputs.send(Input::LoggedOut(result)).await;
        });
    }

    /// An ephemeral node tells control that it will not come back.
    async fn goodbye(&mut self) {
        let ephemeral =
            matches!(self.store, Store::Memory(_)) && self.shared.backend.borrow().have_node_key();
        if ephemeral && let Some(control) = &mut self.control {
            let answer = control.log_out();
            let listens = self.shared.backend.borrow().in_map_poll();
            let _ = tokio::time::timeout(if listens { GOODBYE } else { GOODBYE_IN_VAIN }, answer).await;
        }
    }
}

/// Resolves when the network has changed; never, where nobody tells.
async fn changed(monitor: &mut Option<Monitor>) -> std::io::Result<Heard> {
    match monitor {
        Some(monitor) => monitor.changed().await,
        None => std::future::pending().await,
    }
}

async fn sleep_until(due: Option<Instant>) {
    match due {
        Some(due) => tokio::time::sleep_until(due).await,
        None => std::future::pending().await,
    }
}

/// Tells everybody who watches.
fn publish(shared: &Shared, mut notify: Notify) {
    if !shared.bus.borrow().is_watched() {
        return;
    }
    notify.version = crate::version::LONG.to_owned();
    let backend = shared.backend.borrow();
    shared.bus.borrow_mut().publish(&notify, &|notify| {
        let mut whole = notify.clone();
        let ids = whole.peer_changed_patch.drain(..).map(|patch| netmap::NodeId(patch.node_id));
        let nodes: netmap::Set<_> = ids.collect();
        whole.peers_changed.extend(nodes.into_iter().filter_map(|id| backend.whole_node(id)));
        whole
    });
}
