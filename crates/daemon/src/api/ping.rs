//! `ping`: by path discovery, or by TSMP or ICMP inside WireGuard.

use crate::node::Shared;
use crate::parts::peerapiclient;
use engine::host::PingKind as Wire;
use engine::wireguard::Source;
use localapi::server::{Request, Response};
use localapi::types::{Indent, PingKind, PingResult};
use netmap::NodeId;
use std::net::IpAddr;
use std::time::Duration;

/// The client gives up sooner, by going away.
const TIMEOUT: Duration = Duration::from_secs(60);

/// The same for a request.
const PEERAPI_TIMEOUT: Duration = Duration::from_secs(10);

/// Answers `POST ping?ip=&type=&size=`.
pub(super) async fn ping(shared: &Shared, request: &Request) -> Response {
    let query = &request.query;
    if query.text("ip").is_empty() {
        return Response::error(400, "missing 'ip' parameter");
    }
    let Ok(ip) = query.text("ip").parse::<IpAddr>() else { return Response::error(400, "invalid IP") };
    let kind = query.text("type");
    if kind.is_empty() {
        return Response::error(400, "missing 'type' parameter");
    }
    let mut bytes = 0;
    let size = query.text("size");
    if !size.is_empty() && size != "0" {
        if kind != PingKind::Disco.name() {
            return Response::error(400, "'size' parameter is only supported with disco pings");
        }
        match size.parse() {
            Ok(size) => bytes = size,
            Err(_) => return Response::error(400, "invalid 'size' parameter"),
        }
    }
    let Some(kind) = PingKind::from_name(kind) else {
        return Response::failure_json(&format!("unknown ping type {kind:?}"));
    };
    let result = run(shared, ip, kind, bytes).await;
    Response::json(&result, Indent::None)
}

async fn run(shared: &Shared, ip: IpAddr, kind: PingKind, size: usize) -> PingResult {
    let mut result = PingResult { ip: ip.to_string(), ..PingResult::default() };
    let id = {
        let backend = shared.backend.borrow();
        let Some((node, _)) = backend.node_by_ip(ip) else {
            result.err = "no matching peer".to_owned();
            return result;
        };
        if backend.netmap().is_some_and(|map| map.self_node.id == node.id) {
            result.err = format!("{ip} is local Tailscale IP");
            result.is_local_ip = true;
            return result;
        }
        result.node_name = crate::backend::convert::short_name(&node.name, &node.hostinfo.hostname);
        result.node_ip = node.ips().next().map(|ip| ip.to_string()).unwrap_or_default();
        node.id
    };
    let wire = match kind {
        PingKind::Disco => {
            match shared.plane.ping_paths(id, size, TIMEOUT).await {
                Ok(Some(pong)) => {
                    result.latency_seconds = pong.rtt.as_secs_f64();
                    match pong.way {
                        Source::Udp(addr) => result.endpoint = addr.to_string(),
                        Source::Derp { region, .. } => {
                            result.derp_region_id = i64::from(region);
                            let region = netmap::RegionId(region);
                            result.derp_region_code = shared.backend.borrow().region_code(region);
                        }
                    }
                }
                Ok(None) => result.err = "no reply".to_owned(),
                Err(error) => result.err = error,
            }
            return result;
        }
        PingKind::Tsmp => Wire::Tsmp,
        PingKind::Icmp => Wire::Icmp,
        PingKind::PeerApi => {
            match peerapi(shared, id).await {
                Ok((url, took)) => (result.peer_api_url, result.latency_seconds) = (url, took.as_secs_f64()),
                Err(error) => result.err = error,
            }
            return result;
        }
    };
    match shared.plane.ping(wire, ip, TIMEOUT).await {
        Ok(Some(answer)) => {
            result.latency_seconds = answer.rtt.as_secs_f64();
            // Upstream names what was asked here, and the node's first address for the other kinds.
            result.node_ip = answer.from.to_string();
            result.peer_api_port = answer.peerapi_port;
        }
        Ok(None) => result.err = "no reply".to_owned(),
        Err(error) => result.err = error,
    }
    result
}

/// Asks a peer's PeerAPI for nothing; its URL and how long the answer took.
pub async fn peerapi(shared: &Shared, id: NodeId) -> Result<(String, Duration), String> {
    let base = {
        let backend = shared.backend.borrow();
        let map = backend.netmap().ok_or("no netmap")?;
        let node = map.peer(id).ok_or("no matching peer")?;
        let own: Vec<_> = map.self_node.ips().collect();
        peerapiclient::base(node, &own)
    };
    if peerapiclient::FEATURE.is_none() {
        return Err("PeerAPI is not in this build".to_owned());
    }
    let at = base.ok_or("the peer announces no PeerAPI")?;
    let begun = shared.clock.mono();
    match tokio::time::timeout(PEERAPI_TIMEOUT, peerapiclient::ping(at)).await {
        Ok(Ok(())) => Ok((format!("http://{at}"), shared.clock.mono().since(begun))),
        Ok(Err(error)) => Err(error.to_string()),
        Err(_) => Err("no answer in time".to_owned()),
    }
}
