//! The mark that tells policy rules which packets carry the tunnel itself and must not be led into it.

use nix::sys::socket::{setsockopt, sockopt};
use std::os::fd::AsFd;
use std::sync::atomic::{AtomicBool, Ordering};

/// As Go's node has it (protocol reference §8).
const BYPASS: u32 = 0x8_0000;

/// Marks what a socket will send. Where the system refuses (that takes `CAP_NET_ADMIN`), a line is logged once and nothing
/// else is different: there are no rules then either.
pub fn mark(socket: &impl AsFd) {
    static REFUSED: AtomicBool = AtomicBool::new(false);
    if let Err(error) = setsockopt(socket, sockopt::Mark, &BYPASS)
        && !REFUSED.swap(true, Ordering::Relaxed)
    {
        log::debug!("sockets go without a mark: {error}");
    }
}
