//! TCP segments that follow each other, told to the kernel as one large segment: its stack then has one packet to
//! look at instead of a dozen, and answers with one acknowledgement. Likewise datagrams of one flow as a large one, which
//! is cut where they are received or sent on (Linux 6.2).
//!
//! Owns: which segments may be told as one, the header of the large one, and the ten bytes before it that say how it is
//! cut (`struct virtio_net_hdr`, in the machine's byte order). Nothing is moved: the pieces stay where they are.
//! Leaves out: which packets are offered (the caller offers neighbours), writing.
//!
//! Only what loses nothing is merged: same addresses, ports, type of service, hop limit, acknowledgement, window and
//! options, no flags but ACK and a last PSH, equal lengths but for a shorter last one, correct checksums (the kernel
//! checks none of what is merged).

use super::checksum::{Sum, checksum};
use super::proto;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Bytes of the header before a packet.
pub const CUT: usize = 10;

/// Longest header of IP and TCP: IPv6 without extensions and TCP with all options.
const HEADER: usize = 40 + 60;
/// Longest IP packet.
const LONGEST: usize = 65_535;

const ACK: u8 = 0x10;
const PSH: u8 = 0x08;
/// `VIRTIO_NET_HDR_F_NEEDS_CSUM`.
const NEEDS_CHECKSUM: u8 = 1;
/// `VIRTIO_NET_HDR_GSO_TCPV4` and `…6`.
const TCP_V4: u8 = 1;
const TCP_V6: u8 = 4;
/// `VIRTIO_NET_HDR_GSO_UDP_L4`.
const UDP: u8 = 5;
/// Bytes of a header of UDP.
const UDP_HEADER: usize = 8;

/// What a header says that matters here.
#[derive(Debug, Clone, Copy)]
struct Segment {
    /// Where TCP or UDP starts.
    l4: usize,
    /// Where its data start.
    data: usize,
    udp: bool,
    /// Of TCP; a datagram has no order.
    seq: u32,
    push: bool,
}

impl Segment {
    /// Reads a whole, unfragmented TCP segment with data and without special flags, or a datagram with data and a checksum;
    /// anything else is `None`.
    #[inline]
    fn read(packet: &[u8]) -> Option<Self> {
        let (l4, proto) = match packet.first()? {
            // Without options.
            0x45 => {
                let head: &[u8; 20] = packet.first_chunk()?;
                let total = usize::from(u16::from_be_bytes([head[2], head[3]]));
                let fragment = u16::from_be_bytes([head[6], head[7]]) & 0xbfff;
                if fragment != 0 || total != packet.len() {
                    return None;
                }
                (20, head[9])
            }
            first if first >> 4 == 6 => {
                let head: &[u8; 40] = packet.first_chunk()?;
                let length = usize::from(u16::from_be_bytes([head[4], head[5]]));
                if length + 40 != packet.len() {
                    return None;
                }
                (40, head[6])
            }
            _ => return None,
        };
        if proto == proto::UDP {
            let udp: &[u8; UDP_HEADER] = packet.get(l4..)?.first_chunk()?;
            let data = l4 + UDP_HEADER;
            let length = usize::from(u16::from_be_bytes([udp[4], udp[5]]));
            // Without a checksum it stays: what is cut again would have one.
            if length + l4 != packet.len() || data >= packet.len() || udp[6..] == [0, 0] {
                return None;
            }
            return Some(Self { l4, data, udp: true, seq: 0, push: false });
        }
        if proto != proto::TCP {
            return None;
        }
        let tcp: &[u8; 20] = packet.get(l4..)?.first_chunk()?;
        let (words, flags) = (usize::from(tcp[12] >> 4), tcp[13]);
        let data = l4 + words * 4;
        if words < 5 || flags & !PSH != ACK || tcp[12] & 0x0f != 0 || data >= packet.len() {
            return None;
        }
        let seq = u32::from_be_bytes([tcp[4], tcp[5], tcp[6], tcp[7]]);
        Some(Self { l4, data, udp: false, seq, push: flags & PSH != 0 })
    }

    const fn proto(self) -> u8 {
        if self.udp { proto::UDP } else { proto::TCP }
    }

    /// Where the header has its checksum.
    const fn checksum_at(self) -> usize {
        if self.udp { 6 } else { 16 }
    }

    /// Whether the checksums are right.
    #[inline]
    fn intact(self, packet: &[u8]) -> bool {
        let (src, dst) = addresses(packet, self.l4);
        let Some((head, rest)) = packet.split_at_checked(self.l4) else { return false };
        Sum::new().pseudo_header(src, dst, self.proto(), rest.len()).bytes(rest).finish() == 0
            && (self.l4 != 20 || checksum(head) == 0)
    }
}

/// What datagrams share that can be merged whatever their order: port and length; 0 for what is none.
pub fn flock(packet: &[u8]) -> u32 {
    let Some(segment) = Segment::read(packet).filter(|segment| segment.udp) else { return 0 };
    let ports = packet.get(segment.l4..).and_then(|udp| udp.first_chunk::<4>());
    ports.map_or(0, |ports| u32::from_be_bytes([ports[2], ports[3], 0, 0]) | packet.len() as u32)
}

/// A large segment or datagram in the making.
#[derive(Debug, Clone)]
pub struct Merge {
    head: [u8; HEADER],
    first: Segment,
    /// Data of the first segment: what all but the last have.
    size: usize,
    /// Data so far.
    bytes: usize,
    segments: u32,
    next_seq: u32,
    closed: bool,
}

impl Merge {
    /// Begins with `packet`; `None` if nothing can be joined to it.
    #[inline]
    pub fn begin(packet: &[u8]) -> Option<Self> {
        let first = Segment::read(packet)?;
        let mut head = [0; HEADER];
        head.get_mut(..first.data)?.copy_from_slice(packet.get(..first.data)?);
        let size = packet.len() - first.data;
        Some(Self {
            head,
            first,
            size,
            bytes: size,
            segments: 1,
            next_seq: first.seq.wrapping_add(size as u32),
            closed: first.push,
        })
    }

    /// Joins `packet` if it carries on: the piece of it that is to be written. `first` is the packet this began with.
    #[inline]
    pub fn join<'a>(&mut self, first: &[u8], packet: &'a [u8]) -> Option<&'a [u8]> {
        if self.closed {
            return None;
        }
        let segment = Segment::read(packet)?;
        let (head, data) = packet.split_at_checked(segment.data)?;
        let fits = segment.data == self.first.data
            && segment.l4 == self.first.l4
            && segment.udp == self.first.udp
            && (segment.udp || segment.seq == self.next_seq)
            && data.len() <= self.size
            && segment.data + self.bytes + data.len() <= LONGEST
            && self.same_headers(head);
        if !fits || !segment.intact(packet) || (self.segments == 1 && !self.first.intact(first)) {
            return None;
        }
        self.bytes += data.len();
        self.segments += 1;
        self.next_seq = self.next_seq.wrapping_add(data.len() as u32);
        self.closed = segment.push || data.len() < self.size;
        if segment.push
            && let Some(flags) = self.head.get_mut(self.first.l4 + 13)
        {
            *flags |= PSH;
        }
        Some(data)
    }

    /// Whether it is a datagram.
    pub const fn is_udp(&self) -> bool {
        self.first.udp
    }

    /// How many segments there are.
    pub const fn segments(&self) -> u32 {
        self.segments
    }

    /// Where the data of the first packet start.
    pub const fn data_at(&self) -> usize {
        self.first.data
    }

    /// Everything that must be the same, without lengths, identification, checksums, sequence and PSH.
    #[inline]
    fn same_headers(&self, head: &[u8]) -> bool {
        let same = |range: std::ops::Range<usize>| match (self.head.get(range.clone()), head.get(range)) {
            (Some(ours), Some(theirs)) => ours == theirs,
            _ => false,
        };
        let l4 = self.first.l4;
        let ip = if l4 == 20 { same(0..2) && same(6..10) && same(12..20) } else { same(0..4) && same(6..40) };
        // Acknowledgement and length; window; options.
        let tcp = || same(l4 + 8..l4 + 13) && same(l4 + 14..l4 + 16) && same(l4 + 20..head.len());
        // With the ports.
        ip && same(l4..l4 + 4) && (self.first.udp || tcp())
    }

    /// What the kernel is to be told: the bytes before the packet, and its header. The data follow.
    pub fn finish(&mut self) -> ([u8; CUT], &[u8]) {
        let Segment { l4, data, udp, .. } = self.first;
        let (length, whole) = (data - l4 + self.bytes, data + self.bytes);
        if udp {
            put(&mut self.head, l4 + 4, length as u16);
        }
        let addresses = self.addresses();
        if l4 == 20 {
            put(&mut self.head, 2, whole as u16);
            put(&mut self.head, 10, 0);
            let sum = checksum(self.head.get(..20).unwrap_or_default());
            put(&mut self.head, 10, sum);
        } else {
            put(&mut self.head, 4, length as u16);
        }
        // The sum of the pseudo-header alone, which whoever cuts the segment goes on with.
        let (src, dst) = addresses;
        let sum = !Sum::new().pseudo_header(src, dst, self.first.proto(), length).finish();
        let at = self.first.checksum_at();
        put(&mut self.head, l4 + at, sum);
        let mut cut = [0; CUT];
        cut[0] = NEEDS_CHECKSUM;
        cut[1] = match (udp, l4) {
            (true, _) => UDP,
            (false, 20) => TCP_V4,
            (false, _) => TCP_V6,
        };
        let numbers = [data, self.size, l4, at];
        for (place, number) in cut[2..].chunks_exact_mut(2).zip(numbers) {
            place.copy_from_slice(&(number as u16).to_ne_bytes());
        }
        (cut, self.head.get(..data).unwrap_or_default())
    }

    fn addresses(&self) -> (IpAddr, IpAddr) {
        addresses(&self.head, self.first.l4)
    }
}

fn addresses(head: &[u8], l4: usize) -> (IpAddr, IpAddr) {
    if l4 == 20 {
        let at =
            |i: usize| head.get(i..).and_then(|rest| rest.first_chunk::<4>()).copied().unwrap_or_default();
        (Ipv4Addr::from(at(12)).into(), Ipv4Addr::from(at(16)).into())
    } else {
        let at =
            |i: usize| head.get(i..).and_then(|rest| rest.first_chunk::<16>()).copied().unwrap_or_default();
        (Ipv6Addr::from(at(8)).into(), Ipv6Addr::from(at(24)).into())
    }
}

fn put(head: &mut [u8; HEADER], at: usize, word: u16) {
    if let Some(place) = head.get_mut(at..at + 2) {
        place.copy_from_slice(&word.to_be_bytes());
    }
}

#[cfg(test)]
mod tests {
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

    proptest! {
        /// Whatever single byte of the second packet differs: it is not joined, unless it is the identification.
        #[test]
        fn any_difference_parts(v6: bool, at in 0usize..60, bit in 0u8..8) {
            let mut packets = stream(v6, &[200, 200]);
            prop_assume!(at < packets[1].len() && (v6 || !(4..6).contains(&at)));
            packets[1][at] ^= 1 << bit;
            let (merge, _) = merge(&packets).expect("TCP");
            prop_assert_eq!(merge.segments(), 1);
        }

        /// As above, of datagrams: that the data are what the checksum says is seen as well.
        #[test]
        fn any_difference_parts_datagrams(v6: bool, at in 0usize..100, bit in 0u8..8) {
            let mut packets = flow(v6, &[100, 100]);
            prop_assume!(at < packets[1].len() && (v6 || !(4..6).contains(&at)));
            packets[1][at] ^= 1 << bit;
            let (merge, _) = merge(&packets).expect("UDP");
            prop_assert_eq!(merge.segments(), 1);
        }

        #[test]
        fn any_bytes(first: Vec<u8>, second: Vec<u8>) {
            flock(&first);
            if let Some(mut merge) = Merge::begin(&first) {
                let _ = merge.join(&first, &second);
                let _ = merge.finish();
            }
        }
    }
}
