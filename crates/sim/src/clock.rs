//! Virtual time: jumps from event to event; wall time may start anywhere and be stepped.

use crate::node::Moment;
use engine::time::{Mono, Wall};
use std::time::Duration;

/// Where wall time starts unless told otherwise: 2026-01-01T00:00:00Z.
const WALL_START: u64 = 1_767_225_600 * 1_000_000_000;

/// The clock of a world.
#[derive(Debug, Clone)]
pub struct Clock {
    now: Mono,
    /// What wall time was when `now` was zero, modulo steps since.
    wall_base: u64,
}

impl Default for Clock {
    fn default() -> Self {
        Self { now: Mono::ZERO, wall_base: WALL_START }
    }
}

impl Clock {
    /// Now.
    pub const fn now(&self) -> Mono {
        self.now
    }

    /// Now, on both clocks.
    pub const fn moment(&self) -> Moment {
        Moment { mono: self.now, wall: Wall(self.wall_base.wrapping_add(self.now.as_nanos())) }
    }

    /// Goes forward to `to`; never back.
    pub fn advance(&mut self, to: Mono) {
        self.now = self.now.max(to);
    }

    /// Sets wall time as of now, forward or back; a router without a battery begins at `Wall(0)`.
    pub fn set_wall(&mut self, wall: Wall) {
        self.wall_base = wall.0.wrapping_sub(self.now.as_nanos());
    }

    /// The moment that long from now.
    pub fn after(&self, duration: Duration) -> Mono {
        self.now + duration
    }
}
