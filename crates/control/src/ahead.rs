//! Asking for the map while a registration is still being answered.
//!
//! headscale puts what changes into a store that is written twice a second. A registration passes it twice and
//! is answered only then, the first map waits for it twice more: two seconds for a join. But the node is served
//! after the first of the four, so a map asked for early enough shares the second.
//! Leaves out: what becomes of the map (`map`) and of the update (`update`).

use crate::Error;
use crate::context::Context;
use crate::h2::Answer;
use crate::messages::SelfReport;
use crate::update;
use dial::LocalFuture;
use keys::NodePublic;
use std::rc::Rc;
use std::time::Duration;
use tokio::time::{sleep, timeout};

/// A registration answered sooner needs no help.
const PATIENCE: Duration = Duration::from_millis(200);
/// Time between two questions: together with [`REFUSAL`] less than half of headscale's interval.
const GAP: Duration = Duration::from_millis(120);
/// A map request about an unknown node is refused at once; one that waits longer has been taken.
const REFUSAL: Duration = Duration::from_millis(60);
/// How often to ask.
const TRIES: u32 = 6;

/// Requests about a node that control serves before it has answered the registration. Both are on their way.
pub(crate) struct Ahead {
    /// The answer to the stream request.
    pub(crate) stream: LocalFuture<'static, Result<Answer, Error>>,
    /// The update about ourselves, as of [`update::send`].
    pub(crate) update: LocalFuture<'static, bool>,
    /// What there was to tell when the update was begun.
    pub(crate) told: Option<Rc<SelfReport>>,
}

/// Asks for the map of `node_key` until control serves it; `None` when that is not to be.
///
/// Never used with Tailscale's own service: it answers at once, and counts requests.
pub(crate) async fn ask(context: &Rc<Context>, node_key: NodePublic) -> Option<Ahead> {
    if context.client.is_tailscales_own() {
        return None;
    }
    sleep(PATIENCE).await;
    for _ in 0..TRIES {
        let asked = context.clone();
        let mut stream: LocalFuture<'static, _> =
            Box::pin(async move { update::map_request(&asked, node_key, true).await });
        match timeout(REFUSAL, &mut stream).await {
            Ok(Err(Error::NodeUnknown)) => {
                sleep(GAP).await;
                continue;
            }
            Ok(Err(_)) => return None,
            Ok(answer) => stream = Box::pin(std::future::ready(answer)),
            Err(_) => {}
        }
        let told = context.report();
        return Some(Ahead { stream, update: begun(context, node_key).await, told });
    }
    None
}

/// An update that has been sent off.
async fn begun(context: &Rc<Context>, node_key: NodePublic) -> LocalFuture<'static, bool> {
    let mut update: LocalFuture<'static, bool> = Box::pin(update::send(context.clone(), node_key));
    match timeout(REFUSAL, &mut update).await {
        Ok(known) => Box::pin(std::future::ready(known)),
        Err(_) => update,
    }
}
