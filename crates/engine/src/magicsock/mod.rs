//! Direct paths: which of a peer's addresses answers, and which of those is best (protocol reference §3).
//!
//! Owns: the disco messages and their boxes, the state of the paths to a peer as long as there is something to say about
//! them (`paths`), and every interval and limit in one table.
//! Leaves out: sockets, STUN and port mapping (what our own endpoints are is told), relays beyond their numbers, and
//! which peers there are: the engine joins all that.
//!
//! A peer to whom nothing is sent costs nothing: no ping, no timer, and after a while no memory.

pub mod boxes;
mod candidates;
mod conversation;
pub mod disco;
pub(crate) mod paths;
mod score;
#[cfg(test)]
mod tests;

pub use candidates::Families;
pub use disco::TxId;
pub use paths::To;
pub use score::Quality;

use std::time::Duration;

/// The path in use is asked so often (protocol reference §3.7, like all down to `GOOD_ENOUGH`).
pub const HEARTBEAT: Duration = Duration::from_secs(3);
/// So long after something was last sent to a peer, nobody looks after its path any more.
pub const SESSION_ACTIVE: Duration = Duration::from_secs(45);
/// A path is trusted so long after its last pong: two heartbeats may be lost.
pub const TRUST: Duration = Duration::from_millis(6500);
/// A ping is given up after this.
pub const PING_TIMEOUT: Duration = Duration::from_secs(5);
/// Least time between two rounds of pings to all addresses of a peer, in the long run.
pub const DISCOVERY: Duration = Duration::from_secs(5);
/// A path that works is compared with the others so often.
pub const UPGRADE: Duration = Duration::from_secs(60);
/// A path as quick as this is not compared.
pub const GOOD_ENOUGH: Duration = Duration::from_millis(5);
/// An address that only the peer's pings have told is forgotten so long after the last one.
pub const HEARD: Duration = Duration::from_secs(45);
/// Our endpoints are good enough for a call-me-maybe so long after they were looked at.
pub const FRESH: Duration = Duration::from_secs(27);
/// They are looked at again when a path that worked has died, as if our router had another address since, but not if they
/// were looked at so shortly before.
pub(crate) const LOOK_AGAIN: Duration = Duration::from_secs(5);
/// The same when a peer says that it sees us elsewhere than before.
pub(crate) const LOOK_MOVED: Duration = Duration::from_secs(1);
/// Who was heard a moment ago and now is not, for so long after we sent something, is asked whether the path still works
/// before the next heartbeat; twice the path's round trip if that is longer.
pub(crate) const UNHEARD: Duration = Duration::from_millis(500);

/// The path in use is asked again when an answer is four times later than usual and this late, and not trusted any more when
/// that is in vain, too: whoever waits for the end of its trust stands still for twice as long.
pub(crate) const OVERDUE: Duration = Duration::from_millis(750);
/// Time between the first rounds: a lost packet, or a peer that has not yet sent where we can let it in, should not cost
/// five seconds.
pub(crate) const FIRST_ROUNDS: [Duration; 2] = [Duration::from_millis(1000), Duration::from_millis(2000)];
/// While there is no path, a peer's ping is returned, unless another has come from the same address so shortly before and
/// that was pinged so shortly before.
pub(crate) const ECHO_GAP: Duration = Duration::from_millis(100);
/// The state of a peer's paths is forgotten so long after anything was sent to it or came from it.
pub(crate) const FORGET: Duration = Duration::from_secs(600);
/// Addresses of one peer that are tried at most.
pub(crate) const CANDIDATES: usize = 48;
/// Pings of ours to one peer that wait for their pongs.
pub(crate) const WAITING: usize = 3 * CANDIDATES;
/// Pings of one peer that are answered in two seconds: all our addresses, tried from all of its own.
pub(crate) const PINGS_TAKEN: u32 = 100;
/// Pings of one peer that are known again.
pub(crate) const REMEMBERED: usize = 8;
/// Calls of one peer that are followed in two seconds: each makes us send to addresses of its choice.
pub(crate) const CALLS_TAKEN: u32 = 4;
/// The wire MTU that every path has: that of the tunnel and what is around it.
pub(crate) const SAFE_MTU: u16 = 1360;
