//! What time certificates are judged at.
//!
//! Owns: the trait through which the dialler asks for wall time. Leaves out: reading a clock; the daemon does,
//! and it lifts a clock that is before the floor (build time, time of the state file) to that floor.

/// The wall clock as far as certificates are concerned.
pub trait WallClock: Send + Sync {
    /// The time to judge certificates at now.
    fn reading(&self) -> WallReading;
}

/// One answer of the [`WallClock`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WallReading {
    /// Seconds since 1970, never before the floor.
    pub unix_secs: u64,
    /// False: the machine's clock is before the floor, and `unix_secs` is the floor instead. A certificate may
    /// then be younger than the reading, and that alone does not condemn it.
    pub trusted: bool,
}
