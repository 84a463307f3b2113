//! Requests to other nodes: by connections that go where the routes lead, into the tunnel.
//!
//! Owns: where a node's PeerAPI is, DNS over it, and the greeting as a ping. Callers bound the time.

use dial::{BoxStream, LocalFuture};
use http1::{Head, Method, ask};
use netmap::Node;
use std::cell::RefCell;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;
use std::time::Duration;
use tokio::task::JoinHandle;

/// The name of the feature, if it is in this build.
pub const FEATURE: Option<&str> = Some("peerapiclient");

/// Nodes of this capability version answer DNS if they are exit nodes, whatever they announce.
const ANSWERS_DNS: i32 = 26;

/// What DNS over HTTP carries.
const DNS_MESSAGE: &str = "application/dns-message";

/// How long a connection is kept for another question, as Go keeps it.
const IDLE: Duration = Duration::from_secs(10);

/// Connections that are kept at most.
const MOST_KEPT: usize = 4;

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
        let mut stream = dial::plain(at).await?;
        let request = Head::request(Method::HEAD, "/", &at.to_string()).field("connection", "close");
        let response = ask(&mut stream, request, &[]).await.map_err(other)?;
        if response.status == 200 { Ok(()) } else { Err(refused(response.status)) }
    })
}

/// Sends DNS messages, and keeps connections for those that follow.
#[derive(Clone, Default)]
pub struct Client(Rc<RefCell<Vec<Kept>>>);

/// A connection that nothing is asked by at the moment.
struct Kept {
    at: SocketAddr,
    stream: BoxStream,
    /// Ends it when nothing follows.
    end: JoinHandle<()>,
    number: u64,
}

impl Drop for Kept {
    fn drop(&mut self) {
        self.end.abort();
    }
}

impl Client {
    /// Sends a DNS message to `url`, as [`resolver`] gives it, and takes the answer. The caller bounds the time.
    ///
    /// # Errors
    /// Why there was none.
    pub fn post(&self, url: &str, message: Vec<u8>) -> LocalFuture<'static, io::Result<Vec<u8>>> {
        let place = url.strip_prefix("http://").and_then(|rest| {
            let (at, path) = rest.split_at(rest.find('/')?);
            Some((at.parse::<SocketAddr>().ok()?, path.to_owned()))
        });
        let client = self.clone();
        Box::pin(async move {
            let (at, path) = place.ok_or(io::ErrorKind::InvalidInput)?;
            let kept = client.take(at);
            let old = kept.is_some();
            let mut stream = match kept {
                Some(stream) => stream,
                None => dial::plain(at).await?,
            };
            let mut answer = exchange(&mut stream, at, &path, &message).await;
            if old && answer.is_err() {
                // The other side has let go of it in the meantime, most likely.
                stream = dial::plain(at).await?;
                answer = exchange(&mut stream, at, &path, &message).await;
            }
            let (answer, again) = answer?;
            if again {
                client.keep(at, stream);
            }
            Ok(answer)
        })
    }

    fn take(&self, at: SocketAddr) -> Option<BoxStream> {
        let mut all = self.0.borrow_mut();
        let place = all.iter().position(|kept| kept.at == at)?;
        let mut kept = all.swap_remove(place);
        Some(std::mem::replace(&mut kept.stream, Box::new(tokio::io::empty())))
    }

    fn keep(&self, at: SocketAddr, stream: BoxStream) {
        let mut all = self.0.borrow_mut();
        let number = all.iter().map(|kept| kept.number + 1).max().unwrap_or_default();
        let others = Rc::downgrade(&self.0);
        let end = dial::spawn(async move {
            tokio::time::sleep(IDLE).await;
            if let Some(others) = others.upgrade() {
                // Out of the list first: it ends this very task.
                let gone = others.borrow_mut().extract_if(.., |kept| kept.number == number).next();
                drop(gone);
            }
        });
        // Of another exit node nothing more is asked.
        all.retain(|kept| kept.at == at);
        all.truncate(MOST_KEPT - 1);
        all.push(Kept { at, stream, end, number });
    }
}

fn other(error: http1::Error) -> io::Error {
    io::Error::other(error.to_string())
}

fn refused(status: u16) -> io::Error {
    io::Error::other(format!("HTTP status {status}"))
}

/// One message and its answer, and whether the connection takes another.
async fn exchange(
    stream: &mut BoxStream,
    at: SocketAddr,
    path: &str,
    message: &[u8],
) -> io::Result<(Vec<u8>, bool)> {
    let request = Head::request(Method::POST, path, &at.to_string()).field("content-type", DNS_MESSAGE);
    let mut response = ask(stream, request, message).await.map_err(other)?;
    if response.status != 200 || response.headers.text("content-type") != DNS_MESSAGE {
        return Err(refused(response.status));
    }
    let answer = response.whole(stream, LONGEST).await.map_err(other)?.to_vec();
    let stays = response.headers.get("content-length").is_some()
        && !response.headers.text("connection").eq_ignore_ascii_case("close");
    Ok((answer, stays && response.into_rest().is_empty()))
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

    /// Answers with these kinds on one connection each, two questions to a connection; the heads that came.
    async fn answering(listener: &tokio::net::TcpListener, kinds: &[&str]) -> Vec<String> {
        let mut heads = Vec::new();
        for kinds in kinds.chunks(2) {
            let (mut stream, _) = listener.accept().await.expect("a client");
            for kind in kinds {
                let mut seen = Vec::new();
                while !seen.ends_with(b"question") {
                    let mut room = [0; 512];
                    let len = stream.read(&mut room).await.expect("reads");
                    assert!(len > 0, "the client has hung up");
                    seen.extend_from_slice(&room[..len]);
                }
                let head =
                    format!("HTTP/1.1 200 OK\r\nContent-Type: {kind}\r\nContent-Length: 6\r\n\r\nanswer");
                stream.write_all(head.as_bytes()).await.expect("writes");
                heads.push(String::from_utf8(seen).expect("text"));
            }
        }
        heads
    }

    async fn local<T>(work: impl Future<Output = T>) -> T {
        tokio::task::LocalSet::new().run_until(work).await
    }

    #[tokio::test]
    async fn questions_share_a_connection_while_it_lives() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("listens");
        let url = format!("http://{}/dns-query", listener.local_addr().expect("bound"));
        let client = Client::default();
        let asking = async {
            for _ in 0..4 {
                assert_eq!(client.post(&url, b"question".to_vec()).await.expect("an answer"), b"answer");
            }
        };
        // After two the other side hangs up, and the third goes by a new connection.
        let (heads, ()) =
            local(async { tokio::join!(answering(&listener, &[DNS_MESSAGE; 4]), asking) }).await;
        assert!(heads[0].starts_with("POST /dns-query HTTP/1.1\r\n"), "{}", heads[0]);
        assert_eq!(client.0.borrow().len(), 1);
    }

    #[tokio::test]
    async fn what_is_no_dns_message_is_no_answer() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("listens");
        let url = format!("http://{}/dns-query", listener.local_addr().expect("bound"));
        let client = Client::default();
        let asking = client.post(&url, b"question".to_vec());
        let (_, answer) = local(async { tokio::join!(answering(&listener, &["text/plain"]), asking) }).await;
        assert!(answer.is_err() && client.0.borrow().is_empty());
        assert!(client.post("https://127.0.0.1/dns-query", Vec::new()).await.is_err());
    }
}
