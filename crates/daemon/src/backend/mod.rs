//! The node's state machine: what control says and what the user wants become one consistent set of decisions.
//!
//! Owns: profiles and settings, the network map, Go's seven states, health. Pure: it is given [`Input`]s with the
//! moment they happened and hands out [`Effect`]s; it has no socket, file, clock or thread. The configuration of
//! engine and relays is not queued but asked for whole when an effect says that it has changed.
//! Leaves out: carrying effects out (`node`), JSON on the wire (`localapi`), packets (`engine`).

mod configured;
pub mod convert;
mod edit;
mod effect;
mod health;
mod input;
mod login;
mod logout;
mod machine;
mod map;
mod profiles;
mod report;
mod routing;
mod settings;
mod status;
#[cfg(test)]
mod tests;
mod waiting;
mod whois;

pub use effect::{
    ControlStart, Effect, Firewall, PeerSet, RelayConfig, RouterConfig, TAILNET, default_routes, is_tailnets,
};
pub use input::{Command, Input, Reply};
pub use machine::State;
pub use profiles::{Changes, Profiles, control_url};
pub use report::HostFacts;
pub use status::PeerView;

use crate::config::Config;
use crate::parts::cachenetmap;
use crate::parts::health::{Tracker, Unhealthy, Warnable};
use crate::state::Store;
use engine::time::Mono;
use keys::{DiscoPublic, MachinePrivate, NodePrivate};
use localapi::types::{Empty, Notify, OptBool, Prefs, Time};
use login::Login;
use netmap::{NetMap, RegionId, Set, Timestamp};
use rand_core::CryptoRngCore;
use std::collections::VecDeque;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

/// When something happens, on both clocks.
#[derive(Debug, Clone, Copy)]
pub struct Moment {
    /// For timers.
    pub mono: Mono,
    /// For key expiry and what people read.
    pub wall: Timestamp,
}

/// What the backend is made of, besides the store.
pub struct Setup {
    /// Disco key of this run.
    pub disco: DiscoPublic,
    /// What we tell control about this host.
    pub host: HostFacts,
    /// The state lives in memory: control is asked to forget the node when it goes offline.
    pub ephemeral: bool,
    /// There is a kernel interface.
    pub tun: bool,
    /// Why the state store cannot be used, if so: the node stays in NoState.
    pub store_problem: Option<String>,
    /// Makes machine keys and ids.
    pub rng: Box<dyn CryptoRngCore>,
}

/// How long after start only "is starting" is shown.
const WARMING_UP: Duration = Duration::from_secs(5);

/// The state machine.
pub struct Backend {
    disco: DiscoPublic,
    host: HostFacts,
    ephemeral: bool,
    tun: bool,
    store_problem: Option<String>,
    rng: Box<dyn CryptoRngCore>,
    profiles: Profiles,
    machine_key: Option<MachinePrivate>,
    state: State,
    login: Login,
    /// Auth key of the last `start` and until when a login may use it.
    auth_key: Option<(String, Mono)>,
    auth_url: Option<String>,
    /// What the configuration file says, if there is one.
    config: Option<Config>,
    /// A login is needed before the node may run.
    blocked: bool,
    /// Control refused our key as expired, whatever the map says.
    key_refused: bool,
    netmap: NetMap,
    have_netmap: bool,
    /// Whether it is that of the last run.
    cached: cachenetmap::Mark,
    in_map_poll: bool,
    heard: health::Heard,
    control_running: bool,
    paused: bool,
    /// Changes of the map message being received, and of one before it that never ended.
    changes: netmap::Changes,
    home: RegionId,
    endpoints: Vec<control::Endpoint>,
    looked: report::Looked,
    /// Id of the exit node that the bus was told of as the best one; empty = none.
    suggested: String,
    /// Addresses of the other interfaces of this machine.
    interfaces: Vec<netmap::IpNet>,
    /// No interface is up.
    network_down: bool,
    /// There is no UDP socket of IPv4.
    no_udp4: bool,
    /// What keeps this machine from forwarding packets.
    not_forwarding: Option<String>,
    /// Routes or packet filter could not be set.
    router_failed: bool,
    /// Where our PeerAPI listens.
    peerapi: Vec<SocketAddr>,
    live_peers: usize,
    /// Regions that we are connected to. A set, because a connection that could not be made ends too.
    connected_relays: Set<RegionId>,
    /// Why the connection to the home region was lost or could not be made, the last time; empty if that is not known.
    home_error: String,
    health: Tracker,
    shown_health: Vec<Unhealthy>,
    /// The soonest that a peer's key may run out; zero = never.
    next_expiry: Timestamp,
    /// When control's messages last changed.
    messages_since: Timestamp,
    warm_at: Option<Mono>,
    /// What [`Self::poll_timeout`] has said, until that moment has been handled.
    due: Option<Mono>,
    waiting: waiting::Waiting,
    engine_active: bool,
    /// Somebody at the bus wants to hear of peers.
    peers_watched: bool,
    effects: VecDeque<Effect>,
    /// [`Effect::Router`] is due after all others.
    router_stale: bool,
    /// [`Effect::Dns`] is due after that.
    dns_stale: bool,
    /// In the order in which control is asked for them.
    logouts: VecDeque<logout::Logout>,
}

impl Backend {
    /// A backend over what `store` holds, not started yet. The second value are problems worth a log line.
    pub fn new(setup: Setup, store: &Store) -> (Self, Vec<String>) {
        let (profiles, mut problems) = Profiles::load(store);
        let mut store_problem = setup.store_problem;
        let machine_key = profiles::machine_key(store).unwrap_or_else(|problem| {
            store_problem.get_or_insert_with(|| problem.clone());
            None
        });
        // Going on with a damaged profile would make a new node of this one.
        if store_problem.is_none() {
            store_problem = problems.first().cloned();
        }
        problems.extend(store_problem.clone());
        problems.dedup();
        let backend = Self {
            disco: setup.disco,
            host: setup.host,
            ephemeral: setup.ephemeral,
            tun: setup.tun,
            store_problem,
            rng: setup.rng,
            profiles,
            machine_key,
            state: State::NoState,
            login: Login::None,
            auth_key: None,
            auth_url: None,
            config: None,
            blocked: false,
            key_refused: false,
            netmap: NetMap::default(),
            have_netmap: false,
            cached: cachenetmap::Mark::default(),
            in_map_poll: false,
            heard: health::Heard::default(),
            control_running: false,
            paused: false,
            changes: netmap::Changes::default(),
            home: RegionId::NONE,
            endpoints: Vec::new(),
            looked: report::Looked::default(),
            suggested: String::new(),
            interfaces: Vec::new(),
            network_down: false,
            no_udp4: false,
            not_forwarding: None,
            router_failed: false,
            peerapi: Vec::new(),
            live_peers: 0,
            connected_relays: Set::new(),
            home_error: String::new(),
            health: Tracker::default(),
            shown_health: Vec::new(),
            messages_since: Timestamp::ZERO,
            next_expiry: Timestamp::ZERO,
            warm_at: None,
            due: None,
            waiting: waiting::Waiting::default(),
            engine_active: false,
            peers_watched: false,
            effects: VecDeque::new(),
            router_stale: false,
            dns_stale: false,
            logouts: VecDeque::new(),
        };
        (backend, problems)
    }

    /// Takes one thing that happened. `store` is only read.
    pub fn handle(&mut self, input: Input, store: &Store, now: Moment) {
        match input {
            Input::Start => self.start(None, now),
            Input::Control(event) => self.handle_control(event, now),
            Input::Command(command) => self.handle_command(command, store, now),
            Input::LoggedOut(result) => self.logged_out(result, now),
            Input::LivePeers(live) => {
                self.live_peers = live;
                self.settle(now);
            }
            Input::Relay(event) => self.handle_relay(event, now),
            Input::Endpoints(all) => {
                self.endpoints = all;
                self.report();
            }
            Input::Looked(report) => self.looked(&report, now),
            Input::PortMapping(mapping) => self.port_mapping_changed(mapping),
            Input::Interfaces(addresses) => {
                self.interfaces_changed(addresses);
                self.judge_health(now);
            }
            Input::Udp4(there) => {
                self.no_udp4 = !there;
                self.judge_health(now);
            }
            Input::Forwarding(problem) => {
                self.not_forwarding = problem;
                self.report();
                self.judge_health(now);
            }
            Input::Dns(finding) => self.dns_found(finding, now),
            Input::PeerApi(at) => self.peerapi_listens(at),
            Input::Router { problems, firewall } => {
                if problems.is_empty() {
                    self.health.clear(Warnable::Router);
                } else {
                    self.health.set(Warnable::Router, problems.join("; "), now.mono, now.wall);
                }
                if std::mem::replace(&mut self.router_failed, !problems.is_empty()) == problems.is_empty() {
                    self.report();
                }
                self.firewall_chosen(firewall);
            }
            Input::Saved(result) => self.saved(result, now),
            Input::Timeout => self.handle_timeout(now),
        }
        self.show_health(now);
        // What lies ahead now is not lost if the effects take longer than that.
        self.poll_timeout(now);
    }

    /// The next thing to do.
    pub fn poll_effect(&mut self) -> Option<Effect> {
        // The system last: when a program sees our address, its packets have where to go.
        let due = |stale: &mut bool, effect| std::mem::take(stale).then_some(effect);
        let first = self.effects.pop_front().or_else(|| due(&mut self.router_stale, Effect::Router));
        first.or_else(|| due(&mut self.dns_stale, Effect::Dns))
    }

    /// When [`Input::Timeout`] is due. A moment that has come stays due until that is given, however late.
    pub fn poll_timeout(&mut self, now: Moment) -> Option<Mono> {
        if self.due.is_none_or(|due| due > now.mono) {
            self.due = self.next_moment(now);
        }
        self.due
    }

    fn next_moment(&self, now: Moment) -> Option<Mono> {
        if self.next_expiry.has_come(now.wall) || machine::next(self.state, &self.facts(now)) != self.state {
            // The wall clock has leapt.
            return Some(now.mono);
        }
        let expiry = self.netmap().and_then(|map| until(map.self_node.key_expiry, now));
        let peers = until(self.next_expiry, now);
        let silent = self.silent_at().filter(|at| *at > now.mono);
        let shown = self.health.next_visible(now.mono);
        let times = [self.warm_at, shown, self.waiting.next(), expiry, peers, silent];
        times.into_iter().flatten().min()
    }

    fn handle_timeout(&mut self, now: Moment) {
        self.due = None;
        if self.warm_at.is_some_and(|at| at <= now.mono) {
            self.warm_at = None;
            self.health.clear(Warnable::WarmingUp);
        }
        if self.next_expiry.has_come(now.wall) {
            self.peers_expire(now);
        }
        self.waited(now);
        self.settle(now);
    }

    /// Whether there is a kernel interface.
    pub const fn has_interface(&self) -> bool {
        self.tun
    }

    /// The map in force.
    pub fn netmap(&self) -> Option<&NetMap> {
        self.have_netmap.then_some(&self.netmap)
    }

    /// What there is to know of the map of the last run.
    pub const fn cache_mark(&mut self) -> &mut cachenetmap::Mark {
        &mut self.cached
    }

    /// The settings in force.
    pub const fn prefs(&self) -> &Prefs {
        self.profiles.prefs()
    }

    /// The profile in use and all others.
    pub const fn profiles(&self) -> &Profiles {
        &self.profiles
    }

    /// The user must visit this URL.
    pub fn auth_url(&self) -> Option<&str> {
        self.auth_url.as_deref()
    }

    /// Our node key; zero before the first login.
    pub fn node_key(&self) -> NodePrivate {
        self.profiles.persist().map(|p| p.private_node_key.clone()).unwrap_or_default()
    }

    /// Whether the profile has a node key.
    pub fn have_node_key(&self) -> bool {
        self.profiles.persist().is_some_and(|p| !p.private_node_key.is_zero())
    }

    /// Id of the exit node that suited best the last time that was asked; empty = none.
    pub fn suggested(&self) -> &str {
        &self.suggested
    }

    /// Our home DERP region.
    pub const fn home(&self) -> RegionId {
        self.home
    }

    /// Packets may pass.
    pub const fn is_active(&self) -> bool {
        self.engine_active
    }

    /// Control is to stream a map to us: packets may pass, and the settings do not say that nothing is taken.
    pub const fn follows_control(&self) -> bool {
        self.engine_active && !self.paused
    }

    /// Control streams a map to us.
    pub const fn in_map_poll(&self) -> bool {
        self.in_map_poll
    }

    /// Where our PeerAPI listens has changed: the engine, its filter and control are told.
    fn peerapi_listens(&mut self, at: Vec<SocketAddr>) {
        if self.peerapi != at {
            self.peerapi = at;
            self.effects.push_back(Effect::Configure);
            self.report();
        }
    }

    /// The port of our PeerAPI at an address of ours; 0 = none.
    fn peerapi_port(&self, ip: IpAddr) -> u16 {
        self.peerapi.iter().find(|at| at.ip() == ip).map_or(0, SocketAddr::port)
    }

    /// The name this node goes by.
    pub fn hostname(&self) -> &str {
        let wanted = &self.prefs().hostname;
        if wanted.is_empty() { &self.host.hostname } else { wanted }
    }

    fn notify(&mut self, notify: Notify) {
        self.effects.push_back(Effect::Notify(Box::new(notify)));
    }

    fn notify_prefs(&mut self) {
        let prefs = Some(Box::new(self.prefs().redacted()));
        self.notify(Notify { prefs, ..Notify::default() });
    }

    fn save(&mut self, changes: Changes) {
        if !changes.is_empty() {
            self.effects.push_back(Effect::Save(changes));
        }
    }

    fn control(&mut self, command: control::Command) {
        if self.control_running {
            self.effects.push_back(Effect::Control(command));
        }
    }

    /// Brings the state up to date with the facts, and whatever depends on the state.
    fn settle(&mut self, now: Moment) {
        let had_pause = self.paused;
        // Each step of the way is told: Starting before Running.
        loop {
            let next = machine::next(self.state, &self.facts(now));
            if next == self.state {
                break;
            }
            self.enter(next);
        }
        // A node that starts stopped asks for one map first, so that it can say who it is.
        let stopped = self.state == State::Stopped && self.have_netmap;
        self.paused = self.control_running && (stopped || self.is_unsynced());
        if self.paused != had_pause {
            self.in_map_poll &= !self.paused;
            self.heard = health::Heard::default();
            self.control(control::Command::Pause(self.paused));
        }
        let active = matches!(self.state, State::Starting | State::Running);
        if active != self.engine_active {
            self.engine_active = active;
            self.effects.push_back(Effect::Relays);
            if active && self.have_netmap {
                self.effects.push_back(Effect::Look);
            }
            self.reconfigure();
            self.effects.push_back(Effect::SyncPeers(PeerSet::All));
        }
        self.judge_health(now);
    }

    /// The settings say that nothing is taken from control.
    fn is_unsynced(&self) -> bool {
        self.prefs().sync == OptBool::False
    }

    /// What engine and system must know of ourselves may have changed.
    fn reconfigure(&mut self) {
        self.effects.push_back(Effect::Configure);
        self.router_stale = self.tun;
        self.dns_stale = true;
    }

    fn enter(&mut self, next: State) {
        log::info!(
            target: crate::logging::UNLIMITED,
            "Switching ipn state {} -> {} (WantRunning={})",
            self.state,
            next,
            self.prefs().want_running
        );
        self.state = next;
        match next {
            State::NeedsLogin => self.blocked = true,
            State::Running => {
                self.auth_url = None;
                self.warm_at = None;
                self.health.clear(Warnable::WarmingUp);
            }
            _ => {}
        }
        self.notify(Notify { state: Some(next), ..Notify::default() });
    }

    fn facts(&self, now: Moment) -> machine::Facts {
        let prefs = self.prefs();
        let node = &self.netmap.self_node;
        machine::Facts {
            store_ok: self.store_problem.is_none(),
            want_running: prefs.want_running,
            logged_out: prefs.logged_out,
            blocked: self.blocked,
            have_node_key: self.have_node_key(),
            have_netmap: self.have_netmap,
            auth_cant_continue: self.login.cannot_continue(),
            key_expired: self.key_refused || node.is_expired(now.wall),
            machine_authorized: node.machine_authorized,
            connected: self.live_peers > 0 || !self.connected_relays.is_empty(),
        }
    }

    fn login_finished(&mut self) {
        self.notify(Notify { login_finished: Some(Empty::default()), ..Notify::default() });
    }
}

fn time(now: Moment) -> Time {
    convert::time(now.wall)
}

/// When the monotonic clock will read what `at` is on the wall, if that lies ahead.
fn until(at: Timestamp, now: Moment) -> Option<Mono> {
    let ahead =
        at.unix_nanos().checked_sub(now.wall.unix_nanos()).filter(|ahead| *ahead > 0 && !at.is_zero())?;
    Some(now.mono + Duration::from_nanos(u64::try_from(ahead).ok()?))
}
