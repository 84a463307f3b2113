//! Requests to other nodes: by connections that go where the routes lead, into the tunnel.
//!
//! Owns: where a node's PeerAPI is, DNS over it, and the greeting as a ping. Callers bound the time.

use dial::LocalFuture;
use http1::{Head, Method, ask};
use netmap::Node;
use std::io;
use std::net::{IpAddr, SocketAddr};

/// The name of the feature, if it is in this build.
pub const FEATURE: Option<&str> = Some("peerapiclient");

/// Nodes of this capability version answer DNS if they are exit nodes, whatever they announce.
const ANSWERS_DNS: i32 = 26;

/// What DNS over HTTP carries.
const DNS_MESSAGE: &str = "application/dns-message";

/// Longest answer: a DNS message.
const LONGEST: usize = 65_535;

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
        let request = Head::request(Method::HEAD, "/", &at.to_string());
        exchange(at, request, Vec::new(), |status, _| status == 200).await.map(drop)
    })
}

/// Sends a DNS message to `url`, as [`resolver`] gives it, and takes the answer.
///
/// # Errors
/// Why there was none.
pub fn post(url: &str, message: Vec<u8>) -> LocalFuture<'static, io::Result<Vec<u8>>> {
    let place = url.strip_prefix("http://").and_then(|rest| {
        let (at, path) = rest.split_at(rest.find('/')?);
        Some((at.parse::<SocketAddr>().ok()?, path.to_owned()))
    });
    Box::pin(async move {
        let (at, path) = place.ok_or(io::ErrorKind::InvalidInput)?;
        let request = Head::request(Method::POST, &path, &at.to_string()).field("content-type", DNS_MESSAGE);
        exchange(at, request, message, |status, kind| status == 200 && kind == DNS_MESSAGE).await
    })
}

/// One request and its answer, if it is one of those that `good` takes by status and kind.
async fn exchange(
    at: SocketAddr,
    request: Head,
    body: Vec<u8>,
    good: fn(u16, &str) -> bool,
) -> io::Result<Vec<u8>> {
    let mut stream = dial::plain(at).await?;
    let other = |error: http1::Error| io::Error::other(error.to_string());
    let request = request.field("connection", "close");
    let mut response = ask(&mut stream, request, &body).await.map_err(other)?;
    if !good(response.status, response.headers.text("content-type")) {
        return Err(io::Error::other(format!("HTTP status {}", response.status)));
    }
    Ok(response.whole(&mut stream, LONGEST).await.map_err(other)?.to_vec())
}

#[cfg(test)]
mod tests {
    use super::*;
    use netmap::{HostRest, Hostinfo, IpNet, Service, System};
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

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

    #[tokio::test]
    async fn a_message_is_posted_and_the_answer_read() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("listens");
        let at = listener.local_addr().expect("bound");
        let answering = async {
            let mut heads = Vec::new();
            for kind in [DNS_MESSAGE, "text/plain"] {
                let (mut stream, _) = listener.accept().await.expect("a client");
                let mut seen = Vec::new();
                while !seen.ends_with(b"question") {
                    let mut room = [0; 512];
                    let len = stream.read(&mut room).await.expect("reads");
                    seen.extend_from_slice(&room[..len]);
                }
                let head =
                    format!("HTTP/1.1 200 OK\r\nContent-Type: {kind}\r\nContent-Length: 6\r\n\r\nanswer");
                stream.write_all(head.as_bytes()).await.expect("writes");
                heads.push(String::from_utf8(seen).expect("text"));
            }
            heads
        };
        let url = format!("http://{at}/dns-query");
        let asking =
            async { [post(&url, b"question".to_vec()).await, post(&url, b"question".to_vec()).await] };
        let (heads, [good, bad]) = tokio::join!(answering, asking);
        assert!(heads[0].starts_with("POST /dns-query HTTP/1.1\r\n"), "{}", heads[0]);
        assert_eq!(good.expect("an answer"), b"answer");
        assert!(bad.is_err());
        assert!(post("https://127.0.0.1/dns-query", Vec::new()).await.is_err());
    }
}
