//! Changes of links, addresses and routes, by netlink multicast.
//!
//! Nothing is asked and nothing is polled: the kernel wakes us when something changes. Our own interface and what does
//! not concern the way to other machines is passed over. Changes come in bursts (a link goes up, gets its addresses,
//! then routes): they are told once, when a burst has ended or has lasted for long.

use rustix::net::netlink::SocketAddrNetlink;
use rustix::net::{AddressFamily, RecvFlags, SocketFlags, SocketType, bind, recv, socket_with};
use std::io;
use std::time::Duration;
use tokio::io::unix::AsyncFd;
use tokio::time::{Instant, timeout_at};

/// A burst has ended when nothing comes for so long …
const QUIET: Duration = Duration::from_millis(250);
/// … and is told after this in any case.
const PATIENCE: Duration = Duration::from_secs(2);

/// Groups of the kernel: links, addresses and routes of both families.
const GROUPS: u32 = 0x1 | 0x10 | 0x40 | 0x100 | 0x400;

const NEW_LINK: u16 = 16;
const DELETE_LINK: u16 = 17;
const NEW_ADDRESS: u16 = 20;
const DELETE_ADDRESS: u16 = 21;
const NEW_ROUTE: u16 = 24;
const DELETE_ROUTE: u16 = 25;

/// What the kernel tells.
#[derive(Debug)]
pub struct Monitor {
    socket: AsyncFd<std::os::fd::OwnedFd>,
    /// Number of our own interface.
    own: Option<u32>,
    /// Since when there is a change that has not been told.
    since: Option<Instant>,
}

impl Monitor {
    /// Listens. Changes of the interface called `own` are not told.
    ///
    /// # Errors
    /// When the system refuses: changes are noticed only by what no longer works then.
    pub fn open(own: Option<&str>) -> io::Result<Self> {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        // Protocol 0 of this family is routing.
        let socket = socket_with(AddressFamily::NETLINK, SocketType::RAW, flags, None)?;
        bind(&socket, &SocketAddrNetlink::new(0, GROUPS))?;
        let own = own.and_then(|name| rustix::net::netdevice::name_to_index(&socket, name).ok());
        #[expect(
            deprecated,
            reason = "its successor is `unsafe`, and an owned descriptor fulfils what that asks for"
        )]
        let socket = AsyncFd::with_interest(socket, tokio::io::Interest::READABLE)?;
        Ok(Self { socket, own, since: None })
    }

    /// Resolves after a change. Dropped before that, it loses nothing.
    ///
    /// # Errors
    /// When the system does not tell any more.
    pub async fn changed(&mut self) -> io::Result<()> {
        let since = loop {
            if let Some(since) = self.since {
                break since;
            }
            if self.burst().await? {
                self.since = Some(Instant::now());
            }
        };
        let end = since + PATIENCE;
        loop {
            let quiet = Instant::now() + QUIET;
            match timeout_at(quiet.min(end), self.burst()).await {
                Ok(result) => drop(result?),
                Err(_) => {
                    self.since = None;
                    return Ok(());
                }
            }
        }
    }

    /// Waits for messages and takes them; true if one concerns us.
    async fn burst(&self) -> io::Result<bool> {
        let mut ready = self.socket.readable().await?;
        let mut room = [0; 4096];
        match ready.try_io(|socket| Ok(recv(socket.get_ref(), &mut room, RecvFlags::DONTWAIT)?)) {
            Ok(Ok((len, _))) => Ok(concerns(room.get(..len).unwrap_or_default(), self.own)),
            // More has happened than fits into the socket.
            Ok(Err(error)) if error.raw_os_error() == Some(rustix::io::Errno::NOBUFS.raw_os_error()) => {
                Ok(true)
            }
            Ok(Err(error)) if error.kind() == io::ErrorKind::Interrupted => Ok(false),
            Ok(Err(error)) => Err(error),
            Err(_would_block) => Ok(false),
        }
    }
}

/// Whether a message among `datagram` tells of a change that concerns us.
fn concerns(datagram: &[u8], own: Option<u32>) -> bool {
    let mut rest = datagram;
    while let Some((head, _)) = rest.split_first_chunk::<16>() {
        let [a, b, c, d, e, f, ..] = *head;
        let len = u32::from_ne_bytes([a, b, c, d]) as usize;
        let Some(body) = rest.get(16..len) else { return false };
        let one = match u16::from_ne_bytes([e, f]) {
            NEW_LINK | DELETE_LINK | NEW_ADDRESS | DELETE_ADDRESS => {
                number(body, 4).is_some_and(|at| Some(at) != own)
            }
            NEW_ROUTE | DELETE_ROUTE => route(body).is_some_and(|out| own.is_none() || out != own),
            _ => false,
        };
        if one {
            return true;
        }
        rest = rest.get(len.next_multiple_of(4)..).unwrap_or_default();
    }
    false
}

fn number(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_ne_bytes(*bytes.get(at..)?.first_chunk()?))
}

/// The interface that a route leads to, if it names one; `None` for routes that are made and forgotten all the time:
/// those of single destinations that the kernel has looked up, multicast, and tables of others.
fn route(body: &[u8]) -> Option<Option<u32>> {
    const CLONED: u32 = 0x200;
    const OIF: u16 = 4;
    const UNICAST: u8 = 1;
    let ([_, _, _, _, _, _, _, kind, ..], mut rest) = body.split_first_chunk::<12>()?;
    if *kind != UNICAST || number(body, 8)? & CLONED != 0 {
        return None;
    }
    while let Some(([a, b, c, d], _)) = rest.split_first_chunk::<4>() {
        let len = usize::from(u16::from_ne_bytes([*a, *b])).max(4);
        if u16::from_ne_bytes([*c, *d]) == OIF {
            return Some(number(rest, 4));
        }
        rest = rest.get(len.next_multiple_of(4)..).unwrap_or_default();
    }
    Some(None)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn message(kind: u16, body: &[u8]) -> Vec<u8> {
        let mut out = (16 + body.len() as u32).to_ne_bytes().to_vec();
        out.extend_from_slice(&kind.to_ne_bytes());
        out.extend_from_slice(&[0; 10]);
        out.extend_from_slice(body);
        out.resize(out.len().next_multiple_of(4), 0);
        out
    }

    fn link(index: u32) -> Vec<u8> {
        [&[0; 4][..], &index.to_ne_bytes(), &[0; 8]].concat()
    }

    fn a_route(kind: u8, flags: u32, out: u32) -> Vec<u8> {
        let mut body = vec![2, 0, 0, 0, 254, 0, 0, kind];
        body.extend_from_slice(&flags.to_ne_bytes());
        body.extend_from_slice(&[6, 0, 1, 0, 9, 9, 0, 0]);
        body.extend_from_slice(&[8, 0, 4, 0]);
        body.extend_from_slice(&out.to_ne_bytes());
        body
    }

    #[test]
    fn what_concerns_us() {
        let own = Some(7);
        assert!(concerns(&message(NEW_LINK, &link(3)), own));
        assert!(!concerns(&message(NEW_LINK, &link(7)), own));
        assert!(concerns(&message(NEW_LINK, &link(7)), None));
        assert!(!concerns(&message(99, &link(3)), own));
        assert!(concerns(&message(NEW_ROUTE, &a_route(1, 0, 3)), own));
        assert!(!concerns(&message(NEW_ROUTE, &a_route(1, 0, 7)), own));
        assert!(!concerns(&message(NEW_ROUTE, &a_route(5, 0, 3)), own), "multicast");
        assert!(!concerns(&message(NEW_ROUTE, &a_route(1, 0x200, 3)), own), "a cached one");
        let two = [message(NEW_ADDRESS, &link(7)), message(DELETE_ADDRESS, &link(3))].concat();
        assert!(concerns(&two, own));
        for cut in 0..two.len() {
            assert!(!concerns(&two[..cut], own), "{cut}");
        }
    }

    proptest! {
        #[test]
        fn anything(bytes: Vec<u8>, len: u8, kind in 14_u16..30) {
            let mut bytes = bytes;
            if bytes.len() > 8 {
                bytes[..4].copy_from_slice(&u32::from(len).to_ne_bytes());
                bytes[4..6].copy_from_slice(&kind.to_ne_bytes());
            }
            let _ = concerns(&bytes, Some(1));
        }
    }
}
