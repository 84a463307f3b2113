//! Forwarding through sockets: upstreams made of memory in time that does not pass, and one on loopback.

mod common;

use common::Asked as Question;
use common::world::{Lie, World, answer, asked, question};
use dns::Transport;
use dns::forward::{Asked, Datagrams, Forwarded, Forwarder, Net, Pending, Stream, send};
use dns::message;
use hickory_proto::op::{Message, ResponseCode};
use hickory_proto::rr::RecordType;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;
use tokio::time::{Instant, sleep};

/// Runs one query; answers code, milliseconds, bytes, and who was asked how.
async fn run(upstream: &str, world: World, transport: Transport) -> (ResponseCode, u64, usize, String, u32) {
    let asked_log = Rc::clone(&world.asked);
    let open = Rc::clone(&world.open);
    let forwarder = Forwarder::new(world, true);
    let begun = Instant::now();
    let Forwarded { reply, .. } =
        forwarder.forward(asked(upstream, &question(), transport)).await.expect("forwarded");
    let took = begun.elapsed().as_millis() as u64;
    assert_eq!(message::id(&reply), 0xabcd, "the asker's own number");
    assert!(asked_log.borrow().iter().all(|(_, id)| *id != 0xabcd), "a number of its own");
    assert_eq!(open.get(), 0, "every socket is closed");
    let code = ResponseCode::from(0, message::code(&reply));
    let how = asked_log.borrow().iter().map(|(how, _)| *how).collect::<Vec<_>>().join(" ");
    (code, took, reply.len(), how, forwarder.counters().foreign.load(Relaxed))
}

const OK: ResponseCode = ResponseCode::NoError;
const FAIL: ResponseCode = ResponseCode::ServFail;
const PLAIN: &str = "192.0.2.1";

#[tokio::test(start_paused = true)]
async fn by_the_table() {
    use Lie::*;
    let size = question().len();
    let some = |script: &[(u64, Lie)]| Some(script.to_vec());
    let table = [
        // Upstream, UDP, TCP, HTTPS; code, time, bytes, who was asked, foreign answers.
        (PLAIN, some(&[(20, Nothing)]), None, None, (OK, 20, size, "udp", 0)),
        // Who guesses is counted, and the answer is still waited for.
        (
            PLAIN,
            some(&[
                (1, WrongId),
                (1, WrongName),
                (1, WrongKind),
                (1, NoResponse),
                (1, Cut(11)),
                (20, Nothing),
            ]),
            None,
            None,
            (OK, 20, size, "udp", 5),
        ),
        // Who guesses without end closes the socket.
        (PLAIN, Some(vec![(1, WrongId); 40]), some(&[(30, Nothing)]), None, (OK, 31, size, "udp tcp", 16)),
        (PLAIN, some(&[]), some(&[(30, Nothing)]), None, (OK, 2030, size, "udp tcp", 0)),
        (PLAIN, None, some(&[(30, Nothing)]), None, (OK, 30, size, "udp tcp", 0)),
        (PLAIN, some(&[]), some(&[(30, WrongId)]), None, (FAIL, 10_000, size, "udp tcp", 1)),
        (PLAIN, None, None, None, (FAIL, 0, size, "udp tcp", 0)),
        (PLAIN, some(&[(5, ServFail)]), None, None, (FAIL, 5, size, "udp", 0)),
        // Larger than the asker takes, and than what is passed on.
        (PLAIN, some(&[(5, Large(6000))]), None, None, (OK, 5, size, "udp", 0)),
        // A provider: HTTPS has half a second, unless it fails.
        ("8.8.8.8", some(&[(20, Nothing)]), None, some(&[(300, Nothing)]), (OK, 300, size, "https", 0)),
        ("8.8.8.8", some(&[(20, Nothing)]), None, some(&[(800, Nothing)]), (OK, 520, size, "https udp", 0)),
        ("8.8.8.8", some(&[(20, Nothing)]), None, None, (OK, 20, size, "https udp", 0)),
        ("8.8.8.8", some(&[(20, Nothing)]), None, some(&[(7, WrongName)]), (OK, 27, size, "https udp", 1)),
        // An exit node.
        ("http://100.64.0.1:4/dns-query", None, None, some(&[(9, Nothing)]), (OK, 9, size, "http", 0)),
        ("http://100.64.0.1:4/dns-query", None, None, None, (FAIL, 0, size, "http", 0)),
        ("tls://192.0.2.1", None, None, None, (FAIL, 0, size, "", 0)),
        // A provider of nothing but HTTPS that is silent.
        (
            "https://dns.nextdns.io/ab",
            some(&[(1, Nothing)]),
            None,
            some(&[]),
            (FAIL, 10_000, size, "https", 0),
        ),
        ("https://dns.nextdns.io/ab", some(&[(1, Nothing)]), None, None, (FAIL, 0, size, "https", 0)),
    ];
    for (upstream, udp, tcp, https, (code, time, bytes, how, foreign)) in table {
        let context = format!("{upstream} {udp:?} {tcp:?} {https:?}");
        let world = World { udp, tcp, https, ..World::default() };
        let ended = run(upstream, world, Transport::Udp).await;
        assert_eq!(ended, (code, time, bytes, how.to_owned(), foreign), "{context}");
    }
}

#[tokio::test(start_paused = true)]
async fn by_tcp_the_whole_answer_comes() {
    let world = || World {
        udp: Some(vec![(5, Lie::Truncated)]),
        tcp: Some(vec![(30, Lie::Large(20_000))]),
        ..World::default()
    };
    let size = question().len();
    assert_eq!(run(PLAIN, world(), Transport::Tcp).await, (OK, 30, size + 20_000, "udp tcp".into(), 0));
    assert_eq!(run(PLAIN, world(), Transport::Udp).await, (OK, 5, size, "udp".into(), 0));
}

#[tokio::test(start_paused = true)]
async fn what_the_asker_cannot_take_is_marked() {
    let world = || World { udp: Some(vec![(5, Lie::Large(900))]), ..World::default() };
    for (query, cut) in [
        (question(), true),
        (Question::new("x.example.", RecordType::A).with_size(600), true),
        (Question::new("x.example.", RecordType::A).with_size(1232), false),
        (Question::new("x.example.", RecordType::A).with_size(65535), false),
    ] {
        let forwarder = Forwarder::new(world(), true);
        let reply = forwarder.forward(asked(PLAIN, &query, Transport::Udp)).await.expect("forwarded").reply;
        assert_eq!(message::flags(&reply) & message::flag::TRUNCATED != 0, cut);
        if cut {
            let edns = Message::from_vec(&reply).expect("reads").edns;
            assert_eq!(edns.map(|edns| edns.max_payload()), (message::size(&query) == 600).then_some(4095));
        } else {
            assert_eq!(message::size(&reply[..query.len()]), message::size(&query).min(4095));
        }
    }
}

/// By HTTPS and TCP comes what no datagram takes; and an asker may have said more than his size.
#[tokio::test(start_paused = true)]
async fn of_what_does_not_fit_header_and_question_go_back() {
    let by = |lie| World {
        udp: Some(vec![]),
        tcp: Some(vec![(5, lie)]),
        https: Some(vec![(5, lie)]),
        ..World::default()
    };
    // With a cookie, and signatures wanted.
    let mut rich = question();
    rich[11] = 1;
    rich.extend([0, 0, 41, 4, 208, 0, 0, 0x80, 0, 0, 12, 0, 10, 0, 8, 1, 2, 3, 4, 5, 6, 7, 8]);
    let asker = |size| Question::new("x.example.", RecordType::A).with_size(size);
    let ours = [0, 0, 41, 0x0f, 0xff, 0, 0, 0, 0, 0, 0];
    let signed = [0, 0, 41, 0x0f, 0xff, 0, 0, 0x80, 0, 0, 0];
    for upstream in [PLAIN, "https://dns.nextdns.io/ab"] {
        for (query, more, edns) in [
            (question(), 20_000, Some(&[][..])),
            (question(), 400, None),
            (asker(0), 400, None),
            (asker(0), 600, Some(&ours[..])),
            (asker(1232), 1100, None),
            (asker(1232), 1300, Some(&ours)),
            (asker(65535), 4000, None),
            (asker(65535), 60_000, Some(&ours)),
            (rich.clone(), 1100, None),
            (rich.clone(), 1300, Some(&signed)),
        ] {
            let context = format!("{upstream} {query:?} {more}");
            let forwarder = Forwarder::new(by(Lie::Large(more)), true);
            let reply =
                forwarder.forward(asked(upstream, &query, Transport::Udp)).await.expect("forwarded").reply;
            let Some(edns) = edns else {
                assert_eq!(reply.len(), query.len() + more, "{context}");
                continue;
            };
            let mut wanted = query[..message::Query::parse(&query).expect("reads").question_end].to_vec();
            wanted[2] |= 0x82;
            wanted[11] = u8::from(!edns.is_empty());
            wanted.extend(edns);
            assert_eq!(reply, wanted, "{context}");
        }
    }
}

/// Ten thousand at once: as many sockets as there are places, and the rest is dropped and counted.
#[tokio::test(start_paused = true)]
async fn a_flood_is_bounded() {
    let world = World { udp: Some(vec![]), tcp: Some(vec![]), ..World::default() };
    let open = Rc::clone(&world.open);
    let forwarder = Rc::new(Forwarder::new(world, true));
    let asked = || asked(PLAIN, &question(), Transport::Udp);
    let (steps, query) = (asked().steps, question());
    let set = tokio::task::LocalSet::new();
    let tasks: Vec<_> = (0..10_000)
        .map(|_| {
            let (forwarder, steps, query) = (Rc::clone(&forwarder), Rc::clone(&steps), query.clone());
            set.spawn_local(async move {
                forwarder.forward(Asked { query, transport: Transport::Udp, steps }).await.is_some()
            })
        })
        .collect();
    set.run_until(async {
        sleep(Duration::from_secs(1)).await;
        assert_eq!(open.get(), 256);
        let mut answered = 0;
        for task in tasks {
            answered += u32::from(task.await.expect("ends"));
        }
        assert_eq!(answered, 256);
    })
    .await;
    let counters = forwarder.counters();
    assert_eq!((counters.forwarded.load(Relaxed), counters.dropped.load(Relaxed)), (256, 9744));
    assert_eq!((counters.failed.load(Relaxed), open.get()), (256, 0));
    // There is room again, and one that is given up gives its place back.
    for _ in 0..1000 {
        let given_up = tokio::time::timeout(Duration::from_millis(1), forwarder.forward(asked())).await;
        assert!(given_up.is_err());
    }
    assert_eq!(counters.dropped.load(Relaxed), 9744);
}

/// Real sockets.
struct Loopback;

impl Net for Loopback {
    fn udp(&self, to: SocketAddr, bytes: &[u8]) -> io::Result<Box<dyn Datagrams>> {
        send(std::net::UdpSocket::bind("127.0.0.1:0")?, to, bytes)
    }

    fn tcp(&self, to: SocketAddr) -> Pending<io::Result<Box<dyn Stream>>> {
        Box::pin(async move { Ok(Box::new(tokio::net::TcpStream::connect(to).await?) as Box<dyn Stream>) })
    }

    fn post(&self, _: &str, _: Vec<IpAddr>, _: Vec<u8>) -> Pending<io::Result<Vec<u8>>> {
        Box::pin(async { Err(io::ErrorKind::Unsupported.into()) })
    }

    fn random(&self) -> u16 {
        0x4242
    }
}

/// A forged answer with the right number and question from another port does not arrive.
#[tokio::test]
async fn on_loopback() {
    let server = tokio::net::UdpSocket::bind("127.0.0.1:0").await.expect("binds");
    let address = server.local_addr().expect("an address");
    let poisoner = tokio::net::UdpSocket::bind("127.0.0.1:0").await.expect("binds");
    let serving = tokio::spawn(async move {
        let mut room = [0; 512];
        let mut ports = Vec::new();
        for _ in 0..3 {
            let (length, from) = server.recv_from(&mut room).await.expect("a query");
            ports.push(from.port());
            let mut forged = answer(&room[..length], Lie::Nothing);
            forged[3] = 3;
            poisoner.send_to(&forged, from).await.expect("sends");
            server.send_to(&answer(&room[..length], Lie::WrongId), from).await.expect("sends");
            server.send_to(&answer(&room[..length], Lie::Nothing), from).await.expect("sends");
        }
        ports
    });
    let forwarder = Forwarder::new(Loopback, true);
    for _ in 0..3 {
        let asked = asked(&address.to_string(), &question(), Transport::Udp);
        let reply = forwarder.forward(asked).await.expect("forwarded").reply;
        let read = Message::from_vec(&reply).expect("reads");
        assert_eq!((read.metadata.id, read.metadata.response_code), (0xabcd, OK));
    }
    let ports = serving.await.expect("served");
    assert_ne!(ports[0], ports[1]);
    assert_eq!(forwarder.counters().foreign.load(Relaxed), 3);
}
