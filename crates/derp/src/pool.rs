//! Which regions are connected.
//!
//! Rule: the home region always, any other as soon as something is sent through it and until a minute after
//! the last such packet. One task a region; this file starts and ends them.

use crate::frame::MAX_PACKET;
use crate::link::{self, Link};
use crate::outbox::Pushed;
use crate::{Event, Sink};
use dial::Dial;
use keys::{NodePrivate, NodePublic};
use netmap::{DerpMap, Map, RegionId};
use rand_core::CryptoRngCore;
use std::cell::{Cell, RefCell};
use std::rc::Rc;

/// Regions connected at a time; the one longest unused makes room. A connection costs about 100 KB.
const MAX_LINKS: usize = 16;

/// What does not change while the pool lives.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Options {
    /// Plain HTTP instead of TLS (`TS_DEBUG_USE_DERP_HTTP`); for tests of the relay itself.
    pub use_http: bool,
}

/// What the pool is to be connected as and to.
#[derive(Debug, Clone)]
pub struct Config {
    /// Our node key; zero = connect to nothing.
    pub key: NodePrivate,
    /// Every region there is.
    pub map: Rc<DerpMap>,
    /// The region where peers look for us; 0 = none yet.
    pub home: RegionId,
    /// Stay disconnected.
    pub paused: bool,
}

/// What the pool did so far. Counters start at 0 and wrap never.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Stats {
    /// Regions whose relay has answered our handshake.
    pub connected: Vec<RegionId>,
    /// Packets that gave way to younger ones in a full queue.
    pub dropped_full: u64,
    /// Packets beyond a relay's rate limit.
    pub dropped_limit: u64,
    /// Packets that waited when a connection failed.
    pub dropped_lost: u64,
    /// Packets for a region that does not exist, too long to relay, or sent while paused.
    pub dropped_unsendable: u64,
}

#[derive(Debug, Default)]
pub(crate) struct Counters {
    full: Cell<u64>,
    limit: Cell<u64>,
    pub(crate) lost: Cell<u64>,
    unsendable: Cell<u64>,
}

fn count(counter: &Cell<u64>, n: u32) {
    counter.set(counter.get() + u64::from(n));
}

/// What the tasks of a pool share with it.
pub(crate) struct Shared {
    pub(crate) dialer: Rc<dyn Dial>,
    pub(crate) sink: Rc<dyn Sink>,
    pub(crate) rng: RefCell<Box<dyn CryptoRngCore>>,
    pub(crate) options: Options,
    pub(crate) counters: Counters,
    links: RefCell<Map<RegionId, Rc<Link>>>,
    config: RefCell<Option<Config>>,
}

impl Shared {
    /// Takes `link` out, unless another has taken its place.
    pub(crate) fn forget(&self, link: &Rc<Link>) {
        let mut links = self.links.borrow_mut();
        if links.get(&link.region.id).is_some_and(|current| Rc::ptr_eq(current, link)) {
            links.remove(&link.region.id);
        }
    }
}

/// The relay connections of a node. Lives on a tokio `LocalSet`, in whose context all its functions must be
/// called; none of them blocks, and none calls the [`Sink`] before it returns. Dropping it closes everything.
pub struct Pool {
    shared: Rc<Shared>,
}

impl Pool {
    /// A pool that is connected to nothing until [`Self::apply`]. `rng` is for nonces and jitter.
    pub fn new(
        dialer: Rc<dyn Dial>,
        sink: Rc<dyn Sink>,
        rng: Box<dyn CryptoRngCore>,
        options: Options,
    ) -> Self {
        let shared = Shared {
            dialer,
            sink,
            rng: RefCell::new(rng),
            options,
            counters: Counters::default(),
            links: RefCell::default(),
            config: RefCell::default(),
        };
        Self { shared: Rc::new(shared) }
    }

    /// Makes the connections fit `config`: a new key closes all, a region that is gone or changed closes its
    /// own, home is connected and told so. Applying the same again does nothing.
    pub fn apply(&self, config: Config) {
        let old = self.shared.config.replace(Some(config.clone()));
        let Config { key, map, home, paused } = config;
        if paused || key.is_zero() || old.is_some_and(|old| old.key != key) {
            self.close_all();
        }
        if paused || key.is_zero() {
            return;
        }
        self.close_if(|link| map.regions.get(&link.region.id) != Some(&link.region));
        for (region, link) in self.shared.links.borrow().iter() {
            link.set_home(*region == home);
        }
        if !home.is_none() && self.link(home).is_none() && self.open(home).is_none() {
            log::warn!("home DERP region {home} is not in the DERP map");
        }
    }

    /// Queues `packet` for `dst` at `region`, connecting to it if need be. False if it was dropped at once;
    /// true does not mean that it will arrive.
    pub fn send(&self, region: RegionId, dst: &NodePublic, packet: &[u8]) -> bool {
        let counters = &self.shared.counters;
        let link =
            if packet.len() > MAX_PACKET { None } else { self.link(region).or_else(|| self.open(region)) };
        let Some(link) = link else {
            count(&counters.unsendable, 1);
            return false;
        };
        match link.push_packet(dst, packet) {
            Pushed::Queued { dropped } => {
                count(&counters.full, dropped);
                return true;
            }
            Pushed::OverLimit => count(&counters.limit, 1),
            Pushed::NoRoom => count(&counters.full, 1),
        }
        false
    }

    /// After a change of the network: pings every relay and reconnects those that do not answer in 3 s.
    pub fn check(&self) {
        for link in self.shared.links.borrow().values() {
            link.check.notify_one();
        }
    }

    /// The address from which we connected is not ours any more: every connection is replaced, home at once. What is sent
    /// from now on waits for the new ones.
    pub fn renew(&self) {
        let config = self.shared.config.borrow().clone();
        self.close_all();
        if let Some(config) = config {
            self.apply(config);
        }
    }

    /// Connections and counters.
    pub fn stats(&self) -> Stats {
        let counters = &self.shared.counters;
        let links = self.shared.links.borrow();
        Stats {
            connected: links.iter().filter(|(_, link)| link.connected.get()).map(|(id, _)| *id).collect(),
            dropped_full: counters.full.get(),
            dropped_limit: counters.limit.get(),
            dropped_lost: counters.lost.get(),
            dropped_unsendable: counters.unsendable.get(),
        }
    }

    /// Closes every connection. Home comes back with the next [`Self::apply`], others with the next packet.
    pub fn close_all(&self) {
        self.close_if(|_| true);
    }

    fn link(&self, region: RegionId) -> Option<Rc<Link>> {
        self.shared.links.borrow().get(&region).map(Rc::clone)
    }

    /// Starts the task of `region`; `None` if there is no such region or we are to stay disconnected.
    fn open(&self, region: RegionId) -> Option<Rc<Link>> {
        let config = self.shared.config.borrow();
        let config = config.as_ref().filter(|config| !config.paused && !config.key.is_zero())?;
        let definition = config.map.regions.get(&region)?;
        self.make_room();
        let link = Rc::new(Link::new(definition.clone(), config.key.clone(), region == config.home));
        let task = dial::spawn(link::run(Rc::clone(&self.shared), Rc::clone(&link)));
        // The cell is new, so this cannot fail.
        let _ = link.task.set(task.abort_handle());
        self.shared.links.borrow_mut().insert(region, Rc::clone(&link));
        Some(link)
    }

    fn make_room(&self) {
        let links = self.shared.links.borrow();
        if links.len() < MAX_LINKS {
            return;
        }
        let unused = links.values().filter(|link| !link.home.get()).min_by_key(|link| link.last_send.get());
        let unused = unused.map(|link| link.region.id);
        drop(links);
        self.close_if(|link| Some(link.region.id) == unused);
    }

    fn close_if(&self, unwanted: impl Fn(&Link) -> bool) {
        self.shared.links.borrow_mut().retain(|region, link| {
            let close = unwanted(link);
            if close {
                link.closed.set(true);
                if let Some(task) = link.task.get() {
                    task.abort();
                }
                count(&self.shared.counters.lost, link.outbox.borrow_mut().clear());
                if link.connected.replace(false) {
                    let (sink, region, home) = (Rc::clone(&self.shared.sink), *region, link.home.get());
                    // Told from a task of its own: our caller may hold what the sink needs.
                    dial::spawn(async move {
                        sink.event(Event::Disconnected { region, error: String::new(), home });
                    });
                }
            }
            !close
        });
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        for link in std::mem::take(&mut *self.shared.links.borrow_mut()).values() {
            link.closed.set(true);
            if let Some(task) = link.task.get() {
                task.abort();
            }
        }
    }
}
