//! Which neighbours are joined, that a large packet stands for just what was joined, and that whatever tells two packets
//! apart keeps them apart.

use super::*;
use crate::packet::build;
use proptest::prelude::*;
use std::net::SocketAddr;

/// Where TCP has its checksum.
const CHECKSUM_AT: usize = 16;

fn ends(v6: bool) -> (SocketAddr, SocketAddr) {
    let text = if v6 { ("[fd00::1]:80", "[fd00::2]:5000") } else { ("10.0.0.1:80", "10.0.0.2:5000") };
    (text.0.parse().expect("address"), text.1.parse().expect("address"))
}

/// Neighbours of one stream, with these lengths of data.
fn stream(v6: bool, lengths: &[usize]) -> Vec<Vec<u8>> {
    let (src, dst) = ends(v6);
    let mut seq = u32::MAX - 100;
    let mut packets = Vec::new();
    for (n, length) in lengths.iter().enumerate() {
        let mut packet = Vec::new();
        let data = vec![n as u8 + 1; *length];
        build::tcp_segment(&mut packet, src, dst, (seq, 7), ACK, &data).expect("segment");
        seq = seq.wrapping_add(*length as u32);
        packets.push(packet);
    }
    packets
}

/// Joins what can be joined to the first.
fn merge(packets: &[Vec<u8>]) -> Option<(Merge, Vec<u8>)> {
    let (first, rest) = packets.split_first()?;
    let mut merge = Merge::begin(first)?;
    let mut data = first.get(merge.data_at()..)?.to_vec();
    for packet in rest {
        let Some(piece) = merge.join(first, packet) else { break };
        data.extend_from_slice(piece);
    }
    Some((merge, data))
}

/// Cuts a large segment as the kernel does.
fn cut(merge: &mut Merge, data: &[u8]) -> Vec<Vec<u8>> {
    let (cut, head) = merge.finish();
    let number = |at: usize| usize::from(u16::from_ne_bytes([cut[at], cut[at + 1]]));
    let (l4, size) = (number(6), number(4));
    assert_eq!((cut[0], number(2), number(8)), (NEEDS_CHECKSUM, head.len(), CHECKSUM_AT));
    assert_eq!(cut[1], if l4 == 20 { TCP_V4 } else { TCP_V6 });
    let partial = Sum::new().bytes(&head[l4 + CHECKSUM_AT..l4 + CHECKSUM_AT + 2]);
    let (src, dst) = addresses(head, l4);
    let whole = head.len() - l4 + data.len();
    let wanted = !Sum::new().pseudo_header(src, dst, proto::TCP, whole).finish();
    assert_eq!(partial.finish(), !wanted, "sum of the pseudo-header");
    let mut seq = u32::from_be_bytes([head[l4 + 4], head[l4 + 5], head[l4 + 6], head[l4 + 7]]);
    let count = data.chunks(size).len();
    let mut packets = Vec::new();
    for (n, piece) in data.chunks(size).enumerate() {
        let flags = if n + 1 == count { head[l4 + 13] } else { head[l4 + 13] & !PSH };
        let (src, dst) = (SocketAddr::new(src, 80), SocketAddr::new(dst, 5000));
        let mut packet = Vec::new();
        build::tcp_segment(&mut packet, src, dst, (seq, 7), flags, piece).expect("segment");
        seq = seq.wrapping_add(piece.len() as u32);
        packets.push(packet);
    }
    packets
}

#[test]
fn what_is_cut_again_is_what_was_merged() {
    for v6 in [false, true] {
        for lengths in [&[1000, 1000][..], &[1240; 24], &[1240, 1240, 3], &[1, 1, 1]] {
            let packets = stream(v6, lengths);
            let (mut whole, data) = merge(&packets).expect("TCP");
            assert_eq!(whole.segments() as usize, lengths.len());
            assert_eq!(cut(&mut whole, &data), packets);
        }
    }
}

#[test]
fn a_push_or_a_short_segment_is_the_last() {
    let count = |packets: &[Vec<u8>]| merge(packets).map(|(merge, _)| merge.segments());
    assert_eq!(count(&stream(false, &[100, 99, 99])), Some(2));
    assert_eq!(count(&stream(false, &[100, 101])), Some(1));
    let (src, dst) = ends(true);
    let mut packets = stream(true, &[50, 50, 50]);
    packets[1].clear();
    let seq = (u32::MAX - 50, 7);
    build::tcp_segment(&mut packets[1], src, dst, seq, ACK | PSH, &[9; 50]).expect("segment");
    let (mut whole, data) = merge(&packets).expect("TCP");
    assert_eq!(whole.segments(), 2);
    assert_eq!(cut(&mut whole, &data), packets[..2]);
    assert_eq!(count(&packets[1..]), Some(1), "nothing after a push");
}

#[test]
fn an_ipv6_packet_of_the_longest_length_is_not_passed() {
    let packets = stream(true, &[1240; 60]);
    let (mut whole, data) = merge(&packets).expect("TCP");
    assert!(data.len() + 60 <= LONGEST && data.len() + 60 + 1240 > LONGEST);
    assert_eq!(cut(&mut whole, &data), packets[..data.len() / 1240]);
}

#[test]
fn only_segments_with_data_begin() {
    let (src, dst) = ends(false);
    for flags in [ACK | 1, ACK | 2, ACK | 4, ACK | 0x20, ACK | 0x40, ACK | 0x80, 0] {
        let mut packet = Vec::new();
        build::tcp_segment(&mut packet, src, dst, (1, 1), flags, b"data").expect("segment");
        assert!(Merge::begin(&packet).is_none(), "flags {flags:#x}");
    }
    for bit in 0..4 {
        let mut packet = stream(false, &[4])[0].clone();
        packet[20 + 12] |= 1 << bit;
        set_sums(&mut packet, false, false);
        assert!(Merge::begin(&packet).is_none(), "a flag to come, {bit}");
    }
    assert!(Merge::begin(&stream(false, &[0])[0]).is_none(), "a bare acknowledgement");
}

/// Datagrams of one flow, with these lengths of data.
fn flow(v6: bool, lengths: &[usize]) -> Vec<Vec<u8>> {
    let (src, dst) = ends(v6);
    let datagram = |(n, length): (usize, &usize)| {
        let mut packet = Vec::new();
        build::udp(&mut packet, src, dst, &vec![n as u8 + 1; *length]).expect("datagram");
        packet
    };
    lengths.iter().enumerate().map(datagram).collect()
}

#[test]
fn datagrams_are_merged_until_a_shorter_one() {
    for v6 in [false, true] {
        for (lengths, together) in
            [(&[60, 60, 60, 48][..], 4), (&[48, 60], 1), (&[60, 48, 48], 2), (&[1; 50], 50)]
        {
            let (merge, data) = merge(&flow(v6, lengths)).expect("UDP");
            assert_eq!((merge.is_udp(), merge.segments()), (true, together), "{lengths:?}");
            assert_eq!(data.len(), lengths[..together as usize].iter().sum::<usize>());
        }
    }
}

#[test]
fn datagrams_without_data_or_checksum_stay_alone() {
    for (v6, at) in [(false, 26), (true, 46)] {
        let mut packets = flow(v6, &[40, 40]);
        packets[1][at..at + 2].fill(0);
        assert_eq!(merge(&packets).map(|(merge, _)| merge.segments()), Some(1));
        assert!(Merge::begin(&packets[1]).is_none() && flock(&packets[1]) == 0);
        assert!(Merge::begin(&flow(v6, &[0])[0]).is_none());
        let mut longer = flow(v6, &[40])[0].clone();
        longer.push(0);
        assert!(Merge::begin(&longer).is_none());
    }
}

#[test]
fn streams_and_flows_are_not_mixed() {
    let (stream, flow) = (stream(false, &[28]), flow(false, &[40]));
    for both in [[&stream[0], &flow[0]], [&flow[0], &stream[0]]] {
        let both = both.map(Vec::clone);
        assert_eq!(merge(&both).map(|(merge, _)| merge.segments()), Some(1));
    }
}

#[test]
fn what_may_be_merged_is_of_one_flock() {
    let packets = flow(true, &[10, 20, 10]);
    let [a, b, c] = [0, 1, 2].map(|at: usize| flock(&packets[at]));
    assert_eq!((a, b), (5000 << 16 | 58, 5000 << 16 | 68));
    assert_eq!(a, c);
    assert_eq!([flock(&stream(true, &[10])[0]), flock(&[]), flock(&[0x45; 21])], [0; 3]);
}

/// Options of TCP: two fillers and a timestamp with its echo.
const OPTIONS: [u8; 12] = [1, 1, 8, 10, 0, 0, 0, 9, 0, 0, 0, 4];

/// Two neighbours of one stream whose segments have options.
fn stream_with_options(v6: bool) -> Vec<Vec<u8>> {
    let (src, dst) = ends(v6);
    let segment = |seq: u32| {
        let mut packet = Vec::new();
        let body = [&OPTIONS[..], &[9; 200]].concat();
        build::tcp_segment(&mut packet, src, dst, (seq, 7), ACK, &body).expect("segment");
        packet[if v6 { 40 } else { 20 } + 12] = ((20 + OPTIONS.len() as u8) / 4) << 4;
        set_sums(&mut packet, v6, false);
        packet
    };
    [u32::MAX - 100, 99].map(segment).into()
}

/// Gives a packet the checksums that go with its bytes, whatever these say.
fn set_sums(packet: &mut [u8], v6: bool, udp: bool) {
    let l4 = if v6 { 40 } else { 20 };
    if !v6 {
        packet[10..12].fill(0);
        let sum = checksum(&packet[..20]);
        packet[10..12].copy_from_slice(&sum.to_be_bytes());
    }
    let (at, protocol) = if udp { (l4 + 6, proto::UDP) } else { (l4 + CHECKSUM_AT, proto::TCP) };
    packet[at..at + 2].fill(0);
    let (src, dst) = addresses(packet, l4);
    let sum = Sum::new().pseudo_header(src, dst, protocol, packet.len() - l4).bytes(&packet[l4..]).finish();
    let sum = if sum == 0 { u16::MAX } else { sum };
    packet[at..at + 2].copy_from_slice(&sum.to_be_bytes());
}

/// Each bit of the second header in turn is another one, and the checksums go with it: what is not joined then is kept
/// apart by what the header says. Joined is what differs in the identification of IPv4, in PSH, or in the urgent
/// pointer, which nobody reads without URG. A checksum cannot differ and be right.
fn differences_part(packets: &[Vec<u8>], v6: bool, udp: bool) {
    let l4 = if v6 { 40 } else { 20 };
    let sum_at = l4 + if udp { 6 } else { CHECKSUM_AT };
    let sum = |at: usize| (sum_at..sum_at + 2).contains(&at) || !v6 && (10..12).contains(&at);
    let free = |at: usize, bit: u8| {
        let (push, urgent) = (at == l4 + 13 && 1 << bit == PSH, (l4 + 18..l4 + 20).contains(&at));
        !v6 && (4..6).contains(&at) || !udp && (push || urgent)
    };
    let whole = merge(packets).expect("begins").0;
    assert_eq!(whole.segments(), 2, "the same but for order and data");
    for at in (0..whole.data_at()).filter(|at| !sum(*at)) {
        for bit in 0..8 {
            let mut packets = packets.to_vec();
            packets[1][at] ^= 1 << bit;
            set_sums(&mut packets[1], v6, udp);
            let read = Segment::read(&packets[1]);
            assert!(read.is_none_or(|segment| segment.intact(&packets[1])), "byte {at} bit {bit}: sums");
            let (merge, _) = merge(&packets).expect("begins");
            assert_eq!(merge.segments(), 1 + u32::from(free(at, bit)), "v6 {v6}: byte {at} bit {bit}");
        }
    }
}

#[test]
fn any_difference_parts() {
    for v6 in [false, true] {
        differences_part(&stream(v6, &[200, 200]), v6, false);
        differences_part(&stream_with_options(v6), v6, false);
    }
}

#[test]
fn any_difference_parts_datagrams() {
    for v6 in [false, true] {
        differences_part(&flow(v6, &[100, 100]), v6, true);
    }
}

/// A single wrong bit, in the first packet or in the second, in a header or in the data.
#[test]
fn what_its_checksums_contradict_is_not_joined() {
    for v6 in [false, true] {
        for packets in [stream(v6, &[50, 50]), stream_with_options(v6), flow(v6, &[50, 50])] {
            let (first, second) = (packets[0].len(), packets[1].len());
            for wrong in 0..(first + second) * 8 {
                let (at, bit) = (wrong / 8, wrong % 8);
                let (which, at) = if at < first { (0, at) } else { (1, at - first) };
                let mut packets = packets.clone();
                packets[which][at] ^= 1 << bit;
                let joined = merge(&packets).is_some_and(|(merge, _)| merge.segments() > 1);
                assert!(!joined, "v6 {v6}: packet {which} byte {at} bit {bit}");
            }
        }
    }
}

/// Even if the next one is a fragment as well: who cuts the large packet would make whole ones of it.
#[test]
fn a_fragment_begins_nothing() {
    for (packets, udp) in [(stream(false, &[50, 50]), false), (flow(false, &[50, 50]), true)] {
        for place in [[0x20, 0], [0, 1], [0x80, 0]] {
            let mut packet = packets[0].clone();
            packet[6..8].copy_from_slice(&place);
            set_sums(&mut packet, false, udp);
            assert!(Merge::begin(&packet).is_none(), "{place:02x?}");
        }
    }
}

proptest! {
    #[test]
    fn any_bytes(first: Vec<u8>, second: Vec<u8>) {
        flock(&first);
        if let Some(mut merge) = Merge::begin(&first) {
            let _ = merge.join(&first, &second);
            let _ = merge.finish();
        }
    }
}
