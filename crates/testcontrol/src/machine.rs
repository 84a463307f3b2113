//! What a machine may ask inside the Noise connection: register, map, and answers to pings.

use crate::json;
use crate::world::{Registration, World};
use crate::zstd;
use anyhow::{Context as _, Result};
use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::channel::Channel;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::Incoming;
use serde_json::{Value, json};
use std::rc::Rc;

/// Who is at the other end of a Noise connection.
pub(crate) struct Machine {
    key: String,
    version: u16,
}

impl Machine {
    pub(crate) fn new(key: Vec<u8>, version: u16) -> Self {
        Self { key: format!("mkey:{}", json::hex(&key)), version }
    }
}

type Body = UnsyncBoxBody<Bytes, anyhow::Error>;

pub(crate) async fn handle(
    request: Request<Incoming>,
    machine: &Machine,
    world: &Rc<World>,
) -> Result<Response<Body>> {
    let path = request.uri().path().to_owned();
    if path == "/ping-me" {
        world.note_head_ping();
        return reply(StatusCode::OK, String::new());
    }
    let body = Limited::new(request.into_body(), 1 << 20).collect().await;
    let body = body.map_err(|e| anyhow::anyhow!("request body: {e}"))?.to_bytes();
    if path == "/ping-answer" {
        world.note_ping_answer(String::from_utf8_lossy(&body).into_owned());
        return reply(StatusCode::OK, String::new());
    }
    let Ok(asked) = serde_json::from_slice::<Value>(&body) else {
        return reply(StatusCode::BAD_REQUEST, "request body is not JSON".to_owned());
    };
    if asked["Version"].as_u64() != Some(u64::from(machine.version)) {
        return reply(StatusCode::BAD_REQUEST, "Version differs from the Noise version".to_owned());
    }
    match path.as_str() {
        "/machine/register" => register(&asked, machine, world).await,
        "/machine/map" => map(&asked, machine, world),
        _ => reply(StatusCode::NOT_IMPLEMENTED, "Not implemented yet".to_owned()),
    }
}

fn reply(status: StatusCode, text: String) -> Result<Response<Body>> {
    let body = Full::new(Bytes::from(text)).map_err(|never| match never {}).boxed_unsync();
    Response::builder().status(status).body(body).context("response")
}

async fn register(asked: &Value, machine: &Machine, world: &Rc<World>) -> Result<Response<Body>> {
    if let Some(status) = world.count_register() {
        let mut response = reply(StatusCode::TOO_MANY_REQUESTS, "slow down".to_owned())?;
        response.headers_mut().insert("Retry-After", status.to_string().parse()?);
        return Ok(response);
    }
    let answer = match world.register(asked, &machine.key) {
        Registration::Done(answer) => answer,
        Registration::Wait(id, mut approved) => {
            // Held open until the person at the browser is done.
            let _ = approved.wait_for(|done| *done).await;
            world.finish_login(&id, asked, &machine.key)
        }
    };
    reply(StatusCode::OK, answer.to_string())
}

fn map(asked: &Value, machine: &Machine, world: &Rc<World>) -> Result<Response<Body>> {
    let Some(node) = world.node_for_map(asked, &machine.key) else {
        return reply(StatusCode::NOT_FOUND, "node not found".to_owned());
    };
    world.update_node(node, asked);
    if asked["Stream"] != json!(true) {
        return reply(StatusCode::OK, String::new());
    }
    let compress = asked["Compress"] == json!("zstd");
    let (mut sender, body) = Channel::<Bytes, anyhow::Error>::new(4);
    let mut messages = world.open_stream(node);
    let stream = messages.number;
    let world = world.clone();
    tokio::task::spawn_local(async move {
        let _open = world.stream_guard(node, stream);
        while let Some(message) = messages.next().await {
            let text = message.to_string();
            let payload = if compress { zstd::store(text.as_bytes()) } else { text.into_bytes() };
            let mut bytes = (payload.len() as u32).to_le_bytes().to_vec();
            bytes.extend_from_slice(&payload);
            if world.faults().cut_mid_message {
                bytes.truncate(bytes.len() / 2);
                let _ = sender.send_data(bytes.into()).await;
                sender.abort(anyhow::anyhow!("cut on purpose"));
                return;
            }
            if sender.send_data(bytes.into()).await.is_err() {
                return;
            }
        }
    });
    Response::builder().status(StatusCode::OK).body(body.boxed_unsync()).context("response")
}
