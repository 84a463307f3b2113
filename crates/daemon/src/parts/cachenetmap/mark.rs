//! What the backend tells of its map: whose it is, and how often it has changed.

use netmap::Changes;

/// What the backend knows of it, and what it tells.
#[derive(Debug, Clone, Copy, Default)]
pub struct Mark {
    /// The map in force is that of the last run.
    holds: bool,
    /// What is on flash is not to be used any more.
    pub(super) forgotten: bool,
    /// It was in force a moment ago.
    pub(super) ended: bool,
    /// The map may have changed so many times …
    pub(super) changes: u32,
    /// … and so many times in something else than single peers.
    pub(super) heads: u32,
}

impl Mark {
    /// The map in force is that of the last run.
    pub const fn holds(&self) -> bool {
        self.holds
    }

    /// It is not in force any more; whether it was.
    pub const fn replaced(&mut self) -> bool {
        let held = std::mem::replace(&mut self.holds, false);
        self.ended |= held;
        held
    }

    /// A message of control has changed the map, the `first` of a stream perhaps the whole of it.
    pub const fn heard(&mut self, changes: &Changes, first: bool) {
        self.changes = self.changes.wrapping_add(1);
        let Changes { self_node, derp_map, dns, packet_filters, messages, .. } = *changes;
        if first || self_node || derp_map || dns || packet_filters || messages {
            self.heads = self.heads.wrapping_add(1);
        }
    }

    /// Our home is another one now.
    pub const fn moved(&mut self) {
        self.changes = self.changes.wrapping_add(1);
        self.heads = self.heads.wrapping_add(1);
    }

    /// What is on flash was decided for another login, or for a key that control refuses.
    pub const fn forget(&mut self) {
        self.forgotten = true;
        self.heads = self.heads.wrapping_add(1);
    }

    /// The map of the last run is in force.
    pub const fn recalled(&mut self) {
        self.holds = true;
    }
}
