//! What kind of thing a datagram is, told by its first bytes and its length.
//!
//! Leaves out: every check behind that (mac1 is [`crate::mac1::Mac1Check`]).

use crate::kind::Kind as Message;

/// First bytes of a disco message (protocol reference §3.1).
pub const DISCO_MAGIC: [u8; 6] = [0x54, 0x53, 0xf0, 0x9f, 0x92, 0xac];

/// A disco message without content: magic, sender's key, nonce and tag.
pub const DISCO_SHORTEST: usize = DISCO_MAGIC.len() + 32 + 24 + 16;

/// Bytes 4 to 8 of a STUN message (RFC 8489 §5).
const STUN_COOKIE: [u8; 4] = [0x21, 0x12, 0xa4, 0x42];

/// A STUN message's header.
const STUN_SHORTEST: usize = 20;

/// What a datagram is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A WireGuard data message.
    Data,
    /// A WireGuard handshake initiation, response or cookie reply, of the right length.
    Handshake,
    /// A disco message.
    Disco,
    /// A STUN message.
    Stun,
    /// Nothing that is known here.
    Unknown,
}

/// The kind of a datagram.
pub fn kind(datagram: &[u8]) -> Kind {
    match Message::of(datagram) {
        Some(Message::Data) => Kind::Data,
        Some(Message::Initiation | Message::Response | Message::CookieReply) => Kind::Handshake,
        None if datagram.len() >= DISCO_SHORTEST && datagram.starts_with(&DISCO_MAGIC) => Kind::Disco,
        None if is_stun(datagram) => Kind::Stun,
        None => Kind::Unknown,
    }
}

/// Two zero bits, then the cookie at its place. No WireGuard message begins so: its second byte is zero, and a STUN
/// message with that begins with a type that does not exist.
fn is_stun(datagram: &[u8]) -> bool {
    datagram.len() >= STUN_SHORTEST
        && datagram.first().is_some_and(|byte| byte & 0xc0 == 0)
        && datagram.get(4..8).is_some_and(|cookie| cookie == STUN_COOKIE)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(start: &[u8], len: usize) -> Kind {
        let mut datagram = start.to_vec();
        datagram.resize(len, 9);
        kind(&datagram)
    }

    #[test]
    fn kinds() {
        assert_eq!(of(&[4, 0, 0, 0], 32), Kind::Data);
        assert_eq!(of(&[4, 0, 0, 0], 31), Kind::Unknown);
        assert_eq!(of(&[4, 0, 0, 1], 32), Kind::Unknown, "reserved bytes are zero");
        assert_eq!(of(&[1, 0, 0, 0], 148), Kind::Handshake);
        assert_eq!(of(&[1, 0, 0, 0], 149), Kind::Unknown);
        assert_eq!(of(&[2, 0, 0, 0], 92), Kind::Handshake);
        assert_eq!(of(&[3, 0, 0, 0], 64), Kind::Handshake);
        assert_eq!(of(&DISCO_MAGIC, 77), Kind::Unknown);
        assert_eq!(of(&DISCO_MAGIC, 78), Kind::Disco);
        assert_eq!(of(&DISCO_MAGIC, 200), Kind::Disco);
        let stun = [1, 1, 0, 12, 0x21, 0x12, 0xa4, 0x42];
        assert_eq!(of(&stun, 32), Kind::Stun);
        assert_eq!(of(&stun, 19), Kind::Unknown);
        assert_eq!(of(&[0xc1, 1, 0, 12, 0x21, 0x12, 0xa4, 0x42], 32), Kind::Unknown);
        assert_eq!(of(&[], 0), Kind::Unknown);
        assert_eq!(of(&[4], 1), Kind::Unknown);
    }
}
