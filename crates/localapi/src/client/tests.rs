//! The client against a server that says what a daemon might say.

use super::*;
use crate::server::{Handler, Limits, LocalFuture, PeerCred, Permissions, Request, Response, listen, serve};
use crate::types::{Notify, State, mask};
use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::task::LocalSet;

#[derive(Default)]
struct Daemon {
    seen: RefCell<Vec<String>>,
}

impl Handler for Daemon {
    fn permissions(&self, _: &PeerCred) -> Permissions {
        Permissions { read: true, write: true }
    }

    fn handle(&self, request: Request) -> LocalFuture<Response> {
        let seen = format!(
            "{} {}{} {}",
            request.method,
            request.name(),
            request.rest,
            String::from_utf8_lossy(&request.body)
        );
        self.seen.borrow_mut().push(seen.trim_end().to_owned());
        let response = match (request.method.as_str(), request.name()) {
            ("GET", "status") => Response::json(&Status::default(), Indent::Tab),
            ("GET", "prefs") => Response::json(&Prefs::new_default(), Indent::Tab),
            ("PATCH", "prefs") => match request.json::<MaskedPrefs>() {
                Ok(edit) if edit.prefs.hostname == "bad" => Response::error_json(400, "bad host name"),
                Ok(edit) => Response::json(&edit.prefs, Indent::Tab),
                Err(response) => response,
            },
            (_, "check-prefs") => Response::error_json(200, "no <such> node"),
            (_, "start" | "login-interactive" | "logout") => Response::empty(204),
            (_, "ping") => Response::failure_json("no matching peer"),
            (_, "whois") if request.query.text("addr") == "[fd7a::1]:80" => {
                Response::json(&WhoIs::default(), Indent::Tab)
            }
            (_, "whois") => Response::error(404, "no match for IP:port"),
            (_, "derpmap" | "services" | "cert-domains") => Response::json(&(), Indent::None),
            ("PUT", "profiles/") => Response::empty(201),
            (_, "shutdown") => Response::error(412, "Etag mismatch"),
            (_, "reload-config") => Response::error(403, "access denied"),
            (_, "usermetrics") => Response::text("metric 1\n"),
            (_, "watch-ipn-bus") => {
                let (sender, receiver) = mpsc::channel(4);
                let state = Notify { state: Some(State::Running), ..Notify::default() };
                let text = format!("{}\n{{\"Version\":\"v\"}}\n{{\"Vers", to_go_json(&state, Indent::None));
                let _ = sender.try_send(text.into());
                let _ = sender.try_send("ion\":\"w\"}".into());
                Response::stream(receiver)
            }
            _ => Response::not_found(),
        };
        Box::pin(async { response })
    }
}

fn with_client<F: Future<Output = ()>>(test: impl FnOnce(Client, Rc<Daemon>) -> F) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("runtime");
    LocalSet::new().block_on(&runtime, async {
        let dir = tempfile::tempdir().expect("dir");
        let socket = dir.path().join("s.sock");
        let daemon = Rc::new(Daemon::default());
        let listener = listen(&socket, 0o600).await.expect("listen");
        tokio::task::spawn_local(serve(listener, daemon.clone(), Limits::new(119)));
        tokio::time::timeout(Duration::from_secs(20), test(Client::new(socket), daemon))
            .await
            .expect("too long");
    });
}

#[test]
fn calls() {
    with_client(async |client, daemon| {
        assert_eq!(client.status().await, Ok(Status::default()));
        assert_eq!(client.prefs().await, Ok(Prefs::new_default()));
        let mut edit = MaskedPrefs::default();
        edit.prefs.hostname = "good".to_owned();
        edit.mask.hostname = true;
        assert_eq!(client.edit_prefs(&edit).await.map(|prefs| prefs.hostname), Ok("good".to_owned()));
        assert_eq!(client.start(&Options::default()).await, Ok(()));
        assert_eq!(client.login_interactive().await, Ok(()));
        assert_eq!(client.clone().with_reason("wé").with_capability(119).logout().await, Ok(()));
        assert_eq!(client.derp_map().await, Ok(None));
        assert_eq!(client.services().await.map(|services| services.len()), Ok(0));
        assert_eq!(client.cert_domains().await, Ok(Vec::new()));
        assert_eq!(client.new_profile().await, Ok(()));
        assert_eq!(client.whois("[fd7a::1]:80", None).await, Ok(WhoIs::default()));
        assert_eq!(client.user_metrics().await.as_deref(), Ok(&b"metric 1\n"[..]));
        let answer = client.raw(Method::GET, "/localapi/v0/nosuch", Bytes::new()).await.expect("raw");
        assert_eq!((answer.status, answer.headers.get("tailscale-cap")), (404, Some(&b"119"[..])));
        let seen = daemon.seen.borrow();
        assert!(
            seen.contains(&r#"POST start {"FrontendLogID":"","UpdatePrefs":null,"AuthKey":""}"#.to_owned()),
            "{seen:?}"
        );
    });
}

#[test]
fn refusals() {
    with_client(async |client, _| {
        let mut edit = MaskedPrefs::default();
        edit.prefs.hostname = "bad".to_owned();
        assert_eq!(
            client.edit_prefs(&edit).await,
            Err(Error::Http { status: 400, text: "bad host name".to_owned() })
        );
        assert_eq!(client.check_prefs(&edit.prefs).await, Err(Error::Refused("no <such> node".to_owned())));
        let ping = client.ping(IpAddr::from([100, 64, 0, 7]), PingKind::Tsmp, 0).await;
        assert_eq!(ping, Err(Error::Http { status: 500, text: "no matching peer".to_owned() }));
        let whois = client.whois("100.64.0.7", Some("tcp")).await;
        assert_eq!(whois, Err(Error::NotFound("404 Not Found: no match for IP:port".to_owned())));
        assert_eq!(client.shutdown().await, Err(Error::PreconditionsFailed("Etag mismatch".to_owned())));
        let denied = client.reload_config().await.expect_err("denied");
        assert_eq!(denied.to_string(), "Access denied: access denied");
        let decode = client.get::<Status>("usermetrics").await.expect_err("not JSON").to_string();
        assert!(decode.starts_with("/localapi/v0/usermetrics: "), "{decode}");
    });
}

#[test]
fn the_bus() {
    with_client(async |client, _| {
        let mut bus = client.watch_bus(mask::INITIAL_STATE | mask::INITIAL_PREFS).await.expect("watch");
        assert_eq!(bus.next().await.expect("state").and_then(|notify| notify.state), Some(State::Running));
        assert_eq!(bus.next().await.expect("v").map(|notify| notify.version).as_deref(), Some("v"));
        assert_eq!(bus.next().await.expect("w").map(|notify| notify.version).as_deref(), Some("w"));
        assert_eq!(bus.next().await, Ok(None));
    });
}

#[test]
fn nobody_listens() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("runtime");
    let client = Client::new("/nonexistent/tailscaled.sock".into());
    let error = runtime.block_on(client.status_without_peers().into_future()).expect_err("no daemon");
    assert_eq!(
        error.to_string(),
        "Failed to connect to local Tailscale daemon for /localapi/v0/status; not running? Error: dial unix \
         /nonexistent/tailscaled.sock: connect: no such file or directory"
    );
}
