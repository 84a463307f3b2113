//! UDP in batches: one `recvmmsg` fills the arena of rx, one `sendmmsg` empties a run of tx; where the kernel can, one
//! datagram of these stands for many (`UDP_GRO`, `UDP_SEGMENT`).
//!
//! Leaves out: opening sockets.

mod receiver;
mod segments;
mod sender;

pub(super) use receiver::Receiver;
pub(super) use sender::Sender;

/// Datagrams in one call at most: the arenas hold few more, and the tables lie on the stack.
const CALL: usize = 32;

/// How long a full send buffer is waited for before its datagrams are given up.
const PATIENCE: rustix::event::Timespec = rustix::event::Timespec { tv_sec: 0, tv_nsec: 5_000_000 };
