//! The TUN as the packet lines see it, or none: an end to read for tx, an end to write for rx.
//!
//! The reading end remembers whether there is something, so that a wake-up for another reason costs no read in vain.

use crate::parts::osrouter::Packets;
use engine::lines::batch::Run;
use engine::lines::{TunSink, TunSource};
use std::os::fd::BorrowedFd;

/// What tx reads.
pub(super) struct Reader {
    packets: Option<Packets>,
    readable: bool,
}

/// What rx writes.
pub(super) struct Writer(Option<Packets>);

/// Both ends of a TUN that may not be there.
pub(super) fn ends(packets: Option<Packets>) -> (Reader, Writer) {
    (Reader { packets: packets.clone(), readable: false }, Writer(packets))
}

impl Reader {
    /// To be polled for input; none when there is no TUN (any more).
    pub(super) fn fd(&self) -> Option<BorrowedFd<'_>> {
        self.packets.as_ref().map(Packets::fd)
    }

    /// There is something to read.
    pub(super) const fn note_readable(&mut self) {
        self.readable = true;
    }

    /// Whether there may be something to read.
    pub(super) const fn is_readable(&self) -> bool {
        self.readable
    }
}

impl TunSource for Reader {
    fn largest(&self) -> usize {
        self.packets.as_ref().map_or(0, Packets::mtu)
    }

    fn in_large(&self) -> bool {
        self.packets.as_ref().is_some_and(Packets::in_large)
    }

    fn read(&mut self, room: &mut [u8]) -> Option<usize> {
        if !self.readable {
            return None;
        }
        let packets = self.packets.as_mut()?;
        match packets.read(room) {
            Ok(len) => Some(len),
            Err(error) => {
                self.readable = false;
                if error.kind() != std::io::ErrorKind::WouldBlock {
                    log::error!("the TUN interface is gone: {error}");
                    self.packets = None;
                }
                None
            }
        }
    }
}

impl TunSink for Writer {
    fn deliver(&mut self, run: Run<'_>) -> usize {
        self.0.as_mut().map_or(0, |packets| packets.write(run))
    }
}
