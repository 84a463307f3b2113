//! What kind of thing a datagram is, told by its first bytes and its length.
//!
//! Leaves out: every check behind that (mac1 is [`crate::wireguard::Mac1Check`]).

use crate::wireguard::message::Kind as Message;

/// First bytes of a disco message (protocol reference §3.1).
pub const DISCO_MAGIC: [u8; 6] = [0x54, 0x53, 0xf0, 0x9f, 0x92, 0xac];

/// What a datagram is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A WireGuard data message.
    Data,
    /// A WireGuard handshake initiation, response or cookie reply, of the right length.
    Handshake,
    /// A disco message.
    Disco,
    /// Nothing that is known here.
    Unknown,
}

/// The kind of a datagram.
pub fn kind(datagram: &[u8]) -> Kind {
    match Message::of(datagram) {
        Some(Message::Data) => Kind::Data,
        Some(Message::Initiation | Message::Response | Message::CookieReply) => Kind::Handshake,
        None if datagram.starts_with(&DISCO_MAGIC) => Kind::Disco,
        None => Kind::Unknown,
    }
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
        assert_eq!(of(&DISCO_MAGIC, 6), Kind::Disco);
        assert_eq!(of(&DISCO_MAGIC, 200), Kind::Disco);
        assert_eq!(of(&[], 0), Kind::Unknown);
        assert_eq!(of(&[4], 1), Kind::Unknown);
    }
}
