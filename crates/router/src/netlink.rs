//! One blocking netlink socket: requests, then their answers.
//!
//! Owns: framing, sequence numbers, acknowledgements, many requests in one datagram. Leaves out what the messages mean
//! ([`crate::kernel`], [`crate::netfilter`]). The kernel answers at once; a timeout guards against one that does not.

use crate::attributes::Body;
use netlink_packet_core::{NLM_F_ACK, NLM_F_DUMP, NLM_F_REQUEST, NetlinkBuffer};
use netlink_sys::{Socket, SocketAddr};
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
    port: u32,
    sequence: u32,
}

/// A request: kind, flags, body.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Message {
    pub(crate) kind: u16,
    pub(crate) flags: u16,
    pub(crate) body: Body,
}

/// An operating system error as its number.
fn errno(error: &std::io::Error) -> Errno {
    Errno::from_io_error(error).unwrap_or(Errno::IO)
}

impl Netlink {
    pub(crate) fn open(protocol: isize) -> Result<Self, Errno> {
        let mut socket = Socket::new(protocol).map_err(|error| errno(&error))?;
        let port = socket.bind_auto().map_err(|error| errno(&error))?.port_number();
        socket.connect(&SocketAddr::new(0, 0)).map_err(|error| errno(&error))?;
        // Kernels before 4.20 filter nothing; what they send in excess is sorted out by the reader.
        let _ = socket.set_netlink_get_strict_chk(true);
        set_socket_timeout(&socket, Timeout::Recv, Some(PATIENCE))?;
        Ok(Self { socket, port, sequence: 0 })
    }

    /// Who we are to others that the kernel tells of our changes.
    pub(crate) const fn port(&self) -> u32 {
        self.port
    }

    /// How many messages have been sent.
    pub(crate) const fn sent(&self) -> u32 {
        self.sequence
    }

    /// Asks for one thing; `answer` sees what comes before the acknowledgement.
    pub(crate) fn request(
        &mut self,
        kind: u16,
        body: Body,
        answer: &mut dyn FnMut(u16, &[u8]),
    ) -> Result<(), Errno> {
        self.ask(Message { kind, flags: NLM_F_ACK, body }, answer)
    }

    /// Asks for all there is of something.
    pub(crate) fn dump(
        &mut self,
        kind: u16,
        body: Body,
        answer: &mut dyn FnMut(u16, &[u8]),
    ) -> Result<(), Errno> {
        self.ask(Message { kind, flags: NLM_F_DUMP, body }, answer)
    }

    fn ask(&mut self, message: Message, answer: &mut dyn FnMut(u16, &[u8])) -> Result<(), Errno> {
        let first = self.send(std::slice::from_ref(&message))?;
        let mut outcome = Ok(());
        self.receive(first, &mut |_, kind, payload| {
            if matches!(kind, ERROR | DONE) {
                outcome = code(payload);
                return false;
            }
            answer(kind, payload);
            true
        })?;
        outcome
    }

    /// Sends all `messages` in one datagram. The one at `last` is acknowledged; the others only speak when refused:
    /// `refused` is told which and why, and says whether to go on listening.
    pub(crate) fn batch(
        &mut self,
        messages: &mut [Message],
        last: usize,
        refused: &mut dyn FnMut(usize, Errno) -> bool,
    ) -> Result<(), Errno> {
        let Some(message) = messages.get_mut(last) else { return Ok(()) };
        message.flags |= NLM_F_ACK;
        let first = self.send(messages)?;
        self.receive(first, &mut |index, kind, payload| {
            if !matches!(kind, ERROR | DONE) {
                return true;
            }
            let on = code(payload).map_or_else(|errno| refused(index, errno), |()| true);
            on && index != last
        })
    }

    /// Sends; the sequence number of the first.
    fn send(&mut self, messages: &[Message]) -> Result<u32, Errno> {
        let first = self.sequence.wrapping_add(1);
        let mut bytes = Vec::new();
        for Message { kind, flags, body } in messages {
            self.sequence = self.sequence.wrapping_add(1);
            bytes.extend_from_slice(&((HEADER + body.0.len()) as u32).to_ne_bytes());
            bytes.extend_from_slice(&kind.to_ne_bytes());
            bytes.extend_from_slice(&(flags | NLM_F_REQUEST).to_ne_bytes());
            bytes.extend_from_slice(&self.sequence.to_ne_bytes());
            bytes.extend_from_slice(&[0; 4]);
            bytes.extend_from_slice(&body.0);
            bytes.resize(bytes.len().next_multiple_of(4), 0);
        }
        self.socket.send(&bytes, 0).map_err(|error| errno(&error))?;
        Ok(first)
    }

    /// Reads answers to what was sent from `first` on; `each` gets the place of the request in the batch, kind and
    /// payload, and says whether to go on.
    fn receive(&mut self, first: u32, each: &mut dyn FnMut(usize, u16, &[u8]) -> bool) -> Result<(), Errno> {
        loop {
            let (datagram, _) = match self.socket.recv_from_full() {
                Ok(received) => received,
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(errno(&error)),
            };
            let mut rest = datagram.as_slice();
            while rest.len() >= HEADER {
                let Ok(message) = NetlinkBuffer::new_checked(rest) else { return Err(Errno::BADMSG) };
                let index = message.sequence_number().wrapping_sub(first);
                // Anything else is what is left of a request that timed out.
                if index <= self.sequence.wrapping_sub(first)
                    && !each(index as usize, message.message_type(), message.payload())
                {
                    return Ok(());
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
