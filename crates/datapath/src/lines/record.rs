//! What the heads of ring records mean, and how a datagram's source is written in them.

use super::ring::{Head, Record};
use crate::source::Source;
use keys::NodePublic;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};

/// Into tx: a packet for the peer that its destination belongs to.
pub(super) const ROUTED: u32 = 0;
/// Into tx: a packet for the peer whose slot is `a`.
pub(super) const TO_PEER: u32 = 1;
/// Into tx: an empty packet on the session named `b` of the peer whose slot is `a`.
pub(super) const KEEPALIVE: u32 = 2;

/// A packet read from the TUN; only a note in the batch, never in a ring.
pub(super) const FROM_TUN: u32 = 3;

/// A datagram through a relay: `a` is the region, the body begins with the other node's key.
pub(super) const DERP: u32 = 16;
/// A datagram from an IPv4 address: `a` is the address, `b` the port.
pub(super) const UDP4: u32 = 17;
/// A packet of this node's own services for the TUN.
pub(super) const TO_TUN: u32 = 19;
/// A datagram from an IPv6 address: `b` is the port, the body begins with the address.
pub(super) const UDP6: u32 = 18;

/// To the host: a packet for us from the peer whose slot is `a`.
pub(super) const HOST_PACKET: u32 = 32;
/// To the host: a TSMP message.
pub(super) const HOST_TSMP: u32 = 33;
/// To the host: the head of a TCP connection that the filter refused.
pub(super) const HOST_REJECTED: u32 = 34;

/// A source as head and first bytes of the body.
pub(super) fn encode_source(source: &Source) -> (Head, [u8; 32], usize) {
    let mut start = [0; 32];
    match *source {
        Source::Derp { region, peer } => {
            (Head { kind: DERP, a: u32::from(region), b: 0 }, *peer.as_bytes(), 32)
        }
        Source::Udp(SocketAddr::V4(at)) => {
            (Head { kind: UDP4, a: u32::from(*at.ip()), b: u32::from(at.port()) }, start, 0)
        }
        Source::Udp(SocketAddr::V6(at)) => {
            if let Some(place) = start.first_chunk_mut() {
                *place = at.ip().octets();
            }
            (Head { kind: UDP6, a: 0, b: u32::from(at.port()) }, start, 16)
        }
    }
}

/// How many bytes of a record's body its source takes up.
pub(super) const fn source_len(kind: u32) -> usize {
    match kind {
        DERP => 32,
        UDP6 => 16,
        _ => 0,
    }
}

/// Source and datagram of a record's body; `None` for another kind of record.
pub(super) fn decode_source(head: Head, body: &[u8]) -> Option<(Source, &[u8])> {
    let (start, datagram) = body.split_at_checked(source_len(head.kind))?;
    let port = head.b as u16;
    let source = match head.kind {
        DERP => Source::Derp { region: head.a as u16, peer: NodePublic::from_bytes(*start.first_chunk()?) },
        UDP4 => Source::Udp(SocketAddr::from((Ipv4Addr::from(head.a), port))),
        UDP6 => Source::Udp(SocketAddr::from((Ipv6Addr::from(*start.first_chunk::<16>()?), port))),
        _ => return None,
    };
    Some((source, datagram))
}

/// The source bytes of a record that is still in its ring.
pub(super) fn source_bytes(record: &Record<'_>) -> ([u8; 32], usize) {
    let mut start = [0; 32];
    let len = source_len(record.head.kind);
    if let Some(place) = start.get_mut(..len) {
        record.copy_to(0, place);
    }
    (start, len)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sources_come_back() {
        for source in [
            Source::Derp { region: 999, peer: NodePublic::from_bytes([3; 32]) },
            Source::Udp("192.0.2.1:41641".parse().expect("addr")),
            Source::Udp("[2001:db8::1]:65535".parse().expect("addr")),
        ] {
            let (head, start, len) = encode_source(&source);
            let body = [&start[..len], b"datagram"].concat();
            assert_eq!(decode_source(head, &body), Some((source, &b"datagram"[..])));
        }
        assert_eq!(decode_source(Head { kind: HOST_TSMP, a: 0, b: 0 }, b""), None);
    }
}
