//! The sending side: runs to one address with as few calls as the system needs.
//!
//! Owns: what happens to a datagram the system does not take. Leaves out: datagrams that stand for many (`segments`).

use super::segments::Segments;
use super::{CALL, PATIENCE};
use crate::dataplane::sockets::{Sockets, reason};
use engine::drop::{DropCounters, DropReason};
use engine::lines::UdpSink;
use engine::lines::batch::Run;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::fd::BorrowedFd;
use rustix::io::Errno;
use rustix::net::addr::SocketAddrArg as _;
use rustix::net::{MMsgHdr, SendAncillaryBuffer, SendFlags, sendmmsg};
use std::io::IoSlice;
use std::net::SocketAddr;
use std::sync::Arc;

/// The sending side. Bound to the thread that made it.
pub(in crate::dataplane) struct Sender {
    sockets: Arc<Sockets>,
    segments: Segments,
}

impl Sender {
    pub(in crate::dataplane) fn new(sockets: Arc<Sockets>) -> Self {
        let segments = Segments::new([sockets.v4(), sockets.v6()].into_iter().flatten());
        Self { sockets, segments }
    }

    /// Sends one by one, each its own datagram.
    fn plainly(&self, to: SocketAddr, run: Run<'_>, drops: &DropCounters) -> usize {
        let Some(socket) = self.sockets.to(to) else { return 0 };
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
        } else if self.segments.able() {
            let mut rest = run;
            let mut sent = 0;
            while let Some((group, after)) = self.segments.group(rest) {
                rest = after;
                let count = group.iter().count();
                if self.segments.send(socket, to, group) {
                    sent += count;
                    continue;
                }
                let went = self.plainly(to, group, drops);
                self.segments.sent_plainly(to, went == count);
                sent += went;
            }
            return sent;
        }
        self.plainly(to, run, drops)
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
