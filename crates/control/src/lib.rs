//! The control client: how a node registers with its control server and follows the network map.
//!
//! Owns: the server's key, the Noise connection and HTTP/2 in it, registration in all its forms, the map stream
//! and its decoding into `netmap` values, updates about ourselves, and the pings of control.
//! Leaves out: opening connections (`dial`), deciding when to log in and what to do with the map (the daemon's
//! backend), the state file.
//!
//! [`run`] is the whole of it: one future on a current-thread runtime that takes [`Command`]s and gives
//! [`Event`]s. Below it, from the wire upwards:
//!
//! - `server`, `plain`, `key`, `upgrade`, `overtake`: from a URL to an encrypted byte stream;
//! - `noise`, `prefixed`, `early`, `h2`: that stream, and requests on it;
//! - `wire`: JSON to and from values; `map`: the stream of map messages;
//! - `register`, `update`, `ping`, `backoff`: the activities that `auto` starts and stops.
//!
//! Numbers of sections in comments are those of the protocol reference.

mod ahead;
mod auto;
mod backoff;
mod context;
mod early;
mod error;
mod h2;
mod key;
mod map;
mod messages;
mod noise;
mod overtake;
mod ping;
mod plain;
mod prefixed;
mod register;
mod server;
mod tasks;
mod text;
mod update;
mod upgrade;
mod wire;

#[cfg(test)]
mod tests;

pub use auto::run;
pub use error::Error;
pub use map::{DebugSettings, MapItem, MapMessage, whole_message};
pub use messages::{
    Activity, Command, Endpoint, EndpointKind, Event, LoggedIn, Login, Options, Persisted, PingReply,
    SelfReport,
};
pub use wire::hostinfo::{Hostinfo, NetInfo, Service};

/// The capability version that this node declares everywhere: every promise up to it is kept (§1.10), and it
/// avoids promising peer relays (120, 121).
pub const CAPABILITY_VERSION: u16 = 119;
