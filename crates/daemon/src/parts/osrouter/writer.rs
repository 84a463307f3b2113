//! Packets into the TUN: neighbours of one TCP stream or of one UDP flow in one call, where the kernel takes that.
//!
//! Leaves out: what may be merged (`engine::packet::merge`).

use engine::lines::batch::Run;
use engine::packet::merge::Merge;
use router::Tun;
use rustix::io::Errno;
use std::io::IoSlice;

/// Packets in one call at most; an arena holds hardly more large ones.
const MOST: usize = 56;

/// Remembers whether the kernel takes large segments, and large datagrams.
#[derive(Clone)]
pub(super) struct Writer {
    tcp: bool,
    udp: bool,
}

impl Writer {
    /// `able`: the device was opened for it. As in Go, `TS_TUN_DISABLE_TCP_GRO` and `TS_TUN_DISABLE_UDP_GRO` turn it off.
    pub(super) fn new(able: bool) -> Self {
        let wanted = |off| able && !crate::flags::switched_on(off);
        Self { tcp: wanted("TS_TUN_DISABLE_TCP_GRO"), udp: wanted("TS_TUN_DISABLE_UDP_GRO") }
    }

    /// Writes packets in order; how many the kernel took.
    pub(super) fn write(&mut self, tun: &Tun, run: Run<'_>) -> usize {
        let mut packets = run.iter();
        let mut taken = 0;
        let mut next = packets.next();
        let mut group: [&[u8]; MOST] = [&[]; MOST];
        let mut pieces: [&[u8]; MOST] = [&[]; MOST];
        while let Some(first) = next.take() {
            let mut merge = if self.tcp || self.udp { Merge::begin(first) } else { None };
            merge = merge.filter(|merge| if merge.is_udp() { self.udp } else { self.tcp });
            let mut count = 1;
            for packet in packets.by_ref() {
                let joined =
                    merge.as_mut().filter(|_| count < MOST).and_then(|merge| merge.join(first, packet));
                let (Some(piece), Some(at), Some(whole)) =
                    (joined, pieces.get_mut(count), group.get_mut(count))
                else {
                    next = Some(packet);
                    break;
                };
                (*at, *whole) = (piece, packet);
                count += 1;
            }
            taken += match merge.as_mut().filter(|_| count > 1) {
                None => usize::from(tun.write(first).is_ok()),
                Some(merge) => {
                    pieces[0] = first.get(merge.data_at()..).unwrap_or_default();
                    group[0] = first;
                    self.large(
                        tun,
                        merge,
                        pieces.get(..count).unwrap_or_default(),
                        group.get(..count).unwrap_or_default(),
                    )
                }
            };
        }
        taken
    }

    fn large(&mut self, tun: &Tun, merge: &mut Merge, pieces: &[&[u8]], packets: &[&[u8]]) -> usize {
        let (cut, head) = merge.finish();
        let mut slices = [IoSlice::new(&[]); MOST + 2];
        let all = [&cut[..], head].into_iter().chain(pieces.iter().copied());
        for (place, piece) in slices.iter_mut().zip(all) {
            *place = IoSlice::new(piece);
        }
        match tun.write_large(slices.get(..pieces.len() + 2).unwrap_or_default()) {
            Ok(_) => packets.len(),
            Err(Errno::INVAL) => {
                log::info!("the kernel takes no merged packets: writing them one by one");
                *(if merge.is_udp() { &mut self.udp } else { &mut self.tcp }) = false;
                packets.iter().filter(|packet| tun.write(packet).is_ok()).count()
            }
            Err(_) => 0,
        }
    }
}
