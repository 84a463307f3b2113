//! The receiving side, which fills the arena in one of two manners: many datagrams at once, each in a room of its own
//! (`recvmmsg`), or one that stands for many (`UDP_GRO`), which needs all the room there is.
//!
//! Owns: choosing the manner by what comes. Many containers' networks never merge anything, so merging is tried when
//! there is much to receive, kept while it yields, and tried again ever more rarely.

use super::CALL;
use crate::dataplane::sockets::Sockets;
use crate::flags::switched_on;
use engine::drop::{DropCounters, DropReason};
use engine::lines::{Arrival, UdpSource};
use nix::sys::socket::{
    ControlMessageOwned, MsgFlags, MultiHeaders, RecvMsg, SockaddrIn, SockaddrIn6, SockaddrLike, recvmmsg,
    recvmsg, setsockopt, sockopt::UdpGroSegment,
};
use rustix::fd::{AsRawFd as _, BorrowedFd};
use std::io::IoSliceMut;
use std::net::{SocketAddr, SocketAddrV4, SocketAddrV6};
use std::sync::Arc;

/// The largest datagram that anybody sends through an ordinary path; a TUN with a larger MTU has larger ones.
const LARGEST: usize = 1536;

/// What WireGuard adds to a packet: header, tag, and padding at worst.
const OVERHEAD: usize = 48;

/// The largest datagram there is, merged or not.
const GIANT: usize = 65_535;

/// Datagrams of one call that are many.
const MANY: usize = 8;
/// Datagrams that came unmerged, one after the other, after which merging is given up for a while: when the socket is empty,
/// because the kernel does not say of how many something consists that it has merged before it was to stop.
const FRUITLESS: u32 = 64;
/// The same where the socket is never empty.
const ALL_FRUITLESS: u32 = 256;
/// Calls with many datagrams before merging is tried for the first time, and at most.
const FIRST_TRY: u32 = 4;
const RAREST_TRY: u32 = 1 << 16;

/// The receiving side. Bound to the thread that made it.
pub(in crate::dataplane) struct Receiver {
    sockets: Arc<Sockets>,
    v4: Family<SockaddrIn>,
    v6: Family<SockaddrIn6>,
    /// Whether there may be something to receive, by IPv4 and by IPv6.
    readable: [bool; 2],
    /// Whose turn it is.
    next: usize,
    /// Bytes of the arena for each datagram.
    room: usize,
    control: Vec<u8>,
}

/// What belongs to one socket.
struct Family<S> {
    headers: MultiHeaders<S>,
    manner: Manner,
}

/// How a socket is read now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Manner {
    /// Many at once. So many more calls with many datagrams until merging is tried; how many it will be next time.
    Many { calls: u32, next: u32 },
    /// One that may stand for many. So many came unmerged; as above.
    Merged { single: u32, next: u32 },
    /// The kernel cannot merge.
    Never,
}

impl Receiver {
    /// For packets of at most `mtu` bytes; `TS_DEBUG_DISABLE_UDP_GRO` leaves merging out.
    pub(in crate::dataplane) fn new(sockets: Arc<Sockets>, mtu: usize) -> Self {
        let (v4, v6) = sockets.families();
        let manner = if switched_on("TS_DEBUG_DISABLE_UDP_GRO") {
            Manner::Never
        } else {
            Manner::Many { calls: FIRST_TRY, next: 2 * FIRST_TRY }
        };
        Self {
            v4: Family { headers: table(v4), manner },
            v6: Family { headers: table(v6), manner },
            sockets,
            readable: [false; 2],
            next: 0,
            room: mtu.saturating_add(OVERHEAD).next_multiple_of(16).max(LARGEST),
            control: nix::cmsg_space!(i32),
        }
    }

    /// There is something to receive, by IPv4 and by IPv6.
    pub(in crate::dataplane) const fn note_readable(&mut self, [v4, v6]: [bool; 2]) {
        self.readable[0] |= v4;
        self.readable[1] |= v6;
    }

    /// Whether there may be something to receive.
    pub(in crate::dataplane) const fn is_readable(&self) -> bool {
        self.readable[0] || self.readable[1]
    }
}

fn table<S: SockaddrLike + Copy>(there: bool) -> MultiHeaders<S> {
    MultiHeaders::preallocate(if there { CALL } else { 0 }, None)
}

/// Where datagrams go.
struct Place<'a> {
    arena: &'a mut [u8],
    /// Bytes for each datagram, where many are received at once.
    room: usize,
    /// How many at most.
    most: usize,
    arrivals: &'a mut Vec<Arrival>,
    drops: &'a DropCounters,
    control: &'a mut Vec<u8>,
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
        let (sockets, control) = (&self.sockets, &mut self.control);
        let mut place = Place { arena, room: self.room, most, arrivals, drops, control };
        let full = match (family, sockets.v4(), sockets.v6()) {
            (0, Some(socket), _) => {
                let from = |from: &SockaddrIn| SocketAddr::V4(SocketAddrV4::from(*from));
                self.v4.receive(socket, &mut place, &from)
            }
            (1, _, Some(socket)) => {
                let from = |from: &SockaddrIn6| SocketAddr::V6(SocketAddrV6::from(*from));
                self.v6.receive(socket, &mut place, &from)
            }
            _ => false,
        };
        self.readable[family] = full;
        self.is_readable()
    }
}

impl<S: SockaddrLike + Copy> Family<S> {
    /// One call; false when the socket is empty now.
    fn receive(
        &mut self,
        socket: BorrowedFd<'_>,
        place: &mut Place<'_>,
        from: &dyn Fn(&S) -> SocketAddr,
    ) -> bool {
        // One that stands for many needs all of the arena.
        let large = place.arena.len() >= GIANT && place.most >= CALL;
        match self.manner {
            Manner::Many { .. } | Manner::Never => {
                let (count, more) = many(socket, &mut self.headers, place, from);
                self.manner = self.manner.after_many(count, || large && merge(socket, true));
                more
            }
            Manner::Merged { .. } => {
                let (merged, more) = one(socket, place, from);
                self.manner = self.manner.after_one(merged, more, || merge(socket, false));
                more
            }
        }
    }
}

impl Manner {
    /// A call has brought `count`; `merge` has the kernel begin to merge and says whether it does.
    fn after_many(self, count: usize, merge: impl FnOnce() -> bool) -> Self {
        match self {
            Self::Many { calls: 0, next } => {
                if merge() {
                    Self::Merged { single: 0, next }
                } else {
                    Self::Never
                }
            }
            Self::Many { calls, next } if count >= MANY => Self::Many { calls: calls - 1, next },
            same => same,
        }
    }

    /// A call has brought one that stood for many (or not: or nothing at all); `part` has the kernel stop merging.
    fn after_one(self, merged: Option<bool>, more: bool, part: impl FnOnce() -> bool) -> Self {
        match (self, merged) {
            // Whoever merges once will do so again.
            (Self::Merged { .. }, Some(true)) => Self::Merged { single: 0, next: 2 * FIRST_TRY },
            (Self::Merged { single, next }, Some(false)) if single < ALL_FRUITLESS => {
                Self::Merged { single: single + 1, next }
            }
            (Self::Merged { single, next }, _)
                if (single >= ALL_FRUITLESS || (single >= FRUITLESS && !more)) && part() =>
            {
                Self::Many { calls: next, next: next.saturating_mul(2).min(RAREST_TRY) }
            }
            (same, _) => same,
        }
    }
}

/// Has the kernel merge, or not; whether it obeys.
fn merge(socket: BorrowedFd<'_>, on: bool) -> bool {
    setsockopt(&socket, UdpGroSegment, &on).is_ok()
}

/// What a failed call means: whether there may be more.
fn failed(error: nix::errno::Errno, drops: &DropCounters) -> bool {
    match error {
        nix::errno::Errno::EAGAIN => false,
        // An error that an earlier datagram has met, or a signal: the socket itself is well.
        nix::errno::Errno::ECONNREFUSED | nix::errno::Errno::EINTR => true,
        _ => {
            drops.count(DropReason::Unreachable);
            false
        }
    }
}

/// One `recvmmsg`: how many came, and false when the socket is empty now.
fn many<S: SockaddrLike + Copy>(
    socket: BorrowedFd<'_>,
    headers: &mut MultiHeaders<S>,
    place: &mut Place<'_>,
    from: &dyn Fn(&S) -> SocketAddr,
) -> (usize, bool) {
    let room = place.room;
    let slots = (place.arena.len() / room).min(place.most).min(CALL);
    let mut chunks = place.arena.chunks_exact_mut(room);
    let mut slices: [[IoSliceMut<'_>; 1]; CALL] =
        std::array::from_fn(|_| [IoSliceMut::new(chunks.next().unwrap_or_default())]);
    let flags = MsgFlags::MSG_DONTWAIT;
    let received = match recvmmsg(socket.as_raw_fd(), headers, slices.iter_mut().take(slots), flags, None) {
        Ok(received) => received,
        Err(error) => return (0, failed(error, place.drops)),
    };
    let mut count = 0;
    for message in received {
        let start = count * room;
        count += 1;
        let Some(address) = message.address else { continue };
        if message.flags.contains(MsgFlags::MSG_TRUNC) {
            place.drops.count(DropReason::TooLarge);
            continue;
        }
        place.arrivals.push(Arrival { start: start as u32, len: message.bytes as u32, from: from(&address) });
    }
    (count, count == slots)
}

/// One `recvmsg`: whether what came stood for many (nothing: none), and false when the socket is empty now.
fn one<S: SockaddrLike + Copy>(
    socket: BorrowedFd<'_>,
    place: &mut Place<'_>,
    from: &dyn Fn(&S) -> SocketAddr,
) -> (Option<bool>, bool) {
    let mut slices = [IoSliceMut::new(&mut *place.arena)];
    let flags = MsgFlags::MSG_DONTWAIT;
    let message = match recvmsg::<S>(socket.as_raw_fd(), &mut slices, Some(&mut *place.control), flags) {
        Ok(message) => message,
        Err(error) => return (None, failed(error, place.drops)),
    };
    let size = size(&message).unwrap_or(message.bytes).max(1);
    let Some(address) = message.address else { return (Some(false), true) };
    if message.flags.contains(MsgFlags::MSG_TRUNC) {
        place.drops.count(DropReason::TooLarge);
        return (Some(false), true);
    }
    let (bytes, from) = (message.bytes, from(&address));
    let mut start = 0;
    while start < bytes {
        let len = size.min(bytes - start);
        if place.arrivals.len() >= place.most {
            place.drops.add(DropReason::RingFull, ((bytes - start).div_ceil(size)) as u32);
            break;
        }
        place.arrivals.push(Arrival { start: start as u32, len: len as u32, from });
        start += len;
    }
    (Some(size < bytes), true)
}

/// Bytes of each of the datagrams that were merged.
fn size<S>(message: &RecvMsg<'_, '_, S>) -> Option<usize> {
    message.cmsgs().ok()?.find_map(|control| match control {
        ControlMessageOwned::UdpGroSegments(size) => usize::try_from(size).ok().filter(|size| *size > 0),
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn merging_is_tried_when_there_is_much_and_ever_more_rarely() {
        let mut manner = Manner::Many { calls: FIRST_TRY, next: 2 * FIRST_TRY };
        let mut tries = Vec::new();
        let mut calls = 0;
        while tries.len() < 4 {
            for quiet in 0..100 {
                manner = manner.after_many(quiet % MANY, || unreachable!("little to receive"));
            }
            let mut tried = false;
            while !tried {
                calls += 1;
                manner = manner.after_many(CALL, || {
                    tried = true;
                    true
                });
            }
            tries.push(calls);
            let mut parted = false;
            while !parted {
                manner = manner.after_one(Some(false), true, || {
                    parted = true;
                    true
                });
            }
            assert!(matches!(manner, Manner::Many { .. }), "also where there is always more");
            calls = 0;
        }
        assert_eq!(tries, [5, 9, 17, 33]);
    }

    #[test]
    fn merging_ends_while_nothing_waits() {
        for (single, ends) in [(0, false), (FRUITLESS - 1, false), (FRUITLESS, true)] {
            let manner = Manner::Merged { single, next: 8 }.after_one(None, false, || true);
            assert_eq!(manner == Manner::Many { calls: 8, next: 16 }, ends, "after {single}");
        }
    }

    #[test]
    fn who_merges_is_stayed_with() {
        let mut manner = Manner::Merged { single: 0, next: 64 };
        for _ in 0..10 {
            for _ in 0..FRUITLESS {
                manner = manner.after_one(Some(false), true, || unreachable!("not yet"));
            }
            manner = manner.after_one(Some(true), true, || unreachable!("it merges"));
            manner = manner.after_one(None, false, || unreachable!("nothing came"));
        }
        assert_eq!(manner, Manner::Merged { single: 0, next: 2 * FIRST_TRY });
        assert_eq!(Manner::Many { calls: 0, next: 8 }.after_many(0, || false), Manner::Never);
    }
}
