//! One blocking netlink socket: a request, then its answers.
//!
//! Owns: framing, sequence numbers, acknowledgements. Leaves out what the messages mean ([`crate::kernel`]).
//! The kernel answers at once; a timeout guards against one that does not.

use netlink_packet_core::{Emitable, NLM_F_ACK, NLM_F_DUMP, NLM_F_REQUEST, NetlinkBuffer, NetlinkHeader};
use netlink_sys::{Socket, SocketAddr, protocols::NETLINK_ROUTE};
use rustix::io::Errno;
use rustix::net::sockopt::{Timeout, set_socket_timeout};
use std::time::Duration;

const ERROR: u16 = 2;
const DONE: u16 = 3;
const HEADER: usize = 16;

/// How long the kernel may think.
const PATIENCE: Duration = Duration::from_secs(2);

/// The socket.
#[derive(Debug)]
pub(crate) struct Netlink {
    socket: Socket,
    sequence: u32,
}

/// An operating system error as its number.
fn errno(error: &std::io::Error) -> Errno {
    Errno::from_io_error(error).unwrap_or(Errno::IO)
}

impl Netlink {
    pub(crate) fn open() -> Result<Self, Errno> {
        let mut socket = Socket::new(NETLINK_ROUTE).map_err(|error| errno(&error))?;
        socket.bind_auto().map_err(|error| errno(&error))?;
        socket.connect(&SocketAddr::new(0, 0)).map_err(|error| errno(&error))?;
        // Kernels before 4.20 filter nothing; what they send in excess is sorted out by the reader.
        let _ = socket.set_netlink_get_strict_chk(true);
        set_socket_timeout(&socket, Timeout::Recv, Some(PATIENCE))?;
        Ok(Self { socket, sequence: 0 })
    }

    /// Asks for a change or for one thing; `answer` sees what comes before the acknowledgement.
    pub(crate) fn request(
        &mut self,
        kind: u16,
        flags: u16,
        body: &[u8],
        answer: &mut dyn FnMut(u16, &[u8]),
    ) -> Result<(), Errno> {
        self.send(kind, NLM_F_REQUEST | NLM_F_ACK | flags, body)?;
        self.receive(answer)
    }

    /// Asks for all there is of something.
    pub(crate) fn dump(
        &mut self,
        kind: u16,
        body: &[u8],
        answer: &mut dyn FnMut(u16, &[u8]),
    ) -> Result<(), Errno> {
        self.send(kind, NLM_F_REQUEST | NLM_F_DUMP, body)?;
        self.receive(answer)
    }

    fn send(&mut self, kind: u16, flags: u16, body: &[u8]) -> Result<(), Errno> {
        self.sequence = self.sequence.wrapping_add(1);
        let mut header = NetlinkHeader::default();
        header.length = u32::try_from(HEADER + body.len()).map_err(|_| Errno::MSGSIZE)?;
        header.message_type = kind;
        header.flags = flags;
        header.sequence_number = self.sequence;
        let mut message = vec![0; HEADER];
        header.emit(&mut message);
        message.extend_from_slice(body);
        self.socket.send(&message, 0).map_err(|error| errno(&error))?;
        Ok(())
    }

    fn receive(&mut self, answer: &mut dyn FnMut(u16, &[u8])) -> Result<(), Errno> {
        loop {
            let (datagram, _) = match self.socket.recv_from_full() {
                Ok(received) => received,
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(errno(&error)),
            };
            let mut rest = datagram.as_slice();
            while rest.len() >= HEADER {
                let Ok(message) = NetlinkBuffer::new_checked(rest) else { return Err(Errno::BADMSG) };
                let (kind, payload) = (message.message_type(), message.payload());
                // What is left of a request that timed out.
                if message.sequence_number() == self.sequence {
                    match kind {
                        ERROR | DONE => return code(payload),
                        _ => answer(kind, payload),
                    }
                }
                let len = (message.length() as usize).next_multiple_of(4);
                rest = rest.get(len..).unwrap_or_default();
            }
        }
    }
}

/// What an acknowledgement or the end of a dump says.
fn code(payload: &[u8]) -> Result<(), Errno> {
    match payload.first_chunk().map(|bytes| i32::from_ne_bytes(*bytes)) {
        None | Some(0) => Ok(()),
        Some(code) => Err(Errno::from_raw_os_error(code.saturating_neg())),
    }
}
