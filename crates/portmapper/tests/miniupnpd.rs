//! Against a real miniupnpd on a NAT router, by each protocol alone. Needs root; skipped with the reason elsewhere.

// Also in functions that are no tests themselves.
#![allow(clippy::unwrap_used)]

use dial::{BoxStream, Dial, LocalFuture, Target};
use lab::{Lab, Nat, Need, Speaks};
use portmapper::{Protocol, State, Want};
use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::sync::mpsc::{Sender, channel};
use std::time::Duration;
use tokio::sync::watch;

/// Plain TCP.
struct Plain;

impl Dial for Plain {
    fn dial<'a>(&'a self, target: &'a Target) -> LocalFuture<'a, io::Result<BoxStream>> {
        Box::pin(async move {
            assert!(target.tls.is_none(), "routers have no certificates");
            let stream = tokio::net::TcpStream::connect((target.addrs[0], target.port)).await?;
            Ok(Box::new(stream) as BoxStream)
        })
    }
}

/// Keeps a mapping until `wants` ends, in the network of the thread it is called on.
fn keep(wants: watch::Receiver<Want>, states: Sender<State>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(portmapper::run(&Plain, wants, &mut |state| {
        states.send(state).unwrap();
    }));
}

fn forwards(speaks: Speaks, protocol: Protocol) {
    if let Some(reason) = lab::missing(&[Need::Namespaces, Need::Miniupnpd]) {
        return lab::skip(&reason);
    }
    let lab = Lab::new().unwrap();
    let router = lab.router("router", Nat::Hard).unwrap();
    let mapper = router.port_mapper(&lab, speaks).unwrap();
    let inside = router.host("inside").unwrap();
    let outside = lab.host("outside").unwrap();
    let ours = inside.inside(|| UdpSocket::bind("0.0.0.0:41641").unwrap()).unwrap();
    ours.set_read_timeout(Some(Duration::from_secs(2))).unwrap();
    let hears = |at: SocketAddr| {
        // A new one each time: the router remembers a flow longer than the rule that let it in.
        let theirs = outside.inside(|| UdpSocket::bind("0.0.0.0:0").unwrap()).unwrap();
        theirs.send_to(b"hello", at).unwrap();
        ours.recv_from(&mut [0; 16]).is_ok()
    };
    let (wanting, wants) = watch::channel(Want::default());
    let (sender, states) = channel();
    std::thread::scope(|scope| {
        let inside = &inside;
        scope.spawn(move || inside.inside(|| keep(wants, sender)).unwrap());
        // The program needs a moment to listen: each look is a reason to try again.
        let mut external = None;
        for looks in 0..12 {
            wanting.send(Want { port: 41641, looks, ..Want::default() }).unwrap();
            let state = loop {
                match states.recv_timeout(Duration::from_secs(6)) {
                    Ok(State { external: Some(found), .. }) => break Some(found),
                    Ok(_) => {}
                    Err(_) => break None,
                }
            };
            external = state;
            if external.is_some() {
                break;
            }
        }
        let (external, by) =
            external.unwrap_or_else(|| panic!("no mapping; the router said: {}", mapper.log()));
        assert_eq!((by, *external.ip()), (protocol, mapper.external));
        assert!(hears(external.into()), "{}", router.forwarded().unwrap());

        // The same port again after a change of the network.
        wanting.send(Want { port: 41641, network: 1, looks: 99, ..Want::default() }).unwrap();
        let again = |state: Result<State, _>| state.unwrap().external;
        assert_eq!(again(states.recv_timeout(Duration::from_secs(9))), None, "void first");
        let renewed = loop {
            if let Some(found) = again(states.recv_timeout(Duration::from_secs(9))) {
                break found;
            }
        };
        assert_eq!(renewed, (external, by));
        drop(wanting);
    });
    let left = router.forwarded().unwrap();
    assert!(!left.contains("41641"), "given back: {left}");
    assert!(!hears(SocketAddr::new(mapper.external.into(), 41641)));
}

#[test]
fn nat_pmp() {
    forwards(Speaks::Pmp, Protocol::Pmp);
}

#[test]
fn pcp() {
    forwards(Speaks::Pcp, Protocol::Pcp);
}

#[test]
fn upnp() {
    forwards(Speaks::Upnp, Protocol::Upnp);
}
