//! Builders of the packets this node makes itself. Each clears the caller's vector and writes one whole packet
//! with correct lengths and checksums; on an error the vector's content is unspecified.
//!
//! Errors of all: `Malformed` if source and destination are of different families (or the packet answered cannot
//! be answered so), `TooLarge` if the packet would not fit an IP length field.

use super::checksum::{Sum, checksum};
use super::tsmp::Message;
use super::{Fragment, Parsed, icmp, proto, tcp};
use crate::drop::DropReason;
use std::net::{IpAddr, SocketAddr};
use std::num::NonZeroU16;

/// Hop limit of packets we make.
const TTL: u8 = 64;
/// Longest ICMP error within IPv4 (RFC 1812 §4.3.2.3).
const ERROR_V4: usize = 576;
/// Longest ICMP error within IPv6 (RFC 4443 §2.4): the least MTU.
const ERROR_V6: usize = 1280;

/// Bytes in front of a datagram's payload at most.
const LONGEST_HEAD: usize = 40 + 8;

/// An ICMP echo message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Echo<'a> {
    /// A reply, not a request.
    pub reply: bool,
    /// Tells senders apart.
    pub id: u16,
    /// Tells messages of a sender apart.
    pub seq: u16,
    /// Anything; a reply carries what the request did.
    pub payload: &'a [u8],
}

impl<'a> Echo<'a> {
    /// Reads the echo message in `packet` if it is one, is whole, and its checksum is right.
    pub fn parse(parsed: &Parsed, packet: &'a [u8]) -> Option<Self> {
        let reply = parsed.is_echo_reply();
        if !(reply || parsed.is_echo_request()) || parsed.fragment != Fragment::None {
            return None;
        }
        let body = parsed.transport(packet);
        let sum = match parsed.is_v4() {
            true => Sum::new(),
            false => Sum::new().pseudo_header(parsed.src, parsed.dst, proto::ICMPV6, body.len()),
        };
        let (head, payload) = body.split_first_chunk::<8>()?;
        (sum.bytes(body).finish() == 0).then_some(Self {
            reply,
            id: u16::from_be_bytes([head[4], head[5]]),
            seq: u16::from_be_bytes([head[6], head[7]]),
            payload,
        })
    }
}

/// What an ICMP "destination unreachable" says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unreachable {
    /// Nothing listens on the port.
    Port,
    /// A filter forbids it.
    Admin,
}

/// A UDP datagram.
pub fn udp(out: &mut Vec<u8>, src: SocketAddr, dst: SocketAddr, payload: &[u8]) -> Result<(), DropReason> {
    out.clear();
    out.reserve(LONGEST_HEAD + payload.len());
    let start = begin(out, src.ip(), dst.ip(), proto::UDP)?;
    out.extend_from_slice(&src.port().to_be_bytes());
    out.extend_from_slice(&dst.port().to_be_bytes());
    let len = u16::try_from(payload.len().saturating_add(8)).map_err(|_| DropReason::TooLarge)?;
    out.extend_from_slice(&len.to_be_bytes());
    out.extend_from_slice(&[0, 0]);
    out.extend_from_slice(payload);
    finish(out, start, Some(6))
}

/// Lets routers cut an IPv4 packet of ours into fragments: takes "don't fragment" away and gives it the number by which
/// fragments find each other (RFC 6864), which no other packet between the two may have meanwhile. Routers cut no IPv6.
pub fn allow_fragments(packet: &mut [u8], number: NonZeroU16) {
    if let Some(header) = packet.first_chunk_mut::<20>().filter(|header| header[0] == 0x45) {
        put(header, 4, number.get().to_be_bytes());
        put(header, 6, [0, 0]);
        put(header, 10, [0, 0]);
        let sum = checksum(header);
        put(header, 10, sum.to_be_bytes());
    }
}

/// A TCP segment without options; the window is 0 in a reset and 65 535 otherwise.
pub fn tcp_segment(
    out: &mut Vec<u8>,
    src: SocketAddr,
    dst: SocketAddr,
    (seq, ack): (u32, u32),
    flags: u8,
    payload: &[u8],
) -> Result<(), DropReason> {
    let start = begin(out, src.ip(), dst.ip(), proto::TCP)?;
    out.extend_from_slice(&src.port().to_be_bytes());
    out.extend_from_slice(&dst.port().to_be_bytes());
    out.extend_from_slice(&seq.to_be_bytes());
    out.extend_from_slice(&ack.to_be_bytes());
    let window: u16 = if flags & tcp::RST == 0 { u16::MAX } else { 0 };
    out.extend_from_slice(&[5 << 4, flags]);
    out.extend_from_slice(&window.to_be_bytes());
    out.extend_from_slice(&[0; 4]);
    out.extend_from_slice(payload);
    finish(out, start, Some(16))
}

/// The reset that answers `segment`, which reached no connection (RFC 9293 §3.10.7.1). A reset is never answered
/// (`Malformed`), nor is a fragment.
pub fn tcp_reset(out: &mut Vec<u8>, parsed: &Parsed, segment: &[u8]) -> Result<(), DropReason> {
    let body = parsed.transport(segment);
    let whole = parsed.proto == proto::TCP && parsed.fragment == Fragment::None;
    let Some(head) = body.first_chunk::<20>().filter(|_| whole && parsed.tcp_flags & tcp::RST == 0) else {
        return Err(DropReason::Malformed);
    };
    let seq = u32::from_be_bytes([head[4], head[5], head[6], head[7]]);
    let ack = u32::from_be_bytes([head[8], head[9], head[10], head[11]]);
    let data = body.len().saturating_sub(usize::from(head[12] >> 4) * 4) as u32;
    let syn = u32::from(parsed.tcp_flags & tcp::SYN != 0);
    let fin = u32::from(parsed.tcp_flags & tcp::FIN != 0);
    let (numbers, flags) = if parsed.tcp_flags & tcp::ACK == 0 {
        ((0, seq.wrapping_add(data).wrapping_add(syn + fin)), tcp::RST | tcp::ACK)
    } else {
        ((ack, 0), tcp::RST)
    };
    let from = SocketAddr::new(parsed.dst, parsed.dst_port);
    tcp_segment(out, from, SocketAddr::new(parsed.src, parsed.src_port), numbers, flags, &[])
}

/// An ICMP echo request or reply of the addresses' family.
pub fn icmp_echo(out: &mut Vec<u8>, src: IpAddr, dst: IpAddr, echo: &Echo<'_>) -> Result<(), DropReason> {
    let kind = match (src.is_ipv4(), echo.reply) {
        (true, false) => icmp::V4_ECHO_REQUEST,
        (true, true) => icmp::V4_ECHO_REPLY,
        (false, false) => icmp::V6_ECHO_REQUEST,
        (false, true) => icmp::V6_ECHO_REPLY,
    };
    let start = begin(out, src, dst, icmp_of(src))?;
    out.extend_from_slice(&[kind, 0, 0, 0]);
    out.extend_from_slice(&echo.id.to_be_bytes());
    out.extend_from_slice(&echo.seq.to_be_bytes());
    out.extend_from_slice(echo.payload);
    finish(out, start, Some(2))
}

/// The ICMP error that tells the sender of `packet` that it did not arrive, from the address it was sent to.
/// The caller sees to it that `packet` is one that may be answered (see [`may_answer_with_error`]).
pub fn icmp_unreachable(
    out: &mut Vec<u8>,
    parsed: &Parsed,
    packet: &[u8],
    why: Unreachable,
) -> Result<(), DropReason> {
    let (kind, code, limit) = match (parsed.is_v4(), why) {
        (true, Unreachable::Port) => (icmp::V4_UNREACHABLE, 3, ERROR_V4),
        (true, Unreachable::Admin) => (icmp::V4_UNREACHABLE, 13, ERROR_V4),
        (false, Unreachable::Port) => (icmp::V6_UNREACHABLE, 4, ERROR_V6),
        (false, Unreachable::Admin) => (icmp::V6_UNREACHABLE, 1, ERROR_V6),
    };
    let start = begin(out, parsed.dst, parsed.src, icmp_of(parsed.dst))?;
    out.extend_from_slice(&[kind, code, 0, 0, 0, 0, 0, 0]);
    let room = (parsed.total_len as usize).min(limit.saturating_sub(out.len()));
    out.extend_from_slice(packet.get(..room).ok_or(DropReason::TooShort)?);
    finish(out, start, Some(2))
}

/// Whether an ICMP error may be sent because of this packet (RFC 1122 §3.2.2, RFC 4443 §2.4): never because of
/// another ICMP error, a fragment other than the first, or one that was not sent from one node to one node.
pub fn may_answer_with_error(parsed: &Parsed) -> bool {
    let single = |ip: IpAddr| match ip {
        IpAddr::V4(ip) => {
            !(ip.is_multicast() || ip.is_unspecified() || ip.is_broadcast() || ip.is_loopback())
        }
        IpAddr::V6(ip) => !(ip.is_multicast() || ip.is_unspecified() || ip.is_loopback()),
    };
    let unknown_v6 = !parsed.is_v4() && parsed.is_icmp() && parsed.icmp_type < 128;
    parsed.fragment == Fragment::None
        && !parsed.is_icmp_error()
        && !unknown_v6
        && single(parsed.src)
        && single(parsed.dst)
}

/// A TSMP message.
pub fn tsmp(out: &mut Vec<u8>, src: IpAddr, dst: IpAddr, message: &Message) -> Result<(), DropReason> {
    let start = begin(out, src, dst, proto::TSMP)?;
    message.write(out);
    finish(out, start, None)
}

const fn icmp_of(ip: IpAddr) -> u8 {
    if ip.is_ipv4() { proto::ICMP } else { proto::ICMPV6 }
}

/// Where the transport header starts, and what its checksum covers.
struct Start {
    at: usize,
    src: IpAddr,
    dst: IpAddr,
    proto: u8,
}

fn begin(out: &mut Vec<u8>, src: IpAddr, dst: IpAddr, proto: u8) -> Result<Start, DropReason> {
    out.clear();
    match (src, dst) {
        (IpAddr::V4(src), IpAddr::V4(dst)) => {
            // "Don't fragment", so the identification may be zero (RFC 6864); see `allow_fragments`.
            out.extend_from_slice(&[0x45, 0, 0, 0, 0, 0, 0x40, 0, TTL, proto, 0, 0]);
            out.extend_from_slice(&src.octets());
            out.extend_from_slice(&dst.octets());
        }
        (IpAddr::V6(src), IpAddr::V6(dst)) => {
            out.extend_from_slice(&[0x60, 0, 0, 0, 0, 0, proto, TTL]);
            out.extend_from_slice(&src.octets());
            out.extend_from_slice(&dst.octets());
        }
        _ => return Err(DropReason::Malformed),
    }
    Ok(Start { at: out.len(), src, dst, proto })
}

/// Writes the lengths and checksums; `field` is the place of the checksum within the transport header.
fn finish(out: &mut [u8], start: Start, field: Option<usize>) -> Result<(), DropReason> {
    let v4 = start.src.is_ipv4();
    let (header, body) = out.split_at_mut_checked(start.at).ok_or(DropReason::TooLarge)?;
    let counted = if v4 { header.len() + body.len() } else { body.len() };
    let len = u16::try_from(counted).map_err(|_| DropReason::TooLarge)?.to_be_bytes();
    if let Some(field) = field {
        let bare = v4 && start.proto == proto::ICMP;
        let sum = match bare {
            true => Sum::new(),
            false => Sum::new().pseudo_header(start.src, start.dst, start.proto, body.len()),
        };
        let sum = match sum.bytes(body).finish() {
            // UDP: zero would mean "no checksum".
            0 if start.proto == proto::UDP => 0xffff,
            sum => sum,
        };
        put(body, field, sum.to_be_bytes());
    }
    if v4 {
        put(header, 2, len);
        let sum = checksum(header);
        put(header, 10, sum.to_be_bytes());
    } else {
        put(header, 4, len);
    }
    Ok(())
}

fn put(bytes: &mut [u8], at: usize, value: [u8; 2]) {
    if let Some(place) = bytes.get_mut(at..).and_then(|rest| rest.first_chunk_mut::<2>()) {
        *place = value;
    }
}
