//! Asking a gateway by HTTP: where, one request a connection, an answer of bounded length.

use crate::Error;
use dial::{Dial, Target};
use http1::{Head, Method};
use std::net::{IpAddr, Ipv4Addr};

/// The longest answer. Descriptions have 2 to 10 KB.
const LONGEST: usize = 64 << 10;

/// Where something is on a gateway.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) port: u16,
    pub(crate) path: String,
}

impl Place {
    /// The place that `url` names; `None` unless it is plain HTTP at `gateway` itself: nothing that a router says makes
    /// us ask somebody else.
    pub(crate) fn at(gateway: Ipv4Addr, url: &str) -> Option<Self> {
        let rest = url.strip_prefix("http://")?;
        let (authority, path) = rest.find('/').map_or((rest, "/"), |at| rest.split_at(at));
        let (host, port) = authority.split_once(':').unwrap_or((authority, "80"));
        if host.parse() != Ok(gateway) {
            return None;
        }
        Some(Self { port: port.parse().ok().filter(|port| *port != 0)?, path: clean(path)? })
    }

    /// The place that `reference` names from here.
    pub(crate) fn join(&self, gateway: Ipv4Addr, reference: &str) -> Option<Self> {
        if reference.contains("://") {
            return Self::at(gateway, reference);
        }
        let path = match reference.strip_prefix('/') {
            Some(_) => reference.to_owned(),
            None => format!("{}/{reference}", self.path.rsplit_once('/').map_or("", |(folder, _)| folder)),
        };
        Some(Self { port: self.port, path: clean(&path)? })
    }
}

/// A path that cannot break out of its line.
fn clean(path: &str) -> Option<String> {
    (path.len() < 1024 && path.bytes().all(|byte| byte.is_ascii_graphic())).then(|| path.to_owned())
}

/// An answer.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) body: String,
}

/// Asks `gateway`; with a SOAP action and its body by POST. The caller bounds the time.
pub(crate) async fn ask(
    dialer: &dyn Dial,
    gateway: Ipv4Addr,
    place: &Place,
    soap: Option<(String, String)>,
) -> Result<Answer, Error> {
    let Place { port, path } = place;
    let target =
        Target { host: gateway.to_string(), port: *port, addrs: vec![IpAddr::V4(gateway)], tls: None };
    let mut stream = dialer.dial(&target).await?;
    let method = if soap.is_some() { Method::POST } else { Method::GET };
    let mut request = Head::request(method, path, &format!("{gateway}:{port}")).field("Connection", "close");
    let (action, body) = soap.unwrap_or_default();
    if method == Method::POST {
        request = request
            .field("Content-Type", "text/xml; charset=\"utf-8\"")
            .field("SOAPAction", &format!("\"{action}\""));
    }
    let mut answer = http1::ask(&mut stream, request, body.as_bytes()).await.map_err(nonsense)?;
    let mut all = Vec::new();
    loop {
        match answer.next(&mut stream).await {
            Ok(Some(piece)) if piece.len() > LONGEST.saturating_sub(all.len()) => {
                return Err(Error::Nonsense("an answer too long to be one"));
            }
            Ok(Some(piece)) => all.extend_from_slice(&piece),
            // Some gateways promise more than they send.
            Ok(None) | Err(http1::Error::Cut) => break,
            Err(error) => return Err(nonsense(error)),
        }
    }
    Ok(Answer { status: answer.status, body: String::from_utf8_lossy(&all).into_owned() })
}

fn nonsense(error: http1::Error) -> Error {
    match error {
        http1::Error::Io(error) => error.into(),
        http1::Error::Malformed(what) => Error::Nonsense(what),
        http1::Error::HeadTooLong(_) => Error::Nonsense("an answer too long to be one"),
        _ => Error::Nonsense("an answer that ends too early"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    const GATEWAY: Ipv4Addr = Ipv4Addr::new(192, 168, 1, 1);

    #[test]
    fn places() {
        let at = |url: &str| Place::at(GATEWAY, url).map(|place| (place.port, place.path));
        assert_eq!(at("http://192.168.1.1:5000/root.xml"), Some((5000, "/root.xml".to_owned())));
        assert_eq!(at("http://192.168.1.1"), Some((80, "/".to_owned())));
        for bad in [
            "https://192.168.1.1/",
            "http://192.168.1.2/",
            "http://router/",
            "http://192.168.1.1:0/",
            "http://192.168.1.1:99999/",
            "http://192.168.1.1/a b",
            "http://192.168.1.1/a\r\nX: y",
            "http://user@192.168.1.1/",
        ] {
            assert_eq!(at(bad), None, "{bad}");
        }
        let here = Place::at(GATEWAY, "http://192.168.1.1:5000/desc/root.xml").unwrap();
        let join = |reference: &str| here.join(GATEWAY, reference).map(|place| (place.port, place.path));
        assert_eq!(join("/ctl"), Some((5000, "/ctl".to_owned())));
        assert_eq!(join("ctl?x"), Some((5000, "/desc/ctl?x".to_owned())));
        assert_eq!(join("http://192.168.1.1:80/ctl"), Some((80, "/ctl".to_owned())));
        assert_eq!(join("http://10.0.0.1/ctl"), None);
    }

    /// A gateway that says `text` and hangs up.
    struct Gateway(Vec<u8>);

    impl Dial for Gateway {
        fn dial<'a>(&'a self, target: &'a Target) -> dial::LocalFuture<'a, std::io::Result<dial::BoxStream>> {
            assert_eq!((target.addrs.as_slice(), target.port), (&[IpAddr::V4(GATEWAY)][..], 5000));
            let (ours, mut theirs) = tokio::io::duplex(1 << 16);
            let text = self.0.clone();
            tokio::task::spawn_local(async move {
                let mut asked = vec![0; 2048];
                let len = theirs.read(&mut asked).await.unwrap_or_default();
                let asked = String::from_utf8_lossy(&asked[..len]).into_owned();
                assert!(
                    asked.contains(" /ctl HTTP/1.1\r\nHost: 192.168.1.1:5000\r\nConnection: close\r\n"),
                    "{asked}"
                );
                if asked.starts_with("POST") {
                    assert!(asked.contains("\r\nSOAPAction: \"urn:x#Y\"\r\n"), "{asked}");
                    assert!(asked.ends_with("\r\nContent-Length: 4\r\n\r\n<x/>"), "{asked}");
                }
                let _ = theirs.write_all(&text).await;
            });
            Box::pin(async { Ok(Box::new(ours) as dial::BoxStream) })
        }
    }

    async fn asked(text: &[u8], soap: bool) -> Result<Answer, Error> {
        let place = Place { port: 5000, path: "/ctl".to_owned() };
        let soap = soap.then(|| ("urn:x#Y".to_owned(), "<x/>".to_owned()));
        let gateway = Gateway(text.to_vec());
        let asking = ask(&gateway, GATEWAY, &place, soap);
        tokio::task::LocalSet::new().run_until(asking).await
    }

    #[tokio::test]
    async fn answers() {
        let hi = |status| Ok(Answer { status, body: "hi".to_owned() });
        let fits = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi";
        assert_eq!(asked(fits, false).await, hi(200));
        let chunked = b"HTTP/1.1 500 No\r\nTransfer-Encoding: Chunked\r\n\r\n1\r\nh\r\n1;x\r\ni\r\n0\r\n\r\n";
        assert_eq!(asked(chunked, true).await, hi(500));
        assert_eq!(asked(b"HTTP/1.0 200 OK\r\n\r\nhi", true).await, hi(200));
        assert_eq!(asked(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhi", true).await, hi(200));
        for bad in [
            &b"SSH-2.0-x\r\n\r\n"[..],
            b"HTTP/1.1 200 OK\r\n",
            b"",
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nfffffffffffffffff\r\nx",
        ] {
            assert!(matches!(asked(bad, false).await, Err(Error::Nonsense(_))), "{bad:?}");
        }
    }

    #[tokio::test]
    async fn ten_megabytes_are_cut_off() {
        let long = [&b"HTTP/1.1 200 OK\r\n\r\n"[..], &vec![b'<'; 10 << 20]].concat();
        assert_eq!(asked(&long, false).await, Err(Error::Nonsense("an answer too long to be one")));
        let promised = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nffffffffffffffff\r\nx";
        assert_eq!(asked(promised, false).await.map(|answer| answer.body), Ok("x".to_owned()));
    }
}
