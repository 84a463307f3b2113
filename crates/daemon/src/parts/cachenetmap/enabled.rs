//! When the map of the last run is read, put in force, written and removed.
//!
//! It is used by the node that it was made for only: same control server, same node key, wanted up, key not expired. Then
//! it stands in until control's first map, which replaces it whole. With it comes the disco key that the peers know from
//! the last run: while control cannot tell them of another one, no direct path could be found with a new one.

pub use super::mark::Mark;

use super::file::{self, Draft, Found, Owner, Sum};
use super::schedule::Schedule;
use crate::backend::{Backend, Moment, Profiles, control_url};
use crate::clock::Clock;
use crate::flags::StatePlace;
use crate::node::Shared;
use crate::state::{self, Store};
use engine::host::PingKind;
use engine::time::Mono;
use keys::DiscoPrivate;
use netmap::{NetMap, Timestamp};
use std::cell::{Cell, RefCell};
use std::io::ErrorKind;
use std::path::PathBuf;
use std::rc::Rc;
use std::time::{Duration, SystemTime};

/// The name of the feature, if it is in this build.
pub const FEATURE: Option<&str> = Some("cachenetmap");

/// Upstream's switch: false = nothing is kept or used.
const SWITCH: &str = "TS_USE_CACHED_NETMAP";

/// Control forbids it with this attribute (`tailcfg`).
const FORBIDDEN: &str = "disable-cache-network-maps";

/// What the file has behind the state file's name.
const SUFFIX: &str = ".netmap";

/// As many peers hear of us at once when we come back.
const GREETED: usize = 64;

/// How long they may take to answer.
const GREETING: Duration = Duration::from_secs(5);

/// The file, and what is in it.
pub struct Cache {
    kept: Rc<RefCell<Kept>>,
    found: Option<Box<Found>>,
    disco: DiscoPrivate,
    /// The changes of [`Mark`] that the schedule knows of.
    known: u32,
    /// Somebody waits for the next look.
    waits: Rc<Cell<bool>>,
}

struct Kept {
    /// None: nothing is kept.
    path: Option<PathBuf>,
    /// What is in the file; none = there is none.
    substance: Option<Sum>,
    schedule: Schedule,
}

/// A map that is being put into bytes, a few peers at a time. Each peer is whole in itself, so that others may change
/// meanwhile: in a large tailnet some do all the time.
struct Drafting {
    draft: Draft,
    /// How [`Mark`] stood when it was begun.
    changes: u32,
    heads: u32,
}

impl Drafting {
    fn new(draft: Draft, mark: Mark) -> Self {
        Self { draft, changes: mark.changes, heads: mark.heads }
    }

    /// Takes some more peers; false when there are none left, or when what stands before them is out of date.
    fn step(&mut self, mark: Mark, map: Option<&NetMap>) -> bool {
        mark.heads == self.heads && map.is_some_and(|map| self.draft.step(map))
    }
}

impl Cache {
    /// Reads the file beside the state file, if it is of the login that `store` has.
    pub fn open(place: &StatePlace, store: &Store, clock: &Clock) -> Self {
        let path = match (place, store) {
            (StatePlace::File(path), Store::File(_)) => Some(state::with_suffix(path, SUFFIX)),
            _ => None,
        };
        let mut kept = Kept { path, substance: None, schedule: Schedule::default() };
        if crate::flags::variable(SWITCH).is_some_and(|value| cli::parse_bool(&value) == Ok(false)) {
            kept.remove();
            kept.path = None;
        }
        kept.path.iter().for_each(|path| state::remove_leftovers(path));
        let found = kept.read(store, clock.timestamp());
        kept.substance = found.as_ref().map(|found| found.substance);
        let (kept, waits) = (Rc::new(RefCell::new(kept)), Rc::default());
        Self { kept, found: found.map(Box::new), disco: DiscoPrivate::zero(), known: 0, waits }
    }

    /// The disco key of this run: that of the last one, or a new one.
    pub fn disco(&mut self, new: impl FnOnce() -> DiscoPrivate) -> DiscoPrivate {
        self.disco = self.found.as_ref().map_or_else(new, |found| found.disco.clone());
        self.disco.clone()
    }

    /// Puts the map of the last run in force if the node is to run; its effects follow from the next input.
    pub fn recall(&mut self, shared: &Shared) {
        let now = shared.now();
        let mut backend = shared.backend.borrow_mut();
        let prefs = backend.prefs();
        let wanted = prefs.want_running && !prefs.logged_out;
        let owner = owner(&backend);
        let Some(found) = self.found.as_mut().filter(|found| wanted && found.owner == owner) else { return };
        // The clock may have lost years since.
        let now = Moment { wall: now.wall.max(found.written), ..now };
        let map = std::mem::take(&mut found.map);
        log::info!("using the network map of the last run until control answers; {} peers", map.peer_count());
        backend.recall(map, found.home, now);
    }

    /// Tells peers that we are back: whoever speaks to us holds sessions that this process does not have, and nobody
    /// but us can tell them now.
    pub fn greet(&self, shared: &Rc<Shared>) {
        let backend = shared.backend.borrow();
        let (Some(found), Some(map)) = (&self.found, backend.netmap()) else { return };
        for id in found.online.iter().take(GREETED) {
            let Some(ip) =
                map.peer(*id).filter(|peer| !peer.wireguard_only).and_then(|peer| peer.ips().next())
            else {
                continue;
            };
            let shared = shared.clone();
            dial::spawn(async move { drop(shared.plane.ping(PingKind::Tsmp, ip, GREETING).await) });
        }
    }

    /// Sees whether there is something to write or to remove; writes later.
    pub fn look(&mut self, shared: &Rc<Shared>) {
        self.found = None;
        let changes = {
            let mut backend = shared.backend.borrow_mut();
            if std::mem::take(&mut backend.cache_mark().ended) && shared.plane.connected_relays() == 0 {
                // Control is there now: what the first attempts met may be there as well, and they may still hang.
                shared.plane.close_relays();
                shared.plane.relays(&backend.relay_config());
            }
            let mark = backend.cache_mark();
            if std::mem::take(&mut mark.forgotten) {
                self.kept.borrow_mut().remove();
            }
            mark.changes
        };
        if changes != self.known && self.kept.borrow().path.is_some() {
            self.known = changes;
            self.kept.borrow_mut().schedule.news(shared.now().mono);
            if !self.waits.replace(true) {
                let (kept, waits) = (self.kept.clone(), self.waits.clone());
                dial::spawn(wait(shared.clone(), kept, waits, self.disco.clone()));
            }
        }
    }

    /// The end: writes what has changed since the last time.
    pub fn close(&mut self, shared: &Shared) {
        let mut kept = self.kept.borrow_mut();
        let Some(mut drafting) = kept.begin(shared, &self.disco) else { return };
        let mut backend = shared.backend.borrow_mut();
        let mark = *backend.cache_mark();
        while drafting.step(mark, backend.netmap()) {}
        kept.end(drafting, mark, shared.now().mono, shared.clock.system_time());
    }
}

/// Looks when it is time, as long as there is something to look at.
async fn wait(shared: Rc<Shared>, kept: Rc<RefCell<Kept>>, waits: Rc<Cell<bool>>, disco: DiscoPrivate) {
    loop {
        let due = kept.borrow().schedule.due();
        let Some(due) = due else { break };
        if due > shared.now().mono {
            tokio::time::sleep_until(shared.clock.instant(due).into()).await;
            continue;
        }
        let begun = kept.borrow_mut().begin(&shared, &disco);
        let Some(mut drafting) = begun else { continue };
        let mark = || *shared.backend.borrow_mut().cache_mark();
        while drafting.step(mark(), shared.backend.borrow().netmap()) {
            tokio::task::yield_now().await;
        }
        kept.borrow_mut().end(drafting, mark(), shared.now().mono, shared.clock.system_time());
    }
    waits.set(false);
}

fn owner(backend: &Backend) -> Owner {
    Owner::new(control_url(backend.prefs()), &backend.node_key().public())
}

impl Kept {
    /// What is in the file, if it is of the login that `store` has and not out of date. Anything else is removed.
    fn read(&self, store: &Store, now: Timestamp) -> Option<Found> {
        let path = self.path.as_deref()?;
        let bytes = match state::read_capped(path, file::MAX as u64) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == ErrorKind::NotFound => return None,
            Err(error) => {
                log::warn!("the network map of the last run ({}) is not used: {error}", path.display());
                return None;
            }
        };
        let (profiles, _) = Profiles::load(store);
        let persist = profiles.persist()?;
        let owner = Owner::new(control_url(profiles.prefs()), &persist.private_node_key.public());
        let found = file::read(&bytes).and_then(|found| match &found {
            _ if found.owner != owner => Err("it is of another login"),
            _ if found.map.self_node.is_expired(now.max(found.written)) => Err("this node's key has expired"),
            _ if found.map.self_node.key != persist.private_node_key.public() => Err("it is of another key"),
            _ => Ok(found),
        });
        found
            .inspect_err(|why| {
                log::warn!("the network map of the last run ({}) is not used: {why}", path.display());
                let _ = std::fs::remove_file(path);
            })
            .ok()
    }

    /// Begins to put the map in force into bytes; none if there is nothing that may be kept.
    fn begin(&mut self, shared: &Shared, disco: &DiscoPrivate) -> Option<Drafting> {
        let mut backend = shared.backend.borrow_mut();
        let mark = *backend.cache_mark();
        let map = backend.netmap().filter(|_| backend.is_active() && !mark.holds());
        let forbidden = map.is_some_and(|map| map.self_node.has_cap(FORBIDDEN));
        if forbidden {
            self.remove();
        }
        let Some(map) = map.filter(|_| !forbidden && self.path.is_some()) else {
            self.schedule.clear();
            return None;
        };
        let draft = Draft::new(&owner(&backend), disco, backend.home(), shared.now().wall, map);
        Some(Drafting::new(draft, mark))
    }

    /// The map is in bytes, unless it is another one now: they are written if they differ in something that counts. `time`
    /// is when the machine's clock says that this was.
    fn end(&mut self, drafting: Drafting, mark: Mark, now: Mono, time: SystemTime) {
        self.schedule.looked(now);
        if drafting.changes != mark.changes {
            // The next look's.
            self.schedule.news(now);
        }
        if drafting.heads != mark.heads {
            return;
        }
        let (bytes, substance) = drafting.draft.finish();
        let Some(path) = self.path.as_deref().filter(|_| self.substance != Some(substance)) else { return };
        self.schedule.wrote(now);
        let Some(bytes) = bytes else {
            log::warn!("the network map is too large to be kept for the next start");
            return;
        };
        match state::replace(path, &bytes, Some(time)) {
            Ok(()) => self.substance = Some(substance),
            Err(error) => {
                log::warn!("cannot keep the network map in {}: {error}", path.display());
                // There may be room later.
                self.schedule.news(now);
            }
        }
    }

    fn remove(&mut self) {
        self.substance = None;
        let Some(path) = &self.path else { return };
        match std::fs::remove_file(path) {
            Err(error) if error.kind() != ErrorKind::NotFound => {
                log::warn!("cannot remove the network map in {}: {error}", path.display());
            }
            _ => {}
        }
    }
}

#[cfg(test)]
#[path = "busy_tests.rs"]
mod tests;
