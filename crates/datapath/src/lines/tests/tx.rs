//! Outgoing: deny-all, routing, staging, expiry, paths.

use super::*;

#[test]
fn nothing_passes_before_the_first_snapshot_nor_while_stopped() {
    let mut a = Node::bare(1, &Limits::default());
    a.control.set_peer(slot(2), facts(2));
    let (for_a, _) = agreed(1, 2, 4, NOW);
    assert!(a.control.install(&for_a));
    a.control.inject_tx(&echo(1, 2), None).expect("room");
    a.turn(NOW);
    assert_eq!(a.dropped(DropReason::Acl), 1);
    a.control.publish(Snapshot { running: false, ..snapshot(1, &[2], true) });
    a.control.inject_tx(&echo(1, 2), Some(slot(2))).expect("room");
    a.turn(NOW);
    assert_eq!(a.dropped(DropReason::Acl), 2);
    assert!(a.sent().is_empty());
    a.control.publish(snapshot(1, &[2], true));
    a.control.inject_tx(&echo(1, 2), None).expect("room");
    a.turn(NOW);
    assert_eq!(a.sent().len(), 1);
}

#[test]
fn each_destination_gets_its_own_in_order() {
    let mut a = Node::new(1, &[2, 3, 4]);
    for n in 2..=4 {
        let (for_a, _) = agreed(1, n, u32::from(n) * 2, NOW);
        assert!(a.control.install(&for_a));
    }
    for round in 0..5usize {
        for n in 2..=4 {
            a.control.inject_tx(&udp(1, n, round), None).expect("room");
        }
    }
    a.control.inject_tx(&udp(1, 9, 0), None).expect("room");
    a.turn(NOW);
    assert_eq!(a.dropped(DropReason::NoRoute), 1);
    let sent = a.sent();
    assert_eq!(sent.len(), 15);
    for (run, n) in sent.chunks(5).zip(2u8..) {
        for (counter, (to, datagram)) in run.iter().enumerate() {
            assert_eq!(*to, key(n));
            assert_eq!(datagram[8..16], (counter as u64).to_le_bytes());
            assert_eq!(datagram.len() % 16, 0);
        }
    }
}

#[test]
fn responder_waits_for_the_first_packet_and_staged_ones_follow() {
    let (mut a, mut b) = (Node::new(1, &[2]), Node::new(2, &[1]));
    let (for_a, for_b) = agreed(1, 2, 4, NOW);
    assert!(b.control.install(&for_b));
    b.control.inject_tx(&echo(2, 1), None).expect("room");
    b.turn(NOW);
    assert!(b.sent().is_empty(), "not confirmed");
    assert_eq!(b.events(), [LineEvent::NeedHandshake(slot(1))]);

    a.control.inject_tx(&echo(1, 2), None).expect("room");
    a.turn(NOW);
    assert_eq!(a.events(), [LineEvent::NeedHandshake(slot(2))]);
    assert!(a.control.install(&for_a));
    a.control.keepalive(for_a.local).expect("room");
    a.turn(NOW);
    let datagrams = a.deliver(&mut b);
    assert_eq!(datagrams.len(), 2, "the staged packet and a keepalive");
    assert_eq!(datagrams[1].len(), 32);
    b.turn(NOW);
    assert_eq!(b.events(), [LineEvent::FirstData(for_b.local)]);
    assert_eq!(b.hosted().len(), 1);
    b.control.confirm(for_b.local);
    b.turn(NOW);
    b.deliver(&mut a);
    a.turn(NOW);
    assert_eq!(a.hosted().len(), 1, "what b had staged");
    assert_eq!(a.events(), [LineEvent::FirstData(for_a.local)]);
    // Later packets are no news.
    b.control.inject_tx(&echo(2, 1), None).expect("room");
    b.turn(NOW);
    b.deliver(&mut a);
    a.turn(NOW);
    assert_eq!(a.events(), []);
}

#[test]
fn staging_keeps_the_newest_of_each_peer() {
    let (mut a, mut b) = (Node::new(1, &[2]), Node::new(2, &[1]));
    for len in 0..40 {
        a.control.inject_tx(&udp(1, 2, len), None).expect("room");
    }
    a.turn(NOW);
    assert_eq!(a.dropped(DropReason::Staging), 8);
    assert_eq!(a.events(), [LineEvent::NeedHandshake(slot(2))], "asked once");
    a.control.inject_tx(&udp(1, 2, 40), None).expect("room");
    a.turn(Tick(NOW.0 + 4_000));
    assert_eq!(a.events(), []);
    a.control.inject_tx(&udp(1, 2, 41), None).expect("room");
    a.turn(Tick(NOW.0 + 5_000));
    assert_eq!(a.events(), [LineEvent::NeedHandshake(slot(2))], "asked again");
    let (for_a, for_b) = agreed(1, 2, 4, NOW);
    assert!(a.control.install(&for_a) && b.control.install(&for_b));
    a.turn(NOW);
    a.deliver(&mut b);
    b.turn(NOW);
    let lens: Vec<usize> = b.hosted().iter().map(|(_, _, bytes)| bytes.len() - 28).collect();
    assert_eq!(lens, (10..42).collect::<Vec<_>>());
}

#[test]
fn staging_is_bounded_in_all_and_oldest_goes_first() {
    let limits = Limits { staging: 4096, ..Limits::default() };
    let mut a = Node::bare(1, &limits);
    let peers: Vec<u8> = (2..10).collect();
    peers.iter().for_each(|&n| a.control.set_peer(slot(n), facts(n)));
    a.control.publish(snapshot(1, &peers, true));
    for round in 0..3 {
        for &n in &peers {
            a.control.inject_tx(&udp(1, n, 900 + round), None).expect("room");
        }
    }
    a.turn(NOW);
    // Four packets of four chunks each fit.
    assert_eq!(a.dropped(DropReason::Staging), 20);
    for &n in &peers {
        let (for_a, _) = agreed(1, n, u32::from(n) * 2, NOW);
        assert!(a.control.install(&for_a));
    }
    a.turn(NOW);
    let to: Vec<NodePublic> = a.sent().into_iter().map(|(to, _)| to).collect();
    assert_eq!(to, [6, 7, 8, 9].map(key));
}

#[test]
fn who_fills_the_store_loses_what_is_its_own() {
    let limits = Limits { staging: 4096, staged_per_peer: 3, ..Limits::default() };
    let mut a = Node::bare(1, &limits);
    [2, 3].iter().for_each(|&n| a.control.set_peer(slot(n), facts(n)));
    a.control.publish(snapshot(1, &[2, 3], true));
    for n in [2, 3, 3, 3, 3, 3] {
        a.control.inject_tx(&udp(1, n, 900), None).expect("room");
    }
    a.turn(NOW);
    assert_eq!(a.dropped(DropReason::Staging), 2);
    assert!(a.control.install(&agreed(1, 2, 4, NOW).0));
    a.turn(NOW);
    assert_eq!(a.sent().len(), 1, "what had waited longest");
}

#[test]
fn padding_does_not_make_a_datagram_longer_than_the_mtu_has_it() {
    let mut session = seal::SendSession::new(&agreed(1, 2, 4, NOW).0);
    let mut sealed = |len: usize, mtu: u16| {
        let mut batch = batch::Batch::to_seal(4096, 4);
        batch.room(len).expect("room").fill(7);
        batch.commit(len, 0, 0);
        let (arena, packets) = batch.parts();
        assert_eq!(session.seal_batch(arena, packets, mtu), 1);
        packets[0].len as usize - 32
    };
    for (len, mtu, padded) in [
        (1420, 1420, 1420),
        (1410, 1420, 1420),
        (1400, 1420, 1408),
        (1265, 1280, 1280),
        (0, 1280, 0),
        (1500, 1420, 1500),
    ] {
        assert_eq!(sealed(len, mtu), padded, "{len} of {mtu}");
    }
}

#[test]
fn what_waits_goes_with_its_peer_or_by_order() {
    let mut a = Node::new(1, &[2, 3]);
    for n in [2, 3] {
        a.control.inject_tx(&udp(1, n, 5), None).expect("room");
    }
    a.turn(NOW);
    a.control.clear_peer(slot(2));
    a.control.drop_staged(slot(3));
    a.turn(NOW);
    assert_eq!(a.dropped(DropReason::Staging), 2);
    assert_eq!(a.events().len(), 2);
    a.control.inject_tx(&udp(1, 3, 5), None).expect("room");
    a.control.inject_tx(&udp(1, 2, 5), None).expect("room");
    a.turn(NOW);
    assert_eq!(a.events(), [LineEvent::NeedHandshake(slot(3))], "asks anew at once");
    assert_eq!(a.dropped(DropReason::UnknownPeer), 1);
}

#[test]
fn what_waits_is_not_sent_once_stopped() {
    let mut a = Node::new(1, &[2]);
    a.control.inject_tx(&echo(1, 2), None).expect("room");
    a.turn(NOW);
    a.control.publish(Snapshot { running: false, ..snapshot(1, &[2], true) });
    assert!(a.control.install(&agreed(1, 2, 4, NOW).0));
    a.turn(NOW);
    assert!(a.sent().is_empty());
    assert_eq!(a.dropped(DropReason::Staging), 1);
}

#[test]
fn a_session_ends_by_itself() {
    let (mut a, _) = joined();
    a.control.inject_tx(&echo(1, 2), None).expect("room");
    a.turn(Tick(NOW.0 + 174_999));
    assert_eq!(a.sent().len(), 1);
    a.control.inject_tx(&echo(1, 2), None).expect("room");
    a.turn(Tick(NOW.0 + 175_000));
    assert!(a.sent().is_empty());
    assert_eq!(a.events(), [LineEvent::NeedHandshake(slot(2))]);
    let local = 0xaaaa_0004;
    a.control.keepalive(local).expect("room");
    a.turn(NOW);
    assert_eq!(a.dropped(DropReason::Expired), 1, "a clock that goes back does not revive it");
}

#[test]
fn paths() {
    struct Wire(Vec<(SocketAddr, usize)>);
    impl UdpSink for Wire {
        fn send(&mut self, to: SocketAddr, run: batch::Run<'_>, _: &DropCounters) -> usize {
            self.0.push((to, run.iter().map(<[u8]>::len).sum()));
            run.len()
        }
    }
    let (mut a, _) = joined();
    a.control.set_path(slot(2), Path::None, false);
    a.control.inject_tx(&echo(1, 2), None).expect("room");
    a.turn(NOW);
    assert_eq!(a.dropped(DropReason::NoPath), 1);
    let to: SocketAddr = "192.0.2.7:41641".parse().expect("address");
    a.control.set_path(slot(2), Path::Udp(to), false);
    for _ in 0..3 {
        a.control.inject_tx(&echo(1, 2), None).expect("room");
    }
    let mut wire = Wire(Vec::new());
    a.tx.turn_with(NOW, BUDGET, &mut NoTun, &mut wire);
    assert_eq!(wire.0, [(to, 3 * (16 + 48 + 16))]);
    a.control.inject_tx(&echo(1, 2), None).expect("room");
    a.turn(NOW);
    assert_eq!(a.dropped(DropReason::NoPath), 2, "no sockets here");
    // New facts keep the session.
    a.control.set_peer(slot(2), facts(2));
    a.control.inject_tx(&echo(1, 2), None).expect("room");
    a.turn(NOW);
    assert_eq!(a.sent().len(), 1);
}

/// Packets that lie ready in a TUN.
struct Ready(std::collections::VecDeque<Vec<u8>>);

impl TunSource for Ready {
    fn largest(&self) -> usize {
        1280
    }

    fn read(&mut self, room: &mut [u8]) -> Option<usize> {
        let packet = self.0.pop_front()?;
        room[..packet.len()].copy_from_slice(&packet);
        Some(packet.len())
    }
}

#[test]
fn packets_of_a_tun_follow_the_injected_ones() {
    let (mut a, mut b) = joined();
    let packets: Vec<_> = (0..100).map(|n| udp(1, 2, n * 2)).collect();
    let mut tun = Ready(packets[1..].to_vec().into());
    a.control.inject_tx(&packets[0], None).expect("room");
    let report = a.tx.turn_with(NOW, 40, &mut tun, &mut NoUdp);
    assert_eq!((report.packets, report.more), (40, true));
    let report = a.tx.turn_with(NOW, BUDGET, &mut tun, &mut NoUdp);
    assert_eq!((report.packets, report.more), (60, false));
    a.deliver(&mut b);
    b.turn(NOW);
    let got: Vec<_> = b.hosted().into_iter().map(|(_, _, bytes)| bytes).collect();
    assert!(got == packets, "{} of {}", got.len(), packets.len());
}

/// Large packets of so many packets each.
struct Large(std::collections::VecDeque<usize>, usize);

impl TunSource for Large {
    fn largest(&self) -> usize {
        1280
    }

    fn read(&mut self, room: &mut [u8]) -> Option<usize> {
        if self.1 == 0 {
            self.1 = self.0.pop_front()?;
        }
        self.1 -= 1;
        let packet = udp(1, 2, 1252);
        room[..packet.len()].copy_from_slice(&packet);
        Some(packet.len())
    }

    fn in_large(&self) -> bool {
        self.1 > 0
    }
}

/// Whatever the budget: a large packet is never torn, and only small ones share a call.
#[test]
fn the_packets_of_a_large_one_leave_together() {
    struct Wire(Vec<usize>);
    impl UdpSink for Wire {
        fn send(&mut self, _: SocketAddr, run: batch::Run<'_>, _: &DropCounters) -> usize {
            self.0.push(run.len());
            run.len()
        }
    }
    let (mut a, _) = joined();
    a.control.set_path(slot(2), Path::Udp("192.0.2.7:41641".parse().expect("address")), false);
    let mut tun = Large([49, 49, 17, 3, 3, 1, 1, 1, 48, 1, 1, 20, 49].into(), 0);
    let mut wire = Wire(Vec::new());
    while a.tx.turn_with(NOW, 40, &mut tun, &mut wire).more {}
    // What small ones leave of the arena may not take the next large one: only that tears.
    assert_eq!(wire.0[..3], [49, 49, 17]);
    assert_eq!(wire.0.iter().sum::<usize>(), 243);
    assert_eq!(wire.0.last(), Some(&49));
}

#[test]
fn what_a_tun_may_not_send() {
    let (mut a, _) = joined();
    let mut to_ourselves = udp(9, 1, 3);
    to_ourselves[12] = 192;
    let mut tun = Ready(vec![tsmp_ping(1, 2), vec![], to_ourselves, udp(1, 9, 3), vec![0x45; 1280]].into());
    a.tx.turn_with(NOW, BUDGET, &mut tun, &mut NoUdp);
    assert!(a.sent().is_empty());
    assert_eq!(a.dropped(DropReason::HostTsmp), 1);
    assert_eq!(a.dropped(DropReason::NoRoute), 2, "our own address, and nobody's");
    assert_eq!(a.dropped(DropReason::TooShort) + a.dropped(DropReason::Malformed), 2);
    a.control.inject_tx(&tsmp_ping(1, 2), None).expect("room");
    a.turn(NOW);
    assert_eq!(a.sent().len(), 1, "the node itself may");
}

#[test]
fn full_rings_drop_the_new_and_count() {
    let limits = Limits { inject: 1024, derp_out: 512, ..Limits::default() };
    let mut a = Node::bare(1, &limits);
    a.control.set_peer(slot(2), facts(2));
    a.control.publish(snapshot(1, &[2], true));
    assert!(a.control.install(&agreed(1, 2, 4, NOW).0));
    for _ in 0..11 {
        a.control.inject_tx(&udp(1, 2, 44), None).expect("88 bytes each");
    }
    assert_eq!(a.control.inject_tx(&udp(1, 2, 44), None), Err(DropReason::RingFull));
    assert_eq!(a.dropped(DropReason::RingFull), 1);
    a.turn(NOW);
    // Each takes 16 of head, 32 of key, 112 of datagram.
    assert_eq!(a.sent().len(), 3);
    assert_eq!(a.dropped(DropReason::RingFull), 1 + 8);
}

#[test]
fn bad_packets_from_inside() {
    let (mut a, _) = joined();
    let mut link_local = udp(1, 2, 5);
    link_local[16..20].copy_from_slice(&[169, 254, 1, 1]);
    for packet in [&[][..], &[0x45; 19], &[0x75; 40], &link_local] {
        a.control.inject_tx(packet, None).expect("room");
    }
    a.control.inject_tx(&echo(1, 2), Some(PeerSlot::new(2, 2))).expect("room");
    a.turn(NOW);
    assert!(a.sent().is_empty());
    assert_eq!(a.dropped(DropReason::TooShort), 2);
    assert_eq!(a.dropped(DropReason::Malformed), 1);
    assert_eq!(a.dropped(DropReason::LinkLocal), 1);
    assert_eq!(a.dropped(DropReason::UnknownPeer), 1, "another generation");
    let mut small = Node::bare(1, &Limits { tx_arena: 48 << 10, ..Limits::default() });
    small.control.inject_tx(&vec![0x45; 60_000], None).expect("room");
    small.turn(NOW);
    assert_eq!(small.dropped(DropReason::TooLarge), 1);
}

#[test]
fn a_burst_of_commands_waits_and_arrives() {
    let mut a = Node::bare(1, &Limits { commands: 4, ..Limits::default() });
    let peers: Vec<u8> = (2..200).collect();
    peers.iter().for_each(|&n| a.control.set_peer(slot(n), facts(n)));
    a.control.publish(snapshot(1, &[2], false));
    a.control.publish(snapshot(1, &peers, true));
    a.settle(NOW);
    assert_eq!(a.control.waiting(), 0);
    for &n in &peers {
        a.control.inject_tx(&udp(1, n, 1), None).expect("room");
    }
    a.turn(NOW);
    assert_eq!(a.dropped(DropReason::UnknownPeer) + a.dropped(DropReason::NoRoute), 0);
}

#[test]
fn what_waits_for_room_needs_nobody_to_come_by_chance() {
    // Many peers go at once and one comes: nothing but the lines themselves can say that there is room again.
    let (mut a, mut b) = joined();
    let crowd = |n| PeerSlot::new(n, 1);
    (300..1300).for_each(|n| a.control.set_peer(crowd(n), facts(3)));
    a.control.publish(snapshot(1, &[2], true));
    a.settle(NOW);
    (300..1300).for_each(|n| a.control.clear_peer(crowd(n)));
    a.control.publish(Snapshot { running: false, ..snapshot(1, &[], true) });
    assert!(a.control.waiting() > 1500);
    a.control.set_peer(slot(4), facts(4));
    a.control.publish(snapshot(1, &[2, 4], true));
    a.settle(NOW);
    assert_eq!(a.control.waiting(), 0);
    a.control.inject_tx(&udp(1, 2, 7), None).expect("room");
    a.settle(NOW);
    a.deliver(&mut b);
    b.settle(NOW);
    assert_eq!(b.hosted().len(), 1);
    // The other line, too, goes by what was published last.
    b.control.inject_tx(&udp(2, 1, 7), None).expect("room");
    b.settle(NOW);
    b.deliver(&mut a);
    a.settle(NOW);
    assert_eq!(a.hosted().len(), 1);
}

#[test]
fn budget_ends_a_turn() {
    let (mut a, _) = joined();
    for _ in 0..10 {
        a.control.inject_tx(&echo(1, 2), None).expect("room");
    }
    assert!(a.control.wants_wake_tx());
    assert!(!a.control.wants_wake_tx());
    // By a relay, which control serves.
    let relayed = TurnReport { wake_control: true, relayed: true, ..TurnReport::default() };
    assert_eq!(a.tx.turn(NOW, 4), TurnReport { packets: 4, more: true, ..relayed });
    assert_eq!(a.tx.turn(NOW, 6), TurnReport { packets: 6, ..relayed });
    assert_eq!(a.tx.turn(NOW, 6), TurnReport::default());
}

#[test]
fn rx_is_woken_before_it_misses_a_flow() {
    let (mut a, _) = joined();
    let room = Limits::default().announcements;
    let mut opened = 0u16;
    let mut open = |a: &mut Node, count: usize| {
        for _ in 0..count {
            let mut packet = udp(1, 2, 8);
            opened += 1;
            packet[20..22].copy_from_slice(&(20_000 + opened).to_be_bytes());
            a.control.inject_tx(&packet, None).expect("room");
        }
        a.tx.turn(NOW, BUDGET).wake_rx
    };
    assert!(!open(&mut a, 3), "a few are taken with their answers");
    assert!(open(&mut a, room / 2));
    a.rx.turn(NOW, BUDGET);
    assert!(!open(&mut a, 3), "taken");
}
