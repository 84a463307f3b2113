//! TSMP: what nodes say to each other about the tunnel inside ordinary IP packets, as protocol 99
//! (protocol reference §7.3). Never fragmented, never passed to or taken from the operating system.

use super::{Fragment, Parsed, proto};

/// Shortest body that is looked at.
const MIN_BODY: usize = 7;

/// One message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Message {
    /// Asks for a [`Message::Pong`] with the same data.
    Ping([u8; 8]),
    /// Answer to a ping.
    Pong {
        /// What the ping said.
        data: [u8; 8],
        /// Port of the answering node's PeerAPI; 0 = none.
        peerapi_port: u16,
    },
    /// A connection attempt was refused by the other node. The addresses are those of the IP header: its source
    /// is the address that was tried, its destination the one that tried.
    Reject(Reject),
}

/// Why and what was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reject {
    /// IP protocol of the refused packet.
    pub proto: u8,
    /// Why.
    pub reason: RejectReason,
    /// Source port of the refused packet.
    pub src_port: u16,
    /// Destination port of the refused packet.
    pub dst_port: u16,
    /// The refusing node's set-up may be the cause.
    pub maybe_broken: bool,
}

/// Why a connection was refused: the letter on the wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RejectReason(pub u8);

impl RejectReason {
    /// No filter rule allows it.
    pub const ACL: Self = Self(b'A');
    /// The node refuses all connections (shields up).
    pub const SHIELDS: Self = Self(b'S');
}

impl Message {
    /// Reads the TSMP message in `packet`; `None` if there is none that we know.
    pub fn parse(parsed: &Parsed, packet: &[u8]) -> Option<Self> {
        if parsed.proto != proto::TSMP || parsed.fragment != Fragment::None {
            return None;
        }
        let body = parsed.transport(packet);
        if body.len() < MIN_BODY {
            return None;
        }
        let (kind, rest) = body.split_first()?;
        match kind {
            b'p' => Some(Self::Ping(*rest.first_chunk()?)),
            b'o' => {
                let (data, port) = rest.split_first_chunk::<8>()?;
                Some(Self::Pong {
                    data: *data,
                    peerapi_port: port.first_chunk::<2>().map_or(0, |port| u16::from_be_bytes(*port)),
                })
            }
            b'!' => {
                let (fixed, flags) = rest.split_first_chunk::<6>()?;
                Some(Self::Reject(Reject {
                    proto: fixed[0],
                    reason: RejectReason(fixed[1]),
                    src_port: u16::from_be_bytes([fixed[2], fixed[3]]),
                    dst_port: u16::from_be_bytes([fixed[4], fixed[5]]),
                    maybe_broken: flags.first().is_some_and(|flags| flags & 1 != 0),
                }))
            }
            _ => None,
        }
    }

    /// Appends the body to `out`.
    pub(super) fn write(&self, out: &mut Vec<u8>) {
        match self {
            Self::Ping(data) => {
                out.push(b'p');
                out.extend_from_slice(data);
            }
            Self::Pong { data, peerapi_port } => {
                out.push(b'o');
                out.extend_from_slice(data);
                out.extend_from_slice(&peerapi_port.to_be_bytes());
            }
            Self::Reject(reject) => {
                out.extend_from_slice(&[b'!', reject.proto, reject.reason.0]);
                out.extend_from_slice(&reject.src_port.to_be_bytes());
                out.extend_from_slice(&reject.dst_port.to_be_bytes());
                if reject.maybe_broken {
                    out.push(1);
                }
            }
        }
    }
}
