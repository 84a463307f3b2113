//! Requests of control to this node: raw HTTP/1.1 in, raw HTTP/1.1 out (protocol reference §1.15).
//!
//! Owns: which requests there are and what they are answered. Answers are bounded: only the network map can be long,
//! and one that is too long is refused with the way to ask for less.

use crate::api::{ask, network_map};
use crate::backend::{Backend, Command, convert};
use crate::node::Shared;
use crate::parts::debug;
use control::MapItem;
use localapi::server::Query;
use localapi::types::{Indent, MaskedPrefs, Prefs, PrefsMask, Raw, to_go_json};
use netmap::{Changes, NetMap, Timestamp};
use std::rc::Rc;

/// The name of the feature, if it is in this build.
pub const FEATURE: Option<&str> = Some("c2n");

/// Longest network map that is sent, in bytes.
const MAP_LIMIT: usize = 2 << 20;

/// Answers one request.
pub async fn answer(shared: &Rc<Shared>, request: &[u8]) -> Vec<u8> {
    let answer = match Request::read(request) {
        Some(request) => handle(shared, &request).await,
        None => Answer::error("400 Bad Request", "malformed request"),
    };
    answer.text()
}

/// A request, split up.
struct Request<'a> {
    method: String,
    path: String,
    query: String,
    body: &'a [u8],
}

impl<'a> Request<'a> {
    fn read(request: &'a [u8]) -> Option<Self> {
        let end = request.windows(4).position(|w| w == b"\r\n\r\n")?;
        let (head, rest) = request.split_at(end);
        let head = String::from_utf8_lossy(head);
        let mut words = head.lines().next().unwrap_or("").split(' ');
        let (method, target) = (words.next().unwrap_or(""), words.next().unwrap_or(""));
        // The target may be a whole URL.
        let target = target
            .split_once("://")
            .map_or(target, |(_, rest)| rest.find('/').and_then(|at| rest.get(at..)).unwrap_or("/"));
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        Some(Self {
            method: method.to_owned(),
            path: path.to_owned(),
            query: query.to_owned(),
            body: rest.get(4..).unwrap_or_default(),
        })
    }

    /// A parameter of the query or of a form in the body.
    fn value(&self, name: &str) -> String {
        let body = std::str::from_utf8(self.body).unwrap_or_default();
        let of = |text: &str| Query::parse(text).value(name).map(str::to_owned);
        of(body).or_else(|| of(&self.query)).unwrap_or_default()
    }
}

struct Answer {
    status: &'static str,
    content_type: &'static str,
    body: Vec<u8>,
}

impl Answer {
    fn plain(status: &'static str, body: &[u8]) -> Self {
        Self { status, content_type: "text/plain; charset=utf-8", body: body.to_vec() }
    }

    fn error(status: &'static str, text: &str) -> Self {
        Self::plain(status, format!("{text}\n").as_bytes())
    }

    fn json(value: &dyn gojson::Value) -> Self {
        let body = format!("{}\n", to_go_json(value, Indent::None)).into_bytes();
        Self { status: "200 OK", content_type: "application/json", body }
    }

    fn text(self) -> Vec<u8> {
        let head = format!(
            "HTTP/1.1 {}\r\nContent-Type: {}\r\nContent-Length: {}\r\n\r\n",
            self.status,
            self.content_type,
            self.body.len()
        );
        [head.as_bytes(), &self.body].concat()
    }
}

async fn handle(shared: &Rc<Shared>, request: &Request<'_>) -> Answer {
    let debug = debug::FEATURE.is_some();
    match (request.method.as_str(), request.path.as_str()) {
        (_, "/echo") => Answer::plain("200 OK", request.body),
        // There are no logs to upload, so they are all uploaded.
        ("POST", "/logtail/flush") => Answer::plain("204 No Content", b""),
        ("GET", "/update") => Answer::json(&Update::default()),
        ("POST", "/update") => {
            let err = "this build does not update itself; install a newer one".to_owned();
            Answer::json(&Update { err, ..Update::default() })
        }
        ("POST", "/netfilter-kind") => netfilter_kind(shared, request.value("kind")).await,
        (_, "/debug/prefs") if debug => Answer::json(&shared.backend.borrow().prefs().redacted()),
        (_, "/debug/health") if debug => {
            let now = shared.now();
            Answer::json(&convert::health(&shared.backend.borrow().health(now)))
        }
        (_, "/debug/component-logging") if debug => Answer::json(&debug::no_component_logging()),
        ("GET" | "POST", "/debug/netmap") if debug => network_map(shared, request),
        (_, "/debug/netmap") if debug => Answer::error("405 Method Not Allowed", "method not allowed"),
        (_, "/logtail/flush" | "/update" | "/netfilter-kind") => {
            Answer::error("405 Method Not Allowed", "bad method")
        }
        _ => Answer::error("400 Bad Request", "unknown c2n path"),
    }
}

gojson::object! {
    /// What control is told about updates.
    struct Update {
        err: String => "Err" omit,
        enabled: bool => "Enabled",
        supported: bool => "Supported",
        started: bool => "Started",
    }
}

/// Which of the kernel's packet filters is to be used, from now on.
async fn netfilter_kind(shared: &Rc<Shared>, kind: String) -> Answer {
    if !["", "iptables", "nftables"].contains(&kind.as_str()) {
        return Answer::error("400 Bad Request", "kind must be iptables, nftables or empty");
    }
    let edit = Box::new(MaskedPrefs {
        prefs: Prefs { netfilter_kind: kind, ..Prefs::default() },
        mask: PrefsMask { netfilter_kind: true, ..PrefsMask::default() },
    });
    match ask(shared, |reply| Command::EditPrefs(edit, reply)).await {
        Ok(_) => Answer::plain("204 No Content", b""),
        Err(error) => Answer::error("500 Internal Server Error", &error),
    }
}

gojson::object! {
    read
    /// What may be asked of `/debug/netmap`.
    struct MapWish {
        /// A map response as of a fresh stream, to be shown as the map that it would make.
        candidate: Option<Raw> => "candidate",
        omit_fields: Option<Vec<String>> => "omitFields",
    }
}

fn network_map(shared: &Shared, request: &Request<'_>) -> Answer {
    let wish = match request.method.as_str() {
        "POST" => gojson::from_slice(request.body),
        _ => Ok(MapWish::default()),
    };
    let wish = match wish {
        Ok(wish) => wish,
        Err(error) => {
            return Answer::error("400 Bad Request", &format!("failed to decode request body: {error}"));
        }
    };
    let candidate = match wish.candidate.map(|map| candidate(&map, shared.now().wall)).transpose() {
        Ok(candidate) => candidate,
        Err(error) => {
            return Answer::error(
                "400 Bad Request",
                &format!("failed to convert candidate MapResponse: {error}"),
            );
        }
    };
    let omit = wish.omit_fields.unwrap_or_default();
    let mut body = b"{\"current\":".to_vec();
    if both_maps(&shared.backend.borrow(), candidate.as_ref(), &omit, &mut body).is_none() {
        let text = "the network map is too long to be sent; ask by POST with {\"omitFields\":[\"Peers\"]}";
        return Answer::error("413 Content Too Large", text);
    }
    body.extend_from_slice(b"}\n");
    Answer { body, ..Answer::json(&()) }
}

/// The map in force (`null` while there is none) and, if there is one, the candidate.
fn both_maps(
    backend: &Backend,
    candidate: Option<&NetMap>,
    omit: &[String],
    out: &mut Vec<u8>,
) -> Option<()> {
    let node_key = backend.node_key().public();
    match backend.netmap() {
        Some(map) => network_map::append(map, node_key, omit, MAP_LIMIT, out)?,
        None => out.extend_from_slice(b"null"),
    }
    let Some(candidate) = candidate else { return Some(()) };
    out.extend_from_slice(b",\"candidate\":");
    network_map::append(candidate, node_key, omit, MAP_LIMIT, out)
}

/// The map that a response would make if it were the first of a stream.
fn candidate(response: &Raw, now: Timestamp) -> Result<NetMap, control::Error> {
    let mut map = NetMap::default();
    let mut changes = Changes::default();
    map.begin_stream();
    for item in control::whole_message(response.text().as_bytes())? {
        match item {
            MapItem::Peer(node) => map.upsert_peer(*node, &mut changes),
            MapItem::End(message) => map.apply(message.delta, true, now, &mut changes),
        }
    }
    Ok(map)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn read(text: &str) -> Option<(String, String, String, String)> {
        let request = Request::read(text.as_bytes())?;
        let body = String::from_utf8_lossy(request.body).into_owned();
        Some((request.method, request.path, request.query, body))
    }

    #[test]
    fn requests_are_split_up() {
        let whole =
            read("POST /echo?a=b HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nhello").expect("whole");
        assert_eq!(whole, ("POST".into(), "/echo".into(), "a=b".into(), "hello".into()));
        assert_eq!(read("GET http://local/echo?x=1 HTTP/1.1\r\n\r\n").expect("URL").1, "/echo");
        assert_eq!(read("GET http://nopath HTTP/1.1\r\n\r\n").expect("URL").1, "/");
        assert!(read("garbage").is_none());
    }

    #[test]
    fn parameters_come_from_the_body_or_the_query() {
        let kind = |text: &str| Request::read(text.as_bytes()).expect("request").value("kind");
        assert_eq!(kind("POST /netfilter-kind?kind=iptables HTTP/1.1\r\n\r\n"), "iptables");
        assert_eq!(kind("POST /netfilter-kind?kind=a HTTP/1.1\r\n\r\nkind=nftables"), "nftables");
        assert_eq!(kind("POST /netfilter-kind HTTP/1.1\r\n\r\n\u{1}"), "");
    }

    #[test]
    fn answers_are_http() {
        let text = |answer: Answer| String::from_utf8(answer.text()).expect("utf-8");
        let update = text(Answer::json(&Update::default()));
        assert!(update.starts_with("HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"));
        assert!(update.ends_with("\r\n\r\n{\"Enabled\":false,\"Supported\":false,\"Started\":false}\n"));
        assert!(text(Answer::error("400 Bad Request", "no")).contains("Content-Length: 3\r\n"));
    }

    proptest! {
        #[test]
        fn any_request_does_no_harm(request: Vec<u8>, target in "\\PC{0,40}") {
            if let Some(request) = Request::read(&request) {
                let _ = request.value("kind");
            }
            let _ = Request::read(format!("GET {target} HTTP/1.1\r\n\r\n").as_bytes()).expect("a head");
        }
    }
}
