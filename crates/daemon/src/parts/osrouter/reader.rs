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
        let (cut, len) = patiently(|| tun.read_large(room, splitter.overflow()))?;
        Ok(splitter.begin(cut, room, len).unwrap_or(0))
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
