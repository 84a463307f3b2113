//! What leaves a host by its uplink, seen as by a packet sniffer.

use crate::host::Host;
use anyhow::{Context, Result};
use nix::sys::socket::{LinkAddr, recvfrom};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::net::{AddressFamily, Protocol, SocketFlags, SocketType};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::fd::AsRawFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

/// Everything, in the byte order of the wire.
const ALL: u32 = (3_u16).to_be() as u32;

/// `PACKET_OUTGOING`.
const OUTGOING: u8 = 4;

const ETHERNET: usize = 14;

/// A packet that has left.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sent {
    /// Where to.
    pub to: IpAddr,
    /// IP protocol; IPv6 with further headers is the first one's.
    pub protocol: u8,
    /// Ports, where the protocol has them; 0 elsewhere.
    pub ports: [u16; 2],
    /// From the IP header on.
    pub bytes: Vec<u8>,
}

/// A running capture. Dropping it ends it.
#[derive(Debug)]
pub struct Capture {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<Vec<Sent>>>,
}

impl Capture {
    /// Notes every IP packet that leaves `host` by `eth0` from now on.
    ///
    /// # Errors
    /// When the kernel has no packet sockets.
    pub fn new(host: &Host) -> Result<Self> {
        let index = host.run(&["cat", "/sys/class/net/eth0/ifindex"])?;
        let index: usize = index.trim().parse().context("no index of eth0")?;
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let all = Protocol::from_raw(ALL.try_into()?);
        let socket = host.inside(|| {
            rustix::net::socket_with(AddressFamily::PACKET, SocketType::RAW, flags, Some(all))
        })??;
        rustix::net::sockopt::set_socket_recv_buffer_size_force(&socket, 16 << 20)?;
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let thread = std::thread::spawn(move || {
            let mut sent = Vec::new();
            let mut room = vec![0; 1 << 16];
            let look = Timespec { tv_sec: 0, tv_nsec: 50_000_000 };
            loop {
                // What came before the end is still read.
                let last = stopped.load(Ordering::Relaxed);
                poll(&mut [PollFd::new(&socket, PollFlags::IN)], Some(&look)).ok();
                while let Ok((len, from)) = recvfrom::<LinkAddr>(socket.as_raw_fd(), &mut room) {
                    let ours = from.is_some_and(|at| at.ifindex() == index && at.pkttype() == OUTGOING);
                    if ours && let Some(packet) = room.get(..len).and_then(parse) {
                        sent.push(packet);
                    }
                }
                if last {
                    return sent;
                }
            }
        });
        Ok(Self { stop, thread: Some(thread) })
    }

    /// Ends it and gives what was seen.
    pub fn end(mut self) -> Vec<Sent> {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.take().and_then(|thread| thread.join().ok()).unwrap_or_default()
    }
}

impl Drop for Capture {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            thread.join().ok();
        }
    }
}

/// An Ethernet frame with IP in it.
fn parse(frame: &[u8]) -> Option<Sent> {
    let packet = frame.get(ETHERNET..)?;
    let (to, protocol, head) = match (packet.first()? >> 4, frame.get(12..14)?) {
        (4, [0x08, 0x00]) => {
            let to: [u8; 4] = *packet.get(16..)?.first_chunk()?;
            (IpAddr::V4(Ipv4Addr::from(to)), *packet.get(9)?, usize::from(packet.first()? & 15) * 4)
        }
        (6, [0x86, 0xdd]) => {
            let to: [u8; 16] = *packet.get(24..)?.first_chunk()?;
            (IpAddr::V6(Ipv6Addr::from(to)), *packet.get(6)?, 40)
        }
        _ => return None,
    };
    let port = |at: usize| packet.get(head + at..)?.first_chunk().map(|two| u16::from_be_bytes(*two));
    let ports =
        if matches!(protocol, 6 | 17) { [port(0).unwrap_or(0), port(2).unwrap_or(0)] } else { [0, 0] };
    Some(Sent { to, protocol, ports, bytes: packet.to_vec() })
}
