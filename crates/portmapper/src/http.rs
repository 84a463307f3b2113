//! As much of HTTP/1.1 as asking a gateway takes: one request a connection, an answer of bounded length.

use crate::Error;
use dial::{BoxStream, Dial, Target};
use std::net::{IpAddr, Ipv4Addr};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

/// The longest answer, headers included. Descriptions have 2 to 10 KB.
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
    let method = if soap.is_some() { "POST" } else { "GET" };
    let mut request = format!("{method} {path} HTTP/1.1\r\nHost: {gateway}:{port}\r\nConnection: close\r\n");
    if let Some((action, body)) = soap {
        let len = body.len();
        request.push_str(&format!(
            "Content-Type: text/xml; charset=\"utf-8\"\r\nSOAPAction: \"{action}\"\r\nContent-Length: {len}\r\n\r\n{body}"
        ));
    } else {
        request.push_str("\r\n");
    }
    stream.write_all(request.as_bytes()).await?;
    stream.flush().await?;
    parse(&read(stream).await?)
}

/// Everything until the other side closes, or what its headers promise is there.
async fn read(mut stream: BoxStream) -> Result<Vec<u8>, Error> {
    let mut all = Vec::new();
    loop {
        let start = all.len();
        all.resize(start + 2048, 0);
        let len = stream.read(all.get_mut(start..).unwrap_or_default()).await?;
        all.truncate(start + len);
        if all.len() > LONGEST {
            return Err(Error::Nonsense("an answer too long to be one"));
        }
        if len == 0 || whole(&all) {
            return Ok(all);
        }
    }
}

/// Head and body of an answer, as far as it has come.
fn split(all: &[u8]) -> Option<(&str, &[u8])> {
    let end = all.windows(4).position(|four| four == b"\r\n\r\n")?;
    let (head, body) = all.split_at_checked(end)?;
    Some((std::str::from_utf8(head).ok()?, body.get(4..)?))
}

fn header<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    let fields = head.split("\r\n").skip(1).filter_map(|line| line.split_once(':'));
    fields.filter(|(field, _)| field.trim().eq_ignore_ascii_case(name)).map(|(_, value)| value.trim()).next()
}

fn is_chunked(head: &str) -> bool {
    header(head, "transfer-encoding").is_some_and(|value| value.eq_ignore_ascii_case("chunked"))
}

fn whole(all: &[u8]) -> bool {
    let Some((head, body)) = split(all) else { return false };
    if is_chunked(head) {
        return dechunk(body).is_some();
    }
    header(head, "content-length")
        .and_then(|len| len.parse::<usize>().ok())
        .is_some_and(|len| body.len() >= len)
}

fn parse(all: &[u8]) -> Result<Answer, Error> {
    let (head, body) = split(all).ok_or(Error::Nonsense("an answer without an end of its head"))?;
    let mut words = head.split([' ', '\r']);
    let version = words.next().is_some_and(|version| version.starts_with("HTTP/1."));
    let status = words.next().and_then(|status| status.parse().ok()).filter(|_| version);
    let status = status.ok_or(Error::Nonsense("no HTTP"))?;
    let body = match is_chunked(head) {
        true => dechunk(body).ok_or(Error::Nonsense("chunks that do not fit"))?,
        false => body.to_vec(),
    };
    Ok(Answer { status, body: String::from_utf8_lossy(&body).into_owned() })
}

/// The body of chunks; `None` if they have not all come or are none.
fn dechunk(mut rest: &[u8]) -> Option<Vec<u8>> {
    let mut out = Vec::new();
    loop {
        let end = rest.windows(2).position(|two| two == b"\r\n")?;
        let line = std::str::from_utf8(rest.get(..end)?).ok()?;
        let size = usize::from_str_radix(line.split(';').next()?.trim(), 16).ok()?;
        if size == 0 {
            return Some(out);
        }
        let after = rest.get(end + 2..)?;
        out.extend_from_slice(after.get(..size)?);
        rest = after.get(size..)?.strip_prefix(b"\r\n")?;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

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

    #[test]
    fn answers() {
        let plain = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi";
        assert!(whole(plain) && !whole(&plain[..plain.len() - 1]));
        assert_eq!(parse(plain), Ok(Answer { status: 200, body: "hi".to_owned() }));
        let chunked = b"HTTP/1.0 500 No\r\nTransfer-Encoding: Chunked\r\n\r\n1\r\nh\r\n1;x\r\ni\r\n0\r\n\r\n";
        assert!(whole(chunked));
        assert_eq!(parse(chunked), Ok(Answer { status: 500, body: "hi".to_owned() }));
        assert!(parse(b"SSH-2.0-x\r\n\r\n").is_err());
        assert!(parse(b"HTTP/1.1 200 OK\r\n").is_err());
        assert!(
            parse(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nffffffffffffffff\r\nx").is_err()
        );
    }

    #[tokio::test]
    async fn ten_megabytes_are_cut_off() {
        let (ours, mut theirs) = tokio::io::duplex(1 << 16);
        let sending = async move {
            let mut sent = 0;
            let _ = theirs.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await;
            while sent < 10 << 20 && theirs.write_all(&[b'<'; 4096]).await.is_ok() {
                sent += 4096;
            }
            sent
        };
        let (read, sent) = tokio::join!(read(Box::new(ours)), sending);
        assert_eq!(read.map(|all| all.len()), Err(Error::Nonsense("an answer too long to be one")));
        assert!(sent <= 4 * LONGEST, "{sent}");
    }

    proptest! {
        #[test]
        fn anything(bytes: Vec<u8>, chunks in "[0-9a-f;\r\n]{0,60}") {
            let _ = (whole(&bytes), parse(&bytes), dechunk(&bytes), dechunk(chunks.as_bytes()));
        }
    }
}
