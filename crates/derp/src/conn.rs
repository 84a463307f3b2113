//! A running connection: reads frames, writes the outbox, and watches the clock.
//!
//! Owns: the read buffer (8 KiB, grows to 66 KiB under load and no further), the three loops, what each frame
//! does. Leaves out: how the connection came to be and what follows its end (`link`).
//!
//! All frames of one read are handled before the next read; the sink is flushed once for them.

use crate::frame::{self, Frame, HEADER, MAX_PACKET, NOTE_PREFERRED, PING, PONG, SEND_OVERHEAD};
use crate::handshake::{Secret, TokenBucket};
use crate::link::Link;
use crate::pace::{LULL, PATIENCE};
use crate::pool::Shared;
use crate::{Error, Event};
use dial::BoxStream;
use keys::NodePublic;
use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::task::{Poll, ready};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt as _, ReadBuf};
use tokio::time::Instant;

/// The read buffer at rest.
const SMALL: usize = 8 << 10;
/// The longest frame that means anything to us; longer ones are skipped as they come in.
const LONGEST: usize = SEND_OVERHEAD + MAX_PACKET;
/// The read buffer at most.
const LARGE: usize = 66 << 10;
/// With less room than this, which takes a record of TLS, what has been read is handled first: TLS would have to keep what
/// does not fit, and the packet lines take no more at once.
const RECORD: usize = 16 << 10;
/// After a read of this many bytes other tasks get a turn.
const FAIR: usize = 32 << 10;
/// Without any frame for this long the connection is dead (relays send keep-alives every minute).
const SILENCE: Duration = Duration::from_secs(120);
/// How often idleness is looked at.
const IDLE_CHECK: Duration = Duration::from_secs(15);
/// How long a ping may take.
const PING_LIMIT: Duration = Duration::from_secs(3);
/// Longest health text passed on.
const MAX_HEALTH: usize = 1 << 10;

/// A connection whose handshake has been sent.
pub(crate) struct Conn {
    pub(crate) stream: BoxStream,
    pub(crate) reader: Reader,
    pub(crate) secret: Secret,
    /// What the hello said about this being the home region.
    pub(crate) told_home: bool,
}

/// How a connection ended without an error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    /// We sent nothing for a minute.
    Idle,
    /// Closed from outside.
    Closed,
}

/// Runs `conn` to its end.
pub(crate) async fn run(conn: Conn, shared: &Shared, link: &Link) -> Result<End, Error> {
    let (mut input, mut output) = tokio::io::split(conn.stream);
    let receive = receive(conn.reader, &mut input, conn.secret, conn.told_home, shared, link);
    tokio::select! {
        biased;
        end = receive => end,
        error = transmit(&mut output, link) => Err(error),
        end = watch(shared, link) => end,
    }
}

/// Bytes between the socket and the frames.
pub(crate) struct Reader {
    buf: Vec<u8>,
    start: usize,
    end: usize,
    /// Bytes of an overlong frame still to be skipped.
    skip: usize,
    eof: bool,
}

impl Reader {
    /// Starts with what was read behind the HTTP answer.
    pub(crate) fn new(mut read_ahead: Vec<u8>) -> Self {
        let end = read_ahead.len();
        read_ahead.resize(SMALL.max(end), 0);
        Self { buf: read_ahead, start: 0, end, skip: 0, eof: false }
    }

    /// Reads until the socket has nothing more or the buffer is full, at least one byte; how many.
    async fn fill(&mut self, input: &mut (impl AsyncRead + Unpin)) -> Result<usize, Error> {
        // At most one unfinished frame is left over: moving it is cheap.
        self.buf.copy_within(self.start..self.end, 0);
        self.end -= self.start;
        self.start = 0;
        if self.end * 2 > self.buf.len() {
            self.buf.resize((self.buf.len() * 2).min(LARGE), 0);
        }
        let before = self.end;
        poll_fn(|cx| {
            loop {
                let last = if self.buf.len() == LARGE && self.end > before { RECORD } else { 1 };
                let mut free = ReadBuf::new(self.buf.get_mut(self.end..).unwrap_or_default());
                if self.eof || free.remaining() < last {
                    return Poll::Ready(Ok(()));
                }
                match Pin::new(&mut *input).poll_read(cx, &mut free) {
                    Poll::Pending if self.end > before => return Poll::Ready(Ok(())),
                    Poll::Pending => return Poll::Pending,
                    Poll::Ready(Err(e)) => return Poll::Ready(Err(e)),
                    Poll::Ready(Ok(())) => {
                        let n = free.filled().len();
                        self.eof = n == 0;
                        self.end += n;
                    }
                }
            }
        })
        .await?;
        match self.end - before {
            0 => Err(Error::Closed),
            n => {
                if self.end == self.buf.len() {
                    // The buffer was the bottleneck.
                    self.buf.resize((self.buf.len() * 2).min(LARGE), 0);
                }
                Ok(n)
            }
        }
    }

    /// The next complete frame that has been read.
    fn next(&mut self) -> Result<Option<Frame<'_>>, Error> {
        loop {
            let skipped = self.skip.min(self.end - self.start);
            self.start += skipped;
            self.skip -= skipped;
            let have = self.buf.get(self.start..self.end).unwrap_or_default();
            match frame::header(have)? {
                Some((_, len)) if HEADER + len > LONGEST => self.skip = HEADER + len,
                _ => break,
            }
        }
        let have = self.buf.get(self.start..self.end).unwrap_or_default();
        let Some((frame, used)) = frame::decode(have)? else {
            return Ok(None);
        };
        self.start += used;
        Ok(Some(frame))
    }

    /// Gives memory back if nothing is in it.
    fn shrink(&mut self) {
        if self.start == self.end && self.buf.len() > SMALL {
            (self.start, self.end) = (0, 0);
            self.buf.truncate(SMALL);
            self.buf.shrink_to_fit();
        }
    }
}

/// Reads the relay's key, the first frame of a connection.
pub(crate) async fn server_key(reader: &mut Reader, stream: &mut BoxStream) -> Result<NodePublic, Error> {
    loop {
        match reader.next()? {
            Some(Frame::ServerKey(key)) => return Ok(key),
            Some(_) => return Err(Error::Handshake("the relay did not start with its key")),
            None => reader.fill(stream).await?,
        };
    }
}

async fn receive(
    mut reader: Reader,
    input: &mut (impl AsyncRead + Unpin),
    secret: Secret,
    told_home: bool,
    shared: &Shared,
    link: &Link,
) -> Result<End, Error> {
    let region = link.region.id;
    let mut told_frame_at: Option<Instant> = None;
    loop {
        let (mut frames, mut packets) = (0u32, 0u32);
        let mut keep_alive = false;
        while let Some(frame) = reader.next()? {
            frames += 1;
            match frame {
                Frame::RecvPacket(src, packet) if link.connected.get() => {
                    packets += 1;
                    shared.sink.packet(region, &src, packet);
                }
                Frame::ServerInfo(payload) if !link.connected.get() => {
                    let info = secret.server_info(payload)?;
                    link.outbox.borrow_mut().limit = TokenBucket::new(info, Instant::now());
                    connected(told_home, shared, link);
                }
                Frame::KeepAlive => keep_alive = true,
                Frame::Ping(data) => link.push_control(PONG, &data),
                Frame::Pong(data) => {
                    if link.outbox.borrow_mut().pace.answer(data, Instant::now()) {
                        link.filled.notify_one();
                    } else if link.ping.get() == Some(data) {
                        link.ping.set(None);
                    }
                }
                Frame::PeerGone(peer, reason) => {
                    shared.sink.event(Event::PeerGone { region, peer, reason });
                }
                Frame::Health(text) => {
                    let text = String::from_utf8_lossy(text.get(..MAX_HEALTH).unwrap_or(text)).into_owned();
                    shared.sink.event(Event::Health { region, text });
                }
                Frame::Restarting(reconnect_in, _try_for) => link.restart_in.set(Some(reconnect_in)),
                // Not for clients, or from a later version.
                Frame::ServerKey(_)
                | Frame::ClientInfo(..)
                | Frame::ServerInfo(_)
                | Frame::SendPacket(..)
                | Frame::RecvPacket(..)
                | Frame::NotePreferred(_)
                | Frame::Skipped(_) => {}
            }
            if link.closed.get() {
                return Ok(End::Closed);
            }
        }
        if packets > 0 {
            shared.sink.flush();
        }
        if frames > 0 {
            let now = Instant::now();
            link.last_frame.set(now);
            let second = Duration::from_secs(1);
            if link.connected.get() && told_frame_at.is_none_or(|told| now.duration_since(told) >= second) {
                told_frame_at = Some(now);
                shared.sink.event(Event::FrameAt { region });
            }
        }
        if keep_alive && frames == 1 {
            // Only a keep-alive: nothing goes on here.
            reader.shrink();
        }
        if reader.fill(input).await? >= FAIR {
            tokio::task::yield_now().await;
        }
    }
}

fn connected(told_home: bool, shared: &Shared, link: &Link) {
    link.connected.set(true);
    let home = link.home.get();
    if home != told_home {
        link.push_control(NOTE_PREFERRED, &[u8::from(home)]);
    }
    log::info!("derp-{}: connected to {}", link.region.id, link.region.code);
    shared.sink.event(Event::Connected { region: link.region.id, home });
}

/// Writes whatever waits, as much as the socket takes at once.
async fn transmit(output: &mut (impl AsyncWrite + Unpin), link: &Link) -> Error {
    let mut last = Instant::now();
    loop {
        let now = Instant::now();
        if now.duration_since(last) >= LULL {
            link.outbox.borrow_mut().pace.lull();
        }
        last = now;
        let written = poll_fn(|cx| {
            loop {
                let mut outbox = link.outbox.borrow_mut();
                let chunk = outbox.next_chunk();
                if chunk.is_empty() {
                    return Poll::Ready(Ok(()));
                }
                match ready!(Pin::new(&mut *output).poll_write(cx, chunk)) {
                    Ok(0) => return Poll::Ready(Err(io::Error::from(io::ErrorKind::WriteZero))),
                    Ok(n) => outbox.advance(n, now),
                    Err(e) => return Poll::Ready(Err(e)),
                }
            }
        })
        .await;
        if let Err(e) = written {
            return e.into();
        }
        if let Err(e) = output.flush().await {
            return e.into();
        }
        if link.sent.replace(false) {
            link.last_send.set(now);
        }
        if link.outbox.borrow().is_empty() {
            link.filled.notified().await;
        } else if tokio::time::timeout(PATIENCE, link.filled.notified()).await.is_err() {
            // It waited for the relay, which does not answer.
            link.outbox.borrow_mut().pace.give_up();
        }
    }
}

/// Ends the connection when it is silent, idle, or does not answer a ping.
async fn watch(shared: &Shared, link: &Link) -> Result<End, Error> {
    let mut idle_check = Instant::now() + IDLE_CHECK;
    let mut ping_limit: Option<Instant> = None;
    loop {
        let silence = link.last_frame.get() + SILENCE;
        let wake = silence.min(idle_check).min(ping_limit.unwrap_or(idle_check));
        tokio::select! {
            // While a ping is out its time runs.
            () = link.check.notified(), if link.ping.get().is_none() => {
                let mut data = [0; 8];
                shared.rng.borrow_mut().fill_bytes(&mut data);
                link.ping.set(Some(data));
                link.push_control(PING, &data);
                ping_limit = Some(Instant::now() + PING_LIMIT);
            }
            () = tokio::time::sleep_until(wake) => {}
        }
        let now = Instant::now();
        if now >= link.last_frame.get() + SILENCE {
            return Err(Error::Silent);
        }
        if ping_limit.is_some_and(|limit| now >= limit) {
            if link.ping.get().is_some() {
                return Err(Error::PingTimeout);
            }
            ping_limit = None;
        }
        if now >= idle_check {
            if link.is_idle() {
                return Ok(End::Idle);
            }
            if link.last_send.get().elapsed() >= IDLE_CHECK {
                link.outbox.borrow_mut().shrink();
            }
            idle_check = now + IDLE_CHECK;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::task::Context;

    /// Has some packets whenever it is asked, and remembers how much room there was for them.
    struct Busy(Vec<usize>);

    impl AsyncRead for Busy {
        fn poll_read(
            mut self: Pin<&mut Self>,
            _: &mut Context<'_>,
            room: &mut ReadBuf<'_>,
        ) -> Poll<io::Result<()>> {
            self.0.push(room.remaining());
            room.put_slice(&[0; 2000][..room.remaining().min(2000)]);
            Poll::Ready(Ok(()))
        }
    }

    #[tokio::test]
    async fn a_busy_stream_is_asked_while_a_record_fits() {
        let (mut reader, mut busy) = (Reader::new(Vec::new()), Busy(Vec::new()));
        for _ in 0..6 {
            assert!(reader.fill(&mut busy).await.is_ok());
            // All but a part of a frame has been handled.
            reader.start = reader.end - 700;
        }
        assert_eq!(reader.buf.len(), LARGE);
        busy.0.clear();
        let read = reader.fill(&mut busy).await.unwrap_or(0);
        assert!(read > LARGE - RECORD - 2700 && busy.0.iter().all(|room| *room >= RECORD), "{:?}", busy.0);
        // A frame may be as long as the buffer.
        reader.start = 0;
        assert!(reader.fill(&mut busy).await.is_ok());
    }
}
