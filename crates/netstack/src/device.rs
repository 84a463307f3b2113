//! What smoltcp takes for a network card: one packet on its way in, a bounded queue of those on their way out.

use smoltcp::phy::{Device, DeviceCapabilities, Medium, RxToken, TxToken};
use smoltcp::time::Instant;
use std::collections::VecDeque;

/// Packets that wait to be taken out, at most; more are lost, and TCP sends them again.
const MOST: usize = 64;

/// Places that are kept while nothing waits: answers are taken out one by one.
const FEW: usize = 8;

/// Packets that go out.
#[derive(Debug, Default)]
pub(crate) struct Outgoing(VecDeque<Vec<u8>>);

impl Outgoing {
    /// Adds one; false, and it is lost, when there are too many.
    pub(crate) fn push(&mut self, packet: Vec<u8>) -> bool {
        let fits = self.has_room();
        if fits {
            self.0.push_back(packet);
        }
        fits
    }

    pub(crate) fn has_room(&self) -> bool {
        self.0.len() < MOST
    }

    /// The oldest. With the last one goes the memory, but for what the next few need.
    pub(crate) fn pop(&mut self) -> Option<Vec<u8>> {
        let packet = self.0.pop_front();
        if packet.is_none() && self.0.capacity() > FEW {
            self.0 = VecDeque::new();
        }
        packet
    }
}

/// The card for one call of smoltcp.
#[derive(Debug)]
pub(crate) struct Card<'a> {
    pub(crate) incoming: Option<&'a [u8]>,
    pub(crate) out: &'a mut Outgoing,
    /// Bytes of the largest packet.
    pub(crate) mtu: usize,
}

impl Device for Card<'_> {
    type RxToken<'a>
        = Incoming<'a>
    where
        Self: 'a;
    type TxToken<'a>
        = Room<'a>
    where
        Self: 'a;

    fn receive(&mut self, _now: Instant) -> Option<(Incoming<'_>, Room<'_>)> {
        if !self.out.has_room() {
            return None;
        }
        Some((Incoming(self.incoming.take()?), Room(self.out)))
    }

    fn transmit(&mut self, _now: Instant) -> Option<Room<'_>> {
        self.out.has_room().then_some(Room(self.out))
    }

    fn capabilities(&self) -> DeviceCapabilities {
        let mut capabilities = DeviceCapabilities::default();
        capabilities.medium = Medium::Ip;
        capabilities.max_transmission_unit = self.mtu;
        capabilities
    }
}

/// The packet that came.
#[derive(Debug)]
pub(crate) struct Incoming<'a>(&'a [u8]);

impl RxToken for Incoming<'_> {
    fn consume<R, F: FnOnce(&[u8]) -> R>(self, take: F) -> R {
        take(self.0)
    }
}

/// Room for one packet.
#[derive(Debug)]
pub(crate) struct Room<'a>(&'a mut Outgoing);

impl TxToken for Room<'_> {
    fn consume<R, F: FnOnce(&mut [u8]) -> R>(self, len: usize, fill: F) -> R {
        let mut packet = vec![0; len];
        let result = fill(&mut packet);
        self.0.push(packet);
        result
    }
}
