//! The service as a machine meets it: datagrams made by hand, TCP spoken by another smoltcp.

use crate::cut::cut;
use crate::device::{Card, Outgoing};
use crate::quad100::{Back, Quad100, Query};
use datapath::drop::DropReason;
use datapath::packet::build::{self, Echo};
use datapath::packet::{Parsed, icmp, proto, tcp};
use datapath::time::Mono;
use proptest::prelude::*;
use smoltcp::iface::{Config, Interface, SocketHandle, SocketSet};
use smoltcp::socket::tcp::{Socket, SocketBuffer, State};
use smoltcp::time::Instant;
use smoltcp::wire::{HardwareAddress, IpCidr};
use std::net::{IpAddr, SocketAddr};

const SERVICE: &str = "100.100.100.100";
const SERVICE_V6: &str = "fd7a:115c:a1e0::53";

fn ip(text: &str) -> IpAddr {
    text.parse().expect("an address")
}

fn at(text: &str, port: u16) -> SocketAddr {
    SocketAddr::new(ip(text), port)
}

fn service() -> Quad100 {
    Quad100::new(&[ip(SERVICE), ip(SERVICE_V6)], 1280, 7)
}

fn taken(service: &mut Quad100) -> Vec<Vec<u8>> {
    std::iter::from_fn(|| service.next_packet()).collect()
}

/// Answers every query with what `answer` makes of it.
fn serve(service: &mut Quad100, answer: impl Fn(&Query) -> Option<Vec<u8>>) -> usize {
    let mut count = 0;
    while let Some(query) = service.next_query() {
        let bytes = answer(&query);
        service.answer(query.back, bytes.as_deref());
        count += 1;
    }
    count
}

/// A machine that speaks TCP.
struct Client {
    interface: Interface,
    sockets: SocketSet<'static>,
    out: Outgoing,
    now: Mono,
    port: u16,
}

fn instant(now: Mono) -> Instant {
    Instant::from_micros((now.as_nanos() / 1000) as i64)
}

impl Client {
    fn new() -> Self {
        let mut out = Outgoing::default();
        let mut card = Card { incoming: None, out: &mut out, mtu: 1280 };
        let mut interface = Interface::new(Config::new(HardwareAddress::Ip), &mut card, instant(Mono::ZERO));
        interface.update_ip_addrs(|addresses| {
            for own in ["100.64.0.1", "fd7a:115c:a1e0::1"] {
                addresses.push(IpCidr::new(ip(own).into(), 0)).expect("room");
            }
        });
        Self { interface, sockets: SocketSet::new(Vec::new()), out, now: Mono::from_millis(1), port: 2000 }
    }

    fn connect(&mut self, to: SocketAddr) -> SocketHandle {
        let mut socket = Socket::new(SocketBuffer::new(vec![0; 9000]), SocketBuffer::new(vec![0; 90_000]));
        self.port += 1;
        socket.connect(self.interface.context(), to, self.port).expect("connects");
        self.sockets.add(socket)
    }

    fn socket(&mut self, handle: SocketHandle) -> &mut Socket<'static> {
        self.sockets.get_mut(handle)
    }

    /// Lets packets go to and fro until nobody has anything to say.
    fn talk(&mut self, service: &mut Quad100, answer: &dyn Fn(&Query) -> Option<Vec<u8>>) {
        for _ in 0..10_000 {
            let mut card = Card { incoming: None, out: &mut self.out, mtu: 1280 };
            self.interface.poll(instant(self.now), &mut card, &mut self.sockets);
            let mut moved = false;
            while let Some(packet) = self.out.pop() {
                moved = true;
                let _ = service.handle(&packet, self.now);
            }
            service.poll(self.now);
            moved |= serve(service, answer) > 0;
            service.poll(self.now);
            for packet in taken(service) {
                moved = true;
                Parsed::parse(&packet).expect("a packet");
                assert!(packet.len() <= 1280, "{}", packet.len());
                let mut card = Card { incoming: Some(&packet), out: &mut self.out, mtu: 1280 };
                self.interface.poll_ingress_single(instant(self.now), &mut card, &mut self.sockets);
            }
            if !moved {
                return;
            }
            self.now = Mono::from_nanos(self.now.as_nanos() + 20_000_000);
        }
        panic!("they never fall silent");
    }

    fn received(&mut self, handle: SocketHandle) -> Vec<u8> {
        let socket = self.socket(handle);
        let mut all = Vec::new();
        while let Ok(bytes) = socket.recv(|bytes| (bytes.len(), bytes.to_vec())) {
            if bytes.is_empty() {
                break;
            }
            all.extend(bytes);
        }
        all
    }
}

fn framed(bytes: &[u8]) -> Vec<u8> {
    [&(bytes.len() as u16).to_be_bytes()[..], bytes].concat()
}

fn echoed(query: &Query) -> Option<Vec<u8>> {
    Some(query.bytes.clone())
}

#[test]
fn datagrams_of_both_families_are_answered() {
    for (us, them) in [(SERVICE, "100.64.0.1"), (SERVICE_V6, "fd7a:115c:a1e0::1")] {
        let mut service = service();
        let mut packet = Vec::new();
        build::udp(&mut packet, at(them, 999), at(us, 53), b"query").expect("builds");
        service.handle(&packet, Mono::ZERO).expect("taken");
        let query = service.next_query().expect("a query");
        assert_eq!((query.bytes.as_slice(), query.from), (&b"query"[..], at(them, 999)));
        assert!(!query.back.is_stream() && service.next_query().is_none());
        service.answer(query.back, Some(b"answer"));
        let mut wanted = Vec::new();
        build::udp(&mut wanted, at(us, 53), at(them, 999), b"answer").expect("builds");
        assert_eq!(taken(&mut service), [wanted]);
    }
}

/// A guest of the machine has links of its own: what does not fit into a packet that every link carries may be cut by
/// routers, or says that it was cut.
#[test]
fn long_answers_reach_guests() {
    let query = [&[0xab, 0xcd, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0][..], b"\x03www\x03lab\0\0\x10\0\x01"].concat();
    let mut answer = query.clone();
    (answer[2], answer[3], answer[7]) = (0x81, 0x80, 9);
    for (us, them, head) in [(SERVICE, "100.64.0.1", 28), (SERVICE_V6, "fd7a:115c:a1e0::1", 48)] {
        let mut service = service();
        let mut ask = |length: usize| {
            let mut packet = Vec::new();
            build::udp(&mut packet, at(them, 999), at(us, 53), &query).expect("builds");
            service.handle(&packet, Mono::ZERO).expect("taken");
            answer.resize(length, 7);
            serve(&mut service, |_| Some(answer.clone()));
            let [packet] = taken(&mut service).try_into().expect("one packet");
            (packet, answer.clone())
        };
        let (packet, answer) = ask(1280 - head);
        let mut plain = Vec::new();
        build::udp(&mut plain, at(us, 53), at(them, 999), &answer).expect("builds");
        assert_eq!(packet, plain);
        let mut numbers = Vec::new();
        for length in [1281 - head, 4095] {
            let (packet, answer) = ask(length);
            let parsed = Parsed::parse(&packet).expect("a packet");
            let payload = &parsed.transport(&packet)[8..];
            if head == 28 {
                assert_eq!(packet[6..8], [0, 0], "routers may cut it");
                assert_eq!(datapath::packet::checksum::checksum(&packet[..20]), 0);
                assert_eq!(payload, answer);
                numbers.push([packet[4], packet[5]]);
            } else {
                let mut wanted = query.clone();
                (wanted[2], wanted[3]) = (0x83, 0x80);
                assert_eq!(payload, wanted, "it says that it was cut");
            }
        }
        assert!(head == 48 || (numbers[0] != numbers[1] && !numbers.contains(&[0, 0])));
    }
}

/// Whatever an answer says, what is left of it is a header with at most one question.
#[test]
fn answers_that_cannot_be_read_are_cut_to_their_header() {
    let whole = [&[1, 2, 0x80, 0, 0, 1, 0, 9, 0, 0, 0, 1][..], b"\x03www\0\0\x10\0\x01", &[7; 90]].concat();
    assert_eq!(
        cut(&whole).expect("cut")[..],
        [&[1, 2, 0x82, 0, 0, 1, 0, 0, 0, 0, 0, 0], &whole[12..21]].concat()
    );
    let bare = Some(vec![1, 2, 0x82, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
    for (at, byte) in [(5, 0), (5, 2), (4, 1), (12, 0xc0), (12, 99), (16, 63)] {
        let mut odd = whole[..40].to_vec();
        odd[at] = byte;
        assert_eq!(cut(&odd), bare, "{at} {byte}");
    }
    assert_eq!(cut(&whole[..20]), bare);
    assert_eq!(cut(&whole[..11]), None);
}

#[test]
fn pings_are_answered_and_everything_else_is_refused() {
    let mut service = service();
    let (us, them) = (SERVICE_V6, "fd7a:115c:a1e0::1");
    let mut packet = Vec::new();
    let ping = Echo { reply: false, id: 3, seq: 4, payload: b"hello" };
    build::icmp_echo(&mut packet, ip(them), ip(us), &ping).expect("builds");
    service.handle(&packet, Mono::ZERO).expect("taken");
    let [pong] = &taken(&mut service)[..] else { panic!("one answer") };
    let parsed = Parsed::parse(pong).expect("a packet");
    assert_eq!((parsed.src, parsed.dst), (ip(us), ip(them)));
    assert_eq!(Echo::parse(&parsed, pong), Some(Echo { reply: true, ..ping }));

    build::udp(&mut packet, at(them, 999), at(us, 54), b"query").expect("builds");
    service.handle(&packet, Mono::ZERO).expect("taken");
    let [refusal] = &taken(&mut service)[..] else { panic!("one answer") };
    assert_eq!(Parsed::parse(refusal).expect("a packet").icmp_type, icmp::V6_UNREACHABLE);

    for (port, flags) in [(80, tcp::SYN), (53, tcp::ACK)] {
        build::tcp_segment(&mut packet, at(them, 999), at(us, port), (5, 6), flags, &[]).expect("builds");
        service.handle(&packet, Mono::ZERO).expect("taken");
        let [reset] = &taken(&mut service)[..] else { panic!("one answer") };
        assert!(Parsed::parse(reset).expect("a packet").tcp_flags & tcp::RST != 0);
    }
    build::udp(&mut packet, at(us, 53), at(us, 53), b"query").expect("builds");
    assert_eq!(service.handle(&packet, Mono::ZERO), Err(DropReason::NotLocal), "ourselves");
    build::udp(&mut packet, at(them, 53), at(them, 53), b"query").expect("builds");
    assert_eq!(service.handle(&packet, Mono::ZERO), Err(DropReason::NotLocal), "not ours");
    assert!(service.poll_timeout(Mono::ZERO).is_none());
}

#[test]
fn streams_carry_many_queries_and_long_answers() {
    for us in [SERVICE, SERVICE_V6] {
        let (mut service, mut client) = (service(), Client::new());
        let handle = client.connect(at(us, 53));
        client.talk(&mut service, &echoed);
        assert_eq!(client.socket(handle).state(), State::Established);
        // Several at once, cut anywhere.
        let queries: Vec<u8> = (1..60_u16).flat_map(|n| framed(&vec![n as u8; usize::from(n) * 7])).collect();
        let mut got = Vec::new();
        for piece in queries.chunks(501) {
            client.socket(handle).send_slice(piece).expect("room");
            client.talk(&mut service, &echoed);
            got.extend(client.received(handle));
        }
        assert_eq!(got, queries);
        // An answer that is longer than all buffers.
        client.socket(handle).send_slice(&framed(b"long")).expect("room");
        let mut got = Vec::new();
        for _ in 0..40 {
            client.talk(&mut service, &|_| Some(vec![9; 65_535]));
            got.extend(client.received(handle));
        }
        assert_eq!(got, framed(&vec![9; 65_535]));
        client.socket(handle).close();
        client.talk(&mut service, &echoed);
        assert_eq!(client.socket(handle).state(), State::TimeWait);
        assert!(service.poll_timeout(client.now).is_none(), "nothing is left of it");
    }
}

#[test]
fn who_has_said_all_is_answered_and_closed() {
    let (mut service, mut client) = (service(), Client::new());
    let handle = client.connect(at(SERVICE, 53));
    client.socket(handle).send_slice(&framed(b"last")).unwrap_or_default();
    client.talk(&mut service, &echoed);
    client.socket(handle).send_slice(&framed(b"last")).expect("room");
    client.socket(handle).close();
    client.talk(&mut service, &echoed);
    assert!(client.received(handle).ends_with(&framed(b"last")));
    assert_eq!(client.socket(handle).state(), State::TimeWait);
}

#[test]
fn who_asks_nothing_or_nonsense_is_thrown_out() {
    let (mut service, mut client) = (service(), Client::new());
    for bad in [[0, 0], [0x10, 0x01]] {
        let handle = client.connect(at(SERVICE, 53));
        client.talk(&mut service, &echoed);
        client.socket(handle).send_slice(&bad).expect("room");
        client.talk(&mut service, &echoed);
        assert_eq!(client.socket(handle).state(), State::Closed);
    }
    let handle = client.connect(at(SERVICE, 53));
    client.talk(&mut service, &echoed);
    let due = service.poll_timeout(client.now).expect("idle time");
    assert!(due.since(client.now).as_secs() >= 44);
    client.now = due;
    client.talk(&mut service, &echoed);
    assert_eq!(client.socket(handle).state(), State::Closed);
    assert!(service.poll_timeout(client.now).is_none());
}

#[test]
fn a_client_that_vanishes_is_forgotten() {
    // In the middle of a conversation, and after its own goodbye, which ours is never acknowledged.
    for closes in [false, true] {
        let (mut service, mut client) = (service(), Client::new());
        let handle = client.connect(at(SERVICE, 53));
        client.talk(&mut service, &echoed);
        client.socket(handle).send_slice(&framed(b"query")).expect("room");
        if closes {
            client.socket(handle).close();
        }
        let mut card = Card { incoming: None, out: &mut client.out, mtu: 1280 };
        client.interface.poll(instant(client.now), &mut card, &mut client.sockets);
        while let Some(packet) = client.out.pop() {
            service.handle(&packet, client.now).expect("taken");
        }
        service.poll(client.now);
        assert_eq!(serve(&mut service, echoed), 1);
        let mut rounds = 0;
        let mut now = client.now;
        service.poll(now);
        while let Some(due) = service.poll_timeout(now) {
            assert!(due > now || rounds < 50, "it never waits");
            (now, rounds) = (due, rounds + 1);
            service.poll(now);
            taken(&mut service);
        }
        assert!(now.since(client.now).as_secs() <= 46, "{:?}", now.since(client.now));
    }
}

/// What comes of all that the client has said: whom an answer is owed.
fn asked(service: &mut Quad100, client: &mut Client) -> Vec<Back> {
    let mut backs: Vec<Back> = Vec::new();
    for _ in 0..20 {
        let mut card = Card { incoming: None, out: &mut client.out, mtu: 1280 };
        client.interface.poll(instant(client.now), &mut card, &mut client.sockets);
        while let Some(packet) = client.out.pop() {
            let _ = service.handle(&packet, client.now);
        }
        service.poll(client.now);
        backs.extend(std::iter::from_fn(|| service.next_query()).map(|query| query.back));
        taken(service);
    }
    backs
}

#[test]
fn connections_and_queries_are_bounded() {
    let (mut service, mut client) = (service(), Client::new());
    let handles: Vec<_> = (0..40).map(|_| client.connect(at(SERVICE, 53))).collect();
    client.talk(&mut service, &echoed);
    let open = handles.iter().filter(|h| client.sockets.get::<Socket<'_>>(**h).is_active()).count();
    assert_eq!(open, 32, "the others are refused");
    // Nobody answers: queries of one connection stop at sixteen, all of them at 512.
    for handle in &handles[..32] {
        let many: Vec<u8> = (0..40).flat_map(|_| framed(b"query")).collect();
        client.socket(*handle).send_slice(&many).expect("room");
    }
    let backs = asked(&mut service, &mut client);
    assert_eq!(backs.len(), 512);
    let mut packet = Vec::new();
    build::udp(&mut packet, at("100.64.0.1", 999), at(SERVICE, 53), b"query").expect("builds");
    assert_eq!(service.handle(&packet, client.now), Err(DropReason::RingFull));
    service.answer(backs[0], None);
    service.handle(&packet, client.now).expect("a place is free");
}

/// Whoever takes no answers is owed sixteen of 64 KiB on every connection before the first one comes.
#[test]
fn answers_that_nobody_takes_are_bounded() {
    for length in [65_535, 60_000, 10_000] {
        let (mut service, mut client) = (service(), Client::new());
        let handles: Vec<_> = (0..32).map(|_| client.connect(at(SERVICE, 53))).collect();
        client.talk(&mut service, &echoed);
        for handle in &handles {
            client.socket(*handle).send_slice(&framed(b"query").repeat(16)).expect("room");
        }
        let backs = asked(&mut service, &mut client);
        assert_eq!(backs.len(), 512);
        let mut most = 0;
        for (count, back) in backs.into_iter().enumerate() {
            service.answer(back, Some(&vec![7; length]));
            if count % 5 == 0 {
                service.poll(client.now);
                taken(&mut service);
            }
            most = most.max(service.waiting());
        }
        assert!(most <= 32 * (128 << 10) + 32 * 4, "{most} bytes of answers of {length}");
    }
    // Who takes what comes is sent one of the longest behind another.
    let (mut service, mut client) = (service(), Client::new());
    let handle = client.connect(at(SERVICE, 53));
    client.talk(&mut service, &echoed);
    client.socket(handle).send_slice(&framed(b"query").repeat(2)).expect("room");
    let mut got = Vec::new();
    for _ in 0..80 {
        client.talk(&mut service, &|_| Some(vec![9; 65_535]));
        got.extend(client.received(handle));
    }
    assert_eq!(got, framed(&vec![9; 65_535]).repeat(2));
    assert_eq!(service.waiting(), 0);
}

#[test]
fn a_query_must_be_whole_in_time() {
    let (mut service, mut client) = (service(), Client::new());
    let handle = client.connect(at(SERVICE, 53));
    client.talk(&mut service, &echoed);
    let mut after = |seconds: u64, bytes: &[u8]| {
        client.now = Mono::from_nanos(client.now.as_nanos() + seconds * 1_000_000_000);
        client.talk(&mut service, &echoed);
        let _ = client.socket(handle).send_slice(bytes);
        client.talk(&mut service, &echoed);
        (client.socket(handle).state() == State::Established, client.received(handle))
    };
    let query = framed(b"query");
    // In time, and then the time begins anew.
    assert_eq!(after(44, &query[..2]), (true, Vec::new()));
    assert_eq!(after(43, &query[2..]), (true, query.clone()));
    assert_eq!(after(43, &query[..1]), (true, Vec::new()));
    assert_eq!(after(22, &query[1..2]), (true, Vec::new()));
    assert_eq!(after(21, &query[2..3]), (true, Vec::new()));
    assert_eq!(after(2, &query[3..4]), (false, Vec::new()));
}

proptest! {
    /// Whatever comes: no panic, and nothing but answers to whoever it came from.
    #[test]
    fn any_packet_does_no_harm(
        packets in proptest::collection::vec(
            (any::<bool>(), 0u8..6, any::<u16>(), proptest::collection::vec(any::<u8>(), 0..120)), 1..40),
    ) {
        let mut service = service();
        let mut now = Mono::ZERO;
        for (v6, kind, step, bytes) in packets {
            let (us, them) =
                if v6 { (SERVICE_V6, "fd7a:115c:a1e0::1") } else { (SERVICE, "100.64.0.1") };
            let mut packet = Vec::new();
            let (from, to) = (at(them, 999), at(us, 53));
            match kind {
                0 => build::udp(&mut packet, from, to, &bytes).expect("builds"),
                1..=3 => {
                    let flags = [tcp::SYN, tcp::ACK, tcp::ACK | tcp::FIN][usize::from(kind) - 1];
                    build::tcp_segment(&mut packet, from, to, (u32::from(step), 0), flags, &bytes).expect("builds");
                }
                // A TCP header of any kind, with a right checksum now and then.
                4 => {
                    build::tcp_segment(&mut packet, from, to, (1, 1), tcp::SYN, &bytes).expect("builds");
                    let at = packet.len() - bytes.len() - 20;
                    for (place, byte) in packet[at + 4..].iter_mut().zip(&bytes) {
                        *place = *byte;
                    }
                }
                _ => packet = bytes,
            }
            let _ = service.handle(&packet, now);
            serve(&mut service, echoed);
            service.poll(now);
            for packet in taken(&mut service) {
                let parsed = Parsed::parse(&packet).expect("a packet");
                prop_assert_eq!((parsed.src, parsed.dst), (ip(us), ip(them)));
                prop_assert!([proto::TCP, proto::UDP, proto::ICMP, proto::ICMPV6].contains(&parsed.proto));
            }
            now = Mono::from_nanos(now.as_nanos() + u64::from(step) * 1_000_000);
            service.poll(now);
            taken(&mut service);
            let _ = service.poll_timeout(now);
        }
    }
}
