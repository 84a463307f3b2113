//! Exit nodes: which one suits best, and switching the last one off and on again (feature reference §9.1, §9.2).

use super::ask;
use crate::backend::{Command, convert};
use crate::node::Shared;
use localapi::server::{Request, Response};
use localapi::types::{ExitNodeSuggestion, Indent};
use rand_core::RngCore as _;

/// `GET` or `POST suggest-exit-node`.
pub(super) fn suggest(shared: &Shared) -> Response {
    let backend = shared.backend.borrow();
    let dice = rand_core::OsRng.next_u32();
    match backend.suggest(&backend.prefs().exit_node_id, dice) {
        Ok(node) => {
            let suggestion = node.map(|node| ExitNodeSuggestion {
                id: node.stable_id.to_string(),
                name: node.name.to_string(),
                location: node.hostinfo.rest().and_then(|rest| rest.location.as_ref()).map(convert::location),
            });
            Response::json(&suggestion.unwrap_or_default(), Indent::None)
        }
        Err(why) => Response::error(500, why),
    }
}

/// `POST set-use-exit-node-enabled`.
pub(super) async fn switch(shared: &Shared, request: &Request) -> Response {
    let Some(on) = request.query.flag("enabled") else {
        return Response::error(400, "invalid 'enabled' parameter");
    };
    match ask(shared, |reply| Command::UseExitNode(on, reply)).await {
        Ok(prefs) => Response::json(&prefs, Indent::Tab),
        Err(error) => Response::error(500, &error),
    }
}
