//! Looking at the network: STUN from the node's own sockets, HTTPS where that brings nothing.
//!
//! Owns: the state of [`engine::netcheck`], what it needs to know of this machine, what was found out of how others reach
//! us. Leaves out: the list of our endpoints (`endpoints`), what the daemon makes of a report (backend), port mapping
//! itself (`parts/portmapper`).

use super::endpoints::Found;
use super::{Dataplane, News};
use crate::backend::RelayConfig;
use engine::netcheck::{ENOUGH, Names, Netcheck, Report, Request, Step, Tracker, unknown_names};
use engine::time::Mono;
use netmap::{RegionId, Set};
use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Notify;
use tokio::time::timeout;

/// For looking up the names of servers whose addresses the map does not tell.
const LOOKUP: Duration = Duration::from_secs(2);
/// How long what was looked up is good for: a peer may be waiting for our endpoints.
const NAMES: Duration = Duration::from_secs(10 * 60);
/// What HTTPS may take in all; the report does not wait longer.
const HTTPS: Duration = Duration::from_secs(5);

/// What is known of the network, and what is being found out.
pub(super) struct Looks {
    check: RefCell<Netcheck>,
    facts: RefCell<Known>,
    /// What takes a while.
    tasks: RefCell<VecDeque<Step>>,
    wake: Notify,
    /// Addresses of servers, and when they were looked up.
    names: RefCell<(Mono, Names)>,
    /// Somebody waits for our endpoints.
    hasty: Cell<bool>,
}

/// What is known beside.
#[derive(Default)]
struct Known {
    paused: bool,
    udp: bool,
    /// Without traffic, too.
    always: bool,
    home: RegionId,
    tracker: Tracker,
    report: Option<Arc<Report>>,
    portmap: Option<SocketAddr>,
}

impl Looks {
    pub(super) fn new(seed: [u8; 32]) -> Self {
        Self {
            check: RefCell::new(Netcheck::new(seed)),
            facts: RefCell::new(Known { paused: true, ..Known::default() }),
            tasks: RefCell::default(),
            wake: Notify::new(),
            names: RefCell::default(),
            hasty: Cell::new(false),
        }
    }

    pub(super) fn poll_timeout(&self) -> Option<Mono> {
        self.check.borrow().poll_timeout()
    }

    pub(super) fn home_lost(&self, now: Mono) {
        self.check.borrow_mut().home_lost(now);
    }

    pub(super) fn heard_relay(&self, region: RegionId, now: Mono) {
        self.check.borrow_mut().heard_relay(region, now);
    }
}

impl Dataplane {
    /// Looks at the network: now, or once more after the look that is under way.
    pub fn look(&self) {
        if !self.looks.facts.borrow().paused {
            self.looks.check.borrow_mut().want();
            self.drive_looks();
        }
    }

    /// Somebody waits for our endpoints, which are old: looks at the network if that can be done, and at this machine in any
    /// case.
    pub(super) fn look_for_endpoints(&self) {
        if self.looks.facts.borrow().paused || self.map.borrow().regions.is_empty() {
            self.refresh_endpoints();
        } else {
            self.looks.hasty.set(true);
            self.look();
        }
    }

    /// STUN datagrams have come.
    pub(super) fn take_stun(&self, datagrams: &[Box<[u8]>]) {
        for datagram in datagrams {
            let taken = self.looks.check.borrow_mut().handle_stun(datagram, self.clock.mono());
            if let Err(reason) = taken {
                self.engine.borrow().drops().count(reason);
            }
        }
        self.drive_looks();
    }

    /// The network is another one: what was known of it is void.
    pub(super) fn forget_looks(&self) {
        {
            let mut known = self.looks.facts.borrow_mut();
            known.tracker.clear();
            known.report = None;
            if known.paused {
                return;
            }
        }
        self.looks.check.borrow_mut().network_changed();
        self.drive_looks();
    }

    /// A router forwards this to us, or nothing (any more).
    pub fn set_port_mapping(&self, external: Option<SocketAddr>) {
        self.looks.facts.borrow_mut().portmap = external;
        self.found_out();
    }

    /// Our UDP port; 0 = there is no socket.
    pub fn port(&self) -> u16 {
        self.sockets.borrow().port()
    }

    /// What the looks are to go by: our home, whether UDP may be used, whether to look at all.
    pub(super) fn set_looks(&self, config: &RelayConfig<'_>) {
        let begins = {
            let mut known = self.looks.facts.borrow_mut();
            (known.home, known.udp, known.paused) = (config.home, config.udp, config.paused);
            !std::mem::replace(&mut known.always, config.always_look) && config.always_look
        };
        if config.paused {
            self.looks.check.borrow_mut().stop();
        } else if begins {
            // Nobody may have looked for long.
            self.look();
        }
    }

    /// Whether there is to be another look after the last.
    pub(super) fn goes_on_looking(&self, now: Mono) -> bool {
        self.looks.facts.borrow().always || self.engine.borrow().has_traffic(now)
    }

    /// Runs the timers of the looks.
    pub(super) fn time_looks(&self, now: Mono) {
        if self.looks.poll_timeout().is_some_and(|at| at <= now) {
            let goes_on = self.goes_on_looking(now);
            self.looks.check.borrow_mut().handle_timeout(now, goes_on);
        }
    }

    /// Carries out what a look wants.
    pub(super) fn drive_looks(&self) {
        loop {
            let step = self.looks.check.borrow_mut().poll();
            let Some(step) = step else { break };
            match step {
                Step::Send { to, request } => {
                    let taken = self.sockets.borrow().send(to, &request).is_ok();
                    self.looks.check.borrow_mut().sent(to, taken, self.clock.mono());
                }
                Step::Heard { ours, .. } => {
                    // A peer is about to be told where we are: what the first server says is better than to wait for all.
                    if self.looks.hasty.replace(false) {
                        self.saw(ours);
                        self.found_out();
                    }
                }
                Step::Begin | Step::AskHttps(_) => {
                    self.looks.tasks.borrow_mut().push_back(step);
                    self.looks.wake.notify_one();
                }
                Step::Done(report) => self.looked(report),
            }
        }
        // The run loop sleeps until the next timeout that it has been told.
        let due = self.looks.poll_timeout();
        if due.is_some_and(|at| self.due.get().is_none_or(|told| at < told)) {
            self.due.set(due);
            self.changed.notify_one();
        }
    }

    /// A server sees us at `ours`. Where our router has another address than before, peers are to give up the old one, and
    /// connections to relays are dead: what they were told through one of them would be lost.
    fn saw(&self, ours: SocketAddr) {
        let mut known = self.looks.facts.borrow_mut();
        if !known.tracker.saw(ours, self.clock.mono()) {
            return;
        }
        known.report = None;
        drop(known);
        if let Some(pool) = &*self.pool.borrow() {
            pool.renew();
        }
    }

    fn looked(&self, report: Arc<Report>) {
        let now = self.clock.mono();
        let moved = {
            let mut known = self.looks.facts.borrow_mut();
            known.report = Some(Arc::clone(&report));
            known.tracker.note(&report, now)
        };
        if moved {
            // Connections from the former address are dead, and nobody tells us. With several ways out they may not be.
            self.check_relays();
        }
        self.looks.hasty.set(false);
        self.found_out();
        self.tell(News::Looked(report));
    }

    /// Others reach us where they did not before, perhaps.
    fn found_out(&self) {
        let known = self.looks.facts.borrow();
        let report = known.report.as_deref();
        let found = Found {
            mapped: known.portmap.into_iter().collect(),
            stun: known.tracker.all(report, self.clock.mono()),
            varies: report.is_some_and(|report| report.mapping_varies == Some(true)),
        };
        drop(known);
        self.set_found(found);
    }

    /// Does what takes a while, one after the other, for as long as the node runs.
    pub async fn look_around(self: Rc<Self>) {
        loop {
            let task = self.looks.tasks.borrow_mut().pop_front();
            match task {
                Some(Step::Begin) => self.begin_look().await,
                Some(Step::AskHttps(regions)) => self.ask_https(&regions).await,
                Some(Step::Send { .. } | Step::Heard { .. } | Step::Done(_)) => {}
                None => self.looks.wake.notified().await,
            }
            self.drive_looks();
        }
    }

    async fn begin_look(&self) {
        let map = self.map.borrow().clone();
        let names = self.look_up(&map).await;
        let now = self.clock.mono();
        let (v4, v6) = self.sockets.borrow().families();
        let known = self.looks.facts.borrow();
        if known.paused {
            return self.looks.check.borrow_mut().stop();
        }
        let (home, udp) = (known.home, known.udp);
        let request =
            Request { map: &map, names: &names, v4, v6, udp, home, enough: ENOUGH, hurry: home.is_none() };
        self.looks.check.borrow_mut().begin(&request, now);
    }

    async fn look_up(&self, map: &netmap::DerpMap) -> Names {
        let wanted: Set<&str> = unknown_names(map).collect();
        let now = self.clock.mono();
        {
            let cached = self.looks.names.borrow();
            let (at, known) = &*cached;
            if now.since(*at) < NAMES && wanted.iter().all(|name| known.contains_key(*name)) {
                return known.clone();
            }
        }
        let mut names = Names::new();
        let asking = async {
            for name in wanted {
                if let Ok(ips) = self.dialer.resolve(name).await {
                    names.insert(name.into(), ips);
                }
            }
        };
        // Those that were found in time will do.
        let _ = timeout(LOOKUP, asking).await;
        *self.looks.names.borrow_mut() = (now, names.clone());
        names
    }

    async fn ask_https(&self, regions: &[RegionId]) {
        let map = self.map.borrow().clone();
        let told = &mut |region: RegionId, measured: derp::Measured| {
            if let Err(error) = &measured {
                log::debug!("DERP region {region}: {error}");
            }
            self.looks.check.borrow_mut().https_answer(region, measured.ok(), self.clock.mono());
            self.drive_looks();
        };
        // What is to be done next is for another look: this one has ended, or was given up.
        let next = async {
            while self.looks.tasks.borrow().is_empty() {
                self.looks.wake.notified().await;
            }
        };
        tokio::select! {
            biased;
            () = next => {}
            _ = timeout(HTTPS, derp::measure(&self.dialer, &map, regions, self.use_http, told)) => {}
        }
    }
}

#[cfg(test)]
#[path = "looks_tests.rs"]
mod tests;
