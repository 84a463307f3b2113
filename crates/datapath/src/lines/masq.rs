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
        if parsed.proto != proto::ICMP {
            let l4 = parsed.transport(packet);
            let sum = checksum::Sum::new().pseudo_header(parsed.src, parsed.dst, parsed.proto, l4.len());
            assert_eq!(sum.bytes(l4).finish(), 0, "transport");
        }
    }

    #[test]
    fn sums_stay_right() {
        for (a, b, new) in [
            ("100.64.0.1", "100.64.0.2", "10.9.8.7"),
            ("fd7a:115c:a1e0::1", "fd7a:115c:a1e0::2", "2001:db8::ffff:1"),
        ] {
            let (a, b): (IpAddr, IpAddr) = (a.parse().expect("ip"), b.parse().expect("ip"));
            let new: IpAddr = new.parse().expect("ip");
            let mut udp = Vec::new();
            build::udp(&mut udp, SocketAddr::new(a, 7), SocketAddr::new(b, 9), b"odd").expect("udp");
            let mut echo = Vec::new();
            let payload = Echo { reply: false, id: 3, seq: 4, payload: b"ping!" };
            build::icmp_echo(&mut echo, a, b, &payload).expect("echo");
            for mut packet in [udp, echo] {
                for side in [Side::Src, Side::Dst] {
                    let mut parsed = Parsed::parse(&packet).expect("parses");
                    assert!(rewrite(&mut packet, &mut parsed, side, new));
                    assert_eq!(Parsed::parse(&packet), Ok(parsed));
                    sums_hold(&packet);
                }
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
}
