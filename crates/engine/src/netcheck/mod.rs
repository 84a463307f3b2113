//! What the network lets through, how far the relays are, and how the world sees us.
//!
//! Owns: which STUN servers are asked when, what their answers tell, the choice of the home region, and when to look
//! again. Pure: requests leave by [`Netcheck::poll`], datagrams come in by [`Netcheck::handle_stun`], and what needs a
//! connection is asked of the owner ([`Step::AskHttps`]).
//! Leaves out: sockets, name lookup, interfaces (the owner says what there is in a [`Request`]), port mappers, ICMP,
//! captive portals.
//!
//! ```text
//!  want() ─► Step::Begin ─► begin(Request) ─► Step::Send … ◄─ handle_stun ─► Step::Done(Report)
//!                                              └─ no answer ─► Step::AskHttps ◄─ https_answer ─┘
//! ```

mod home;
mod plan;
mod report;
mod run;
mod schedule;
mod seen;
pub mod stun;
#[cfg(test)]
mod tests;

pub use plan::unknown_names;
pub use report::{Latencies, Report};
pub use seen::Tracker;

use crate::drop::DropReason;
use crate::time::Mono;
use home::History;
use netmap::{DerpMap, Map, RegionId};
use rand_chacha::ChaCha20Rng;
use rand_core::{RngCore as _, SeedableRng as _};
use run::Run;
use schedule::Schedule;
use std::collections::VecDeque;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

/// STUN takes no longer.
const ASK_LIMIT: Duration = Duration::from_secs(3);
/// A whole report takes no longer.
const LIMIT: Duration = Duration::from_secs(5);
/// A node without a home waits no longer for the first answer by UDP before it asks by HTTPS as well: until it has one,
/// nobody reaches it.
const HURRY: Duration = Duration::from_millis(500);
/// All regions are asked this often.
const FULL_EVERY: Duration = Duration::from_secs(5 * 60);
/// Least time between two times that all are asked because home is gone.
const ALL_AGAIN: Duration = Duration::from_secs(10);
/// As many regions as are usually enough for a report.
pub const ENOUGH: usize = 3;

/// The addresses of servers whose addresses the map does not tell.
pub type Names = Map<Box<str>, Vec<IpAddr>>;

/// What a report is made of.
#[derive(Debug, Clone, Copy)]
pub struct Request<'a> {
    /// The servers.
    pub map: &'a DerpMap,
    /// Addresses of [`unknown_names`].
    pub names: &'a Names,
    /// This machine has IPv4.
    pub v4: bool,
    /// This machine has IPv6.
    pub v6: bool,
    /// UDP may be used at all (control can forbid it).
    pub udp: bool,
    /// The present home region.
    pub home: RegionId,
    /// Not to wait much longer when so many regions have answered; usually [`ENOUGH`].
    pub enough: usize,
    /// There must be a home soon: not to wait for UDP alone.
    pub hurry: bool,
}

/// Something for the owner to do.
#[derive(Debug, Clone, PartialEq)]
pub enum Step {
    /// Find out what [`Request`] wants to know and call [`Netcheck::begin`].
    Begin,
    /// Send this request from the socket the report is about; tell [`Netcheck::sent`].
    Send {
        /// The server.
        to: SocketAddr,
        /// The bytes.
        request: [u8; stun::REQUEST],
    },
    /// An answer came: for whoever reads along.
    Heard {
        /// The region asked.
        region: RegionId,
        /// As whom it saw us.
        ours: SocketAddr,
        /// Time there and back.
        took: Duration,
    },
    /// UDP brought nothing: find out how far these are by HTTPS and tell [`Netcheck::https_answer`] for each.
    AskHttps(Vec<RegionId>),
    /// The report.
    Done(Arc<Report>),
}

/// Makes reports, one at a time.
#[derive(Debug)]
pub struct Netcheck {
    rng: ChaCha20Rng,
    run: Option<Run>,
    map: DerpMap,
    home: RegionId,
    last: Option<Arc<Report>>,
    /// When a full one was begun.
    full: Option<Mono>,
    history: History,
    schedule: Schedule,
    steps: VecDeque<Step>,
}

impl Netcheck {
    /// One that knows nothing. `seed` must be fresh and secret: transactions come of it.
    pub fn new(seed: [u8; 32]) -> Self {
        Self {
            rng: ChaCha20Rng::from_seed(seed),
            run: None,
            map: DerpMap::default(),
            home: RegionId::NONE,
            last: None,
            full: None,
            history: History::default(),
            schedule: Schedule::default(),
            steps: VecDeque::new(),
        }
    }

    /// A report is wanted: of this moment, or, if one is being made, one more after it.
    pub fn want(&mut self) {
        self.schedule.want();
        self.ask();
    }

    /// The network is another one now: the next report is a full one, and the last means nothing any more. One that is being
    /// made is given up, with what is still to be done for it.
    pub fn network_changed(&mut self) {
        self.run = None;
        self.steps.retain(|step| matches!(step, Step::Begin));
        self.full = None;
        self.want();
    }

    /// The relay at home is gone, or cannot be reached: the next report is one of all regions, by HTTPS if need be, unless
    /// there has just been one.
    pub fn home_lost(&mut self, now: Mono) {
        self.full = self.full.filter(|at| now.since(*at) < ALL_AGAIN);
    }

    /// A frame came from a relay of `region`: it is there, whatever STUN says.
    pub fn heard_relay(&mut self, region: RegionId, now: Mono) {
        self.history.heard(region, now);
    }

    /// The last report.
    pub fn last(&self) -> Option<&Arc<Report>> {
        self.last.as_ref()
    }

    /// A report is being made.
    pub const fn is_running(&self) -> bool {
        self.run.is_some()
    }

    /// Begins a report. One that is being made is given up.
    pub fn begin(&mut self, request: &Request<'_>, now: Mono) {
        if self.map != *request.map {
            self.map.clone_from(request.map);
            self.history.forget_all_but(&self.map);
        }
        self.home = request.home;
        let full = self.last.is_none() || self.full.is_none_or(|at| now.since(at) > FULL_EVERY);
        if full {
            self.full = Some(now);
        }
        let last = self.last.as_deref().filter(|_| !full);
        let probes = if request.udp { plan::plan(request, last) } else { Vec::new() };
        // By HTTPS only when all are asked, or when UDP has just ceased to work: it is dear.
        let https = full || last.is_some_and(|last| last.udp);
        self.run =
            Some(Run::new(probes, run::Manner { full, https, hurry: request.hurry }, request.enough, now));
        self.schedule.begun();
        self.steps.clear();
        self.go_on(now);
    }

    /// No reports until the next wish: the node is down. A report that is being made is given up.
    pub fn stop(&mut self) {
        self.run = None;
        self.schedule.begun();
        self.steps.clear();
    }

    /// The system took a request to `to`, or did not: nothing is waited for then.
    pub fn sent(&mut self, to: SocketAddr, taken: bool, now: Mono) {
        let Some(run) = &mut self.run else { return };
        if taken {
            let can =
                if to.is_ipv4() { &mut run.report.ipv4_can_send } else { &mut run.report.ipv6_can_send };
            *can = true;
        } else {
            run.unsent(to);
            self.go_on(now);
        }
    }

    /// A datagram that looks like STUN came to the socket the requests left from.
    ///
    /// # Errors
    /// It answers none of our requests, or is no answer at all.
    pub fn handle_stun(&mut self, datagram: &[u8], now: Mono) -> Result<(), DropReason> {
        let (transaction, ours) = stun::response(datagram).ok_or(DropReason::Stun)?;
        let run = self.run.as_mut().ok_or(DropReason::Stun)?;
        let (region, took) = run.answer(&transaction, ours, now).ok_or(DropReason::Stun)?;
        self.steps.push_back(Step::Heard { region, ours, took });
        self.go_on(now);
        Ok(())
    }

    /// How far a region of [`Step::AskHttps`] is; `None` = it did not answer.
    pub fn https_answer(&mut self, region: RegionId, took: Option<Duration>, now: Mono) {
        let Some(run) = &mut self.run else { return };
        if let Some(asking) = &mut run.asking
            && asking.remove(&region)
            && let Some(took) = took
        {
            run.report.reached(region, took);
        }
        self.go_on(now);
    }

    /// The next thing to do.
    pub fn poll(&mut self) -> Option<Step> {
        self.steps.pop_front()
    }

    /// When [`Self::handle_timeout`] is due.
    pub fn poll_timeout(&self) -> Option<Mono> {
        match &self.run {
            Some(run) => Some(run.due()),
            None => self.schedule.due(),
        }
    }

    /// Does what is due. `traffic`: packets have passed within the last 45 s.
    pub fn handle_timeout(&mut self, now: Mono, traffic: bool) {
        self.schedule.handle_timeout(now, traffic);
        self.go_on(now);
    }

    fn ask(&mut self) {
        if self.run.is_none() && self.schedule.ask() {
            self.steps.push_back(Step::Begin);
        }
    }

    fn go_on(&mut self, now: Mono) {
        let Some(run) = &mut self.run else { return self.ask() };
        let mut fresh = || {
            let mut transaction = stun::Transaction::default();
            self.rng.fill_bytes(&mut transaction);
            transaction
        };
        while let Some((transaction, to)) = run.next(now, &mut fresh) {
            self.steps.push_back(Step::Send { to, request: stun::request(&transaction) });
        }
        let ended = run.stun_ended(now);
        run.stun_over |= ended;
        if run.asking.is_none() && (ended || run.is_late(now)) {
            let need: Vec<RegionId> = match run.wants_https() {
                true => askable(&self.map, self.home),
                false => Vec::new(),
            };
            run.asking = Some(need.iter().copied().collect());
            if !need.is_empty() {
                self.steps.push_back(Step::AskHttps(need));
            }
        }
        let answered = run.asking.as_ref().is_some_and(|asking| asking.is_empty());
        if now >= run.start + LIMIT
            || (answered && (ended || (!run.report.udp && !run.report.region_latency.is_empty())))
        {
            if !ended && !run.report.udp {
                // There is a home; now without hurry.
                self.schedule.want();
            }
            self.finish(now);
        }
    }

    fn finish(&mut self, now: Mono) {
        let Some(mut run) = self.run.take() else { return };
        run.report.preferred_derp = self.history.choose(&self.map, &run.report, self.home, run.start, now);
        let report = Arc::new(run.report);
        self.last = Some(Arc::clone(&report));
        self.steps.push_back(Step::Done(report));
        let spread = (schedule::LATEST - schedule::SOONEST).as_millis() as u32;
        let more = Duration::from_millis(u64::from(self.rng.next_u32() % spread.max(1)));
        self.schedule.ended(now, schedule::SOONEST + more);
        self.ask();
    }
}

/// Regions whose servers answer HTTPS and that may become home; none if home is the only one.
fn askable(map: &DerpMap, home: RegionId) -> Vec<RegionId> {
    let serves = |region: &netmap::DerpRegion| region.nodes.iter().any(|node| !node.stun_only);
    let regions = map.regions.values();
    let all = regions.filter(|r| serves(r) && !r.avoid && !r.no_measure_no_home).map(|r| r.id);
    Some(all.collect()).filter(|all: &Vec<_>| *all != [home]).unwrap_or_default()
}
