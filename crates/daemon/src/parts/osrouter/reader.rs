//! Packets out of the TUN: large ones of the kernel's cut up, where it has such.
//!
//! Leaves out: how they are cut (`engine::packet::split`).

use engine::packet::split::Splitter;
use router::Tun;
use rustix::io::Errno;

/// Remembers what is left of a large packet.
#[derive(Clone)]
pub(super) struct Reader {
    /// None: the kernel hands over packets as they are.
    splitter: Option<Splitter>,
}

impl Reader {
    /// Asks the device for large packets; `TS_TUN_DISABLE_TSO` leaves that out.
    pub(super) fn new(tun: &Tun) -> Self {
        let able = !crate::flags::switched_on("TS_TUN_DISABLE_TSO") && tun.ask_for_large();
        Self { splitter: able.then(Splitter::default) }
    }

    /// Whether the kernel hands over large packets.
    pub(super) const fn cuts(&self) -> bool {
        self.splitter.is_some()
    }

    /// Whether something is left of a large packet.
    pub(super) const fn in_large(&self) -> bool {
        match &self.splitter {
            Some(splitter) => splitter.has_more(),
            None => false,
        }
    }

    /// Reads one packet into `room`; zero bytes if it was none to go on with.
    ///
    /// # Errors
    /// `AGAIN` when there is none now; anything else means that the interface is gone.
    pub(super) fn read(&mut self, tun: &Tun, room: &mut [u8]) -> Result<usize, Errno> {
        let Some(splitter) = &mut self.splitter else { return patiently(|| tun.read(room)) };
        if splitter.has_more() {
            return Ok(splitter.next(room).unwrap_or(0));
        }
        let read = lost_one(patiently(|| tun.read_large(room, splitter.overflow())))?;
        Ok(read.and_then(|(cut, len)| splitter.begin(cut, room, len).ok()).unwrap_or(0))
    }
}

/// A read that lost a packet and not the interface brought nothing. The kernel drops what its header of offloads has no word
/// for, such as the merged packets of some network cards' drivers that are forwarded to us, and calls it `INVAL`.
fn lost_one<T>(read: Result<T, Errno>) -> Result<Option<T>, Errno> {
    match read {
        Err(Errno::INVAL) => Ok(None),
        read => read.map(Some),
    }
}

fn patiently<T>(mut read: impl FnMut() -> Result<T, Errno>) -> Result<T, Errno> {
    loop {
        match read() {
            Err(Errno::INTR) => {}
            result => return result,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_packet_that_cannot_be_described_is_not_the_end() {
        assert_eq!(lost_one::<u8>(Err(Errno::INVAL)), Ok(None));
        assert_eq!(lost_one(Ok(7)), Ok(Some(7)));
        for gone in [Errno::BADFD, Errno::IO, Errno::AGAIN] {
            assert_eq!(lost_one::<u8>(Err(gone)), Err(gone));
        }
    }
}
