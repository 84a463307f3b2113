//! What one node is answered: a greeting, and DNS if it may ask us.
//!
//! Owns: who may do what. A browser on the visitor's machine must not be talked into asking in its name, so whatever
//! looks like one is refused. Leaves out: what names mean (`parts::dns`).

use crate::backend::{Backend, Reply};
use crate::dataplane::Dataplane;
use crate::node::Shared;
use crate::parts::{advertiseexitnode, dns};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;
use http1::{Answer, Content, Head, LocalFuture, Method, Request, Service};
use localapi::server::Query;
use netmap::{Node, NodeId};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::rc::Rc;
use std::time::Duration;
use tokio::sync::oneshot;

/// What DNS over HTTP carries.
const DNS_MESSAGE: &str = "application/dns-message";
/// Longest query: none that is longer is asked of anybody.
const LONGEST: usize = 4095;
/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(5);
/// What stands for the internet in the packet filter (protocol reference §9.6).
const INTERNET: (Ipv4Addr, Ipv6Addr) = (Ipv4Addr::UNSPECIFIED, Ipv6Addr::new(0x2000, 0, 0, 0, 0, 0, 0, 0));

/// A connection of a node.
pub(super) struct Visit {
    shared: Rc<Shared>,
    id: NodeId,
    from: IpAddr,
    to: SocketAddr,
}

/// The peer that `from` is an address of: packets of others, or for somebody behind a peer, do not count. Nobody looks at
/// all peers for that: it is asked for each request.
fn visitor<'a>(backend: &'a Backend, plane: &Dataplane, from: IpAddr) -> Option<&'a Node> {
    let node = backend.netmap()?.peer(plane.peer_at(from)?)?;
    node.ips().any(|own| own == from).then_some(node)
}

impl Visit {
    /// `None`: nobody we know.
    pub(super) fn new(shared: Rc<Shared>, from: IpAddr, to: SocketAddr) -> Option<Self> {
        let id = visitor(&shared.backend.borrow(), &shared.plane, from)?.id;
        Some(Self { shared, id, from, to })
    }

    /// Whose it is, unless others have its address since the connection was made.
    fn visitor<'a>(&self, backend: &'a Backend) -> Option<&'a Node> {
        visitor(backend, &self.shared.plane, self.from).filter(|node| node.id == self.id)
    }

    /// Whose it is.
    pub(super) const fn id(&self) -> NodeId {
        self.id
    }

    /// Whether the request names us as its host, as the visitor knows us.
    fn names_us(&self, node: &Node, host: &str) -> bool {
        if host == "peer" {
            return true;
        }
        let Ok(named) = host.parse::<SocketAddr>().map(|at| at.ip()) else { return false };
        match (node.rare().masq_v4, node.rare().masq_v6) {
            (None, None) => named == self.to.ip().to_canonical(),
            (v4, v6) => [v4.map(IpAddr::V4), v6.map(IpAddr::V6)].contains(&Some(named)),
        }
    }

    /// Whether the visitor's questions are answered: it is our owner's, or we are an exit node and it may go out.
    fn may_ask(&self, backend: &Backend, node: &Node) -> bool {
        let Some(map) = backend.netmap() else { return false };
        let ours = &map.self_node;
        if ours.user == node.user && [ours, node].iter().all(|node| node.rare().tags.is_empty()) {
            return true;
        }
        let internet = if self.from.is_ipv4() { INTERNET.0.into() } else { INTERNET.1.into() };
        advertiseexitnode::networks(backend.prefs()).len() > 1
            && self.shared.plane.allows_tcp(self.from, internet, 53)
    }

    fn greeting(&self) -> Answer {
        let backend = self.shared.backend.borrow();
        let node = self.visitor(&backend);
        let user = node.and_then(|node| backend.netmap()?.user(node.user));
        let name = user.map(|user| escaped(&user.display_name)).unwrap_or_default();
        let ours = backend.netmap().map(|map| escaped(&map.self_node.name)).unwrap_or_default();
        let theirs = node.map(|node| escaped(&node.name)).unwrap_or_default();
        let body = format!(
            "<!doctype html>\n<title>smalltail</title>\n<h1>Hello, {name}!</h1>\n\
             <p>Here is {ours}; you come from {theirs} ({}).\n",
            self.from
        );
        answer(200, "text/html; charset=utf-8", body.into())
    }

    async fn resolve(&self, request: &Request) -> Answer {
        let (query, by_hand) = match query(request) {
            Ok(query) => query,
            Err(why) => return plain(400, why),
        };
        let (sender, reply) = oneshot::channel();
        let reply_to = Reply::new(move |bytes: Vec<u8>| drop(sender.send(bytes)));
        self.shared.dns.ask(query, true, dns::Asker::ExitClient, reply_to);
        match tokio::time::timeout(PATIENCE, reply).await {
            Ok(Ok(bytes)) if by_hand => answer(200, "application/json", shown(&bytes).into()),
            Ok(Ok(bytes)) => answer(200, DNS_MESSAGE, bytes.into()),
            Ok(Err(_)) => plain(500, "DNS forwarding error"),
            Err(_) => plain(500, "nobody has answered in time"),
        }
    }
}

/// The DNS message in a request, and whether it was written by hand (`?q=NAME&t=KIND`); or what is wrong with it.
fn query(request: &Request) -> Result<(Vec<u8>, bool), &'static str> {
    match request.method {
        Method::GET => {
            let query = Query::parse(request.query());
            let text = query.text("dns");
            if text.is_empty() {
                let name = Some(query.text("q")).filter(|name| !name.is_empty());
                let name = name.ok_or("missing 'dns' parameter; try '?dns=', or '?q=<name>' for JSON")?;
                return dns::question(name, query.text("t")).map(|query| (query, true)).ok_or("no name");
            }
            let bytes = URL_SAFE_NO_PAD.decode(text).map_err(|_| "invalid 'dns' base64 encoding")?;
            if bytes.len() > LONGEST { Err("query too large") } else { Ok((bytes, false)) }
        }
        Method::POST if request.headers.text("content-type") == DNS_MESSAGE => {
            Ok((request.body.to_vec(), false))
        }
        Method::POST => Err("unexpected Content-Type"),
        _ => Err("bad HTTP method"),
    }
}

/// What people read: a list, or why there is none.
fn shown(bytes: &[u8]) -> String {
    let value = match dns::records(bytes) {
        // As Go says that there are none.
        Ok(list) if list.is_empty() => return "null\n".to_owned(),
        Ok(list) => gojson::to_go_json(&list, gojson::Indent::None),
        Err(error) => gojson::to_go_json(&Failure { error }, gojson::Indent::None),
    };
    value + "\n"
}

gojson::object! {
    write struct Failure {
        error: String => "Error",
    }
}

impl Service for Visit {
    fn admit(&self, request: &Request) -> Result<usize, Answer> {
        let backend = self.shared.backend.borrow();
        let node = self.visitor(&backend);
        let headers = &request.headers;
        let host = request.authority().unwrap_or_else(|| headers.text("host"));
        let browser =
            ["referer", "origin"].iter().any(|name| headers.get(name).is_some_and(|v| !v.is_empty()));
        let Some(node) = node.filter(|node| !browser && self.names_us(node, host)) else {
            return Err(plain(403, "invalid peerapi request"));
        };
        match request.path() {
            "/" => Ok(0),
            "/dns-query" if dns::FEATURE.is_none() => Err(plain(501, "DNS is not in this build")),
            "/dns-query" if !self.may_ask(&backend, node) => Err(plain(403, "DNS access denied")),
            "/dns-query" => Ok(LONGEST),
            _ => Err(plain(404, "unsupported peerapi path")),
        }
    }

    fn refuse(&self, status: u16, why: &str) -> Answer {
        plain(status, why)
    }

    fn answer(&self, request: Request) -> LocalFuture<'_, Answer> {
        Box::pin(async move {
            match request.path() {
                "/" => self.greeting(),
                _ => self.resolve(&request).await,
            }
        })
    }
}

fn answer(status: u16, kind: &str, body: Bytes) -> Answer {
    let head = Head::answer(status).field("content-type", kind).field("x-content-type-options", "nosniff");
    Answer { head, content: Content::Full(body) }
}

fn plain(status: u16, text: &str) -> Answer {
    answer(status, "text/plain; charset=utf-8", format!("{text}\n").into())
}

/// For HTML.
fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '&' => out.push_str("&amp;"),
            '"' => out.push_str("&#34;"),
            '\'' => out.push_str("&#39;"),
            c => out.push(c),
        }
    }
    out
}

#[cfg(test)]
#[path = "visit_tests.rs"]
mod tests;
