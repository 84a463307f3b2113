//! `POST debug?action=…`: what the node does and counts, small pushes, and a transfer that carries checksummed data in
//! ICMP echoes; `POST bugreport`.

use super::knobs;
use crate::dataplane::Dataplane;
use crate::node::Shared;
use bytes::Bytes;
use engine::PingOutcome;
use engine::host::PingKind;
use localapi::server::{Request, Response};
use localapi::types::{ErrorBody, Indent, Map, to_go_json};
use rand_core::RngCore as _;
use ring::digest::{Context, SHA256};
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::rc::Rc;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::task::JoinSet;

/// The name of the feature, if it is in this build.
pub const FEATURE: Option<&str> = Some("debug");

/// Data in one echo; with headers it fits the tunnel's MTU in both families.
const PIECE: usize = 1200;
/// Echoes under way at once; the engine keeps 64.
const WINDOW: usize = 24;
/// An echo that has not come back by then is sent again.
const AGAIN: Duration = Duration::from_millis(500);
/// An echo that was sent so often without an answer ends the transfer.
const TRIES: u32 = 20;
/// Most that one transfer carries.
const MOST: usize = 256 << 20;

/// The log has levels, but no components.
pub fn component_logging() -> Response {
    Response::json(&no_component_logging(), Indent::None)
}

/// What whoever asks for more log lines of a component is told.
pub fn no_component_logging() -> ErrorBody {
    ErrorBody {
        error: "this build has no log levels for components; start tailscaled with --verbose=1".to_owned(),
    }
}

/// Answers an action.
pub async fn action(shared: &Rc<Shared>, request: &Request) -> Response {
    match request.query.text("action") {
        "drops" => {
            let drops: Map<&str, u32> = shared.plane.drops().into_iter().collect();
            Response::json(&drops, Indent::Tab)
        }
        "current-netmap" if shared.backend.borrow().netmap().is_none() => Response::error(400, "no netmap"),
        "current-netmap" => crate::api::network_map::document(shared),
        "control-knobs" => {
            let backend = shared.backend.borrow();
            let knobs = backend.netmap().map(|map| knobs::of(&map.self_node)).unwrap_or_default();
            Response::json(&knobs, Indent::None)
        }
        "peer-disco-keys" => peer_disco_keys(shared),
        // There is nobody to relay for us but DERP.
        "peer-relay-servers" => Response::text("[]\n"),
        "clear-netmap-cache" => {
            shared.backend.borrow_mut().cache_mark().forget();
            shared.plane.changed.notify_one();
            done()
        }
        "restun" => {
            shared.plane.look();
            done()
        }
        "rebind" => {
            shared.plane.network_changed();
            done()
        }
        "break-derp-conns" => {
            shared.plane.close_relays();
            shared.plane.relays(&shared.backend.borrow().relay_config());
            done()
        }
        "echo" => echo(shared, request),
        "" => Response::error(400, "missing parameter 'action'"),
        other => Response::error(400, &format!("unknown action {other:?}")),
    }
}

fn done() -> Response {
    Response { content_type: "text/plain", ..Response::text("done\n") }
}

/// Node keys with the disco keys that control told for them.
fn peer_disco_keys(shared: &Shared) -> Response {
    let backend = shared.backend.borrow();
    let peers = backend.netmap().into_iter().flat_map(|map| map.peers());
    let keys: Map<String, String> = peers
        .filter(|peer| !peer.disco_key.is_zero())
        .map(|peer| (peer.key.to_string(), peer.disco_key.to_string()))
        .collect();
    Response::json(&keys, Indent::None)
}

/// Marks the moment in the log. There is nothing to refer to elsewhere: this node uploads no logs, which is what
/// the marker says.
pub fn bug_report(request: &Request) -> Response {
    const MARKER: &str = "BUG-NO-LOGS-NO-SUPPORT-this-node-uploads-no-logs";
    let note = request.query.text("note");
    log::info!("user bugreport: {MARKER} {}", note.escape_debug());
    // A recording has a second one for its end.
    let lines = if request.query.flag("record") == Some(true) { 2 } else { 1 };
    Response { content_type: "text/plain", ..Response::text(format!("{MARKER}\n").repeat(lines)) }
}

/// `echo&ip=…&bytes=…`: sends that many random bytes in ICMP echoes and compares what comes back. Streams a line
/// of JSON a second, the last one with both checksums.
fn echo(shared: &Rc<Shared>, request: &Request) -> Response {
    let (Ok(ip), Ok(bytes)) =
        (request.query.text("ip").parse(), request.query.text("bytes").parse::<usize>())
    else {
        return Response::error(400, "give ip and bytes");
    };
    let (lines, answer) = mpsc::channel(4);
    let plane = shared.plane.clone();
    dial::spawn(async move {
        let line = match transfer(plane, ip, bytes.min(MOST), &lines).await {
            Ok(line) => line,
            Err(error) => format!("{{\"Error\":{}}}\n", to_go_json(&error, Indent::None)),
        };
        let _ = lines.send(Bytes::from(line)).await;
    });
    Response::stream(answer)
}

async fn transfer(
    plane: Rc<Dataplane>,
    ip: IpAddr,
    bytes: usize,
    lines: &mpsc::Sender<Bytes>,
) -> Result<String, String> {
    let (mut sent, mut received) = (Context::new(&SHA256), Context::new(&SHA256));
    let mut under_way: JoinSet<Result<Carried, String>> = JoinSet::new();
    // What came back before its turn waits here: at most a window of pieces.
    let mut early: BTreeMap<usize, Vec<u8>> = BTreeMap::new();
    let (mut next, mut due, mut done, mut again) = (0, 0, 0, 0);
    let mut tick = tokio::time::interval(Duration::from_secs(1));
    tick.tick().await;
    while done < bytes {
        while next < bytes && under_way.len() + early.len() < WINDOW {
            let mut piece = vec![0; PIECE.min(bytes - next)];
            rand_core::OsRng.fill_bytes(&mut piece);
            sent.update(&piece);
            let (plane, at) = (plane.clone(), next);
            next += piece.len();
            under_way.spawn_local(async move { carry(&plane, ip, at, piece).await });
        }
        let Some(back) = under_way.join_next().await else { return Err("nothing under way".to_owned()) };
        let carried = back.map_err(|error| error.to_string())??;
        again += carried.repeats;
        early.insert(carried.at, carried.back);
        while let Some(piece) = early.remove(&due) {
            received.update(&piece);
            due += piece.len();
            done += piece.len();
        }
        let second_over =
            std::future::poll_fn(|cx| std::task::Poll::Ready(tick.poll_tick(cx).is_ready())).await;
        if second_over && done < bytes {
            let line = format!("{{\"Bytes\":{done},\"Again\":{again}}}\n");
            lines.send(Bytes::from(line)).await.map_err(|_| "client has gone".to_owned())?;
        }
    }
    let (sent, received) = (sent.finish(), received.finish());
    let hex = |digest: &ring::digest::Digest| {
        digest.as_ref().iter().map(|b| format!("{b:02x}")).collect::<String>()
    };
    Ok(format!(
        "{{\"Bytes\":{done},\"Again\":{again},\"Sent\":\"{}\",\"Received\":\"{}\"}}\n",
        hex(&sent),
        hex(&received)
    ))
}

/// A piece that came back.
struct Carried {
    /// Where in the data it belongs.
    at: usize,
    back: Vec<u8>,
    /// How often it had to be sent again.
    repeats: u32,
}

async fn carry(plane: &Dataplane, ip: IpAddr, at: usize, piece: Vec<u8>) -> Result<Carried, String> {
    for repeats in 0..TRIES {
        if let Some(PingOutcome::Answered(answer)) =
            plane.ping_with(PingKind::Icmp, ip, &piece, AGAIN).await?
        {
            return Ok(Carried { at, back: answer.payload, repeats });
        }
    }
    Err(format!("no answer from {ip} to {TRIES} echoes"))
}
