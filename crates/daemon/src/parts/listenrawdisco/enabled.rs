//! Packet sockets, one a family, that hear disco for our port before the host's packet filter.
//!
//! Only where the user wants it (`TS_ENABLE_RAW_DISCO`, as upstream), the kernel has it, we may (`CAP_NET_RAW`), and a
//! message to ourselves has come through; everywhere else in silence, because the ordinary sockets hear whatever the
//! filter lets through. What is heard both ways counts once (engine).

use super::packet::{datagram, program};
use crate::flags::switched_on;
use engine::lines::demux::DISCO_MAGIC;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::net::{RecvFlags, recv};
use socket2::{Domain, Protocol, SockRef, Socket, Type};
use std::cell::Cell;
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::os::fd::OwnedFd;
use tokio::io::Interest;
use tokio::io::unix::{AsyncFd, AsyncFdReadyGuard};

/// The name of the feature, if it is in this build.
pub const FEATURE: Option<&str> = Some("listenrawdisco");

/// How long the message to ourselves may take.
const TEST: Timespec = Timespec { tv_sec: 0, tv_nsec: 100_000_000 };
/// The longest packet that is of interest: pings that try what length passes are longer, and heard by UDP or not at all.
const LONGEST: usize = 2048;
/// Packets handled in one go.
const TURN: u32 = 32;
/// What the kernel keeps for us, in bytes.
const BUFFER: usize = 64 << 10;

/// The protocols of a packet socket (Linux, `if_ether.h`): what comes in, not what goes out.
const IP: u16 = 0x0800;
const IPV6: u16 = 0x86dd;

/// The sockets.
pub struct RawDisco {
    sockets: [Option<AsyncFd<OwnedFd>>; 2],
    port: Cell<u16>,
}

impl RawDisco {
    /// Listens for disco to `port`; `None` where that is not wanted or not possible.
    pub fn open(port: u16) -> Option<Self> {
        if !switched_on("TS_ENABLE_RAW_DISCO") {
            return None;
        }
        let sockets = [false, true].map(|v6| match open(v6, port) {
            Ok(socket) => Some(socket),
            Err(error) => {
                log::debug!("no raw socket for disco over {}: {error}", if v6 { "IPv6" } else { "IPv4" });
                None
            }
        });
        log::debug!("raw sockets for disco: {}", sockets.iter().flatten().count());
        sockets.iter().any(Option::is_some).then_some(Self { sockets, port: Cell::new(port) })
    }

    /// Listens for another port from now on.
    pub fn listen_at(&self, port: u16) {
        self.port.set(port);
        for (socket, v6) in self.sockets.iter().zip([false, true]) {
            if let Some(socket) = socket {
                // If it is refused, the old program stays: what it lets through is looked at once more.
                let _ = SockRef::from(socket.get_ref()).attach_filter(&program(v6, port));
            }
        }
    }

    /// Hands every message to `take`, for as long as the sockets last.
    pub async fn hear(&self, mut take: impl FnMut(SocketAddr, &[u8])) {
        let mut room = [0; LONGEST];
        let [mut next, mut after] = self.sockets.each_ref();
        loop {
            let socket = tokio::select! {
                biased;
                ready = readable(next.as_ref()) => ready,
                ready = readable(after.as_ref()) => ready,
            };
            // Nobody who floods one family makes us deaf to the other.
            std::mem::swap(&mut next, &mut after);
            let Some(mut socket) = socket else { return };
            for _ in 0..TURN {
                match recv(socket.get_inner(), &mut room[..], RecvFlags::DONTWAIT) {
                    Ok((_, length)) => {
                        let packet = room.get(..length).unwrap_or_default();
                        if let Some((from, message)) = datagram(packet, self.port.get()) {
                            take(from, message);
                        }
                    }
                    Err(_) => {
                        socket.clear_ready();
                        break;
                    }
                }
            }
            drop(socket);
            tokio::task::yield_now().await;
        }
    }
}

/// Waits until there is something; for ever without a socket.
async fn readable(socket: Option<&AsyncFd<OwnedFd>>) -> Option<AsyncFdReadyGuard<'_, OwnedFd>> {
    match socket {
        Some(socket) => socket.readable().await.ok(),
        None => std::future::pending().await,
    }
}

/// A socket that has proven that it hears.
fn open(v6: bool, port: u16) -> io::Result<AsyncFd<OwnedFd>> {
    let own: SocketAddr = match v6 {
        false => (Ipv4Addr::LOCALHOST, 0).into(),
        true => (Ipv6Addr::LOCALHOST, 0).into(),
    };
    let probe = UdpSocket::bind(own)?;
    let at = probe.local_addr()?;
    let protocol = Protocol::from(i32::from(if v6 { IPV6 } else { IP }.to_be()));
    let socket = Socket::new(Domain::PACKET, Type::DGRAM.nonblocking().cloexec(), Some(protocol))?;
    socket.attach_filter(&program(v6, at.port()))?;
    let _ = socket.set_recv_buffer_size(BUFFER);
    let message = [&DISCO_MAGIC[..], &[0; 56]].concat();
    probe.send_to(&message, at)?;
    let mut room = [0; LONGEST];
    // What came before the program was there is passed over.
    for _ in 0..TURN {
        if poll(&mut [PollFd::new(&socket, PollFlags::IN)], Some(&TEST))? == 0 {
            break;
        }
        let (_, length) = recv(&socket, &mut room[..], RecvFlags::DONTWAIT)?;
        if datagram(room.get(..length).unwrap_or_default(), at.port()) == Some((at, &message)) {
            socket.attach_filter(&program(v6, port))?;
            #[expect(
                deprecated,
                reason = "its successor is `unsafe`, and an owned descriptor fulfils what that asks for"
            )]
            return AsyncFd::with_interest(socket.into(), Interest::READABLE);
        }
    }
    Err(io::Error::new(io::ErrorKind::TimedOut, "a message to ourselves was not heard"))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Where the kernel lets us: disco for our port is heard, from both families, and nothing else.
    #[tokio::test]
    async fn disco_for_our_port_is_heard_and_nothing_else() {
        let ours = UdpSocket::bind((Ipv6Addr::UNSPECIFIED, 0)).expect("a port");
        let port = ours.local_addr().expect("an address").port();
        let sockets = [false, true].map(|v6| open(v6, 1).ok());
        if sockets.iter().any(Option::is_none) {
            println!("skipped: no packet sockets here");
            return;
        }
        let raw = RawDisco { sockets, port: Cell::new(1) };
        raw.listen_at(port);
        let disco = [&DISCO_MAGIC[..], &[7; 100]].concat();
        let wireguard = [&[4, 0, 0, 0][..], &[7; 100]].concat();
        for (from, to) in [("127.0.0.1:0", "127.0.0.1"), ("[::1]:0", "::1")] {
            let socket = UdpSocket::bind(from).expect("a socket");
            let to: std::net::IpAddr = to.parse().expect("an address");
            for (message, port) in [(&wireguard, port), (&disco, port ^ 1), (&disco, port)] {
                socket.send_to(message, (to, port)).expect("sent");
            }
            let heard = Cell::new(0);
            let hearing = raw.hear(|at, message| {
                assert_eq!((at, message), (socket.local_addr().expect("an address"), &disco[..]));
                heard.set(heard.get() + 1);
            });
            let _ = tokio::time::timeout(std::time::Duration::from_millis(300), hearing).await;
            assert_eq!(heard.get(), 1);
        }
    }
}
