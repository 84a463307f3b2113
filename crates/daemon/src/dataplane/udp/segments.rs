//! One datagram that stands for many: the kernel cuts it behind its routing and firewall, which then look at it once.
//!
//! Owns: what goes into one, giving it up where the kernel or a network device refuses it, leaving out addresses whose path
//! is too narrow for it.

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

/// Addresses that had to be sent to plainly, before any group has gone to anybody, after which it is left alone.
const PATIENT: usize = 3;
/// Such addresses that are kept in mind, and for how many groups: a path may become wide again.
const REMEMBERED: usize = 8;
const AGAIN: u16 = 4096;

/// The call's table. Bound to the thread that made it.
pub(super) struct Segments {
    /// None: not here, or not any more.
    headers: Option<MultiHeaders<SockaddrStorage>>,
    /// A group has gone to somebody: this machine can.
    works: bool,
    /// Whose group was refused last, until it has been sent plainly.
    refused: Option<SocketAddr>,
    /// Groups to these were refused and plain sending went well; for so many groups more they get none. Oldest first.
    plain: Vec<(SocketAddr, u16)>,
}

impl Segments {
    /// Asks the kernel; `TS_DEBUG_DISABLE_UDP_GSO` leaves it out.
    pub(super) fn new<'a>(mut sockets: impl Iterator<Item = BorrowedFd<'a>>) -> Self {
        // Kernels before 4.18 would take no notice and send a single giant.
        let able = sockets.all(|socket| setsockopt(&socket, UdpGsoSegment, &0).is_ok());
        let headers = (able && !switched_on("TS_DEBUG_DISABLE_UDP_GSO"))
            .then(|| MultiHeaders::preallocate(1, Some(nix::cmsg_space!(u16))));
        Self { headers, works: false, refused: None, plain: Vec::new() }
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

    /// Whether groups to this address are left alone for now.
    fn is_narrow(&mut self, to: SocketAddr) -> bool {
        let Some((_, left)) = self.plain.iter_mut().find(|(known, _)| *known == to) else { return false };
        *left = left.saturating_sub(1);
        let narrow = *left > 0;
        self.plain.retain(|(_, left)| *left > 0);
        narrow
    }

    /// Sends a group; false if it was not sent and is to be sent plainly, and [`Self::sent_plainly`] told of that.
    pub(super) fn send(&mut self, socket: BorrowedFd<'_>, to: SocketAddr, group: Run<'_>) -> bool {
        if self.is_narrow(to) {
            return false;
        }
        let Some(headers) = &mut self.headers else { return false };
        let mut slices = [IoSlice::new(&[]); MOST];
        let mut count = 0;
        for (place, datagram) in slices.iter_mut().zip(group.iter()) {
            *place = IoSlice::new(datagram);
            count += 1;
        }
        let Some(slices) = slices.get(..count).filter(|slices| slices.len() > 1) else { return false };
        let size = slices.first().map_or(0, |first| first.len()) as u16;
        let (at, messages) = ([Some(SockaddrStorage::from(to))], [slices]);
        let controls = [ControlMessage::UdpGsoSegments(&size)];
        let mut waited = false;
        let error = loop {
            let flags = MsgFlags::MSG_DONTWAIT;
            match sendmmsg(socket.as_raw_fd(), headers, &messages, at, controls, flags).map(|_| ()) {
                Ok(()) => {
                    self.works = true;
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
        // EIO: the device cannot do checksums. EINVAL: a datagram of the group is longer than the path to that address
        // takes in one piece (newer kernels say EMSGSIZE), or something around this machine has no such thing. Anything
        // else is about the destination or the moment.
        match error {
            nix::errno::Errno::EIO => self.give_up(&error.to_string()),
            nix::errno::Errno::EINVAL | nix::errno::Errno::EMSGSIZE => self.refused = Some(to),
            _ => {}
        }
        false
    }

    /// What [`Self::send`] did not take was sent one by one; `well` if all of it went.
    pub(super) fn sent_plainly(&mut self, to: SocketAddr, well: bool) {
        if self.refused.take() != Some(to) || !well {
            return;
        }
        self.plain.retain(|(known, _)| *known != to);
        if self.plain.len() >= REMEMBERED {
            self.plain.remove(0);
        }
        self.plain.push((to, AGAIN));
        if !self.works && self.plain.len() >= PATIENT {
            self.give_up("it is refused whomever it is for");
        }
    }

    fn give_up(&mut self, why: &str) {
        log::info!("UDP segmentation does not work here ({why}): sending datagrams one by one");
        self.headers = None;
        self.plain = Vec::new();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::iter::empty;

    fn at(port: u16) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], port))
    }

    fn refuse(segments: &mut Segments, to: SocketAddr, well: bool) {
        segments.refused = Some(to);
        segments.sent_plainly(to, well);
    }

    #[test]
    fn one_narrow_path_concerns_its_address_alone() {
        let mut segments = Segments::new(empty());
        (0..100).for_each(|_| refuse(&mut segments, at(1), true));
        assert_eq!(segments.plain, [(at(1), AGAIN)]);
        assert!(segments.able());
        // Where nothing can be sent at all, that says nothing.
        (10..20).for_each(|port| refuse(&mut segments, at(port), false));
        // Nor does what was sent plainly without being refused.
        (10..20).for_each(|port| segments.sent_plainly(at(port), true));
        assert_eq!(segments.plain, [(at(1), AGAIN)]);
        // It may have become wide.
        assert!(!segments.is_narrow(at(2)));
        assert_eq!((0..AGAIN).filter(|_| segments.is_narrow(at(1))).count() + 1, usize::from(AGAIN));
        assert_eq!(segments.plain, []);
    }

    #[test]
    fn it_is_given_up_where_it_never_works() {
        let mut segments = Segments::new(empty());
        (0..PATIENT as u16).for_each(|port| refuse(&mut segments, at(port), true));
        assert!(!segments.able());
        let mut segments = Segments::new(empty());
        segments.works = true;
        (0..100).for_each(|port| refuse(&mut segments, at(port), true));
        assert!(segments.able());
        assert_eq!((segments.plain.len(), segments.plain.last()), (REMEMBERED, Some(&(at(99), AGAIN))));
    }
}
