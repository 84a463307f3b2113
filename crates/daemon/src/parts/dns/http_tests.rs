//! Questions by HTTP to servers on loopback; TLS is left out, so that a provider can be played without a certificate.

use super::*;
use std::cell::Cell;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

const PROVIDER: &str = "https://dns.google/dns-query";

/// Connects to one server, whoever is meant; what was meant is noted.
#[derive(Default)]
struct There {
    at: Cell<Option<SocketAddr>>,
    /// Connections neither come nor fail.
    hangs: Cell<bool>,
    meant: RefCell<Vec<Target>>,
}

impl Dial for There {
    fn dial<'a>(&'a self, _: &'a Target) -> LocalFuture<'a, io::Result<BoxStream>> {
        Box::pin(async { Err(io::ErrorKind::Unsupported.into()) })
    }

    fn dial_by_routes<'a>(&'a self, target: &'a Target) -> LocalFuture<'a, io::Result<BoxStream>> {
        self.meant.borrow_mut().push(target.clone());
        if self.hangs.get() {
            return Box::pin(std::future::pending());
        }
        match self.at.get() {
            Some(at) => dial::plain(at),
            None => Box::pin(async { Err(io::ErrorKind::ConnectionRefused.into()) }),
        }
    }
}

async fn client() -> (Rc<There>, Client, TcpListener) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("listens");
    let there = Rc::new(There::default());
    there.at.set(listener.local_addr().ok());
    (Rc::clone(&there), Client::new(there), listener)
}

/// Takes one connection and answers so many questions by it with this type.
async fn serve(listener: &TcpListener, questions: usize, kind: &str) -> Vec<String> {
    let (mut stream, _) = listener.accept().await.expect("a client");
    let mut heads = Vec::new();
    for _ in 0..questions {
        let mut seen = Vec::new();
        while !seen.ends_with(b"question") {
            let mut room = [0; 512];
            let len = stream.read(&mut room).await.expect("reads");
            assert!(len > 0, "the client has hung up");
            seen.extend_from_slice(&room[..len]);
        }
        let head = format!("HTTP/1.1 200 OK\r\nContent-Type: {kind}\r\nContent-Length: 6\r\n\r\nanswer");
        stream.write_all(head.as_bytes()).await.expect("writes");
        heads.push(String::from_utf8(seen).expect("text"));
    }
    heads
}

fn ips() -> Vec<IpAddr> {
    vec![IpAddr::from([8, 8, 8, 8])]
}

async fn local<T>(work: impl Future<Output = T>) -> T {
    tokio::task::LocalSet::new().run_until(work).await
}

#[tokio::test]
async fn questions_share_a_connection_while_it_lives() {
    for (url, addresses, port) in [("http://100.64.0.9:5/dns-query", Vec::new(), 5), (PROVIDER, ips(), 443)] {
        let (there, client, listener) = client().await;
        let asking = async {
            for _ in 0..4 {
                let answer = client.post(url, addresses.clone(), b"question".to_vec()).await;
                assert_eq!(answer.expect("an answer"), b"answer");
            }
        };
        // After two the other side hangs up, and the third goes by a new connection.
        let serving =
            async { [serve(&listener, 2, DNS_MESSAGE).await, serve(&listener, 2, DNS_MESSAGE).await] };
        let (heads, ()) = local(async { tokio::join!(serving, asking) }).await;
        assert!(heads[0][0].starts_with("POST /dns-query HTTP/1.1\r\n"), "{}", heads[0][0]);
        let meant = there.meant.borrow();
        assert_eq!((meant.len(), client.0.kept.borrow().len()), (2, 1));
        assert!(meant.iter().all(|target| target.port == port && target.addrs.len() == 1));
        assert_eq!(meant[0].tls, (port == 443).then_some(Verify::Host));
    }
}

#[tokio::test]
async fn no_more_connections_are_kept_than_may_be() {
    let (_, client, _) = client().await;
    local(async {
        for n in 0..20 {
            client.0.keep(&format!("{n}"), Box::new(tokio::io::empty()));
        }
        let kept: Vec<_> = client.0.kept.borrow().iter().map(|kept| kept.to.clone()).collect();
        assert_eq!(kept, ["12", "13", "14", "15", "16", "17", "18", "19"]);
        client.0.kept.borrow_mut().clear();
    })
    .await;
}

#[tokio::test]
async fn a_provider_without_https_is_left_alone_for_a_while() {
    let there = Rc::new(There::default());
    let client = Client::new(there.clone());
    let ask = |url: &'static str, ip: [u8; 4]| client.post(url, vec![ip.into()], b"question".to_vec());
    for _ in 0..5 {
        assert!(ask(PROVIDER, [8, 8, 8, 8]).await.is_err());
    }
    assert_eq!(there.meant.borrow().len(), 1, "asked in vain again and again");
    // Another one is another matter, and one that has no UDP is asked every time.
    assert!(ask("https://dns.quad9.net/dns-query", [9, 9, 9, 9]).await.is_err());
    for _ in 0..2 {
        assert!(ask("https://dns.nextdns.io/ab", [45, 90, 28, 0]).await.is_err());
    }
    assert_eq!(there.meant.borrow().len(), 4);
    // As if the time had passed.
    for (_, until) in &mut *client.0.paused.borrow_mut() {
        assert!(*until > Instant::now() + PAUSE / 2);
        *until = Instant::now();
    }
    assert!(ask(PROVIDER, [8, 8, 8, 8]).await.is_err());
    assert_eq!(there.meant.borrow().len(), 5);
    for n in 0..100 {
        let place = Place::of(&format!("https://{n}/"), ips()).expect("a place");
        client.0.pause(&place, &"a test");
    }
    assert_eq!(client.0.paused.borrow().len(), MOST_PAUSED);
}

/// HTTPS that a network drops without a word is given up when UDP has answered, and not tried for each question.
#[tokio::test]
async fn a_provider_to_which_connections_hang_is_left_alone_for_a_while() {
    const NEXTDNS: &str = "https://dns.nextdns.io/ab";
    let there = Rc::new(There::default());
    there.hangs.set(true);
    let client = Client::new(there.clone());
    let given_up = async |url: &str, addresses: Vec<IpAddr>, after: Duration| {
        let asking = client.post(url, addresses, b"question".to_vec());
        tokio::time::timeout(after, asking).await.is_err()
    };
    // Somebody else was quicker: that says nothing.
    assert!(given_up(PROVIDER, ips(), Duration::from_millis(5)).await);
    assert!(client.0.paused.borrow().is_empty());
    // Whom nobody else can be asked for is asked again and again; the other is not.
    for (url, ip, meant) in [(NEXTDNS, [45, 90, 28, 0], 2), (PROVIDER, [8, 8, 8, 8], 1)] {
        there.meant.borrow_mut().clear();
        assert!(given_up(url, vec![ip.into()], HANGS + Duration::from_millis(5)).await);
        let waits = given_up(url, vec![ip.into()], Duration::from_millis(5)).await;
        assert_eq!((waits, there.meant.borrow().len()), (meant == 2, meant), "{url}");
    }
    // What fails says so and needs no guess.
    there.hangs.set(false);
    assert!(client.post(NEXTDNS, vec![[45, 90, 28, 0].into()], Vec::new()).await.is_err());
    assert_eq!(client.0.paused.borrow().len(), 1);
}

/// Servers that take connections and say nothing: others wait for a place, and giving up frees it.
#[tokio::test]
async fn only_so_many_connections_at_once() {
    for (url, ips, most) in
        [(PROVIDER, ips(), MOST_TLS), ("http://100.64.0.9:5/dns-query", Vec::new(), MOST_PEERAPI)]
    {
        let (there, client, _listener) = client().await;
        let mut asked: Vec<_> =
            (0..50).map(|_| client.post(url, ips.clone(), b"question".to_vec())).collect();
        for _ in 0..3 {
            for asking in &mut asked {
                assert!(tokio::time::timeout(Duration::from_millis(1), asking).await.is_err());
            }
        }
        assert_eq!(there.meant.borrow().len(), most);
        drop(asked);
        let free = [&client.0.tls, &client.0.peerapi].map(Semaphore::available_permits);
        assert_eq!(free, [MOST_TLS, MOST_PEERAPI]);
        assert!(client.0.paused.borrow().is_empty(), "who was given up has not failed");
    }
}

#[tokio::test]
async fn what_is_no_dns_message_is_no_answer() {
    let (_, client, listener) = client().await;
    let asking = client.post(PROVIDER, ips(), b"question".to_vec());
    let (_, answer) = local(async { tokio::join!(serve(&listener, 1, "text/plain"), asking) }).await;
    assert!(answer.is_err() && client.0.kept.borrow().is_empty());
    for (url, addresses) in [
        ("https://127.0.0.1/dns-query", Vec::new()),
        ("http://name/x", ips()),
        ("http://127.0.0.1:1", ips()),
        ("", ips()),
    ] {
        assert!(client.post(url, addresses, Vec::new()).await.is_err(), "{url}");
    }
}
