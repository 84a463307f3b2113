//! Incoming: authentication, replay, sources, filter, kinds of datagrams.

use super::*;
use crate::packet::tcp::{ACK, SYN};
use proptest::prelude::*;

/// What `a` seals, one datagram a packet.
fn sealed(a: &mut Node, packets: &[Vec<u8>]) -> Vec<Vec<u8>> {
    for packet in packets {
        a.control.inject_tx(packet, Some(slot(2))).expect("room");
    }
    a.turn(NOW);
    a.sent().into_iter().map(|(_, datagram)| datagram).collect()
}

#[test]
fn deny_all_at_the_start() {
    let (mut a, _) = joined();
    let mut b = Node::bare(2, &Limits::default());
    b.control.set_peer(slot(1), facts(1));
    assert!(b.control.install(&agreed(1, 2, 4, NOW).1));
    for datagram in sealed(&mut a, &[echo(1, 2)]) {
        b.receive(1, &datagram);
    }
    b.turn(NOW);
    assert_eq!(b.dropped(DropReason::Acl), 1);
    assert!(b.hosted().is_empty());
}

#[test]
fn replays() {
    let (mut a, mut b) = joined();
    let packets = vec![echo(1, 2); 2100];
    let mut datagrams = Vec::new();
    for part in packets.chunks(200) {
        datagrams.extend(sealed(&mut a, part));
    }
    let feed = |b: &mut Node, at: usize| {
        b.receive(1, &datagrams[at]);
        b.turn(NOW);
        b.hosted().len()
    };
    assert_eq!(feed(&mut b, 0), 1);
    assert_eq!(feed(&mut b, 0), 0, "duplicate");
    assert_eq!(feed(&mut b, 5), 1);
    assert_eq!(feed(&mut b, 3), 1, "late");
    assert_eq!(feed(&mut b, 2099), 1, "far future");
    assert_eq!(feed(&mut b, 1080), 1, "a thousand behind");
    assert_eq!(feed(&mut b, 1080), 0);
    assert_eq!(feed(&mut b, 1), 0, "too old");
    assert_eq!(b.dropped(DropReason::Replay), 3);
}

#[test]
fn a_forged_counter_does_not_move_the_window() {
    let (mut a, mut b) = joined();
    let datagrams = sealed(&mut a, &[echo(1, 2), echo(1, 2)]);
    let mut forged = datagrams[0].clone();
    forged[8..16].copy_from_slice(&(u64::MAX / 2).to_le_bytes());
    b.receive(1, &forged);
    b.receive(1, &datagrams[1]);
    forged[8..16].copy_from_slice(&u64::MAX.to_le_bytes());
    b.receive(1, &forged);
    b.turn(NOW);
    assert_eq!(b.hosted().len(), 1);
    assert_eq!(b.dropped(DropReason::BadTag), 1);
    assert_eq!(b.dropped(DropReason::Expired), 1, "no counter reaches that far");
}

#[test]
fn unknown_and_ended_sessions() {
    let (mut a, mut b) = joined();
    let datagrams = sealed(&mut a, &vec![echo(1, 2); 4]);
    let mut wrong = datagrams[0].clone();
    wrong[7] ^= 1;
    b.receive(1, &wrong);
    b.turn(NOW);
    assert_eq!(b.dropped(DropReason::UnknownSession), 1, "same place, another name");
    b.receive(1, &datagrams[0]);
    b.turn(Tick(NOW.0 + 180_000));
    assert_eq!(b.dropped(DropReason::Expired), 1);
    b.receive(1, &datagrams[1]);
    b.turn(NOW);
    assert_eq!(b.dropped(DropReason::Expired), 2, "for good");
    b.control.retire(0xbbbb_0004);
    b.receive(1, &datagrams[2]);
    b.turn(NOW);
    assert_eq!(b.dropped(DropReason::UnknownSession), 2);
    assert!(b.hosted().is_empty());
    assert_eq!(b.control.keepalive(0xbbbb_0004), Err(DropReason::UnknownSession));
}

#[test]
fn previous_and_next_sessions_both_open() {
    let (mut a, mut b) = joined();
    let old = sealed(&mut a, &[echo(1, 2)]);
    let (for_a, for_b) = agreed(1, 2, 6, NOW);
    assert!(a.control.install(&for_a) && b.control.install(&for_b));
    assert!(!a.control.install(&for_a), "not twice");
    let new = sealed(&mut a, &[echo(1, 2)]);
    b.receive(1, &new[0]);
    b.receive(1, &old[0]);
    b.turn(NOW);
    assert_eq!(b.hosted().len(), 2);
    assert_eq!(b.events(), [LineEvent::FirstData(for_b.local), LineEvent::FirstData(0xbbbb_0004)]);
    // tx of b still sends with the one confirmed.
    b.control.inject_tx(&echo(2, 1), None).expect("room");
    b.turn(NOW);
    assert_eq!(b.sent()[0].1[4..8], 0xaaaa_0004u32.to_le_bytes());
    b.control.confirm(for_b.local);
    b.control.inject_tx(&echo(2, 1), None).expect("room");
    b.turn(NOW);
    assert_eq!(b.sent()[0].1[4..8], for_b.remote.to_le_bytes());
}

#[test]
fn sources_must_be_the_peers() {
    let (mut a, mut b) = joined();
    b.control.set_peer(slot(3), facts(3));
    b.control.publish(snapshot(2, &[1, 3], true));
    for datagram in sealed(&mut a, &[udp(3, 2, 1), udp(9, 2, 1), udp(2, 2, 1), udp(1, 2, 1)]) {
        b.receive(1, &datagram);
    }
    b.turn(NOW);
    assert_eq!(b.dropped(DropReason::BadSource), 3);
    assert_eq!(b.hosted().len(), 1);
}

#[test]
fn filter_and_host() {
    let (mut a, mut b) = joined();
    b.control.publish(snapshot(2, &[1], false));
    let packets = [tcp(1, 2, SYN), tcp(1, 2, ACK), udp(1, 2, 3), tsmp_ping(1, 2), udp(1, 8, 3)];
    for datagram in sealed(&mut a, &packets) {
        b.receive(1, &datagram);
    }
    b.turn(NOW);
    let got = b.hosted();
    let want = [
        (HostKind::Rejected, slot(1), packets[0].clone()),
        (HostKind::Packet, slot(1), packets[1].clone()),
        (HostKind::Tsmp, slot(1), packets[3].clone()),
    ];
    assert_eq!(got, want);
    assert_eq!(b.dropped(DropReason::Acl), 2);
    assert_eq!(b.dropped(DropReason::NotLocal), 1);
}

#[test]
fn answers_to_our_flows_pass() {
    let (mut a, mut b) = joined();
    b.control.publish(snapshot(2, &[1], false));
    let mut question = udp(2, 1, 4);
    question[20..24].copy_from_slice(&[0x08, 0xae, 0x04, 0x57]); // from 2222 to 1111
    b.control.inject_tx(&question, None).expect("room");
    b.turn(NOW);
    for datagram in sealed(&mut a, &[udp(1, 2, 9)]) {
        b.receive(1, &datagram);
    }
    b.turn(NOW);
    assert_eq!(b.hosted().len(), 1);
    // As somebody else, perhaps in another tailnet, we have asked nobody.
    b.control.publish(Snapshot { key: NodePublic::from_bytes([77; 32]), ..snapshot(2, &[1], false) });
    for datagram in sealed(&mut a, &[udp(1, 2, 9)]) {
        b.receive(1, &datagram);
    }
    b.turn(NOW);
    assert_eq!((b.hosted().len(), b.dropped(DropReason::Acl)), (0, 1));
}

#[test]
fn jailed_peers_begin_nothing() {
    let (mut a, mut b) = joined();
    b.control.set_peer(slot(1), PeerFacts { jailed: true, ..facts(1) });
    for datagram in sealed(&mut a, &[udp(1, 2, 1), tcp(1, 2, ACK)]) {
        b.receive(1, &datagram);
    }
    b.turn(NOW);
    assert_eq!(b.dropped(DropReason::Acl), 1);
    assert_eq!(b.hosted().len(), 1);
}

#[test]
fn masquerade_both_ways() {
    let (mut a, mut b) = joined();
    // a knows b as 100.64.0.77.
    a.control.set_peer(slot(2), facts(2));
    let mut known = snapshot(1, &[], true);
    let mut routes = RoutesBuilder::new();
    routes.add(IpNet::from(ip(77)), slot(2));
    known.routes = Arc::new(routes.build());
    a.control.publish(known);
    b.control.set_peer(slot(1), PeerFacts { masq_v4: Some(Ipv4Addr::new(100, 64, 0, 77)), ..facts(1) });
    a.control.inject_tx(&udp(1, 77, 6), None).expect("room");
    a.turn(NOW);
    a.deliver(&mut b);
    b.control.inject_tx(&udp(2, 1, 6), None).expect("room");
    b.turn(NOW);
    b.deliver(&mut a);
    a.turn(NOW);
    assert_eq!(b.hosted(), [(HostKind::Packet, slot(1), udp(1, 2, 6))]);
    assert_eq!(a.hosted(), [(HostKind::Packet, slot(2), udp(77, 1, 6))]);
}

#[test]
fn what_is_not_for_us_goes_to_the_tun() {
    let (mut a, mut b) = joined();
    let mut inside = udp(1, 2, 50);
    inside[16..20].copy_from_slice(&[192, 168, 7, 9]);
    let datagrams = sealed(&mut a, &[inside.clone(), inside.clone()]);
    b.receive(1, &datagrams[0]);
    let mut tun = Tun(Vec::new());
    b.rx.turn_with(NOW, BUDGET, &mut tun, &mut NoUdp);
    assert_eq!(tun.0, [inside]);
    b.receive(1, &datagrams[1]);
    b.turn(NOW);
    assert_eq!(b.dropped(DropReason::NoHost), 1);
}

/// Keeps what a TUN is given.
struct Tun(Vec<Vec<u8>>);

impl TunSink for Tun {
    fn deliver(&mut self, run: batch::Run<'_>) -> usize {
        self.0.extend(run.iter().map(<[u8]>::to_vec));
        run.len()
    }
}

#[test]
fn with_a_tun_our_own_packets_are_its_but_for_pings_of_ours() {
    let (mut a, mut b) = joined();
    b.control.publish(Snapshot { tun: true, ..snapshot(2, &[1], true) });
    let mut reply = Vec::new();
    let answer = Echo { reply: true, id: 1, seq: 2, payload: b"hello" };
    build::icmp_echo(&mut reply, ip(1), ip(2), &answer).expect("builds");
    let packets = [udp(1, 2, 50), echo(1, 2), reply.clone(), tsmp_ping(1, 2)];
    for datagram in sealed(&mut a, &packets) {
        b.receive(1, &datagram);
    }
    let mut tun = Tun(Vec::new());
    b.rx.turn_with(NOW, BUDGET, &mut tun, &mut NoUdp);
    assert_eq!(tun.0, packets[..3]);
    assert_eq!(b.hosted(), [(HostKind::Tsmp, slot(1), packets[3].clone())]);
    // While a ping of the node's waits, it gets replies as well.
    b.control.watch_echo(true);
    for datagram in sealed(&mut a, &packets[1..3]) {
        b.receive(1, &datagram);
    }
    b.rx.turn_with(NOW, BUDGET, &mut tun, &mut NoUdp);
    assert_eq!(tun.0[3..], packets[1..3]);
    assert_eq!(b.hosted(), [(HostKind::Packet, slot(1), reply)]);
}

#[test]
fn both_lines_lower_what_a_connection_offers() {
    let offer = |mss: u16| {
        let mut packet = udp(1, 2, 16);
        (packet[9], packet[32], packet[33]) = (6, 6 << 4, SYN);
        packet[36..38].copy_from_slice(&[0; 2]);
        packet[40..42].copy_from_slice(&[2, 4]);
        packet[42..44].copy_from_slice(&mss.to_be_bytes());
        packet
    };
    let offered = |packet: &[u8]| u16::from_be_bytes([packet[42], packet[43]]);
    for (sender, receiver, got) in
        [(1280, 9000, 1240), (9000, 1280, 1240), (1400, 1400, 1360), (9000, 9000, 1460)]
    {
        let node = |me, mtu| {
            let mut node = Node::bare(me, &Limits { mtu, ..Limits::default() });
            node.control.set_peer(slot(3 - me), facts(3 - me));
            node.control.publish(Snapshot { tun: true, ..snapshot(me, &[3 - me], true) });
            node
        };
        let (mut a, mut b) = (node(1, sender), node(2, receiver));
        let (for_a, for_b) = agreed(1, 2, 4, NOW);
        assert!(a.control.install(&for_a) && b.control.install(&for_b));
        a.control.inject_tx(&offer(1460), None).expect("room");
        a.turn(NOW);
        a.deliver(&mut b);
        let mut tun = Tun(Vec::new());
        b.rx.turn_with(NOW, BUDGET, &mut tun, &mut NoUdp);
        assert_eq!(tun.0.iter().map(|packet| offered(packet)).collect::<Vec<_>>(), [got]);
    }
}

#[test]
fn removed_peers_are_deaf_and_dumb() {
    let (mut a, mut b) = joined();
    let datagrams = sealed(&mut a, &vec![echo(1, 2); 2]);
    b.control.clear_peer(slot(1));
    b.receive(1, &datagrams[0]);
    b.turn(NOW);
    assert_eq!(b.dropped(DropReason::UnknownSession), 1);
    assert!(b.control.activity(slot(1)).is_none());
    // A successor in the same place is not taken for it.
    b.control.set_peer(PeerSlot::new(1, 2), facts(1));
    assert!(!b.control.install(&agreed(1, 2, 4, NOW).1));
    b.control.inject_tx(&echo(2, 1), None).expect("room");
    b.turn(NOW);
    assert_eq!(b.dropped(DropReason::UnknownPeer), 1);
}

#[test]
fn handshakes_and_disco_are_told_apart() {
    use keys::NodePrivate;
    let mut b = Node::new(2, &[1]);
    let me = NodePrivate::from_bytes([5; 32]);
    b.control.publish(Snapshot { key: me.public(), ..snapshot(2, &[1], true) });
    let mut initiation = vec![0; 148];
    initiation[0] = 1;
    b.receive(1, &initiation);
    let mut cookie = vec![0; 64];
    cookie[0] = 3;
    b.receive(1, &cookie);
    let mut disco = demux::DISCO_MAGIC.to_vec();
    disco.resize(80, 1);
    b.receive(1, &disco);
    b.turn(NOW);
    assert_eq!(b.dropped(DropReason::BadMac), 1);
    let from = Source::Derp { region: 900, peer: key(1) };
    assert_eq!(b.control.next_disco(), Some((from, &disco[..])));
    assert_eq!(b.control.next_disco(), None);
    assert_eq!(b.control.next_handshake(), Some((from, &cookie[..])));
    assert_eq!(b.control.next_handshake(), None);
}

#[test]
fn cookie_replies_leave_room_for_handshakes() {
    use crate::kind::is_cookie_reply;
    use crate::mac1::{MAC1_LABEL, hash, mac};
    let mut b = Node::new(2, &[1]);
    let mut cookie = vec![0; 64];
    cookie[0] = 3;
    for _ in 0..100 {
        b.receive(1, &cookie);
    }
    let mut response = vec![0; 92];
    response[0] = 2;
    let mac1 = mac(&hash(&[MAC1_LABEL, key(2).as_bytes()]), &[&response[..60]]).expect("a key");
    response[60..76].copy_from_slice(&mac1);
    b.receive(1, &response);
    b.turn(NOW);
    let mut kinds = [0, 0];
    while let Some((_, message)) = b.control.next_handshake() {
        kinds[usize::from(is_cookie_reply(message))] += 1;
    }
    assert_eq!(kinds[0], 1);
    assert_eq!(b.dropped(DropReason::RingFull) + kinds[1], 100);
}

#[test]
fn full_host_ring() {
    let (mut a, _) = joined();
    let mut b = Node::bare(2, &Limits { host: 256, ..Limits::default() });
    b.control.set_peer(slot(1), facts(1));
    b.control.publish(snapshot(2, &[1], true));
    assert!(b.control.install(&agreed(1, 2, 4, NOW).1));
    for datagram in sealed(&mut a, &vec![udp(1, 2, 84); 4]) {
        b.receive(1, &datagram);
    }
    b.turn(NOW);
    assert_eq!(b.hosted().len(), 2);
    assert_eq!(b.dropped(DropReason::RingFull), 2);
}

#[test]
fn datagrams_of_every_length() {
    let (mut a, mut b) = joined();
    let good = sealed(&mut a, &[udp(1, 2, 100)]).remove(0);
    for start in [&[][..], &[1, 0, 0, 0], &[2, 0, 0, 0], &[3, 0, 0, 0], &[4, 0, 0, 0], &good[..16]] {
        for len in 0..300 {
            let mut datagram = start.to_vec();
            datagram.resize(len, 0x5a);
            b.receive(1, &datagram);
            if len % 50 == 0 {
                b.turn(NOW);
            }
        }
        b.turn(NOW);
    }
    for len in 0..good.len() {
        b.receive(1, &good[..len]);
    }
    b.turn(NOW);
    assert!(b.hosted().is_empty());
    assert_eq!(b.events(), []);
    b.receive(1, &good);
    b.turn(NOW);
    assert_eq!(b.hosted().len(), 1);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Whatever a peer seals, nothing panics and only what belongs to it comes out.
    #[test]
    fn any_plaintext(mut text in proptest::collection::vec(any::<u8>(), 0..120), v4: bool, len: u8) {
        let (_, mut b) = joined();
        if v4 && text.len() >= 20 {
            text[0] = 0x45;
            text[2..4].copy_from_slice(&u16::from(len).to_be_bytes());
        }
        // Straight to the seal: tx would refuse most of it.
        let mut session = seal::SendSession::new(&agreed(1, 2, 4, NOW).0);
        let mut batch = batch::Batch::to_seal(4096, 4);
        batch.room(text.len()).expect("room").copy_from_slice(&text);
        batch.commit(text.len(), 0, 0);
        let (arena, packets) = batch.parts();
        prop_assert_eq!(session.seal_batch(arena, packets, 1280), 1);
        let datagram = batch.bytes(batch.packets()[0]).to_vec();
        b.receive(1, &datagram);
        b.turn(NOW);
        for (_, from, bytes) in b.hosted() {
            prop_assert_eq!(from, slot(1));
            prop_assert_eq!(&bytes[12..16], &[100, 64, 0, 1][..]);
        }
    }

    #[test]
    fn any_datagram(datagram in proptest::collection::vec(any::<u8>(), 0..400)) {
        let (_, mut b) = joined();
        b.receive(1, &datagram);
        b.turn(NOW);
        prop_assert!(b.hosted().is_empty());
    }
}

/// Datagrams that lie ready on a socket, handed out in slots of 2 KiB.
struct Socket(std::collections::VecDeque<(SocketAddr, Vec<u8>)>);

impl Socket {
    fn new(from: &str, datagrams: &[Vec<u8>]) -> Self {
        let from: SocketAddr = from.parse().expect("address");
        Self(datagrams.iter().map(|datagram| (from, datagram.clone())).collect())
    }
}

impl UdpSource for Socket {
    fn receive(
        &mut self,
        arena: &mut [u8],
        most: usize,
        arrivals: &mut Vec<Arrival>,
        _: &DropCounters,
    ) -> bool {
        for (n, slot) in arena.chunks_exact_mut(2048).take(most).enumerate() {
            let Some((from, datagram)) = self.0.pop_front() else { return false };
            slot[..datagram.len()].copy_from_slice(&datagram);
            arrivals.push(Arrival { start: n as u32 * 2048, len: datagram.len() as u32, from });
        }
        !self.0.is_empty()
    }
}

#[test]
fn datagrams_from_sockets() {
    let (mut a, mut b) = joined();
    let packets: Vec<_> = (0..70).map(|n| udp(1, 2, n * 5)).collect();
    let mut datagrams = sealed(&mut a, &packets);
    // Between them, whatever else may come to a port.
    datagrams.insert(3, [&demux::DISCO_MAGIC[..], &[0; 80]].concat());
    datagrams.insert(9, [&[1, 1, 0, 12, 0x21, 0x12, 0xa4, 0x42][..], &[0; 40]].concat());
    datagrams.insert(20, vec![0; 1400]);
    datagrams.insert(21, Vec::new());
    let mut initiation = vec![0; 148];
    initiation[0] = 1;
    datagrams.insert(22, initiation);
    datagrams.push(datagrams[0].clone());
    let mut socket = Socket::new("192.0.2.1:41641", &datagrams);
    // A budget that ends in the middle.
    let report = b.rx.turn_with(NOW, 10, &mut NoTun, &mut socket);
    assert!(report.more && report.packets >= 10);
    let report = b.rx.turn_with(NOW, BUDGET, &mut NoTun, &mut socket);
    assert!(!report.more);
    assert_eq!(b.hosted().into_iter().map(|(_, _, packet)| packet).collect::<Vec<_>>(), packets);
    let from = Source::Udp("192.0.2.1:41641".parse().expect("addr"));
    assert_eq!(b.control.next_disco(), Some((from, &datagrams[3][..])));
    assert_eq!(b.control.next_stun(), Some((from, &datagrams[9][..])));
    for reason in [DropReason::Malformed, DropReason::TooShort, DropReason::BadMac] {
        assert_eq!(b.dropped(reason), 1, "{reason:?}");
    }
    assert_eq!(b.dropped(DropReason::Replay), 1);
}

#[test]
fn what_was_told_before_a_datagram_was_received_is_known_when_it_is_opened() {
    /// Tells rx of the session while it receives the first packet on it.
    struct Late<'a>(&'a mut Control, Socket);
    impl UdpSource for Late<'_> {
        fn receive(
            &mut self,
            arena: &mut [u8],
            most: usize,
            arrivals: &mut Vec<Arrival>,
            drops: &DropCounters,
        ) -> bool {
            self.0.install(&agreed(1, 2, 4, NOW).1);
            self.1.receive(arena, most, arrivals, drops)
        }
    }
    let (mut a, _) = joined();
    let mut b = Node::new(2, &[1]);
    let datagrams = sealed(&mut a, &[echo(1, 2)]);
    let mut late = Late(&mut b.control, Socket::new("192.0.2.1:41641", &datagrams));
    b.rx.turn_with(NOW, BUDGET, &mut NoTun, &mut late);
    assert_eq!(b.hosted().len(), 1);
}

#[test]
fn datagrams_that_are_all_too_large_do_not_keep_the_line_from_its_commands() {
    /// Always more, and never anything that can be read.
    struct Flood(u32);
    impl UdpSource for Flood {
        fn receive(&mut self, _: &mut [u8], _: usize, _: &mut Vec<Arrival>, _: &DropCounters) -> bool {
            self.0 += 1;
            assert!(self.0 <= BUDGET, "the turn does not end");
            true
        }
    }
    let (_, mut b) = joined();
    assert!(b.rx.turn_with(NOW, BUDGET, &mut NoTun, &mut Flood(0)).more, "the rest is for the next turn");
}

#[test]
fn only_a_peer_that_may_move_is_followed() {
    let (mut a, mut b) = joined();
    let hear = |a: &mut Node, b: &mut Node, from: &str, spoil: bool| {
        let mut datagrams = sealed(a, &[echo(1, 2), echo(1, 2)]);
        if spoil {
            datagrams.iter_mut().for_each(|datagram| datagram[20] ^= 1);
        }
        b.rx.turn_with(NOW, BUDGET, &mut NoTun, &mut Socket::new(from, &datagrams));
        b.events().into_iter().filter(|event| matches!(event, LineEvent::Moved(..))).collect::<Vec<_>>()
    };
    assert_eq!(hear(&mut a, &mut b, "192.0.2.1:1", false), []);
    b.control.set_peer(slot(1), PeerFacts { roams: true, ..facts(1) });
    let moved = |at: &str| [LineEvent::Moved(slot(1), at.parse().expect("address"))];
    assert_eq!(hear(&mut a, &mut b, "192.0.2.1:1", false), moved("192.0.2.1:1"), "told once");
    assert_eq!(hear(&mut a, &mut b, "192.0.2.1:1", false), []);
    assert_eq!(hear(&mut a, &mut b, "192.0.2.66:6", true), [], "not what only claims to be the peer");
    assert_eq!(hear(&mut a, &mut b, "[2001:db8::1]:2", false), moved("[2001:db8::1]:2"));
    // Through a relay it has no address.
    for datagram in sealed(&mut a, &[echo(1, 2)]) {
        b.receive(1, &datagram);
    }
    b.turn(NOW);
    assert!(!b.events().iter().any(|event| matches!(event, LineEvent::Moved(..))));
}
