//! The run loop: what happens is given to the backend, what it decides is carried out.
//!
//! Owns: start and end of the daemon, timers, signals.
//! Leaves out: what is made at the start (`start`), carrying out (`effects`), changes of the network (`surroundings`),
//! deciding (`backend`), packets (`dataplane`), answering the LocalAPI (`api`).

mod control;
mod effects;
mod kernel;
mod mending;
mod start;
mod surroundings;

use crate::api::Api;
use crate::backend::{Backend, HostFacts, Input, Moment};
use crate::clock::Clock;
use crate::config;
use crate::dataplane::{Dataplane, News};
use crate::flags::Flags;
use crate::network::{self, Monitor};
use crate::parts::cachenetmap::Cache;
use crate::parts::dns::Dns;
use crate::parts::osrouter::{Interface, Packets};
use crate::parts::peerapiserver::PeerApi;
use crate::parts::portmapper::PortMapper;
use crate::parts::{ipnbus, unixsocketidentity};
use crate::state::Store;
use anyhow::{Context as _, Result};
use control::ControlTask;
use localapi::types::State;
use mending::Mending;
use start::open_store;
use std::cell::{OnceCell, RefCell};
use std::rc::Rc;
use std::sync::Arc;
use surroundings::changed;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::mpsc;
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
    cache: Cache,
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
    /// How long the machine had slept.
    asleep: Option<u64>,
    force_noise_443: bool,
    told: Option<Told>,
}

/// What a container's process 1 decides by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Word {
    /// The node has entered this state.
    State(State),
    /// Somebody has asked for a login by LocalAPI.
    LoginAsked,
    /// Control has named a URL to log in at.
    LoginWanted,
    /// The node is registered.
    LoginDone,
}

/// Is told all of these.
pub type Told = Box<dyn Fn(Word)>;

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

impl Node {
    async fn live(mut self, inbox: &mut mpsc::Receiver<Input>, ends: &mut Ends) -> Result<()> {
        // Control is told with the first message.
        self.shared.plane.refresh_endpoints();
        while let Some(News::Endpoints(all)) = self.shared.plane.next_news() {
            self.take(Input::Endpoints(all)).await;
        }
        self.take(Input::Interfaces(self.network.networks())).await;
        self.cache.recall(&self.shared);
        self.take(Input::Start).await;
        self.cache.greet(&self.shared);
        let ended = 'life: loop {
            while let Some(news) = self.shared.plane.next_news() {
                match news {
                    News::LivePeers(live) => self.take(Input::LivePeers(live)).await,
                    News::Relay(event) => self.take(Input::Relay(event)).await,
                    News::Looked(report) => {
                        if let Some(port_mapper) = &mut self.port_mapper {
                            port_mapper.look(report.global_v4);
                        }
                        self.take(Input::Looked(report)).await;
                    }
                    News::Endpoints(all) => self.take(Input::Endpoints(all)).await,
                    // Whoever looks after this process starts it anew, and with it the interface.
                    News::TunGone => {
                        let text = "somebody has removed the TUN interface; start the daemon anew";
                        break 'life Err(anyhow::anyhow!(text));
                    }
                }
            }
            if self.shared.clock.slept(&mut self.asleep) {
                log::info!("this machine was asleep");
                self.network_changed();
            }
            if self.mending.is_time(self.shared.now().mono) {
                self.mend().await;
            }
            self.cache.look(&self.shared);
            let due = self.next_timeout();
            tokio::select! {
                event = ControlTask::next(&mut self.control) => self.control_event(event).await,
                Some(input) = inbox.recv() => self.take(input).await,
                () = self.shared.plane.changed.notified() => {}
                () = sleep_until(due) => self.timeout().await,
                heard = changed(&mut self.monitor) => self.kernel_told(heard).await,
                () = ends.come() => break Ok(()),
            }
        };
        log::info!("stopping");
        self.cache.close(&self.shared);
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
        ended
    }

    fn next_timeout(&self) -> Option<Instant> {
        let backend = self.shared.backend.borrow_mut().poll_timeout(self.shared.now());
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
        let due = self.shared.backend.borrow_mut().poll_timeout(now).is_some_and(|at| at <= now.mono);
        if due {
            self.take(Input::Timeout).await;
        }
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

async fn sleep_until(due: Option<Instant>) {
    match due {
        Some(due) => tokio::time::sleep_until(due).await,
        None => std::future::pending().await,
    }
}
