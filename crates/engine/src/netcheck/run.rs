//! One report while it is made: requests go out as planned, answers come in, and when enough is known it ends.

use super::plan::Probe;
use super::report::Report;
use super::stun::Transaction;
use super::{ASK_LIMIT, HURRY, LIMIT};
use crate::time::Mono;
use netmap::{Map, RegionId, Set};
use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::Duration;

/// A region over a family.
type Servers = (RegionId, bool);

/// A request that was sent.
#[derive(Debug)]
struct Sent {
    region: RegionId,
    to: SocketAddr,
    at: Mono,
}

/// How a report is made.
#[derive(Debug, Clone, Copy)]
pub(super) struct Manner {
    /// All regions are asked.
    pub(super) full: bool,
    /// By HTTPS if UDP brings nothing.
    pub(super) https: bool,
    /// There is no home yet.
    pub(super) hurry: bool,
}

/// A report in the making.
#[derive(Debug)]
pub(super) struct Run {
    pub(super) start: Mono,
    pub(super) report: Report,
    manner: Manner,
    probes: VecDeque<Probe>,
    sent: Map<Transaction, Sent>,
    asked: Set<Servers>,
    /// Answered, or not worth asking any more.
    done: Set<Servers>,
    /// As whom each server saw us over IPv4.
    mapped: Map<SocketAddr, SocketAddr>,
    /// Answers from so many regions are enough.
    enough: usize,
    deadline: Mono,
    /// Nothing more is sent or waited for by UDP.
    pub(super) stun_over: bool,
    /// Regions that are being asked by HTTPS, once STUN has brought nothing.
    pub(super) asking: Option<Set<RegionId>>,
}

impl Run {
    pub(super) fn new(probes: Vec<Probe>, manner: Manner, enough: usize, now: Mono) -> Self {
        Self {
            start: now,
            report: Report { full: manner.full, ..Report::default() },
            manner,
            probes: probes.into(),
            sent: Map::new(),
            asked: Set::new(),
            done: Set::new(),
            mapped: Map::new(),
            enough,
            deadline: now + ASK_LIMIT,
            stun_over: false,
            asking: None,
        }
    }

    /// When something is to be done.
    pub(super) fn due(&self) -> Mono {
        if self.stun_over {
            return self.start + LIMIT;
        }
        let probe = self.probes.front().map(|probe| self.start + probe.at);
        let late = (self.hurries() && self.asking.is_none()).then_some(self.start + HURRY);
        [probe, late].into_iter().flatten().min().unwrap_or(self.deadline).min(self.deadline)
    }

    /// There is no home, and nothing has come by UDP yet.
    fn hurries(&self) -> bool {
        self.manner.hurry && self.manner.https && !self.report.udp
    }

    /// It takes too long for somebody in a hurry.
    pub(super) fn is_late(&self, now: Mono) -> bool {
        self.hurries() && now >= self.start + HURRY
    }

    /// UDP has brought nothing that would make HTTPS superfluous.
    pub(super) fn wants_https(&self) -> bool {
        self.manner.https && !self.report.udp
    }

    /// The next request whose moment has come.
    pub(super) fn next(
        &mut self,
        now: Mono,
        transaction: &mut dyn FnMut() -> Transaction,
    ) -> Option<(Transaction, SocketAddr)> {
        while !self.stun_over && self.probes.front().is_some_and(|probe| self.start + probe.at <= now) {
            let probe = self.probes.pop_front()?;
            let set = (probe.region, probe.to.is_ipv4());
            if self.done.contains(&set) {
                continue;
            }
            if !self.would_help(&probe) {
                self.done.insert(set);
                continue;
            }
            let transaction = transaction();
            self.asked.insert(set);
            self.sent.insert(transaction, Sent { region: probe.region, to: probe.to, at: now });
            return Some((transaction, probe.to));
        }
        None
    }

    /// The system did not take the last request to `to`.
    pub(super) fn unsent(&mut self, to: SocketAddr) {
        let last = self.sent.iter().filter(|(_, sent)| sent.to == to).max_by_key(|(_, sent)| sent.at);
        let Some(transaction) = last.map(|(transaction, _)| *transaction) else { return };
        let Some(Sent { region, .. }) = self.sent.remove(&transaction) else { return };
        let v4 = to.is_ipv4();
        if !self.sent.values().any(|sent| sent.region == region && sent.to.is_ipv4() == v4) {
            self.asked.remove(&(region, v4));
        }
    }

    fn would_help(&self, probe: &Probe) -> bool {
        let report = &self.report;
        let family = match probe.to.is_ipv4() {
            true => report.mapping_varies.is_none(),
            false => report.region_v6_latency.is_empty(),
        };
        family || !report.region_latency.contains_key(&probe.region)
    }

    /// Whether STUN has ended: everybody answered, or there is enough, or it took too long.
    pub(super) fn stun_ended(&self, now: Mono) -> bool {
        let nothing_left =
            self.probes.iter().all(|probe| self.done.contains(&(probe.region, probe.to.is_ipv4())));
        now >= self.deadline || (nothing_left && self.asked.is_subset(&self.done))
    }

    /// Takes an answer; what it told if it is one to a request of ours.
    pub(super) fn answer(
        &mut self,
        transaction: &Transaction,
        ours: SocketAddr,
        now: Mono,
    ) -> Option<(RegionId, Duration)> {
        let Sent { region, to, at } = self.sent.remove(transaction)?;
        let took = now.since(at);
        let regions = self.report.region_latency.len();
        self.report.heard(region, ours, took);
        self.done.insert((region, to.is_ipv4()));
        if ours.is_ipv4() {
            self.mapped.insert(to, ours);
            let mut seen = self.mapped.values();
            let first = seen.next();
            if self.mapped.len() > 1 {
                self.report.mapping_varies = Some(seen.any(|other| Some(other) != first));
            }
        }
        if self.report.region_latency.len() > regions && regions + 1 == self.enough {
            let slowest = self.report.region_latency.values().max().copied().unwrap_or_default();
            // Nothing is known yet of those that have not answered a first report.
            let patience = if self.report.full { slowest * 2 } else { slowest };
            self.deadline = self.deadline.min(now + patience);
        }
        if self.manner.hurry && regions == 0 {
            // Who answers much later than the first is not nearer.
            self.deadline = self.deadline.min((now + took * 2).max(self.start + HURRY));
        }
        Some((region, took))
    }
}
