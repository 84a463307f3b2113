//! Views over raw IP packets: what filter, routes and host replies need to know, read once.
//!
//! Owns: the header parser ([`Parsed`]), the internet [`checksum`], the [`build`]ers of the few packets this node
//! makes itself, the [`tsmp`] codec, the segment size of TCP ([`mss`]), what [`merge`] makes of neighbours and [`split`] of what the
//! kernel has merged. Leaves out: every decision, fragment
//! reassembly, extension headers other than Fragment. Nothing here allocates (builders write into the caller's vector)
//! or panics on any bytes.

pub mod build;
pub mod checksum;
pub mod merge;
pub mod mss;
pub mod split;
pub mod tsmp;

use crate::drop::DropReason;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// IP protocol numbers.
pub mod proto {
    /// ICMP for IPv4.
    pub const ICMP: u8 = 1;
    /// TCP.
    pub const TCP: u8 = 6;
    /// UDP.
    pub const UDP: u8 = 17;
    /// ICMP for IPv6.
    pub const ICMPV6: u8 = 58;
    /// Tailscale's messages between nodes about the tunnel itself (protocol reference §7.3).
    pub const TSMP: u8 = 99;
    /// SCTP.
    pub const SCTP: u8 = 132;
}

/// TCP flag bits.
pub mod tcp {
    /// No more data from the sender.
    pub const FIN: u8 = 0x01;
    /// Opens a connection.
    pub const SYN: u8 = 0x02;
    /// Resets a connection.
    pub const RST: u8 = 0x04;
    /// The acknowledgement number counts.
    pub const ACK: u8 = 0x10;
}

/// ICMP types that some decision depends on, with the family in the name.
pub mod icmp {
    /// Echo reply (IPv4).
    pub const V4_ECHO_REPLY: u8 = 0;
    /// Destination unreachable (IPv4).
    pub const V4_UNREACHABLE: u8 = 3;
    /// Echo request (IPv4).
    pub const V4_ECHO_REQUEST: u8 = 8;
    /// Time exceeded (IPv4).
    pub const V4_TIME_EXCEEDED: u8 = 11;
    /// Parameter problem (IPv4).
    pub const V4_PARAMETER: u8 = 12;
    /// Destination unreachable (IPv6).
    pub const V6_UNREACHABLE: u8 = 1;
    /// Last of the IPv6 errors that have a number assigned: parameter problem.
    pub const V6_PARAMETER: u8 = 4;
    /// Echo request (IPv6).
    pub const V6_ECHO_REQUEST: u8 = 128;
    /// Echo reply (IPv6).
    pub const V6_ECHO_REPLY: u8 = 129;
}

/// Bytes that must come before a later fragment, and be in a first one: the longest IPv4 header and a TCP header.
/// Shorter ones could rewrite the ports that the filter has judged.
const MIN_FRAGMENT: usize = 60 + 20;

/// Which part of a datagram a packet is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fragment {
    /// All of it.
    None,
    /// The beginning: transport header present.
    First,
    /// A later part: no transport header, so no ports, flags or ICMP type.
    Later,
}

/// The headers of one IP packet. Ports, flags and types are zero where the packet has none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Parsed {
    /// Source address.
    pub src: IpAddr,
    /// Destination address, same family as `src`.
    pub dst: IpAddr,
    /// Length of the IP packet in bytes; bytes beyond it are padding to be cut.
    pub total_len: u32,
    /// Where the transport header starts (in a later fragment: the data).
    pub l4: u16,
    /// Source port of TCP, UDP, SCTP.
    pub src_port: u16,
    /// Destination port of TCP, UDP, SCTP.
    pub dst_port: u16,
    /// IP protocol number behind the last header understood.
    pub proto: u8,
    /// TCP flag bits, see [`tcp`].
    pub tcp_flags: u8,
    /// ICMP type, for ICMP within IPv4 and ICMPv6 within IPv6.
    pub icmp_type: u8,
    /// ICMP code.
    pub icmp_code: u8,
    /// Which part of a datagram.
    pub fragment: Fragment,
}

impl Parsed {
    /// Reads the headers of `packet`. Its end may be padded; it must not be cut short.
    ///
    /// Errors (protocol reference §7.2, pre-checks): `TooShort` for a packet shorter than its headers say,
    /// `Malformed` for headers that contradict themselves, `TinyFragment`, and `UnknownProtocol` for protocol
    /// numbers 0 and 255 and IPv6 extension headers other than one Fragment header.
    #[inline]
    pub fn parse(packet: &[u8]) -> Result<Self, DropReason> {
        let head = packet.first_chunk::<20>().ok_or(DropReason::TooShort)?;
        match head[0] >> 4 {
            4 => Self::parse_v4(packet, head),
            6 => Self::parse_v6(packet),
            _ => Err(DropReason::Malformed),
        }
    }

    fn parse_v4(packet: &[u8], head: &[u8; 20]) -> Result<Self, DropReason> {
        let header = usize::from(head[0] & 0x0f) * 4;
        let total = usize::from(be16(head[2], head[3]));
        if header < 20 || total < header {
            return Err(DropReason::Malformed);
        }
        let body = packet.get(header..total).ok_or(DropReason::TooShort)?;
        let flags = be16(head[6], head[7]);
        let offset = usize::from(flags & 0x1fff) * 8;
        let fragment = fragment_kind(offset, flags & 0x2000 != 0, body.len())?;
        let parsed = Self {
            src: IpAddr::V4(Ipv4Addr::new(head[12], head[13], head[14], head[15])),
            dst: IpAddr::V4(Ipv4Addr::new(head[16], head[17], head[18], head[19])),
            total_len: total as u32,
            l4: header as u16,
            src_port: 0,
            dst_port: 0,
            proto: head[9],
            tcp_flags: 0,
            icmp_type: 0,
            icmp_code: 0,
            fragment,
        };
        parsed.with_transport(body)
    }

    fn parse_v6(packet: &[u8]) -> Result<Self, DropReason> {
        let (head, rest) = packet.split_first_chunk::<40>().ok_or(DropReason::TooShort)?;
        let payload = usize::from(be16(head[4], head[5]));
        let mut body = rest.get(..payload).ok_or(DropReason::TooShort)?;
        let (mut next, mut l4, mut fragment) = (head[6], 40, Fragment::None);
        if next == V6_FRAGMENT {
            let (extension, after) = body.split_first_chunk::<8>().ok_or(DropReason::TooShort)?;
            let flags = be16(extension[2], extension[3]);
            fragment = fragment_kind(usize::from(flags & 0xfff8), flags & 1 != 0, after.len())?;
            (next, l4, body) = (extension[0], 48, after);
        }
        if matches!(next, V6_HOP_BY_HOP | V6_ROUTING | V6_FRAGMENT | V6_NONE | V6_OPTIONS | 135 | 139 | 140) {
            return Err(DropReason::UnknownProtocol);
        }
        let parsed = Self {
            src: address_v6(head.first_chunk::<24>().map_or(&[], |h| &h[8..])),
            dst: address_v6(&head[24..]),
            total_len: (40 + payload) as u32,
            l4,
            src_port: 0,
            dst_port: 0,
            proto: next,
            tcp_flags: 0,
            icmp_type: 0,
            icmp_code: 0,
            fragment,
        };
        parsed.with_transport(body)
    }

    #[inline]
    fn with_transport(mut self, body: &[u8]) -> Result<Self, DropReason> {
        if matches!(self.proto, 0 | 255) {
            return Err(DropReason::UnknownProtocol);
        }
        if self.fragment == Fragment::Later {
            return Ok(self);
        }
        let least = match self.proto {
            proto::TCP => 20,
            proto::UDP => 8,
            proto::SCTP => 12,
            proto::ICMP if self.src.is_ipv4() => 8,
            proto::ICMPV6 if self.src.is_ipv6() => 8,
            _ => return Ok(self),
        };
        let Some(start) = body.first_chunk::<8>().filter(|_| body.len() >= least) else {
            return Err(DropReason::TooShort);
        };
        if matches!(self.proto, proto::ICMP | proto::ICMPV6) {
            (self.icmp_type, self.icmp_code) = (start[0], start[1]);
            return Ok(self);
        }
        (self.src_port, self.dst_port) = (be16(start[0], start[1]), be16(start[2], start[3]));
        if self.proto == proto::TCP {
            let (offset, flags) = body.get(12).zip(body.get(13)).ok_or(DropReason::TooShort)?;
            if usize::from(offset >> 4) * 4 < 20 {
                return Err(DropReason::Malformed);
            }
            self.tcp_flags = *flags;
        }
        Ok(self)
    }

    /// The transport header and what follows it, without padding; empty if `packet` is not the one parsed.
    #[inline]
    pub fn transport<'a>(&self, packet: &'a [u8]) -> &'a [u8] {
        packet.get(usize::from(self.l4)..self.total_len as usize).unwrap_or(&[])
    }

    /// True for IPv4.
    #[inline]
    pub const fn is_v4(&self) -> bool {
        self.src.is_ipv4()
    }

    /// True for a TCP segment that opens a connection: SYN without ACK.
    #[inline]
    pub const fn is_tcp_syn(&self) -> bool {
        self.proto == proto::TCP && self.tcp_flags & (tcp::SYN | tcp::ACK) == tcp::SYN
    }

    /// True for ICMP of the packet's own family, with its header present.
    #[inline]
    pub const fn is_icmp(&self) -> bool {
        self.proto == if self.is_v4() { proto::ICMP } else { proto::ICMPV6 }
            && !matches!(self.fragment, Fragment::Later)
    }

    /// True for an ICMP echo request.
    #[inline]
    pub const fn is_echo_request(&self) -> bool {
        let kind = if self.is_v4() { icmp::V4_ECHO_REQUEST } else { icmp::V6_ECHO_REQUEST };
        self.is_icmp() && self.icmp_type == kind && self.icmp_code == 0
    }

    /// True for an ICMP echo reply.
    #[inline]
    pub const fn is_echo_reply(&self) -> bool {
        let kind = if self.is_v4() { icmp::V4_ECHO_REPLY } else { icmp::V6_ECHO_REPLY };
        self.is_icmp() && self.icmp_type == kind && self.icmp_code == 0
    }

    /// True for an ICMP error message.
    #[inline]
    pub const fn is_icmp_error(&self) -> bool {
        use icmp::{V4_PARAMETER, V4_TIME_EXCEEDED, V4_UNREACHABLE, V6_PARAMETER, V6_UNREACHABLE};
        self.is_icmp()
            && if self.is_v4() {
                matches!(self.icmp_type, V4_UNREACHABLE | V4_TIME_EXCEEDED | V4_PARAMETER)
            } else {
                matches!(self.icmp_type, V6_UNREACHABLE..=V6_PARAMETER)
            }
    }
}

const V6_HOP_BY_HOP: u8 = 0;
const V6_ROUTING: u8 = 43;
const V6_FRAGMENT: u8 = 44;
const V6_NONE: u8 = 59;
const V6_OPTIONS: u8 = 60;

#[inline]
fn fragment_kind(offset: usize, more: bool, len: usize) -> Result<Fragment, DropReason> {
    match (offset, more) {
        (0, false) => Ok(Fragment::None),
        (0, true) if len < MIN_FRAGMENT => Err(DropReason::TinyFragment),
        (0, true) => Ok(Fragment::First),
        (1..MIN_FRAGMENT, _) => Err(DropReason::TinyFragment),
        // Would end beyond the longest datagram.
        _ if offset + len > 0xffff => Err(DropReason::Malformed),
        _ => Ok(Fragment::Later),
    }
}

#[inline]
const fn be16(high: u8, low: u8) -> u16 {
    u16::from_be_bytes([high, low])
}

#[inline]
fn address_v6(bytes: &[u8]) -> IpAddr {
    IpAddr::V6(Ipv6Addr::from(bytes.first_chunk::<16>().copied().unwrap_or_default()))
}

#[cfg(test)]
mod tests;
