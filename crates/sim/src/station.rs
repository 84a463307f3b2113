//! The real engine as a node of the world: both packet lines are turned inline whenever anything happens.
//!
//! Owns: what the daemon does around an engine, in the least form: news into configuration, lines until they rest,
//! datagrams out, packets for the machine out. Leaves out: everything that needs no simulating (relay connections,
//! the backend's states) and threads: the lines' rings are shared by one.

use crate::control::News;
use crate::finder::Finder;
use crate::node::{Interfaces, Moment, SimNode, Source, Transmit};
use crate::policy::Policy;
use crate::witness::{Shape, To, Witness};
use engine::drop::{DropCounters, DropReason};
use engine::host::{PingAnswer, PingId};
use engine::lines::batch::Run;
use engine::lines::{Limits, NoTun, NoUdp, RxLine, TunSink, TxLine, UdpSink};
use engine::time::Mono;
use engine::wireguard;
use engine::{Engine, Output, PeerConfig, PeerView, PingOutcome, PingRequest, SelfConfig, StartError};
use keys::{DiscoPrivate, NodePrivate, NodePublic};
use netmap::{Node, NodeId, RegionId};
use std::collections::{BTreeMap, VecDeque};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

/// Packets that a line handles before the other has its turn.
const BUDGET: u32 = 64;
/// Turns of both lines until they rest: more is a loop between them.
const MAX_TURNS: u32 = 1000;
/// So long after the last data sent there is traffic.
const ACTIVE: Duration = Duration::from_secs(45);
/// Datagrams remembered for those who replay them.
const REMEMBERED: usize = 32;

/// A node that runs the engine.
pub struct Station {
    engine: Engine,
    tx: TxLine,
    rx: RxLine,
    key: NodePrivate,
    policy: Policy,
    /// Itself as control describes it, once it has.
    own: Option<Node>,
    peers: BTreeMap<NodeId, NodePublic>,
    out: VecDeque<Transmit>,
    host: VecDeque<Vec<u8>>,
    notes: VecDeque<String>,
    answers: Vec<PingAnswer>,
    overheard: VecDeque<Vec<u8>>,
    finder: Finder,
    /// Endpoints that control has not been told.
    untold: Option<Vec<SocketAddr>>,
    /// When data was last sent.
    active: Option<Mono>,
    /// What it has done, and the judge of it.
    pub witness: Witness,
}

/// What sockets would get.
#[derive(Default)]
struct Wire(Vec<(SocketAddr, Vec<u8>)>);

impl UdpSink for Wire {
    fn send(&mut self, to: SocketAddr, run: Run<'_>, _: &DropCounters) -> usize {
        self.0.extend(run.iter().map(|bytes| (to, bytes.to_vec())));
        run.len()
    }
}

/// What a TUN would get.
struct Sink<'a>(&'a mut VecDeque<Vec<u8>>);

impl TunSink for Sink<'_> {
    fn deliver(&mut self, run: Run<'_>) -> usize {
        self.0.extend(run.iter().map(<[u8]>::to_vec));
        run.len()
    }
}

impl Station {
    /// A process just started; `seed` must be another one for each.
    pub fn new(seed: [u8; 32], key: NodePrivate, policy: Policy) -> Self {
        let (engine, tx, rx) = Engine::new(seed, &Limits::default());
        Self {
            engine,
            tx,
            rx,
            key,
            policy,
            own: None,
            peers: BTreeMap::new(),
            out: VecDeque::new(),
            host: VecDeque::new(),
            notes: VecDeque::new(),
            answers: Vec::new(),
            overheard: VecDeque::new(),
            finder: Finder::default(),
            untold: None,
            active: None,
            witness: Witness::default(),
        }
    }

    /// Makes it look for direct paths, and ask these servers how it looks.
    #[must_use]
    pub fn with_paths(mut self, disco: &DiscoPrivate, servers: Vec<SocketAddr>) -> Self {
        self.engine.set_disco_key(disco);
        self.finder = Finder::new(servers);
        self
    }

    /// The engine, to look at.
    pub const fn engine(&self) -> &Engine {
        &self.engine
    }

    /// How many packets were dropped for a reason.
    pub fn dropped(&self, reason: DropReason) -> u32 {
        self.engine.drops().get(reason)
    }

    /// What it knows of a peer.
    pub fn view(&mut self, peer: NodeId, at: Moment) -> Option<PeerView> {
        self.engine.peer_view(peer, at.mono)
    }

    /// Its policy.
    pub const fn policy(&self) -> &Policy {
        &self.policy
    }

    /// Puts another policy in force.
    pub fn set_policy(&mut self, policy: Policy, at: Moment) {
        self.policy = policy;
        self.configure();
        self.engine.commit();
        self.pump(at);
    }

    /// Begins a ping.
    ///
    /// # Errors
    /// As the engine says.
    pub fn ping(&mut self, request: &PingRequest<'_>, at: Moment) -> Result<PingId, StartError> {
        let id = self.engine.start_ping(request, at.mono);
        self.pump(at);
        id
    }

    /// The pings that came back since the last call.
    pub fn take_answers(&mut self) -> Vec<PingAnswer> {
        std::mem::take(&mut self.answers)
    }

    /// Whether a ping came back that has not been taken.
    pub fn is_answered(&self, id: PingId) -> bool {
        self.answers.iter().any(|answer| answer.id == id)
    }

    /// The last datagrams it sent, for replaying and mangling.
    pub const fn overheard(&self) -> &VecDeque<Vec<u8>> {
        &self.overheard
    }

    fn configure(&mut self) {
        let Some(own) = &self.own else { return };
        self.engine.configure(SelfConfig {
            key: self.key.clone(),
            addresses: own.ips().map(|ip: IpAddr| (ip, 0)).collect(),
            services: Vec::new(),
            filter: Arc::new(self.policy.compile(own)),
            shields_up: self.policy.shields_up,
            tun: false,
            running: self.policy.running,
            silent_disco: false,
        });
    }

    fn set_peer(&mut self, node: &Node, at: Moment) {
        self.peers.insert(node.id, node.key);
        let config = PeerConfig {
            id: node.id,
            key: node.key,
            disco_key: node.disco_key,
            home_derp: node.home_derp,
            endpoints: node.endpoints.clone(),
            allowed_ips: node.allowed_ips.clone(),
            jailed: node.jailed,
            masq_v4: node.rare().masq_v4,
            masq_v6: node.rare().masq_v6,
            ..PeerConfig::default()
        };
        self.engine.set_peer(config, at.mono, at.wall);
    }

    fn remove_peer(&mut self, id: NodeId) {
        self.peers.remove(&id);
        self.engine.remove_peer(id);
    }

    /// Turns the lines until they rest and takes what the engine wants sent.
    fn pump(&mut self, at: Moment) {
        for turn in 0.. {
            assert!(turn < MAX_TURNS, "the lines give each other work without end");
            let tick = at.mono.tick();
            let mut wire = Wire::default();
            let mut worked = self.tx.turn_with(tick, BUDGET, &mut NoTun, &mut wire).did_work();
            worked |= self.rx.turn_with(tick, BUDGET, &mut Sink(&mut self.host), &mut NoUdp).did_work();
            worked |= self.engine.handle_lines(at.mono, at.wall);
            wire.0.into_iter().for_each(|(to, bytes)| self.send_udp(to, bytes, at.mono));
            let mut sealed = Vec::new();
            while let Some((region, to, bytes)) = self.engine.next_derp() {
                sealed.push((RegionId(region), to, bytes.to_vec()));
            }
            sealed.into_iter().for_each(|(region, to, bytes)| self.send(region, to, bytes, at.mono));
            while let Some(output) = self.engine.poll_output() {
                match output {
                    Output::Transmit { to: wireguard::Source::Derp { region, peer }, bytes } => {
                        self.send(RegionId(region), peer, bytes.into_vec(), at.mono);
                    }
                    Output::Transmit { to: wireguard::Source::Udp(to), bytes } => {
                        self.send_udp(to, bytes.into_vec(), at.mono);
                    }
                    Output::Ping(PingOutcome::Answered(answer)) => {
                        let family = if answer.from.is_ipv4() { "v4" } else { "v6" };
                        let kind = format!("{:?}", answer.kind).to_lowercase();
                        let ms = answer.rtt.as_millis();
                        self.notes.push_back(format!("{kind} {family} answered after {ms} ms"));
                        self.answers.push(answer);
                    }
                    Output::Ping(PingOutcome::TimedOut(_)) => self.notes.push_back("ping timed out".into()),
                    Output::PathPing(_) => {}
                    Output::RefreshEndpoints => self.finder.ask(at.mono, &mut self.out),
                    Output::Stun { bytes, .. } => self.finder.handle_answer(&bytes, at.mono),
                    Output::LivePeers(n) => self.notes.push_back(format!("has {n} live peers")),
                }
            }
            if !worked {
                break;
            }
        }
    }

    fn send(&mut self, region: RegionId, to: NodePublic, bytes: Vec<u8>, now: Mono) {
        let known = self.policy.running && self.peers.values().any(|key| *key == to);
        self.note_sent(To::Peer(to), known, &bytes, now);
        self.out.push_back(Transmit::Derp { region, to, bytes });
    }

    fn send_udp(&mut self, to: SocketAddr, bytes: Vec<u8>, now: Mono) {
        self.note_sent(To::Address(to), self.policy.running, &bytes, now);
        self.out.push_back(Transmit::Udp { to, bytes });
    }

    fn note_sent(&mut self, to: To, known: bool, bytes: &[u8], now: Mono) {
        self.witness.sends(to, known, bytes, now);
        if matches!(Shape::of(bytes), Shape::Data { .. }) {
            self.active = Some(now);
        }
        if self.overheard.len() == REMEMBERED {
            self.overheard.pop_front();
        }
        self.overheard.push_back(bytes.to_vec());
    }
}

impl SimNode for Station {
    fn handle_datagram(&mut self, from: Source, bytes: &[u8], at: Moment) {
        let from = match from {
            Source::Udp(from) => wireguard::Source::Udp(from),
            Source::Derp { region, peer } => wireguard::Source::Derp { region: region.0, peer },
        };
        self.engine.handle_datagram(from, bytes, at.mono);
        self.pump(at);
    }

    fn handle_news(&mut self, news: &News, at: Moment) {
        match news {
            News::Full { own, peers } => {
                self.notes.push_back(format!("hears of {} peers", peers.len()));
                self.own = Some((**own).clone());
                self.configure();
                let gone: Vec<NodeId> =
                    self.engine.peer_ids().filter(|id| peers.iter().all(|p| p.id != *id)).collect();
                gone.into_iter().for_each(|id| self.remove_peer(id));
                peers.iter().for_each(|peer| self.set_peer(peer, at));
            }
            // The rest of a stream that the process before has begun.
            _ if self.own.is_none() => return,
            News::Peer(peer) => {
                self.notes.push_back(format!("hears of {}", peer.name));
                self.set_peer(peer, at);
            }
            News::Gone(id) => {
                self.notes.push_back(format!("misses {id}"));
                self.remove_peer(*id);
            }
        }
        self.engine.commit();
        self.pump(at);
    }

    fn handle_host(&mut self, packet: &[u8], at: Moment) {
        // A full ring loses the packet like any other.
        let _ = self.engine.handle_outbound(packet);
        self.pump(at);
    }

    fn handle_timeout(&mut self, at: Moment) {
        self.witness.wakes(at.mono);
        self.engine.handle_timeout(at.mono, at.wall);
        let active = self.active.is_some_and(|last| at.mono.since(last) < ACTIVE);
        if let Some((list, new)) = self.finder.handle_timeout(at.mono, active, &mut self.out) {
            self.engine.set_local_endpoints(&list, at.mono);
            if new {
                self.untold = Some(list);
            }
        }
        self.pump(at);
    }

    fn poll_transmit(&mut self, _: Moment) -> Option<Transmit> {
        self.out.pop_front()
    }

    fn poll_host(&mut self) -> Option<Vec<u8>> {
        self.host.pop_front()
    }

    fn poll_note(&mut self) -> Option<String> {
        self.notes.pop_front()
    }

    fn poll_timeout(&self) -> Option<Mono> {
        let engine = self.engine.poll_timeout().map(|(at, _)| at);
        engine.into_iter().chain(self.finder.poll_timeout()).min()
    }

    fn handle_interfaces(&mut self, facts: &Interfaces, at: Moment) {
        self.finder.set_interfaces(facts);
        let (v4, v6) = self.finder.families();
        self.engine.set_families(v4, v6);
        self.engine.handle_network_change(at.mono);
        self.finder.ask(at.mono, &mut self.out);
        self.pump(at);
    }

    fn poll_endpoints(&mut self) -> Option<Vec<SocketAddr>> {
        self.untold.take()
    }

    fn describe(bytes: &[u8]) -> String {
        match Shape::of(bytes) {
            Shape::Initiation => "initiation".into(),
            Shape::Response => "response".into(),
            Shape::Cookie => "cookie reply".into(),
            Shape::Keepalive => "keepalive".into(),
            Shape::Data { counter, len, .. } => format!("data #{counter}, {len} B"),
            Shape::Disco => "disco".into(),
            Shape::Stun => "stun".into(),
            Shape::Other => format!("{} B of something else", bytes.len()),
        }
    }
}
