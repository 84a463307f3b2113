//! Map requests, and telling control about ourselves beside the stream ("lite updates", protocol reference
//! §1.9.1): control's own service ignores what the stream request says.

use crate::Error;
use crate::backoff::Backoff;
use crate::context::Context;
use crate::h2::Answer;
use crate::map::map_error;
use crate::messages::Activity;
use crate::wire::requests::MapRequest;
use gojson::{Indent, to_go_json};
use keys::NodePublic;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

/// An update is short: one that takes longer means a dead connection.
const TIMEOUT: Duration = Duration::from_secs(20);

/// Posts a map request about the current report and awaits the head of a 200.
pub(crate) async fn map_request(
    context: &Context,
    node_key: NodePublic,
    stream: bool,
) -> Result<Answer, Error> {
    let report = context.report().unwrap_or_default();
    let endpoints: Vec<SocketAddr> = report.endpoints.iter().map(|endpoint| endpoint.addr).collect();
    let kinds: Vec<u8> = report.endpoints.iter().map(|endpoint| endpoint.kind as u8).collect();
    let request = MapRequest {
        version: context.client.version(),
        keep_alive: stream,
        node_key,
        disco_key: report.disco_key,
        stream,
        hostinfo: &report.hostinfo,
        endpoints: &endpoints,
        endpoint_types: &kinds,
        omit_peers: !stream,
        debug_flags: &report.debug_flags,
    };
    let body = to_go_json(&request, Indent::None).into_bytes();
    let answer = context.client.post("/machine/map", body, &[node_key]).await?;
    match answer.status {
        200 => Ok(answer),
        _ => Err(map_error(answer).await),
    }
}

/// Tells control what we are now, until it has taken it (true) or says that it does not know us (false).
pub(crate) async fn send(context: Rc<Context>, node_key: NodePublic) -> bool {
    let mut backoff = Backoff::default();
    loop {
        let sent = tokio::time::timeout(TIMEOUT, map_request(&context, node_key, false)).await;
        let error = match &sent {
            Ok(Ok(_) | Err(Error::NodeUnknown)) => {
                context.works(Activity::Update).await;
                return matches!(sent, Ok(Ok(_)));
            }
            Ok(Err(e)) => e.clone(),
            Err(_) => {
                context.client.hang_up();
                Error::Timeout("telling control about this node")
            }
        };
        context.failed(Activity::Update, error).await;
        context.back_off(&mut backoff).await;
    }
}
