//! The four WireGuard messages as bytes (WireGuard paper §5.4).
//!
//! Owns: sizes, offsets and byte order. Leaves out: what any field means or whether it is genuine.
//! All integers are little-endian; the first four bytes are the type, three of them zero.

pub use crate::kind::{
    COOKIE_REPLY_SIZE, DATA_HEADER_SIZE, DATA_MIN_SIZE, INITIATION_SIZE, Kind, RESPONSE_SIZE,
};

/// Takes fields off the front of a message.
struct Reader<'a>(&'a [u8]);

impl Reader<'_> {
    fn take<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (field, rest) = self.0.split_first_chunk::<N>()?;
        self.0 = rest;
        Some(*field)
    }

    fn number(&mut self) -> Option<u32> {
        self.take().map(u32::from_le_bytes)
    }
}

/// Lays fields one after the other; what does not fit is a programming error that the tests would show.
fn lay<const N: usize>(fields: &[&[u8]]) -> [u8; N] {
    let mut out = [0; N];
    debug_assert_eq!(fields.iter().map(|f| f.len()).sum::<usize>(), N);
    for (to, from) in out.iter_mut().zip(fields.iter().copied().flatten()) {
        *to = *from;
    }
    out
}

/// Type 1.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Initiation {
    /// The initiator's receiver index.
    pub sender: u32,
    /// The initiator's ephemeral public key.
    pub ephemeral: [u8; 32],
    /// The initiator's static public key, sealed.
    pub sealed_static: [u8; 48],
    /// TAI64N timestamp, sealed.
    pub sealed_stamp: [u8; 28],
    /// Shows that the sender knows the responder's public key.
    pub mac1: [u8; 16],
    /// Shows that the sender owns its address; zero without a cookie.
    pub mac2: [u8; 16],
}

impl Initiation {
    /// Reads a message; `None` if it is of another kind.
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        if Kind::of(bytes)? != Kind::Initiation {
            return None;
        }
        let mut r = Reader(bytes.get(4..)?);
        Some(Self {
            sender: r.number()?,
            ephemeral: r.take()?,
            sealed_static: r.take()?,
            sealed_stamp: r.take()?,
            mac1: r.take()?,
            mac2: r.take()?,
        })
    }

    /// The message as bytes.
    pub fn encode(&self) -> [u8; INITIATION_SIZE] {
        lay(&[
            &[1, 0, 0, 0],
            &self.sender.to_le_bytes(),
            &self.ephemeral,
            &self.sealed_static,
            &self.sealed_stamp,
            &self.mac1,
            &self.mac2,
        ])
    }
}

/// Type 2.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Response {
    /// The responder's receiver index.
    pub sender: u32,
    /// The initiator's receiver index, as it was in the initiation.
    pub receiver: u32,
    /// The responder's ephemeral public key.
    pub ephemeral: [u8; 32],
    /// Nothing, sealed: only its tag.
    pub sealed_nothing: [u8; 16],
    /// As in the initiation.
    pub mac1: [u8; 16],
    /// As in the initiation.
    pub mac2: [u8; 16],
}

impl Response {
    /// Reads a message; `None` if it is of another kind.
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        if Kind::of(bytes)? != Kind::Response {
            return None;
        }
        let mut r = Reader(bytes.get(4..)?);
        Some(Self {
            sender: r.number()?,
            receiver: r.number()?,
            ephemeral: r.take()?,
            sealed_nothing: r.take()?,
            mac1: r.take()?,
            mac2: r.take()?,
        })
    }

    /// The message as bytes.
    pub fn encode(&self) -> [u8; RESPONSE_SIZE] {
        lay(&[
            &[2, 0, 0, 0],
            &self.sender.to_le_bytes(),
            &self.receiver.to_le_bytes(),
            &self.ephemeral,
            &self.sealed_nothing,
            &self.mac1,
            &self.mac2,
        ])
    }
}

/// Type 3.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CookieReply {
    /// The index of whoever sent the refused message.
    pub receiver: u32,
    /// Nonce of the sealed cookie.
    pub nonce: [u8; 24],
    /// 16 bytes of cookie and a tag.
    pub sealed_cookie: [u8; 32],
}

impl CookieReply {
    /// Reads a message; `None` if it is of another kind.
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        if Kind::of(bytes)? != Kind::CookieReply {
            return None;
        }
        let mut r = Reader(bytes.get(4..)?);
        Some(Self { receiver: r.number()?, nonce: r.take()?, sealed_cookie: r.take()? })
    }

    /// The message as bytes.
    pub fn encode(&self) -> [u8; COOKIE_REPLY_SIZE] {
        lay(&[&[3, 0, 0, 0], &self.receiver.to_le_bytes(), &self.nonce, &self.sealed_cookie])
    }
}

/// The clear part of type 4; sealed payload and tag follow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DataHeader {
    /// Index of the session at its receiver.
    pub receiver: u32,
    /// Number of the packet within the session, also its nonce.
    pub counter: u64,
}

impl DataHeader {
    /// Reads the header of a whole packet; `None` if it is of another kind.
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        if Kind::of(bytes)? != Kind::Data {
            return None;
        }
        let mut r = Reader(bytes.get(4..)?);
        Some(Self { receiver: r.number()?, counter: u64::from_le_bytes(r.take()?) })
    }

    /// The header as bytes.
    pub fn encode(&self) -> [u8; DATA_HEADER_SIZE] {
        lay(&[&[4, 0, 0, 0], &self.receiver.to_le_bytes(), &self.counter.to_le_bytes()])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn decode_all(bytes: &[u8]) -> usize {
        usize::from(Initiation::decode(bytes).is_some())
            + usize::from(Response::decode(bytes).is_some())
            + usize::from(CookieReply::decode(bytes).is_some())
            + usize::from(DataHeader::decode(bytes).is_some())
    }

    #[test]
    fn offsets() {
        let counting: [u8; INITIATION_SIZE] = std::array::from_fn(|i| if i < 4 { 0 } else { i as u8 });
        let mut bytes = counting;
        bytes[0] = 1;
        let m = Initiation::decode(&bytes).expect("initiation");
        assert_eq!(m.sender, 0x0706_0504);
        assert_eq!(
            (m.ephemeral[0], m.sealed_static[0], m.sealed_stamp[0], m.mac1[0], m.mac2[0]),
            (8, 40, 88, 116, 132)
        );
        let mut bytes = counting;
        bytes[0] = 2;
        let m = Response::decode(&bytes[..RESPONSE_SIZE]).expect("response");
        assert_eq!((m.receiver, m.ephemeral[0], m.sealed_nothing[0]), (0x0b0a_0908, 12, 44));
        assert_eq!((m.mac1[0], m.mac2[0]), (60, 76));
        let header = DataHeader { receiver: 0x0403_0201, counter: 0x0c0b_0a09_0807_0605 };
        assert_eq!(header.encode(), [4, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12]);
    }

    #[test]
    fn reserved_bytes_and_sizes_are_exact() {
        let mut bytes = [0; INITIATION_SIZE];
        bytes[0] = 1;
        assert_eq!(Kind::of(&bytes), Some(Kind::Initiation));
        assert_eq!(Kind::of(&bytes[..147]), None);
        bytes[2] = 1;
        assert_eq!(Kind::of(&bytes), None);
        assert_eq!(Kind::of(&[4, 0, 0, 0]), None);
        assert_eq!(Kind::of(&[]), None);
    }

    proptest! {
        #[test]
        fn any_bytes_are_at_most_one_message(
            kind in 0u8..6,
            size in prop_oneof![Just(148usize), Just(92), Just(64), 0..200usize],
            fill: u8,
        ) {
            let mut bytes = vec![fill; size];
            for (b, v) in bytes.iter_mut().zip([kind, 0, 0, 0]) { *b = v; }
            prop_assert_eq!(decode_all(&bytes), usize::from(Kind::of(&bytes).is_some()));
        }

        #[test]
        fn initiation_round_trip(rest in proptest::collection::vec(any::<u8>(), INITIATION_SIZE - 4)) {
            let bytes = [&[1, 0, 0, 0][..], &rest].concat();
            prop_assert_eq!(&Initiation::decode(&bytes).expect("kind").encode()[..], &bytes[..]);
        }

        #[test]
        fn response_round_trip(rest in proptest::collection::vec(any::<u8>(), RESPONSE_SIZE - 4)) {
            let bytes = [&[2, 0, 0, 0][..], &rest].concat();
            prop_assert_eq!(&Response::decode(&bytes).expect("kind").encode()[..], &bytes[..]);
        }

        #[test]
        fn cookie_round_trip(rest in proptest::collection::vec(any::<u8>(), COOKIE_REPLY_SIZE - 4)) {
            let bytes = [&[3, 0, 0, 0][..], &rest].concat();
            prop_assert_eq!(&CookieReply::decode(&bytes).expect("kind").encode()[..], &bytes[..]);
        }

        #[test]
        fn data_round_trip(receiver: u32, counter: u64, more in 16usize..64) {
            let header = DataHeader { receiver, counter };
            let bytes = [&header.encode()[..], &vec![0; more]].concat();
            prop_assert_eq!(DataHeader::decode(&bytes), Some(header));
        }
    }
}
