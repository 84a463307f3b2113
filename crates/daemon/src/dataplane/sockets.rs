//! The two UDP sockets of the node, one a family, on one port if that can be had.
//!
//! Owns: opening them, sending from the control thread, what an error of the system means.
//! Leaves out: batches (`udp`), which datagram goes where.

use engine::drop::DropReason;
use rustix::fd::{BorrowedFd, OwnedFd};
use rustix::io::{Errno, retry_on_intr};
use rustix::net::{AddressFamily, SendFlags, SocketFlags, SocketType, bind, sendto, socket_with, sockopt};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::AsFd as _;

/// What is asked of the kernel for each direction, in bytes: enough for 20 ms of a gigabit. It grants what it will.
const BUFFER: usize = 4 << 20;

/// How often another port is tried that is free in both families.
const TRIES: u32 = 8;

/// The sockets that could be opened. Reading and writing never block.
#[derive(Debug, Default)]
pub(super) struct Sockets {
    v4: Option<OwnedFd>,
    v6: Option<OwnedFd>,
    port: u16,
}

impl Sockets {
    /// Opens what this machine allows, on `port` or, if that is 0 or taken, on any. What is missing is logged in one
    /// line and nothing to fail for: relays are left.
    pub(super) fn open(port: u16) -> Self {
        let (mut opened, mut errors) = Self::pair(port);
        let taken = |errors: &[Option<Errno>; 2]| errors.contains(&Some(Errno::ADDRINUSE));
        for _ in 0..TRIES {
            if !taken(&errors) {
                break;
            }
            (opened, errors) = Self::pair(0);
        }
        let problem = match errors {
            [None, None] => None,
            [Some(v4), None] => Some(format!("no UDP over IPv4 ({v4})")),
            [None, Some(v6)] => Some(format!("no UDP over IPv6 ({v6})")),
            [Some(v4), Some(v6)] => Some(format!("no UDP, only relays are left ({v4}; IPv6: {v6})")),
        };
        match (problem, port) {
            (Some(problem), _) => log::warn!("{problem}"),
            (None, wanted) if wanted != 0 && wanted != opened.port => {
                log::warn!("UDP port {wanted} is taken; using {}", opened.port);
            }
            (None, _) => {}
        }
        opened
    }

    /// One try: both families on the same port.
    fn pair(port: u16) -> (Self, [Option<Errno>; 2]) {
        let (v4, v4_error) = split(open(SocketAddr::from((Ipv4Addr::UNSPECIFIED, port))));
        let port = v4.as_ref().map_or(port, port_of);
        let (v6, v6_error) = split(open(SocketAddr::from((Ipv6Addr::UNSPECIFIED, port))));
        let port = v6.as_ref().map_or(port, port_of);
        (Self { v4, v6, port }, [v4_error, v6_error])
    }

    /// Whether there is one for IPv4, and for IPv6.
    pub(super) const fn families(&self) -> (bool, bool) {
        (self.v4.is_some(), self.v6.is_some())
    }

    /// The one for IPv4.
    pub(super) fn v4(&self) -> Option<BorrowedFd<'_>> {
        self.v4.as_ref().map(OwnedFd::as_fd)
    }

    /// The one for IPv6.
    pub(super) fn v6(&self) -> Option<BorrowedFd<'_>> {
        self.v6.as_ref().map(OwnedFd::as_fd)
    }

    /// The one that reaches an address.
    pub(super) fn to(&self, to: SocketAddr) -> Option<BorrowedFd<'_>> {
        if to.is_ipv4() { self.v4() } else { self.v6() }
    }

    /// Sends a single datagram, as the control thread does.
    ///
    /// # Errors
    /// Under what its loss is to be counted.
    pub(super) fn send(&self, to: SocketAddr, datagram: &[u8]) -> Result<(), DropReason> {
        let socket = self.to(to).ok_or(DropReason::NoPath)?;
        let send = || retry_on_intr(|| sendto(socket, datagram, SendFlags::DONTWAIT, &to)).map(drop);
        match send() {
            // That was about an earlier one.
            Err(Errno::CONNREFUSED) => send(),
            result => result,
        }
        .map_err(reason)
    }

    /// Marks both anew.
    pub(super) fn mark(&self) {
        [&self.v4, &self.v6].into_iter().flatten().for_each(dial::mark);
    }

    /// The port; 0 without sockets.
    pub(super) const fn port(&self) -> u16 {
        self.port
    }
}

/// Under what the loss of a datagram is counted.
pub(super) const fn reason(error: Errno) -> DropReason {
    match error {
        Errno::MSGSIZE => DropReason::TooLarge,
        Errno::AGAIN | Errno::NOBUFS | Errno::NOMEM => DropReason::SendBuffer,
        Errno::CONNREFUSED => DropReason::Refused,
        _ => DropReason::Unreachable,
    }
}

fn split(opened: Result<OwnedFd, Errno>) -> (Option<OwnedFd>, Option<Errno>) {
    match opened {
        Ok(socket) => (Some(socket), None),
        Err(error) => (None, Some(error)),
    }
}

fn open(at: SocketAddr) -> Result<OwnedFd, Errno> {
    let family = if at.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = socket_with(family, SocketType::DGRAM, flags, None)?;
    if at.is_ipv6() {
        sockopt::set_ipv6_v6only(&socket, true)?;
    }
    dial::mark(&socket);
    // Beyond the system's limit only where we may; refused is no harm.
    if sockopt::set_socket_recv_buffer_size_force(&socket, BUFFER).is_err() {
        let _ = sockopt::set_socket_recv_buffer_size(&socket, BUFFER);
    }
    if sockopt::set_socket_send_buffer_size_force(&socket, BUFFER).is_err() {
        let _ = sockopt::set_socket_send_buffer_size(&socket, BUFFER);
    }
    bind(&socket, &at)?;
    Ok(socket)
}

fn port_of(socket: &OwnedFd) -> u16 {
    let name = rustix::net::getsockname(socket).ok().and_then(|name| SocketAddr::try_from(name).ok());
    name.map_or(0, |at| at.port())
}
