//! The DERP frame codec: `u8 type | u32 BE length | payload`.
//!
//! Owns: what each payload means, and how frames that a client sends are written. Pure: no socket, and what it
//! decodes borrows from the buffer.
//! Leaves out: NaCl boxes (`handshake`), mesh frames (skipped like unknown ones).
//!
//! Protocol reference §2.2. A frame that is too short for its kind is skipped, as upstream does: the length
//! prefix keeps the stream in step anyhow.

use keys::NodePublic;
use std::time::Duration;

/// A longer frame ends the connection.
pub const MAX_FRAME: usize = 1 << 20;
/// The longest packet a relay carries.
pub const MAX_PACKET: usize = 64 << 10;
/// Type and length.
pub(crate) const HEADER: usize = 5;
/// A key.
const KEY: usize = 32;
/// What a `SendPacket` frame adds to its packet.
pub(crate) const SEND_OVERHEAD: usize = HEADER + KEY;

pub(crate) const SERVER_KEY: u8 = 0x01;
pub(crate) const CLIENT_INFO: u8 = 0x02;
pub(crate) const SERVER_INFO: u8 = 0x03;
pub(crate) const SEND_PACKET: u8 = 0x04;
pub(crate) const RECV_PACKET: u8 = 0x05;
pub(crate) const KEEP_ALIVE: u8 = 0x06;
pub(crate) const NOTE_PREFERRED: u8 = 0x07;
pub(crate) const PEER_GONE: u8 = 0x08;
pub(crate) const PING: u8 = 0x12;
pub(crate) const PONG: u8 = 0x13;
pub(crate) const HEALTH: u8 = 0x14;
pub(crate) const RESTARTING: u8 = 0x15;

/// "DERP" and a key in UTF-8: how a `ServerKey` frame starts.
const MAGIC: [u8; 8] = *b"DERP\xf0\x9f\x94\x91";

/// One frame, borrowed from the buffer it was read into.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Frame<'a> {
    /// The server's public key, the first frame of a connection.
    ServerKey(NodePublic),
    /// Who the client is: its key, and a nonce and box only the server can open.
    ClientInfo(NodePublic, &'a [u8]),
    /// The server's answer: nonce and box.
    ServerInfo(&'a [u8]),
    /// A packet to a peer.
    SendPacket(NodePublic, &'a [u8]),
    /// A packet from a peer.
    RecvPacket(NodePublic, &'a [u8]),
    /// Nothing, said every minute or so.
    KeepAlive,
    /// Whether this connection is the client's home.
    NotePreferred(bool),
    /// A peer cannot be reached here.
    PeerGone(NodePublic, GoneReason),
    /// To be answered with the same bytes.
    Ping([u8; 8]),
    /// The answer.
    Pong([u8; 8]),
    /// A problem of the server in words; empty = none.
    Health(&'a [u8]),
    /// The server restarts: come back after the first time, keep trying for the second.
    Restarting(Duration, Duration),
    /// Unknown, mesh only, or malformed: skip it.
    Skipped(u8),
}

/// Why a peer is gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GoneReason {
    /// It hung up.
    Disconnected,
    /// It was never here.
    NotHere,
    /// A reason this version does not know.
    Other(u8),
}

/// Why a stream of frames cannot be followed further.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// The length prefix is beyond [`MAX_FRAME`].
    #[error("relay sent a frame of {0} bytes (type {1:#04x}); it does not speak DERP")]
    TooLong(usize, u8),
}

/// Type and payload length of the frame at the start of `buf`; `None` if there are fewer than five bytes.
///
/// # Errors
/// A length beyond [`MAX_FRAME`].
pub(crate) fn header(buf: &[u8]) -> Result<Option<(u8, usize)>, FrameError> {
    let Some((&[kind, a, b, c, d], _)) = buf.split_first_chunk::<HEADER>() else {
        return Ok(None);
    };
    let len = u32::from_be_bytes([a, b, c, d]) as usize;
    if len > MAX_FRAME {
        return Err(FrameError::TooLong(len, kind));
    }
    Ok(Some((kind, len)))
}

/// The frame at the start of `buf` and how many bytes it takes; `None` if it is not complete yet.
///
/// # Errors
/// A length beyond [`MAX_FRAME`].
pub fn decode(buf: &[u8]) -> Result<Option<(Frame<'_>, usize)>, FrameError> {
    let Some((kind, len)) = header(buf)? else {
        return Ok(None);
    };
    let Some(payload) = buf.get(HEADER..HEADER + len) else {
        return Ok(None);
    };
    Ok(Some((payload_of(kind, payload).unwrap_or(Frame::Skipped(kind)), HEADER + len)))
}

fn payload_of(kind: u8, payload: &[u8]) -> Option<Frame<'_>> {
    Some(match kind {
        SERVER_KEY => Frame::ServerKey(key(payload.strip_prefix(&MAGIC)?)?.0),
        CLIENT_INFO => key(payload).map(|(key, sealed)| Frame::ClientInfo(key, sealed))?,
        SERVER_INFO => Frame::ServerInfo(payload),
        SEND_PACKET => key(payload).map(|(dst, packet)| Frame::SendPacket(dst, packet))?,
        RECV_PACKET => key(payload).map(|(src, packet)| Frame::RecvPacket(src, packet))?,
        KEEP_ALIVE => Frame::KeepAlive,
        NOTE_PREFERRED => Frame::NotePreferred(*payload.first()? != 0),
        PEER_GONE => {
            let (peer, rest) = key(payload)?;
            let reason = match rest.first() {
                None | Some(0) => GoneReason::Disconnected,
                Some(1) => GoneReason::NotHere,
                Some(other) => GoneReason::Other(*other),
            };
            Frame::PeerGone(peer, reason)
        }
        PING => Frame::Ping(*payload.first_chunk()?),
        PONG => Frame::Pong(*payload.first_chunk()?),
        HEALTH => Frame::Health(payload),
        RESTARTING => {
            let (reconnect_in, rest) = payload.split_first_chunk()?;
            let try_for = rest.first_chunk()?;
            let ms = |bytes: &[u8; 4]| Duration::from_millis(u32::from_be_bytes(*bytes).into());
            Frame::Restarting(ms(reconnect_in), ms(try_for))
        }
        _ => return None,
    })
}

fn key(payload: &[u8]) -> Option<(NodePublic, &[u8])> {
    let (bytes, rest) = payload.split_first_chunk::<KEY>()?;
    Some((NodePublic::from_bytes(*bytes), rest))
}

/// The header of a frame of `kind` with `len` bytes of payload.
fn put_header(kind: u8, len: usize) -> [u8; HEADER] {
    // Everything we send is shorter than 64 KiB and a bit.
    let [a, b, c, d] = u32::try_from(len).unwrap_or(u32::MAX).to_be_bytes();
    [kind, a, b, c, d]
}

/// Appends the frame that carries `payload`, given in pieces.
pub(crate) fn put<B: for<'a> Extend<&'a u8>>(out: &mut B, kind: u8, pieces: &[&[u8]]) {
    out.extend(&put_header(kind, pieces.iter().map(|piece| piece.len()).sum()));
    for piece in pieces {
        out.extend(*piece);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn node(byte: u8) -> NodePublic {
        NodePublic::from_bytes([byte; 32])
    }

    fn encode(frame: &Frame<'_>) -> Vec<u8> {
        let mut out = Vec::new();
        let o = &mut out;
        match frame {
            Frame::ServerKey(key) => put(o, SERVER_KEY, &[&MAGIC, key.as_bytes()]),
            Frame::ClientInfo(key, sealed) => put(o, CLIENT_INFO, &[key.as_bytes(), sealed]),
            Frame::ServerInfo(sealed) => put(o, SERVER_INFO, &[sealed]),
            Frame::SendPacket(key, packet) => put(o, SEND_PACKET, &[key.as_bytes(), packet]),
            Frame::RecvPacket(key, packet) => put(o, RECV_PACKET, &[key.as_bytes(), packet]),
            Frame::KeepAlive => put(o, KEEP_ALIVE, &[]),
            Frame::NotePreferred(home) => put(o, NOTE_PREFERRED, &[&[u8::from(*home)]]),
            Frame::PeerGone(key, reason) => {
                let reason = match reason {
                    GoneReason::Disconnected => 0,
                    GoneReason::NotHere => 1,
                    GoneReason::Other(other) => *other,
                };
                put(o, PEER_GONE, &[key.as_bytes(), &[reason]]);
            }
            Frame::Ping(data) => put(o, PING, &[data]),
            Frame::Pong(data) => put(o, PONG, &[data]),
            Frame::Health(text) => put(o, HEALTH, &[text]),
            Frame::Restarting(a, b) => {
                let ms = |d: &Duration| (d.as_millis() as u32).to_be_bytes();
                put(o, RESTARTING, &[&ms(a), &ms(b)]);
            }
            Frame::Skipped(kind) => put(o, *kind, &[b"??"]),
        }
        out
    }

    #[test]
    fn golden_bytes() {
        assert_eq!(encode(&Frame::NotePreferred(true)), [7, 0, 0, 0, 1, 1]);
        assert_eq!(decode(&[0x06, 0, 0, 0, 0, 9]), Ok(Some((Frame::KeepAlive, 5))));
        assert_eq!(decode(b"\x12\0\0\0\x08abcdefgh"), Ok(Some((Frame::Ping(*b"abcdefgh"), 13))));
        let mut gone = vec![8, 0, 0, 0, 32];
        gone.extend([9; 32]);
        assert_eq!(decode(&gone), Ok(Some((Frame::PeerGone(node(9), GoneReason::Disconnected), 37))));
    }

    #[test]
    fn short_and_unknown_frames_are_skipped() {
        for kind in
            [SERVER_KEY, CLIENT_INFO, SEND_PACKET, RECV_PACKET, PEER_GONE, PING, PONG, RESTARTING, 0x0a, 0xff]
        {
            assert_eq!(decode(&[kind, 0, 0, 0, 2, 1, 2]), Ok(Some((Frame::Skipped(kind), 7))), "{kind}");
        }
        let mut wrong_magic = encode(&Frame::ServerKey(node(1)));
        wrong_magic[5] = b'd';
        assert_eq!(decode(&wrong_magic), Ok(Some((Frame::Skipped(SERVER_KEY), 45))));
    }

    #[test]
    fn lengths_are_capped() {
        assert_eq!(decode(&[5, 0, 0x10, 0, 0]), Ok(None), "1 MiB is allowed");
        assert_eq!(decode(&[5, 0, 0x10, 0, 1]), Err(FrameError::TooLong(MAX_FRAME + 1, 5)));
        assert_eq!(decode(&[5, 255, 255, 255, 255]), Err(FrameError::TooLong(u32::MAX as usize, 5)));
    }

    fn reason() -> impl Strategy<Value = GoneReason> {
        prop_oneof![
            Just(GoneReason::Disconnected),
            Just(GoneReason::NotHere),
            (2u8..).prop_map(GoneReason::Other)
        ]
    }

    proptest! {
        #[test]
        fn any_bytes_decode_or_not(bytes: Vec<u8>) {
            if let Ok(Some((_, used))) = decode(&bytes) {
                prop_assert!(used <= bytes.len());
            }
        }

        #[test]
        fn round_trip(k: [u8; 32], data: Vec<u8>, eight: [u8; 8], ms: (u32, u32), reason in reason()) {
            let key = NodePublic::from_bytes(k);
            let ms = |ms: u32| Duration::from_millis(ms.into());
            let (a, b) = (ms(7), ms(u32::MAX));
            for frame in [
                Frame::ServerKey(key), Frame::ClientInfo(key, &data), Frame::ServerInfo(&data),
                Frame::SendPacket(key, &data), Frame::RecvPacket(key, &data), Frame::KeepAlive,
                Frame::NotePreferred(eight[0] > 9), Frame::PeerGone(key, reason), Frame::Ping(eight),
                Frame::Pong(eight), Frame::Health(&data), Frame::Restarting(a, b), Frame::Skipped(0x20),
            ] {
                let bytes = encode(&frame);
                prop_assert_eq!(decode(&bytes), Ok(Some((frame, bytes.len()))));
                prop_assert_eq!(decode(&bytes[..bytes.len() - 1]), Ok(None));
            }
        }
    }
}
