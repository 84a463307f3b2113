//! disco messages inside their boxes (protocol reference §3.1): ping, pong, call-me-maybe.
//!
//! Leaves out: the boxes ([`super::boxes`]), and the messages of relays between peers (types 4 to 9), which are
//! ignored: peers try those only with nodes that declare them.

use keys::NodePublic;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

const PING: u8 = 1;
const PONG: u8 = 2;
const CALL_ME_MAYBE: u8 = 3;

/// The only version there is.
const V0: u8 = 0;

/// An endpoint in a message: sixteen bytes of address, two of port.
const ENDPOINT: usize = 18;

/// Endpoints of a call-me-maybe that are looked at, and that we send at most. A node has about ten.
pub const MAX_ENDPOINTS: usize = 64;

/// Names a ping, so that its pong can be told from a forgery. 96 bits of chance.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TxId(pub [u8; 12]);

/// A message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Message {
    /// Are you there?
    Ping {
        /// Comes back in the pong.
        tx: TxId,
        /// Which of the nodes that share the sender's disco key asks; zero from very old ones.
        node: NodePublic,
        /// Zeros behind, to see what length passes.
        padding: usize,
    },
    /// I am, and this is where you seem to be.
    Pong {
        /// Of the ping.
        tx: TxId,
        /// Where the ping came from; 127.3.3.40 and the region as port for one that was relayed.
        src: SocketAddr,
    },
    /// I have just sent pings to you, try me here. Comes through relays only.
    CallMeMaybe(Vec<SocketAddr>),
}

impl Message {
    /// Reads what was in a box; `None` for what is ignored: other types and what is too short.
    pub fn parse(bytes: &[u8]) -> Option<Self> {
        let (&[kind, version], body) = bytes.split_first_chunk()?;
        match kind {
            PING => {
                let (tx, rest) = body.split_first_chunk()?;
                let (node, rest) = rest
                    .split_first_chunk()
                    .map_or((NodePublic::ZERO, rest), |(node, rest)| (NodePublic::from_bytes(*node), rest));
                Some(Self::Ping { tx: TxId(*tx), node, padding: rest.len() })
            }
            PONG => {
                let (tx, rest) = body.split_first_chunk()?;
                Some(Self::Pong { tx: TxId(*tx), src: endpoint(rest.first_chunk()?) })
            }
            CALL_ME_MAYBE => {
                let (endpoints, odd) = body.as_chunks();
                // What is not understood counts as a message without endpoints.
                let known = version == V0 && odd.is_empty();
                let endpoints = endpoints.iter().filter(|_| known).take(MAX_ENDPOINTS);
                Some(Self::CallMeMaybe(endpoints.map(endpoint).collect()))
            }
            _ => None,
        }
    }

    /// What goes into a box.
    pub fn encode(&self) -> Vec<u8> {
        match self {
            Self::Ping { tx, node, padding } => {
                let mut out = vec![PING, V0];
                out.extend(tx.0);
                if !node.is_zero() {
                    out.extend(node.as_bytes());
                }
                out.resize(out.len().saturating_add(*padding), 0);
                out
            }
            Self::Pong { tx, src } => {
                let mut out = vec![PONG, V0];
                out.extend(tx.0);
                put(&mut out, *src);
                out
            }
            Self::CallMeMaybe(endpoints) => {
                let mut out = vec![CALL_ME_MAYBE, V0];
                endpoints.iter().take(MAX_ENDPOINTS).for_each(|at| put(&mut out, *at));
                out
            }
        }
    }
}

/// How a pong names a relay as the way its ping came.
pub fn relay_address(region: u16) -> SocketAddr {
    SocketAddr::from(([127, 3, 3, 40], region))
}

fn endpoint(bytes: &[u8; ENDPOINT]) -> SocketAddr {
    let (ip, port) = bytes.split_first_chunk().unwrap_or((&[0; 16], &[]));
    let port = port.first_chunk().map_or(0, |port| u16::from_be_bytes(*port));
    SocketAddr::new(IpAddr::V6(Ipv6Addr::from(*ip)).to_canonical(), port)
}

fn put(out: &mut Vec<u8>, at: SocketAddr) {
    let ip = match at.ip() {
        IpAddr::V4(ip) => Ipv4Addr::to_ipv6_mapped(&ip),
        IpAddr::V6(ip) => ip,
    };
    out.extend(ip.octets());
    out.extend(at.port().to_be_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn tx() -> TxId {
        TxId(std::array::from_fn(|n| n as u8 + 1))
    }

    fn check(message: Message, hex: &str) {
        let bytes: String = message.encode().iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(bytes, hex.replace(' ', ""));
        assert_eq!(Message::parse(&message.encode()), Some(message));
    }

    /// Type and version, then the body as the protocol reference lays it out.
    #[test]
    fn bytes_on_the_wire() {
        let id = "0102030405060708090a0b0c";
        let node = NodePublic::from_bytes(std::array::from_fn(|n| n as u8));
        let key: String = (0..32).map(|n| format!("{n:02x}")).collect();
        check(Message::Ping { tx: tx(), node: NodePublic::ZERO, padding: 0 }, &format!("0100{id}"));
        check(Message::Ping { tx: tx(), node, padding: 0 }, &format!("0100{id}{key}"));
        check(Message::Ping { tx: tx(), node, padding: 3 }, &format!("0100{id}{key}000000"));
        check(
            Message::Pong { tx: tx(), src: ([2, 3, 4, 5], 1234).into() },
            &format!("0200{id} 00000000000000000000ffff 02030405 04d2"),
        );
        let v6: SocketAddr = "[fed0::12]:6666".parse().expect("an address");
        check(
            Message::Pong { tx: tx(), src: v6 },
            &format!("0200{id} fed00000000000000000000000000012 1a0a"),
        );
        check(Message::CallMeMaybe(Vec::new()), "0300");
        check(
            Message::CallMeMaybe(vec![
                ([1, 2, 3, 4], 567).into(),
                "[2001::3456]:789".parse().expect("an address"),
            ]),
            "0300 00000000000000000000ffff01020304 0237 20010000000000000000000000003456 0315",
        );
    }

    #[test]
    fn what_is_ignored() {
        let pong = Message::Pong { tx: tx(), src: relay_address(7) }.encode();
        for bytes in [&[][..], &[1], &[1, 0, 3], &pong[..31], &[0; 40], &[4; 80], &[9; 200], &[255; 99]] {
            assert_eq!(Message::parse(bytes), None, "{bytes:?}");
        }
        // Longer ones are of a later version.
        let longer = [&pong[..], &[1, 2, 3]].concat();
        assert_eq!(Message::parse(&longer), Message::parse(&pong));
        // A call-me-maybe of another version or of an odd length says nothing.
        for bytes in [[&[3, 1][..], &[7; 18]].concat(), [&[3, 0][..], &[7; 19]].concat()] {
            assert_eq!(Message::parse(&bytes), Some(Message::CallMeMaybe(Vec::new())));
        }
        let many = [&[3, 0][..], &[7; 18 * 1000]].concat();
        let Some(Message::CallMeMaybe(list)) = Message::parse(&many) else { panic!("it is one") };
        assert_eq!(list.len(), MAX_ENDPOINTS);
    }

    proptest! {
        #[test]
        fn any_bytes_are_survived(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            if let Some(message) = Message::parse(&bytes) {
                prop_assert_eq!(Message::parse(&message.encode()), Some(message));
            }
        }

        #[test]
        fn messages_come_back(id: [u8; 12], key: [u8; 32], padding in 0usize..1500, all: Vec<(IpAddr, u16)>) {
            let all: Vec<_> = all.into_iter().map(|(ip, port)| SocketAddr::new(ip.to_canonical(), port)).collect();
            let src = all.first().copied().unwrap_or_else(|| relay_address(1));
            let node = NodePublic::from_bytes(key);
            for message in [
                Message::Ping { tx: TxId(id), node, padding },
                Message::Pong { tx: TxId(id), src },
                Message::CallMeMaybe(all.into_iter().take(MAX_ENDPOINTS).collect()),
            ] {
                prop_assume!(!node.is_zero());
                prop_assert_eq!(Message::parse(&message.encode()), Some(message));
            }
        }
    }
}
