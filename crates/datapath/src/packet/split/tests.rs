//! Large packets as `merge` or the kernel makes them, cut and held against packets that were built one by one.

use super::*;
use crate::packet::build;
use crate::packet::merge::Merge;
use proptest::prelude::*;
use std::net::SocketAddr;

fn ends(v6: bool) -> (SocketAddr, SocketAddr) {
    let text = if v6 { ("[fd00::1]:80", "[fd00::2]:5000") } else { ("10.0.0.1:80", "10.0.0.2:5000") };
    (text.0.parse().expect("address"), text.1.parse().expect("address"))
}

fn stream(v6: bool, lengths: &[usize], last_flags: u8) -> Vec<Vec<u8>> {
    let (src, dst) = ends(v6);
    let mut seq = u32::MAX - 100;
    let mut packets = Vec::new();
    for (n, length) in lengths.iter().enumerate() {
        let mut packet = Vec::new();
        let data: Vec<u8> = (0..*length).map(|i| (i * 7 + n) as u8).collect();
        let flags = tcp::ACK | if n + 1 == lengths.len() { last_flags } else { 0 };
        build::tcp_segment(&mut packet, src, dst, (seq, 7), flags, &data).expect("segment");
        seq = seq.wrapping_add(*length as u32);
        packets.push(packet);
    }
    packets
}

/// What the kernel would hand over for these.
fn large(packets: &[Vec<u8>]) -> ([u8; CUT], Vec<u8>) {
    let (first, rest) = packets.split_first().expect("one");
    let mut merge = Merge::begin(first).expect("TCP");
    let mut data = first[merge.data_at()..].to_vec();
    for packet in rest {
        data.extend_from_slice(merge.join(first, packet).expect("a neighbour"));
    }
    let (cut, head) = merge.finish();
    (cut, [head, &data].concat())
}

/// Reads `whole` as a TUN would and cuts it.
fn split(cut: [u8; CUT], whole: &[u8], room: usize) -> Result<Vec<Vec<u8>>, DropReason> {
    let mut splitter = Splitter::default();
    let mut place = vec![0xee; room];
    let there = whole.len().min(room);
    place[..there].copy_from_slice(&whole[..there]);
    let rest = &whole[there..];
    splitter.overflow()[..rest.len()].copy_from_slice(rest);
    let len = splitter.begin(cut, &mut place, whole.len())?;
    let mut packets = vec![place[..len].to_vec()];
    while splitter.has_more() {
        let Some(len) = splitter.next(&mut place) else { break };
        packets.push(place[..len].to_vec());
    }
    Ok(packets)
}

/// Sets the checksum of an IPv4 header.
fn put_sum(packet: &mut [u8]) {
    put(packet, 10, 0);
    let sum = checksum(&packet[..usize::from(packet[0] & 0x0f) * 4]);
    put(packet, 10, sum);
}

/// What the kernel says before a large packet: how long the headers are and how much data each packet gets, where the
/// transport header is and its checksum in it.
fn told(kind: u8, header: usize, size: usize, l4: usize, sum_at: usize) -> [u8; CUT] {
    let mut cut = [0; CUT];
    (cut[0], cut[1]) = (NEEDS_CHECKSUM, kind);
    for (place, number) in cut[2..].chunks_exact_mut(2).zip([header, size, l4, sum_at]) {
        place.copy_from_slice(&(number as u16).to_ne_bytes());
    }
    cut
}

/// A segment `ahead` bytes into its stream, with options of TCP.
fn segment(v6: bool, ahead: usize, flags: u8, options: &[u8], data: &[u8]) -> Vec<u8> {
    let ((src, dst), l4) = (ends(v6), if v6 { 40 } else { 20 });
    let numbers = ((u32::MAX - 100).wrapping_add(ahead as u32), 7);
    let mut packet = Vec::new();
    build::tcp_segment(&mut packet, src, dst, numbers, flags, &[options, data].concat()).expect("segment");
    packet[l4 + 12] = (((20 + options.len()) / 4) << 4) as u8;
    put(&mut packet, l4 + 16, 0);
    let sum = Sum::new().pseudo_header(src.ip(), dst.ip(), proto::TCP, packet.len() - l4);
    let sum = sum.bytes(&packet[l4..]).finish();
    put(&mut packet, l4 + 16, sum);
    packet
}

/// `packet`, of IPv4 without options, with these.
fn with_options(packet: &[u8], options: &[u8]) -> Vec<u8> {
    let mut with = [&packet[..20], options, &packet[20..]].concat();
    with[0] += (options.len() / 4) as u8;
    let length = with.len() as u16;
    put(&mut with, 2, length);
    put_sum(&mut with);
    with
}

/// The same packets, with the identification IPv4 gives to neighbours.
fn numbered(mut packets: Vec<Vec<u8>>) -> Vec<Vec<u8>> {
    for (n, packet) in packets.iter_mut().enumerate().filter(|(_, packet)| packet[0] >> 4 == 4) {
        let id = get(packet, 4).wrapping_add(n as u16);
        put(packet, 4, id);
        put_sum(packet);
    }
    packets
}

#[test]
fn what_was_merged_is_cut_again() {
    for v6 in [false, true] {
        for lengths in [&[1000, 1000][..], &[1220; 50], &[1220, 1220, 3], &[1, 1, 1]] {
            for room in [1280, 1400, 9000] {
                let packets = stream(v6, lengths, PSH);
                let (cut, whole) = large(&packets);
                assert_eq!(split(cut, &whole, room).expect("cut"), numbered(packets), "{v6} {room}");
            }
        }
    }
}

#[test]
fn merged_datagrams_are_cut_again() {
    for v6 in [false, true] {
        let (src, dst) = ends(v6);
        for lengths in [&[60, 60][..], &[60, 60, 59], &[1200; 50], &[2, 1]] {
            let datagram = |(n, length): (usize, &usize)| {
                let mut packet = Vec::new();
                build::udp(&mut packet, src, dst, &vec![n as u8; *length]).expect("datagram");
                packet
            };
            let packets: Vec<_> = lengths.iter().enumerate().map(datagram).collect();
            let (cut, whole) = large(&packets);
            assert_eq!(split(cut, &whole, 1280), Ok(numbered(packets)), "{v6} {lengths:?}");
        }
    }
}

#[test]
fn a_checksum_is_finished() {
    for v6 in [false, true] {
        let (src, dst) = ends(v6);
        let l4 = if v6 { 40 } else { 20 };
        let mut packet = Vec::new();
        build::udp(&mut packet, src, dst, b"question").expect("datagram");
        let wanted = packet.clone();
        let pseudo = !Sum::new().pseudo_header(src.ip(), dst.ip(), proto::UDP, packet.len() - l4).finish();
        put(&mut packet, l4 + 6, pseudo);
        let mut cut = [0; CUT];
        cut[0] = NEEDS_CHECKSUM;
        cut[6..8].copy_from_slice(&(l4 as u16).to_ne_bytes());
        cut[8..10].copy_from_slice(&6u16.to_ne_bytes());
        assert_eq!(split(cut, &packet, 1280), Ok(vec![wanted]));
    }
}

#[test]
fn large_datagrams() {
    for v6 in [false, true] {
        let (src, dst) = ends(v6);
        let l4 = if v6 { 40 } else { 20 };
        let data: Vec<u8> = (0..2500).map(|i| i as u8).collect();
        let mut whole = Vec::new();
        build::udp(&mut whole, src, dst, &data).expect("datagram");
        let cut = told(UDP, l4 + 8, 1200, l4, 6);
        let wanted: Vec<Vec<u8>> = data
            .chunks(1200)
            .map(|piece| {
                let mut packet = Vec::new();
                build::udp(&mut packet, src, dst, piece).expect("datagram");
                packet
            })
            .collect();
        assert_eq!(split(cut, &whole, 1280), Ok(numbered(wanted)));
    }
}

/// That the window was made smaller is told once, that a stream ends after its last byte; the echo of a mark stands until
/// it is answered. The kernel says by a bit of its own that CWR is set, and may leave it out.
#[test]
fn flags_are_in_the_segments_they_belong_to() {
    const ECE: u8 = 0x40;
    for (v6, kind) in [(false, TCP_V4), (true, TCP_V6)] {
        let l4 = if v6 { 40 } else { 20 };
        for (count, told_of) in [(1, ECN), (2, ECN), (3, ECN), (5, ECN), (3, 0)] {
            let data: Vec<u8> = (0..count * 1000 - 1).map(|i| (i * 7) as u8).collect();
            let whole = segment(v6, 0, tcp::ACK | ECE | CWR | tcp::FIN | PSH, &[], &data);
            let wanted = data.chunks(1000).enumerate().map(|(n, piece)| {
                let first = if n == 0 { CWR } else { 0 };
                let last = if n + 1 == count { tcp::FIN | PSH } else { 0 };
                segment(v6, n * 1000, tcp::ACK | ECE | first | last, &[], piece)
            });
            let cut = told(kind | told_of, l4 + 20, 1000, l4, 16);
            assert_eq!(split(cut, &whole, 1280), Ok(numbered(wanted.collect())), "{v6} {count} {told_of:#x}");
        }
    }
}

/// Options of IPv4 and TCP, from none to all there can be, are in every packet.
#[test]
fn options_are_kept() {
    let data: Vec<u8> = (0..2500).map(|i| (i * 3) as u8).collect();
    // Fillers, so that they mean the same at any length; the last byte is told from the others.
    let options = |length: usize| (0..length).map(|n| u8::from(n + 1 < length)).collect::<Vec<u8>>();
    for (ip, tcp_options) in [(4, 0), (0, 4), (12, 12), (40, 40)].map(|(a, b)| (options(a), options(b))) {
        let packet = |n: usize, piece: &[u8]| {
            with_options(&segment(false, n * 1000, tcp::ACK, &tcp_options, piece), &ip)
        };
        let l4 = 20 + ip.len();
        let cut = told(TCP_V4, l4 + 20 + tcp_options.len(), 1000, l4, 16);
        let wanted = data.chunks(1000).enumerate().map(|(n, piece)| packet(n, piece)).collect();
        assert_eq!(split(cut, &packet(0, &data), 1280), Ok(numbered(wanted)), "TCP, {l4}");

        let packet = |piece: &[u8]| {
            let (src, dst) = ends(false);
            let mut packet = Vec::new();
            build::udp(&mut packet, src, dst, piece).expect("datagram");
            with_options(&packet, &ip)
        };
        let cut = told(UDP, l4 + 8, 1000, l4, 6);
        let wanted = data.chunks(1000).map(packet).collect();
        assert_eq!(split(cut, &packet(&data), 1280), Ok(numbered(wanted)), "UDP, {l4}");
    }
}

#[test]
fn what_does_not_fit_is_refused() {
    let (cut, whole) = large(&stream(false, &[1400, 1400], 0));
    assert_eq!(split(cut, &whole, 1280), Err(DropReason::TooLarge));
    assert_eq!(split([0; CUT], &whole, 1280), Err(DropReason::TooLarge));
    let mut other = cut;
    other[1] = TCP_V6;
    assert_eq!(split(other, &whole, 9000), Err(DropReason::Malformed));
}

proptest! {
    /// Any header before any bytes: no panic, no packet longer than its room.
    #[test]
    fn any_bytes(cut: [u8; CUT], kind in 0u8..6, mut whole in proptest::collection::vec(any::<u8>(), 1..4000), first in 0usize..2) {
        let mut cut = cut;
        cut[1] = kind;
        whole[0] = [0x45, 0x60][first];
        if let Ok(packets) = split(cut, &whole, 1280) {
            prop_assert!(packets.iter().all(|packet| packet.len() <= 1280));
        }
    }
}
