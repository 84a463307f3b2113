//! Opening a TUN device.
//!
//! The device lives as long as its descriptor, so a killed process leaves neither device nor addresses nor routes
//! behind. Packets are bare IP packets, one a read or write; behind a header (`VNET_HDR`) one may be written that stands
//! for several, and the kernel hands such packets over where it was asked to ([`Tun::ask_for_large`]).
#![expect(unsafe_code, reason = "the two ioctls that name the device and its offloads have no safe wrapper")]

use crate::Error;
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::ioctl::{IntegerSetter, Updater, ioctl, opcode};
use std::ffi::c_int;
use std::io::{IoSlice, IoSliceMut};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// The device node.
const NODE: &str = "/dev/net/tun";

/// Longest name of an interface, without the end mark.
const LONGEST_NAME: usize = 15;

const IFF_TUN: u16 = 0x0001;
const IFF_NO_PI: u16 = 0x1000;
const IFF_VNET_HDR: u16 = 0x4000;

/// Bytes of the header before a packet, where there is one.
const HEADER: usize = 10;

/// `TUNSETIFF`.
const SET_INTERFACE: rustix::ioctl::Opcode = opcode::write::<c_int>(b'T', 202);

/// `TUNSETOFFLOAD`.
const SET_OFFLOADS: rustix::ioctl::Opcode = opcode::write::<std::ffi::c_uint>(b'T', 208);

/// `TUN_F_CSUM`, `TUN_F_TSO4`, `TUN_F_TSO6`: packets may come with unfinished checksums, and as large TCP segments.
const LARGE_TCP: usize = 0x01 | 0x02 | 0x04;
/// `TUN_F_USO4`, `TUN_F_USO6`: large datagrams; Linux 6.2.
const LARGE_UDP: usize = 0x20 | 0x40;

/// `struct ifreq`, as large as it is anywhere.
#[repr(C)]
struct Request {
    name: [u8; LONGEST_NAME + 1],
    flags: u16,
    rest: [u8; 22],
}

/// An open TUN device; reads and writes never block.
#[derive(Debug)]
pub struct Tun {
    fd: OwnedFd,
    name: String,
    /// Packets have the header of offloads before them.
    headed: bool,
}

impl Tun {
    /// Makes or attaches to the interface `name`.
    ///
    /// # Errors
    /// Why not, with what to do about it.
    pub fn open(name: &str) -> Result<Self, Error> {
        let refused = |errno| match errno {
            Errno::PERM | Errno::ACCESS => Error::Denied { name: name.to_owned(), errno },
            Errno::BUSY => Error::Busy { name: name.to_owned() },
            errno => Error::Tun { name: name.to_owned(), errno },
        };
        if name.is_empty() || name.len() > LONGEST_NAME || name.bytes().any(|b| b == b'/' || b <= b' ') {
            return Err(refused(Errno::INVAL));
        }
        let flags = OFlags::RDWR | OFlags::CLOEXEC | OFlags::NONBLOCK;
        let fd = rustix::fs::open(NODE, flags, Mode::empty()).map_err(|errno| match errno {
            Errno::NOENT | Errno::NODEV | Errno::NXIO | Errno::NOTDIR => Error::NoTun { path: NODE, errno },
            errno => refused(errno),
        })?;
        let (request, headed) = match attach(&fd, name, IFF_VNET_HDR) {
            Ok(request) => (request, true),
            // Without the header it is slower.
            Err(Errno::INVAL) => (attach(&fd, name, 0).map_err(refused)?, false),
            Err(errno) => return Err(refused(errno)),
        };
        // A name with a number to be filled in (`tun%d`) has become one.
        let len = request.name.iter().position(|byte| *byte == 0).unwrap_or(LONGEST_NAME);
        let name = String::from_utf8_lossy(request.name.get(..len).unwrap_or_default()).into_owned();
        Ok(Self { fd, name, headed })
    }

    /// Whether [`Self::write_large`] may be tried.
    pub fn takes_large(&self) -> bool {
        self.headed
    }

    /// Asks the kernel for large packets and unfinished checksums; from then on [`Self::read_large`] is the one to read
    /// with. False where it has none.
    pub fn ask_for_large(&self) -> bool {
        self.headed && [LARGE_TCP | LARGE_UDP, LARGE_TCP].into_iter().any(|offloads| self.offload(offloads))
    }

    fn offload(&self, offloads: usize) -> bool {
        // SAFETY: TUNSETOFFLOAD takes a number, not a pointer.
        unsafe { ioctl(&self.fd, IntegerSetter::<SET_OFFLOADS>::new_usize(offloads)) }.is_ok()
    }

    /// The interface's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Reads one packet; [`Errno::AGAIN`] when there is none now.
    ///
    /// # Errors
    /// What the kernel says; other than `AGAIN` and `INTR` it means that the device is gone.
    pub fn read(&self, room: &mut [u8]) -> Result<usize, Errno> {
        if !self.headed {
            return rustix::io::read(&self.fd, room);
        }
        let mut header = [0; HEADER];
        let len = rustix::io::readv(&self.fd, &mut [IoSliceMut::new(&mut header), IoSliceMut::new(room)])?;
        Ok(len.saturating_sub(HEADER))
    }

    /// Reads one packet that may stand for several, into `room` and what does not fit into `more`: the ten bytes before
    /// it, which tell, and its length. What fits in neither is lost.
    ///
    /// # Errors
    /// As [`Self::read`].
    pub fn read_large(&self, room: &mut [u8], more: &mut [u8]) -> Result<([u8; HEADER], usize), Errno> {
        let mut header = [0; HEADER];
        let mut places = [IoSliceMut::new(&mut header), IoSliceMut::new(room), IoSliceMut::new(more)];
        let len = rustix::io::readv(&self.fd, &mut places)?;
        Ok((header, len.saturating_sub(HEADER)))
    }

    /// Writes one packet.
    ///
    /// # Errors
    /// What the kernel says; `IO` while the link is down.
    pub fn write(&self, packet: &[u8]) -> Result<usize, Errno> {
        if !self.headed {
            return rustix::io::write(&self.fd, packet);
        }
        rustix::io::writev(&self.fd, &[IoSlice::new(&[0; HEADER]), IoSlice::new(packet)])
    }

    /// Writes one packet that stands for several, given in pieces, the first of which says how it is cut.
    ///
    /// # Errors
    /// As [`Self::write`]; `INVAL` where the kernel takes no such packets.
    pub fn write_large(&self, pieces: &[IoSlice<'_>]) -> Result<usize, Errno> {
        rustix::io::writev(&self.fd, pieces)
    }
}

/// Makes the interface or attaches to it.
fn attach(fd: &OwnedFd, name: &str, more: u16) -> Result<Request, Errno> {
    let flags = IFF_TUN | IFF_NO_PI | more;
    let mut request = Request { name: [0; LONGEST_NAME + 1], flags, rest: [0; 22] };
    for (place, byte) in request.name.iter_mut().zip(name.bytes()) {
        *place = byte;
    }
    // SAFETY: TUNSETIFF reads a `struct ifreq` (at most 40 bytes) and writes its name and flags back; `Request`
    // is 40 bytes of plain data that lives across the call.
    unsafe {
        let update = Updater::<SET_INTERFACE, Request>::new(&mut request);
        ioctl(fd, update)?;
    }
    Ok(request)
}

impl AsFd for Tun {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_request_has_the_size_of_an_ifreq() {
        assert_eq!(size_of::<Request>(), 40);
        assert_eq!(std::mem::offset_of!(Request, flags), 16);
    }

    #[test]
    fn names_the_kernel_would_misread() {
        for name in ["", "a/b", "a b", "much-too-long-name"] {
            assert!(matches!(Tun::open(name), Err(Error::Tun { errno: Errno::INVAL, .. })), "{name:?}");
        }
    }
}
