//! The sockets by which queries are forwarded.
//!
//! They are not marked: a query goes where the routes lead, so into the tunnel for a resolver in the tailnet, and with an
//! exit node in use for every resolver.

use super::http::Client;
use dns::forward::{Datagrams, Net, Pending, Stream};
use dns::shared::{Means, Shared};
use rand_core::RngCore as _;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::rc::Rc;

/// Real sockets; all copies have the same ones.
#[derive(Clone)]
pub(super) struct Sockets {
    http: Client,
    shared: Rc<Shared>,
}

impl Sockets {
    /// None open yet; `http` asks by it.
    pub(super) fn new(http: Client) -> Self {
        let means = Means { bind, spawn: |work| drop(dial::spawn(work)) };
        Self { http, shared: Rc::new(Shared::new(means)) }
    }
}

fn bind(to: SocketAddr) -> io::Result<UdpSocket> {
    let any = if to.is_ipv4() { IpAddr::from(Ipv4Addr::UNSPECIFIED) } else { Ipv6Addr::UNSPECIFIED.into() };
    UdpSocket::bind((any, 0))
}

impl Net for Sockets {
    fn udp(&self, to: SocketAddr, bytes: &[u8]) -> io::Result<Box<dyn Datagrams>> {
        self.shared.send(to, bytes)
    }

    fn tcp(&self, to: SocketAddr) -> Pending<io::Result<Box<dyn Stream>>> {
        Box::pin(async move { Ok(Box::new(dial::plain(to).await?) as Box<dyn Stream>) })
    }

    fn post(&self, url: &str, addresses: Vec<IpAddr>, message: Vec<u8>) -> Pending<io::Result<Vec<u8>>> {
        self.http.post(url, addresses, message)
    }

    fn random(&self) -> u16 {
        // Two bytes of it, as nobody sees the others.
        rand_core::OsRng.next_u32() as u16
    }
}
