//! What the kernel hands over as one large packet, cut into the packets it stands for; and checksums that it left
//! unfinished, finished.
//!
//! Owns: the meaning of the ten bytes before a packet (`struct virtio_net_hdr`, in the machine's byte order), the buffer
//! for the part of a large packet that does not fit where packets go. The first packet stays where it was read; the
//! others are copied once. Leaves out: reading; the other direction (`merge`).

use super::checksum::{Sum, checksum};
use super::merge::CUT;
use super::{proto, tcp};
use crate::drop::DropReason;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// The longest packet the kernel makes.
const LONGEST: usize = 65_536;
/// What is left behind the first packet is moved here, in front of the rest.
const FRONT: usize = 9 << 10;
/// Longest headers of IP and transport: all options of both.
const HEADER: usize = 60 + 60;

/// `VIRTIO_NET_HDR_F_NEEDS_CSUM`.
const NEEDS_CHECKSUM: u8 = 1;
/// `VIRTIO_NET_HDR_GSO_NONE`, `…_TCPV4`, `…_TCPV6`, `…_UDP_L4`, and the bit `…_ECN`.
const WHOLE: u8 = 0;
const TCP_V4: u8 = 1;
const TCP_V6: u8 = 4;
const UDP: u8 = 5;
const ECN: u8 = 0x80;

const PSH: u8 = 0x08;
const CWR: u8 = 0x80;

/// Cuts large packets, one at a time.
#[derive(Debug, Clone)]
pub struct Splitter {
    /// Empty until something has been read.
    rest: Box<[u8]>,
    head: [u8; HEADER],
    cutting: Option<Cutting>,
}

impl Default for Splitter {
    fn default() -> Self {
        Self { rest: Box::default(), head: [0; HEADER], cutting: None }
    }
}

/// A large packet of which something is left.
#[derive(Debug, Clone, Copy)]
struct Cutting {
    shape: Shape,
    /// What is left: places in [`Splitter::rest`].
    at: usize,
    end: usize,
    /// Which packet is next; the first was 0.
    number: u16,
}

/// How a large packet is made up.
#[derive(Debug, Clone, Copy)]
struct Shape {
    v6: bool,
    tcp: bool,
    /// Where the transport header starts, and the data.
    l4: usize,
    data: usize,
    /// Data of each packet but the last.
    size: usize,
}

impl Splitter {
    /// Where the part of a packet is to be read that the caller's own room does not take.
    pub fn overflow(&mut self) -> &mut [u8] {
        if self.rest.is_empty() {
            self.rest = vec![0; FRONT + LONGEST].into();
        }
        self.rest.get_mut(FRONT..).unwrap_or_default()
    }

    /// `len` bytes were read behind the bytes `cut`, into `room` and then into [`Self::overflow`]. Returns the length of
    /// the first packet, which is all of it in most cases, in `room`; [`Self::next`] has the others.
    ///
    /// # Errors
    /// `TooLarge` if the first packet does not fit, `Malformed` if the bytes contradict the packet.
    #[inline]
    pub fn begin(&mut self, cut: [u8; CUT], room: &mut [u8], len: usize) -> Result<usize, DropReason> {
        self.cutting = None;
        let number = |at: usize| usize::from(u16::from_ne_bytes([cut[at], cut[at + 1]]));
        let (kind, size, l4, offset) = (cut[1] & !ECN, number(4), number(6), number(8));
        if kind == WHOLE {
            let packet = room.get_mut(..len).ok_or(DropReason::TooLarge)?;
            if cut[0] & NEEDS_CHECKSUM != 0 {
                complete(packet, l4, offset).ok_or(DropReason::Malformed)?;
            }
            return Ok(len);
        }
        let shape = Shape::read(room, kind, l4, size).ok_or(DropReason::Malformed)?;
        if len <= shape.data {
            return Err(DropReason::Malformed);
        }
        let (first, there) = (len.min(shape.data + size), len.min(room.len()));
        if first > room.len() {
            return Err(DropReason::TooLarge);
        }
        let left = room.get(first..there).unwrap_or_default();
        let at = FRONT.checked_sub(left.len()).ok_or(DropReason::TooLarge)?;
        let end = FRONT + len - there;
        self.rest.get_mut(at..FRONT).ok_or(DropReason::TooLarge)?.copy_from_slice(left);
        if end > self.rest.len() {
            return Err(DropReason::TooLarge);
        }
        let (to, from) = (self.head.get_mut(..shape.data), room.get(..shape.data));
        to.zip(from).ok_or(DropReason::Malformed).map(|(to, from)| to.copy_from_slice(from))?;
        if at < end {
            self.cutting = Some(Cutting { shape, at, end, number: 1 });
        }
        let packet = room.get_mut(..first).ok_or(DropReason::TooLarge)?;
        shape.finish(packet, 0, at >= end);
        Ok(first)
    }

    /// Whether there is something left of a large packet.
    #[inline]
    pub const fn has_more(&self) -> bool {
        self.cutting.is_some()
    }

    /// Copies the next packet into `room` and returns its length; `None` when nothing is left, or (a room smaller than
    /// the first one) nothing fits.
    #[inline]
    pub fn next(&mut self, room: &mut [u8]) -> Option<usize> {
        let cutting = self.cutting.take()?;
        let Cutting { shape, at, end, number } = cutting;
        let upto = end.min(at + shape.size);
        let data = self.rest.get(at..upto)?;
        let len = shape.data + data.len();
        let packet = room.get_mut(..len)?;
        let (head, body) = packet.split_at_mut_checked(shape.data)?;
        head.copy_from_slice(self.head.get(..shape.data)?);
        body.copy_from_slice(data);
        shape.finish(packet, number, upto >= end);
        if upto < end {
            self.cutting = Some(Cutting { at: upto, number: number.wrapping_add(1), ..cutting });
        }
        Some(len)
    }
}

impl Shape {
    fn read(packet: &[u8], kind: u8, l4: usize, size: usize) -> Option<Self> {
        let v6 = match packet.first()? >> 4 {
            4 => false,
            6 => true,
            _ => return None,
        };
        let protocol = *packet.get(if v6 { 6 } else { 9 })?;
        let start = if v6 { 40 } else { usize::from(packet.first()? & 0x0f) * 4 };
        let tcp = match kind {
            TCP_V4 if !v6 => true,
            TCP_V6 if v6 => true,
            UDP => false,
            _ => return None,
        };
        if protocol != if tcp { proto::TCP } else { proto::UDP } || start != l4 || l4 < 20 || size == 0 {
            return None;
        }
        let transport = if tcp { usize::from(packet.get(l4 + 12)? >> 4) * 4 } else { 8 };
        let data = l4 + transport;
        (transport >= if tcp { 20 } else { 8 } && data <= HEADER && data <= packet.len()).then_some(Self {
            v6,
            tcp,
            l4,
            data,
            size,
        })
    }

    /// Makes headers of packet `number` true.
    #[inline]
    fn finish(self, packet: &mut [u8], number: u16, last: bool) {
        let whole = packet.len();
        let Some((ip, l4)) = packet.split_at_mut_checked(self.l4) else { return };
        let (src, dst) = if self.v6 {
            put(ip, 4, l4.len() as u16);
            let at = |i: usize| ip.get(i..).and_then(|rest| rest.first_chunk()).copied().unwrap_or_default();
            (IpAddr::V6(Ipv6Addr::from(at(8))), IpAddr::V6(Ipv6Addr::from(at(24))))
        } else {
            put(ip, 2, whole as u16);
            let id = get(ip, 4).wrapping_add(number);
            put(ip, 4, id);
            put(ip, 10, 0);
            let sum = checksum(ip);
            put(ip, 10, sum);
            let at = |i: usize| ip.get(i..).and_then(|rest| rest.first_chunk()).copied().unwrap_or_default();
            (IpAddr::V4(Ipv4Addr::from_octets(at(12))), IpAddr::V4(Ipv4Addr::from_octets(at(16))))
        };
        let (protocol, place) = if self.tcp {
            let ahead = (number as u32).wrapping_mul(self.size as u32);
            let seq = (u32::from(get(l4, 4)) << 16 | u32::from(get(l4, 6))).wrapping_add(ahead);
            put(l4, 4, (seq >> 16) as u16);
            put(l4, 6, seq as u16);
            if let Some(flags) = l4.get_mut(13) {
                *flags &= if last { 0xff } else { !(tcp::FIN | PSH) } & if number == 0 { 0xff } else { !CWR };
            }
            (proto::TCP, 16)
        } else {
            put(l4, 4, l4.len() as u16);
            (proto::UDP, 6)
        };
        put(l4, place, 0);
        let sum = Sum::new().pseudo_header(src, dst, protocol, l4.len()).bytes(l4).finish();
        put(l4, place, if sum == 0 && !self.tcp { 0xffff } else { sum });
    }
}

/// Finishes a checksum that holds the sum of the pseudo-header: everything from `start` on is added.
#[inline]
fn complete(packet: &mut [u8], start: usize, offset: usize) -> Option<()> {
    let covered = packet.get_mut(start..)?;
    let sum = checksum(covered);
    let place = covered.get_mut(offset..)?.first_chunk_mut::<2>()?;
    // Zero would say that there is none; as a sum both are the same.
    *place = if sum == 0 { [0xff; 2] } else { sum.to_be_bytes() };
    Some(())
}

#[inline]
fn get(bytes: &[u8], at: usize) -> u16 {
    bytes.get(at..).and_then(|rest| rest.first_chunk()).map_or(0, |word| u16::from_be_bytes(*word))
}

#[inline]
fn put(bytes: &mut [u8], at: usize, word: u16) {
    if let Some(place) = bytes.get_mut(at..).and_then(|rest| rest.first_chunk_mut()) {
        *place = word.to_be_bytes();
    }
}

#[cfg(test)]
mod tests;
