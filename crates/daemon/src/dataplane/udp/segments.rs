//! One datagram that stands for many: the kernel cuts it behind its routing and firewall, which then look at it once.
//!
//! Owns: what goes into one, giving it up where the kernel or a network device refuses it.

use super::PATIENCE;
use crate::flags::switched_on;
use engine::lines::batch::Run;
use nix::sys::socket::{
    ControlMessage, MsgFlags, MultiHeaders, SockaddrStorage, sendmmsg, setsockopt, sockopt::UdpGsoSegment,
};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::fd::{AsRawFd as _, BorrowedFd};
use std::io::IoSlice;
use std::net::SocketAddr;

/// What the kernel cuts out of one at most.
const MOST: usize = 64;
/// Bytes in one at most: an IPv4 datagram, less its headers.
const LONGEST: usize = 65_507;

/// Refusals in a row, each followed by plain sending that went well, after which it is left alone.
const PATIENT: u8 = 3;

/// The call's table. Bound to the thread that made it.
pub(super) struct Segments {
    /// None: not here, or not any more.
    headers: Option<MultiHeaders<SockaddrStorage>>,
    refused: u8,
}

impl Segments {
    /// Asks the kernel; `TS_DEBUG_DISABLE_UDP_GSO` leaves it out.
    pub(super) fn new<'a>(mut sockets: impl Iterator<Item = BorrowedFd<'a>>) -> Self {
        // Kernels before 4.18 would take no notice and send a single giant.
        let able = sockets.all(|socket| setsockopt(&socket, UdpGsoSegment, &0).is_ok());
        let headers = (able && !switched_on("TS_DEBUG_DISABLE_UDP_GSO"))
            .then(|| MultiHeaders::preallocate(1, Some(nix::cmsg_space!(u16))));
        Self { headers, refused: 0 }
    }

    /// Whether it is worth asking for groups.
    pub(super) const fn able(&self) -> bool {
        self.headers.is_some()
    }

    /// The first packets of `run` that can go as one: equally long but for a shorter last one; and the rest.
    pub(super) fn group<'a>(&self, run: Run<'a>) -> Option<(Run<'a>, Run<'a>)> {
        let mut size = None;
        let (mut count, mut bytes, mut closed) = (0, 0, false);
        let fits = run.lengths().take_while(|len| {
            if *len == 0 {
                return true;
            }
            let first = *size.get_or_insert(*len);
            bytes += len;
            count += 1;
            let fits = !closed && *len <= first && count <= MOST && bytes <= LONGEST;
            closed |= *len < first;
            fits
        });
        let taken = fits.count();
        (!run.is_empty()).then(|| run.split_at(taken.max(1)))
    }

    /// Sends a group; false if it was not sent and is to be sent plainly.
    pub(super) fn send(&mut self, socket: BorrowedFd<'_>, to: SocketAddr, group: Run<'_>) -> bool {
        let Some(headers) = &mut self.headers else { return false };
        let mut slices = [IoSlice::new(&[]); MOST];
        let mut count = 0;
        for (place, datagram) in slices.iter_mut().zip(group.iter()) {
            *place = IoSlice::new(datagram);
            count += 1;
        }
        let Some(slices) = slices.get(..count).filter(|slices| slices.len() > 1) else { return false };
        let size = slices.first().map_or(0, |first| first.len()) as u16;
        let (to, messages) = ([Some(SockaddrStorage::from(to))], [slices]);
        let controls = [ControlMessage::UdpGsoSegments(&size)];
        let mut waited = false;
        let error = loop {
            let flags = MsgFlags::MSG_DONTWAIT;
            match sendmmsg(socket.as_raw_fd(), headers, &messages, to, controls, flags).map(|_| ()) {
                Ok(()) => {
                    self.refused = 0;
                    return true;
                }
                Err(nix::errno::Errno::EINTR) => {}
                Err(nix::errno::Errno::EAGAIN) if !waited => {
                    waited = true;
                    let mut writable = [PollFd::from_borrowed_fd(socket, PollFlags::OUT)];
                    let _ = poll(&mut writable, Some(&PATIENCE));
                }
                Err(error) => break error,
            }
        };
        // EIO: the device cannot do checksums. EINVAL: it, or a tunnel around it, has no such thing. Anything else is
        // about the destination or the moment.
        if matches!(error, nix::errno::Errno::EIO | nix::errno::Errno::EINVAL) {
            self.refused += 1;
            if error == nix::errno::Errno::EIO || self.refused >= PATIENT {
                log::info!("UDP segmentation does not work here ({error}): sending datagrams one by one");
                self.headers = None;
            }
        }
        false
    }
}
