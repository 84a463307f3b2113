//! The state machine by inputs and effects: in memory, in virtual time.

mod configured;
mod conformance;
mod dns;
mod keys;
mod login;
mod map;
mod recalled;
mod relays;
mod routing;
mod store;

use super::*;
use crate::state::Store;
use ::control::{Event, LoggedIn, MapItem, MapMessage};
use ::keys::{DiscoPublic, NodePrivate, NodePublic};
use ::netmap::{Delta, DerpMapDelta, DerpNode, DerpRegion, Node, NodeId, StableId, UserId, UserProfile};
use localapi::types::{MaskedPrefs, NetfilterMode, OptBool, Options, Persist, Prefs, PrefsMask};
use rand_core::{CryptoRng, RngCore};
use std::cell::RefCell;
use std::rc::Rc;

/// 2027-01-15, after the build.
pub(super) const WALL: i64 = 1_800_000_000;

/// Random numbers of a test: different ones, the same in each run.
struct Steps(u64);

impl RngCore for Steps {
    fn next_u32(&mut self) -> u32 {
        self.next_u64() as u32
    }

    fn next_u64(&mut self) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        self.0
    }

    fn fill_bytes(&mut self, bytes: &mut [u8]) {
        bytes.fill_with(|| self.next_u64() as u8);
    }

    fn try_fill_bytes(&mut self, bytes: &mut [u8]) -> Result<(), rand_core::Error> {
        self.fill_bytes(bytes);
        Ok(())
    }
}

impl CryptoRng for Steps {}

/// A backend, its store and its clocks.
pub(super) struct Fixture {
    pub(super) backend: Backend,
    pub(super) store: Store,
    pub(super) now: Moment,
    /// What the store answers to a write.
    pub(super) disk: Result<(), String>,
}

impl Fixture {
    /// A daemon that has just been started for the first time.
    pub(super) fn new() -> Self {
        Self::over(Store::memory(), None)
    }

    /// A daemon that finds `store`, or cannot use its own.
    pub(super) fn over(store: Store, store_problem: Option<&str>) -> Self {
        let setup = Setup {
            disco: DiscoPublic::default(),
            host: HostFacts { hostname: "router".to_owned(), ..HostFacts::default() },
            ephemeral: false,
            tun: false,
            store_problem: store_problem.map(str::to_owned),
            rng: Box::new(Steps(7)),
        };
        let (mut backend, _) = Backend::new(setup, &store);
        backend.set_peers_watched(true);
        let now = Moment { mono: Mono::ZERO, wall: Timestamp::from_unix(WALL) };
        Self { backend, store, now, disk: Ok(()) }
    }

    /// A node that runs, with peers 2 and 3, and its relay connected.
    pub(super) fn running() -> Self {
        let mut fixture = Self::new();
        fixture.input(Input::Start);
        fixture.start("tskey-auth-x", |_| {});
        fixture.ask(Command::LoginInteractive);
        fixture.control(registered(1));
        fixture.control(Event::MapUp);
        fixture.map(first_map(), &[2, 3]);
        fixture.relay_up();
        assert_eq!(fixture.backend.state(), State::Running);
        fixture.pass(6);
        fixture
    }

    /// The daemon ends and another begins over the same store.
    pub(super) fn restarted(self) -> Self {
        Self::over(self.store, None)
    }

    /// Gives one input; what follows, in words.
    pub(super) fn input(&mut self, input: Input) -> Vec<String> {
        let mut told = Vec::new();
        self.backend.handle(input, &self.store, self.now);
        while let Some(effect) = self.backend.poll_effect() {
            told.extend(words(&effect));
            if let Effect::Save(changes) = effect {
                if self.disk.is_ok() {
                    self.store.write(changes).expect("memory");
                }
                self.backend.handle(Input::Saved(self.disk.clone()), &self.store, self.now);
            }
        }
        told
    }

    /// Gives a command; its answer and what follows.
    pub(super) fn ask<T: 'static>(
        &mut self,
        command: impl FnOnce(Reply<T>) -> Command,
    ) -> (Option<T>, Vec<String>) {
        let slot = Rc::new(RefCell::new(None));
        let answer = slot.clone();
        let told = self.input(Input::Command(command(Reply::new(move |value| {
            *answer.borrow_mut() = Some(value);
        }))));
        (slot.take(), told)
    }

    /// `start` with an auth key and default settings for a node that is wanted up, changed by `change`.
    pub(super) fn start(&mut self, auth_key: &str, change: impl FnOnce(&mut Prefs)) -> Vec<String> {
        let mut prefs = Prefs { want_running: true, logged_out: false, ..Prefs::new_default() };
        change(&mut prefs);
        let update_prefs = Some(Box::new(prefs));
        let options = Options { update_prefs, auth_key: auth_key.to_owned(), ..Options::default() };
        let (answer, told) = self.ask(|reply| Command::Start(Box::new(options), reply));
        assert_eq!(answer, Some(Ok(())));
        told
    }

    /// `up` or `down` of a node that is set up.
    pub(super) fn want_running(&mut self, want_running: bool) -> Vec<String> {
        let edit = MaskedPrefs {
            prefs: Prefs { want_running, ..Prefs::default() },
            mask: PrefsMask { want_running: true, ..PrefsMask::default() },
        };
        let (answer, told) = self.ask(|reply| Command::EditPrefs(Box::new(edit), reply));
        assert!(matches!(answer, Some(Ok(_))));
        told
    }

    pub(super) fn control(&mut self, event: Event) -> Vec<String> {
        self.input(Input::Control(event))
    }

    /// A map message: some peers, then the rest.
    pub(super) fn map(&mut self, message: MapMessage, peers: &[i64]) -> Vec<String> {
        for id in peers {
            assert_eq!(self.control(Event::MapItem(MapItem::Peer(Box::new(node(*id))))), [""; 0]);
        }
        self.control(Event::MapItem(MapItem::End(Box::new(message))))
    }

    pub(super) fn relay_up(&mut self) -> Vec<String> {
        self.input(Input::Relay(derp::Event::Connected { region: RegionId(1), home: true }))
    }

    /// Lets time pass, with the timeouts that come due; a map stream is kept alive every minute.
    pub(super) fn pass(&mut self, mut seconds: u64) -> Vec<String> {
        let mut told = Vec::new();
        while seconds > 0 {
            let step = seconds.min(60);
            seconds -= step;
            told.extend(self.silence(step));
            if seconds > 0 && self.backend.in_map_poll() {
                let mut message = MapMessage::default();
                message.keep_alive = true;
                told.extend(self.map(message, &[]));
            }
        }
        told
    }

    /// Lets time pass in which control says nothing.
    pub(super) fn silence(&mut self, seconds: u64) -> Vec<String> {
        let end = self.now.mono + Duration::from_secs(seconds);
        let mut told = Vec::new();
        while let Some(at) = self.backend.poll_timeout(self.now).filter(|at| *at <= end) {
            self.advance(at);
            // As the node does, which wakes at that moment or later.
            if self.backend.poll_timeout(self.now).is_some_and(|at| at <= self.now.mono) {
                told.extend(self.input(Input::Timeout));
            }
        }
        self.advance(end);
        told
    }

    fn advance(&mut self, to: Mono) {
        let passed = to.since(self.now.mono).as_nanos();
        let wall = self.now.wall.unix_nanos() + i128::try_from(passed).expect("short");
        self.now = Moment { mono: to, wall: Timestamp::from_unix_nanos(wall) };
    }

    pub(super) fn health(&self) -> Vec<String> {
        self.backend.health_texts(self.now).expect("health is in this build")
    }

    pub(super) fn persist(&self) -> Persist {
        self.backend.profiles().persist().cloned().unwrap_or_default()
    }
}

/// An effect in a few words.
fn words(effect: &Effect) -> Vec<String> {
    let one = |text: String| vec![text];
    match effect {
        Effect::Save(changes) if changes.is_empty() => one("save again".to_owned()),
        Effect::Save(_) => one("save".to_owned()),
        Effect::StartControl(start) => one(format!("start control at {}", start.server_url)),
        Effect::Control(::control::Command::Report(_)) => one("report".to_owned()),
        Effect::Control(::control::Command::Login(login)) => {
            let key = login.auth_key.as_deref().unwrap_or("-");
            one(format!("login key={key} new={}", login.new_key))
        }
        Effect::Control(::control::Command::Pause(paused)) => one(format!("pause {paused}")),
        Effect::Control(other) => one(format!("{other:?}")),
        Effect::Logout => one("logout".to_owned()),
        Effect::StopControl => one("stop control".to_owned()),
        Effect::ExpireSooner(at, _) => one(format!("expire at {}", at.unix_nanos() / 1_000_000_000)),
        Effect::ControlTime(_) => one("control time".to_owned()),
        Effect::Router => one("router".to_owned()),
        // A look that nearly always finds nothing new.
        Effect::Dns => Vec::new(),
        Effect::Configure => one("configure".to_owned()),
        Effect::SyncPeers(PeerSet::All) => one("sync all".to_owned()),
        Effect::SyncPeers(PeerSet::Some(ids)) => {
            one(format!("sync {:?}", ids.iter().map(|id| id.0).collect::<Vec<_>>()))
        }
        Effect::Relays => one("relays".to_owned()),
        Effect::Look => one("look".to_owned()),
        Effect::PortMapping(at) => one(format!("port mapping {at:?}")),
        Effect::StaticEndpoints(at) => one(format!("static endpoints {at:?}")),
        Effect::Notify(notify) => news(notify),
    }
}

/// A notification in a few words for each of its parts.
fn news(notify: &Notify) -> Vec<String> {
    let mut told = Vec::new();
    told.extend(notify.err_message.as_ref().map(|text| format!("> error {text}")));
    told.extend(notify.login_finished.as_ref().map(|_| "> login finished".to_owned()));
    told.extend(notify.state.map(|state| format!("> {}", state.name())));
    told.extend(notify.prefs.as_ref().map(|prefs| format!("> prefs up={}", prefs.want_running)));
    told.extend(notify.self_change.as_ref().map(|node| format!("> self {}", node.id)));
    if !notify.peers_changed.is_empty() {
        let ids: Vec<i64> = notify.peers_changed.iter().map(|node| node.id).collect();
        told.push(format!("> peers {ids:?}"));
    }
    if !notify.peers_removed.is_empty() {
        told.push(format!("> removed {:?}", notify.peers_removed));
    }
    if !notify.peer_changed_patch.is_empty() {
        let ids: Vec<i64> = notify.peer_changed_patch.iter().map(|patch| patch.node_id).collect();
        told.push(format!("> patches {ids:?}"));
    }
    if !notify.user_profiles.is_empty() {
        told.push(format!("> users {:?}", notify.user_profiles.keys().collect::<Vec<_>>()));
    }
    told.extend(notify.suggested_exit_node.as_ref().map(|id| format!("> suggests {id:?}")));
    told.extend(notify.browse_to_url.as_ref().map(|url| format!("> url {url}")));
    told.extend(
        notify
            .health
            .as_ref()
            .map(|health| format!("> health {:?}", health.warnings.keys().collect::<Vec<_>>())),
    );
    told
}

pub(super) fn key(n: u8) -> NodePrivate {
    NodePrivate::from_bytes([n; 32])
}

/// Control has let us in, with node key `n`.
pub(super) fn registered(n: u8) -> Event {
    Event::LoggedIn(Box::new(LoggedIn {
        node_key: key(n),
        rotated: true,
        user: UserProfile { id: UserId(7), login_name: "a@example.com".into(), ..UserProfile::default() },
        provider: "".into(),
        machine_authorized: true,
    }))
}

pub(super) fn node(id: i64) -> Node {
    let byte = u8::try_from(id).expect("small");
    let address = format!("100.64.0.{id}/32").parse().expect("net");
    Node {
        id: NodeId(id),
        stable_id: StableId(format!("n{id}TEST").into()),
        name: format!("n{id}.tail.example.").into(),
        user: UserId(7),
        key: if id == 1 { key(1).public() } else { NodePublic::from_bytes([byte; 32]) },
        disco_key: DiscoPublic::from_bytes([byte; 32]),
        addresses: [address].into(),
        allowed_ips: [address].into(),
        home_derp: RegionId(1),
        machine_authorized: true,
        ..Node::default()
    }
}

pub(super) fn region(id: u16) -> (RegionId, DerpRegion) {
    let code = format!("r{id}").into();
    let nodes = [DerpNode { host_name: "relay.example".into(), ..DerpNode::default() }].into();
    (RegionId(id), DerpRegion { id: RegionId(id), code, nodes, ..DerpRegion::default() })
}

/// A full map with one relay region; its peers come before it.
pub(super) fn first_map() -> MapMessage {
    map_with_regions(&[1])
}

pub(super) fn map_with_regions(regions: &[u16]) -> MapMessage {
    let regions = regions.iter().map(|id| region(*id)).collect();
    let delta = Delta {
        self_node: Some(node(1)),
        full_peers: true,
        derp_map: Some(DerpMapDelta { regions: Some(regions), ..DerpMapDelta::default() }),
        domain: Some("example.com".into()),
        users: vec![UserProfile {
            id: UserId(7),
            login_name: "a@example.com".into(),
            ..UserProfile::default()
        }],
        ..Delta::default()
    };
    let mut message = MapMessage::default();
    (message.first, message.delta) = (true, delta);
    message
}

pub(super) fn delta(delta: Delta) -> MapMessage {
    let mut message = MapMessage::default();
    message.delta = delta;
    message
}

/// Those of the words that watchers of the bus see.
pub(super) fn seen(told: &[String]) -> Vec<&str> {
    told.iter().map(String::as_str).filter(|word| word.starts_with("> ")).collect()
}
