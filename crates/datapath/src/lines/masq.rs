//! Masquerade: a peer may know us by another address than our own. Its packets are rewritten to our own address
//! before the filter, ours to the address it knows after the filter (protocol reference §6.4).
//!
//! Owns: the rewrite of one address with incremental checksums. Leaves out: addresses inside ICMP errors.

use crate::packet::{Fragment, Parsed, checksum, proto};
use std::net::IpAddr;

/// Which address of a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Side {
    /// The source, on the way out.
    Src,
    /// The destination, on the way in.
    Dst,
}

/// Replaces one address of `packet`, which `parsed` was read from, by `new` of the same family; keeps both
/// consistent. False, and nothing changed, when family or length do not fit.
pub(super) fn rewrite(packet: &mut [u8], parsed: &mut Parsed, side: Side, new: IpAddr) -> bool {
    match (new, parsed.is_v4()) {
        (IpAddr::V4(addr), true) => {
            let at = if side == Side::Src { 12 } else { 16 };
            replace::<4>(packet, parsed, at, addr.octets())
        }
        (IpAddr::V6(addr), false) => {
            let at = if side == Side::Src { 8 } else { 24 };
            replace::<16>(packet, parsed, at, addr.octets())
        }
        _ => return false,
    }
    .map(|()| match side {
        Side::Src => parsed.src = new,
        Side::Dst => parsed.dst = new,
    })
    .is_some()
}

fn replace<const N: usize>(packet: &mut [u8], parsed: &Parsed, at: usize, new: [u8; N]) -> Option<()> {
    let place: &mut [u8; N] = packet.get_mut(at..)?.first_chunk_mut()?;
    let old = std::mem::replace(place, new);
    if parsed.is_v4() {
        adjust(packet, 10, &old, &new);
    }
    // Only a packet with its transport header has that header's checksum.
    if parsed.fragment != Fragment::Later {
        let l4 = usize::from(parsed.l4);
        match parsed.proto {
            proto::TCP => adjust(packet, l4 + 16, &old, &new),
            proto::ICMPV6 if !parsed.is_v4() => adjust(packet, l4 + 2, &old, &new),
            proto::UDP => adjust_udp(packet, l4 + 6, &old, &new),
            _ => (),
        }
    }
    Some(())
}

fn adjust(packet: &mut [u8], at: usize, old: &[u8], new: &[u8]) {
    if let Some(sum) = packet.get_mut(at..).and_then(<[u8]>::first_chunk_mut::<2>) {
        *sum = checksum::update(u16::from_be_bytes(*sum), old, new).to_be_bytes();
    }
}

/// In UDP a zero means "not computed", and a sum that comes out as zero is written as its other form.
fn adjust_udp(packet: &mut [u8], at: usize, old: &[u8], new: &[u8]) {
    if let Some(sum) = packet.get_mut(at..).and_then(<[u8]>::first_chunk_mut::<2>)
        && *sum != [0, 0]
    {
        let updated = checksum::update(u16::from_be_bytes(*sum), old, new);
        *sum = if updated == 0 { [0xff, 0xff] } else { updated.to_be_bytes() };
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::packet::build::{self, Echo};
    use std::net::SocketAddr;

    fn sums_hold(packet: &[u8]) {
        let parsed = Parsed::parse(packet).expect("parses");
        if parsed.is_v4() {
            assert_eq!(checksum::checksum(&packet[..20]), 0, "header");
        }
        let l4 = parsed.transport(packet);
        let sum = match parsed.proto {
            proto::ICMP => checksum::Sum::new(),
            proto => checksum::Sum::new().pseudo_header(parsed.src, parsed.dst, proto, l4.len()),
        };
        assert_eq!(sum.bytes(l4).finish(), 0, "transport");
    }

    /// Two addresses and the one that takes the place of either, of both families.
    fn addresses() -> [[IpAddr; 3]; 2] {
        [
            ["100.64.0.1", "100.64.0.2", "10.9.8.7"],
            ["fd7a:115c:a1e0::1", "fd7a:115c:a1e0::2", "2001:db8::ffff:1"],
        ]
        .map(|texts| texts.map(|text| text.parse().expect("ip")))
    }

    /// One packet of each protocol whose checksum covers the addresses, and an echo.
    fn packets(a: IpAddr, b: IpAddr, payload: &[u8]) -> [Vec<u8>; 3] {
        let [mut udp, mut tcp, mut echo] = [const { Vec::new() }; 3];
        let (from, to) = (SocketAddr::new(a, 7), SocketAddr::new(b, 9));
        build::udp(&mut udp, from, to, payload).expect("udp");
        build::tcp_segment(&mut tcp, from, to, (5, 6), 0x10, payload).expect("tcp");
        build::icmp_echo(&mut echo, a, b, &Echo { reply: false, id: 3, seq: 4, payload }).expect("echo");
        [udp, tcp, echo]
    }

    /// The two fragments of `packet` if the first one gets `cut` bytes of what is behind the IP header.
    fn fragments(packet: &[u8], cut: usize) -> [Vec<u8>; 2] {
        let parsed = Parsed::parse(packet).expect("parses");
        let (head, body) = packet.split_at(parsed.l4.into());
        [(0, true, &body[..cut]), (cut, false, &body[cut..])].map(|(at, more, body)| {
            let mut head = head.to_vec();
            if parsed.is_v4() {
                head[2..4].copy_from_slice(&(20 + body.len() as u16).to_be_bytes());
                head[6..8].copy_from_slice(&((at / 8) as u16 | u16::from(more) << 13).to_be_bytes());
                head[10..12].fill(0);
                let sum = checksum::checksum(&head);
                head[10..12].copy_from_slice(&sum.to_be_bytes());
            } else {
                let next = std::mem::replace(&mut head[6], 44);
                head[4..6].copy_from_slice(&(8 + body.len() as u16).to_be_bytes());
                let [high, low] = (at as u16 | u16::from(more)).to_be_bytes();
                head.extend([next, 0, high, low, 0, 0, 0, 1]);
            }
            [&head, body].concat()
        })
    }

    #[test]
    fn sums_stay_right() {
        for [a, b, new] in addresses() {
            for mut packet in packets(a, b, b"odd") {
                for side in [Side::Src, Side::Dst] {
                    let mut parsed = Parsed::parse(&packet).expect("parses");
                    assert!(rewrite(&mut packet, &mut parsed, side, new));
                    assert_eq!(Parsed::parse(&packet), Ok(parsed));
                    sums_hold(&packet);
                }
            }
        }
    }

    /// What was cut on its way is put together again where it arrives, and the sum must hold there: the first fragment has
    /// it, the later ones have data in its place, which stay as they are.
    #[test]
    fn fragments_stay_parts_of_one_packet() {
        for [a, b, new] in addresses() {
            for mut packet in packets(a, b, &[0x5a; 300]) {
                for side in [Side::Src, Side::Dst] {
                    let mut cut = fragments(&packet, 160);
                    let mut parsed = Parsed::parse(&packet).expect("parses");
                    assert!(rewrite(&mut packet, &mut parsed, side, new));
                    let wanted = fragments(&packet, 160);
                    for (fragment, kind) in cut.iter_mut().zip([Fragment::First, Fragment::Later]) {
                        let mut parsed = Parsed::parse(fragment).expect("parses");
                        assert_eq!(parsed.fragment, kind);
                        assert!(rewrite(fragment, &mut parsed, side, new));
                    }
                    assert_eq!(cut, wanted, "protocol {} {side:?}", parsed.proto);
                }
            }
        }
    }

    /// Bytes that no checksum over the addresses is known to be in.
    #[test]
    fn other_protocols_keep_their_bytes() {
        for [a, b, new] in addresses() {
            let [other, ..] = packets(a, b, &[0x5a; 40]);
            let foreign = if a.is_ipv4() { proto::ICMPV6 } else { proto::ICMP };
            for number in [foreign, proto::SCTP, proto::TSMP] {
                let mut packet = other.clone();
                packet[if a.is_ipv4() { 9 } else { 6 }] = number;
                let mut parsed = Parsed::parse(&packet).expect("parses");
                let before = parsed.transport(&packet).to_vec();
                assert!(rewrite(&mut packet, &mut parsed, Side::Src, new));
                assert_eq!(parsed.transport(&packet), before, "protocol {number}");
            }
        }
    }

    #[test]
    fn families_do_not_mix() {
        let mut packet = Vec::new();
        let (a, b): (SocketAddr, SocketAddr) =
            ("1.2.3.4:1".parse().expect("addr"), "2.3.4.5:1".parse().expect("addr"));
        build::udp(&mut packet, a, b, b"").expect("udp");
        let before = packet.clone();
        let mut parsed = Parsed::parse(&packet).expect("parses");
        assert!(!rewrite(&mut packet, &mut parsed, Side::Src, "::1".parse().expect("ip")));
        assert_eq!(packet, before);
    }

    #[test]
    fn udp_without_a_sum_keeps_none() {
        let mut packet = Vec::new();
        let (a, b): (SocketAddr, SocketAddr) =
            ("1.2.3.4:1".parse().expect("addr"), "2.3.4.5:1".parse().expect("addr"));
        build::udp(&mut packet, a, b, b"").expect("udp");
        packet[26..28].fill(0);
        let mut parsed = Parsed::parse(&packet).expect("parses");
        assert!(rewrite(&mut packet, &mut parsed, Side::Src, "9.9.9.9".parse().expect("ip")));
        assert_eq!(packet[26..28], [0, 0]);
    }

    #[test]
    fn a_udp_sum_of_zero_is_written_as_its_other_form() {
        let mut packet = Vec::new();
        let (a, b): (SocketAddr, SocketAddr) =
            ("1.2.0.0:1".parse().expect("addr"), "2.3.4.5:1".parse().expect("addr"));
        build::udp(&mut packet, a, b, b"").expect("udp");
        // The checksum itself, put into half an address that was zero, leaves nothing to be said by a checksum.
        let new = IpAddr::from([1, 2, packet[26], packet[27]]);
        let mut parsed = Parsed::parse(&packet).expect("parses");
        assert!(rewrite(&mut packet, &mut parsed, Side::Src, new));
        assert_eq!(packet[26..28], [0xff, 0xff]);
    }
}
