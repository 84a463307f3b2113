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

    /// Everything that must be the same, without lengths, identification, checksums, sequence, PSH and the urgent pointer,
    /// which nobody reads without URG.
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
mod tests;
