//! What a finished handshake hands to the packet lines.

use crate::slot::PeerSlot;
use crate::time::Tick;
use std::fmt;
use zeroize::Zeroize;

/// Keys of one WireGuard session. Created once and named by our receiver index ever after; its send counter lives
/// only in the tx line's table, its replay window only in the rx line's.
#[derive(Clone)]
pub struct SessionKeys {
    /// Whose session.
    pub peer: PeerSlot,
    /// Our receiver index: the low 16 bits are the place in the session tables, the high 16 are random.
    pub local: u32,
    /// The peer's receiver index, written into every packet we send.
    pub remote: u32,
    /// Key of packets we send.
    pub send: [u8; 32],
    /// Key of packets we receive.
    pub recv: [u8; 32],
    /// When the handshake ended; the lines stop sealing with the keys 175 s later and opening 180 s later
    /// by themselves.
    pub born: Tick,
    /// We began the handshake: we may send at once, and we are the one to renew it.
    pub initiator: bool,
}

impl Drop for SessionKeys {
    fn drop(&mut self) {
        self.send.zeroize();
        self.recv.zeroize();
    }
}

impl fmt::Debug for SessionKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SessionKeys({:?}, {:08x} -> {:08x}, keys redacted)", self.peer, self.local, self.remote)
    }
}
