//! Requests to other nodes: by connections that go where the routes lead, into the tunnel.
//!
//! Owns: where a node's PeerAPI is, and the greeting as a ping. Leaves out: DNS over it (`parts::dns`). Callers bound the
//! time.

use dial::LocalFuture;
use http1::{Head, Method, ask};
use netmap::Node;
use std::io;
use std::net::{IpAddr, SocketAddr};

/// The name of the feature, if it is in this build.
pub const FEATURE: Option<&str> = Some("peerapiclient");

/// Nodes of this capability version answer DNS if they are exit nodes, whatever they announce.
const ANSWERS_DNS: i32 = 26;

/// Where the PeerAPI of a node is, for a node with the addresses `own`: by IPv4 if both have it.
pub fn base(node: &Node, own: &[IpAddr]) -> Option<SocketAddr> {
    [("peerapi4", true), ("peerapi6", false)].into_iter().find_map(|(proto, v4)| {
        let port = node.hostinfo.services.iter().find(|service| service.proto() == proto)?.port;
        let ours = own.iter().any(|ip| ip.is_ipv4() == v4);
        let ip = node.ips().find(|ip| ip.is_ipv4() == v4)?;
        (ours && port != 0).then_some(SocketAddr::new(ip, port))
    })
}

/// The URL at which an exit node answers DNS, if it does.
pub fn resolver(node: &Node, own: &[IpAddr]) -> Option<String> {
    let announced = || node.hostinfo.services.iter().any(|s| s.proto() == "peerapi-dns-proxy" && s.port >= 1);
    let able = node.cap >= ANSWERS_DNS || announced();
    base(node, own).filter(|_| able).map(|at| format!("http://{at}/dns-query"))
}

/// Asks for nothing, to see whether somebody answers.
///
/// # Errors
/// Why nobody did.
pub fn ping(at: SocketAddr) -> LocalFuture<'static, io::Result<()>> {
    Box::pin(async move {
        let mut stream = dial::plain(at).await?;
        let request = Head::request(Method::HEAD, "/", &at.to_string()).field("connection", "close");
        let response = ask(&mut stream, request, &[]).await.map_err(other)?;
        if response.status == 200 { Ok(()) } else { Err(refused(response.status)) }
    })
}

fn other(error: http1::Error) -> io::Error {
    io::Error::other(error.to_string())
}

fn refused(status: u16) -> io::Error {
    io::Error::other(format!("HTTP status {status}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use netmap::{HostRest, Hostinfo, IpNet, Service, System};

    fn node(services: &[(&str, u16)], cap: i32) -> Node {
        let services =
            services.iter().map(|(proto, port)| Service::new((*proto).into(), *port, "".into())).collect();
        let ips = ["100.64.0.9", "fd7a:115c:a1e0::9"];
        let addresses: Vec<_> = ips.iter().map(|ip| IpNet::from(ip.parse::<IpAddr>().expect("ip"))).collect();
        let hostinfo = Hostinfo::new("x".into(), services, System::default(), HostRest::default());
        Node { hostinfo, cap, addresses: addresses.into(), ..Node::default() }
    }

    #[test]
    fn a_family_that_both_have_is_chosen() {
        let v4: IpAddr = "100.64.0.1".parse().expect("ip");
        let v6: IpAddr = "fd7a:115c:a1e0::1".parse().expect("ip");
        let both = node(&[("peerapi4", 1), ("peerapi6", 2)], 26);
        let at = |node: &Node, own: &[IpAddr]| base(node, own).map(|at| at.to_string());
        assert_eq!(at(&both, &[v6, v4]).as_deref(), Some("100.64.0.9:1"));
        assert_eq!(at(&both, &[v6]).as_deref(), Some("[fd7a:115c:a1e0::9]:2"));
        assert_eq!(at(&node(&[("peerapi6", 2)], 26), &[v4]), None);
        assert_eq!(at(&node(&[("peerapi4", 0)], 26), &[v4]), None);
        let url = |node: &Node| resolver(node, &[v4]);
        assert_eq!(url(&both).as_deref(), Some("http://100.64.0.9:1/dns-query"));
        assert_eq!(url(&node(&[("peerapi4", 1)], 25)), None);
        assert!(url(&node(&[("peerapi4", 1), ("peerapi-dns-proxy", 1)], 25)).is_some());
    }
}
