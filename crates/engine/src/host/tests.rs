//! Two responders talking, and what must stay unanswered.

use super::*;
use crate::packet::{icmp, tcp};
use proptest::prelude::*;
use std::net::SocketAddr;
use std::time::Duration;

fn ip(text: &str) -> IpAddr {
    text.parse().expect("an address")
}

fn node(addresses: &[&str]) -> Responder {
    let mut node = Responder::new([addresses.len() as u8; 16]);
    node.apply(addresses.iter().map(|a| (ip(a), 0)).collect());
    node
}

fn us() -> Responder {
    node(&["100.64.0.1", "fd7a::1"])
}

fn them() -> Responder {
    node(&["100.64.0.2", "fd7a::2"])
}

const PAIRS: [(&str, &str); 2] = [("100.64.0.1", "100.64.0.2"), ("fd7a::1", "fd7a::2")];

fn reply_to(node: &mut Responder, packet: &[u8]) -> Option<Vec<u8>> {
    match node.handle(packet, Mono::ZERO) {
        Reaction::Reply(packet) => Some(packet),
        Reaction::Nothing => None,
        Reaction::Answer(answer) => panic!("an answer: {answer:?}"),
    }
}

fn ping<'a>(kind: PingKind, src: &str, dst: &str, payload: &'a [u8]) -> Ping<'a> {
    Ping { kind, src: ip(src), dst: ip(dst), payload, timeout: Duration::from_secs(5) }
}

#[test]
fn pings_come_back() {
    let payload: Vec<u8> = (0..1232).map(|n| n as u8).collect();
    for (src, dst) in PAIRS {
        for (kind, payload) in [(PingKind::Tsmp, &[][..]), (PingKind::Icmp, &payload), (PingKind::Icmp, &[])]
        {
            let (mut us, mut them) = (us(), them());
            them.apply(vec![(ip(dst), 4242)]);
            let (id, packet) = us.start_ping(&ping(kind, src, dst, payload), Mono::ZERO).expect("starts");
            assert!(packet.len() <= 1280);
            let padded = [&packet[..], &[0; 15]].concat();
            let back = reply_to(&mut them, &padded).expect("a reply");
            let later = Mono::from_millis(7);
            let peerapi_port = if kind == PingKind::Tsmp { 4242 } else { 0 };
            let rtt = Duration::from_millis(7);
            let answer = PingAnswer { id, kind, from: ip(dst), rtt, peerapi_port, payload: payload.to_vec() };
            assert_eq!(us.handle(&back, later), Reaction::Answer(answer));
            assert_eq!(us.handle(&back, later), Reaction::Nothing, "an answer counts once");
            assert_eq!(us.poll_timeout(), None);
        }
    }
}

#[test]
fn tsmp_pings_of_what_we_route_are_answered() {
    let (src, service) = ("100.64.0.1", "100.99.99.99");
    let (mut us, mut them) = (us(), them());
    for (kind, answered) in [(PingKind::Tsmp, true), (PingKind::Icmp, false)] {
        let (_, packet) = us.start_ping(&ping(kind, src, service, b""), Mono::ZERO).expect("starts");
        let back = reply_to(&mut them, &packet);
        assert_eq!(back.is_some(), answered, "{kind:?}");
        let Some(back) = back else { continue };
        let Reaction::Answer(answer) = us.handle(&back, Mono::ZERO) else { panic!("no answer") };
        assert_eq!((answer.from, answer.peerapi_port), (ip(service), 0));
        assert_eq!(reply_to(&mut them, &back), None, "a pong to elsewhere is not ours");
    }
}

#[test]
fn answers_must_fit() {
    let (mut us, mut them) = (us(), them());
    let (_, packet) =
        us.start_ping(&ping(PingKind::Icmp, PAIRS[0].0, PAIRS[0].1, b"data"), Mono::ZERO).expect("starts");
    assert!(us.awaits_icmp());
    let back = reply_to(&mut them, &packet).expect("a reply");
    let echo = Echo::parse(&Parsed::parse(&back).expect("parses"), &back).expect("an echo");
    let mut forged = Vec::new();
    for (src, changed) in [
        ("100.64.0.3", echo),
        ("100.64.0.2", Echo { id: echo.id ^ 1, ..echo }),
        ("100.64.0.2", Echo { seq: echo.seq ^ 1, ..echo }),
        ("100.64.0.2", Echo { payload: b"date", ..echo }),
        ("100.64.0.2", Echo { payload: b"dat", ..echo }),
    ] {
        build::icmp_echo(&mut forged, ip(src), ip("100.64.0.1"), &changed).expect("fits");
        assert_eq!(us.handle(&forged, Mono::ZERO), Reaction::Nothing, "{src} {changed:?}");
    }
    assert!(matches!(us.handle(&back, Mono::ZERO), Reaction::Answer(_)));
    let (_, packet) =
        us.start_ping(&ping(PingKind::Tsmp, PAIRS[0].0, PAIRS[0].1, b""), Mono::ZERO).expect("starts");
    let mut back = reply_to(&mut them, &packet).expect("a pong");
    assert!(!us.awaits_icmp());
    back[25] ^= 1;
    assert_eq!(us.handle(&back, Mono::ZERO), Reaction::Nothing);
}

#[test]
fn pings_are_bounded_and_give_up() {
    let mut us = us();
    let tsmp = ping(PingKind::Tsmp, PAIRS[0].0, PAIRS[0].1, b"");
    for ms in 0..64 {
        us.start_ping(&tsmp, Mono::from_millis(ms)).expect("starts");
    }
    assert_eq!(us.start_ping(&tsmp, Mono::ZERO), Err(PingError::TooMany));
    assert_eq!(us.poll_timeout(), Some(Mono::from_millis(5000)));
    assert_eq!(us.poll_expired(Mono::from_millis(4999)), None);
    let gone = std::iter::from_fn(|| us.poll_expired(Mono::from_millis(5031))).count();
    assert_eq!((gone, us.poll_timeout()), (32, Some(Mono::from_millis(5032))));
    let big = [0; 1253];
    assert_eq!(
        us.start_ping(&ping(PingKind::Icmp, PAIRS[0].0, PAIRS[0].1, &big), Mono::ZERO),
        Err(PingError::TooLarge(1281))
    );
    let mixed = ping(PingKind::Icmp, PAIRS[0].0, PAIRS[1].1, b"");
    assert!(matches!(us.start_ping(&mixed, Mono::ZERO), Err(PingError::MixedFamilies(..))));
    let (id, _) = us.start_ping(&tsmp, Mono::from_millis(9000)).expect("there is room again");
    us.cancel_ping(id);
    assert_eq!(us.poll_timeout(), Some(Mono::from_millis(5032)));
}

#[test]
fn closed_ports_refuse() {
    for (src, dst) in PAIRS {
        let (src, dst) = (SocketAddr::new(ip(dst), 4000), SocketAddr::new(ip(src), 80));
        let mut packet = Vec::new();
        build::tcp_segment(&mut packet, src, dst, (9, 0), tcp::SYN, b"").expect("fits");
        let back = reply_to(&mut us(), &packet).expect("a reset");
        let parsed = Parsed::parse(&back).expect("parses");
        assert_eq!((parsed.tcp_flags, parsed.dst_port), (tcp::RST | tcp::ACK, 4000));
        assert_eq!(reply_to(&mut them(), &back), None, "a reset is not answered");

        build::udp(&mut packet, src, dst, b"hello").expect("fits");
        let back = reply_to(&mut us(), &packet).expect("unreachable");
        let parsed = Parsed::parse(&back).expect("parses");
        assert!(parsed.is_icmp_error());
        assert!(matches!(parsed.icmp_type, icmp::V4_UNREACHABLE | icmp::V6_UNREACHABLE));
        assert_eq!(reply_to(&mut them(), &back), None, "an error is not answered");
    }
}

#[test]
fn errors_are_limited() {
    let mut us = us();
    let (src, dst) = (SocketAddr::new(ip("100.64.0.2"), 4000), SocketAddr::new(ip("100.64.0.1"), 80));
    let mut packet = Vec::new();
    build::udp(&mut packet, src, dst, b"hello").expect("fits");
    assert_eq!((0..500).filter(|_| reply_to(&mut us, &packet).is_some()).count(), ERRORS as usize);
}

#[test]
fn what_stays_unanswered() {
    let (peer, me) = (SocketAddr::new(ip("100.64.0.2"), 4000), SocketAddr::new(ip("100.64.0.1"), 80));
    let mut packet = Vec::new();
    build::udp(&mut packet, peer, SocketAddr::new(ip("100.64.0.9"), 80), b"x").expect("fits");
    assert_eq!(reply_to(&mut us(), &packet), None, "not for us");
    build::udp(&mut packet, me, me, b"x").expect("fits");
    assert_eq!(reply_to(&mut us(), &packet), None, "from ourselves");
    for src in ["224.0.0.1", "255.255.255.255", "0.0.0.0", "127.0.0.1"] {
        build::udp(&mut packet, SocketAddr::new(ip(src), 1), me, b"x").expect("fits");
        assert_eq!(reply_to(&mut us(), &packet), None, "{src}");
    }
    build::udp(&mut packet, peer, me, &[0; 200]).expect("fits");
    packet[6] = 0x20;
    assert_eq!(reply_to(&mut us(), &packet), None, "a first fragment");
    packet[7] = 20;
    assert_eq!(reply_to(&mut us(), &packet), None, "a later fragment");
    let echo = Echo { reply: false, id: 1, seq: 1, payload: b"x" };
    build::icmp_echo(&mut packet, peer.ip(), me.ip(), &echo).expect("fits");
    *packet.last_mut().expect("a byte") ^= 1;
    assert_eq!(reply_to(&mut us(), &packet), None, "damaged");
    assert_eq!(us().handle(&[], Mono::ZERO), Reaction::Nothing);
}

#[test]
fn refusals_are_told() {
    let mut packet = Vec::new();
    let (peer, me) = (SocketAddr::new(ip("100.64.0.2"), 4000), SocketAddr::new(ip("100.64.0.1"), 80));
    build::tcp_segment(&mut packet, peer, me, (9, 0), tcp::SYN, b"").expect("fits");
    let parsed = Parsed::parse(&packet).expect("parses");
    for (shields_up, reason) in [(false, b'A'), (true, b'S')] {
        let refused = Refused::of(&parsed, shields_up).expect("worth an answer");
        let told = us().refuse(&refused, Mono::ZERO).expect("a message");
        let head = Parsed::parse(&told).expect("parses");
        assert_eq!((head.src, head.dst), (me.ip(), peer.ip()));
        assert_eq!(head.transport(&told), [b'!', 6, reason, 15, 160, 0, 80]);
        assert_eq!(reply_to(&mut them(), &told), None);
    }
    assert_eq!(Refused::of(&Parsed { tcp_flags: tcp::SYN | tcp::ACK, ..parsed }, false), None);
    let (v6, mut us) = (SocketAddr::new(ip("fd7a::1"), 1), us());
    build::tcp_segment(&mut packet, v6, v6, (9, 0), tcp::SYN, b"").expect("fits");
    assert_eq!(Refused::of(&Parsed::parse(&packet).expect("parses"), false), None, "IPv4 only");
    let refused = Refused::of(&parsed, false).expect("worth an answer");
    assert_eq!((0..500).filter(|_| us.refuse(&refused, Mono::ZERO).is_some()).count(), REJECTS as usize);
}

proptest! {
    #[test]
    fn any_packet(mut bytes in prop::collection::vec(any::<u8>(), 28..120), proto in prop::sample::select(vec![1u8, 6, 17, 99])) {
        let len = bytes.len() as u8;
        bytes[..4].copy_from_slice(&[0x45, 0, 0, len]);
        bytes[6..8].fill(0);
        bytes[9] = proto;
        bytes[16..20].copy_from_slice(&[100, 64, 0, 1]);
        let src = IpAddr::from([bytes[12], bytes[13], bytes[14], bytes[15]]);
        if let Reaction::Reply(packet) = us().handle(&bytes, Mono::ZERO) {
            let parsed = Parsed::parse(&packet).expect("we send what parses");
            prop_assert_eq!((parsed.src, parsed.dst), (ip("100.64.0.1"), src));
            let mut peer = Responder::new([0; 16]);
            peer.apply(vec![(src, 0)]);
            let again = peer.handle(&packet, Mono::ZERO);
            prop_assert!(matches!(again, Reaction::Nothing), "an answer was answered: {:?}", again);
        }
    }
}
