//! Load for measurements: TCP streams, datagrams at a given rate, a game of ping-pong between two hosts, name queries.
//!
//! Owns: sockets made inside the namespaces, threads of this process that keep them busy, and counters to be read at
//! any moment. What is counted is what arrived. Leaves out: what a measurement does with it (`cargo xtask bench`).

mod latency;
mod names;
mod tcp;
mod udp;

pub use latency::{RoundTrips, ping_pong};
pub(crate) use names::DNSPERF;
pub use names::{Asked, Asking, NameServer, dnsperf};
pub use tcp::Streams;
pub use udp::{Datagrams, Probe};

use std::time::Duration;

/// How long a connection may take, or an answer may be missing.
const PATIENCE: Duration = Duration::from_secs(20);

/// How often a blocked thread looks whether it is still wanted.
const LOOK: Duration = Duration::from_millis(100);
