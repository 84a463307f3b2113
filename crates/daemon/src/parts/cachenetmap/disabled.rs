//! Without feature `cachenetmap` a node waits for control and keeps nothing of what it said.

use crate::clock::Clock;
use crate::flags::StatePlace;
use crate::node::Shared;
use crate::state::Store;
use keys::DiscoPrivate;
use netmap::Changes;
use std::rc::Rc;

/// The name of the feature, if it is in this build.
pub const FEATURE: Option<&str> = None;

/// Nothing.
#[derive(Debug, Default)]
pub struct Mark;

impl Mark {
    /// The map in force is control's own.
    pub const fn holds(&self) -> bool {
        false
    }

    /// It never was.
    pub const fn replaced(&mut self) -> bool {
        false
    }

    /// It never is.
    pub const fn recalled(&mut self) {}

    /// Nobody wants to know.
    pub const fn heard(&mut self, _changes: &Changes, _first: bool) {}

    /// Nobody wants to know.
    pub const fn moved(&mut self) {}

    /// There is nothing.
    pub const fn forget(&mut self) {}
}

/// Nothing.
#[derive(Debug)]
pub struct Cache;

impl Cache {
    /// Reads nothing.
    pub const fn open(_state: &StatePlace, _store: &Store, _clock: &Clock) -> Self {
        Self
    }

    /// Always a new key.
    pub fn disco(&mut self, new: impl FnOnce() -> DiscoPrivate) -> DiscoPrivate {
        new()
    }

    /// Puts nothing in force.
    pub const fn recall(&mut self, _shared: &Shared) {}

    /// Speaks to nobody.
    pub const fn greet(&self, _shared: &Rc<Shared>) {}

    /// Writes nothing.
    pub const fn look(&mut self, _shared: &Rc<Shared>) {}

    /// Writes nothing.
    pub const fn close(&mut self, _shared: &Shared) {}
}
