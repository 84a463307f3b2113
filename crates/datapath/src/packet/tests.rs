//! Parser and builders against each other and against bytes written down by hand.

use super::build::{self, Echo, Unreachable};
use super::checksum::Sum;
use super::tsmp::{Message, Reject, RejectReason};
use super::*;
use proptest::prelude::*;
use std::net::SocketAddr;

fn ip(text: &str) -> IpAddr {
    text.parse().expect("an address")
}

/// Checks every checksum of `packet` by the definition: the sum over the covered bytes is zero.
fn assert_sums(packet: &[u8]) -> Parsed {
    let parsed = Parsed::parse(packet).expect("parses");
    assert_eq!(parsed.total_len as usize, packet.len());
    if parsed.is_v4() {
        assert_eq!(Sum::new().bytes(&packet[..20]).finish(), 0, "IPv4 header");
    }
    let body = parsed.transport(packet);
    let sum = match parsed.proto {
        proto::TSMP => return parsed,
        proto::ICMP => Sum::new(),
        _ => {
            let mut pseudo = Vec::new();
            match (parsed.src, parsed.dst) {
                (IpAddr::V4(src), IpAddr::V4(dst)) => {
                    pseudo.extend(src.octets());
                    pseudo.extend(dst.octets());
                    pseudo.extend([0, parsed.proto]);
                    pseudo.extend((body.len() as u16).to_be_bytes());
                }
                (IpAddr::V6(src), IpAddr::V6(dst)) => {
                    pseudo.extend(src.octets());
                    pseudo.extend(dst.octets());
                    pseudo.extend((body.len() as u32).to_be_bytes());
                    pseudo.extend([0, 0, 0, parsed.proto]);
                }
                _ => unreachable!("one family"),
            }
            Sum::new().bytes(&pseudo)
        }
    };
    assert_eq!(sum.bytes(body).finish(), 0, "transport checksum");
    parsed
}

/// A UDP packet written by hand, its checksums computed by a separate script.
const UDP_V4: [u8; 32] = [
    0x45, 0x00, 0x00, 0x20, 0x00, 0x00, 0x40, 0x00, 0x40, 0x11, 0x72, 0x4a, 0x64, 0x40, 0x00, 0x01, 0x64,
    0x40, 0x00, 0x02, 0x00, 0x35, 0x30, 0x39, 0x00, 0x0c, 0x2e, 0x22, 0x64, 0x61, 0x74, 0x61,
];

#[test]
fn golden_udp() {
    let mut out = Vec::new();
    let (src, dst) = (SocketAddr::new(ip("100.64.0.1"), 53), SocketAddr::new(ip("100.64.0.2"), 12345));
    build::udp(&mut out, src, dst, b"data").expect("fits");
    assert_eq!(out, UDP_V4);
    let padded = [&UDP_V4[..], &[0; 16]].concat();
    let parsed = Parsed::parse(&padded).expect("padding is allowed");
    assert_eq!((parsed.total_len, parsed.transport(&padded).len()), (32, 12));
    assert_eq!((parsed.src_port, parsed.dst_port, parsed.proto), (53, 12345, proto::UDP));
}

#[test]
fn a_zero_udp_checksum_is_written_as_ones() {
    let mut out = Vec::new();
    let at = SocketAddr::new(ip("fd7a::1"), 1);
    build::udp(&mut out, at, at, &[0, 0]).expect("fits");
    // The checksum as payload makes the sum zero.
    let payload = [out[46], out[47]];
    build::udp(&mut out, at, at, &payload).expect("fits");
    assert_eq!(out[46..], [0xff, 0xff, payload[0], payload[1]]);
    assert_sums(&out);
}

/// `UDP_V4` with some bytes changed.
fn changed(changes: &[(usize, u8)]) -> Result<Parsed, DropReason> {
    let mut packet = [&UDP_V4[..], &[0; 200]].concat();
    packet[3] = 20 + 100;
    changes.iter().for_each(|&(at, byte)| packet[at] = byte);
    Parsed::parse(&packet)
}

#[test]
fn pre_checks() {
    assert_eq!(Parsed::parse(&UDP_V4[..19]), Err(DropReason::TooShort));
    assert_eq!(Parsed::parse(&UDP_V4[..31]), Err(DropReason::TooShort), "cut short");
    assert_eq!(changed(&[(0, 0x55)]), Err(DropReason::Malformed), "version");
    assert_eq!(changed(&[(0, 0x44)]), Err(DropReason::Malformed), "header length");
    assert_eq!(changed(&[(0, 0x4f)]).map(|p| p.l4), Ok(60), "options");
    assert_eq!(changed(&[(3, 19)]), Err(DropReason::Malformed), "total length");
    assert_eq!(changed(&[(3, 27)]), Err(DropReason::TooShort), "half a UDP header");
    assert_eq!(changed(&[(9, 6), (3, 39)]), Err(DropReason::TooShort), "half a TCP header");
    assert_eq!(changed(&[(9, 6), (32, 0x40)]), Err(DropReason::Malformed), "TCP data offset");
    assert_eq!(changed(&[(9, 0)]), Err(DropReason::UnknownProtocol));
    assert_eq!(changed(&[(9, 255)]), Err(DropReason::UnknownProtocol));
    assert_eq!(changed(&[(9, 47)]).map(|p| (p.proto, p.src_port)), Ok((47, 0)), "GRE has no ports");
    assert_eq!(changed(&[(9, 58)]).map(|p| p.is_icmp()), Ok(false), "ICMPv6 within IPv4 is none");
}

#[test]
fn fragments_v4() {
    let kind = |high, low, len| changed(&[(6, high), (7, low), (3, len)]).map(|p| p.fragment);
    assert_eq!(kind(0x40, 0, 120), Ok(Fragment::None));
    assert_eq!(kind(0x20, 0, 120), Ok(Fragment::First));
    assert_eq!(kind(0x20, 0, 99), Err(DropReason::TinyFragment));
    assert_eq!(kind(0x20, 0, 100), Ok(Fragment::First));
    assert_eq!(kind(0x00, 1, 120), Err(DropReason::TinyFragment));
    assert_eq!(kind(0x00, 9, 120), Err(DropReason::TinyFragment));
    assert_eq!(kind(0x00, 10, 120), Ok(Fragment::Later));
    assert_eq!(kind(0x1f, 0xff, 120), Err(DropReason::Malformed), "beyond the longest datagram");
    let later = changed(&[(6, 0x20), (7, 10)]).expect("parses");
    assert_eq!((later.src_port, later.dst_port), (0, 0), "data is not taken for ports");
}

#[test]
fn extension_headers_v6() {
    let mut out = Vec::new();
    let (src, dst) = (SocketAddr::new(ip("fd7a::1"), 1), SocketAddr::new(ip("fd7a::2"), 2));
    build::udp(&mut out, src, dst, &[7; 100]).expect("fits");
    assert_eq!(Parsed::parse(&out[..39]), Err(DropReason::TooShort));
    for next in [0, 43, 59, 60, 135, 139, 140, 255] {
        out[6] = next;
        assert_eq!(Parsed::parse(&out), Err(DropReason::UnknownProtocol), "{next}");
    }
    // A Fragment header over the first 8 bytes of what was UDP.
    let mut kind = |next, flags: u16| {
        out[6] = 44;
        out[40] = next;
        out[42..44].copy_from_slice(&flags.to_be_bytes());
        Parsed::parse(&out).map(|p| (p.fragment, p.l4, p.proto))
    };
    assert_eq!(kind(17, 0), Ok((Fragment::None, 48, 17)), "an atomic fragment is whole");
    assert_eq!(kind(17, 1), Ok((Fragment::First, 48, 17)));
    assert_eq!(kind(17, 8), Err(DropReason::TinyFragment));
    assert_eq!(kind(17, 80), Ok((Fragment::Later, 48, 17)));
    assert_eq!(kind(44, 0), Err(DropReason::UnknownProtocol), "a second one");
}

#[test]
fn resets() {
    let (client, server) = (SocketAddr::new(ip("100.64.0.2"), 4000), SocketAddr::new(ip("100.64.0.1"), 22));
    let answer = |flags, payload: &[u8]| {
        let (mut segment, mut out) = (Vec::new(), Vec::new());
        build::tcp_segment(&mut segment, client, server, (u32::MAX, 77), flags, payload).expect("fits");
        let parsed = assert_sums(&segment);
        build::tcp_reset(&mut out, &parsed, &segment)?;
        let parsed = assert_sums(&out);
        assert_eq!((parsed.src, parsed.src_port), (server.ip(), 22));
        assert_eq!((parsed.dst, parsed.dst_port), (client.ip(), 4000));
        let word = |at: usize| u32::from_be_bytes(out[at..at + 4].try_into().expect("four"));
        Ok((word(24), word(28), parsed.tcp_flags))
    };
    assert_eq!(answer(tcp::SYN, b""), Ok((0, 0, tcp::RST | tcp::ACK)), "SYN counts one, wrapping");
    assert_eq!(answer(tcp::SYN | tcp::FIN, b"abc"), Ok((0, 4, tcp::RST | tcp::ACK)));
    assert_eq!(answer(tcp::ACK, b"abc"), Ok((77, 0, tcp::RST)));
    assert_eq!(answer(tcp::RST, b""), Err(DropReason::Malformed), "never answered");
    assert_eq!(answer(tcp::RST | tcp::ACK, b""), Err(DropReason::Malformed), "never answered");
}

#[test]
fn icmp_errors() {
    for (src, dst, big, kind, code, whole) in [
        ("100.64.0.2", "100.64.0.1", 2000, 3, 3, 576),
        ("fd7a::2", "fd7a::1", 2000, 1, 4, 1280),
        ("fd7a::2", "fd7a::1", 8, 1, 4, 40 + 8 + 40 + 16),
    ] {
        let (mut datagram, mut out) = (Vec::new(), Vec::new());
        build::udp(&mut datagram, SocketAddr::new(ip(src), 9), SocketAddr::new(ip(dst), 10), &vec![1; big])
            .expect("fits");
        let parsed = assert_sums(&datagram);
        assert!(build::may_answer_with_error(&parsed));
        build::icmp_unreachable(&mut out, &parsed, &[&datagram[..], &[0; 9]].concat(), Unreachable::Port)
            .expect("fits");
        let error = assert_sums(&out);
        assert_eq!((error.icmp_type, error.icmp_code, out.len()), (kind, code, whole));
        assert_eq!((error.src, error.dst), (ip(dst), ip(src)));
        assert!(error.is_icmp_error() && !build::may_answer_with_error(&error));
        let quoted = &error.transport(&out)[8..];
        assert_eq!(quoted, &datagram[..quoted.len()]);
        build::icmp_unreachable(&mut out, &parsed, &datagram, Unreachable::Admin).expect("fits");
        assert_eq!(assert_sums(&out).icmp_code, if parsed.is_v4() { 13 } else { 1 });
    }
}

#[test]
fn no_mixed_families() {
    let echo = Echo { reply: false, id: 1, seq: 2, payload: b"" };
    let got = build::icmp_echo(&mut Vec::new(), ip("100.64.0.1"), ip("fd7a::1"), &echo);
    assert_eq!(got, Err(DropReason::Malformed));
    let huge = vec![0; 65536];
    for address in ["100.64.0.1", "fd7a::1"] {
        let at = SocketAddr::new(ip(address), 1);
        assert_eq!(build::udp(&mut Vec::new(), at, at, &huge), Err(DropReason::TooLarge));
        let echo = Echo { payload: &huge, ..echo };
        assert_eq!(build::icmp_echo(&mut Vec::new(), at.ip(), at.ip(), &echo), Err(DropReason::TooLarge));
    }
}

#[test]
fn tsmp_bodies() {
    let body = |message: Message| {
        let mut out = Vec::new();
        build::tsmp(&mut out, ip("100.64.0.1"), ip("100.64.0.2"), &message).expect("fits");
        out.split_off(20)
    };
    assert_eq!(body(Message::Ping(*b"12345678")), b"p12345678");
    assert_eq!(body(Message::Pong { data: *b"12345678", peerapi_port: 0x1234 }), b"o12345678\x12\x34");
    let reject =
        Reject { proto: 6, reason: RejectReason::SHIELDS, src_port: 1, dst_port: 22, maybe_broken: false };
    assert_eq!(body(Message::Reject(reject)), b"!\x06S\0\x01\0\x16");
    let unknown = [&UDP_V4[..9], &[proto::TSMP], &UDP_V4[10..20], b"a23456789012"].concat();
    let parsed = Parsed::parse(&unknown).expect("parses");
    assert_eq!(Message::parse(&parsed, &unknown), None);
}

fn addresses() -> impl Strategy<Value = (IpAddr, IpAddr)> {
    prop_oneof![
        any::<([u8; 4], [u8; 4])>().prop_map(|(a, b)| (IpAddr::from(a), IpAddr::from(b))),
        any::<([u8; 16], [u8; 16])>().prop_map(|(a, b)| (IpAddr::from(a), IpAddr::from(b))),
    ]
}

proptest! {
    #[test]
    fn any_bytes(mut bytes: Vec<u8>, version in prop_oneof![Just(4u8), Just(6)], proto: u8, len: u16) {
        // Steered towards packets that look right.
        let total = (len as usize % (bytes.len() + 2)) as u16;
        let size = bytes.len();
        if size > 44 {
            bytes[0] = version << 4 | 5;
            let at = if version == 4 { 2 } else { 4 };
            bytes[at..at + 2].copy_from_slice(&total.to_be_bytes());
            bytes[if version == 4 { 9 } else { 6 }] = proto;
        }
        if let Ok(parsed) = Parsed::parse(&bytes) {
            prop_assert!(parsed.total_len as usize <= bytes.len());
            prop_assert!(usize::from(parsed.l4) <= parsed.total_len as usize);
            let mut out = Vec::new();
            let _ = build::tcp_reset(&mut out, &parsed, &bytes);
            let _ = build::icmp_unreachable(&mut out, &parsed, &bytes, Unreachable::Port);
            let _ = (Echo::parse(&parsed, &bytes), Message::parse(&parsed, &bytes));
            let _ = (parsed.transport(&[]), build::may_answer_with_error(&parsed));
        }
    }

    #[test]
    fn udp_round_trip((src, dst) in addresses(), src_port: u16, dst_port: u16, payload: Vec<u8>) {
        let mut out = Vec::new();
        let (src, dst) = (SocketAddr::new(src, src_port), SocketAddr::new(dst, dst_port));
        build::udp(&mut out, src, dst, &payload).expect("fits");
        let parsed = assert_sums(&out);
        prop_assert_eq!(SocketAddr::new(parsed.src, parsed.src_port), src);
        prop_assert_eq!(SocketAddr::new(parsed.dst, parsed.dst_port), dst);
        prop_assert_eq!((parsed.proto, parsed.fragment), (proto::UDP, Fragment::None));
        prop_assert_eq!(&parsed.transport(&out)[8..], &payload[..]);
    }

    #[test]
    fn tcp_round_trip((src, dst) in addresses(), ports: (u16, u16), seq: u32, ack: u32, flags: u8, payload: Vec<u8>) {
        let mut out = Vec::new();
        let (src, dst) = (SocketAddr::new(src, ports.0), SocketAddr::new(dst, ports.1));
        build::tcp_segment(&mut out, src, dst, (seq, ack), flags, &payload).expect("fits");
        let parsed = assert_sums(&out);
        prop_assert_eq!((parsed.src_port, parsed.dst_port, parsed.tcp_flags), (ports.0, ports.1, flags));
        prop_assert_eq!(parsed.is_tcp_syn(), flags & 0x12 == 0x02);
    }

    #[test]
    fn echo_round_trip((src, dst) in addresses(), reply: bool, id: u16, seq: u16, payload: Vec<u8>, flip: u16) {
        let mut out = Vec::new();
        let echo = Echo { reply, id, seq, payload: &payload };
        build::icmp_echo(&mut out, src, dst, &echo).expect("fits");
        let parsed = assert_sums(&out);
        prop_assert_eq!(Echo::parse(&parsed, &out), Some(echo));
        prop_assert_eq!((parsed.is_echo_request(), parsed.is_echo_reply()), (!reply, reply));
        let start = usize::from(parsed.l4);
        let mut broken = out.clone();
        let at = start + usize::from(flip) % (out.len() - start);
        broken[at] ^= 0x10;
        let parsed = Parsed::parse(&broken).expect("parses");
        prop_assert_eq!(Echo::parse(&parsed, &broken), None, "damage is seen");
    }

    #[test]
    fn tsmp_round_trip((src, dst) in addresses(), data: [u8; 8], port: u16, reason: u8, maybe_broken: bool) {
        let reject = Reject { proto: 6, reason: RejectReason(reason), src_port: port, dst_port: !port, maybe_broken };
        for message in
            [Message::Ping(data), Message::Pong { data, peerapi_port: port }, Message::Reject(reject)]
        {
            let mut out = Vec::new();
            build::tsmp(&mut out, src, dst, &message).expect("fits");
            let parsed = assert_sums(&out);
            prop_assert_eq!(Message::parse(&parsed, &out), Some(message));
        }
    }
}
