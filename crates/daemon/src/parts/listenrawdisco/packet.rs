//! Which packets the kernel is to show us, as a program for its filter, and what of a packet is the datagram.
//!
//! Pure. A packet begins with its IP header (packet sockets of kind `SOCK_DGRAM`). Fragments and headers between IPv6 and UDP
//! are left to the ordinary sockets: no disco message has either.

use engine::lines::demux::DISCO_MAGIC;
use socket2::SockFilter;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};

/// UDP as the number of a protocol.
const UDP: u32 = 17;
/// Lengths of headers.
const V4: usize = 20;
const V6: usize = 40;
const HEADER: usize = 8;

// The instructions of classic BPF that are needed (Linux, `bpf_common.h`).
const LOAD_BYTE: u16 = 0x30;
const LOAD_HALF: u16 = 0x28;
const LOAD_WORD: u16 = 0x20;
/// Relative to X.
const LOAD_HALF_X: u16 = 0x48;
const LOAD_WORD_X: u16 = 0x40;
/// X becomes four times the low half of a byte: the length of an IPv4 header.
const HEADER_TO_X: u16 = 0xb1;
const IF_EQUAL: u16 = 0x15;
const IF_ANY_BIT: u16 = 0x45;
const RETURN: u16 = 0x06;

/// Lets disco for our `port` through and nothing else. A load beyond the end of a packet ends the program with a refusal.
pub(super) fn program(v6: bool, port: u16) -> Vec<SockFilter> {
    let [a, b, c, d, e, f] = DISCO_MAGIC;
    let (first, rest) = (u32::from_be_bytes([a, b, c, d]), u32::from(u16::from_be_bytes([e, f])));
    // Instruction, operand, and for a jump whether what it asks must be so.
    let ask = |code, operand| (code, operand, None);
    let must = |operand| (IF_EQUAL, operand, Some(true));
    let head: &[_] = if v6 {
        &[ask(LOAD_BYTE, 6), must(UDP)]
    } else {
        &[
            ask(LOAD_BYTE, 9),
            must(UDP),
            ask(LOAD_HALF, 6),
            // More fragments, or an offset.
            (IF_ANY_BIT, 0x3fff, Some(false)),
            ask(HEADER_TO_X, 0),
        ]
    };
    let (half, word, udp) =
        if v6 { (LOAD_HALF, LOAD_WORD, V6 as u32) } else { (LOAD_HALF_X, LOAD_WORD_X, 0) };
    let body = [
        ask(half, udp + 2),
        must(u32::from(port)),
        ask(word, udp + 8),
        must(first),
        ask(half, udp + 12),
        must(rest),
        ask(RETURN, u32::from(u16::MAX)),
        ask(RETURN, 0),
    ];
    let all = [head, &body[..]].concat();
    let last = all.len().saturating_sub(1);
    let steps = all.iter().enumerate().map(|(at, &(code, operand, wanted))| {
        // Jumps count from the next instruction; the refusal is the last one.
        let refuse = last.saturating_sub(at + 1) as u8;
        let (yes, no) = match wanted {
            None => (0, 0),
            Some(true) => (0, refuse),
            Some(false) => (refuse, 0),
        };
        SockFilter::new(code, yes, no, operand)
    });
    steps.collect()
}

/// The datagram for `port` in an IP packet, and from where it is.
pub(super) fn datagram(packet: &[u8], port: u16) -> Option<(SocketAddr, &[u8])> {
    let first = *packet.first()?;
    let (source, udp) = match first >> 4 {
        4 => {
            let source = Ipv4Addr::from(*packet.get(12..16)?.first_chunk::<4>()?);
            let length = usize::from(first & 15) * 4;
            (source.into(), packet.get(length.max(V4)..)?)
        }
        6 => (Ipv6Addr::from(*packet.get(8..24)?.first_chunk::<16>()?).into(), packet.get(V6..)?),
        _ => return None,
    };
    let half = |at: usize| udp.get(at..)?.first_chunk().map(|bytes| u16::from_be_bytes(*bytes));
    let (from, to, length) = (half(0)?, half(2)?, half(4)?);
    let content = udp.get(HEADER..usize::from(length)).filter(|_| to == port)?;
    content.starts_with(&DISCO_MAGIC).then_some((SocketAddr::new(source, from), content))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn packet(v6: bool, options: usize, port: u16, content: &[u8]) -> Vec<u8> {
        let mut all = if v6 { vec![0x60; 40] } else { vec![0x45 + options as u8 / 4; 20 + options] };
        if v6 {
            all[8..24].copy_from_slice(&Ipv6Addr::LOCALHOST.octets());
        } else {
            all[12..16].copy_from_slice(&[192, 0, 2, 7]);
        }
        for half in [4097, port, content.len() as u16 + 8, 0] {
            all.extend(half.to_be_bytes());
        }
        [&all[..], content, &[0; 7]].concat()
    }

    #[test]
    fn what_is_in_a_packet() {
        let disco = [&DISCO_MAGIC[..], &[9; 100]].concat();
        let v4: SocketAddr = "192.0.2.7:4097".parse().expect("an address");
        let v6: SocketAddr = "[::1]:4097".parse().expect("an address");
        assert_eq!(datagram(&packet(false, 0, 41641, &disco), 41641), Some((v4, &disco[..])));
        assert_eq!(datagram(&packet(false, 24, 41641, &disco), 41641), Some((v4, &disco[..])));
        assert_eq!(datagram(&packet(true, 0, 41641, &disco), 41641), Some((v6, &disco[..])));
        assert_eq!(datagram(&packet(false, 0, 41642, &disco), 41641), None, "somebody else's");
        assert_eq!(datagram(&packet(false, 0, 41641, &[4; 100]), 41641), None);
    }

    proptest! {
        #[test]
        fn any_packet_is_survived(packet in proptest::collection::vec(any::<u8>(), 0..200), port: u16) {
            let _ = datagram(&packet, port);
        }
    }
}
