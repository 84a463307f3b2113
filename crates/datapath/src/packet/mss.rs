//! The largest segment that a TCP connection through the tunnel may use, lowered to what fits.
//!
//! Owns: editing option 2 of segments that open or answer a connection (RFC 9293 §3.7.1), with an incremental checksum.
//! Machines on a LAN offer what fits into their 1500 bytes; what is larger than the tunnel's packets would depend on ICMP
//! that many firewalls drop. Leaves out: unfinished checksums, which are finished when a packet is read
//! ([`super::split`]), and who calls this (both lines).

use super::{Parsed, checksum, proto, tcp};

/// Bytes of headers without options before a segment's data.
const V4_HEADERS: u32 = 20 + 20;
const V6_HEADERS: u32 = 40 + 20;

const END: u8 = 0;
const NOTHING: u8 = 1;
const SEGMENT: u8 = 2;

/// Lowers the segment size that `packet`, which `parsed` was read from, offers to what fits into packets of `mtu` bytes.
/// Everything but a TCP segment with SYN and without RST is left alone at the price of two comparisons.
#[inline]
pub fn clamp(packet: &mut [u8], parsed: &Parsed, mtu: u16) {
    if parsed.proto == proto::TCP && parsed.tcp_flags & (tcp::SYN | tcp::RST) == tcp::SYN {
        let headers = if parsed.is_v4() { V4_HEADERS } else { V6_HEADERS };
        let most = u32::from(mtu).saturating_sub(headers) as u16;
        if let Some(segment) = packet.get_mut(usize::from(parsed.l4)..parsed.total_len as usize) {
            lower(segment, most);
        }
    }
}

/// The same for the TCP segment alone; true if something was changed.
#[cold]
fn lower(segment: &mut [u8], most: u16) -> bool {
    let Some(at) = place(segment) else { return false };
    let Some(offered) = segment.get(at..).and_then(<[u8]>::first_chunk).map(|b| u16::from_be_bytes(*b))
    else {
        return false;
    };
    if offered <= most || most == 0 {
        return false;
    }
    // The checksum runs over pairs of bytes, and behind an odd number of padding the value lies across two of them.
    let (from, to) = (at & !1, (at + 3) & !1);
    let mut old = [0; 4];
    let Some(pairs) = segment.get(from..to) else { return false };
    old.iter_mut().zip(pairs).for_each(|(to, from)| *to = *from);
    if let Some(value) = segment.get_mut(at..at + 2) {
        value.copy_from_slice(&most.to_be_bytes());
    }
    let old = old.get(..to - from).unwrap_or_default();
    let new = segment.get(from..to).unwrap_or_default();
    let Some(sum) = segment.get(16..).and_then(<[u8]>::first_chunk).map(|b| u16::from_be_bytes(*b)) else {
        return false;
    };
    let sum = checksum::update(sum, old, new).to_be_bytes();
    if let Some(place) = segment.get_mut(16..18) {
        place.copy_from_slice(&sum);
    }
    true
}

/// Where in a TCP segment the value of option 2 stands.
fn place(segment: &[u8]) -> Option<usize> {
    let end = usize::from(segment.get(12)? >> 4) * 4;
    let header = segment.get(..end)?;
    let mut at = 20;
    loop {
        match *header.get(at)? {
            END => return None,
            NOTHING => at += 1,
            kind => {
                let len = usize::from(*header.get(at + 1)?);
                if kind == SEGMENT {
                    return (len == 4 && at + 4 <= end).then_some(at + 2);
                }
                // Shorter than itself: it does not end.
                at += if len < 2 { return None } else { len };
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

    /// A packet with these TCP options and flags, its checksums complete.
    fn packet(v6: bool, options: &[u8], flags: u8, data: &[u8]) -> Vec<u8> {
        let mut tcp = vec![0; 20];
        tcp[..4].copy_from_slice(&[0x30, 0x39, 0, 80]);
        tcp.extend_from_slice(options);
        tcp.resize(tcp.len().next_multiple_of(4), 0);
        tcp[12] = (tcp.len() / 4 * 16) as u8;
        tcp[13] = flags;
        tcp.extend_from_slice(data);
        let (src, dst, mut all): (IpAddr, IpAddr, Vec<u8>);
        if v6 {
            (src, dst) = (Ipv6Addr::from([7; 16]).into(), Ipv6Addr::from([9; 16]).into());
            all = vec![0x60, 0, 0, 0, 0, 0, proto::TCP, 64];
            all[4..6].copy_from_slice(&(tcp.len() as u16).to_be_bytes());
            all.extend_from_slice(&[7; 16]);
            all.extend_from_slice(&[9; 16]);
        } else {
            (src, dst) = (Ipv4Addr::from([7; 4]).into(), Ipv4Addr::from([9; 4]).into());
            all = vec![0x45, 0, 0, 0, 0, 0, 0, 0, 64, proto::TCP, 0, 0, 7, 7, 7, 7, 9, 9, 9, 9];
            all[2..4].copy_from_slice(&(20 + tcp.len() as u16).to_be_bytes());
        }
        let sum = checksum::Sum::new().pseudo_header(src, dst, proto::TCP, tcp.len()).bytes(&tcp).finish();
        tcp[16..18].copy_from_slice(&sum.to_be_bytes());
        all.extend_from_slice(&tcp);
        all
    }

    fn clamped(mut bytes: Vec<u8>, mtu: u16) -> Vec<u8> {
        let parsed = Parsed::parse(&bytes).expect("parses");
        clamp(&mut bytes, &parsed, mtu);
        bytes
    }

    const SYN_ACK: u8 = tcp::SYN | tcp::ACK;

    #[test]
    fn to_what_fits() {
        for (v6, flags, offered, wanted) in [
            (false, tcp::SYN, 1460, 1240),
            (false, SYN_ACK, 1460, 1240),
            (true, tcp::SYN, 1440, 1220),
            (true, SYN_ACK, 8940, 1220),
            (false, tcp::SYN, 1240, 1240),
            (true, tcp::SYN, 536, 536),
            // Opens nothing.
            (false, tcp::ACK, 1460, 1460),
            (false, tcp::SYN | tcp::RST, 1460, 1460),
        ] {
            let options = |mss: u16| [&[2, 4], &mss.to_be_bytes()[..], &[4, 2, 3, 3, 7]].concat();
            let before = packet(v6, &options(offered), flags, b"");
            assert_eq!(clamped(before, 1280), packet(v6, &options(wanted), flags, b""), "{v6} {offered}");
        }
        let odd = |mss: u16| [&[1, 2, 4], &mss.to_be_bytes()[..], &[1, 1, 1]].concat();
        assert_eq!(
            clamped(packet(false, &odd(1460), tcp::SYN, b"x"), 1420),
            packet(false, &odd(1380), tcp::SYN, b"x")
        );
    }

    #[test]
    fn options_that_are_none() {
        for options in [
            &[][..],
            &[0, 2, 4, 5, 0xb4],
            &[2, 3, 5, 0xb4],
            &[1, 2, 4, 5],
            &[8, 0, 2, 4, 5, 0xb4],
            &[8, 1, 2, 4, 5, 0xb4],
            &[8, 200, 2, 4, 5, 0xb4],
            &[1, 1, 1, 2],
            &[1, 1, 2, 4],
        ] {
            let before = packet(false, options, tcp::SYN, b"");
            assert_eq!(clamped(before.clone(), 1280), before, "{options:?}");
        }
    }

    proptest! {
        /// Whatever the options are: nothing but the value and the checksum changes, and the checksum stays right.
        #[test]
        fn checksums_hold(
            v6: bool,
            before in prop_oneof![Just(vec![]), proptest::collection::vec(Just(1_u8), 0..4),
                Just(vec![4_u8, 2]), Just(vec![8_u8, 10, 1, 2, 3, 4, 5, 6, 7, 8]), Just(vec![3_u8, 3, 7])],
            offered in 1_u16..,
            flags: u8,
            mtu in 100_u16..9000,
            data: [u8; 5],
        ) {
            let options = |mss: u16| [&before[..], &[2, 4], &mss.to_be_bytes()].concat();
            let got = clamped(packet(v6, &options(offered), flags, &data), mtu);
            let most = mtu - if v6 { 60 } else { 40 };
            let opens = flags & (tcp::SYN | tcp::RST) == tcp::SYN;
            let want = packet(v6, &options(if opens { offered.min(most) } else { offered }), flags, &data);
            prop_assert_eq!(got, want);
        }

        /// Any bytes at all: no panic, and the length stays.
        #[test]
        fn any_bytes(mut bytes: Vec<u8>, mtu: u16) {
            let len = bytes.len();
            lower(&mut bytes, mtu);
            if let Ok(parsed) = Parsed::parse(&bytes) {
                clamp(&mut bytes, &parsed, mtu);
            }
            prop_assert_eq!(bytes.len(), len);
        }

        /// Any options behind a header that parses: at most the checksum and two bytes more change.
        #[test]
        fn any_options(options in proptest::collection::vec(any::<u8>(), 0..40), v6: bool) {
            let before = packet(v6, &options, tcp::SYN, b"");
            let after = clamped(before.clone(), 1280);
            prop_assert!(before.iter().zip(&after).filter(|(a, b)| a != b).count() <= 4);
            let parsed = Parsed::parse(&after).expect("parses");
            let tcp = parsed.transport(&after);
            let sum = checksum::Sum::new().pseudo_header(parsed.src, parsed.dst, proto::TCP, tcp.len());
            prop_assert_eq!(sum.bytes(tcp).finish(), 0);
        }
    }
}
