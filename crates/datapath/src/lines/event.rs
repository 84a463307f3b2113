//! What a line tells: events to control, a report to whoever turned it.

use crate::slot::PeerSlot;
use std::net::SocketAddr;

/// From a line to control.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LineEvent {
    /// Packets for this peer wait and it has no usable session, or its session has sealed so much that it must be
    /// renewed.
    NeedHandshake(PeerSlot),
    /// The first packet on this session was authentic: the peer has the keys.
    FirstData(u32),
    /// Something was to be sent to a peer whose path nobody looks after. Told once.
    Woken(PeerSlot),
    /// The system has no way to the address of a direct path. Told once a path.
    Unreachable(PeerSlot),
    /// A peer that may move has been heard, authentically, from this address and not from the one before.
    Moved(PeerSlot, SocketAddr),
}

/// What a turn did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct TurnReport {
    /// Commands and packets handled.
    pub packets: u32,
    /// The budget ended before the input did.
    pub more: bool,
    /// Control has events or packets to take, or commands waiting for the room that is there now.
    pub wake_control: bool,
    /// Line rx should take the flows that tx has announced: there is not much room for more.
    pub wake_rx: bool,
    /// Packets went to relays.
    pub relayed: bool,
    /// Packets went to services of this node.
    pub served: bool,
    /// Packets went by UDP.
    pub direct: bool,
}

impl TurnReport {
    /// Whether anything was done.
    pub const fn did_work(self) -> bool {
        self.packets > 0
    }
}
