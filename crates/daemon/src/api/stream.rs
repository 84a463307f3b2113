//! Answers that are written bit by bit: `status`, and the bus.
//!
//! Peers are rendered a few at a time while the client reads, so that the answer for ten thousand of them is never in
//! memory; a peer that comes or goes meanwhile may or may not be in it.

use crate::node::Shared;
use crate::parts::ipnbus;
use bytes::Bytes;
use localapi::server::Response;
use localapi::types::{Indent, Notify, NotifyStatusWriter, Status, StatusWriter, mask};
use netmap::NodeId;
use rand_core::RngCore as _;
use std::rc::Rc;
use tokio::sync::mpsc;

/// Peers in one chunk.
pub(super) const CHUNK: usize = 16;

/// Chunks that may wait for the reader.
pub(super) const QUEUE: usize = 2;

/// Answers `status`.
pub(super) fn status(shared: &Rc<Shared>, with_peers: bool) -> Response {
    let mut head = status_head(shared, with_peers);
    if !with_peers {
        return Response::json(&head, Indent::Tab);
    }
    let (chunks, answer) = mpsc::channel(QUEUE);
    let shared = shared.clone();
    dial::spawn(async move {
        let mut out = Vec::new();
        let writer = StatusWriter::begin(&mut head, Indent::Tab, &mut out);
        let mut writer = Peers::Status(writer);
        if each_peer(&shared, &mut writer, &mut out, &chunks).await.is_some() {
            writer.finish(&mut out);
            if let Peers::Done = writer {
                out.push(b'\n');
            }
            let _ = chunks.send(Bytes::from(out)).await;
        }
    });
    Response::stream(answer)
}

fn status_head(shared: &Shared, with_peers: bool) -> Status {
    let backend = shared.backend.borrow();
    let mut head = backend.status_head(backend.health_texts(shared.now()));
    if with_peers {
        backend.add_users(&mut head);
    }
    head
}

/// Either document that has peers in it.
enum Peers {
    Status(StatusWriter),
    Notify(NotifyStatusWriter),
    Done,
}

impl Peers {
    fn peer(&mut self, peer: &localapi::types::PeerStatus, out: &mut Vec<u8>) {
        match self {
            Self::Status(writer) => writer.peer(peer, out),
            Self::Notify(writer) => writer.peer(peer, out),
            Self::Done => {}
        }
    }

    fn finish(&mut self, out: &mut Vec<u8>) {
        match std::mem::replace(self, Self::Done) {
            Self::Status(writer) => writer.finish(out),
            Self::Notify(writer) => writer.finish(out),
            Self::Done => {}
        }
    }
}

/// Writes all peers; `None` if the client has gone.
async fn each_peer(
    shared: &Shared,
    writer: &mut Peers,
    out: &mut Vec<u8>,
    chunks: &mpsc::Sender<Bytes>,
) -> Option<()> {
    let mut after = NodeId(i64::MIN);
    loop {
        {
            let backend = shared.backend.borrow();
            let Some(map) = backend.netmap() else { return Some(()) };
            let (before, now) = (after, shared.now());
            for node in map.peers_after(after).take(CHUNK) {
                writer.peer(&backend.peer_status(node, &shared.plane.peer_view(node.id), now), out);
                after = node.id;
            }
            if after == before {
                return Some(());
            }
        }
        chunks.send(Bytes::from(std::mem::take(out))).await.ok()?;
    }
}

/// Answers `watch-ipn-bus`.
pub(super) fn watch(shared: &Rc<Shared>, wanted: &str) -> Response {
    let wanted = match wanted {
        "" => 0,
        text => match text.parse::<u64>() {
            Ok(wanted) => wanted,
            Err(_) => return Response::error(400, "bad mask"),
        },
    };
    if let Err(text) = ipnbus::check_mask(wanted) {
        return Response::error(400, text);
    }
    // The watcher is on the bus before its first message is made, so that nothing falls between.
    let Some(mut messages) = shared.bus.borrow_mut().watch(wanted) else {
        return Response::error(503, "too many watchers; close some");
    };
    let (chunks, answer) = mpsc::channel(QUEUE);
    let shared = shared.clone();
    dial::spawn(async move {
        if initial(&shared, wanted, &chunks).await.is_none() {
            return;
        }
        let mut engine_news = tokio::time::interval(std::time::Duration::from_secs(2));
        loop {
            let line = tokio::select! {
                line = messages.recv() => match line {
                    Some(line) => line,
                    None => return,
                },
                _ = engine_news.tick(), if wanted & mask::WATCH_ENGINE_UPDATES != 0 => ipnbus::encode(&engine(&shared)),
                () = chunks.closed() => return,
            };
            // The queue of the bus is what bounds a slow reader; here one line waits for it.
            if chunks.send(line).await.is_err() {
                return;
            }
        }
    });
    Response::stream(answer)
}

/// The first message: what the mask asks to be told at once.
async fn initial(shared: &Shared, wanted: u64, chunks: &mpsc::Sender<Bytes>) -> Option<()> {
    const INITIAL: u64 = mask::INITIAL_STATE
        | mask::INITIAL_PREFS
        | mask::INITIAL_NETMAP
        | mask::INITIAL_DRIVE_SHARES
        | mask::INITIAL_SUGGESTED_EXIT_NODE
        | mask::INITIAL_CLIENT_VERSION
        | mask::INITIAL_STATUS;
    if wanted & INITIAL == 0 {
        return Some(());
    }
    let mut notify = Notify { version: crate::version::LONG.to_owned(), ..Notify::default() };
    {
        let backend = shared.backend.borrow();
        if wanted & mask::INITIAL_STATE != 0 {
            let mut id = [0; 8];
            rand_core::OsRng.fill_bytes(&mut id);
            notify.session_id = format!("{:016x}", u64::from_be_bytes(id));
            notify.state = Some(backend.state());
            notify.browse_to_url = backend.auth_url().map(str::to_owned);
        }
        if wanted & mask::INITIAL_PREFS != 0 {
            notify.prefs = Some(Box::new(backend.prefs().redacted()));
        }
        if wanted & mask::INITIAL_NETMAP != 0 {
            let map = backend.netmap();
            notify.self_change = map.map(|map| Box::new(crate::backend::convert::node(&map.self_node)));
        }
        if wanted & mask::INITIAL_HEALTH_STATE != 0 {
            let health = crate::backend::convert::health(&backend.health(shared.now()));
            notify.health = Some(ipnbus::health_for(wanted, health));
        }
        if wanted & mask::INITIAL_SUGGESTED_EXIT_NODE != 0
            && let Ok(node) = backend.suggest(backend.suggested(), 0)
        {
            notify.suggested_exit_node =
                Some(node.map(|node| node.stable_id.to_string()).unwrap_or_default());
        }
        if wanted & mask::INITIAL_CLIENT_VERSION != 0 {
            let map = backend.netmap();
            let version = map.and_then(|map| map.client_version.as_ref());
            notify.client_version = version.map(crate::backend::convert::client_version);
        }
    }
    // NO_NETMAP is about later messages only, which never have a map here.
    let with_map = wanted & mask::INITIAL_NETMAP != 0 && shared.backend.borrow().netmap().is_some();
    if wanted & mask::INITIAL_STATUS == 0 {
        return match with_map {
            true => super::network_map::message(shared, &mut notify, chunks).await,
            false => chunks.send(ipnbus::encode(&notify)).await.ok(),
        };
    }
    let mut out = Vec::new();
    let mut head = status_head(shared, true);
    let mut writer = Peers::Notify(NotifyStatusWriter::begin(&mut notify, &mut head, &mut out));
    each_peer(shared, &mut writer, &mut out, chunks).await?;
    writer.finish(&mut out);
    chunks.send(Bytes::from(out)).await.ok()?;
    if with_map {
        // One message has room for one list of peers.
        let mut notify = Notify { version: crate::version::LONG.to_owned(), ..Notify::default() };
        super::network_map::message(shared, &mut notify, chunks).await?;
    }
    Some(())
}

/// What the engine is doing: the peers that have a session, and what has passed between us and all.
fn engine(shared: &Shared) -> Notify {
    let mut engine = localapi::types::EngineStatus {
        live_derps: i64::try_from(shared.plane.connected_relays()).unwrap_or(i64::MAX),
        live_peers: Some(Default::default()),
        ..Default::default()
    };
    let bytes = |count: u64| i64::try_from(count).unwrap_or(i64::MAX);
    for (node_key, view) in shared.plane.live_views() {
        // A session that the other side has not confirmed.
        if view.last_handshake.is_zero() {
            continue;
        }
        engine.num_live += 1;
        let lite = localapi::types::PeerStatusLite {
            node_key,
            tx_bytes: bytes(view.tx_bytes),
            rx_bytes: bytes(view.rx_bytes),
            last_handshake: view.last_handshake,
        };
        engine.live_peers.get_or_insert_default().insert(node_key, lite);
    }
    let (received, sent) = shared.plane.passed();
    (engine.r_bytes, engine.w_bytes) = (bytes(received), bytes(sent));
    Notify { version: crate::version::LONG.to_owned(), engine: Some(engine), ..Notify::default() }
}
