//! Answers that somebody forges: none is believed, and every one that reaches us is counted.

mod common;

use common::world::{Lie, World, answer, asked, question};
use dns::Transport;
use dns::forward::{Datagrams, Forwarder, Net, Pending, Stream, send};
use dns::message;
use std::cell::Cell;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;
use tokio::net::UdpSocket;

/// Every way to be wrong: number, name, kind, class, question, direction, length, another transaction.
fn forgeries() -> Vec<Lie> {
    use Lie::*;
    let cuts = [0, 2, 11, 12, question().len() - 1].map(Cut);
    [&[WrongId, WrongName, WrongKind, WrongClass, Before, Second, NoResponse][..], &cuts].concat()
}

/// What comes back: the answer or SERVFAIL, and how many forgeries were counted.
async fn outcome(upstream: &str, world: World) -> (Vec<u8>, u32) {
    let forwarder = Forwarder::new(world, true);
    let forwarded = forwarder.forward(asked(upstream, &question(), Transport::Udp)).await;
    (forwarded.expect("forwarded").reply, forwarder.counters().foreign.load(Relaxed))
}

#[tokio::test(start_paused = true)]
async fn every_forgery_is_rejected_and_counted() {
    let truth = answer(&question(), Lie::Nothing);
    for lie in forgeries() {
        // By UDP the true one is waited for.
        let world = World { udp: Some(vec![(1, lie), (9, Lie::Nothing)]), ..World::default() };
        assert_eq!(outcome("192.0.2.1", world).await, (truth.clone(), 1), "{lie:?} by UDP");
        // A stream has one answer, and so has a request.
        let world = World { tcp: Some(vec![(1, lie)]), ..World::default() };
        let (reply, counted) = outcome("192.0.2.1", world).await;
        assert_eq!((message::code(&reply), counted), (2, 1), "{lie:?} by TCP");
        for url in ["http://100.64.0.1:4/dns-query", "https://dns.nextdns.io/ab"] {
            let world = World { https: Some(vec![(1, lie)]), ..World::default() };
            let (reply, counted) = outcome(url, world).await;
            assert_eq!((message::code(&reply), counted), (2, 1), "{lie:?} at {url}");
        }
    }
}

/// Whoever is lied about is asked by TCP; a late lie finds nobody.
#[tokio::test(start_paused = true)]
async fn a_flood_of_forgeries_does_not_outlast_the_truth() {
    let truth = answer(&question(), Lie::Nothing);
    let forged =
        |more: u64| (0..40).map(|n| (1, forgeries()[n % forgeries().len()])).chain([(more, Lie::Nothing)]);
    let world =
        World { udp: Some(forged(1).collect()), tcp: Some(vec![(30, Lie::Nothing)]), ..World::default() };
    assert_eq!(outcome("192.0.2.1", world).await, (truth.clone(), 16));
    let world =
        World { udp: Some([(5, Lie::Nothing)].into_iter().chain(forged(1)).collect()), ..World::default() };
    assert_eq!(outcome("192.0.2.1", world).await, (truth, 0));
}

/// Real sockets, and numbers one after another.
struct Loopback(Cell<u16>);

impl Net for Loopback {
    fn udp(&self, to: SocketAddr, bytes: &[u8]) -> io::Result<Box<dyn Datagrams>> {
        send(std::net::UdpSocket::bind("127.0.0.1:0")?, to, bytes)
    }

    fn tcp(&self, _: SocketAddr) -> Pending<io::Result<Box<dyn Stream>>> {
        Box::pin(std::future::pending())
    }

    fn post(&self, _: &str, _: Vec<IpAddr>, _: Vec<u8>) -> Pending<io::Result<Vec<u8>>> {
        Box::pin(async { Err(io::ErrorKind::Unsupported.into()) })
    }

    fn random(&self) -> u16 {
        self.0.set(self.0.get() + 1);
        self.0.get()
    }
}

/// The right number and question from another address, from another port, and after the end: nothing arrives. An answer
/// to the question before this one arrives and is counted.
#[tokio::test]
async fn who_else_answers_is_not_heard() {
    let server = UdpSocket::bind("127.0.0.1:0").await.expect("binds");
    let address = server.local_addr().expect("an address");
    let other_port = UdpSocket::bind("127.0.0.1:0").await.expect("binds");
    let other_address = UdpSocket::bind(("127.0.0.2", address.port())).await.expect("binds");
    let forge = |query: &[u8]| {
        let mut forged = answer(query, Lie::Nothing);
        forged[3] = 3;
        forged
    };
    let serving = async {
        let mut room = [0; 512];
        let mut before: Option<(Vec<u8>, SocketAddr)> = None;
        for _ in 0..4 {
            let (length, from) = server.recv_from(&mut room).await.expect("a query");
            let query = room[..length].to_vec();
            for stranger in [&other_port, &other_address] {
                stranger.send_to(&forge(&query), from).await.expect("sends");
            }
            if let Some((before, at)) = before {
                // To where the one before was asked from, and to where this one is.
                server.send_to(&forge(&before), at).await.expect("sends");
                server.send_to(&forge(&before), from).await.expect("sends");
            }
            server.send_to(&answer(&query, Lie::Nothing), from).await.expect("sends");
            server.send_to(&forge(&query), from).await.expect("sends");
            before = Some((query, from));
        }
    };
    let forwarder = Forwarder::new(Loopback(Cell::new(7)), true);
    let asking = async {
        for _ in 0..4 {
            let asked = asked(&address.to_string(), &question(), Transport::Udp);
            let forwarded = tokio::time::timeout(Duration::from_secs(5), forwarder.forward(asked)).await;
            let reply = forwarded.expect("in time").expect("forwarded").reply;
            assert_eq!(reply, answer(&question(), Lie::Nothing));
        }
    };
    tokio::join!(serving, asking);
    assert_eq!(forwarder.counters().foreign.load(Relaxed), 3);
}
