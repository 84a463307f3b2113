//! Sockets that queries share, against an upstream on loopback.

use dns::forward::{Datagrams, Pending};
use dns::shared::{Means, Shared};
use std::future::poll_fn;
use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::time::Duration;
use tokio::task::LocalSet;
use tokio::time::{sleep, timeout};

fn shared() -> Shared {
    Shared::new(Means {
        bind: |_| UdpSocket::bind("127.0.0.1:0"),
        spawn: |work: Pending<()>| drop(tokio::task::spawn_local(work)),
    })
}

/// An upstream, asked with blocking calls: everything is there when it looks.
struct Upstream(UdpSocket);

impl Upstream {
    fn new() -> Self {
        let socket = UdpSocket::bind("127.0.0.1:0").expect("binds");
        socket.set_read_timeout(Some(Duration::from_secs(5))).expect("sets");
        Self(socket)
    }

    fn at(&self) -> SocketAddr {
        self.0.local_addr().expect("an address")
    }

    /// The next query's number, and its port.
    fn next(&self) -> (u16, SocketAddr) {
        let mut room = [0; 16];
        let (length, from) = self.0.recv_from(&mut room).expect("a query");
        assert_eq!(length, 12);
        (u16::from_be_bytes([room[0], room[1]]), from)
    }

    fn say(&self, id: u16, text: u8, to: SocketAddr) {
        self.0.send_to(&message(id, text), to).expect("sends");
    }
}

fn message(id: u16, text: u8) -> Vec<u8> {
    let mut bytes = vec![0; 12];
    bytes[..2].copy_from_slice(&id.to_be_bytes());
    bytes[11] = text;
    bytes
}

async fn heard(part: &dyn Datagrams) -> io::Result<u8> {
    let mut room = [0; 64];
    let receive = poll_fn(|context| part.poll_receive(context, &mut room));
    let length = timeout(Duration::from_secs(5), receive).await.map_err(|_| io::ErrorKind::TimedOut)??;
    assert_eq!(length, 12);
    Ok(room[11])
}

/// Whether somebody has this port.
fn is_open(port: SocketAddr) -> bool {
    UdpSocket::bind(port).is_err()
}

async fn closed(port: SocketAddr) {
    for _ in 0..200 {
        if !is_open(port) {
            return;
        }
        sleep(Duration::from_millis(10)).await;
    }
    panic!("{port} stays open");
}

#[tokio::test]
async fn each_hears_its_own_answers_in_whatever_order() {
    let work = async {
        let (upstream, shared) = (Upstream::new(), shared());
        let ids = [7_u16, 0, 65535, 300];
        let parts = ids.map(|id| shared.send(upstream.at(), &message(id, 0)).expect("sends"));
        let asked = ids.map(|_| upstream.next());
        assert_eq!(asked.map(|(id, _)| id), ids);
        let port = asked[0].1;
        assert!(asked.iter().all(|(_, from)| *from == port), "one port: {asked:?}");
        // A stranger, somebody who guesses a number, and then the answers, the last first and twice.
        let stranger = UdpSocket::bind("127.0.0.1:0").expect("binds");
        stranger.send_to(&message(7, 99), port).expect("sends");
        upstream.say(8, 98, port);
        for (text, id) in ids.iter().enumerate().rev() {
            upstream.say(*id, text as u8, port);
        }
        upstream.say(7, 50, port);
        for (text, part) in parts.iter().enumerate() {
            assert_eq!(heard(&**part).await.expect("an answer"), text as u8);
        }
        assert_eq!(heard(&*parts[0]).await.expect("the second answer"), 50);
        // Another query, a new port; the old one is closed with the last that waits.
        sleep(Duration::from_millis(150)).await;
        assert!(is_open(port));
        let later = shared.send(upstream.at(), &message(7, 0)).expect("sends");
        assert_ne!(upstream.next().1, port);
        drop(parts);
        closed(port).await;
        drop(later);
    };
    LocalSet::new().run_until(work).await;
}

#[tokio::test]
async fn a_port_takes_few_queries_and_no_number_twice() {
    let work = async {
        let (upstream, shared) = (Upstream::new(), shared());
        let send = |id: u16| {
            let part = shared.send(upstream.at(), &message(id, 0)).expect("sends");
            (part, upstream.next().1)
        };
        let (first, port) = send(1);
        let (again, other) = send(1);
        assert_ne!(port, other, "one number twice at one port");
        drop(first);
        closed(port).await;
        drop(again);
        let sent: Vec<_> = (100..400).map(send).collect();
        let mut ports: Vec<_> = sent.iter().map(|(_, port)| port.port()).collect();
        ports.dedup();
        assert!((5..=8).contains(&ports.len()), "300 queries by {} ports", ports.len());
        drop(sent);
        for port in ports {
            closed(SocketAddr::from(([127, 0, 0, 1], port))).await;
        }
    };
    LocalSet::new().run_until(work).await;
}

#[tokio::test]
async fn who_guesses_ends_the_socket_and_who_answers_late_does_not() {
    let work = async {
        let (upstream, shared) = (Upstream::new(), shared());
        let late = shared.send(upstream.at(), &message(1, 0)).expect("sends");
        let part = shared.send(upstream.at(), &message(2, 0)).expect("sends");
        let (_, port) = (upstream.next(), upstream.next().1);
        drop(late);
        for _ in 0..40 {
            upstream.say(1, 0, port);
        }
        upstream.say(2, 5, port);
        assert_eq!(heard(&*part).await.expect("an answer"), 5);
        for id in 100..116 {
            upstream.say(id, 0, port);
        }
        assert_eq!(heard(&*part).await.expect_err("fails").kind(), io::ErrorKind::InvalidData);
        let fresh = shared.send(upstream.at(), &message(3, 0)).expect("sends");
        assert_ne!(upstream.next().1, port);
        drop((part, fresh));
        closed(port).await;
    };
    LocalSet::new().run_until(work).await;
}

#[tokio::test]
async fn what_was_refused_before_does_not_stop_the_next() {
    let work = async {
        let nobody = Upstream::new().at();
        let shared = shared();
        let first = shared.send(nobody, &message(1, 0)).expect("sends");
        let upstream = UdpSocket::bind(nobody).map(Upstream).expect("binds");
        upstream.0.set_read_timeout(Some(Duration::from_secs(5))).expect("sets");
        let part = shared.send(nobody, &message(2, 0)).expect("sends");
        let (id, port) = upstream.next();
        upstream.say(id, 9, port);
        assert_eq!(heard(&*part).await.expect("an answer"), 9);
        let refused = heard(&*first).await.map_err(|error| error.kind());
        assert_eq!(refused, Err(io::ErrorKind::ConnectionRefused), "the one that it was about hears of it");
        drop((first, part));
        closed(port).await;
    };
    LocalSet::new().run_until(work).await;
}
