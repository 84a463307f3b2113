//! Answering the pings of control (protocol reference §1.15): that we are there, a request to this node, and
//! pings of peers.

use crate::Error;
use crate::context::Context;
use crate::messages::{Event, PingReply};
use crate::plain;
use crate::server::Url;
use crate::text::printable;
use crate::wire::messages::PingRequest;
use base64::Engine as _;
use gojson::{Indent, to_go_json};
use http1::Method;
use std::net::IpAddr;
use std::rc::Rc;
use std::time::Duration;
use tokio::sync::oneshot;
use tokio::time::timeout;

/// So many are answered at once; more are dropped.
const AT_ONCE: usize = 8;
/// So many kinds of ping of one request are done.
const KINDS: usize = 8;
const HEAD_TIMEOUT: Duration = Duration::from_secs(15);
const C2N_TIMEOUT: Duration = Duration::from_secs(60);
const PING_TIMEOUT: Duration = Duration::from_secs(10);
/// Longest answer to our answer; it is not used.
const LIMIT: usize = 64 << 10;

/// Answers `request` in a task of its own, unless it was the last one to be answered.
pub(crate) fn answer(context: &Rc<Context>, request: PingRequest) {
    if request.url.is_empty() || *context.last_ping.borrow() == request.url {
        return;
    }
    let mut pings = context.pings.borrow_mut();
    while pings.try_join_next().is_some() {}
    if pings.len() >= AT_ONCE {
        log::warn!("control: too many pings at once, one dropped");
        return;
    }
    context.last_ping.replace(request.url.clone());
    // The task outlives the map stream, but not the client.
    let context = context.clone();
    let work: dial::LocalFuture<'static, ()> = Box::pin(async move {
        let result = match request.types.as_str() {
            "" => here(&context, &request).await,
            "c2n" => c2n(&context, &request).await,
            _ => peers(&context, &request).await,
        };
        if let Err(e) = result {
            log::info!("control: ping not answered: {e}");
        }
    });
    pings.spawn_local(work);
}

async fn here(context: &Context, request: &PingRequest) -> Result<(), Error> {
    deliver(context, request, request.url_is_noise, Method::HEAD, None, Vec::new(), HEAD_TIMEOUT).await
}

async fn c2n(context: &Context, request: &PingRequest) -> Result<(), Error> {
    let payload = base64::engine::general_purpose::STANDARD
        .decode(&request.payload)
        .map_err(|e| Error::Json { what: "a c2n request".to_owned(), why: e.to_string() })?;
    let (reply, answer) = oneshot::channel();
    context.emit(Event::C2n { request: payload, reply }).await;
    match timeout(C2N_TIMEOUT, answer).await {
        Ok(Ok(answer)) => deliver(context, request, true, Method::POST, None, answer, C2N_TIMEOUT).await,
        _ => Err(Error::Timeout("the answer to a c2n request")),
    }
}

async fn peers(context: &Context, request: &PingRequest) -> Result<(), Error> {
    let ip: IpAddr = request.ip.parse().map_err(|_| Error::Json {
        what: "a ping request".to_owned(),
        why: format!("{:?} is not an address", printable(request.ip.as_bytes())),
    })?;
    for kind in request.types.split(',').take(KINDS) {
        let (reply, answer) = oneshot::channel();
        context.emit(Event::PingPeer { kind: kind.to_owned(), ip, reply }).await;
        let answer = match timeout(PING_TIMEOUT, answer).await {
            Ok(Ok(answer)) => answer,
            _ => PingReply { err: "no answer in time".to_owned(), ..PingReply::default() },
        };
        let answer = PingReply { kind: kind.to_owned(), ip: request.ip.clone(), ..answer };
        let body = to_go_json(&answer, Indent::None).into_bytes();
        let json = Some("application/json");
        deliver(context, request, request.url_is_noise, Method::POST, json, body, HEAD_TIMEOUT).await?;
    }
    Ok(())
}

/// Sends to the URL of `request`, any status being fine.
async fn deliver(
    context: &Context,
    request: &PingRequest,
    over_noise: bool,
    method: Method,
    content_type: Option<&'static str>,
    body: Vec<u8>,
    limit: Duration,
) -> Result<(), Error> {
    let client = &context.client;
    let late = |_| Error::Timeout("answering a ping of control");
    if over_noise {
        let path = match request.url.starts_with('/') {
            true => request.url.clone(),
            false => Url::parse(&request.url)?.path,
        };
        timeout(limit, client.send(method, &path, content_type, body, &[])).await.map_err(late)??;
    } else {
        let url = Url::parse(&request.url)?;
        timeout(limit, plain::fetch(client.dialer(), method, &url, body, LIMIT)).await.map_err(late)??;
    }
    Ok(())
}
