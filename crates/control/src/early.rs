//! The early payload: what control may say before HTTP/2 begins (protocol reference §1.5).
//!
//! It is swallowed: this node does not answer the challenge in it. Nothing waits for it, because the client
//! speaks first in HTTP/2 and control may send none.

use crate::noise::NoiseStream;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// What an early payload begins with; as the start of an HTTP/2 frame it would be absurdly long.
const MAGIC: [u8; 5] = *b"\xff\xff\xffTS";
/// Magic and a big-endian length: as long as the header of an HTTP/2 frame.
const HEAD: usize = 9;
/// Longest payload that is accepted.
const LIMIT: u32 = 10 << 20;

enum State {
    /// Collecting the first bytes; the number says how many there are.
    Head(usize),
    /// That many bytes of payload are still to be swallowed.
    Swallow(u32),
    /// No payload came: these bytes belong to HTTP/2, from the given one on.
    Replay(usize),
    Through,
}

/// A Noise stream without its early payload.
pub(crate) struct WithoutEarly {
    io: NoiseStream,
    head: [u8; HEAD],
    state: State,
    version: u16,
}

impl WithoutEarly {
    /// `version` is only named in the error for a server that hangs up at once.
    pub(crate) fn new(io: NoiseStream, version: u16) -> Self {
        Self { io, head: [0; HEAD], state: State::Head(0), version }
    }

    /// A connection that ends before its first byte: the server says so in no other way.
    fn explain(&self, error: io::Error) -> io::Error {
        match self.state {
            State::Head(0) => io::Error::new(
                io::ErrorKind::ConnectionAborted,
                format!(
                    "control closed the connection right after the handshake: it may refuse capability version {}",
                    self.version
                ),
            ),
            _ => error,
        }
    }
}

impl AsyncRead for WithoutEarly {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, out: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let me = self.get_mut();
        loop {
            match me.state {
                State::Head(have) => {
                    let mut space = ReadBuf::new(me.head.get_mut(have..).unwrap_or_default());
                    let read = ready!(Pin::new(&mut me.io).poll_read(cx, &mut space));
                    let n = space.filled().len();
                    if let Err(e) = read {
                        return Poll::Ready(Err(me.explain(e)));
                    }
                    let have = have + n;
                    let [m0, m1, m2, m3, m4, len @ ..] = me.head;
                    me.state = match (n, have) {
                        (0, 0) => {
                            return Poll::Ready(Err(me.explain(io::ErrorKind::UnexpectedEof.into())));
                        }
                        (0, _) => {
                            me.head.copy_within(0..have, HEAD - have);
                            State::Replay(HEAD - have)
                        }
                        (_, HEAD) if [m0, m1, m2, m3, m4] == MAGIC => match u32::from_be_bytes(len) {
                            len @ ..=LIMIT => State::Swallow(len),
                            _ => {
                                return Poll::Ready(Err(io::Error::new(
                                    io::ErrorKind::InvalidData,
                                    "the early payload of control is too long",
                                )));
                            }
                        },
                        (_, HEAD) => State::Replay(0),
                        _ => State::Head(have),
                    };
                }
                State::Swallow(0) => me.state = State::Through,
                State::Swallow(left) => {
                    let mut scratch = [0; 512];
                    let want = scratch.len().min(left as usize);
                    let mut space = ReadBuf::new(scratch.get_mut(..want).unwrap_or_default());
                    ready!(Pin::new(&mut me.io).poll_read(cx, &mut space))?;
                    match space.filled().len() {
                        0 => return Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into())),
                        n => me.state = State::Swallow(left.saturating_sub(n as u32)),
                    }
                }
                State::Replay(from) => {
                    let rest = me.head.get(from..).unwrap_or_default();
                    if rest.is_empty() {
                        me.state = State::Through;
                        continue;
                    }
                    let n = rest.len().min(out.remaining());
                    out.put_slice(&rest[..n]);
                    me.state = State::Replay(from + n);
                    return Poll::Ready(Ok(()));
                }
                State::Through => return Pin::new(&mut me.io).poll_read(cx, out),
            }
        }
    }
}

impl AsyncWrite for WithoutEarly {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write(cx, data).map_err(|e| self.explain(e))
    }
    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx).map_err(|e| self.explain(e))
    }
    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::noise::responder::Responder;
    use keys::MachinePrivate;
    use proptest::prelude::*;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    /// Both ends of an encrypted connection.
    async fn connected(capacity: usize) -> (WithoutEarly, NoiseStream) {
        let (server, machine) = (MachinePrivate::from_bytes([1; 32]), MachinePrivate::from_bytes([2; 32]));
        let (a, mut b) = tokio::io::duplex(capacity.max(64));
        let (initiator, message) = crate::noise::Initiator::start(
            119,
            machine,
            &server.public(),
            MachinePrivate::from_bytes([3; 32]),
        )
        .expect("start");
        let (responder, answer) =
            Responder::answer(&server, &message, MachinePrivate::from_bytes([4; 32])).expect("answer");
        b.write_all(&answer).await.expect("write");
        let client = crate::noise::handshake(Box::new(a), initiator).await.expect("handshake");
        (WithoutEarly::new(client, 119), responder.into_stream(Box::new(b)))
    }

    #[allow(clippy::unwrap_in_result, reason = "test code")]
    fn through(sent: &[u8], piece: usize) -> io::Result<Vec<u8>> {
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("runtime");
        runtime.block_on(async {
            let (mut client, mut server) = connected(1 << 16).await;
            let write = async {
                for part in sent.chunks(piece.max(1)) {
                    server.write_all(part).await.expect("write");
                }
                server.shutdown().await.expect("shutdown");
            };
            let mut got = Vec::new();
            let (_, read) = tokio::join!(write, client.read_to_end(&mut got));
            read.map(|_| got)
        })
    }

    #[test]
    fn payload_is_swallowed() {
        let sent = b"\xff\xff\xffTS\x00\x00\x00\x04{  }\x00\x00\x00\x04settings";
        for piece in 1..sent.len() {
            assert_eq!(through(sent, piece).expect("read"), b"\x00\x00\x00\x04settings");
        }
    }

    #[test]
    fn a_silent_close_names_the_version() {
        let error = through(b"", 1).expect_err("closed");
        assert!(error.to_string().contains("capability version 119"), "{error}");
    }

    #[test]
    fn a_huge_payload_is_refused() {
        assert!(through(b"\xff\xff\xffTS\xff\x00\x00\x04", 9).is_err());
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(48))]
        #[test]
        fn other_bytes_pass(sent in proptest::collection::vec(0u8..255, 1..200), piece in 1usize..30) {
            prop_assert_eq!(through(&sent, piece).expect("read"), sent);
        }
    }
}
