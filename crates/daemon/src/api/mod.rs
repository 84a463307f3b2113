//! What the endpoints of the LocalAPI do (features reference §4.3).
//!
//! Owns: from a checked request to the backend's answer. Reading is done here and now; what changes the node goes
//! to the run loop as an input and is answered from there.
//! Leaves out: framing, limits and access rules (`localapi::server`), deciding anything.

mod exit_node;
pub mod network_map;
mod offered;
pub mod ping;
mod stream;

use crate::backend::{Command, Input, Reply, default_routes};
use crate::node::Shared;
use crate::parts::{advertiseroutes, debug, dns, unixsocketidentity};
use localapi::server::{Handler, LocalFuture, PeerCred, Permissions, Request, Response};
use localapi::types::{
    CheckWarning, Indent, LoginProfile, MaskedPrefs, Options, Prefs, ReloadConfigResponse,
};
use netmap::{NodeId, Timestamp, UserId};
use std::rc::Rc;
use tokio::sync::oneshot;

/// The last second of the year 9999.
const MAX_UNIX: i64 = 253_402_300_799;

/// SHA-256 of `null`: the version of a serve configuration that is not there.
const ETAG_OF_NULL: &str = "74234e98afe7498fb5daf1f36ac2d78acc339464f950703b8c019892f982b90b";

/// The handler behind the socket.
pub struct Api {
    shared: Rc<Shared>,
}

impl Api {
    /// Answers for this node.
    pub fn new(shared: Rc<Shared>) -> Self {
        Self { shared }
    }
}

impl Handler for Api {
    fn offers(&self, endpoint: &str) -> bool {
        offered::in_this_build(endpoint)
    }

    fn permissions(&self, peer: &PeerCred) -> Permissions {
        let operator = operator_uid(&self.shared.backend.borrow().prefs().operator_user);
        let own = rustix::process::geteuid().as_raw();
        Permissions { read: true, write: unixsocketidentity::may_write(peer.uid, own, operator) }
    }

    fn handle(&self, request: Request) -> LocalFuture<Response> {
        let shared = self.shared.clone();
        Box::pin(async move { answer(&shared, request).await })
    }
}

/// The uid of a user name, by the system's list of users.
fn operator_uid(name: &str) -> Option<u32> {
    if name.is_empty() {
        return None;
    }
    if let Ok(uid) = name.parse() {
        return Some(uid);
    }
    let users = std::fs::read_to_string("/etc/passwd").ok()?;
    let line = users.lines().find(|line| line.split(':').next() == Some(name))?;
    line.split(':').nth(2)?.parse().ok()
}

async fn answer(shared: &Rc<Shared>, request: Request) -> Response {
    match request.name() {
        "status" => stream::status(shared, request.query.flag("peers").unwrap_or(true)),
        "watch-ipn-bus" => stream::watch(shared, request.query.text("mask")),
        "prefs" => prefs(shared, &request).await,
        "check-prefs" => {
            let prefs = match request.json::<Prefs>() {
                Ok(prefs) => Box::new(prefs),
                Err(_) => return Response::error(400, "invalid JSON body"),
            };
            match ask(shared, |reply| Command::CheckPrefs(prefs, reply)).await {
                Ok(()) => Response::json(&localapi::types::ErrorBody::default(), Indent::None),
                Err(error) => Response::error_json(200, &error),
            }
        }
        "start" => match request.json::<Options>() {
            Ok(options) => done(ask(shared, |reply| Command::Start(Box::new(options), reply)).await, 500),
            Err(response) => response,
        },
        "login-interactive" => done(ask(shared, Command::LoginInteractive).await, 500),
        "logout" => done(ask(shared, Command::Logout).await, 500),
        "reset-auth" => done(ask(shared, Command::ResetAuth).await, 500),
        "profiles/" => profiles(shared, &request).await,
        "ping" => ping::ping(shared, &request).await,
        "whois" => whois(shared, &request),
        "suggest-exit-node" => exit_node::suggest(shared),
        "set-use-exit-node-enabled" => exit_node::switch(shared, &request).await,
        "derpmap" => {
            let backend = shared.backend.borrow();
            let map = backend.netmap().map(|map| crate::backend::convert::derp_map(&map.derp_map));
            Response::json(&map, Indent::Tab)
        }
        "dns-config" => match shared.backend.borrow().netmap() {
            Some(map) => Response::json(&crate::backend::convert::dns_config(&map.dns), Indent::Tab),
            None => Response::error(503, "no netmap"),
        },
        "dns-osconfig" => dns::os_config(shared),
        "dns-query" => dns::query(shared, &request).await,
        "cert-domains" => {
            let backend = shared.backend.borrow();
            let domains = backend.netmap().map(|map| &map.dns.cert_domains);
            let domains = domains.map(|list| list.iter().map(|d| d.to_string()).collect::<Vec<_>>());
            Response::json(&domains.filter(|list| !list.is_empty()), Indent::None)
        }
        "peer-by-id" => match request.query.text("id").parse() {
            Ok(id) => {
                let node = shared.backend.borrow().node_by_id(NodeId(id), shared.now());
                found(node, "no peer with that NodeID")
            }
            Err(_) => Response::error(400, "invalid 'id' parameter"),
        },
        "user-profile" => match request.query.text("id").parse() {
            Ok(id) => found(shared.backend.borrow().user_by_id(UserId(id)), "no user with that UserID"),
            Err(_) => Response::error(400, "invalid 'id' parameter"),
        },
        "check-ip-forwarding" => {
            // As upstream: as if everything were to be forwarded, if there is an interface to forward from.
            let forwards = shared.backend.borrow().has_interface();
            let warning = forwards.then(|| advertiseroutes::forwarding_problem(&default_routes())).flatten();
            let warning = warning.unwrap_or_default();
            Response::json(&CheckWarning { warning }, Indent::None)
        }
        "check-udp-gro-forwarding" => Response::json(&CheckWarning::default(), Indent::None),
        // Where marks are not followed, sockets are bound to the uplink instead; no packet of ours can come back.
        "check-so-mark-in-use" => {
            Response::json(&localapi::types::UseSoMark { use_so_mark: true }, Indent::None)
        }
        // This build has neither; clients ask for them all the same and expect an empty answer.
        "serve-config" if request.method != localapi::Method::GET => Response::not_found(),
        "serve-config" => Response {
            headers: vec![("Etag", ETAG_OF_NULL.to_owned())],
            content_type: "application/json",
            ..Response::text("null")
        },
        "services" if shared.backend.borrow().netmap().is_none() => Response::error(503, "no netmap"),
        "services" => Response::json(&localapi::types::Empty::default(), Indent::None),
        "upload-client-metrics" => match request.json::<Vec<localapi::types::Raw>>() {
            Ok(_) => Response::json(&localapi::types::Empty::default(), Indent::None),
            Err(_) => Response::error(400, "invalid JSON body"),
        },
        "update/check" => {
            let latest = localapi::types::ClientVersion { running_latest: true, ..Default::default() };
            // Go's daemon lets the type be guessed, and it is guessed so.
            Response {
                content_type: Response::text("").content_type,
                ..Response::json(&latest, Indent::None)
            }
        }
        "reload-config" => Response::json(&reload_config(shared).await, Indent::None),
        "set-expiry-sooner" => set_expiry_sooner(shared, request.query.text("expiry")).await,
        "disconnect-control" => match ask(shared, Command::DisconnectControl).await {
            Ok(()) => Response::empty(200),
            Err(error) => Response::error(500, &error),
        },
        // What upstream's policy says unless an administrator sets another.
        "shutdown" => Response::error(403, "shutdown access denied by policy"),
        "bugreport" => debug::bug_report(&request),
        "component-debug-logging" => debug::component_logging(),
        "debug" => debug::action(shared, &request).await,
        "debug-optional-features" => Response::json(&crate::parts::told(), Indent::None),
        _ => Response::not_found(),
    }
}

/// Reads the configuration file again, if one is in force.
async fn reload_config(shared: &Shared) -> ReloadConfigResponse {
    let Some(place) = shared.config.get() else { return ReloadConfigResponse::default() };
    let result = match place.read() {
        Ok(Some(config)) => ask(shared, |reply| Command::SetConfig(Box::new(config), reply)).await,
        Ok(None) => Err(format!("the configuration file {} is gone", place.path.display())),
        Err(error) => Err(error),
    };
    ReloadConfigResponse { reloaded: result.is_ok(), err: result.err().unwrap_or_default() }
}

async fn set_expiry_sooner(shared: &Shared, expiry: &str) -> Response {
    if expiry.is_empty() {
        return Response::error(400, "missing 'expiry' parameter, a unix timestamp");
    }
    // Control is told a date in RFC 3339, which ends with the year 9999.
    let Some(seconds) = expiry.parse().ok().filter(|at| (0..=MAX_UNIX).contains(at)) else {
        return Response::error(400, "can't parse expiry time, expects a unix timestamp");
    };
    match ask(shared, |reply| Command::ExpireSooner(Timestamp::from_unix(seconds), reply)).await {
        Ok(()) => Response { content_type: "text/plain", ..Response::text("done\n") },
        Err(error) => Response::error(400, &error),
    }
}

/// Gives the run loop a command and waits for its answer.
pub(crate) fn ask<T: 'static>(
    shared: &Shared,
    command: impl FnOnce(Reply<Result<T, String>>) -> Command,
) -> dial::LocalFuture<'_, Result<T, String>> {
    let (sender, answer) = oneshot::channel();
    let reply = Reply::new(move |result| drop(sender.send(result)));
    asked(shared, command(reply), answer)
}

/// The part of [`ask`] that is not made anew for each command.
fn asked<T: 'static>(
    shared: &Shared,
    command: Command,
    answer: oneshot::Receiver<Result<T, String>>,
) -> dial::LocalFuture<'_, Result<T, String>> {
    Box::pin(async move {
        let stopping = || "tailscaled is stopping".to_owned();
        shared.inputs.send(Input::Command(command)).await.map_err(|_| stopping())?;
        answer.await.map_err(|_| stopping())?
    })
}

/// 204, or the error as text.
fn done(result: Result<(), String>, status: u16) -> Response {
    match result {
        Ok(()) => Response::empty(204),
        Err(error) => Response::error(status, &error),
    }
}

fn found<T: gojson::Value>(value: Option<T>, missing: &str) -> Response {
    value.map_or_else(|| Response::error(404, missing), |value| Response::json(&value, Indent::Tab))
}

async fn prefs(shared: &Rc<Shared>, request: &Request) -> Response {
    if request.method != localapi::Method::PATCH {
        return Response::json(&shared.backend.borrow().prefs().redacted(), Indent::Tab);
    }
    let edit = match request.json::<MaskedPrefs>() {
        Ok(edit) => Box::new(edit),
        Err(response) => return response,
    };
    match ask(shared, |reply| Command::EditPrefs(edit, reply)).await {
        Ok(prefs) => Response::json(&prefs, Indent::Tab),
        Err(error) => Response::error_json(400, &error),
    }
}

fn whois(shared: &Shared, request: &Request) -> Response {
    let addr = request.query.text("addr");
    if addr.is_empty() {
        return Response::error(400, "missing 'addr' parameter");
    }
    match shared.backend.borrow().whois(addr, shared.now()) {
        Err(error) => Response::error(400, &error),
        Ok(None) => Response::error(404, "no match for IP:port"),
        Ok(Some(whois)) => Response::json(&whois, Indent::Tab),
    }
}

async fn profiles(shared: &Rc<Shared>, request: &Request) -> Response {
    let id = request.rest.clone();
    let backend = &shared.backend;
    let list = || -> Vec<LoginProfile> { backend.borrow().profiles().list() };
    match (request.method.as_str(), id.as_str()) {
        ("GET", "") => Response::json(&list(), Indent::None),
        ("PUT", "") => match ask(shared, Command::NewProfile).await {
            Ok(()) => Response::empty(201),
            Err(error) => Response::error(500, &error),
        },
        (_, "") => Response::error(405, "use GET or PUT"),
        ("GET", "current") => Response::json(backend.borrow().profiles().current(), Indent::None),
        (_, "current") => Response::error(405, "use GET"),
        ("GET", id) => match backend.borrow().profiles().find(id) {
            Some(profile) => Response::json(profile, Indent::None),
            None => Response::error(404, "Profile not found"),
        },
        ("POST", _) => done(ask(shared, |reply| Command::SwitchProfile(id, reply)).await, 500),
        ("DELETE", _) => done(ask(shared, |reply| Command::DeleteProfile(id, reply)).await, 500),
        _ => Response::error(405, "use POST or DELETE"),
    }
}
