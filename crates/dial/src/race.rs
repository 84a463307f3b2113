//! Connects to whichever of several addresses answers first.
//!
//! Both families take turns; the next address starts when one fails or after 200 ms of silence (RFC 8305 in
//! small). Leaves out: any overall time limit, which is the caller's.

use crate::{BoxStream, LocalFuture, Running};
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;
use tokio::net::{TcpSocket, TcpStream};

/// The head start of each address over the next.
const HEAD_START: Duration = Duration::from_millis(200);

/// Connects to `port` at the first of `addrs` that accepts; `marked` keeps it out of the tunnel.
pub(crate) async fn connect(addrs: &[IpAddr], port: u16, marked: bool) -> io::Result<TcpStream> {
    let mut waiting = take_turns(addrs).into_iter();
    let mut running = Running::default();
    let mut failure = io::Error::new(io::ErrorKind::AddrNotAvailable, "no address");
    loop {
        let next = waiting.next();
        let more = next.is_some();
        if let Some(ip) = next {
            running.push(open(SocketAddr::new(ip, port), marked));
        }
        let first = if more {
            tokio::time::timeout(HEAD_START, running.next()).await.ok()
        } else {
            Some(running.next().await)
        };
        match first {
            None => {}
            Some(Some(Ok(stream))) => return Ok(stream),
            Some(Some(Err(e))) => failure = e,
            Some(None) if more => {}
            Some(None) => return Err(failure),
        }
    }
}

/// A TCP connection that goes where the routes lead, into the tunnel too: it is not marked. The caller bounds the time.
pub fn plain(to: SocketAddr) -> LocalFuture<'static, io::Result<BoxStream>> {
    Box::pin(async move { Ok(Box::new(TcpStream::connect(to).await?) as BoxStream) })
}

async fn open(to: SocketAddr, marked: bool) -> io::Result<TcpStream> {
    let socket = if to.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    if marked && !to.ip().is_loopback() {
        crate::mark(&socket);
    }
    socket.connect(to).await
}

/// Interleaves the families, the first address's family first; order within a family stays.
fn take_turns(addrs: &[IpAddr]) -> Vec<IpAddr> {
    let first_is_v6 = addrs.first().is_some_and(IpAddr::is_ipv6);
    let (mut a, mut b) = (Vec::new(), Vec::new());
    for addr in addrs {
        if addr.is_ipv6() == first_is_v6 { a.push(*addr) } else { b.push(*addr) }
    }
    let mut out = Vec::with_capacity(addrs.len());
    for i in 0..a.len().max(b.len()) {
        out.extend(a.get(i));
        out.extend(b.get(i));
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn families_take_turns() {
        let ips = |texts: &[&str]| texts.iter().map(|t| t.parse().expect("ip")).collect::<Vec<IpAddr>>();
        assert_eq!(
            take_turns(&ips(&["::1", "::2", "::3", "10.0.0.1", "10.0.0.2"])),
            ips(&["::1", "10.0.0.1", "::2", "10.0.0.2", "::3"])
        );
        assert!(take_turns(&[]).is_empty());
    }

    #[tokio::test]
    async fn a_refusal_starts_the_next_address_at_once() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("listen");
        let port = listener.local_addr().expect("addr").port();
        let addrs = [IpAddr::from([127, 0, 0, 2]), IpAddr::from([127, 0, 0, 1])];
        let stream = connect(&addrs, port, true).await.expect("connect");
        assert_eq!(stream.peer_addr().expect("peer").ip(), addrs[1]);
        drop(listener);
        let error = connect(&addrs, port, true).await.expect_err("refused");
        assert_eq!(error.kind(), io::ErrorKind::ConnectionRefused);
    }
}
