//! UDP sockets as the lines see them: a source that fills the arena of rx in bulk, a sink that empties the arena of tx.
//!
//! Leaves out: the sockets themselves. Where a datagram lies in the arena is the source's choice, so one that the
//! kernel has glued together can be cut up in place.

use super::batch::Run;
use crate::drop::{DropCounters, DropReason};
use std::net::SocketAddr;

/// A datagram that a [`UdpSource`] has put into an arena.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Arrival {
    /// Offset of its first byte.
    pub start: u32,
    /// Its length in bytes.
    pub len: u32,
    /// Who sent it, or claims to.
    pub from: SocketAddr,
}

/// Where datagrams come from that no relay has delivered.
pub trait UdpSource {
    /// Receives what is there now into `arena`, as far as it and `most` datagrams reach, and appends to `arrivals`
    /// (empty, with room for `most`) where each lies, in order of their offsets. True if there may be more.
    fn receive(
        &mut self,
        arena: &mut [u8],
        most: usize,
        arrivals: &mut Vec<Arrival>,
        drops: &DropCounters,
    ) -> bool;
}

/// Where datagrams for [`Path::Udp`](super::Path::Udp) go.
pub trait UdpSink {
    /// Sends datagrams to one address, in order; returns how many it took. The others are counted in `drops`.
    fn send(&mut self, to: SocketAddr, run: Run<'_>, drops: &DropCounters) -> usize;
}

/// No sockets: nothing comes, and direct paths lead nowhere.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoUdp;

impl UdpSource for NoUdp {
    fn receive(&mut self, _: &mut [u8], _: usize, _: &mut Vec<Arrival>, _: &DropCounters) -> bool {
        false
    }
}

impl UdpSink for NoUdp {
    fn send(&mut self, _to: SocketAddr, run: Run<'_>, drops: &DropCounters) -> usize {
        drops.add(DropReason::NoPath, run.iter().count() as u32);
        0
    }
}
