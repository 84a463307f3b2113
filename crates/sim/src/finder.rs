//! What a station finds out about its own addresses: what its interfaces say, what its router has promised, and how STUN
//! servers see it. The least that a daemon does; how the best relay is chosen is not in it.

use crate::net::stun;
use crate::node::{Interfaces, Transmit};
use engine::time::Mono;
use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::time::Duration;

/// Answers that come later than this are for the next list.
const ROUND: Duration = Duration::from_millis(500);
/// Time between rounds while there is traffic (protocol reference §4.4).
const PERIOD: Duration = Duration::from_secs(23);
/// So long what servers saw is still told (protocol reference §3.9).
const REMEMBERED: Duration = Duration::from_secs(310);
/// What servers saw that is told at most.
const MOST: usize = 6;

/// Finds out.
#[derive(Debug, Default)]
pub(crate) struct Finder {
    servers: Vec<SocketAddr>,
    facts: Option<Interfaces>,
    /// How servers saw us, and when last.
    seen: BTreeMap<SocketAddr, Mono>,
    /// When the round under way ends.
    ends: Option<Mono>,
    /// When the next begins by itself.
    next: Option<Mono>,
    told: Vec<SocketAddr>,
}

impl Finder {
    pub(crate) fn new(servers: Vec<SocketAddr>) -> Self {
        Self { servers, ..Self::default() }
    }

    /// The machine has other interfaces: nothing that was found out holds.
    pub(crate) fn set_interfaces(&mut self, facts: &Interfaces) {
        self.facts = Some(facts.clone());
        self.seen.clear();
    }

    /// Whether there is IPv4, and IPv6.
    pub(crate) fn families(&self) -> (bool, bool) {
        let any = |v4| self.facts.iter().flat_map(|facts| &facts.addresses).any(|ip| ip.is_ipv4() == v4);
        (any(true), any(false))
    }

    /// Begins a round, if there is anybody to ask.
    pub(crate) fn ask(&mut self, now: Mono, out: &mut VecDeque<Transmit>) {
        if self.ends.is_none() && !self.servers.is_empty() {
            self.ends = Some(now + ROUND);
            self.next = Some(now + PERIOD);
            let requests = self.servers.iter().map(|to| (*to, stun::request([7; 12])));
            out.extend(requests.map(|(to, bytes)| Transmit::Udp { to, bytes }));
        }
    }

    pub(crate) fn handle_answer(&mut self, bytes: &[u8], now: Mono) {
        if let Some((_, seen_as)) = stun::read_answer(bytes) {
            self.seen.insert(seen_as, now);
        }
    }

    pub(crate) fn poll_timeout(&self) -> Option<Mono> {
        self.ends.or(self.next)
    }

    /// A round ends, or begins if there has been traffic of late. The list when it is to be told to the engine, and
    /// whether it is a new one.
    pub(crate) fn handle_timeout(
        &mut self,
        now: Mono,
        active: bool,
        out: &mut VecDeque<Transmit>,
    ) -> Option<(Vec<SocketAddr>, bool)> {
        if self.ends.is_some_and(|at| at <= now) {
            self.ends = None;
            let list = self.list(now);
            let new = list != self.told;
            self.told.clone_from(&list);
            return Some((list, new));
        }
        if self.next.is_some_and(|at| at <= now) {
            self.next = None;
            if active {
                self.ask(now, out);
            }
        }
        None
    }

    fn list(&mut self, now: Mono) -> Vec<SocketAddr> {
        self.seen.retain(|_, at| now.since(*at) < REMEMBERED);
        let mut seen: Vec<_> = self.seen.iter().map(|(addr, at)| (std::cmp::Reverse(*at), *addr)).collect();
        seen.sort();
        let facts = self.facts.iter();
        let own = facts.clone().flat_map(|f| f.addresses.iter().map(|ip| SocketAddr::new(*ip, f.port)));
        let forwarded = facts.filter_map(|facts| facts.forwarded);
        let mut all: Vec<SocketAddr> = Vec::new();
        for addr in forwarded.chain(seen.into_iter().map(|(_, addr)| addr).take(MOST)).chain(own) {
            if !all.contains(&addr) {
                all.push(addr);
            }
        }
        all
    }
}
