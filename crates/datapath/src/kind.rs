//! The four WireGuard messages told apart by their first bytes and their sizes (WireGuard paper §5.4).
//!
//! Leaves out: what is in them, which only the slow path reads.

/// Size of a handshake initiation.
pub const INITIATION_SIZE: usize = 148;
/// Size of a handshake response.
pub const RESPONSE_SIZE: usize = 92;
/// Size of a cookie reply.
pub const COOKIE_REPLY_SIZE: usize = 64;
/// Size of the header of a data packet; a 16-byte tag ends the packet.
pub const DATA_HEADER_SIZE: usize = 16;
/// The smallest data packet: header and tag around nothing (a keepalive).
pub const DATA_MIN_SIZE: usize = 32;

/// What a datagram claims to be, judged by its type and size only.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Type 1: somebody wants a session.
    Initiation,
    /// Type 2: the answer.
    Response,
    /// Type 3: "come again with this cookie".
    CookieReply,
    /// Type 4: a sealed packet.
    Data,
}

/// Whether a datagram claims to be a cookie reply, which anybody can who knows no key.
pub fn is_cookie_reply(bytes: &[u8]) -> bool {
    Kind::of(bytes) == Some(Kind::CookieReply)
}

impl Kind {
    /// The kind of a datagram; `None` if it is no WireGuard message.
    pub fn of(bytes: &[u8]) -> Option<Self> {
        match (bytes.first_chunk::<4>()?, bytes.len()) {
            ([1, 0, 0, 0], INITIATION_SIZE) => Some(Self::Initiation),
            ([2, 0, 0, 0], RESPONSE_SIZE) => Some(Self::Response),
            ([3, 0, 0, 0], COOKIE_REPLY_SIZE) => Some(Self::CookieReply),
            ([4, 0, 0, 0], DATA_MIN_SIZE..) => Some(Self::Data),
            _ => None,
        }
    }
}
