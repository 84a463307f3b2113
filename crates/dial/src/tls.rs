//! TLS over a TCP connection.
//!
//! rustls decides and seals; the bytes between it and the socket lie in two buffers of ours that are made once. The
//! buffers that rustls itself would keep grow and shrink with every record, and what they cost the allocator is more than
//! the ciphers do when a relay is busy.
//!
//! Leaves out: whom to trust (`verify`), where to connect (`dialer`).

use crate::gather::Gather;
use rustls::client::UnbufferedClientConnection;
use rustls::unbuffered::{
    ConnectionState, EncodeError, EncodeTlsData, EncryptError, InsufficientSizeError, UnbufferedStatus,
    WriteTraffic,
};
use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

/// Bytes read at once: a relay's bulk traffic must not cost a system call per few packets, each of which the kernel
/// acknowledges. Holds any record, and a long chain of certificates. Pages that nothing has reached cost no memory.
const INCOMING: usize = 68 << 10;
/// Bytes sealed at once: two records.
const OUTGOING: usize = 32 << 10;
/// What two records, and perhaps a message of TLS's own, are longer than what is in them.
const OVERHEAD: usize = 256;

/// A connection. The handshake is done when there is one.
pub(crate) struct Tls {
    tcp: TcpStream,
    tls: UnbufferedClientConnection,
    incoming: Incoming,
    /// What has been opened and did not fit where it was wanted, and how much of it has been taken.
    opened: (Vec<u8>, usize),
    outgoing: Outgoing,
    gather: Gather,
    /// The other side has said that nothing more comes.
    ended: bool,
    closing: bool,
}

/// Records as they have come.
struct Incoming {
    bytes: Vec<u8>,
    start: usize,
    end: usize,
}

/// Records that wait for the socket.
struct Outgoing {
    bytes: Vec<u8>,
    /// So many of the bytes mean something; so many of those the socket has taken.
    end: usize,
    taken: usize,
}

/// What a step found.
enum Step {
    /// Something happened; another step may do more.
    Went,
    /// Nothing happens until more has been read.
    Thirsty,
    /// What was to be written has been sealed: so many bytes of it.
    Sealed(usize),
}

/// What a step may do beside what must be done.
enum Wish<'a, 'b> {
    /// Open into this.
    Read(&'a mut ReadBuf<'b>),
    /// Seal this.
    Write(&'a [u8]),
    /// Say that nothing more comes.
    Close,
    Nothing,
}

impl Tls {
    /// Shakes hands.
    ///
    /// # Errors
    /// What the socket says, or a [`rustls::Error`] in an [`io::Error`].
    pub(crate) async fn connect(tls: UnbufferedClientConnection, tcp: TcpStream) -> io::Result<Self> {
        let incoming = Incoming { bytes: vec![0; INCOMING], start: 0, end: 0 };
        let outgoing = Outgoing { bytes: Vec::new(), end: 0, taken: 0 };
        let opened = (Vec::new(), 0);
        let gather = Gather::new();
        let mut this = Self { tcp, tls, incoming, opened, outgoing, gather, ended: false, closing: false };
        poll_fn(|cx| this.poll_handshake(cx)).await?;
        Ok(this)
    }

    fn poll_handshake(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        loop {
            match self.step(Wish::Nothing) {
                Ok(Step::Went) if self.ended => {
                    return Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into()));
                }
                Ok(Step::Went) => {}
                Ok(Step::Thirsty | Step::Sealed(_)) => {
                    ready!(self.poll_send(cx))?;
                    if !self.tls.is_handshaking() {
                        return Poll::Ready(Ok(()));
                    }
                    ready!(self.poll_fill(cx))?;
                }
                Err(error) => {
                    // An alert says why we give up, if the socket takes it at once.
                    let _ = self.poll_send(cx);
                    return Poll::Ready(Err(error));
                }
            }
        }
    }

    /// Has rustls look at what has come.
    fn step(&mut self, wish: Wish<'_, '_>) -> io::Result<Step> {
        let Self { tls, incoming, opened, outgoing, ended, .. } = self;
        let came = incoming.bytes.get_mut(incoming.start..incoming.end).unwrap_or_default();
        let UnbufferedStatus { mut discard, state, .. } = tls.process_tls_records(came);
        let step = match state {
            Ok(ConnectionState::ReadTraffic(mut traffic)) => {
                let mut place = match wish {
                    Wish::Read(place) => Some(place),
                    _ => None,
                };
                while let Some(record) = traffic.next_record() {
                    let record = record.map_err(broken)?;
                    discard += record.discard;
                    let fits = place.as_ref().map_or(0, |place| place.remaining()).min(record.payload.len());
                    let (now, later) = record.payload.split_at(fits);
                    if let Some(place) = &mut place {
                        place.put_slice(now);
                    }
                    opened.0.extend_from_slice(later);
                }
                Step::Went
            }
            Ok(ConnectionState::EncodeTlsData(mut data)) => {
                outgoing.encode(&mut data)?;
                Step::Went
            }
            Ok(ConnectionState::TransmitTlsData(data)) => {
                // It leaves before anything else that is written.
                data.done();
                Step::Went
            }
            Ok(ConnectionState::WriteTraffic(mut traffic)) => match wish {
                Wish::Write(data) => {
                    let data = data.get(..OUTGOING).unwrap_or(data);
                    outgoing.seal(&mut traffic, |traffic, room| traffic.encrypt(data, room))?;
                    Step::Sealed(data.len())
                }
                Wish::Close => {
                    outgoing.seal(&mut traffic, |traffic, room| traffic.queue_close_notify(room))?;
                    Step::Sealed(0)
                }
                Wish::Read(_) | Wish::Nothing => Step::Thirsty,
            },
            Ok(ConnectionState::PeerClosed) => {
                *ended = true;
                Step::Went
            }
            Ok(ConnectionState::Closed) => {
                *ended = true;
                // Nothing more happens at all.
                Step::Thirsty
            }
            Ok(_) => Step::Thirsty,
            Err(error) => {
                incoming.discard(discard);
                // Why we give up, for the other side.
                let came = incoming.bytes.get_mut(incoming.start..incoming.end).unwrap_or_default();
                if let Ok(ConnectionState::EncodeTlsData(mut alert)) = tls.process_tls_records(came).state {
                    let _ = outgoing.encode(&mut alert);
                }
                return Err(broken(error));
            }
        };
        incoming.discard(discard);
        Ok(step)
    }

    /// Reads from the socket, at least a byte.
    fn poll_fill(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let room = self.incoming.room().ok_or(io::ErrorKind::InvalidData)?;
        let mut room = ReadBuf::new(room);
        if Pin::new(&mut self.tcp).poll_read(cx, &mut room)?.is_pending() {
            self.gather.sleep(cx, &self.tcp);
            return Poll::Pending;
        }
        match room.filled().len() {
            0 => Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into())),
            count => {
                self.incoming.end += count;
                self.gather.read(count);
                Poll::Ready(Ok(()))
            }
        }
    }

    /// Hands the socket all that waits for it.
    fn poll_send(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let Outgoing { bytes, end, taken } = &mut self.outgoing;
        while *taken < *end {
            let left = bytes.get(*taken..*end).unwrap_or_default();
            match ready!(Pin::new(&mut self.tcp).poll_write(cx, left))? {
                0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                count => *taken += count,
            }
        }
        (*end, *taken) = (0, 0);
        Poll::Ready(Ok(()))
    }

    /// Seals; how many bytes of it. What comes meanwhile is kept.
    fn seal(&mut self, data: Option<&[u8]>) -> io::Result<usize> {
        loop {
            match self.step(data.map_or(Wish::Close, Wish::Write))? {
                Step::Went => {}
                Step::Sealed(count) => return Ok(count),
                Step::Thirsty => return Err(io::ErrorKind::BrokenPipe.into()),
            }
        }
    }
}

fn broken(error: rustls::Error) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, error)
}

impl Incoming {
    /// Bytes of the next record, which need not be whole; 0 where nothing lies.
    fn next_record(&self) -> usize {
        match self.bytes.get(self.start..self.end) {
            Some(&[_, _, _, a, b, ..]) => usize::from(u16::from_be_bytes([a, b])),
            _ => 0,
        }
    }

    fn discard(&mut self, count: usize) {
        self.start = (self.start + count).min(self.end);
        if self.start == self.end {
            // Pages that are warm already.
            (self.start, self.end) = (0, 0);
        }
    }

    /// Where the next bytes go; `None` if it is full and that did not help.
    fn room(&mut self) -> Option<&mut [u8]> {
        if self.end == self.bytes.len() {
            self.bytes.copy_within(self.start..self.end, 0);
            self.end -= self.start;
            self.start = 0;
            if self.end == self.bytes.len() {
                return None;
            }
        }
        self.bytes.get_mut(self.end..)
    }
}

impl Outgoing {
    /// Appends what `fill` writes, which says how much that was or how much room it needs.
    fn put(
        &mut self,
        mut fill: impl FnMut(&mut [u8]) -> Result<usize, Result<InsufficientSizeError, io::Error>>,
    ) -> io::Result<()> {
        loop {
            match fill(self.bytes.get_mut(self.end..).unwrap_or_default()) {
                Ok(count) => {
                    self.end += count;
                    return Ok(());
                }
                Err(Ok(size)) => self.bytes.resize(self.end + size.required_size + OVERHEAD, 0),
                Err(Err(error)) => return Err(error),
            }
        }
    }

    /// Appends what TLS itself has to say.
    fn encode<D>(&mut self, data: &mut EncodeTlsData<'_, D>) -> io::Result<()> {
        self.put(|room| {
            data.encode(room).map_err(|error| match error {
                EncodeError::InsufficientSize(size) => Ok(size),
                EncodeError::AlreadyEncoded => Err(io::ErrorKind::InvalidData.into()),
            })
        })
    }

    fn seal<D>(
        &mut self,
        traffic: &mut WriteTraffic<'_, D>,
        seal: impl Fn(&mut WriteTraffic<'_, D>, &mut [u8]) -> Result<usize, EncryptError>,
    ) -> io::Result<()> {
        self.put(|room| {
            seal(traffic, room).map_err(|error| match error {
                EncryptError::InsufficientSize(size) => Ok(size),
                EncryptError::EncryptExhausted => Err(io::ErrorKind::InvalidData.into()),
            })
        })
    }
}

impl AsyncRead for Tls {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        place: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let me = self.get_mut();
        let before = place.filled().len();
        let (bytes, taken) = &mut me.opened;
        if let Some(left) = bytes.get(*taken..).filter(|left| !left.is_empty()) {
            let count = left.len().min(place.remaining());
            place.put_slice(left.get(..count).unwrap_or_default());
            *taken += count;
            if *taken == bytes.len() {
                (*bytes, *taken) = (Vec::new(), 0);
            }
            return Poll::Ready(Ok(()));
        }
        while place.remaining() > 0 && !me.ended {
            if place.filled().len() > before && me.incoming.next_record() > place.remaining() {
                // Its reader comes again with more room.
                break;
            }
            match me.step(Wish::Read(place)) {
                Ok(Step::Went) => {
                    // Answers of TLS's own; if the socket does not take them now, they leave with what is written next.
                    if let Poll::Ready(Err(error)) = me.poll_send(cx) {
                        return Poll::Ready(Err(error));
                    }
                }
                // What has been opened counts; the next call says the rest.
                _ if place.filled().len() > before || me.ended => break,
                Ok(_) => ready!(me.poll_fill(cx))?,
                Err(error) => return Poll::Ready(Err(error)),
            }
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Tls {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        let me = self.get_mut();
        ready!(me.poll_send(cx))?;
        if data.is_empty() {
            return Poll::Ready(Ok(0));
        }
        let count = me.seal(Some(data))?;
        match me.poll_send(cx) {
            Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
            _ => Poll::Ready(Ok(count)),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.get_mut().poll_send(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let me = self.get_mut();
        if !std::mem::replace(&mut me.closing, true) {
            // A connection that is broken already has nobody to tell.
            let _ = me.seal(None);
        }
        ready!(me.poll_send(cx))?;
        Pin::new(&mut me.tcp).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_are_known_by_their_first_bytes() {
        let mut incoming = Incoming { bytes: vec![0; 16], start: 0, end: 0 };
        assert_eq!(incoming.next_record(), 0);
        incoming.bytes[2..8].copy_from_slice(&[23, 3, 3, 0x40, 0x11, 9]);
        (incoming.start, incoming.end) = (2, 6);
        assert_eq!(incoming.next_record(), 0, "not known yet");
        incoming.end = 8;
        assert_eq!(incoming.next_record(), 0x4011);
        incoming.discard(6);
        assert_eq!(incoming.next_record(), 0);
        assert_eq!(incoming.room().map(|room| room.len()), Some(16));
        (incoming.start, incoming.end) = (0, 16);
        assert!(incoming.room().is_none(), "no record is that long");
    }
}
