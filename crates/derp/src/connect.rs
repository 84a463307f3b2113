//! From a DERP region to an upgraded stream.
//!
//! Owns: the order in which a region's servers are tried, what each is dialled and verified as, and the HTTP
//! upgrade. Leaves out: TCP, DNS and TLS (`dial`), everything after `101`.
//!
//! Protocol reference §2.1. Servers are tried in list order; the next one starts when one fails or after 1.5 s,
//! and the first that answers wins: a slow line still gets through, a dead server costs 1.5 s.

use crate::Error;
use dial::{BoxStream, Dial, Target, Verify};
use http1::{Head, Method};
use netmap::{DerpNode, DerpRegion, FamilyAddr};
use std::net::{IpAddr, Ipv6Addr};
use std::rc::Rc;
use std::time::Duration;

/// How long a server may keep the next one waiting.
const HEAD_START: Duration = Duration::from_millis(1500);
/// So much of a server's words is shown.
const MAX_REASON: usize = 80;
/// Where servers listen that are used without TLS, in tests.
const HTTP_PORT: u16 = 3340;

/// A stream after `101`, and what arrived behind it already.
pub(crate) struct Upgraded {
    pub(crate) stream: BoxStream,
    pub(crate) read_ahead: Vec<u8>,
}

/// How one server is reached.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Server {
    pub(crate) target: Target,
    /// Name of the region's first server, if this is not it.
    ideal: Option<String>,
}

/// The servers of `region` that can be dialled, in order.
pub(crate) fn servers(region: &DerpRegion, use_http: bool) -> Vec<Server> {
    let ideal = region.nodes.first().map(|node| node.name.to_string());
    let usable = region.nodes.iter().enumerate().filter(|(_, node)| !node.stun_only);
    usable
        .filter_map(|(i, node)| {
            let target = target(node, use_http)?;
            Some(Server { target, ideal: ideal.clone().filter(|name| i > 0 && is_header_safe(name)) })
        })
        .collect()
}

/// What to dial for the servers of `region`, in order; those that cannot be dialled are left out.
pub fn targets(region: &DerpRegion) -> impl Iterator<Item = Target> {
    servers(region, false).into_iter().map(|server| server.target)
}

fn target(node: &DerpNode, use_http: bool) -> Option<Target> {
    let mut addrs = Vec::new();
    if let FamilyAddr::Ip(ip) = node.ipv4 {
        addrs.push(IpAddr::from(ip));
    }
    if let FamilyAddr::Ip(ip) = node.ipv6 {
        addrs.push(IpAddr::from(ip));
    }
    let nowhere = matches!((node.ipv4, node.ipv6), (FamilyAddr::Disabled, FamilyAddr::Disabled));
    if nowhere || !is_header_safe(&node.host_name) {
        return None;
    }
    let tls = if use_http {
        None
    } else if node.insecure_for_tests {
        Some(Verify::Nothing)
    } else if node.cert_name.is_empty() {
        Some(Verify::Host)
    } else if let Some(digits) = node.cert_name.strip_prefix("sha256-raw:") {
        let Some(pin) = pin(digits) else {
            log::warn!("DERP server {}: CertName is no SHA-256 in hex; server not used", node.host_name);
            return None;
        };
        Some(Verify::PinnedSha256(pin))
    } else {
        Some(Verify::Name(node.cert_name.to_string()))
    };
    let port = match (node.derp_port, use_http) {
        (0, false) => 443,
        (0, true) => HTTP_PORT,
        (port, _) => port,
    };
    Some(Target { host: node.host_name.to_string(), port, addrs, tls })
}

fn pin(digits: &str) -> Option<[u8; 32]> {
    let mut out = [0; 32];
    if digits.len() != 64 {
        return None;
    }
    for (byte, two) in out.iter_mut().zip(digits.as_bytes().chunks_exact(2)) {
        for digit in two {
            *byte = *byte << 4 | u8::try_from(char::from(*digit).to_digit(16)?).ok()?;
        }
    }
    Some(out)
}

/// Names come from the map and go into a request header.
fn is_header_safe(name: &str) -> bool {
    !name.is_empty() && name.len() <= 255 && name.bytes().all(|b| b.is_ascii_graphic())
}

/// Connects to the first server of `region` that answers. The caller bounds the time.
pub(crate) async fn connect(
    dialer: &Rc<dyn Dial>,
    region: &DerpRegion,
    use_http: bool,
) -> Result<Upgraded, Error> {
    let mut waiting = servers(region, use_http).into_iter();
    let mut running = dial::Running::default();
    let mut failure = Error::NoServer(region.id);
    loop {
        let next = waiting.next();
        let more = next.is_some();
        if let Some(server) = next {
            let dialer = Rc::clone(dialer);
            running.push(async move {
                let stream = dialer.dial(&server.target).await.map_err(|e| Error::Dial(e.to_string()))?;
                upgrade(stream, &server).await
            });
        }
        let first = if more {
            tokio::time::timeout(HEAD_START, running.next()).await.ok()
        } else {
            Some(running.next().await)
        };
        match first {
            None => {}
            Some(Some(Ok(upgraded))) => return Ok(upgraded),
            Some(Some(Err(e))) => failure = e,
            Some(None) if more => {}
            Some(None) => return Err(failure),
        }
    }
}

async fn upgrade(mut stream: BoxStream, server: &Server) -> Result<Upgraded, Error> {
    let Target { host, port, tls, .. } = &server.target;
    let literal = if host.parse::<Ipv6Addr>().is_ok() { format!("[{host}]") } else { host.clone() };
    let standard = *port == if tls.is_some() { 443 } else { 80 };
    let authority = if standard { literal } else { format!("{literal}:{port}") };
    let mut request = Head::request(Method::GET, "/derp", &authority)
        .field("Upgrade", "DERP")
        .field("Connection", "Upgrade");
    if let Some(name) = &server.ideal {
        request = request.field("Ideal-Node", name);
    }
    let refused = |answer: String| Error::NoUpgrade { host: host.clone(), answer };
    let answer = http1::ask(&mut stream, request, &[]).await.map_err(|why| match why {
        http1::Error::Io(error) => error.into(),
        http1::Error::Unanswered | http1::Error::Cut => Error::Closed,
        why => refused(why.to_string()),
    })?;
    if answer.status != 101 {
        let reason = answer.reason.get(..MAX_REASON).unwrap_or(&answer.reason);
        return Err(refused(format!("HTTP status {} {reason}", answer.status)));
    }
    Ok(Upgraded { stream, read_ahead: answer.into_rest().into() })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(host: &str) -> DerpNode {
        DerpNode { name: "1a".into(), host_name: host.into(), ..DerpNode::default() }
    }

    fn region(nodes: Vec<DerpNode>) -> DerpRegion {
        DerpRegion { nodes: nodes.into(), ..DerpRegion::default() }
    }

    #[test]
    fn order_and_ports() {
        let stun = DerpNode { stun_only: true, ..node("stun.example") };
        let off = DerpNode { ipv4: FamilyAddr::Disabled, ipv6: FamilyAddr::Disabled, ..node("off.example") };
        let unsafe_name = node("bad.example\r\nX: y");
        let v4 = DerpNode {
            ipv4: FamilyAddr::Ip([192, 0, 2, 1].into()),
            ipv6: FamilyAddr::Disabled,
            derp_port: 8443,
            ..node("v4.example")
        };
        let found = servers(&region(vec![stun, off, unsafe_name, v4, node("dns.example")]), false);
        assert_eq!(found.len(), 2);
        assert_eq!(found[0].target.addrs, [IpAddr::from([192, 0, 2, 1])]);
        assert_eq!((found[0].target.port, found[1].target.port), (8443, 443));
        assert_eq!(found[0].ideal.as_deref(), Some("1a"));
        assert!(found[1].target.addrs.is_empty());
        assert_eq!(servers(&region(vec![node("a")]), true)[0].target.port, HTTP_PORT);
        assert_eq!(servers(&region(vec![node("a")]), true)[0].ideal, None);
    }

    #[test]
    fn cert_names() {
        let verify = |cert_name: &str| {
            let node = DerpNode { cert_name: cert_name.into(), ..node("a.example") };
            target(&node, false).map(|target| target.tls.expect("TLS"))
        };
        assert_eq!(verify(""), Some(Verify::Host));
        assert_eq!(verify("b.example"), Some(Verify::Name("b.example".to_owned())));
        assert_eq!(
            verify(&format!("sha256-raw:{}", "aB".repeat(32))),
            Some(Verify::PinnedSha256([0xab; 32]))
        );
        assert_eq!(verify("sha256-raw:ab"), None, "a pin that cannot be read must not weaken anything");
        assert_eq!(verify(&format!("sha256-raw:{}", "+1".repeat(32))), None);
        let insecure = DerpNode { insecure_for_tests: true, ..node("a.example") };
        assert_eq!(target(&insecure, false).and_then(|target| target.tls), Some(Verify::Nothing));
    }
}
