//! The machine's network as the kernel tells it: addresses of interfaces, and that something has changed.
//!
//! Leaves out: our own interface (`parts/osrouter`), what follows from a change (`node`).

mod addresses;
mod monitor;
mod state;
mod table;
mod uplink;

pub use monitor::{Heard, Monitor};
pub use state::{Change, State};
pub use uplink::{Uplink, Uplinks};
