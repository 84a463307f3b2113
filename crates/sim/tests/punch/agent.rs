//! A node that does nothing but knock: it asks servers how it looks, tells its peer by the relay, and knocks at all it
//! has heard of once a second. It knows no timers, no scores and no trust.

use engine::time::Mono;
use keys::NodePublic;
use netmap::RegionId;
use sim::net::stun;
use sim::{Interfaces, Moment, News, SimNode, Source, Transmit};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::SocketAddr;
use std::time::Duration;

/// Addresses of the peer that it remembers: two NATs can show each other new ports for ever.
const MOST: usize = 64;

pub(crate) struct Puncher {
    pub(crate) peer: NodePublic,
    pub(crate) region: RegionId,
    pub(crate) servers: Vec<SocketAddr>,
    own: BTreeSet<SocketAddr>,
    known: BTreeSet<SocketAddr>,
    knocks: BTreeMap<u64, SocketAddr>,
    out: VecDeque<Transmit>,
    next: Mono,
    /// When the first answer came.
    pub(crate) direct: Option<Mono>,
}

impl Puncher {
    pub(crate) fn new(peer: NodePublic, region: RegionId, servers: Vec<SocketAddr>) -> Self {
        Self {
            peer,
            region,
            servers,
            own: BTreeSet::new(),
            known: BTreeSet::new(),
            knocks: BTreeMap::new(),
            out: VecDeque::new(),
            next: Mono::ZERO,
            direct: None,
        }
    }

    fn learn(&mut self, at: SocketAddr) {
        if self.known.len() < MOST {
            self.known.insert(at);
        }
    }
}

impl SimNode for Puncher {
    fn handle_datagram(&mut self, from: Source, bytes: &[u8], at: Moment) {
        let id = || bytes.get(1..9).and_then(|id| Some(u64::from_be_bytes(id.try_into().ok()?)));
        match (from, bytes.first()) {
            (Source::Derp { .. }, _) => {
                let text = String::from_utf8_lossy(bytes).into_owned();
                text.split(' ').filter_map(|word| word.parse().ok()).for_each(|at| self.learn(at));
            }
            (Source::Udp(_), Some(1)) => {
                self.own.extend(stun::read_answer(bytes).map(|(_, seen_as)| seen_as));
            }
            (Source::Udp(from), Some(b'K')) => {
                self.learn(from);
                let bytes = [b"A", &bytes[1..]].concat();
                self.out.push_back(Transmit::Udp { to: from, bytes });
            }
            (Source::Udp(_), Some(b'A')) if id().is_some_and(|id| self.knocks.contains_key(&id)) => {
                self.direct.get_or_insert(at.mono);
            }
            _ => {}
        }
    }

    fn handle_news(&mut self, _: &News, _: Moment) {}

    fn handle_interfaces(&mut self, facts: &Interfaces, _: Moment) {
        self.own = facts.addresses.iter().map(|ip| SocketAddr::new(*ip, facts.port)).collect();
        self.own.extend(facts.forwarded);
    }

    fn handle_host(&mut self, _: &[u8], _: Moment) {}

    fn handle_timeout(&mut self, at: Moment) {
        self.next = at.mono + Duration::from_secs(1);
        for to in self.servers.clone() {
            self.out.push_back(Transmit::Udp { to, bytes: stun::request([1; 12]) });
        }
        let text: Vec<String> = self.own.iter().map(SocketAddr::to_string).collect();
        let bytes = text.join(" ").into_bytes();
        self.out.push_back(Transmit::Derp { region: self.region, to: self.peer, bytes });
        for to in self.known.clone() {
            let id = self.knocks.len() as u64;
            self.knocks.insert(id, to);
            self.out.push_back(Transmit::Udp { to, bytes: [&b"K"[..], &id.to_be_bytes()].concat() });
        }
    }

    fn poll_transmit(&mut self, _: Moment) -> Option<Transmit> {
        self.out.pop_front()
    }

    fn poll_host(&mut self) -> Option<Vec<u8>> {
        None
    }

    fn poll_timeout(&self) -> Option<Mono> {
        Some(self.next)
    }
}
