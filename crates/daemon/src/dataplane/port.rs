//! The TUN as the packet lines see it, or none.
//!
//! Remembers whether there is something to read, so that a wake-up for another reason costs no read in vain.

use crate::parts::osrouter::Packets;
use engine::lines::batch::Run;
use engine::lines::{TunSink, TunSource};
use std::os::fd::BorrowedFd;

/// Both ends of a TUN that may not be there.
pub(super) struct Port {
    packets: Option<Packets>,
    readable: bool,
}

impl Port {
    pub(super) const fn new(packets: Option<Packets>) -> Self {
        Self { packets, readable: false }
    }

    /// To be polled for input.
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

impl TunSource for Port {
    fn largest(&self) -> usize {
        self.packets.as_ref().map_or(0, Packets::mtu)
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

impl TunSink for Port {
    fn deliver(&mut self, run: Run<'_>) -> usize {
        let Some(packets) = &mut self.packets else { return 0 };
        packets.write(run)
    }
}
