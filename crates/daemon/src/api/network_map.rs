//! The network map as a whole, for clients of before the bus told single changes, and for looking inside.

use super::stream::{CHUNK, QUEUE};
use crate::backend::{Backend, convert};
use crate::node::Shared;
use bytes::Bytes;
use keys::NodePublic;
use localapi::server::Response;
use localapi::types::{DnsConfig, NetMapHead, NetMapWriter, Notify};
use netmap::{NetMap, NodeId};
use std::rc::Rc;
use tokio::sync::mpsc;

/// The whole map as a document; `null` while there is none.
pub fn document(shared: &Rc<Shared>) -> Response {
    let mut out = Vec::new();
    let Some(head) = head(&shared.backend.borrow()) else {
        return Response::json(&None::<()>, localapi::types::Indent::None);
    };
    let writer = NetMapWriter::begin(&head, &mut out);
    let (chunks, answer) = mpsc::channel(QUEUE);
    let shared = shared.clone();
    dial::spawn(async move {
        let _ = peers(&shared, writer, out, &chunks).await;
    });
    Response { content_type: "application/json", ..Response::stream(answer) }
}

/// Appends a whole map of the node with `node_key` to `out` without the members named in `omit`. `None` if it would
/// take more than `limit` bytes.
pub fn append(
    map: &NetMap,
    node_key: NodePublic,
    omit: &[String],
    limit: usize,
    out: &mut Vec<u8>,
) -> Option<()> {
    let mut head = head_of(map, node_key);
    let mut peers = true;
    for name in omit {
        match name.as_str() {
            "SelfNode" => head.self_node = None,
            "AllCaps" => head.all_caps.clear(),
            "DNS" => head.dns = DnsConfig::default(),
            "DERPMap" => head.derp_map = None,
            "UserProfiles" => head.user_profiles.clear(),
            "Domain" => head.domain.clear(),
            "Peers" => peers = false,
            _ => {}
        }
    }
    let mut writer = NetMapWriter::begin(&head, out);
    for node in map.peers().filter(|_| peers) {
        writer.peer(&convert::node(node), out);
        if out.len() > limit {
            return None;
        }
    }
    writer.finish(out);
    out.truncate(out.trim_ascii_end().len());
    (out.len() <= limit).then_some(())
}

/// A message of the bus with the whole map in it; `None` if the client has gone.
pub(super) async fn message(
    shared: &Shared,
    notify: &mut Notify,
    chunks: &mpsc::Sender<Bytes>,
) -> Option<()> {
    let head = head(&shared.backend.borrow());
    let mut out = Vec::new();
    let writer = NetMapWriter::begin_notify(notify, &head?, &mut out);
    peers(shared, writer, out, chunks).await
}

async fn peers(
    shared: &Shared,
    mut writer: NetMapWriter,
    mut out: Vec<u8>,
    chunks: &mpsc::Sender<Bytes>,
) -> Option<()> {
    let mut after = NodeId(i64::MIN);
    loop {
        let (before, now) = (after, shared.now().wall);
        for node in
            shared.backend.borrow().netmap().into_iter().flat_map(|map| map.peers_after(before)).take(CHUNK)
        {
            writer.peer(&convert::peer(node, now), &mut out);
            after = node.id;
        }
        if after == before {
            writer.finish(&mut out);
            return chunks.send(Bytes::from(out)).await.ok();
        }
        chunks.send(Bytes::from(std::mem::take(&mut out))).await.ok()?;
    }
}

fn head(backend: &Backend) -> Option<NetMapHead> {
    Some(head_of(backend.netmap()?, backend.node_key().public()))
}

fn head_of(map: &NetMap, node_key: NodePublic) -> NetMapHead {
    NetMapHead {
        cached: false,
        self_node: Some(Box::new(convert::node(&map.self_node))),
        all_caps: map.self_node.rare().cap_map.keys().map(|name| name.to_string()).collect(),
        node_key,
        machine_key: map.self_node.machine,
        dns: convert::dns_config(&map.dns),
        collect_services: false,
        derp_map: Some(Box::new(convert::derp_map(&map.derp_map))),
        tka_enabled: map.tailnet_lock,
        domain: map.domain.to_string(),
        domain_audit_log_id: String::new(),
        user_profiles: map.users.values().map(|user| (user.id.0, convert::user(user))).collect(),
    }
}
