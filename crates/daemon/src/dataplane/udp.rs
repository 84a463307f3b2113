//! UDP in batches: one `recvmmsg` fills the arena of rx, one `sendmmsg` empties a run of tx.
//!
//! Owns: the tables those calls need, what happens to a datagram the system does not take.
//! Leaves out: opening sockets; segmentation offloads, for which arenas and runs are laid out already.

use super::sockets::{Sockets, reason};
use engine::drop::{DropCounters, DropReason};
use engine::lines::batch::Run;
use engine::lines::{Arrival, UdpSink, UdpSource};
use nix::sys::socket::{MsgFlags, MultiHeaders, SockaddrIn, SockaddrIn6, SockaddrLike, recvmmsg};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fd::{AsRawFd as _, BorrowedFd};
use rustix::io::Errno;
use rustix::net::addr::SocketAddrArg as _;
use rustix::net::{MMsgHdr, SendAncillaryBuffer, SendFlags, sendmmsg};
use std::io::{IoSlice, IoSliceMut};
use std::net::{SocketAddr, SocketAddrV4, SocketAddrV6};
use std::sync::Arc;

/// Datagrams in one call at most: the arenas hold few more, and the tables lie on the stack.
const CALL: usize = 32;

/// The largest datagram that anybody sends through an ordinary path; a TUN with a larger MTU has larger ones.
const LARGEST: usize = 1536;

/// What WireGuard adds to a packet: header, tag, and padding at worst.
const OVERHEAD: usize = 48;

/// How long a full send buffer is waited for before its datagrams are given up.
const PATIENCE: Timespec = Timespec { tv_sec: 0, tv_nsec: 5_000_000 };

/// The receiving side. Bound to the thread that made it.
pub(super) struct Receiver {
    sockets: Arc<Sockets>,
    v4: MultiHeaders<SockaddrIn>,
    v6: MultiHeaders<SockaddrIn6>,
    /// Whether there may be something to receive, by IPv4 and by IPv6.
    readable: [bool; 2],
    /// Whose turn it is.
    next: usize,
    /// Bytes of the arena for each datagram.
    room: usize,
}

impl Receiver {
    /// For packets of at most `mtu` bytes.
    pub(super) fn new(sockets: Arc<Sockets>, mtu: usize) -> Self {
        let (v4, v6) = sockets.families();
        let table = |there: bool| if there { CALL } else { 0 };
        Self {
            v4: MultiHeaders::preallocate(table(v4), None),
            v6: MultiHeaders::preallocate(table(v6), None),
            sockets,
            readable: [false; 2],
            next: 0,
            room: mtu.saturating_add(OVERHEAD).next_multiple_of(16).max(LARGEST),
        }
    }

    /// There is something to receive, by IPv4 and by IPv6.
    pub(super) const fn note_readable(&mut self, [v4, v6]: [bool; 2]) {
        self.readable[0] |= v4;
        self.readable[1] |= v6;
    }

    /// Whether there may be something to receive.
    pub(super) const fn is_readable(&self) -> bool {
        self.readable[0] || self.readable[1]
    }
}

impl UdpSource for Receiver {
    fn receive(
        &mut self,
        arena: &mut [u8],
        most: usize,
        arrivals: &mut Vec<Arrival>,
        drops: &DropCounters,
    ) -> bool {
        // By turns, so that a flood on one does not silence the other.
        if !self.readable[self.next % 2] {
            self.next += 1;
        }
        let family = self.next % 2;
        self.next = family + 1;
        if !self.readable[family] {
            return false;
        }
        let (sockets, room, most) = (&self.sockets, self.room, most.min(CALL));
        let full = match (family, sockets.v4(), sockets.v6()) {
            (0, Some(socket), _) => {
                let from = |from: &SockaddrIn| SocketAddr::V4(SocketAddrV4::from(*from));
                batch(socket, &mut self.v4, arena, room, most, &from, arrivals, drops)
            }
            (1, _, Some(socket)) => {
                let from = |from: &SockaddrIn6| SocketAddr::V6(SocketAddrV6::from(*from));
                batch(socket, &mut self.v6, arena, room, most, &from, arrivals, drops)
            }
            _ => false,
        };
        self.readable[family] = full;
        self.is_readable()
    }
}

/// One `recvmmsg`; false when the socket is empty now.
#[expect(clippy::too_many_arguments, reason = "one call with everything it needs")]
fn batch<S: SockaddrLike + Copy>(
    socket: BorrowedFd<'_>,
    headers: &mut MultiHeaders<S>,
    arena: &mut [u8],
    room: usize,
    most: usize,
    from: &dyn Fn(&S) -> SocketAddr,
    arrivals: &mut Vec<Arrival>,
    drops: &DropCounters,
) -> bool {
    let slots = (arena.len() / room).min(most);
    let mut chunks = arena.chunks_exact_mut(room);
    let mut slices: [[IoSliceMut<'_>; 1]; CALL] =
        std::array::from_fn(|_| [IoSliceMut::new(chunks.next().unwrap_or_default())]);
    let received = match recvmmsg(
        socket.as_raw_fd(),
        headers,
        slices.iter_mut().take(slots),
        MsgFlags::MSG_DONTWAIT,
        None,
    ) {
        Ok(received) => received,
        Err(nix::errno::Errno::EAGAIN) => return false,
        // An error that an earlier datagram has met, or a signal: the socket itself is well.
        Err(nix::errno::Errno::ECONNREFUSED | nix::errno::Errno::EINTR) => return true,
        Err(_) => {
            drops.count(DropReason::Unreachable);
            return false;
        }
    };
    let mut count = 0;
    for (n, message) in received.enumerate() {
        count += 1;
        let Some(address) = message.address else { continue };
        if message.flags.contains(MsgFlags::MSG_TRUNC) {
            drops.count(DropReason::TooLarge);
            continue;
        }
        let arrival = Arrival { start: (n * room) as u32, len: message.bytes as u32, from: from(&address) };
        arrivals.push(arrival);
    }
    count == slots
}

/// The sending side.
pub(super) struct Sender {
    sockets: Arc<Sockets>,
}

impl Sender {
    pub(super) const fn new(sockets: Arc<Sockets>) -> Self {
        Self { sockets }
    }
}

impl UdpSink for Sender {
    fn send(&mut self, to: SocketAddr, run: Run<'_>, drops: &DropCounters) -> usize {
        let Some(socket) = self.sockets.to(to) else {
            drops.add(DropReason::NoPath, run.iter().count() as u32);
            return 0;
        };
        // A single one needs no tables.
        if run.len() == 1
            && let Some(datagram) = run.iter().next()
        {
            match self.sockets.send(to, datagram) {
                Ok(()) => return 1,
                // The other way waits for room.
                Err(DropReason::SendBuffer) => {}
                Err(reason) => {
                    drops.count(reason);
                    return 0;
                }
            }
        }
        let mut datagrams = run.iter().peekable();
        let mut sent = 0;
        while datagrams.peek().is_some() {
            let slices: [[IoSlice<'_>; 1]; CALL] =
                std::array::from_fn(|_| [IoSlice::new(datagrams.next().unwrap_or_default())]);
            sent += call(socket, to, &slices, drops);
        }
        sent
    }
}

/// Sends the slices that are not empty (they come first), with as few calls as the system needs; returns how many
/// it took.
fn call(
    socket: BorrowedFd<'_>,
    to: SocketAddr,
    slices: &[[IoSlice<'_>; 1]; CALL],
    drops: &DropCounters,
) -> usize {
    let count = slices.iter().take_while(|slice| !slice[0].is_empty()).count();
    let to = to.as_any();
    let mut controls: [SendAncillaryBuffer<'_, '_, '_>; CALL] = Default::default();
    let mut pieces = slices.iter();
    let mut headers = controls
        .each_mut()
        .map(|control| MMsgHdr::new_with_addr(&to, pieces.next().map_or(&[], |slice| slice), control));
    let Some(mut left) = headers.get_mut(..count) else { return 0 };
    let mut sent = 0;
    let (mut waited, mut refused) = (false, false);
    while !left.is_empty() {
        let skip = match sendmmsg(socket, left, SendFlags::DONTWAIT) {
            Ok(taken) => {
                sent += taken;
                taken.max(1)
            }
            Err(Errno::INTR) => continue,
            Err(Errno::AGAIN) if !waited => {
                waited = true;
                let mut writable = [PollFd::from_borrowed_fd(socket, PollFlags::OUT)];
                let _ = poll(&mut writable, Some(&PATIENCE));
                continue;
            }
            // That was about an earlier datagram; this one has not been tried.
            Err(Errno::CONNREFUSED) if !refused => {
                refused = true;
                continue;
            }
            // That is about this one alone.
            Err(error @ (Errno::MSGSIZE | Errno::CONNREFUSED)) => {
                drops.count(reason(error));
                1
            }
            Err(error) => {
                drops.add(reason(error), left.len() as u32);
                left.len()
            }
        };
        left = left.get_mut(skip..).unwrap_or_default();
    }
    sent
}
