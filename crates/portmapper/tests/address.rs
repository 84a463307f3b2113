//! A router whose own address changes while it keeps the mapping. Needs root; skipped with the reason elsewhere.

// Also in functions that are no tests themselves.
#![allow(clippy::unwrap_used)]

use dial::{BoxStream, Dial, LocalFuture, Target};
use lab::{Lab, Nat, Need};
use portmapper::{Disabled, Protocol, State, Want};
use std::io;
use std::net::{Ipv4Addr, SocketAddrV4, UdpSocket};
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::sync::mpsc::channel;
use std::time::Duration;
use tokio::sync::watch;

/// NAT-PMP needs no connections.
struct Nobody;

impl Dial for Nobody {
    fn dial<'a>(&'a self, _: &'a Target) -> LocalFuture<'a, io::Result<BoxStream>> {
        Box::pin(async { Err(io::ErrorKind::Unsupported.into()) })
    }
}

/// What the router of `last` octet says of itself.
fn external(last: u8) -> Ipv4Addr {
    Ipv4Addr::new(198, 51, 100, last)
}

/// Answers NAT-PMP until `ended`: its address ends in `last`, and any port is forwarded from 4097.
fn serve(socket: &UdpSocket, last: &AtomicU8, ended: &AtomicBool) {
    socket.set_read_timeout(Some(Duration::from_millis(100))).unwrap();
    let mut room = [0; 64];
    while !ended.load(Ordering::Relaxed) {
        let Ok((len, from)) = socket.recv_from(&mut room) else { continue };
        let answer = match &room[..len] {
            [0, 0] => {
                let address = external(last.load(Ordering::Relaxed)).octets();
                [&[0, 128, 0, 0, 0, 0, 0, 9], &address[..]].concat()
            }
            [0, 1, ..] => vec![0, 129, 0, 0, 0, 0, 0, 9, room[4], room[5], 0x10, 0x01, 0, 0, 0x0e, 0x10],
            _ => continue,
        };
        socket.send_to(&answer, from).unwrap();
    }
}

#[test]
fn the_new_address_is_told_when_the_internet_sees_another() {
    if let Some(reason) = lab::missing(&[Need::Namespaces]) {
        return lab::skip(&reason);
    }
    let lab = Lab::new().unwrap();
    let router = lab.router("router", Nat::Hard).unwrap();
    let inside = router.host("inside").unwrap();
    let socket = router.wan.inside(|| UdpSocket::bind("0.0.0.0:5351").unwrap()).unwrap();
    let (last, ended) = (AtomicU8::new(7), AtomicBool::new(false));
    let want = |seen| Want {
        port: 41641,
        seen,
        disabled: Disabled { upnp: true, pcp: true, ..Disabled::default() },
        ..Want::default()
    };
    let (wanting, wants) = watch::channel(want(Some(external(7))));
    let (sender, states) = channel();
    std::thread::scope(|scope| {
        scope.spawn(|| serve(&socket, &last, &ended));
        let inside = &inside;
        scope.spawn(move || {
            inside.inside(|| {
                let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
                runtime.block_on(portmapper::run(&Nobody, wants, &mut |state| {
                    let _ = sender.send(state);
                }));
            })
        });
        let told = || loop {
            match states.recv_timeout(Duration::from_secs(5)) {
                Ok(State { external: None, .. }) => {}
                Ok(State { external, .. }) => return external,
                Err(_) => return None,
            }
        };
        let at = |last| Some((SocketAddrV4::new(external(last), 4097), Protocol::Pmp));
        let first = told();
        last.store(8, Ordering::Relaxed);
        // A look that brings nothing is no reason, nor is the same address once more.
        wanting.send(want(None)).unwrap();
        wanting.send(want(Some(external(7)))).unwrap();
        let quiet = states.recv_timeout(Duration::from_millis(700));
        wanting.send(want(None)).unwrap();
        wanting.send(want(Some(external(8)))).unwrap();
        let second = told();
        drop(wanting);
        ended.store(true, Ordering::Relaxed);
        assert_eq!((first, quiet.is_err(), second), (at(7), true, at(8)));
    });
}
